"""Where an item's files lie: hrefs resolved, the local-file rule held, secrets kept out of messages."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, unquote_plus, urljoin, urlsplit, urlunsplit

from chipweave.errors import PermanentSourceError
from chipweave.recipe.loaded import is_secret

ENV_ROOTS = "CHIPWEAVE_LOCAL_ROOTS"
"""Folders below which a remote catalog may name local files, joined by `os.pathsep`."""

ENV_HOSTS = "CHIPWEAVE_TRUSTED_HOSTS"
"""Hosts of private networks (``name`` or ``name:port``, joined by commas) that a catalog or server may lead to."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(?=//)|(file|data|mailto|urn|javascript):", re.IGNORECASE)
_REMOTE = frozenset({"http", "https", "s3"})
_DIRTY = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_VSI = re.compile(r"/+vsi", re.IGNORECASE)


class UnusableHrefError(ValueError):
    """An href of a kind that is not read; the band counts as missing."""


def scheme_of(text: str) -> str:
    """Scheme of a URL in lower case, empty for a path."""
    match = _SCHEME.match(text)
    return (match.group(1) or match.group(2)).lower() if match else ""


def is_http(text: str) -> bool:
    """Whether this is an http or https URL."""
    return scheme_of(text) in {"http", "https"}


def is_database(text: str) -> bool:
    """Whether this is the URL of a PostgreSQL database."""
    return scheme_of(text).partition("+")[0] in {"postgresql", "postgres"}


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def redact(url: str) -> str:
    """The URL as it may be shown: without user, password, query and fragment. A path stays as it is."""
    if not scheme_of(url):
        return url
    try:
        parts = urlsplit(url)
    except ValueError:  # such as a broken IPv6 host
        return f"{scheme_of(url)}://(unreadable)"
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


_RASTER = re.compile(r"\.(tiff?|jp2)$", re.IGNORECASE)

_SAS = frozenset(
    "sv ss srt st se sp sr si sip spr skoid sktid skt ske sks skv saoid suoid scid sdd".split()  # noqa: SIM905
)
"""What stands beside `sig` in a shared access signature of Azure."""

_OLD = frozenset({"policy", "key-pair-id", "expires", "awsaccesskeyid", "googleaccessid"})
"""What stands beside `signature` where CloudFront signed, or Amazon or Google in their older way."""


def unsigned(href: str) -> str:
    """The href without user, password, signature, tokens and keys: what may be stored. A path stays as it is.

    What else a query says stays: it may name the file.

    Examples
    --------
    >>> unsigned("https://u:p@a.blob.core.windows.net/c/B04.tif?v=2&sv=2021&se=2026&sr=c&sig=abc")
    'https://a.blob.core.windows.net/c/B04.tif?v=2'
    """
    if scheme_of(href) not in _REMOTE or not any(mark in href for mark in "?#@"):
        return href
    try:
        parts = urlsplit(href)
    except ValueError:
        return redact(href)
    said = [part for part in re.split("[&;]", parts.query) if part]
    names = [unquote_plus(part.partition("=")[0]).lower() for part in said]
    # Some servers call a file's name its key.
    files = [bool(_RASTER.search(unquote_plus(part))) for part in said]
    beside = (_SAS if "sig" in names else frozenset()) | (_OLD if "signature" in names else frozenset())
    kept = [
        part
        for part, n, is_file in zip(said, names, files, strict=True)
        if n not in beside and (is_file or not is_secret(n))
    ]
    query = parts.query if len(kept) == len(said) else "&".join(kept)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, query, ""))


def is_clean(text: str) -> bool:
    """Whether a text from a catalog may be stored and shown: no control, bidi or half characters."""
    return not _DIRTY.search(text)


def shown(text: object, limit: int = 80) -> str:
    """A text from a catalog for a message: control characters replaced, at most `limit` characters."""
    clean = _DIRTY.sub("?", str(text))
    return clean if len(clean) <= limit else f"{clean[: limit - 3]}..."


@dataclass(frozen=True, slots=True)
class LocalRule:
    """Folders below which items may name local files, as real paths.

    Parameters
    ----------
    roots
        Existing folders, symlinks resolved.
    remote
        Whether the catalog is reached over http(s).
    """

    roots: tuple[str, ...]
    remote: bool

    @classmethod
    def of(cls, own: Path | None, roots: Iterable[Path]) -> LocalRule:
        """Rule for a catalog: its `own` folder where it is a path, else None, and the allowed `roots`.

        A folder that does not exist allows nothing.
        """
        folders = [*([own] if own is not None else []), *roots]
        real = [os.path.realpath(f) for f in folders if f.is_dir()]
        return cls(tuple(dict.fromkeys(real)), own is None)

    def admit(self, path: str, item: str) -> str:
        """Real path of a local file that `item` names.

        Raises
        ------
        PermanentSourceError
            The file lies outside every allowed folder, or is one of GDAL's virtual paths.
        """
        real = os.path.realpath(path)
        inside = any(real.startswith(root.rstrip(os.sep) + os.sep) for root in self.roots)
        if inside and not _VSI.match(real):
            return real
        what = f"item {shown(item)!r} names the local file {shown(path, 200)}"
        if self.remote:
            raise PermanentSourceError(
                f"{what}; a remote catalog may name local files only below local_roots",
                hint=f"set local_roots in the recipe or {ENV_ROOTS} if you trust this catalog",
                href=shown(path, 200),
            )
        raise PermanentSourceError(
            f"{what}, outside the catalog's own folder",
            hint="move the catalog, or list the folder in local_roots",
            href=shown(path, 200),
        )


