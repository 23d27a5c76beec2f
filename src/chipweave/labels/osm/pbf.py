"""Classed objects of an extract of OpenStreetMap in `.osm.pbf`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import shapely

from chipweave.catalog.extracts import reading
from chipweave.labels.osm.scheme import Rule, Scheme
from chipweave.plain import shortened

SILENT: Final = frozenset({
    "attribution", "created_by", "fax", "fixme", "FIXME", "email", "import", "import_uuid", "note", "odbl", "phone",
    "source", "todo", "url", "website",
})  # fmt: skip
"""Keys that say nothing of a place itself, or are a person's or a firm's own."""

ON_DISK: Final = 64 << 20
"""Files of more bytes than this keep the places of their nodes on disk: of one of this size about eight million."""

LONGEST: Final = 255
"""Letters of a key or a value: OpenStreetMap's own limit."""

_SILENT_PREFIXES: Final = ("contact:", "note:", "source:", "tiger:", "gnis:", "ref:")

_AREAS: Final = frozenset({"multipolygon", "boundary"})


class Found(NamedTuple):
    """A classed object.

    Parameters
    ----------
    wkb
        Its geometry in lon/lat.
    code
        Of its class.
    id
        ``way/123``.
    tags
        What is kept of them.
    priority
        Of its rule: a larger one is burned later.
    reach_m
        How far its class reaches beyond the geometry, metres.
    """

    wkb: bytes
    code: int
    id: str
    tags: Mapping[str, str]
    priority: int
    reach_m: float


@dataclass(slots=True)
class Tally:
    """What was taken of a file, and what was left out and why, by count.

    ``incomplete`` are closed ways and lines some of whose nodes the file lacks, ``unassembled`` relations that make no
    area of what the file holds of them, ``repeated`` outer ways whose relation has the same class.
    """

    taken: Counter[int] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)


def kept_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags that say what a place is, by key in order, as harmless lines."""
    told = (k for k in sorted(tags) if k not in SILENT and not k.startswith(_SILENT_PREFIXES))
    return {_line(k): _line(tags[k]) for k in told}


def _line(text: str) -> str:
    """Nearly all texts are harmless as they are, which is told fast."""
    return text if len(text) <= LONGEST and text.isprintable() else shortened(text, LONGEST)


def read_objects(path: Path, scheme: Scheme, scratch: Path, tally: Tally) -> Iterator[Found]:
    """Objects of a file that a scheme gives a class, in the file's order; an area comes after its last way.

    Areas are closed ways, unless tagged ``area=no``, and relations of type multipolygon and boundary, with their holes.
    An outer way of a relation that has the same class as the relation would fill its holes: it is left out. A closed
    way that lacks nodes, as at the edge of an extract, is no area; a line is drawn as far as its nodes are there.

    Parameters
    ----------
    path
        ``.osm.pbf``, sorted by type and id.
    scheme
        Rules.
    scratch
        Folder for the places of nodes of a large file: 16 bytes a node while it is read.
    tally
        Is counted up.

    Raises
    ------
    PermanentSourceError
        It cannot be decoded: after some objects were given, so that who takes them must not keep them.
    """
    with reading(path):
        yield from _Objects(scheme, tally, _relations(path, scheme)).of(_processor(path, scheme, scratch))


def _processor(path: Path, scheme: Scheme, scratch: Path) -> Any:
    """Objects with any of the scheme's keys, ways with the places of their nodes, and areas."""
    import osmium  # noqa: PLC0415

    kept = osmium.filter.KeyFilter(*scheme.keys)
    store = "flex_mem"
    if path.stat().st_size > ON_DISK and "," not in str(scratch):  # which osmium splits at
        scratch.mkdir(parents=True, exist_ok=True)
        store = f"sparse_file_array,{scratch / 'nodes.bin'}"
    return osmium.FileProcessor(str(path)).with_locations(store).with_areas(kept).with_filter(kept)


