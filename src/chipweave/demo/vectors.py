"""The same land as lines and polygons: fields as a farmers' register has them, and an extract as OpenStreetMap's."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import rasterio.features
import shapely
from affine import Affine

from chipweave.demo.land import BUILT, CROP, GRASS, LAT0, LON0, TREE, WATER, Land, cover, plane
from chipweave.demo.terrain import Lines
from chipweave.files import atomic_path

STEP: Final = 10.0
"""Metres between the points at which outlines are taken from the land."""

LEAST_M2: Final = 3000.0
"""Smaller fields are not in the register."""

CROPS: Final = ("arable", "pasture", "meadow")
"""Names of `Ground.use`."""

TIME: Final = datetime(2021, 7, 1, tzinfo=UTC)
"""When the extract was made."""

_AREAS: Final = {TREE: ("natural", "wood"), BUILT: ("landuse", "residential"), WATER: ("natural", "water")}
_PIECE = 400
"""Most nodes of a way: OpenStreetMap allows 2000."""

Shapes = npt.NDArray[np.object_]


@dataclass(frozen=True)
class _Sheet:
    """The land on a grid of the plane: parcel (0 where none is tilled) and code of land cover, (rows, columns)."""

    parcel: npt.NDArray[np.int32]
    use: npt.NDArray[np.uint8]
    code: npt.NDArray[np.uint8]
    affine: Affine


@dataclass(frozen=True)
class Vectors:
    """Lines and polygons of a land within lon/lat bounds (west, south, east, north)."""

    earth: Land
    bounds: tuple[float, float, float, float]
    pool: Executor

    def write(self, folder: Path) -> None:
        """Write ``fields.parquet`` (GeoParquet, EPSG:4326: id, crop) and ``extract.osm.pbf``."""
        sheet = self._sheet()
        with atomic_path(folder / "fields.parquet") as temporary:
            fields_of(sheet).to_parquet(temporary, compression="zstd")
        with atomic_path(folder / "extract.osm.pbf") as temporary:
            write_extract(temporary, sheet, self.earth)

    def _sheet(self) -> _Sheet:
        west, south, east, north = self.bounds
        (left, right), (bottom, top) = plane([west, east], [south, north])
        cols, rows = int((right - left) / STEP) + 1, int((top - bottom) / STEP) + 1
        x = left + (np.arange(cols, dtype=np.float32) + np.float32(0.5)) * np.float32(STEP)
        parcel, use = np.zeros((rows, cols), np.uint32), np.zeros((rows, cols), np.uint8)
        code = np.zeros((rows, cols), np.uint8)

        def strip(start: int) -> None:
            some = slice(start, min(start + 64, rows))
            y = top - (np.arange(some.start, some.stop, dtype=np.float32) + np.float32(0.5)) * np.float32(
                STEP
            )
            xx, yy = np.meshgrid(x, y)
            ground = self.earth.ground(xx.ravel(), yy.ravel())
            code[some] = cover(ground).reshape(-1, cols)
            use[some] = ground.use.reshape(-1, cols)
            parcel[some] = ground.parcel.reshape(-1, cols)

        list(self.pool.map(strip, range(0, rows, 64)))
        tilled = np.isin(code, (CROP, GRASS))
        numbers = np.unique(parcel, return_inverse=True)[1].reshape(rows, cols).astype(np.int32) + 1
        affine = Affine(STEP, 0, float(left), 0, -STEP, float(top))
        return _Sheet(np.where(tilled, numbers, 0).astype(np.int32), use, code, affine)


def fields_of(sheet: _Sheet) -> gpd.GeoDataFrame:
    """Fields in the order of their numbers: polygons in lon/lat, ``id`` and ``crop``."""
    found: dict[int, list[Any]] = {}
    for outline, number in _outlines(sheet.parcel, sheet.parcel > 0, sheet.affine):
        found.setdefault(number, []).append(outline)
    rows = [(number, part) for number in sorted(found) for part in found[number]]
    middle = shapely.point_on_surface(np.array([part for _, part in rows], object))
    col, row = ~sheet.affine * (shapely.get_x(middle), shapely.get_y(middle))
    crops = sheet.use[row.astype(int), col.astype(int)]
    return gpd.GeoDataFrame(
        {"id": [f"F{n:05d}" for n in range(len(rows))], "crop": [CROPS[c] for c in crops.tolist()]},
        geometry=_lonlat(np.array([part for _, part in rows], object)), crs="EPSG:4326",
    )  # fmt: skip


def _outlines(
    values: npt.NDArray[Any], mask: npt.NDArray[np.bool_], affine: Affine
) -> Iterator[tuple[Any, int]]:
    """Polygons of equal values in metres of the plane, `LEAST_M2` or more, their steps rounded off."""
    large = rasterio.features.sieve(values, int(LEAST_M2 / STEP**2), mask=mask, connectivity=4) == values
    found = rasterio.features.shapes(values, mask=mask & large, connectivity=4, transform=affine)
    rings, numbers = zip(*((shape["coordinates"], int(value)) for shape, value in found), strict=True)
    whole = np.array([shapely.Polygon(own[0], own[1:]) for own in rings], object)
    kept = np.flatnonzero(shapely.area(whole) >= LEAST_M2)
    # A little narrower: where a ring touches itself at a corner, or its corners were rounded off too much, it parts.
    narrow = shapely.buffer(
        shapely.simplify(whole[kept], STEP * 0.8, preserve_topology=False), -0.5, join_style="mitre"
    )
    outlines, of = shapely.get_parts(narrow, return_index=True)
    for outline, n in zip(outlines, kept[of].tolist(), strict=True):
        if outline.is_valid and outline.area >= LEAST_M2:
            yield outline, numbers[n]


def _lonlat(shapes: Shapes) -> Shapes:
    """From metres of the plane to degrees, rounded to about a centimetre, as OpenStreetMap keeps them."""
    (mx,), (my,) = plane([LON0 + 1.0], [LAT0 + 1.0])

    def back(xy: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.round(xy / (float(mx), float(my)) + (LON0, LAT0), 7)

    moved: Shapes = shapely.transform(shapes, back)
    return moved


def _runs(lines: Lines) -> Iterator[tuple[npt.NDArray[np.float64], float]]:
    """Centre lines one by one, and half their width: a line ends where the next point is far or the width changes."""
    far = np.hypot(*np.diff(lines.points, axis=0).T) > 60.0
    cuts = np.flatnonzero(far | (np.diff(lines.half) != 0)) + 1
    for start, stop in zip([0, *cuts.tolist()], [*cuts.tolist(), len(lines.points)], strict=True):
        if stop - start > 1:
            yield lines.points[start:stop], float(lines.half[start])


class _Extract:
    """Writes nodes, ways and relations in OpenStreetMap's order: all of one kind before the next."""

    def __init__(self) -> None:
        self.nodes: list[tuple[float, float]] = []
        self.ways: list[tuple[list[int], dict[str, str]]] = []
        self.relations: list[tuple[list[tuple[str, int, str]], dict[str, str]]] = []
        self._known: dict[tuple[float, float], int] = {}

    def way(self, xy: npt.NDArray[np.float64], tags: dict[str, str]) -> int:
        """Number of a new way over points in lon/lat."""
        refs = []
        for lon, lat in xy.tolist():
            at = self._known.setdefault((lon, lat), len(self.nodes) + 1)
            if at > len(self.nodes):
                self.nodes.append((lon, lat))
            refs.append(at)
        self.ways.append((refs, tags))
        return len(self.ways)

    def area(self, outline: Any, tags: dict[str, str]) -> None:
        """A closed way, or a multipolygon where it has holes or is long."""
        rings = [outline.exterior, *outline.interiors]
        if len(rings) == 1 and len(outline.exterior.coords) <= _PIECE:
            self.way(shapely.get_coordinates(outline.exterior), tags)
            return
        members: list[tuple[str, int, str]] = []
        for role, ring in zip(("outer", *["inner"] * (len(rings) - 1)), rings, strict=True):
            xy = shapely.get_coordinates(ring)
            pieces = (xy[start : start + _PIECE + 1] for start in range(0, len(xy) - 1, _PIECE))
            members += [("w", self.way(piece, {}), role) for piece in pieces]
        self.relations.append((members, {"type": "multipolygon", **tags}))

    def write(self, path: Path) -> None:
        """Write it."""
        import osmium  # noqa: PLC0415 - a build without such a layer needs it not
        from osmium.osm import mutable  # noqa: PLC0415

        about: dict[str, Any] = {"version": 1, "timestamp": TIME}
        header = osmium.io.Header()
        header.set("osmosis_replication_timestamp", f"{TIME:%Y-%m-%dT%H:%M:%SZ}")
        writer = osmium.SimpleWriter(str(path), header=header, overwrite=True)
        try:
            for n, at in enumerate(self.nodes, 1):
                writer.add_node(mutable.Node(id=n, location=at, **about))
            for n, (refs, tags) in enumerate(self.ways, 1):
                writer.add_way(mutable.Way(id=n, nodes=refs, tags=tags, **about))
            for n, (members, tags) in enumerate(self.relations, 1):
                writer.add_relation(mutable.Relation(id=n, members=members, tags=tags, **about))
        finally:
            writer.close()


