"""One record a polygon: statistics of the pixels whose centres it holds, a band and date, as EuroCropsML and OAD have.

A polygon belongs to the chip that holds its inner point (one that surely lies on it), so that chips side by side give
each polygon one record; of a polygon that reaches beyond its chip the pixels in the chip count, and `share` says how
much of its area that is.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyproj
import shapely
from shapely.geometry.base import BaseGeometry

from chipweave.errors import RecipeError
from chipweave.labels.base import NO_CLASS, AnyArray, Features
from chipweave.labels.vectors.outlines import Outlines, outlines
from chipweave.model import LayerSpec, Place
from chipweave.pixels.burning import AREA, burn_shapes
from chipweave.pixels.lattice import reproject, units

STATISTICS: Final = ("count", "mean", "median", "std", "min", "max", "sum")
"""Beside percentiles, ``p1`` to ``p99``."""

DIGITS: Final = 7
"""Figures of a statistic: as many as a float32 holds."""

_METRES: Final = (1.0, 0.0)
"""`units` of a CRS in metres."""

_GEOD = pyproj.Geod(ellps="WGS84")
_PERCENTILE = re.compile(r"p([1-9][0-9]?)")

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Stack:
    """One imagery layer of a chip.

    Parameters
    ----------
    spec
        What it is; its grid has the chip's centre.
    values
        (band, y, x) or (time, band, y, x), as stored.
    bad
        (y, x) or (time, y, x), pixels that do not count, such as cloud; None where all do.
    datetimes
        One a step.
    """

    spec: LayerSpec
    values: AnyArray
    bad: npt.NDArray[np.bool_] | None
    datetimes: tuple[str, ...]


def check_statistics(names: Sequence[str], said: str) -> tuple[str, ...]:
    """Names of statistics, each once.

    Raises
    ------
    RecipeError
        None, or one that is not known.
    """
    known = f"{', '.join(STATISTICS)}, p1 to p99"
    if not names:
        raise RecipeError(f"{said}: names no statistic", hint=f"known: {known}")
    for name in names:
        if name not in STATISTICS and not _PERCENTILE.fullmatch(name):
            raise RecipeError(f"{said}: unknown statistic {name!r}", hint=f"known: {known}")
    return tuple(dict.fromkeys(names))


def reduce_features(
    features: Features, place: Place, stacks: Mapping[str, Stack], statistics: Sequence[str]
) -> list[dict[str, Any]]:
    """Records of the polygons that belong to a chip, in the order of `features`.

    Parameters
    ----------
    features
        Those that meet the chip; lines and points, which hold no pixel's centre, are passed over.
    place
        The chip.
    stacks
        By imagery layer.
    statistics
        See `check_statistics`.

    Returns
    -------
    list of dict
        ``id``, ``code`` (None without one), ``area_m2`` (in the chip's CRS; on the ellipsoid where that counts no
        metres), ``share`` of it in the chip, ``tags``, and ``values``: by layer ``datetime``, ``bands``, and each
        statistic as (time, band) in the layer's unit; None where no pixel counts, and a ``count`` of 0.
    """
    side = place.size * place.resolution
    chip = shapely.box(place.x, place.y - side, place.x + side, place.y)
    inner = shapely.get_coordinates(shapely.point_on_surface(features.geometry))
    own = [
        k
        for k, (x, y) in enumerate(inner)
        if place.x <= x < place.x + side and place.y - side < y <= place.y
        and shapely.get_dimensions(features.geometry[k]) == AREA
    ]  # fmt: skip
    records: list[dict[str, Any]] = []
    for k in own:
        shape = features.geometry[k]
        area = float(shape.area)
        share = float(shape.intersection(chip).area) / area if area else 0.0
        ground = area if units(place.crs) == _METRES else _on_ellipsoid(shape, place.crs)
        code = int(features.codes[k])
        records.append({
            "id": features.ids[k], "code": None if code == NO_CLASS else code, "area_m2": round(ground, 2),
            "share": round(share, 6), "tags": dict(features.tags[k]), "values": {},
        })  # fmt: skip
    for name, stack in stacks.items():
        size = stack.values.shape[-1]
        shapes = outlines(features.geometry[own], place.on(size, stack.spec.resolution))
        for record, found in zip(records, _reduced(shapes, stack, statistics), strict=True):
            record["values"][name] = {
                "datetime": list(stack.datetimes), "bands": list(stack.spec.bands), **found,
            }  # fmt: skip
    return records


def _on_ellipsoid(shape: BaseGeometry, crs: str) -> float:
    """m² of an area whose CRS counts no metres, its edges followed."""
    total = 0.0
    for part in shapely.get_parts(shape).tolist():
        for k, ring in enumerate((part.exterior, *part.interiors)):
            x, y = shapely.get_coordinates(shapely.segmentize(ring, shapely.length(ring) / 64)).T
            lon, lat = reproject(x.copy(), y.copy(), crs, "EPSG:4326")
            ground = abs(float(_GEOD.polygon_area_perimeter(lon, lat)[0]))
            total += -ground if k else ground
    return total


def _reduced(shapes: Outlines, stack: Stack, statistics: Sequence[str]) -> Iterable[dict[str, Any]]:
    """Statistics of each shape, (time, band) as lists."""
    spec = stack.spec
    values = stack.values if stack.values.ndim == 4 else stack.values[None]
    bad = None if stack.bad is None else stack.bad.reshape(values.shape[0], *values.shape[2:])
    for k in range(len(shapes.kinds)):
        edges = shapes.edges[shapes.starts[k] : shapes.starts[k + 1]]
        rows, cols, inside = pixels_within(edges, values.shape[-2:])
        stored = values[:, :, rows, cols][:, :, inside]
        good = ~np.isnan(stored) if math.isnan(spec.nodata) else stored != spec.nodata
        if bad is not None:
            good &= ~bad[:, rows, cols][:, inside][:, None]
        physical = stored.astype(np.float64) * spec.scale + spec.offset
        yield summary(physical, good, statistics)


def pixels_within(edges: FloatArray, shape: tuple[int, ...]) -> tuple[slice, slice, npt.NDArray[np.bool_]]:
    """Pixels whose centre a polygon holds.

    Parameters
    ----------
    edges
        (m, 4) of all its rings, in pixels: see `pixels.burning.burn_shapes`.
    shape
        (h, w) of the grid.

    Returns
    -------
    rows, cols, inside
        The window around the polygon, and which of its pixels are inside.
    """
    low = np.floor(np.minimum(edges[:, :2].min(axis=0), edges[:, 2:].min(axis=0))).astype(int)
    high = np.ceil(np.maximum(edges[:, :2].max(axis=0), edges[:, 2:].max(axis=0))).astype(int)
    (left, top), (right, bottom) = np.maximum(low, 0), np.minimum(high, shape[::-1])
    window = (max(int(bottom - top), 0), max(int(right - left), 0))
    inside = np.zeros(window, np.uint8)
    if all(window):
        moved = np.ascontiguousarray(edges - np.array([left, top, left, top], np.float64))
        burn_shapes(
            moved, np.array([0, len(moved)]), np.array([AREA], np.uint8), False, np.array([1]), np.array([0]),
            inside, np.zeros(window, np.int32),
        )  # fmt: skip
    return slice(top, top + window[0]), slice(left, left + window[1]), inside.astype(np.bool_)


def summary(
    values: FloatArray, good: npt.NDArray[np.bool_], statistics: Sequence[str]
) -> dict[str, list[list[float | int | None]]]:
    """Statistics along the last axis of (time, band, n), over good values; None where there is none.

    Percentiles are interpolated between neighbours (numpy's ``linear``); ``std`` is that of the values themselves,
    divided by their number.
    """
    count = good.sum(axis=-1)
    ordered = np.sort(np.where(good, values, np.nan), axis=-1)  # NaN comes last
    with np.errstate(invalid="ignore", divide="ignore"):
        total = np.where(good, values, 0.0).sum(axis=-1)
        mean = total / count
        spread = np.where(good, values - mean[..., None], 0.0)
        found = {"count": count, "sum": np.where(count > 0, total, np.nan), "mean": mean,
                 "std": np.sqrt((spread**2).sum(axis=-1) / count)}  # fmt: skip
    out = {}
    for name in statistics:
        figures = found[name] if name in found else _quantile(ordered, count, _rank(name))
        out[name] = [[_figure(v, whole=name == "count") for v in row] for row in figures.tolist()]
    return out


def _rank(name: str) -> float:
    """Which part of the ordered values a statistic stands at: 0 the least, 1 the largest."""
    return {"min": 0.0, "median": 0.5, "max": 1.0}[name] if name in STATISTICS else int(name[1:]) / 100


def _quantile(ordered: FloatArray, count: npt.NDArray[np.int64], rank: float) -> FloatArray:
    if not ordered.shape[-1]:
        return np.full(count.shape, np.nan)
    place = rank * np.maximum(count - 1, 0)
    low = np.floor(place).astype(np.int64)
    high = np.minimum(low + 1, np.maximum(count - 1, 0))
    a = np.take_along_axis(ordered, low[..., None], axis=-1)[..., 0]
    b = np.take_along_axis(ordered, high[..., None], axis=-1)[..., 0]
    return np.asarray(a + (b - a) * (place - low), np.float64)


def _figure(value: float, *, whole: bool) -> float | int | None:
    if whole:
        return int(value)
    return None if math.isnan(value) else float(f"{value:.{DIGITS}g}")


def table_document(
    layer: str, layers: Sequence[str], statistics: Sequence[str], records: Sequence[Mapping[str, Any]]
) -> bytes:
    """Records of a chip as strict JSON, for ``{key}.{layer}.json``; `layers` are the imagery layers."""
    text = {"layer": layer, "layers": list(layers), "reduce": list(statistics), "features": list(records)}
    return json.dumps(text, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def table_of(documents: Iterable[tuple[str, str, str | bytes]]) -> pa.Table:
    """Records of chips as one table, one row a polygon.

    Parameters
    ----------
    documents
        ``key``, ``split`` and `table_document` of each chip of a layer; at least one.

    Returns
    -------
    pyarrow.Table
        ``key, split, id, code, area_m2, share, tags`` (JSON), and by imagery layer ``<layer>_datetime`` (list),
        ``<layer>_bands`` (list) and ``<layer>_<statistic>`` (time, band).
    """
    held = [(key, split, json.loads(document)) for key, split, document in documents]
    layers, schema = held[0][2]["layers"], table_schema(held[0][2]["layers"], held[0][2]["reduce"])
    columns: dict[str, list[Any]] = {name: [] for name in schema.names}
    for key, split, document in held:
        for record in document["features"]:
            row = {"key": key, "split": split, "tags": json.dumps(record["tags"], ensure_ascii=False)}
            row |= {name: record[name] for name in ("id", "code", "area_m2", "share")}
            for layer in layers:
                row |= {f"{layer}_{what}": value for what, value in record["values"][layer].items()}
            for name, values in columns.items():
                values.append(row[name])
    return pa.table(columns, schema=schema)


def table_schema(layers: Sequence[str], statistics: Sequence[str]) -> pa.Schema:
    """Columns of `table_of`."""
    texts, figures = pa.list_(pa.string()), pa.list_(pa.list_(pa.float64()))
    counts = pa.list_(pa.list_(pa.int64()))
    fields = [
        ("key", pa.string()), ("split", pa.string()), ("id", pa.string()), ("code", pa.int32()),
        ("area_m2", pa.float64()), ("share", pa.float64()), ("tags", pa.string()),
    ]  # fmt: skip
    for layer in layers:
        fields += [(f"{layer}_datetime", texts), (f"{layer}_bands", texts)]
        fields += [(f"{layer}_{name}", counts if name == "count" else figures) for name in statistics]
    return pa.schema(fields)
