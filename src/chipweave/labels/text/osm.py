"""Captions of one object and what lies around it, from features: of the SkyScript and RSTeller kind (facts-b)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import shapely

from chipweave.errors import ChipweaveError
from chipweave.labels.base import Features, Seen
from chipweave.labels.text.base import IMAGE, Ask, Fact, Statement
from chipweave.labels.text.objects import (
    LEAST_PX,
    Flags,
    Objects,
    bearing,
    cell_of,
    centre_of,
    class_names,
    objects_of,
    union_area,
)
from chipweave.labels.text.words import (
    a,
    area_text,
    clean,
    compass,
    counted,
    draw,
    length_text,
    listed,
    noun,
    number,
    one_of,
    upper_first,
)
from chipweave.model import Place

MOST_TAGS: Final = 4
MOST_AROUND: Final = 6
"""Classes around that are told."""
NEAREST: Final = 2
"""Objects whose distance is told."""

WINDING, STRAIGHT = 1.2, 1.02
"""Length of a line by the distance between its ends."""

AXES: Final = ("north to south", "north-east to south-west", "east to west", "south-east to north-west")

CELL_PREPOSITIONS: Final = {
    "centre": "at", "top": "at", "bottom": "at", "left": "on", "right": "on",
}  # fmt: skip

TELLING: Final = (
    "name", "building", "amenity", "landuse", "natural", "leisure", "highway", "railway", "waterway", "water",
    "aeroway", "man_made", "power", "shop", "sport", "tourism", "historic", "crop", "surface", "building:levels",
)  # fmt: skip
"""Keys of OpenStreetMap that say most of what is seen; others follow by name."""

SILENT: Final = (
    "source", "created_by", "note", "fixme", "attribution", "import", "addr:", "tiger:", "contact:", "ref:",
    "is_in", "gnis:", "wikidata", "wikipedia", "check_date", "survey:", "website", "phone", "email", "url",
    "description", "opening_hours", "access", "bicycle", "foot", "frequency", "gauge", "layer", "lit", "maxspeed",
    "oneway", "operator", "voltage", "osm_", "changeset", "version", "timestamp", "type", "old_", "image",
    "mapillary",
)  # fmt: skip
"""How keys of tags begin that say nothing of what is seen from above."""


def features_of(ask: Ask, seen: Seen) -> Features:
    """The features of the layer that text is written from.

    Raises
    ------
    ChipweaveError
        It has none.
    """
    found = ask.target(seen).features
    if found is None:
        raise ChipweaveError(
            f"text.{ask.name}: {ask.source.name} holds no features",
            hint="write it from a layer of vectors or of an extract x.osm.pbf",
        )
    return found


def feature_classes(ask: Ask) -> dict[int, str]:
    """Names by code of the classes that features may have."""
    names = class_names(ask.source.legend, ask.source.name)
    return {code: name for code, name in names.items() if code not in ask.apart}


def seen_objects(ask: Ask, seen: Seen) -> Objects:
    """Objects of the chip under the recipe's rule of what can be seen."""
    names = feature_classes(ask)
    least = ask.wish.min_px or LEAST_PX
    return objects_of(features_of(ask, seen), names, seen.place, ask.wish.visible, least)


def write(ask: Ask, seen: Seen) -> list[Statement]:
    """The object that the caption is about, its place, what lies around it, and what is near."""
    objects = seen_objects(ask, seen)
    focus = focus_of(ask, seen, objects)
    if focus is None:
        scale = f"{number(seen.place.resolution)} m a pixel"
        text = f"No object of a known class that could be seen at {scale} lies in the image."
        return [Statement(text, (Fact("count", "", IMAGE, 0.0, "count"),))]
    out = [_about(ask, seen, objects, focus)]
    around = _around(objects, focus)
    if around is not None:
        out.append(around)
    return [*out, *_near(objects, focus)]


