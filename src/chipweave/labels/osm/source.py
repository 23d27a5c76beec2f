"""OpenStreetMap as a label layer: a store of classed objects, made once a build, and what a worker burns of it."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from chipweave.catalog.extracts import PARQUET
from chipweave.labels.base import Features
from chipweave.labels.osm.overture import read_overture
from chipweave.labels.osm.pbf import Found, Tally, read_objects
from chipweave.labels.osm.scheme import Scheme
from chipweave.labels.vectors import Rule, StoreFacts, VectorRead
from chipweave.labels.vectors.burn import NOBODY, SEGMENTS, Burned, burn, ground_scale, margin_of
from chipweave.labels.vectors.files import PIECE, Opened, Piece
from chipweave.labels.vectors.opened import Near, open_store
from chipweave.labels.vectors.store import FEATURES, store_of
from chipweave.model import Credit, Place
from chipweave.pixels.lattice import reproject

CREDIT: Final = Credit(
    licence="ODbL-1.0",
    url="https://www.openstreetmap.org/copyright",
    text="© OpenStreetMap contributors",
    citation="OpenStreetMap contributors, https://www.openstreetmap.org",
    share_alike=True,
)

OVERTURE: Final = Credit(
    licence="ODbL-1.0",
    url="https://docs.overturemaps.org/attribution/",
    text="© OpenStreetMap contributors, Overture Maps Foundation",
    citation="Overture Maps Foundation, https://overturemaps.org",
    share_alike=True,
)
"""Of all themes but places."""

PLACES: Final = replace(
    OVERTURE, licence="CDLA-Permissive-2.0", text="Overture Maps Foundation", share_alike=False
)
"""Of Overture's places, which hold nothing of OpenStreetMap."""

BURNED: Final = Rule(None, None, "code", said="classes")
"""The one rule of a store of classed objects."""

OBJECT: Final = "object"
TAGS: Final = "tags"
REACH: Final = "reach_m"
"""Fields of such a store beside the code: how the object is called, its tags as JSON, and see `Found.reach_m`."""

_FIELDS: Final = {"code": "INTEGER", OBJECT: "TEXT", TAGS: "TEXT", REACH: "REAL"}
_KINDS: Final = {"node": 0, "way": 1, "relation": 2}
_SPHERE_M: Final = 6_371_007.2  # of the same area as the ellipsoid
_TURN_BITS: Final = 49  # the Earth has 5.1e14 m², less than 2 to the 49

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OsmOpened(Opened):
    """An extract, or an Overture file, as features for a store."""

    scheme: Scheme
    tally: Tally
    scratch: Path

    def pieces(self, columns: Sequence[str]) -> Iterator[Piece]:
        """Classed objects.

        Raises
        ------
        PermanentSourceError
            The file is cut short, or broken further down.
        """
        overture = self.path.suffix.lower() in PARQUET
        objects = (
            read_overture(self.path, self.scheme, self.tally)
            if overture
            else read_objects(self.path, self.scheme, self.scratch, self.tally)
        )
        first = 0
        while found := list(islice(objects, PIECE)):
            yield _piece(found, first, columns)
            first += len(found)


def _piece(found: Sequence[Found], first: int, columns: Sequence[str]) -> Piece:
    shapes = np.asarray(shapely.from_wkb([f.wkb for f in found]), np.object_)
    table = {
        "code": pa.array([f.code for f in found], pa.int64()),
        OBJECT: pa.array([f.id for f in found], pa.string()),
        TAGS: pa.array([json.dumps(f.tags, ensure_ascii=False, separators=(",", ":")) for f in found], pa.string()),
        REACH: pa.array([f.reach_m for f in found], pa.float64()),
    }  # fmt: skip
    ids = np.array([_number(f.id, first + k) for k, f in enumerate(found)], np.int64)
    turns = turns_of(shapes, np.array([f.priority for f in found]), np.array([f.reach_m for f in found]))
    return Piece(shapes, ids, {c: table[c] for c in columns}, turns)


def _number(name: str, place: int) -> int:
    """A number of an object, for errors and ties: of OpenStreetMap's own, else its place in the file."""
    kind, _, number = name.partition("/")
    return int(number) * 4 + _KINDS[kind] if kind in _KINDS else place * 4 + 3


