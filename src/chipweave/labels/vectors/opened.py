"""A store as workers read it: features around a chip, in the chip's CRS, those of neighbours kept a while."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import shapely
from shapely.affinity import translate
from shapely.geometry.base import BaseGeometry

from chipweave.errors import PermanentSourceError
from chipweave.labels.base import AnyArray
from chipweave.labels.vectors.mending import of_one
from chipweave.labels.vectors.store import BOX, FACTS, FEATURES, GROUPS, load_facts
from chipweave.model import Place
from chipweave.pixels.lattice import parse_crs, reproject, same_crs, units

KEPT_BYTES: Final = 8 << 20
"""WKB of the groups that a process keeps parsed: about a third of what they take as geometries."""

WIDE_DEGREES: Final = 2.0
"""A feature wider than this is cut to the surroundings of the chip, `AROUND_DEGREES` on each side."""

AROUND_DEGREES: Final = 1.0

MISS_PX: Final = 0.002
"""Pixels by which an edge that is straight in the file may miss its curve on the chip."""

EARTH_M: Final = 6_371_000.0

_LONLAT: Final = "EPSG:4326"

Shapes = npt.NDArray[np.object_]
Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Near:
    """Features around a chip, n of them, in the file's order.

    Parameters
    ----------
    shapes
        (n,) valid geometries in the chip's CRS.
    codes
        (n, rules) code of each by each rule, `NO_CLASS` where the rule passes it over.
    ids
        (n,) numbers in the file.
    fields
        (n,) fields that were kept.
    """

    shapes: Shapes
    codes: npt.NDArray[np.int32]
    ids: npt.NDArray[np.int64]
    fields: tuple[Mapping[str, Any], ...]


class _Group:
    """One record batch, its geometries parsed as they are asked for."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self.boxes = np.stack([batch.column(name).to_numpy() for name in BOX], axis=1)
        self.batch = batch
        self.wkb = batch.column("wkb")
        self.bytes = self.wkb.nbytes
        self._shapes: dict[tuple[str, float], Shapes] = {}

    def shapes(self, rows: AnyArray, source: str, crs: str, step: float) -> Shapes:
        """Geometries of some rows in a CRS; kept for the next chip."""
        known = self._shapes.setdefault((crs, step), np.full(self.batch.num_rows, None, np.object_))
        new = rows[[known[k] is None for k in rows]]
        if len(new):
            parsed = np.asarray(shapely.from_wkb(self._bytes(new)), np.object_)
            known[new] = moved(parsed, source, crs, step)
        return known[rows]

    def raw(self, rows: AnyArray) -> Shapes:
        """Geometries of some rows in the file's own CRS."""
        return np.asarray(shapely.from_wkb(self._bytes(rows)), np.object_)

    def _bytes(self, rows: AnyArray) -> Shapes:
        return np.array([self.wkb[int(k)].as_py() for k in rows], np.object_)


