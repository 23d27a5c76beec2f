"""Files behind a login: signed late, by whoever opens them, with secrets from the environment alone.

Hrefs are unsigned wherever they are stored, sent or shown. `opening` turns one into what GDAL opens, by the rules of
the provider files (`access:`); a rule holds for the hosts and buckets that it names, never for what a catalog claims.
"""

from __future__ import annotations

import fnmatch
import math
import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Final
from urllib.parse import SplitResult, urlsplit

import rasterio
from rasterio.session import Session

from chipweave.catalog import login, tokens
from chipweave.catalog.hrefs import is_loopback, redact, scheme_of
from chipweave.catalog.pace import pace_of
from chipweave.catalog.providers import (
    UNKNOWN,
    BearerAccess,
    OpenAccess,
    Provider,
    S3Access,
    SasAccess,
    all_providers,
)
from chipweave.catalog.secrets import keep_secret
from chipweave.errors import PermanentSourceError, TransientSourceError
from chipweave.recipe.data import VARIABLE, catalogs_root, listing

Rule = OpenAccess | SasAccess | BearerAccess | S3Access

CONSENT: Final = ("AWS_REQUEST_PAYER", "requester")
"""Variable, and its value, by which a user agrees to be billed; Amazon's and GDAL's own."""

_ANYBODY = (OpenAccess(kind="open", hosts=("*",)), UNKNOWN)

_NETLOC = re.compile(r"[A-Za-z0-9.-]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?")


@dataclass(frozen=True, slots=True)
class Opening:
    """How GDAL opens a file: its name there, options while it is opened, and until when (seconds since 1970).

    Both name and options may hold secrets: neither is shown or stored.
    """

    name: str = field(repr=False)
    options: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    until: float = math.inf

    def env(self, **more: str) -> rasterio.Env:
        """GDAL's settings while the file is opened, and `more` of them."""
        return rasterio.Env(session=_Held(self.options), **more)


class _Held(Session):  # type: ignore[misc]  # rasterio is not typed
    """Hands options over as credentials: as plain options rasterio refuses some of them."""

    def __init__(self, options: Mapping[str, str]) -> None:
        self._options = dict(options)

    @classmethod
    def hascreds(cls, config: Mapping[str, str]) -> bool:
        """Whether `config` holds credentials already: never, these are of one file."""
        del config
        return False

    def get_credential_options(self) -> dict[str, str]:
        """The options."""
        return self._options


class _Context(threading.local):
    catalogs: tuple[Path, ...] = ()


_context = _Context()


@contextmanager
def rules_of(catalogs: Sequence[Path]) -> Iterator[None]:
    """Look for providers in these `catalogs/` folders too, in this thread, until the block ends."""
    before = _context.catalogs
    _context.catalogs = tuple(catalogs)
    try:
        yield
    finally:
        _context.catalogs = before


def opening(href: str) -> Opening:
    """How a remote file is opened now.

    Parameters
    ----------
    href
        http, https or s3 URL, unsigned.

    Raises
    ------
    TransientSourceError
        A secret is missing from the environment, or the service that signs does not answer.
    PermanentSourceError
        A secret would be sent in the clear, or the URL is none, or one that different readers read differently.
    """
    try:
        parts = urlsplit(href)
    except ValueError:  # such as a broken IPv6 host
        raise PermanentSourceError(f"{redact(href)}: is no URL", href=redact(href)) from None
    rule, provider = _rule(parts)
    if isinstance(rule, OpenAccess):
        return Opening(_plain(href))
    if not _NETLOC.fullmatch(parts.netloc):
        raise PermanentSourceError(f"{redact(href)}: a host that is not clear", href=redact(href))
    if isinstance(rule, S3Access):
        return _s3(href, rule)
    _private(href, parts)
    return _bearer(href, rule) if isinstance(rule, BearerAccess) else _sas(href, parts, rule, provider)


def refused(href: str) -> None:
    """Forget what an href was signed with: the server no longer takes it."""
    parts = urlsplit(href)
    rule, _ = _rule(parts)
    if isinstance(rule, SasAccess):
        tokens.forget(_token_url(parts, rule))


def _plain(href: str) -> str:
    """Name without any signature; s3 by GDAL's own, since rasterio would look for credentials by itself."""
    return f"/vsis3/{href[5:]}" if scheme_of(href) == "s3" else href


def _rule(parts: SplitResult) -> tuple[Rule, Provider]:
    """First rule that names the host or bucket of a URL; anybody may read what no rule names."""
    try:
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        return _ANYBODY
    s3 = parts.scheme.lower() == "s3"
    for rule, provider in _rules(_context.catalogs, os.environ.get(VARIABLE, "")):
        if isinstance(rule, S3Access) != s3:
            continue
        names = rule.buckets if isinstance(rule, S3Access) else rule.hosts
        said = (parts.netloc,) if s3 else (host, f"{host}:{port}")
        if any(fnmatch.fnmatchcase(one, name) for name in names for one in said):
            return rule, provider
    return _ANYBODY