def env_roots() -> tuple[Path, ...]:
    """Folders named by the environment; empty entries name nothing (never the current folder)."""
    return tuple(Path(p) for p in os.environ.get(ENV_ROOTS, "").split(os.pathsep) if p.strip())


def resolve(href: str, *, origin: str, self_link: str, rule: LocalRule, item: str) -> str:
    """Where a file of an item lies.

    Parameters
    ----------
    href
        As the asset states it.
    origin
        URL or absolute path of the document that held the item.
    self_link
        The item's own `self` link, or empty.
    rule
        Which local files are allowed.
    item
        Id, for messages.

    Returns
    -------
    str
        An http, https or s3 URL without any secret, or a real absolute path.

    Raises
    ------
    PermanentSourceError
        A local file outside the allowed folders, or a path of GDAL's virtual file systems.
    UnusableHrefError
        A scheme that is not read.
    """
    scheme = scheme_of(href)
    if scheme in _REMOTE:
        check_host(href, origin, f"item {shown(item)!r}")
        return unsigned(href)
    if scheme == "file":
        return rule.admit(_file_path(href, item), item)
    if scheme:
        raise UnusableHrefError(f"scheme {scheme} is not read")
    if _VSI.match(href):
        raise PermanentSourceError(
            f"item {shown(item)!r} names {shown(href, 200)}: GDAL's virtual paths are refused",
            href=shown(href, 200),
        )
    if href.startswith("/"):
        return rule.admit(href, item)
    return _relative(href, origin=origin, self_link=self_link, rule=rule, item=item)


def check_host(href: str, origin: str, who: str) -> None:
    """Keep a catalog of the open internet from sending its readers into their own network.

    Only what needs no look-up is judged: addresses, and names of this machine. `who` names the URL, for the message.

    Raises
    ------
    PermanentSourceError
        It does.
    """
    if not is_http(href) or not is_http(origin):
        return
    try:
        there, here = urlsplit(href), urlsplit(origin)
        host, home, port = (there.hostname or "").lower(), (here.hostname or "").lower(), there.port
    except ValueError:
        raise UnusableHrefError("its URL cannot be read") from None
    if host == home or is_public(host) or not is_public(home) or "." not in home or is_trusted(host, port):
        return
    raise PermanentSourceError(
        f"{who} names {shown(redact(href), 200)}, which is no public address",
        hint=f"list the host in {ENV_HOSTS} if you trust this catalog",
        href=shown(redact(href), 200),
    )


def is_public(address: str) -> bool:
    """Whether an IP address is one of the open internet; a name counts as one, but for those of this machine."""
    address = address.partition("%")[0].removesuffix(".")
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        try:  # 127.1, 2130706433 and 0x7f000001 are read as addresses by whoever connects
            found = ipaddress.ip_address(socket.inet_aton(address))
        except (OSError, ValueError):
            return address != "localhost" and not address.endswith(".localhost")
    mapped = getattr(found, "ipv4_mapped", None)
    return bool((mapped or found).is_global) and not found.is_multicast


def is_trusted(host: str, port: int | None) -> bool:
    """Whether the user lets servers lead to this host of a private network."""
    listed = {one.strip().lower() for one in os.environ.get(ENV_HOSTS, "").split(",")} - {""}
    return host in listed or f"{host}:{port}" in listed


def _file_path(href: str, item: str) -> str:
    parts = urlsplit(href)
    if parts.netloc not in {"", "localhost"}:
        raise PermanentSourceError(f"item {shown(item)!r} names a file of another host: {shown(href, 200)}")
    path = unquote(parts.path)
    if not path.startswith("/") or not is_clean(path):
        raise PermanentSourceError(f"item {shown(item)!r} names no absolute path: {shown(href, 200)}")
    return path


def _relative(href: str, *, origin: str, self_link: str, rule: LocalRule, item: str) -> str:
    own = _own_location(self_link, origin)
    if is_http(origin):
        base = own or origin
        # Resolved against a signed URL it would not be signed; nor does a secret in the base belong to the file.
        if not is_http(base):
            return rule.admit(beside(base, href), item)
        url = joined(base, href)
        check_host(url, origin, f"item {shown(item)!r}")
        return unsigned(url)
    # A file is where the catalog lies, whatever self link it was published with; that link comes second.
    bases = [origin, *([own] if own and not is_http(own) else [])]
    paths = [beside(b, h) for b in bases for h in dict.fromkeys((href, unquote(href)))]
    there = next((p for p in paths if is_clean(p) and Path(p).exists()), None)
    if there is None and is_http(own):
        return unsigned(joined(own, href))
    return rule.admit(there or paths[0], item)


def joined(base: str, href: str) -> str:
    """URL of what is named relative to another.

    Raises
    ------
    UnusableHrefError
        It is none, such as one with a broken IPv6 host.
    """
    try:
        return urljoin(base, href)
    except ValueError:
        raise UnusableHrefError("its URL cannot be read") from None


def beside(document: str, name: str) -> str:
    """Path of a file that is named relative to a document."""
    return str(Path(document).parent / name)


def _own_location(self_link: str, origin: str) -> str:
    """URL or absolute path of a self link, or empty where it says nothing that is read."""
    scheme = scheme_of(self_link)
    if not self_link or _VSI.match(self_link):
        return ""
    if scheme in {"http", "https", "s3"}:
        return self_link if scheme != "s3" else ""
    if scheme == "file":
        return unquote(urlsplit(self_link).path)
    if scheme:
        return ""
    if self_link.startswith("/"):
        return self_link
    if is_http(origin):
        return joined(origin, self_link)
    return os.path.normpath(beside(origin, self_link))
