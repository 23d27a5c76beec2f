"""Chips with planted objects and classes, and the text layers that are written of them."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import shapely

from chipweave.audit.arrays import strict_json
from chipweave.labels.base import Features, Seen, Shown, Target
from chipweave.labels.text import text_source
from chipweave.model import LayerSpec, Legend, LegendClass, Place
from chipweave.recipe.texts import TextLayer

SIZE, RES = 64, 10.0
SIDE = SIZE * RES

EQUATOR = ("EPSG:32631", 400_000.0, 20_000.0)
NORTH = ("EPSG:32632", 600_000.0, 6_660_000.0)
"""CRS, and upper left corner: at 0° and at 60° N."""

LEGEND = Legend(
    "osm",
    tuple(
        LegendClass(code, name, "#000000")
        for code, name in (
            (1, "building"),
            (2, "lake"),
            (3, "Forest cover"),
            (4, "road"),
            (5, "tree"),
            (6, "quarry"),
        )
    ),
    0,
)
BUILDING, LAKE, FOREST, ROAD, TREE, QUARRY = (c.code for c in LEGEND.classes)
COVER = Legend(
    "cover",
    tuple(
        LegendClass(code, name, "#000000")
        for code, name in ((10, "Tree cover"), (40, "Cropland"), (80, "Water"), (95, "Mangroves"))
    ),
    0,
)


def label_spec(name: str = "osm", legend: Legend | None = LEGEND, size: int = SIZE) -> LayerSpec:
    nodata = 0 if legend is None else legend.nodata
    return LayerSpec(
        name, "label", "osm", ("class",), ("y", "x"), "uint8", (size, size), RES, nodata, legend=legend
    )


def image_spec(name: str = "s2", collection: str = "sentinel-2-l2a") -> LayerSpec:
    return LayerSpec(
        name, "imagery", collection, ("red",), ("band", "y", "x"), "int16", (1, SIZE, SIZE), RES, -1
    )


def place_at(where: tuple[str, float, float], key: str = "chip") -> Place:
    return Place(key, where[0], where[1], where[2], SIZE, RES)


def features(
    place: Place, planted: Sequence[tuple[int, Any]], tags: Mapping[int, Mapping[str, Any]] | None = None
) -> Features:
    """Geometries given in metres right of and *below* the chip's upper left corner."""
    moved = [
        shapely.transform(g, lambda xy: np.column_stack([place.x + xy[:, 0], place.y - xy[:, 1]]))
        for _, g in planted
    ]
    return Features(
        np.array([*moved, None], object)[:-1],
        np.array([code for code, _ in planted], np.int32),
        tuple(f"way/{i}" for i in range(len(planted))),
        tuple((tags or {}).get(i, {}) for i in range(len(planted))),
    )


def seen_of(
    place: Place,
    found: Features | None = None,
    *,
    raster: np.ndarray | None = None,
    spec: LayerSpec | None = None,
    imagery: Mapping[str, Shown] | None = None,
    columns: Mapping[str, Any] | None = None,
    bbox: tuple[float, float, float, float] = (9.0, 60.0, 9.1, 60.1),
) -> Seen:
    spec = spec or label_spec()
    said = {spec.name: {"datetime": ["2021"], "items": [["extract"]]}}
    array = np.zeros(spec.shape, np.uint8) if raster is None else raster
    target = Target({spec.name: array}, said, features=found)
    return Seen(place, bbox, {spec.name: target}, {spec.name: spec}, imagery or {}, columns or {})


def writer(kind: str, spec: LayerSpec | None = None, *more: LayerSpec, name: str = "t", **options: Any):
    """A text layer, as a recipe has it, once through pickle: workers get it that way."""
    spec = spec or label_spec()
    wish = TextLayer.model_validate({"kind": kind, "from": spec.name, **options})
    source = text_source(name, wish, {s.name: s for s in (spec, *more)}, "utm", (9.0, 60.0))
    return pickle.loads(pickle.dumps(source))  # noqa: S301


def written(source: Any, seen: Seen) -> tuple[str, dict[str, Any]]:
    """The text, and the facts, which are strict JSON."""
    target = source.write(seen)
    name = source.specs[0].name
    assert set(target.documents) == set(target.said) == {s.name for s in source.specs}
    return target.documents[name].decode(), strict_json(target.documents[f"{name}_facts"])


def facts_of(document: Mapping[str, Any], measure: str) -> list[dict[str, Any]]:
    """All facts of a measure, in order."""
    rows = document["questions" if "questions" in document else "sentences"]
    return [f for row in rows for f in row["facts"] if f["measure"] == measure]


def dumped(document: Mapping[str, Any]) -> str:
    return json.dumps(document, sort_keys=True)
