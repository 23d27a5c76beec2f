"""Who answers: a provider's endpoint, and what it calls things (`catalogs/providers/*.yaml`)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator

from chipweave.catalog.documents import Entry, read_entry, unknown
from chipweave.catalog.offset import RULES
from chipweave.recipe.data import find, listing

Names = Annotated[
    tuple[Annotated[str, Field(min_length=1)], ...],
    BeforeValidator(lambda v: (v,) if isinstance(v, str) else v),
]
"""One name or a list of them."""


class Offering(Entry):
    """A collection as a provider has it.

    Parameters
    ----------
    name
        What the provider calls it; several where one collection is spread over many.
    keys
        Asset keys by common band name, the preferred one first.
    platforms
        Further keys by platform, for bands that are filed by numbers which mean others from satellite to satellite.
    offset
        Rule for the stored offset, see `chipweave.catalog.offset.RULES`.
    projected
        Whether it has, calibrated and on a map grid, what others of that collection have not.
    """

    name: Names = ()
    keys: dict[str, Names] = Field(default_factory=dict)
    platforms: dict[str, dict[str, Names]] = Field(default_factory=dict)
    offset: str = ""
    projected: bool = False

    @field_validator("offset")
    @classmethod
    def _known_rule(cls, value: str) -> str:
        if value not in RULES:
            raise ValueError(f"unknown offset rule; known: {', '.join(r for r in RULES if r)}")
        return value


Variable = Annotated[str, Field(pattern=r"^([A-Z][A-Z0-9_]*)?$")]
"""Name of an environment variable: secrets stand there, never in a file."""

Hosts = Annotated[tuple[Annotated[str, Field(pattern=r"^[a-z0-9*][a-z0-9.*:-]*$")], ...], Field(min_length=1)]
"""Hosts, ``*`` for any part of a name, ``host:port`` where only that port is meant."""


class OpenAccess(Entry):
    """Files that anybody may read: an exception from a rule that follows."""

    kind: Literal["open"]
    hosts: Hosts


class SasAccess(Entry):
    """Azure blobs behind short-lived tokens, one a container: ``GET endpoint/account/container`` gives one.

    Parameters
    ----------
    hosts
        ``account.rest-of-the-name``.
    endpoint
        Gives ``{"token": ..., "msft:expiry": ...}``.
    key, header
        Variable of a key that may be sent to the endpoint, and the header that it is sent in.
    """

    kind: Literal["sas"]
    hosts: Hosts
    endpoint: str = Field(pattern=r"^https?://")
    key: Variable = ""
    header: str = Field("", pattern=r"^[A-Za-z0-9-]*$")


class BearerAccess(Entry):
    """Files that want a token in the Authorization header, or a login by netrc.

    Parameters
    ----------
    token
        Variable of the token.
    login
        Host of the login service; where no token is set, an entry for it in the user's netrc serves.
    """

    kind: Literal["bearer"]
    hosts: Hosts
    token: Variable = Field(min_length=1)
    login: str = ""


class S3Access(Entry):
    """Buckets of an S3 service.

    Parameters
    ----------
    endpoint
        URL of the service where it is not Amazon's; addressed by path.
    region
        Of the buckets.
    key, secret
        Variables of the credentials; without, those that Amazon's own tools would use.
    signed
        False where anybody may read.
    requester_pays
        Whoever reads is billed: reading needs the user's consent in the environment.
    """

    kind: Literal["s3"]
    buckets: Names = Field(min_length=1)
    endpoint: str = Field("", pattern=r"^(https?://[^/?#@]+)?$")
    region: str = ""
    key: Variable = ""
    secret: Variable = ""
    signed: bool = True
    requester_pays: bool = False


Access = Annotated[OpenAccess | SasAccess | BearerAccess | S3Access, Field(discriminator="kind")]
"""How files are reached; the first rule that names a file's host or bucket holds."""


class _ProviderFile(Entry):
    name: str = ""
    title: str = ""
    endpoint: str = ""
    aliases: Names = ()
    method: Literal["", "GET", "POST"] = ""
    page: int = Field(100, ge=1, le=10_000)
    rate: float = Field(0.0, ge=0)
    alternate: str = ""
    access: Annotated[tuple[Access, ...], BeforeValidator(lambda v: () if v == "open" else v)] = ()
    collections: dict[str, Offering] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Provider:
    """A known catalog.

    Parameters
    ----------
    name, title
        Name of its file, and what people call it.
    endpoint, aliases
        URL of its STAC API, and others that it is known by.
    method
        How searches begin, where its landing page does not say it well; else empty.
    page
        Items a page: some APIs refuse answers of more than a few megabytes.
    rate
        Most requests a second that one process sends it; 0 for any number.
    alternate
        Which of an asset's alternate hrefs is taken where it has one, such as ``s3``.
    access
        How files are reached.
    collections
        What it has, by canonical name.
    """

    name: str
    title: str
    endpoint: str
    access: tuple[OpenAccess | SasAccess | BearerAccess | S3Access, ...] = ()
    collections: Mapping[str, Offering] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    method: str = ""
    page: int = 100
    rate: float = 0.0
    alternate: str = ""

    def offering(self, collection: str) -> Offering:
        """How this provider has a collection; by its canonical name, without keys, where it is silent."""
        found = self.collections.get(collection, Offering())
        return found if found.name else found.model_copy(update={"name": (collection,)})


UNKNOWN = Provider("", "", "")
"""A catalog that no provider file describes."""


def load_provider(name: str, extra: Sequence[Path] = ()) -> Provider:
    """Provider by name; `UNKNOWN` for an empty name.

    Raises
    ------
    RecipeError
        No such provider (it names the nearest), or its file is wrong.
    """
    if not name:
        return UNKNOWN
    path = find("providers", name, extra)
    if path is None:
        raise unknown("provider", name, list(listing("providers", extra)))
    return _read(name, path)


def all_providers(extra: Sequence[Path] = ()) -> list[Provider]:
    """All known providers, by name."""
    return [_read(name, path) for name, path in listing("providers", extra).items()]


def provider_at(url: str, extra: Sequence[Path] = ()) -> Provider:
    """Provider at whose endpoint this URL is, or below it; else `UNKNOWN`."""
    mine = f"{_bare(url)}/"
    return next(
        (
            provider
            for provider in all_providers(extra)
            for known in (provider.endpoint, *provider.aliases)
            if known and mine.startswith(f"{_bare(known)}/")
        ),
        UNKNOWN,
    )


def _bare(url: str) -> str:
    return re.sub(r"^https?://([^/@]*@)?", "", url.partition("?")[0].rstrip("/").lower())


def _read(name: str, path: Path) -> Provider:
    held = read_entry(path, _ProviderFile)
    return Provider(
        name=name,
        title=held.title or name,
        endpoint=held.endpoint,
        access=held.access,
        collections=held.collections,
        aliases=held.aliases,
        method=held.method,
        page=held.page,
        rate=held.rate,
        alternate=held.alternate,
    )
