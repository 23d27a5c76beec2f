"""Points as a worker has them: sparse rasters, and a document of those in the chip."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import shapely

from chipweave.labels.base import Target, plain_facts
from chipweave.labels.points.tables import JITTER, VALUE
from chipweave.labels.rasters import said_of_classes
from chipweave.labels.remap import Recode
from chipweave.labels.scene import SceneRule
from chipweave.labels.vectors.burn import ground_scale
from chipweave.labels.vectors.documents import DIGITS
from chipweave.labels.vectors.opened import open_store
from chipweave.labels.vectors.source import COLLECTION
from chipweave.model import Credit, LayerSpec, Legend, Place, Scene, document_spec
from chipweave.pixels.lattice import reproject

POINTS: Final = "_points"
"""How the document of a layer ends, after the layer's name."""

FEW_PX: Final = 8
"""Radius of a footprint in pixels up to which those of all points are looked at together."""

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PointsRead:
    """A `PlaceSource` of points.

    A pixel has the value of the point in it; of several the mean, or the class of most of them (of equally many the
    lowest code). With a diameter a point also gives its value to pixels whose centre lies within its circle.

    Parameters
    ----------
    layer
        Name of the layer.
    store
        Folder of the store.
    legend
        Its classes; None of numbers.
    size, resolution
        Of chips: pixels a side, and units of the CRS a pixel.
    unit
        Of numbers.
    diameter_m
        Of a footprint, on the ground.
    jittered
        Whether the file says how far points were moved.
    recode, scene, ignore
        Of classes: as `labels.vectors.VectorRead` has them.
    source
        Legend of the codes in the store, where `recode` makes others of them.
    credit
        Of the file, where it is known.
    """

    layer: str
    store: Path
    legend: Legend | None
    size: int
    resolution: float
    unit: str = ""
    diameter_m: float = 0.0
    jittered: bool = False
    recode: Recode | None = None
    scene: SceneRule | None = None
    ignore: tuple[int, ...] = ()
    source: Legend | None = None
    credit: Credit | None = None

    @property
    def specs(self) -> tuple[LayerSpec, ...]:
        """The sparse raster, and the document."""
        legend = self.legend
        own = LayerSpec(
            name=self.layer, kind="label", collection=COLLECTION, bands=("classes" if legend else "value",),
            dims=("y", "x"), dtype=legend.dtype if legend else "float32", shape=(self.size, self.size),
            resolution=self.resolution, nodata=legend.nodata if legend else math.nan,
            unit="class" if legend else self.unit, legend=legend, credit=self.credit,
            scene=self.scene.legend if self.scene is not None and self.scene.remapped else None,
        )  # fmt: skip
        return own, document_spec(f"{self.layer}{POINTS}", "vector", "geojson", COLLECTION, self.credit)

    def read(self, place: Place, scenes: Sequence[Scene]) -> Target:
        """The sparse raster of one chip, and its points.

        Raises
        ------
        PermanentSourceError
            The store is not there, or a point cannot be brought to the chip's CRS.
        """
        reach = self.diameter_m / 2 / ground_scale(place) if self.diameter_m else 0.0
        near = open_store(self.store).near(place, reach, (VALUE, *([JITTER] if self.jittered else [])))
        parts, owner = shapely.get_parts(near.shapes, return_index=True)
        x, y = shapely.get_coordinates(parts).T if len(parts) else np.empty((2, 0))
        values = np.array([f[VALUE] for f in near.fields], np.float64)[owner]
        u, v = (x - place.x) / place.resolution, (place.y - y) / place.resolution
        where, which = covered(u, v, reach / place.resolution, place.size)
        said: dict[str, Any] = plain_facts([s.edition for s in scenes], [s.id for s in scenes])
        inside = (u >= 0) & (u < place.size) & (v >= 0) & (v < place.size)
        jitter = [near.fields[k][JITTER] if self.jittered else None for k in owner]
        about: dict[str, Any] = {"points": int(inside.sum())}
        if self.jittered:
            about[JITTER] = max(
                (float(j) for j, here in zip(jitter, inside, strict=True) if here and j), default=0.0
            )
        array, own, facts = self._raster(where, values[which])
        document = self._document(x, y, values, jitter, near.ids[owner], np.flatnonzero(inside), place)
        name = f"{self.layer}{POINTS}"
        return Target(
            {self.layer: array}, {self.layer: {**said, **own, **about}, name: {**said, **about}}, {name: document},
            {**facts, "points": float(about["points"])},
        )  # fmt: skip

    def _raster(
        self, where: IntArray, values: FloatArray
    ) -> tuple[npt.NDArray[Any], dict[str, Any], dict[str, float]]:
        """The raster of values at pixels, what is said of it, and figures for `keep`."""
        count = self.size * self.size
        if self.legend is None:
            numbers = means(where, values, count).reshape(self.size, self.size)
            valid = float(np.count_nonzero(~np.isnan(numbers))) / count
            return (
                numbers,
                {"valid_fraction": valid},
                {"nodata": 1 - valid, "ignored": 1 - valid, "valid_fraction": valid},
            )
        held = self.source or self.legend
        codes = modes(where, values.astype(np.int64), count, held.nodata).reshape(self.size, self.size)
        if self.recode is not None:
            table = self.recode(codes.astype(held.dtype), np.ones(codes.shape, np.bool_))
            codes = self.recode.settled(table, self.legend.dtype)[0]
        classes = codes.astype(self.legend.dtype)
        own, facts = said_of_classes(classes, self.legend, self.scene, self.ignore)
        return classes, own, facts

    def _document(
        self,
        x: FloatArray,
        y: FloatArray,
        values: FloatArray,
        jitter: Sequence[float | None],
        ids: IntArray,
        own: IntArray,
        place: Place,
    ) -> bytes:
        """GeoJSON of points in lon/lat; of classes `value` is the code of the file, before `remap`."""
        lon, lat = reproject(x[own].copy(), y[own].copy(), place.crs, "EPSG:4326")
        names = {c.code: c.name for c in (self.source or self.legend).classes} if self.legend else {}
        found = []
        for k, a, b in zip(own.tolist(), lon.tolist(), lat.tolist(), strict=True):
            properties: dict[str, Any] = {
                "id": int(ids[k]), "value": int(values[k]) if self.legend else float(values[k]),
                "row": int((place.y - y[k]) // place.resolution), "col": int((x[k] - place.x) // place.resolution),
            }  # fmt: skip
            if self.legend is not None:
                properties["class"] = names.get(int(values[k]), "")
            if self.jittered:
                properties[JITTER] = jitter[k]
            point = {"type": "Point", "coordinates": [round(a, DIGITS) + 0.0, round(b, DIGITS) + 0.0]}
            found.append({"type": "Feature", "geometry": point, "properties": properties})
        collection = {"type": "FeatureCollection", "features": found}
        return json.dumps(collection, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def covered(u: FloatArray, v: FloatArray, radius: float, size: int) -> tuple[IntArray, IntArray]:
    """Pixels that points give their value to, each by its place in the flat raster, and by which point.

    Parameters
    ----------
    u, v
        (n,) points in pixels, right of and below the upper left corner.
    radius
        Pixels; the pixel that holds the point is always its own.
    size
        Pixels a side.
    """
    col, row = np.floor(u).astype(np.int64), np.floor(v).astype(np.int64)
    side = math.ceil(radius)
    if side > FEW_PX:
        return _covered_widely(u, v, radius, size)
    shifts = np.arange(-side, side + 1)
    dx, dy = (d.ravel() for d in np.meshgrid(shifts, shifts))
    cols, rows = col[:, None] + dx, row[:, None] + dy
    hit = (cols + 0.5 - u[:, None]) ** 2 + (rows + 0.5 - v[:, None]) ** 2 <= radius**2
    hit |= (dx == 0) & (dy == 0)
    hit &= (cols >= 0) & (cols < size) & (rows >= 0) & (rows < size)
    which = np.broadcast_to(np.arange(len(u))[:, None], hit.shape)[hit]
    return (rows * size + cols)[hit], which


def _covered_widely(u: FloatArray, v: FloatArray, radius: float, size: int) -> tuple[IntArray, IntArray]:
    """As `covered`, point by point, within the raster alone: of wide footprints a chip sees but a part."""
    where, which = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for k, (x, y) in enumerate(zip(u.tolist(), v.tolist(), strict=True)):
        left, right = max(math.floor(x - radius), 0), min(math.ceil(x + radius), size)
        top, bottom = max(math.floor(y - radius), 0), min(math.ceil(y + radius), size)
        cols, rows = np.arange(left, right), np.arange(top, bottom)[:, None]
        hit = (cols + 0.5 - x) ** 2 + (rows + 0.5 - y) ** 2 <= radius**2
        where.append((rows * size + cols)[hit])
        which.append(np.full(int(hit.sum()), k, np.int64))
    return np.concatenate(where), np.concatenate(which)


def means(where: IntArray, values: FloatArray, count: int) -> npt.NDArray[np.float32]:
    """(count,) mean of the values at each pixel, NaN where there is none."""
    number = np.bincount(where, minlength=count)
    with np.errstate(invalid="ignore"):
        found = np.bincount(where, weights=values, minlength=count) / number
    return np.asarray(found, np.float32)


def modes(where: IntArray, codes: IntArray, count: int, nodata: int) -> IntArray:
    """(count,) most frequent code at each pixel, of equally frequent ones the lowest; `nodata` where there is none."""
    out = np.full(count, nodata, np.int64)
    pairs, number = np.unique(np.stack([where, codes]), axis=1, return_counts=True)
    order = np.lexsort((-pairs[1], number))  # the last one that is written stays
    out[pairs[0][order]] = pairs[1][order]
    return out
