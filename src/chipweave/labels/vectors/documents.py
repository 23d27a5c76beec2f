"""Features of a chip as documents: GeoJSON of their outlines, and boxes and masks in the way of COCO."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry
from shapely.geometry.polygon import orient

from chipweave.labels.base import NO_CLASS, AnyArray, Features
from chipweave.labels.vectors.mending import of_one
from chipweave.labels.vectors.opened import followed, longest_edge, lonlat_box
from chipweave.model import Legend, Place
from chipweave.pixels.burning import AREA
from chipweave.pixels.lattice import reproject

DIGITS: Final = 7
"""Decimals of a degree: a centimetre."""

_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def feature_collection(features: Features, numbers: AnyArray, place: Place, legend: Legend) -> bytes:
    """GeoJSON (RFC 7946) of a chip's features, cut at its edge, in lon/lat.

    Parameters
    ----------
    features
        In the chip's CRS.
    numbers
        (n,) instance number of each; 0 where no pixel is its own.
    place
        The chip.
    legend
        Names of classes.

    Returns
    -------
    bytes
        A FeatureCollection; `properties` are the fields that were kept, then ``id``, ``code``, ``class`` and
        ``instance``, which stand in place of fields of these names.
    """
    side = place.size * place.resolution
    box = (place.x, place.y - side, place.x + side, place.y)
    cut = np.asarray(shapely.clip_by_rect(features.geometry, *box), np.object_)
    for k in np.flatnonzero(~np.asarray(shapely.is_valid(cut), np.bool_)).tolist():
        cut[k] = shapely.intersection(shapely.make_valid(features.geometry[k]), shapely.box(*box))
    shapes = _one_kind(_lonlat(cut, place), np.asarray(shapely.get_dimensions(features.geometry)))
    outlines = shapely.to_geojson(_turned(shapes))
    names = {c.code: c.name for c in legend.classes}
    out = []
    for k in np.flatnonzero(~shapely.is_empty(shapes)).tolist():  # empty: it touches the chip from outside
        code = int(features.codes[k])
        properties = {
            **features.tags[k], "id": features.ids[k], "code": code,
            "class": names.get(code, ""), "instance": int(numbers[k]),
        }  # fmt: skip
        out.append(f'{{"type":"Feature","geometry":{outlines[k]},"properties":{_json(properties)}}}')
    return f'{{"type":"FeatureCollection","features":[{",".join(out)}]}}'.encode()


def _one_kind(shapes: npt.NDArray[np.object_], dimensions: AnyArray) -> npt.NDArray[np.object_]:
    """What of each shape has the dimension that it had before it was cut; empty where nothing has."""
    odd = (shapely.get_dimensions(shapes) != dimensions) | (
        shapely.get_type_id(shapes) == shapely.GeometryType.GEOMETRYCOLLECTION
    )
    for k in np.flatnonzero(odd & ~shapely.is_empty(shapes)).tolist():
        shapes[k] = of_one(shapes[k], int(dimensions[k])) or shapely.Polygon()
    return shapes


def _turned(shapes: npt.NDArray[np.object_]) -> npt.NDArray[np.object_]:
    """The same with outer rings counter-clockwise and inner ones clockwise."""
    out = shapes.copy()
    simple = (shapely.get_type_id(shapes) == shapely.GeometryType.POLYGON) & (
        shapely.get_num_interior_rings(shapes) == 0
    )
    back = np.flatnonzero(simple & ~shapely.is_ccw(shapely.get_exterior_ring(shapes)))
    out[back] = shapely.reverse(shapes[back])
    for k in np.flatnonzero(~simple & (shapely.get_dimensions(shapes) == AREA)).tolist():
        parts = [orient(p) for p in shapely.get_parts(shapes[k]).tolist()]
        out[k] = parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)
    return out


def _lonlat(shapes: npt.NDArray[np.object_], place: Place) -> npt.NDArray[np.object_]:
    """Geometries of the chip in lon/lat with as many digits as are written, long edges followed, cut at ±180°."""
    side = place.size * place.resolution
    box = lonlat_box((place.x, place.y - side, place.x + side, place.y), place.crs)
    fine = followed(shapes, longest_edge(place, box))

    def move(points: AnyArray) -> AnyArray:
        lon, lat = reproject(points[:, 0].copy(), points[:, 1].copy(), place.crs, "EPSG:4326")
        if box[2] > 180:
            lon = np.where(lon < 0, lon + 360, lon)
        return np.round(np.stack([lon, lat], axis=1), DIGITS) + 0.0

    out = np.asarray(shapely.transform(fine, move), np.object_)
    if box[2] <= 180:
        return out
    east = shapely.intersection(shapely.make_valid(out), shapely.box(-180, -90, 180, 90))
    west = shapely.intersection(shapely.make_valid(out), shapely.box(180, -90, 540, 90))
    west = shapely.transform(west, lambda c: c - np.array([360.0, 0.0]))
    both = np.array([_both(a, b) for a, b in zip(east, west, strict=True)], np.object_)
    return np.asarray(shapely.transform(both, lambda c: np.round(c, DIGITS)), np.object_)


def _both(east: BaseGeometry, west: BaseGeometry) -> BaseGeometry:
    if east.is_empty or west.is_empty:
        return west if east.is_empty else east
    return shapely.GeometryCollection([east, west])


def coco(
    instances: npt.NDArray[np.int32], codes: AnyArray, ids: Sequence[str], key: str, legend: Legend
) -> bytes:
    """Boxes and masks of a chip's instances, as COCO has them.

    Parameters
    ----------
    instances
        (h, w) 0, or 1 to n.
    codes, ids
        (n,) of each instance.
    key
        Of the chip.
    legend
        Its classes are the categories.

    Returns
    -------
    bytes
        ``images`` (one), ``annotations`` and ``categories``. `bbox` is [x, y, width, height] in pixels around an
        instance's own pixels, `area` their number, `segmentation` a run-length mask, column by column.
    """
    height, width = instances.shape
    flat = instances.ravel(order="F")
    at = np.flatnonzero(flat)
    by = at[np.argsort(flat[at], kind="stable")]
    cuts = np.searchsorted(flat[by], np.arange(1, len(ids) + 2))
    annotations = []
    for k, (ident, code) in enumerate(zip(ids, codes, strict=True)):
        own = by[cuts[k] : cuts[k + 1]]
        cols, rows = own // height, own % height
        x, y = int(cols.min()), int(rows.min())
        annotations.append({
            "id": k + 1, "image_id": 1, "category_id": int(code), "source_id": ident, "iscrowd": 0,
            "bbox": [x, y, int(cols.max()) + 1 - x, int(rows.max()) + 1 - y], "area": len(own),
            "segmentation": {"size": [height, width], "counts": _runs(own, flat.size)},
        })  # fmt: skip
    known = {c.code: c.name for c in legend.classes}
    used = {int(c) for c in codes} - {NO_CLASS}
    categories = [{"id": c, "name": known.get(c, str(c))} for c in sorted(known.keys() | used)]
    image = {"id": 1, "file_name": key, "width": width, "height": height}
    return _json({"images": [image], "annotations": annotations, "categories": categories}).encode()


def _runs(own: AnyArray, size: int) -> list[int]:
    """Lengths of runs, of pixels that are not its own first."""
    breaks = np.flatnonzero(np.diff(own) > 1)
    first = np.concatenate([own[:1], own[breaks + 1]])
    last = np.concatenate([own[breaks], own[-1:]]) + 1
    edges = np.stack([first, last], axis=1).ravel()
    runs = np.diff(np.concatenate([[0], edges, [size]]))
    return [int(n) for n in (runs if runs[-1] else runs[:-1])]
