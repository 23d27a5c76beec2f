"""A little OpenStreetMap whose outlines are planted in metres: nodes, ways and relations of a `.osm.pbf`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import osmium
import pyproj
import shapely

Tags = Mapping[str, str]
Points = Sequence[tuple[float, float]]


def box(x: float, y: float, width: float, height: float) -> list[tuple[float, float]]:
    """Corners of a rectangle from its lower left one."""
    return [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]


@dataclass
class PlantedOsm:
    """Objects whose coordinates are metres right of and above an origin in a projected CRS."""

    crs: str = "EPSG:32635"
    origin: tuple[float, float] = (500_000.0, 6_652_000.0)  # on the zone's meridian at 60 degrees north
    stamp: str = "2020-05-06T07:08:09Z"
    nodes: list[tuple[int, float, float, Tags]] = field(default_factory=list)
    ways: list[tuple[int, list[int], Tags]] = field(default_factory=list)
    relations: list[tuple[int, list[tuple[str, int, str]], Tags]] = field(default_factory=list)

    def node(self, x: float, y: float, **tags: str) -> int:
        """A node; its id."""
        self.nodes.append((len(self.nodes) + 1, x, y, tags))
        return len(self.nodes)

    def way(self, points: Points, *, closed: bool = False, missing: int = 0, **tags: str) -> int:
        """A way along points, closed or not; `missing` more nodes at its end are named and not there."""
        refs = [self.node(x, y) for x, y in points]
        refs += [9_000_000 + len(self.ways) * 100 + k for k in range(missing)]
        refs += refs[:1] if closed else []
        self.ways.append((len(self.ways) + 1, refs, {k.replace("__", ":"): v for k, v in tags.items()}))
        return len(self.ways)

    def area(self, points: Points, **tags: str) -> int:
        """A closed way."""
        return self.way(points, closed=True, **tags)

    def relation(self, outers: Sequence[int], inners: Sequence[int] = (), **tags: str) -> int:
        """A multipolygon of ways."""
        members = [("w", way, "outer") for way in outers] + [("w", way, "inner") for way in inners]
        self.relations.append((len(self.relations) + 1, members, {"type": "multipolygon", **tags}))
        return len(self.relations)

    def write(self, path: Path, *, stated: str = "") -> Path:
        """The file; `stated` is the date in its header, where there is one."""
        lon_lat = pyproj.Transformer.from_crs(self.crs, 4326, always_xy=True)
        header = osmium.io.Header()
        if stated:
            header.set("osmosis_replication_timestamp", stated)
        with osmium.SimpleWriter(str(path), header=header, overwrite=True) as out:
            for number, x, y, tags in self.nodes:
                place = lon_lat.transform(self.origin[0] + x, self.origin[1] + y)
                out.add_node(
                    osmium.osm.mutable.Node(
                        id=number, location=place, tags=dict(tags), timestamp=self.stamp, version=1
                    )
                )
            for number, refs, tags in self.ways:
                out.add_way(
                    osmium.osm.mutable.Way(
                        id=number, nodes=refs, tags=dict(tags), timestamp=self.stamp, version=1
                    )
                )
            for number, members, tags in self.relations:
                out.add_relation(
                    osmium.osm.mutable.Relation(
                        id=number, members=members, tags=dict(tags), timestamp=self.stamp, version=1
                    )
                )
        return path

    def in_metres(self, wkb: bytes) -> shapely.Geometry:
        """A geometry in lon/lat as metres from the origin."""
        forth = pyproj.Transformer.from_crs(4326, self.crs, always_xy=True)
        shape = shapely.from_wkb(wkb)
        return shapely.transform(
            shape, lambda x, y: tuple(v - o for v, o in zip(forth.transform(x, y), self.origin, strict=True)),
            interleaved=False,
        )  # fmt: skip