def turns_of(
    shapes: npt.NDArray[np.object_], priorities: npt.NDArray[np.int64], reaches: npt.NDArray[np.float64]
) -> npt.NDArray[np.int64]:
    """In which order objects in lon/lat are burned: by priority, and the smaller of equal ones later.

    Areas are those of a sphere, in whole m²; of a line or point that of what it is widened to, about.
    """

    def even(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        lon, lat = np.radians(points).T
        return np.stack([lon * _SPHERE_M, np.sin(lat) * _SPHERE_M], axis=1)

    flat = shapely.transform(shapes, even)
    lat = np.radians(shapely.get_coordinates(shapely.centroid(shapes))[:, 1])
    # Lines are as long on the even map as on the ground but for cos(latitude), which an order does not mind.
    wide = shapely.length(flat) * np.maximum(np.cos(lat), 0.01) * 2 * reaches + np.pi * reaches**2
    area = np.where(shapely.get_dimensions(shapes) == 2, shapely.area(flat), wide)
    whole = np.clip(np.nan_to_num(area), 0, 2**_TURN_BITS - 1).astype(np.int64)
    turns: npt.NDArray[np.int64] = (priorities.astype(np.int64) + 1000 << _TURN_BITS) + (
        2**_TURN_BITS - 1 - whole
    )
    return turns


def prepare_osm(path: Path, scheme: Scheme, into: Path, said: str) -> tuple[StoreFacts, float]:
    """Make the store of an extract below a folder, or find it there; and how far its widest object reaches, metres.

    Parameters
    ----------
    path
        ``.osm.pbf``, or an Overture file in Parquet.
    scheme
        Classes.
    into
        Folder of stores.
    said
        How errors name the file, such as ``labels.osm.file: a.osm.pbf``.

    Raises
    ------
    PermanentSourceError
        Cut short, or broken.
    RecipeError
        Missing, or none of its objects has a class.
    """
    tally = Tally()
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".tmp-nodes-", dir=into) as scratch:
        opened = OsmOpened(
            path, said, f"objects by {scheme.digest}", "EPSG:4326", _FIELDS, scheme, tally, Path(scratch)
        )
        facts = store_of(opened, (BURNED,), into, columns=tuple(_FIELDS))
    if tally.taken:
        left = ", ".join(f"{n:,} {why}" for why, n in sorted(tally.left.items()) if n)
        _LOG.info("%s: %s%s", said, facts.said(), f"; left out: {left}" if left else "")
    return facts, _widest(facts.folder)


def _widest(folder: Path) -> float:
    with pa.memory_map(str(folder / FEATURES)) as source:
        file = pa.ipc.open_file(source)
        columns = (file.get_batch(k).column(f"field:{REACH}") for k in range(file.num_record_batches))
        return max((float(np.max(c.to_numpy())) for c in columns), default=0.0)


def collection_of(path: Path) -> tuple[str, Credit]:
    """What samples say for a file's collection, and whom its licence asks to name."""
    if path.suffix.lower() not in PARQUET:
        return "osm", CREDIT
    return "overture", PLACES if "categories" in pq.read_schema(path).names else OVERTURE


@dataclass(frozen=True, slots=True)
class OsmRead(VectorRead):
    """A `PlaceSource` of OpenStreetMap: a `VectorRead` whose lines and points are as wide as each says.

    Parameters
    ----------
    reach_m
        How far its widest object reaches beyond its geometry, metres.
    box
        (w, s, e, n) in lon/lat of the extract, which says nothing of what lies beyond; None if it covers the Earth.
    beyond
        Code of pixels there that no object burns.
    """

    reach_m: float = 0.0
    box: tuple[float, float, float, float] | None = None
    beyond: int = 0

    def burned(self, place: Place) -> tuple[Burned, Near]:
        """Objects burned on one chip, and the objects around it as they are mapped: a road as its line."""
        how = self.reading
        scale = ground_scale(place)
        margin = margin_of(how.rules, how.boundary, place) + self.reach_m / scale
        near = open_store(how.store).near(place, margin, (OBJECT, TAGS, REACH))
        reach = np.array([f[REACH] for f in near.fields], np.float64) / scale
        shapes, wide = near.shapes.copy(), np.flatnonzero(reach)
        shapes[wide] = shapely.buffer(
            shapes[wide], reach[wide], quad_segs=SEGMENTS
        )  # round ends close the gaps where ways meet
        drawn = replace(near, shapes=shapes)
        burned = burn(drawn, how.rules, how.picks, how.outside, how.boundary, place)
        if self.box is not None and how.outside != self.beyond:
            unknown = (burned.classes == how.outside) & (burned.owners == NOBODY)
            burned.classes[unknown & ~_within(self.box, place)] = self.beyond
        return burned, near

    def _features(self, burned: Burned, near: Near) -> Features:
        fields = [near.fields[k] for k in burned.near]
        drawn = VectorRead._features(self, burned, near)  # noqa: SLF001 - super() knows no dataclass with slots
        return replace(
            drawn, geometry=near.shapes[burned.near], ids=tuple(f[OBJECT] for f in fields),
            tags=tuple(json.loads(f[TAGS]) for f in fields),
        )  # fmt: skip


def _within(box: tuple[float, float, float, float], place: Place) -> npt.NDArray[np.bool_]:
    """(h, w) whether pixels' centres lie in a box of lon/lat."""
    steps = (np.arange(place.size) + 0.5) * place.resolution
    x, y = np.meshgrid(place.x + steps, place.y - steps)
    lon, lat = reproject(x.ravel(), y.ravel(), place.crs, "EPSG:4326")
    w, s, e, n = box
    inside = (lon >= w) & (lon <= e) & (lat >= s) & (lat <= n)
    return np.asarray(inside.reshape(x.shape), np.bool_)
