"""Objects below a URL: each whole or not there; what goes wrong is said in a user's words."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from chipweave.errors import TransientSourceError, UsageError
from chipweave.files import atomic_path

SCHEMES: Final = ("s3", "s3a", "gs", "az", "abfs", "abfss")

RETRIES: Final = 7
"""Of a request, over some twenty seconds: then the build stops, and goes on when it is run again."""

_SHA256: Final = "sha256"

Tag = dict[str, str]
"""Which state of an object is meant, as its store tells it: most ask for the e_tag, Google's for the version."""


def is_url(out: str | Path) -> bool:
    """Whether a dataset's address is a URL; a path that went through `Path` has lost a slash, and is one still."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(out)) is not None


def address(out: str | Path) -> str:
    """The URL of a dataset, checked.

    Raises
    ------
    UsageError
        See `home`. The message repeats no part of the URL that may be a secret.
    """
    text = re.sub(r"^([A-Za-z][A-Za-z0-9+.-]+):/+", r"\1://", str(out)).rstrip("/")
    parts = urlsplit(text)
    if parts.scheme not in SCHEMES:
        raise UsageError(
            f"datasets are not written to {parts.scheme}://",
            hint=f"name a folder, or one of {', '.join(s + '://' for s in SCHEMES)}",
        )
    user = parts.password is not None or ("@" in parts.netloc and parts.scheme not in {"abfs", "abfss"})
    if parts.query or parts.fragment or user:
        raise UsageError(
            "the address of a dataset holds no query and no user",
            hint="credentials belong into the environment",
        )
    if not parts.netloc or not parts.path.strip("/"):
        raise UsageError(
            f"{text} names no folder", hint="name a bucket and a prefix, such as s3://bucket/data"
        )
    if any(p in {".", ".."} for p in parts.path.split("/")):
        raise UsageError(f"{text}: . and .. have no meaning in a store", hint="name the prefix itself")
    return text


class Store:
    """Objects below a URL.

    Parameters
    ----------
    url
        As `address` gives it.
    objects
        An obstore store of that URL; made with the environment's settings where left out.

    Attributes
    ----------
    check
        Called before an object is put: a lease that was lost raises.

    Raises
    ------
    UsageError
        The environment's settings make no store.
    """

    def __init__(self, url: str, objects: object = None) -> None:
        self.url = url
        self.check: Callable[[], None] = _nothing
        self._store: Any = objects or self._made(url)

    def _made(self, url: str) -> object:
        import obstore.store  # noqa: PLC0415 - builds into folders do without

        # An endpoint without TLS is somebody's own machine; he said so in the environment.
        plain = os.environ.get("AWS_ENDPOINT_URL", os.environ.get("AWS_ENDPOINT", "")).startswith("http://")
        with self._speaking("the store"):
            return obstore.store.from_url(
                url,
                client_options={"allow_http": True} if plain else None,
                retry_config={"max_retries": RETRIES},
            )

    @contextmanager
    def _speaking(self, name: str) -> Iterator[None]:
        """Say what went wrong with an object in a user's words."""
        from obstore import exceptions  # noqa: PLC0415

        try:
            yield
        except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
            raise UsageError(
                f"{self.url}: {name}: the store refuses: {_first_line(error)}",
                hint="check the credentials in the environment, and what they may do",
            ) from None
        except (
            exceptions.UnknownConfigurationKeyError,
            exceptions.InvalidPathError,
            exceptions.NotSupportedError,
            ValueError,
        ) as error:
            raise UsageError(f"{self.url}: {name}: {_first_line(error)}") from None
        except (exceptions.GenericError, exceptions.JoinError, OSError) as error:
            if isinstance(error, FileNotFoundError):
                raise
            raise TransientSourceError(
                f"{self.url}: {name}: the store does not answer as it should: {_first_line(error)}",
                hint="run the same command again: finished work is kept",
                href=self.url,
            ) from None

    def read(self, name: str) -> tuple[bytes, Tag] | None:
        """An object's bytes and its tag, or None where there is none."""
        import obstore  # noqa: PLC0415

        with self._speaking(name):
            try:
                found = obstore.get(self._store, name)
                return bytes(found.bytes()), _tag(found.meta)
            except FileNotFoundError:
                return None

    def fetch(self, name: str, path: Path) -> bool:
        """Copy an object into a file; False where there is none."""
        import obstore  # noqa: PLC0415

        with self._speaking(name):
            try:
                found = obstore.get(self._store, name)
            except FileNotFoundError:
                return False
            with atomic_path(path, durable=False) as temporary, temporary.open("wb") as file:
                for piece in found.stream(min_chunk_size=8 << 20):
                    file.write(piece)
        return True

    def has(self, name: str) -> bool:
        """Whether there is such an object."""
        return self._head(name) is not None

    def holds(self, name: str, size: int, sha256: str) -> bool:
        """Whether an object with these bytes is there, by its own word."""
        return self._head(name) == (size, sha256)

    def _head(self, name: str) -> tuple[int, str] | None:
        """Size of an object and the SHA-256 that it was put with, or None where there is none."""
        import obstore  # noqa: PLC0415

        with self._speaking(name):
            try:
                found = obstore.get(self._store, name, options={"head": True})
            except FileNotFoundError:
                return None
            return int(found.meta["size"]), str(found.attributes.get(_SHA256, ""))

    def put(self, name: str, path: Path, sha256: str) -> None:
        """Put a file, whole or not at all."""
        import obstore  # noqa: PLC0415

        with self._speaking(name):
            try:
                obstore.put(self._store, name, path, attributes={_SHA256: sha256})
            except FileNotFoundError as error:
                raise UsageError(f"{self.url}: {_first_line(error)}", hint="make the bucket first") from None

    def write(self, name: str, data: bytes, *, over: Tag | None = None) -> Tag | None:
        """Put a small object where there is none, or over the one with a tag; None where that is not so."""
        import obstore  # noqa: PLC0415
        from obstore import exceptions  # noqa: PLC0415

        mode: Any = "create" if over is None else over
        with self._speaking(name):
            try:
                return _tag(obstore.put(self._store, name, data, mode=mode))
            except (exceptions.AlreadyExistsError, exceptions.PreconditionError, exceptions.NotModifiedError):
                return None
            except FileNotFoundError as error:
                if over is not None:
                    return None  # it was removed
                raise UsageError(f"{self.url}: {_first_line(error)}", hint="make the bucket first") from None

    def delete(self, name: str) -> None:
        """Remove an object, if it is there."""
        import obstore  # noqa: PLC0415

        with self._speaking(name), suppress(FileNotFoundError):
            obstore.delete(self._store, name)


def _tag(said: Mapping[str, Any]) -> Tag:
    return {name: said[name] for name in ("e_tag", "version") if said.get(name) is not None}


def _nothing() -> None:
    """Without a lease there is none to lose."""


def _first_line(error: BaseException) -> str:
    """What a store's error says, without the debug dump that follows."""
    return str(error).split("\n\nDebug source:")[0].strip().splitlines()[0][:300]