@lru_cache(maxsize=8)
def _rules(catalogs: tuple[Path, ...], variable: str) -> tuple[tuple[Rule, Provider], ...]:
    del variable  # `all_providers` reads it; here it only tells one set of folders from another
    shipped = catalogs_root()
    own = {name for name, path in listing("providers", catalogs).items() if not path.is_relative_to(shipped)}
    # What a user says of a host comes before what we say.
    known = sorted(all_providers(catalogs), key=lambda p: (p.name not in own, p.name))
    return tuple((rule, provider) for provider in known for rule in provider.access)


def _private(href: str, parts: SplitResult) -> None:
    """Hold secrets back from connections that anybody may read."""
    if parts.scheme.lower() != "https" and not is_loopback(parts.hostname or ""):
        raise PermanentSourceError(
            f"{redact(href)}: needs a secret, which is not sent without https", href=redact(href)
        )


def _token_url(parts: SplitResult, rule: SasAccess) -> str:
    account = (parts.hostname or "").partition(".")[0]
    container = parts.path.lstrip("/").partition("/")[0]
    return f"{rule.endpoint.rstrip('/')}/{account}/{container}"


def _sas(href: str, parts: SplitResult, rule: SasAccess, provider: Provider) -> Opening:
    _private(rule.endpoint, urlsplit(rule.endpoint))
    key = os.environ.get(rule.key, "") if rule.key else ""
    headers = {rule.header: keep_secret(key)} if key and rule.header else {}
    token = tokens.token_for(_token_url(parts, rule), headers, pace_of(provider.name, provider.rate))
    if not token.text:
        return Opening(_plain(href), until=token.until)
    return Opening(f"/vsicurl/{href}{'&' if parts.query else '?'}{token.text}", until=token.until)


def _bearer(href: str, rule: BearerAccess) -> Opening:
    # A token is not sent on where the server leads to another host, which is how such files are handed out.
    token = os.environ.get(rule.token, "").strip()
    if token:
        return Opening(href, {"GDAL_HTTP_AUTH": "BEARER", "GDAL_HTTP_BEARER": keep_secret(token)})
    options = login.netrc_options(rule.login) if rule.login else None
    if options is not None:
        return Opening(href, options)
    other = f", and no netrc has a login for {rule.login}" if rule.login else ""
    raise TransientSourceError(
        f"{redact(href)}: {rule.token} is not set{other}",
        hint=f"set {rule.token} in the environment of whoever reads, then run the same command again",
        href=redact(href),
    )


def _s3(href: str, rule: S3Access) -> Opening:
    options = {"AWS_REGION": rule.region} if rule.region else {}
    if rule.endpoint:
        service = urlsplit(rule.endpoint)
        if rule.signed:
            _private(rule.endpoint, service)
        options |= {
            "AWS_S3_ENDPOINT": service.netloc,
            "AWS_HTTPS": "YES" if service.scheme == "https" else "NO",
            "AWS_VIRTUAL_HOSTING": "FALSE",
        }
    if not rule.signed:
        return Opening(_plain(href), {**options, "AWS_NO_SIGN_REQUEST": "YES"})
    if rule.key and rule.secret:
        missing = [name for name in (rule.key, rule.secret) if not os.environ.get(name, "").strip()]
        if missing:
            raise TransientSourceError(
                f"{redact(href)}: {' and '.join(missing)} not set",
                hint=f"set {rule.key} and {rule.secret} in the environment of whoever reads, then run it again",
                href=redact(href),
            )
        options |= {
            "AWS_NO_SIGN_REQUEST": "NO",
            "AWS_ACCESS_KEY_ID": os.environ[rule.key].strip(),
            "AWS_SECRET_ACCESS_KEY": keep_secret(os.environ[rule.secret].strip()),
            # Of another account, where the environment has one.
            "AWS_SESSION_TOKEN": "",
        }
    else:
        for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):  # GDAL finds them by itself
            keep_secret(os.environ.get(name, ""))
    if rule.requester_pays:
        if os.environ.get(CONSENT[0], "").strip().lower() != CONSENT[1]:
            raise TransientSourceError(
                f"{redact(href)}: whoever reads this bucket is billed for it",
                hint=f"set {CONSENT[0]}={CONSENT[1]} beside your credentials if you agree, then run it again",
                href=redact(href),
            )
        options["AWS_REQUEST_PAYER"] = CONSENT[1]
    return Opening(_plain(href), options)
