"""Samples as they are looked at: which ones, and their layers as pictures; what is drawn on is another's."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import yaml
from numpy.typing import NDArray

from chipweave.describe.colours import Classes
from chipweave.errors import VerifyError
from chipweave.model import MASK_BAD
from chipweave.shards.deal import split_order
from chipweave.shards.reader import Reader

_LAYERS = 8
_TEXTS = 2
"""Texts of a sample that are shown."""
_RADAR = ("dB", "linear")


@dataclass(frozen=True, slots=True)
class Panel:
    """One layer of a sample.

    Parameters
    ----------
    layer
        Its name.
    array
        (3, y, x) red, green, blue, or (1, y, x), as stored; (y, x) codes of a label.
    data
        (y, x) false where there is no data.
    date
        What it shows.
    classes
        Of a label; None for imagery.
    bad
        (y, x) true where a mask says so: clouds are drawn, but they do not set the stretch.
    decibels
        Radar: a decibel is as bright in each of its bands.
    """

    layer: str
    array: NDArray[Any]
    data: NDArray[np.bool_]
    date: str
    classes: Classes | None = None
    bad: NDArray[np.bool_] | None = None
    decibels: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """A sample as it is drawn; `words` stand below its panels, a text each."""

    key: str
    split: str
    date: str
    panels: tuple[Panel, ...]
    words: tuple[str, ...] = ()


def title_of(folder: Path) -> str:
    """The recipe's title, else its name, else the folder's."""
    path = folder / "recipe.yaml"
    recipe = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return str(recipe.get("title") or recipe.get("name") or folder.resolve().name)


def class_counts(folder: Path) -> dict[str, Any]:
    """Read what `stats.json` says of label layers."""
    path = folder / "stats.json"
    content = json.loads(path.read_bytes()) if path.is_file() else {}
    return {layer: of for layer, of in content.items() if "classes" in of}


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


def picture_of(reader: Reader, index: gpd.GeoDataFrame, row: int, classes: Mapping[str, Classes]) -> Picture:
    """One sample as it is looked at.

    Parameters
    ----------
    reader, index, row
        The dataset, its index, and which row of it.
    classes
        Of the label layers, by name.

    Raises
    ------
    VerifyError
        It has neither imagery nor a label, or cannot be read.
    """
    key, split = reader.keys[row], str(index["split"].iloc[row])
    if index["shard"].iloc[row]:
        meta, arrays = reader.read(key)
        layers: Mapping[str, Any] = meta["layers"]
    else:
        layers, arrays = _from_zarr(reader.folder, index, row)
    panels = [
        _panel(name, layers[name], arrays[name], classes.get(name), arrays.get(f"{name}_mask"))
        for name in arrays
        if layers[name]["kind"] in {"imagery", "label", "scalar"}
    ]
    panels.sort(key=lambda panel: panel.classes is not None)
    if not panels:
        raise VerifyError(f"sample {key} has neither imagery nor a label to show")
    words = _words(reader, key, layers) if index["shard"].iloc[row] else ()
    return Picture(key, split, panels[0].date, tuple(panels[:_LAYERS]), words)


def _words(reader: Reader, key: str, layers: Mapping[str, Any]) -> tuple[str, ...]:
    """What is written about a sample: every line of its first texts."""
    texts = [name for name, of in layers.items() if of["kind"] == "text" and of.get("suffix") == "txt"]
    names = [name for name in texts if not name.endswith("_prompt")]
    return tuple(
        line for name in names[:_TEXTS] for line in reader.read_document(key, name).splitlines() if line
    )


def _panel(
    name: str,
    layer: Mapping[str, Any],
    array: NDArray[Any],
    classes: Classes | None,
    mask: NDArray[Any] | None,
) -> Panel:
    nodata = float("nan") if layer["nodata"] == "nan" else float(layer["nodata"])
    dates = [str(d)[:10] for d in layer["datetime"]]
    if layer["kind"] != "imagery" and np.issubdtype(array.dtype, np.floating):
        return Panel(name, array[None], _is_data(array, nodata), dates[0])
    if layer["kind"] != "imagery":
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
    import zarr  # noqa: PLC0415 - dear to import, and datasets with tars do without

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


def true_colour(panel: Panel, stretch: NDArray[np.float64]) -> NDArray[np.float64]:
    """(y, x, 4) picture from 0 to 1, transparent where there is no data."""
    low, high = (stretch[:, k][:, None, None] for k in (0, 1))
    shown = np.where(panel.data, panel.array, low).astype(np.float64)
    scaled = np.clip((shown - low) / np.maximum(high - low, 1e-12), 0, 1)
    colour = np.broadcast_to(scaled, (3, *scaled.shape[1:]))
    return np.moveaxis(np.concatenate([colour, panel.data[None].astype(np.float64)]), 0, -1)


def stretches(pictures: Sequence[Picture]) -> dict[str, NDArray[np.float64]]:
    """By imagery layer, (bands, 2): what 2 and 98 % of the sheet's clear pixels stay below."""
    values: dict[str, list[NDArray[Any]]] = {}
    for clear_only in (True, False):
        for picture in pictures:
            for panel in picture.panels:
                used = panel.data if panel.bad is None or not clear_only else panel.data & ~panel.bad
                if panel.classes is None and used.any() and (clear_only or panel.layer not in values):
                    values.setdefault(panel.layer, []).append(panel.array[:, used])
    found = {
        layer: np.percentile(np.concatenate(parts, axis=1).astype(np.float64), (2, 98), axis=1).T
        for layer, parts in values.items()
    }
    for layer in {panel.layer for picture in pictures for panel in picture.panels if panel.decibels} & set(
        found
    ):
        # The narrow band, a ratio that is mostly speckle, would otherwise be the loudest.
        middle = found[layer].mean(axis=1, keepdims=True)
        half = float(np.ptp(found[layer], axis=1).max()) / 2
        found[layer] = middle + np.array([-half, half])
    return found
