"""One sample as the files it becomes: `{key}.json`, and one `{key}.{layer}.npy` (`.b2`) or document a layer."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from chipweave.errors import ChipweaveError
from chipweave.model import KEY, Suffix
from chipweave.shards.blosc import decode_b2, encode_b2

Array = NDArray[Any]

JSON = "json"
"""The field of a sample's metadata; so no layer may be called that."""

Encoding = Literal["npy", "blosc2"]

SUFFIXES: dict[Encoding, str] = {"npy": "npy", "blosc2": "b2"}
"""How the file of a layer ends, by encoding."""

_LAYER = re.compile(r"[a-z][a-z0-9_]*")
_MAGIC = b"\x93NUMPY\x01\x00"


@dataclass(frozen=True, slots=True)
class Sample:
    """What one chip carries.

    Parameters
    ----------
    key
        Letters, digits, `_` and `-` only.
    split
        Which shards it belongs to.
    meta
        The contents of `{key}.json`, in the order in which they are written.
    arrays
        By layer name: ``(band, y, x)``, ``(time, band, y, x)`` or ``(y, x)``.
    documents
        By layer name: how the file ends, and its bytes in UTF-8.
    sets
        By layer name, of those that licences keep apart: the set of shards that it is written to.
    """

    key: str
    split: str
    meta: Mapping[str, Any]
    arrays: Mapping[str, Array]
    documents: Mapping[str, tuple[Suffix, bytes]] = field(default_factory=dict)
    sets: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Member:
    """One file of a sample: its name, its field (``json`` or the layer), its bytes, not yet joined, and its set."""

    name: str
    field: str
    buffers: tuple[bytes | memoryview, ...]
    set: str = ""

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return sum(len(b) for b in self.buffers)

    def join(self) -> bytes:
        """Join the file's bytes into one piece."""
        return b"".join(self.buffers)


def sample_members(sample: Sample, encoding: Encoding = "npy") -> list[Member]:
    """Files of a sample: the metadata first, then the layers by name. As `npy`, pixels are not copied.

    Layers that licences keep apart come after the others, set by set, each set with metadata of its own layers alone.

    Raises
    ------
    ChipweaveError
        A key or a layer's name that no reader could take apart again, metadata that are not strict
        JSON, an array of objects.
    """
    if not KEY.fullmatch(sample.key):
        raise ChipweaveError(f"{sample.key!r} is no sample key: letters, digits, _ and - only")
    layers = sorted({*sample.arrays, *sample.documents})
    members = []
    for own in sorted({"", *sample.sets.values()}):
        meta = encode_json(meta_of_set(sample.meta, sample.sets, own), sample.key)
        members.append(Member(f"{sample.key}.{JSON}", json_field(own), (meta,), own))
        members += [_file(sample, n, encoding) for n in layers if sample.sets.get(n, "") == own]
    return members


def json_field(own: str) -> str:
    """Field of the metadata of a set of shards: that of `shards/` is ``json``."""
    return f"{JSON}/{own}" if own else JSON


def meta_of_set(meta: Mapping[str, Any], sets: Mapping[str, str], own: str) -> Mapping[str, Any]:
    """What `{key}.json` of one set holds: of its layers alone. Nothing of one that lies elsewhere goes along."""
    if not sets:
        return meta
    return {**meta, "layers": {n: of for n, of in meta["layers"].items() if sets.get(n, "") == own}}


def _file(sample: Sample, layer: str, encoding: Encoding) -> Member:
    if layer == JSON or not _LAYER.fullmatch(layer):
        raise ChipweaveError(f"{layer!r} is no name for a layer of sample {sample.key}")
    own = sample.sets.get(layer, "")
    if layer in sample.documents:
        suffix, text = sample.documents[layer]
        return Member(f"{sample.key}.{layer}.{suffix}", layer, (text,), own)
    array = sample.arrays[layer]
    buffers = encode_npy(array) if encoding == "npy" else (encode_b2(array),)
    return Member(f"{sample.key}.{layer}.{SUFFIXES[encoding]}", layer, buffers, own)


def encode_json(meta: Mapping[str, Any], what: str) -> bytes:
    """Strict, compact JSON in UTF-8, keys in the order given; `what` names the owner in an error."""
    try:
        text = json.dumps(meta, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    except (TypeError, ValueError) as exc:
        raise ChipweaveError(f"metadata of {what} are not strict JSON: {exc}") from exc
    return text.encode("utf-8")


def encode_npy(array: Array) -> tuple[bytes, memoryview]:
    """NumPy's file format 1.0, little-endian and in C order: its header, and a view of the pixels."""
    if array.dtype.hasobject or array.dtype.names:
        raise ChipweaveError(f"an array of {array.dtype} cannot be stored")
    plain = np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")
    return npy_header(plain.dtype.str, plain.shape), plain.reshape(-1).view(np.uint8).data


@lru_cache(maxsize=256)
def npy_header(dtype: str, shape: tuple[int, ...]) -> bytes:
    """Header of a `.npy` file of that dtype (as in ``numpy.dtype.str``) and shape, padded by NumPy."""
    file = io.BytesIO()
    fields = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, fields)
    return file.getvalue()


def decode_npy(data: bytes | memoryview) -> Array:
    """Array over the bytes of a `.npy` file (format 1.0), without a copy; objects are never unpickled.

    Raises
    ------
    ValueError
        The bytes are no such file, or not all of it.
    """
    view = memoryview(data)
    if bytes(view[:8]) != _MAGIC:
        raise ValueError("not a .npy file of format 1.0")
    start = 10 + int.from_bytes(view[8:10], "little")
    shape, fortran, dtype = _parse_header(bytes(view[8:start]))
    count = math.prod(shape)
    if len(view) != start + count * dtype.itemsize:
        raise ValueError(f"{len(view)} bytes do not hold an array of shape {shape} and type {dtype}")
    if count == 0:
        return np.empty(shape, dtype)
    flat: Array = np.frombuffer(view, dtype, count, start)
    return flat.reshape(shape, order="F" if fortran else "C")


def decode_array(data: bytes | memoryview, dtype: str, shape: tuple[int, ...]) -> Array:
    """Array of a layer's file in whichever encoding; `.npy` is not copied, and is read-only where `data` is.

    Parameters
    ----------
    data
        The file: the two encodings differ in their first byte.
    dtype, shape
        As the sample's JSON has them.

    Raises
    ------
    ValueError
        The bytes are no such array.
    """
    if bytes(data[:1]) != _MAGIC[:1]:
        return decode_b2(data, dtype, shape)
    array = decode_npy(data)
    if array.dtype != np.dtype(dtype) or array.shape != shape:
        raise ValueError(f"an array of {array.dtype} {array.shape}, not of {dtype} {shape}")
    return array


@lru_cache(maxsize=256)
def _parse_header(header: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(io.BytesIO(header))
    if dtype.hasobject:
        raise ValueError("arrays of objects are not read")
    return shape, fortran, dtype