def focus_of(ask: Ask, seen: Seen, objects: Objects) -> int | None:
    """Which object the caption is about: of those at least half inside, or else of all that are seen.

    The order of features does not matter.
    """
    known = np.flatnonzero(objects.counted)
    known = known if len(known) else np.flatnonzero(objects.seen)
    if not len(known):
        return None

    def rank(i: int) -> tuple[float, int, str]:
        first = 0.0
        if ask.wish.focus == "largest":
            first = -float(objects.sizes[i]) * (1e9 if objects.dims[i] == 2 else 1)  # areas before lines
        elif ask.wish.focus == "central":
            first = _from_centre(objects, i, seen.place)
        return (first, draw(1 << 32, *ask.drawn_from(seen, "focus", objects.ids[i])), objects.ids[i])

    ranks = {int(i): rank(int(i)) for i in known}
    best = min(ranks.values())
    ties = [i for i, own in ranks.items() if own == best]  # parts of one object that the source holds apart
    return min(ties, key=lambda i: bytes(shapely.to_wkb(objects.parts[i], byte_order=1)))


def _from_centre(objects: Objects, i: int, place: Place) -> float:
    half = place.size * place.resolution / 2
    return math.dist(centre_of(objects.parts[i]), (place.x + half, place.y - half))


def _about(ask: Ask, seen: Seen, objects: Objects, i: int) -> Statement:
    """Class, tags, place and size: ``A building (name: Mill) lies in the top left of the image and covers …``."""
    name, dim, who = objects.names[i], int(objects.dims[i]), clean(objects.ids[i])
    cell = cell_of(centre_of(objects.parts[i]), seen.place)
    tags = told_tags(objects.tags[i], ask.wish.tags)
    facts = [Fact("class", who, "", text=name), Fact("position", who, IMAGE, text=cell)]
    facts += [Fact("tag", who, key, text=value) for key, value in tags]
    extra = f" ({', '.join(f'{key}: {value}' for key, value in tags)})" if tags else ""
    verb = one_of(("lies", "is seen", "is to be found"), *ask.drawn_from(seen, "verb"))
    where = f"{CELL_PREPOSITIONS.get(cell, 'in')} the {cell} of the image"
    text = f"{upper_first(a(noun(name, dim)))}{extra} {verb} {where}"
    size, more = _size(objects, i, who)
    return Statement(f"{text}{size}.", (*facts, *more))


def told_tags(tags: Mapping[str, Any], wanted: Sequence[str] | None) -> list[tuple[str, str]]:
    """Tags that are told, as clean text: those wanted in their order, or the first that describe."""
    if wanted is not None:
        found = [(clean(key), clean(tags[key])) for key in wanted if key in tags and tags[key] is not None]
        return [(key, value) for key, value in found if value]
    described: list[tuple[str, str]] = []
    for key in sorted(tags, key=lambda k: (TELLING.index(k) if k in TELLING else len(TELLING), k)):
        value = clean("" if tags[key] is None else tags[key])
        silent = key.lower().startswith(SILENT) or value.lower() in {"", "yes", "no", "true", "false", "nan"}
        if clean(key) and not silent:
            described.append((clean(key), value))
        if len(described) == MOST_TAGS:
            break
    return described


def _size(objects: Objects, i: int, who: str) -> tuple[str, list[Fact]]:
    """How much of the object lies in the picture, and of a line how it runs."""
    size, cut = float(objects.sizes[i]), objects.shares[i] < 1 - 1e-9
    share = Fact("inside", who, IMAGE, float(objects.shares[i]), "share")
    if objects.dims[i] == 0:
        return "", []
    if objects.dims[i] == 2:
        fact = Fact("area", who, IMAGE, size, "m2", area_text(size))
        text = (
            f"; {area_text(size)} of it lie inside the image"
            if cut
            else f" and covers about {area_text(size)}"
        )
        return text, [fact, share]
    fact = Fact("length", who, IMAGE, size, "m", length_text(size))
    text = (
        f"; {length_text(size)} of it lie inside the image"
        if cut
        else f" and is about {length_text(size)} long"
    )
    run, more = _run(objects.parts[i], who)
    return f"{text}{run}", [fact, share, *more]


