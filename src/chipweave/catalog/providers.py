"""Who answers: a provider's endpoint, and what it calls things (`catalogs/providers/*.yaml`)."""

from __future__ import annotations

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
    offset
        Rule for the stored offset, see `chipweave.catalog.offset.RULES`.
    """

    name: Names = ()
    keys: dict[str, Names] = Field(default_factory=dict)
    offset: str = ""

    @field_validator("offset")
    @classmethod
    def _known_rule(cls, value: str) -> str:
        if value not in RULES:
            raise ValueError(f"unknown offset rule; known: {', '.join(r for r in RULES if r)}")
        return value


class _ProviderFile(Entry):
    name: str = ""
    title: str = ""
    endpoint: str = ""
    access: Literal["open", "signed"] = "open"
    collections: dict[str, Offering] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Provider:
    """A known catalog; `access` is ``open``, or ``signed`` where reading needs signed hrefs."""

    name: str
    title: str
    endpoint: str
    access: str
    collections: Mapping[str, Offering] = field(default_factory=dict)

    def offering(self, collection: str) -> Offering:
        """How this provider has a collection; by its canonical name, without keys, where it is silent."""
        found = self.collections.get(collection, Offering())
        return found if found.name else found.model_copy(update={"name": (collection,)})


UNKNOWN = Provider("", "", "", "open")
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
    """Provider whose endpoint this URL is, else `UNKNOWN`."""
    mine = _bare(url)
    return next((p for p in all_providers(extra) if p.endpoint and _bare(p.endpoint) == mine), UNKNOWN)


def _bare(url: str) -> str:
    return url.partition("?")[0].rstrip("/").lower().removeprefix("https://").removeprefix("http://")


def _read(name: str, path: Path) -> Provider:
    held = read_entry(path, _ProviderFile)
    return Provider(name, held.title or name, held.endpoint, held.access, held.collections)
