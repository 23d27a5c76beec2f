"""`{key}.{layer}.b2`: one array as one chunk of Blosc2, LZ4 after a bit shuffle.

A chunk knows how many bytes it holds and how wide a value is, and nothing of axes: type and shape stand in the
sample's JSON. Any Blosc2 reads it (``blosc2.decompress2``).
"""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chipweave.errors import ChipweaveError

_LEVEL = 5
_BLOCK = 1 << 17  # Blosc's own choice for these types, named so that no tuning changes the bytes
_MOST = (1 << 31) - 1 - 32
_HEADER = struct.Struct("<4xI4xI")  # bytes held, bytes of the block, bytes of the chunk
_HEAD = 16


def encode_b2(array: NDArray[Any]) -> bytes:
    """Compress an array, little-endian and in C order; the same array always gives the same bytes.

    Raises
    ------
    ChipweaveError
        An array of objects, or of 2 GiB and more.
    """
    import blosc2  # noqa: PLC0415 - a third of a second that datasets of .npy save

    if array.dtype.hasobject or array.dtype.names:
        raise ChipweaveError(f"an array of {array.dtype} cannot be stored")
    if array.nbytes > _MOST:
        raise ChipweaveError(f"{array.nbytes} bytes of a layer are more than a Blosc2 chunk holds")
    plain = np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")
    packed: bytes = blosc2.compress2(
        plain,
        codec=blosc2.Codec.LZ4,
        clevel=_LEVEL,
        filters=[blosc2.Filter.BITSHUFFLE],
        typesize=plain.itemsize,
        blocksize=_BLOCK,
        nthreads=1,
    )
    return packed


def decode_b2(data: bytes | memoryview, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Array of that type and shape, writable.

    Raises
    ------
    ValueError
        The bytes are no such chunk, or hold another number of bytes than the array has.
    """
    import blosc2  # noqa: PLC0415 - as above

    array: NDArray[Any] = np.empty(shape, np.dtype(dtype).newbyteorder("<"))
    if len(data) < 2 * _HEAD:
        raise ValueError("not a chunk of Blosc2")
    held, size = _HEADER.unpack_from(data)
    if held != math.prod(shape) * array.itemsize or size != len(data):
        raise ValueError(f"a chunk of {held} bytes is no array of shape {shape} and type {dtype}")
    try:
        blosc2.decompress2(data, dst=array, nthreads=1)
    except (RuntimeError, ValueError) as exc:
        raise ValueError(f"a chunk of Blosc2 that cannot be read: {exc}") from exc
    return array