def _run(part: Any, who: str) -> tuple[str, list[Fact]]:
    """Bearing and curvature of a line that is in one piece."""
    line = shapely.line_merge(part)
    if shapely.get_type_id(line) != 1:
        return "", []
    ends = shapely.get_coordinates(line)[[0, -1]]
    straight = float(math.dist(*ends))
    if straight <= 0:
        return "", []
    degrees = bearing(tuple(ends[0]), tuple(ends[1])) % 180
    ratio = float(shapely.length(line)) / straight
    axis = AXES[int((degrees + 22.5) // 45) % 4]
    how = "winding " if ratio >= WINDING else "straight " if ratio <= STRAIGHT else ""
    facts = [
        Fact("bearing", who, "", degrees, "degrees", axis),
        Fact("sinuosity", who, "", ratio, "share", how.strip()),
    ]
    return f", {how or 'running '}from {axis}", facts


def _around(objects: Objects, focus: int) -> Statement | None:
    """How many of each class lie in the picture beside the focus, commonest first, and how long lines are."""
    others: Flags = objects.counted.copy()
    others[focus] = False
    groups: list[tuple[int, str, int, Flags]] = []
    for name in sorted(set(objects.names[others])):
        for dim in sorted({int(d) for d in objects.dims[others & objects.of(name)]}):
            which = others & objects.of(name) & (objects.dims == dim)
            groups.append((int(which.sum()), name, dim, which))
    if not groups:
        return None
    parts, facts = [], []
    for n, name, dim, which in sorted(groups, key=lambda g: (-g[0], g[1], g[2]))[:MOST_AROUND]:
        if dim == 1:
            total = float(objects.sizes[which].sum())
            parts.append(f"{length_text(total)} of {name}")
            facts.append(Fact("length", name, IMAGE, total, "m", length_text(total)))
            continue
        parts.append(counted(n, name, dim))
        facts.append(Fact("count", name, IMAGE, float(n), "count"))
        if dim == 2:
            area = union_area(objects, which)
            parts[-1] += f" ({area_text(area)})"
            facts.append(Fact("area", name, IMAGE, area, "m2", area_text(area)))
    return Statement(f"The image also holds {listed(parts)}.", tuple(facts))


def _near(objects: Objects, focus: int) -> list[Statement]:
    """The nearest objects of other classes: how far from edge to edge, and in which direction."""
    others = np.flatnonzero(objects.seen & (objects.names != objects.names[focus]))
    if not len(others):
        return []
    far = shapely.distance(objects.parts[focus], objects.parts[others])
    ranked = sorted(
        zip(far, others, strict=True),
        key=lambda one: (round(float(one[0]), 6), objects.names[one[1]], objects.ids[one[1]]),
    )
    said: dict[str, Statement] = {}
    for metres, i in ranked:
        if objects.names[i] not in said:
            said[objects.names[i]] = _relation(objects, focus, int(i), float(metres))
        if len(said) == NEAREST:
            break
    return list(said.values())


def _relation(objects: Objects, focus: int, i: int, metres: float) -> Statement:
    """Length and direction of the shortest line between two objects."""
    who, other = clean(objects.ids[focus]), clean(objects.ids[i])
    name = noun(objects.names[i], int(objects.dims[i]))
    facts = [Fact("class", other, "", text=objects.names[i])]
    if metres <= 0:
        facts.append(Fact("distance", other, who, 0.0, "m", "touches"))
        return Statement(f"It touches or overlaps {a(name)}.", tuple(facts))
    facts.append(Fact("distance", other, who, metres, "m", length_text(metres)))
    ends = shapely.get_coordinates(shapely.shortest_line(objects.parts[focus], objects.parts[i]))
    degrees = bearing(tuple(ends[0]), tuple(ends[-1]))
    facts.append(Fact("direction", other, who, degrees, "degrees", compass(degrees)))
    text = f"The nearest {name} is about {length_text(metres)} away to the {compass(degrees)}."
    return Statement(text, tuple(facts))
