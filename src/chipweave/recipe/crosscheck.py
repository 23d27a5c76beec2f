"""Rules between keys that lie far apart; on the raw mapping, to be told together with all other problems."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from chipweave.recipe import keep
from chipweave.recipe.interval import interval
from chipweave.recipe.places import needs_area
from chipweave.recipe.texts import TEXT_PARTS

Path = tuple[str | int, ...]


class Problem(NamedTuple):
    """What is wrong at a place of the recipe."""

    path: Path
    text: str


def nearest(word: str, known: Iterable[str]) -> str:
    """Known word that looks most like `word`, or an empty string where none is known."""
    names = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word.lower(), names, n=1, cutoff=0.0)
    return names[found[0]] if found else ""


def crosscheck(raw: Mapping[str, Any]) -> list[Problem]:
    """Problems between the parts of a recipe.

    Parameters
    ----------
    raw
        The recipe as a mapping; what has the wrong type is passed over, since the models report it.
    """
    return [*_presence(raw), *_layer_names(raw), *_attribute_names(raw), *_layer_references(raw), *_keep(raw)]


def _mapping(value: object) -> Mapping[str, Any]:
    return {str(k): v for k, v in value.items()} if isinstance(value, Mapping) else {}


def _presence(raw: Mapping[str, Any]) -> Iterator[Problem]:
    if raw.get("parts"):
        return
    if not raw.get("imagery") and not raw.get("labels"):
        yield Problem((), "no layer: give at least one under imagery or labels")
    if raw.get("area") is None and needs_area(raw):
        yield Problem((), "area: missing; say where, such as area: {geojson: aoi.geojson}")


RESERVED: Final = ("json", "key", "band", "sample", "time", "y", "x")
"""Names that a sample or a Zarr group uses itself."""


LABEL_PARTS: Final = {
    "instances": ("instances", "features"), "boxes": ("boxes",), "distance": ("distance",), "points": ("points",),
}  # fmt: skip
"""Keys of a label that give it further members, and how their names end."""


def _layer_names(raw: Mapping[str, Any]) -> Iterator[Problem]:
    seen = dict.fromkeys(RESERVED, "the dataset's own files") | {
        f"{name}_mask": f"the mask of imagery.{name}" for name in _mapping(raw.get("imagery"))
    }
    seen |= {
        f"{name}_{p}": f"a member of text.{name}" for name in _mapping(raw.get("text")) for p in TEXT_PARTS
    }
    seen |= {
        f"{name}_{part}": f"a member of labels.{name}"
        for name, label in _mapping(raw.get("labels")).items()
        for key, parts in LABEL_PARTS.items()
        for part in parts
        if _mapping(label).get(key)
    }
    for section in ("imagery", "labels", "text"):
        for name in _mapping(raw.get(section)):
            if name in seen:
                yield Problem((section, name), f"the name is taken by {seen[name]}")
            seen.setdefault(name, f"{section}.{name}")


COLUMNS: Final = (
    "key", "place", "crs", "x", "y", "size", "resolution", "lon", "lat", "w", "s", "e", "n", "reason", "geometry",
    "state", "stage", "stratum", "class", "layer", "href", "error", "split", "block", "fold", "tile", "batch", "shard",
    "transform", "height", "width", "majortom", "majortom_row", "majortom_col", "licences", "row", "col", "scene",
    "negative", "part_row", "part_col", "tile_xmin", "tile_ymin", "tile_xmax", "tile_ymax",
)  # fmt: skip
"""Columns that tables of places, chips and samples have anyway."""


def _attribute_names(raw: Mapping[str, Any]) -> Iterator[Problem]:
    layers = [*_mapping(raw.get("imagery")), *_mapping(raw.get("labels")), *_mapping(raw.get("text"))]
    for name in _mapping(raw.get("attributes")):
        own = next((n for n in ("json", *layers) if name == n or name.startswith(f"{n}_")), None)
        if name in COLUMNS:
            yield Problem(("attributes", name), "the name is taken by a column of every dataset")
        elif own is not None:
            yield Problem(("attributes", name), f"the name is taken: columns of layer {own} begin so")
        elif name.endswith("_offset"):
            yield Problem(
                ("attributes", name), "the name is taken: columns that end so tell where layers lie"
            )


def _layer_references(raw: Mapping[str, Any]) -> Iterator[Problem]:
    """Keys that name a layer, or an attribute where the contract allows one."""
    imagery = list(_mapping(raw.get("imagery")))
    rasters = [*imagery, *_mapping(raw.get("labels"))]
    columns = [*rasters, *_mapping(raw.get("attributes"))]
    for name, layer in _mapping(raw.get("imagery")).items():
        others = [other for other in imagery if other != name]
        for key, inner, choice in (("pair", "with", others), ("register", "to", imagery)):
            yield from _known(
                ("imagery", name, key, inner), _mapping(_mapping(layer).get(key)).get(inner), choice
            )
        to = _mapping(_mapping(layer).get("select")).get("to")
        if isinstance(to, str) and not _is_date(to):
            yield from _known(("imagery", name, "select", "to"), to, others)
    yield from _circles(_mapping(raw.get("imagery")))
    yield from _segments(_mapping(raw.get("labels")))
    for name, layer in _mapping(raw.get("text")).items():
        yield from _known(("text", name, "from"), _mapping(layer).get("from"), rasters)
        for i, told in enumerate(_listed(_mapping(layer).get("place"))):
            yield from _told(("text", name, "place", i), told, raw)
    for name, layer in _mapping(raw.get("labels")).items():
        for told in _mapping(_mapping(layer).get("override")):
            yield from _told(("labels", name, "override", told), told, raw)
    sampling = _mapping(_mapping(raw.get("chips")).get("sampling"))
    yield from _known(("chips", "sampling", "of"), sampling.get("of"), imagery)
    yield from _known(("chips", "sampling", "by"), sampling.get("by"), list(_mapping(raw.get("labels"))))
    balance = _mapping(raw.get("balance"))
    yield from _split(_mapping(raw.get("split")), raw, columns)
    yield from _known(("balance", "by"), balance.get("by"), columns)


def _split(split: Mapping[str, Any], raw: Mapping[str, Any], columns: list[str]) -> Iterator[Problem]:
    """What `split` names: layers and attributes to be alike in, columns to go by."""
    strata = split.get("stratify")
    for name in strata if isinstance(strata, list | tuple) else [strata]:
        yield from _known(("split", "stratify"), name, columns)
    attributes = list(_mapping(raw.get("attributes")))
    own = list(_mapping(raw.get("imagery"))) if split.get("method") == "time" else ["tile", "majortom", "crs"]
    yield from _known(("split", "by"), split.get("by"), [*attributes, *own])
    yield from _known(("split", "error"), split.get("error"), attributes)


def _segments(labels: Mapping[str, Any]) -> Iterator[Problem]:
    """Layers whose instances vote on another's classes."""
    for name, layer in labels.items():
        voting = _mapping(_mapping(layer).get("cleanup")).get("segments")
        path = ("labels", name, "cleanup", "segments")
        yield from _known(path, voting, [other for other in labels if other != name])
        if isinstance(voting, str) and voting in labels and not _mapping(labels[voting]).get("instances"):
            yield Problem(path, f"layer {voting} has no instances; set labels.{voting}.instances: true")