class Store:
    """An open store; see `open_store`."""

    def __init__(self, folder: Path) -> None:
        facts = load_facts(folder)
        if facts is None:
            raise PermanentSourceError(
                f"{folder}: is no store of vector features", hint="run the build again", href=str(folder)
            )
        self.facts = facts
        # Not mapped: pages of a map count as the process's own memory, and stay.
        self._file = pa.ipc.open_file(pa.OSFile(str(folder / FEATURES)))
        self._bounds = np.load(folder / GROUPS)
        self._kept: OrderedDict[int, _Group] = OrderedDict()
        self._held = 0
        self._turn = threading.Lock()

    def near(self, place: Place, margin: float, fields: Sequence[str]) -> Near:
        """Features whose bounds come within `margin`, in the CRS's unit, of a chip.

        Parameters
        ----------
        place
            The chip.
        margin
            Beyond its edge.
        fields
            Those of the kept fields that are wanted.
        """
        side = place.size * place.resolution + 2 * margin
        window = (place.x - margin, place.y + margin - side, place.x + side - margin, place.y + margin)
        lonlat = lonlat_box(window, place.crs)
        step = longest_edge(place, lonlat)
        found: list[tuple[_Group, AnyArray, Shapes]] = []
        with self._turn:
            for number in _meeting(self._bounds, lonlat).tolist():
                group = self._group(number)
                rows = _meeting(group.boxes, lonlat)
                if len(rows):
                    shapes = self._shapes(group, rows, place.crs, step, lonlat)
                    inside = _bounds_meet(shapes, window)
                    found.append((group, rows[inside], shapes[inside]))
        return self._joined(found, fields)

    def _group(self, number: int) -> _Group:
        group = self._kept.get(number)
        if group is None:
            group = self._kept[number] = _Group(self._file.get_batch(number))
            self._held += group.bytes
        self._kept.move_to_end(number)
        while self._held > KEPT_BYTES and len(self._kept) > 1:
            _, old = self._kept.popitem(last=False)
            self._held -= old.bytes
        return group

    def _shapes(self, group: _Group, rows: AnyArray, crs: str, step: float, lonlat: Box) -> Shapes:
        boxes = group.boxes[rows]
        wide = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]) > WIDE_DEGREES
        source = self.facts.crs
        if not wide.any() or same_crs(source, crs):
            return group.shapes(rows, source, crs, step)
        out = np.full(len(rows), None, np.object_)
        out[~wide] = group.shapes(rows[~wide], source, crs, step)
        cut = np.array([cut_around(s, source, lonlat) for s in group.raw(rows[wide])], np.object_)
        out[wide] = moved(cut, source, crs, step)
        return out

    def _joined(self, found: Sequence[tuple[_Group, AnyArray, Shapes]], fields: Sequence[str]) -> Near:
        rules = len(self.facts.codes)
        shapes, codes, rows, ids, kept = [], [], [], [], []
        for group, own, geometry in found:
            batch = group.batch
            shapes.append(geometry)
            codes.append(np.stack([batch.column(f"code{k}").to_numpy()[own] for k in range(rules)], axis=1))
            rows.append(batch.column("row").to_numpy()[own])
            ids.append(batch.column("id").to_numpy()[own])
            columns = {f: batch.column(f"field:{f}") for f in fields}
            kept += [{f: c[int(k)].as_py() for f, c in columns.items()} for k in own]
        if not shapes:
            none = np.empty(0, np.object_)
            return Near(none, np.empty((0, rules), np.int32), np.empty(0, np.int64), ())
        order = np.argsort(np.concatenate(rows), kind="stable")
        return Near(
            np.concatenate(shapes)[order], np.concatenate(codes)[order], np.concatenate(ids)[order],
            tuple(kept[k] for k in order),
        )  # fmt: skip


def open_store(folder: Path) -> Store:
    """The store of a folder; open once a process, as long as it is not made anew.

    Raises
    ------
    PermanentSourceError
        It is not there, or not whole.
    """
    try:
        changed = (folder / FACTS).stat().st_mtime_ns
    except OSError as error:
        raise PermanentSourceError(
            f"{folder}: cannot be read: {error.strerror}", hint="run the build again", href=str(folder)
        ) from None
    return _opened(folder, changed)


@lru_cache(maxsize=8)
def _opened(folder: Path, changed: int) -> Store:
    del changed
    return Store(folder)


def _meeting(boxes: AnyArray, box: Box) -> npt.NDArray[np.int64]:
    """Boxes in lon/lat that meet one, whichever turn they are counted in."""
    w, s, e, n = box
    high = (boxes[:, 1] <= n) & (boxes[:, 3] >= s)
    hit = np.zeros(len(boxes), np.bool_)
    for turn in (-360.0, 0.0, 360.0):
        hit |= (boxes[:, 0] <= e + turn) & (boxes[:, 2] >= w + turn)
    return np.flatnonzero(high & hit)


def _bounds_meet(shapes: Shapes, window: Box) -> npt.NDArray[np.bool_]:
    w, s, e, n = shapely.bounds(shapes).T
    with np.errstate(invalid="ignore"):
        return np.asarray((w <= window[2]) & (e >= window[0]) & (s <= window[3]) & (n >= window[1]), np.bool_)


@lru_cache(maxsize=64)
def lonlat_box(window: Box, crs: str) -> Box:
    """(west, south, east, north) around a window of a CRS in lon/lat; east beyond 180 where it crosses ±180°."""
    w, s, e, n = window
    t = np.linspace(0.0, 1.0, 9)
    x = np.concatenate([w + (e - w) * t, np.full(9, e), w + (e - w) * t, np.full(9, w)])
    y = np.concatenate([np.full(9, n), s + (n - s) * t, np.full(9, s), s + (n - s) * t])
    lon, lat = reproject(x, y, crs, _LONLAT)
    if not (np.isfinite(lon).all() and np.isfinite(lat).all()):
        raise PermanentSourceError(f"a chip lies where {crs[:40]} has no coordinates", href=crs[:40])
    for pole in (90.0, -90.0):
        px, py = reproject(np.array([0.0]), np.array([pole]), _LONLAT, crs)
        if not parse_crs(crs).is_geographic and w <= px[0] <= e and s <= py[0] <= n:
            return (-180.0, min(float(lat.min()), pole), 180.0, max(float(lat.max()), pole))
    if np.ptp(lon) > 180:
        lon = np.where(lon < 0, lon + 360, lon)
    pad = 0.01 * max(float(np.ptp(lon)), float(np.ptp(lat)))
    return (float(lon.min()) - pad, float(lat.min()) - pad, float(lon.max()) + pad, float(lat.max()) + pad)


