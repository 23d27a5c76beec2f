"""A file over http(s) as GDAL finds it: one name, which is opened, seeked and read."""

from __future__ import annotations

import io
from typing import Final, Protocol

from rasterio.abc import FileContainer

NAME: Final = "file.tif"


class Source(Protocol):
    """What bytes come from; `failure` is what kept them from coming."""

    size: int
    failure: BaseException | None

    def read(self, start: int, count: int) -> bytes:
        """Bytes from a place on."""
        ...


class _Handle(io.RawIOBase):
    """What GDAL seeks and reads; nothing is raised into it: it would be lost there."""

    def __init__(self, remote: Source) -> None:
        super().__init__()
        self._remote, self._at = remote, 0

    def read(self, size: int = -1) -> bytes:
        try:
            data = self._remote.read(self._at, size if size >= 0 else self._remote.size)
        except BaseException as error:  # noqa: BLE001 - Ctrl-C too: whoever asked GDAL raises it
            self._remote.failure = error
            return b""
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._remote.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


class _Container(FileContainer):  # type: ignore[misc]
    """The one file that GDAL finds."""

    def __init__(self, remote: Source) -> None:
        self._remote = remote

    def open(self, path: str, mode: str = "r", **_: object) -> _Handle:
        if not self.isfile(path) or not mode.startswith("r") or "+" in mode:
            raise FileNotFoundError(path)
        return _Handle(self._remote)

    def isfile(self, path: str) -> bool:
        return path.rsplit("/", 1)[-1] == NAME

    def isdir(self, path: str) -> bool:
        return not self.isfile(path)

    def ls(self, path: str) -> list[str]:
        del path
        return [NAME]

    def mtime(self, path: str) -> int:
        del path
        return 0

    def rm(self, path: str) -> None:
        raise PermissionError(path)

    def size(self, path: str) -> int:
        if not self.isfile(path):
            raise FileNotFoundError(path)
        return self._remote.size


def container(source: Source) -> FileContainer:
    """What rasterio opens files of, and finds `NAME` in."""
    return _Container(source)
