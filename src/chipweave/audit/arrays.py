"""One sample under the lens: its JSON, its arrays, and whether one tells the truth about the other."""

from __future__ import annotations

import io
import json
import math
import tokenize
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chipweave.audit.report import Findings
from chipweave.model import MASK_BAD, MASK_CLEAR, MASK_NODATA

Array = NDArray[Any]
Layer = Mapping[str, Any]

CLOSE = 1e-6
"""How far a share may be from what the pixels give."""

_NPY = b"\x93NUMPY"
_WORDS = "kind collection bands dims dtype shape resolution scale offset nodata unit"
NEEDED = tuple(f"{_WORDS} transform datetime items present valid_fraction".split())
NEEDED_OF_TEXT = ("kind", "collection", "dtype", "suffix", "datetime", "items", "present", "valid_fraction")
CONSTANT = (*_WORDS.split(), "legend", "suffix")
"""What a layer says of itself in the same words in every sample."""


def strict_json(data: bytes) -> dict[str, Any]:
    """Parse JSON as the standard has it.

    Raises
    ------
    ValueError
        NaN or infinity, a key that comes twice, or no JSON.
    TypeError
        JSON, but no object.
    """

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is no JSON")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        out = dict(pairs)
        if len(out) < len(pairs):
            raise ValueError("a key comes twice")
        return out

    meta = json.loads(data.decode("utf-8"), parse_constant=refuse, object_pairs_hook=unique)
    if not isinstance(meta, dict):
        raise TypeError("not an object")
    return meta


def shape_of(value: object) -> object:
    """Keys and types of a JSON value; values and lengths of lists do not matter.

    Raises
    ------
    ValueError
        Null, or an empty list: a reader could not tell its type.
    """
    if isinstance(value, dict):
        return {key: shape_of(of) for key, of in value.items()}
    if isinstance(value, list):
        if not value:
            raise ValueError("an empty list")
        kinds = [shape_of(of) for of in value]
        if any(kind != kinds[0] for kind in kinds):
            raise ValueError("a list of different types")
        return [kinds[0]]
    if value is None:
        raise ValueError("null")
    return type(value).__name__


def load_npy(data: bytes) -> Array:
    """Read a `.npy` file with NumPy's own reader, never unpickling.

    Raises
    ------
    ValueError
        Not such a file, or something follows it.
    """
    if not data.startswith(_NPY):  # NumPy would take it for a pickle
        raise ValueError("not a .npy file: it does not begin as one")
    file = io.BytesIO(data)
    try:
        array: Array = np.load(file, allow_pickle=False)
    except (EOFError, MemoryError, SyntaxError, tokenize.TokenError) as exc:
        raise ValueError(f"not a .npy file: {exc}") from exc
    if not isinstance(array, np.ndarray) or file.read(1):
        raise ValueError("not one .npy file")
    return array


def is_document(layer: Layer) -> bool:
    """Whether a layer is text, and no array."""
    return "suffix" in layer


def load_text(data: bytes, layer: Layer) -> str:
    """Read a document: UTF-8; JSON and GeoJSON as the standard has them.

    Raises
    ------
    ValueError, TypeError
        It is not.
    """
    missing = [key for key in NEEDED_OF_TEXT if key not in layer]
    if missing:
        raise ValueError(f"its JSON lacks {', '.join(missing)}")
    text = data.decode("utf-8")
    if layer["suffix"] in {"json", "geojson"}:
        strict_json(data)
    return text


def load_b2(data: bytes, layer: Layer) -> Array:
    """Read a `.b2` file with Blosc2's own reader, of the type and shape that the sample's JSON names.

    Raises
    ------
    ValueError
        Not such a file, or one that holds more or less than that array.
    """
    import blosc2  # noqa: PLC0415 - a third of a second that datasets of .npy save

    try:
        raw = blosc2.decompress2(data)
    except RuntimeError as exc:
        raise ValueError(f"not a Blosc2 chunk: {exc}") from exc
    if int.from_bytes(data[12:16], "little") != len(data):
        raise ValueError("something follows the Blosc2 chunk")
    array: Array = np.frombuffer(raw, np.dtype(layer["dtype"]).newbyteorder("<"))
    return array.reshape(layer["shape"])


def nodata_of(layer: Layer) -> float:
    """No-data value of a layer, NaN where JSON says ``"nan"``."""
    return math.nan if layer["nodata"] == "nan" else float(layer["nodata"])


def data_of(array: Array, nodata: float) -> NDArray[np.bool_]:
    """Where an array is data."""
    return np.asarray(~np.isnan(array) if math.isnan(nodata) else array != nodata, bool)


def check_form(name: str, layer: Layer, array: Array, findings: Findings) -> bool:
    """Check type, shape and dimensions of an array against its JSON."""
    before = findings.failed
    missing = [key for key in NEEDED if key not in layer]
    if missing:
        findings.fail(f"{name} lacks {', '.join(missing)} in its JSON")
        return False
    if array.dtype.str[0] not in "<|" or array.dtype != np.dtype(layer["dtype"]):
        findings.fail(f"{name} is {array.dtype.str}, its JSON says {layer['dtype']}")
    if list(array.shape) != layer["shape"]:
        findings.fail(f"{name} has shape {list(array.shape)}, its JSON says {layer['shape']}")
    if len(layer["dims"]) != array.ndim or layer["dims"][-2:] != ["y", "x"]:
        findings.fail(f"{name} has {array.ndim} axes, its JSON says {layer['dims']}")
    elif "band" in layer["dims"] and array.shape[layer["dims"].index("band")] != len(layer["bands"]):
        findings.fail(f"{name} does not have one plane for each of {layer['bands']}")
    return findings.failed == before


