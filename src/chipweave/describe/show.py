"""`show`: samples and a map of the splits on one sheet, from the folder alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import yaml
import zarr
from numpy.typing import NDArray

from chipweave.describe.colours import Classes
from chipweave.describe.sheet import Panel, Picture, draw
from chipweave.errors import UsageError, VerifyError
from chipweave.files import atomic_write_bytes
from chipweave.model import MASK_BAD
from chipweave.shards.deal import split_order
from chipweave.shards.reader import Reader

_SAMPLES = 12
_MOST = 60
_LAYERS = 5
_RADAR = ("dB", "linear")


def show(folder: Path, keys: Sequence[str] = (), out: Path | None = None) -> Path:
    """Draw a contact sheet: imagery in true colour, labels in their colours, and the map of splits.

    Parameters
    ----------
    folder
        A finished dataset.
    keys
        Samples to draw, at most 60; by default a dozen, spread over the splits and over the area.
    out
        Of the PNG; by default beside the folder, ``{folder}-sheet.png``, as a dataset holds nothing that its
        manifest does not list.

    Returns
    -------
    Path
        Where the sheet was written.

    Raises
    ------
    UsageError
        The folder holds no dataset, a key is not in it, or too many were asked for.
    VerifyError
        A sample cannot be read.
    """
    if len(keys) > _MOST:
        raise UsageError(f"{len(keys)} samples do not fit on a sheet", hint=f"name at most {_MOST} keys")
    folder = Path(folder)
    with Reader(folder) as reader:
        index = reader.index
        missing = [key for key in keys if key not in reader]
        if missing:
            raise UsageError(
                f"{folder} has no sample {missing[0]}",
                hint="its keys stand in the column `key` of index.parquet",
            )
        chosen = list(dict.fromkeys(keys)) or choose(index, _SAMPLES)
        rows = {key: number for number, key in enumerate(reader.keys)}
        stats = _stats(folder)
        classes = {layer: Classes.of(content["classes"]) for layer, content in stats.items()}
        pictures = [_picture(reader, index, rows[key], classes) for key in chosen]
    name = folder.resolve().name
    path = out or folder.resolve().with_name(f"{name}-sheet.png")
    atomic_write_bytes(path, draw(pictures, index, _shares(stats, classes), _title(folder)))
    return path


def _title(folder: Path) -> str:
    """The recipe's title, else its name, else the folder's."""
    path = folder / "recipe.yaml"
    recipe = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return str(recipe.get("title") or recipe.get("name") or folder.resolve().name)


def choose(index: gpd.GeoDataFrame, number: int) -> list[str]:
    """Keys of samples from every split, far from each other; the same for the same index."""
    splits = index["split"].to_numpy(str)
    names = split_order(splits.tolist())
    counts = {name: int(np.sum(splits == name)) for name in names}
    least = max(1, number // (2 * len(names)))
    quota = {name: min(counts[name], least) for name in names}
    while sum(quota.values()) < min(number, len(splits)):
        # The split that has the least of what its share of the dataset would give it comes next.
        open_ = [name for name in names if quota[name] < counts[name]]
        quota[min(open_, key=lambda name: quota[name] / counts[name])] += 1
    bounds = index.geometry.bounds.to_numpy()
    lon, lat = (bounds[:, 0] + bounds[:, 2]) / 2, (bounds[:, 1] + bounds[:, 3]) / 2
    points = np.stack([lon * np.cos(np.radians(lat)), lat], axis=1)
    keys = index["key"].tolist()
    return [keys[k] for name in names for k in _apart(np.flatnonzero(splits == name), points, quota[name])]


def _apart(rows: NDArray[np.int64], points: NDArray[np.float64], number: int) -> list[int]:
    """Rows far from each other: each next one is the farthest from those taken."""
    taken = [0]
    nearest = np.full(len(rows), np.inf)
    while len(taken) < number:
        nearest = np.minimum(nearest, np.linalg.norm(points[rows] - points[rows[taken[-1]]], axis=1))
        taken.append(int(np.argmax(nearest)))
    return sorted(int(rows[k]) for k in taken[:number])


def _stats(folder: Path) -> dict[str, Any]:
    """Read what `stats.json` says of label layers."""
    path = folder / "stats.json"
    content = json.loads(path.read_bytes()) if path.is_file() else {}
    return {layer: of for layer, of in content.items() if "classes" in of}


def _shares(
    stats: Mapping[str, Any], classes: Mapping[str, Classes]
) -> dict[str, list[tuple[str, list[tuple[str, float]]]]]:
    """By label layer, split and class: colours and their shares of the pixels that have a class."""
    out: dict[str, list[tuple[str, list[tuple[str, float]]]]] = {}
    for layer, content in stats.items():
        out[layer] = []
        for split in split_order(content["counts"]):
            counts = content["counts"][split]
            whole = max(sum(counts.values()), 1)
            parts = [(classes[layer].colour(int(code)), n / whole) for code, n in counts.items() if n]
            out[layer].append((split, parts))
    return out


def _picture(reader: Reader, index: gpd.GeoDataFrame, row: int, classes: Mapping[str, Classes]) -> Picture:
    key, split = reader.keys[row], str(index["split"].iloc[row])
    if index["shard"].iloc[row]:
        meta, arrays = reader.read(key)
        layers: Mapping[str, Any] = meta["layers"]
    else:
        layers, arrays = _from_zarr(reader.folder, index, row)
    panels = [
        _panel(name, layers[name], arrays[name], classes.get(name), arrays.get(f"{name}_mask"))
        for name in arrays
        if layers[name]["kind"] in {"imagery", "label"}
    ]
    panels.sort(key=lambda panel: panel.classes is not None)
    if not panels:
        raise VerifyError(f"sample {key} has neither imagery nor a label to show")
    return Picture(key, split, panels[0].date, tuple(panels[:_LAYERS]))


def _panel(
    name: str,
    layer: Mapping[str, Any],
    array: NDArray[Any],
    classes: Classes | None,
    mask: NDArray[Any] | None,
) -> Panel:
    nodata = float("nan") if layer["nodata"] == "nan" else float(layer["nodata"])
    dates = [str(d)[:10] for d in layer["datetime"]]
    if layer["kind"] == "label":
        return Panel(name, array, _is_data(array, nodata), dates[0], classes or Classes.of([]))
    steps = array if array.ndim == 4 else array[None]
    data = np.asarray(_is_data(steps, nodata).all(axis=1), bool)
    # Of a series the step with most pixels.
    step = int(np.argmax(data.reshape(len(data), -1).sum(axis=1)))
    bad = None if mask is None else (mask if mask.ndim == 2 else mask[step]) == MASK_BAD
    seen, radar = _seen(layer, steps[step]), layer.get("unit") in _RADAR
    return Panel(name, seen, data[step], dates[min(step, len(dates) - 1)], bad=bad, decibels=radar)


def _seen(layer: Mapping[str, Any], array: NDArray[Any]) -> NDArray[Any]:
    """Three bands as red, green and blue, or one as grey, of (band, y, x).

    Radar is drawn in decibels, of two polarisations with their ratio: towns yellow, woods green, water blue.
    """
    bands, colours = list(layer["bands"]), ("red", "green", "blue")
    if layer.get("unit") in _RADAR:
        with np.errstate(invalid="ignore", divide="ignore"):
            echo = array if layer["unit"] == "dB" else 10 * np.log10(array)
        return np.stack([echo[0], echo[1], echo[0] - echo[1]]) if len(bands) > 1 else echo
    return array[[bands.index(c) for c in colours] if set(colours) <= set(bands) else [0]]


def _is_data(array: NDArray[Any], nodata: float) -> NDArray[np.bool_]:
    whole: NDArray[np.bool_] = ~np.isnan(array) if np.isnan(nodata) else array != nodata
    return whole


def _from_zarr(
    folder: Path, index: gpd.GeoDataFrame, row: int
) -> tuple[dict[str, dict[str, Any]], dict[str, NDArray[Any]]]:
    """Read a sample of a dataset without tars from the store of its split; described as its JSON would."""
    split = index["split"].iloc[row]
    number = int(np.sum(index["split"].to_numpy()[:row] == split))
    root = zarr.open_group(folder / "zarr" / f"{split}.zarr", mode="r")
    layers: dict[str, dict[str, Any]] = {}
    arrays: dict[str, NDArray[Any]] = {}
    for name, group in sorted(root.groups()):
        stored: Any = group[name]
        bands: Any = group["band"][:] if "band" in group else []  # type: ignore[index]
        arrays[name] = np.asarray(stored[number])
        layers[name] = {
            **stored.attrs.asdict(),
            "bands": list(bands),
            "datetime": list(index[f"{name}_datetime"].iloc[row]),
        }
    return layers, arrays