def write_extract(path: Path, sheet: _Sheet, earth: Land) -> None:
    """Woods, towns and water as areas, with their holes; roads and rivers as lines with their widths."""
    extract = _Extract()
    for code, (key, value) in _AREAS.items():
        own = np.where(sheet.code == code, np.uint8(code), np.uint8(0))
        for outline, _ in _outlines(own, own > 0, sheet.affine):
            extract.area(_lonlat(np.array([outline], object))[0], {key: value})
    left, top = sheet.affine * (0, 0)
    rows, cols = sheet.code.shape
    frame = shapely.box(left, top - rows * STEP, left + cols * STEP, top)
    for lines, names in ((earth.towns.roads, _road), (earth.terrain.rivers, _river)):
        for n, (points, half) in enumerate(_runs(lines)):
            line = shapely.LineString(points).simplify(2.0).intersection(frame)
            for part in shapely.get_parts(line):
                if part.geom_type == "LineString" and part.length > STEP:
                    xy = shapely.get_coordinates(_lonlat(np.array([part], object))[0])
                    for start in range(0, len(xy) - 1, _PIECE):
                        extract.way(xy[start : start + _PIECE + 1], names(n, half))
    extract.write(path)


def _road(number: int, half: float) -> dict[str, str]:
    kind = "secondary" if half > 5 else "tertiary"
    return {"highway": kind, "width": f"{2 * half:g}", "ref": f"{'S' if half > 5 else 'T'} {number + 1}"}


def _river(_number: int, half: float) -> dict[str, str]:
    return {"waterway": "river", "width": f"{2 * half:.3g}", "name": "Weave" if half > 12 else "Shuttle"}