def check_nodata(name: str, layer: Layer, array: Array, findings: Findings) -> None:
    """Check that no data is what it is said to be."""
    nodata = nodata_of(layer)
    if np.issubdtype(array.dtype, np.floating):
        if np.isinf(array).any():
            findings.fail(f"{name} holds infinity")
    elif math.isnan(nodata) or not _fits(nodata, array.dtype):
        findings.fail(f"{name}: {array.dtype} cannot hold {layer['nodata']}")
        return
    if layer["kind"] == "mask":
        codes = [MASK_CLEAR, MASK_BAD, MASK_NODATA]
        _only(name, array, codes, findings)
    elif "fractions" in layer:
        rest = [layer["unlabeled"]] if "unlabeled" in layer else []
        _only(name, array, [*map(int, layer["fractions"]), *rest, int(nodata)], findings)
    if not layer["present"]:
        if data_of(array, nodata).any():
            findings.fail(f"{name} is not present but has data")
        if layer["items"] != [[""]] or layer["datetime"] != [""]:
            findings.fail(f"{name} is not present but names items or dates")
    else:
        _check_steps(name, layer, array, findings)


def _check_steps(name: str, layer: Layer, array: Array, findings: Findings) -> None:
    """Every step names its items and its date, but those of a series that are missing: they hold no data."""
    planes = array if layer["dims"][0] == "time" else array[None]
    if not len(planes) == len(layer["items"]) == len(layer["datetime"]):
        findings.fail(f"{name} does not name items and a date for each of its {len(planes)} steps")
        return
    gaps = [items == [""] and not date for items, date in zip(layer["items"], layer["datetime"], strict=True)]
    dateless = layer["kind"] == "label"  # a file may say nothing of when
    named = [
        all(items) and (bool(date) or dateless)
        for items, date in zip(layer["items"], layer["datetime"], strict=True)
    ]
    if all(gaps) or not all(a or b for a, b in zip(gaps, named, strict=True)):
        findings.fail(f"{name} is present but names no item or no date")
    elif any(data_of(plane, nodata_of(layer)).any() for plane, gap in zip(planes, gaps, strict=True) if gap):
        findings.fail(f"{name} has data in a step that names no item")


def _fits(nodata: float, dtype: np.dtype[Any]) -> bool:
    limits = np.iinfo(dtype)
    return nodata.is_integer() and limits.min <= nodata <= limits.max


def _only(name: str, array: Array, codes: Sequence[int], findings: Findings) -> None:
    other = np.setdiff1d(np.unique(array), codes)
    if other.size:
        findings.fail(f"{name} holds {other[:5].tolist()}, which its legend does not know")


def check_shares(
    name: str, layer: Layer, array: Array, mask: Array | None, findings: Findings, *, blanked: bool
) -> None:
    """Work out the shares of an imagery, label or mask layer again."""
    if not layer["present"]:
        said = [
            layer["valid_fraction"],
            layer.get("cloud_fraction", 0.0),
            *layer.get("fractions", {}).values(),
        ]
        if any(said):
            findings.fail(f"{name} is not present but has shares above 0")
        return
    data = data_of(array, nodata_of(layer))
    if layer["kind"] == "imagery":
        whole = np.asarray(data.all(axis=layer["dims"].index("band")), bool)
        _check_valid(name, layer, whole, mask, findings, blanked=blanked)
        if mask is not None and mask.shape == whole.shape:
            known = np.count_nonzero(mask != MASK_NODATA)
            bad = np.count_nonzero(mask == MASK_BAD) / known if known else 0.0
            _same(f"cloud_fraction of {name}", layer["cloud_fraction"], bad, findings)
        elif not 0 <= layer["cloud_fraction"] <= 1:
            findings.fail(f"cloud_fraction of {name} is {layer['cloud_fraction']}")
        return
    _same(f"valid_fraction of {name}", layer["valid_fraction"], float(data.mean()), findings)
    for code, share in layer.get("fractions", {}).items():
        _same(
            f"share of {code} in {name}", share, np.count_nonzero(array == int(code)) / array.size, findings
        )
    if "ignored" in layer and (
        "scene_fractions" in layer or "classes" not in layer
    ):  # Zarr alone says no `ignore`
        own = {c: s for c, s in layer["fractions"].items() if int(c) not in layer.get("ignore", ())}
        counted = sum(layer.get("scene_fractions", own).values())
        _same(f"share of {name} that is ignored", layer["ignored"], 1 - counted, findings)


def _check_valid(
    name: str,
    layer: Layer,
    whole: NDArray[np.bool_],
    mask: Array | None,
    findings: Findings,
    *,
    blanked: bool,
) -> None:
    """`valid_fraction` is from before bad pixels were erased: then it is known up to those."""
    said, least = layer["valid_fraction"], float(whole.mean())
    if not blanked:
        _same(f"valid_fraction of {name}", said, least, findings)
        return
    most = 1.0
    if mask is not None and mask.shape == whole.shape:
        most = float((whole | (mask == MASK_BAD)).mean())
        if (whole & (mask == MASK_BAD)).any():
            findings.fail(f"{name} has bad pixels that were to be erased")
    if not least - CLOSE <= said <= most + CLOSE:
        findings.fail(f"valid_fraction of {name} is {said}, the pixels give {least} to {most}")


def _same(what: str, said: float, found: float, findings: Findings) -> None:
    if not abs(said - found) <= CLOSE:
        findings.fail(f"{what} is {said}, the pixels give {found}")