def _circles(imagery: Mapping[str, Any]) -> Iterator[Problem]:
    """Layers that go with themselves, by way of others."""
    partner = {
        name: _mapping(_mapping(layer).get("pair")).get("with")
        or _mapping(_mapping(layer).get("select")).get("to")
        for name, layer in imagery.items()
    }
    for name, round_ in _rounds(partner):
        key = ("pair", "with") if "pair" in _mapping(imagery[name]) else ("select", "to")
        yield Problem(("imagery", name, *key), f"goes round: {round_}")
    laid = {name: _mapping(_mapping(layer).get("register")).get("to") for name, layer in imagery.items()}
    for name, round_ in _rounds(laid):
        yield Problem(("imagery", name, "register", "to"), f"goes round: {round_}")


def _rounds(after: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Layers from which one comes back by way of others, and the way."""
    for name in after:
        seen, at = [name], after[name]
        while isinstance(at, str) and at in after and at not in seen:
            seen.append(at)
            at = after[at]
        if at == name and len(seen) > 1:
            yield name, " -> ".join([*seen, name])


def _told(path: Path, told: object, raw: Mapping[str, Any]) -> Iterator[Problem]:
    """An attribute that a text tells, or that says how a label is made."""
    attributes = list(_mapping(raw.get("attributes")))
    if isinstance(told, str) and told not in attributes:
        close = f"; did you mean {nearest(told, attributes)!r}?" if attributes else ""
        yield Problem(path, f"got {told!r}, expected an attribute of this recipe{close}")


def _listed(value: object) -> Sequence[object]:
    return value if isinstance(value, list | tuple) else ()


def _is_date(text: str) -> bool:
    try:
        interval(text)
    except ValueError:
        return False
    return True


def _known(path: Path, value: object, known: list[str]) -> Iterator[Problem]:
    if isinstance(value, str) and value not in known:
        yield Problem(path, f"got {value!r}, expected {_choice(value, known)}")


def _choice(word: str, known: list[str]) -> str:
    return f"a layer of this recipe; did you mean {nearest(word, known)!r}?" if known else "another layer"


def _keep(raw: Mapping[str, Any]) -> Iterator[Problem]:
    expressions = raw.get("keep")
    if not isinstance(expressions, list | tuple):
        return
    imagery, labels = _mapping(raw.get("imagery")), _mapping(raw.get("labels"))
    for i, text in enumerate(expressions):
        try:
            conditions = keep.parse(text) if isinstance(text, str) else []
        except ValueError:
            continue
        for one in conditions:
            voted = "cleanup" in _mapping(labels.get(one.layer))
            of_label = keep.VOTED_FIELDS if voted else keep.LABEL_FIELDS
            fields = keep.IMAGERY_FIELDS if one.layer in imagery else of_label
            if one.layer not in imagery and one.layer not in labels:
                known = [*imagery, *labels]
                yield Problem(
                    ("keep", i), f"unknown layer {one.layer!r}; did you mean {nearest(one.layer, known)!r}?"
                )
            elif one.field not in fields and not (one.code is not None and one.layer in labels):
                own = "a class code, " if one.layer in labels else ""
                yield Problem(
                    ("keep", i), f"{one.layer!r} has no {one.field!r}, only {own}{', '.join(fields)}"
                )
