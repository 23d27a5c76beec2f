"""Tar records with fixed headers: the same files give the same bytes.

USTAR as in POSIX.1-1988: mode 0644, owner 0 without names, time 0, regular files. An archive ends with the
two zero blocks that the standard asks for and is not padded to the 10 240 bytes of a tape record; GNU tar,
bsdtar, `tarfile` and webdataset read it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from chipweave.errors import RecipeError
from chipweave.shards.sample import Member

BLOCK = 512
END = bytes(2 * BLOCK)
"""What ends an archive."""

_NAME_BYTES = 100
_MAX_SIZE = 8**11 - 1  # eleven octal digits


@lru_cache(maxsize=1)
def _blank() -> bytes:
    head = bytearray(BLOCK)
    head[100:108] = b"0000644\0"
    head[108:116] = head[116:124] = b"0000000\0"
    head[136:148] = b"00000000000\0"
    head[148:156] = b" " * 8  # counts as blanks in the checksum
    head[156:157] = b"0"
    head[257:265] = b"ustar\x0000"
    return bytes(head)


def header(name: str, size: int) -> bytes:
    """Header block of a regular file.

    Parameters
    ----------
    name
        At most 100 bytes. (USTAR could hold longer ones only where they have a folder to split at.)
    size
        Bytes of the file, below 8 GiB.

    Raises
    ------
    RecipeError
        The name or the file is too long for the format.
    """
    raw = name.encode("utf-8")
    if len(raw) > _NAME_BYTES:
        raise RecipeError(
            f"file name {name} has {len(raw)} bytes, a tar header holds {_NAME_BYTES}",
            hint="shorten the names of the layers or the template of `chips.key`",
        )
    if size > _MAX_SIZE:
        raise RecipeError(
            f"{name} has {size} bytes, a tar header counts to {_MAX_SIZE}", hint="make the chips smaller"
        )
    head = bytearray(_blank())
    head[: len(raw)] = raw
    head[124:136] = b"%011o\0" % size
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head)


def records(
    members: Sequence[Member],
) -> tuple[list[bytes | memoryview], dict[str, tuple[int, int]], dict[str, tuple[int, int]], int]:
    """Tar records of some files.

    Returns
    -------
    buffers
        To be written one after another.
    payloads
        By field: where the file's own bytes begin, from the first record on, and how many they are.
    sets
        By set of shards: where its records begin, and how many bytes they are; its files come one after another.
    size
        Bytes of all records, a multiple of 512.
    """
    buffers: list[bytes | memoryview] = []
    payloads: dict[str, tuple[int, int]] = {}
    starts: dict[str, int] = {}
    at = 0
    for member in members:
        starts.setdefault(member.set, at)
        size = member.size
        buffers += (header(member.name, size), *member.buffers)
        payloads[member.field] = (at + BLOCK, size)
        padding = -size % BLOCK
        if padding:
            buffers.append(bytes(padding))
        at += BLOCK + size + padding
    ends = [*list(starts.values())[1:], at]
    sets = {own: (start, end - start) for (own, start), end in zip(starts.items(), ends, strict=True)}
    return buffers, payloads, sets, at