def _relations(path: Path, scheme: Scheme) -> dict[int, tuple[int, frozenset[int]]]:
    """Relations that have a class as an area: its code, and their ways that are not inner ones."""
    import osmium  # noqa: PLC0415

    kept = osmium.filter.KeyFilter(*scheme.keys)
    found = {}
    objects: Any = osmium.FileProcessor(str(path), osmium.osm.osm_entity_bits.RELATION).with_filter(kept)
    for item in objects:
        tags = dict(item.tags)
        rule = scheme.rule(tags, "area") if tags.get("type") in _AREAS else None
        if rule is not None:
            ways = frozenset(m.ref for m in item.members if m.type == "w" and m.role != "inner")
            found[item.id] = (rule.code, ways)
    return found


class _Objects:
    """Takes objects of a file one by one.

    Parameters
    ----------
    scheme, tally
        As in `read_objects`.
    relations
        Those with a class: see `_relations`.
    """

    def __init__(
        self, scheme: Scheme, tally: Tally, relations: Mapping[int, tuple[int, frozenset[int]]]
    ) -> None:
        import osmium  # noqa: PLC0415

        self.scheme, self.tally, self.wkb = scheme, tally, osmium.geom.WKBFactory()
        self.unmade = set(relations)
        self.outer: dict[tuple[int, int], list[int]] = {}  # relations, by way and class
        for relation, (code, ways) in relations.items():
            for way in ways:
                self.outer.setdefault((way, code), []).append(relation)
        self.waiting: list[tuple[int, Found]] = []  # ways whose relation may yet become an area
        self.open: set[int] = set()  # closed ways that were met, and no area of them yet

    def of(self, objects: Iterable[Any]) -> Iterator[Found]:
        """Classed objects."""
        for item in objects:
            found = None
            if item.is_area():
                found = self._area(item)
            elif item.is_way():
                found = self._line(item)
            elif item.is_node():
                found = self._point(item)
            if found is not None:
                self.tally.taken[found.code] += 1
                yield found
        self.tally.left["incomplete"] += len(self.open)
        self.tally.left["unassembled"] += len(self.unmade)
        for way, found in self.waiting:
            if all(relation in self.unmade for relation in self.outer[way, found.code]):
                self.tally.taken[found.code] += 1
                yield found
            else:
                self.tally.left["repeated"] += 1

    def _area(self, item: Any) -> Found | None:
        tags = dict(item.tags)
        way = item.from_way()
        rule = self.scheme.rule(tags, "area", closed=way)
        if way:
            self.open.discard(item.orig_id())
        if rule is None:
            return None
        name = f"{'way' if way else 'relation'}/{item.orig_id()}"
        found = _found(self.wkb.create_multipolygon(item), name, tags, rule)
        if not way:
            self.unmade.discard(item.orig_id())
        elif (item.orig_id(), rule.code) in self.outer:
            self.waiting.append((item.orig_id(), found))
            return None
        return found

    def _line(self, item: Any) -> Found | None:
        tags = dict(item.tags)
        closed = item.is_closed() and tags.get("area") != "no"
        if closed and self.scheme.rule(tags, "area", closed=True) is not None:
            self.open.add(item.id)
        rule = self.scheme.rule(tags, "line")
        if rule is None or (closed and tags.get("area") == "yes"):
            return None
        shape = self._path(item)
        return None if shape is None else _found(shape, f"way/{item.id}", tags, rule)

    def _path(self, item: Any) -> str | None:
        """A line in hex, as far as its nodes are there; None where fewer than two neighbours are."""
        runs: list[list[tuple[float, float]]] = [[]]
        for node in item.nodes:
            place = node.location
            if not place.valid():
                runs.append([])
            elif not runs[-1] or runs[-1][-1] != (place.lon, place.lat):
                runs[-1].append((place.lon, place.lat))
        if len(runs) > 1:
            self.tally.left["incomplete"] += 1
        parts = [run for run in runs if len(run) > 1]
        if not parts:
            return None
        line = shapely.LineString(parts[0]) if len(parts) == 1 else shapely.MultiLineString(parts)
        return str(shapely.to_wkb(line, hex=True))

    def _point(self, item: Any) -> Found | None:
        tags = dict(item.tags)
        rule = self.scheme.rule(tags, "point")
        if rule is None or not item.location.valid():
            return None
        return _found(self.wkb.create_point(item), f"node/{item.id}", tags, rule)


def _found(shape: str, name: str, tags: Mapping[str, str], rule: Rule) -> Found:
    return Found(bytes.fromhex(shape), rule.code, name, kept_tags(tags), rule.priority, rule.reach(tags))