def longest_edge(place: Place, lonlat: Box) -> float:
    """Metres that an edge may be long and still miss its curve by `MISS_PX` pixels at most; a power of 2.

    An edge of length L whose curvature on the ground differs by k between two CRSs bends by k L² / 8. Straight lines
    of a plate carrée or a Mercator map bend by tan(latitude) / R, those of other maps, and UTM's, by less than 1 / R
    where these are used.
    """
    lat = min(max(abs(lonlat[1]), abs(lonlat[3])) + 0.1, 89.0)
    bend = (max(math.tan(math.radians(lat)), 1.0) + 1.0) / EARTH_M
    metres = math.sqrt(8 * MISS_PX * place.resolution * units(place.crs)[0] / bend)
    return float(2.0 ** math.floor(math.log2(metres)))


def moved(shapes: Shapes, source: str, crs: str, step: float) -> Shapes:
    """Valid geometries of one CRS in another, edges of more than `step` metres followed.

    Raises
    ------
    PermanentSourceError
        The CRS has no coordinates there.
    """
    if same_crs(source, crs) or not len(shapes):
        return shapes
    fine = followed(shapes, step / units(source)[0])
    points = shapely.get_coordinates(fine)
    x, y = reproject(points[:, 0].copy(), points[:, 1].copy(), source, crs)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise PermanentSourceError(
            f"features near a chip lie where {crs[:40]} has no coordinates", href=crs[:40]
        )
    out = np.asarray(shapely.set_coordinates(fine, np.stack([x, y], axis=1)), np.object_)
    wrong = np.flatnonzero(~np.asarray(shapely.is_valid(out), np.bool_))
    for k in wrong:  # points that fall together, such as those of needles
        whole = of_one(shapely.make_valid(out[k]), int(shapely.get_dimensions(out[k])))
        out[k] = shapely.Polygon() if whole is None else whole
    return out


def followed(shapes: Shapes, step: float) -> Shapes:
    """A copy of geometries with no edge longer than `step`."""
    out = shapes.copy()
    bounds = shapely.bounds(shapes)
    large = np.flatnonzero(np.hypot(bounds[:, 2] - bounds[:, 0], bounds[:, 3] - bounds[:, 1]) > step)
    out[large] = shapely.segmentize(shapes[large], step)
    return out


def cut_around(shape: BaseGeometry, source: str, lonlat: Box) -> BaseGeometry:
    """The part of a wide feature that lies around a chip, in the feature's own CRS; empty where none does."""
    w, s, e, n = lonlat
    wide = (w - AROUND_DEGREES, max(s - AROUND_DEGREES, -90), e + AROUND_DEGREES, min(n + AROUND_DEGREES, 90))
    boxes = list(_windows(wide, source))
    parts = [shapely.clip_by_rect(shape, *box) for box in boxes]
    some = [p for p in parts if not p.is_empty]
    if not some:
        return shapely.Polygon()
    if len(some) == 1:
        return some[0] if some[0].is_valid else shapely.make_valid(some[0])
    # Brought to one side of ±180°, and joined where it had been cut there.
    turn = units(source)[1]
    one_side = [
        translate(p, xoff=k * turn) if turn else p
        for p, k in zip(parts, _turns(boxes, turn), strict=True)
        if not p.is_empty
    ]
    return shapely.union_all(one_side)


def _turns(boxes: Sequence[Box], turn: float) -> list[int]:
    return [round((boxes[0][0] - b[0]) / turn) if turn else 0 for b in boxes]


def _windows(lonlat: Box, source: str) -> Iterator[Box]:
    """Windows of a CRS in which a box of lon/lat lies: several where longitudes may be counted in several turns."""
    w, s, e, n = lonlat
    if parse_crs(source).is_geographic:
        for turn in (0.0, -360.0, 360.0):
            yield (w + turn, s, e + turn, n)
        return
    t = np.linspace(0.0, 1.0, 17)
    lon = np.concatenate([w + (e - w) * t, np.full(17, e), w + (e - w) * t, np.full(17, w)])
    lat = np.concatenate([np.full(17, n), s + (n - s) * t, np.full(17, s), s + (n - s) * t])
    x, y = reproject(lon, lat, _LONLAT, source)
    good = np.isfinite(x) & np.isfinite(y)
    if good.any():
        yield float(x[good].min()), float(y[good].min()), float(x[good].max()), float(y[good].max())
