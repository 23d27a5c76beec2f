"""How vector labels are made: rules of the recipe, the stores of its files, the legend, and which chips differ."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.parquet as pq

from chipweave.catalog import LayerRequest, request_legend
from chipweave.catalog.hrefs import is_database, redact
from chipweave.catalog.legends import legend_names, legend_of_names
from chipweave.errors import RecipeError
from chipweave.labels.vectors import Reading, Rule, StoreFacts, VectorRead, prepare_store
from chipweave.labels.vectors.apart import MOST, write_choices
from chipweave.labels.vectors.burn import Boundary
from chipweave.labels.vectors.database import freeze_table
from chipweave.labels.vectors.rules import class_names
from chipweave.model import Legend
from chipweave.plain import text_of
from chipweave.plan.classes import classes_of
from chipweave.plan.grids import in_metres
from chipweave.recipe import LoadedRecipe
from chipweave.recipe.burning import Changes
from chipweave.recipe.targets import Label

log = logging.getLogger(__name__)

OF_VECTORS = ("layer", "burn", "outside", "boundary", "instances", "distance", "boxes", "override")
"""Keys that only vectors have."""


@dataclass(frozen=True, slots=True)
class _Way:
    """One way of burning a layer, before its store is made."""

    path: Path
    said: str
    layer: str | None
    rules: tuple[Rule, ...]
    outside: int | None
    boundary: Boundary | None
    item: str = ""


def refuse_vector_keys(loaded: LoadedRecipe, request: LayerRequest) -> None:
    """Refuse keys of vectors on a label that is none.

    Raises
    ------
    RecipeError
        Names the first such key.
    """
    wish = loaded.recipe.labels[request.layer]
    key = wish.first_given(OF_VECTORS)
    if key is not None:
        what = Path(wish.file).name if wish.file is not None else f"collection {wish.collection}"
        raise RecipeError(
            f"labels.{request.layer}.{key}: is of vectors, and {what} is a {request.form}",
            hint="leave it out, or give a vector file such as fields.gpkg",
        )


def vector_label(
    loaded: LoadedRecipe, request: LayerRequest, stores: Path, places: Path | None = None
) -> VectorRead:
    """How a vector layer is burned; its stores are made where they are not there yet.

    Parameters
    ----------
    loaded, request
        The recipe, and the layer as the catalog room sees it.
    stores
        Folder of stores.
    places
        Table of the build's places, with their attributes; needed for `override` alone.

    Raises
    ------
    RecipeError
        What it asks for cannot be had of its file.
    """
    layer, wish = request.layer, loaded.recipe.labels[request.layer]
    _refuse_raster_keys(loaded, layer, wish)
    named = request_legend(request) if request.legend else None
    ways, numbers = [_way(loaded, layer, wish, stores, None)], np.empty(0, np.int64)
    if wish.override:
        numbers, changes = _numbered(layer, wish, places)
        ways += [_way(loaded, layer, wish, stores, c) for c in changes]
    names = legend_names(request.legend, request.base, request.extra) if request.legend else {}
    facts = _made(layer, ways, stores, names)
    source = named or _own_legend(layer, ways, facts)
    readings = [_reading(layer, way, facts[_file(way)], source) for way in ways]
    made = classes_of(loaded, request, source)
    chosen = None
    if numbers.any():
        digest = hashlib.sha256(numbers.tobytes() + repr(readings).encode()).hexdigest()[:20]
        chosen = stores / f"{layer}-{digest}.npy"
        if places is not None and not chosen.exists():
            write_choices(chosen, pq.read_table(places, columns=["key"])["key"].to_pylist(), numbers)
    return VectorRead(
        layer, made.legend, readings[0], loaded.recipe.chips.pixels, loaded.recipe.chips.metres_per_pixel,
        instances=wish.instances, distance=wish.distance, boxes=wish.boxes, others=tuple(readings[1:]), chosen=chosen,
        recode=made.recode if wish.remap is not None else None, scene=made.scene, ignore=made.ignore,
    )  # fmt: skip


def _refuse_raster_keys(loaded: LoadedRecipe, layer: str, wish: Label) -> None:
    for key in ("nodata", "unit"):
        if getattr(wish, key) is not None:
            raise RecipeError(f"labels.{layer}.{key}: is of rasters, and {wish.file} holds vectors")
    if wish.resample != "auto":
        raise RecipeError(f"labels.{layer}.resample: is of rasters, and {wish.file} holds vectors")
    if not wish.burn:
        raise RecipeError(
            f"labels.{layer}.burn: is missing: nothing says what of {wish.file} is burned",
            hint="burn: [{value: 1}] burns all features as class 1; see `where` and `column`",
        )
    every = [wish.burn, *(c.burn or () for by in wish.override.values() for c in by.values())]
    crs = loaded.recipe.chips.crs
    if not in_metres(crs) and any(rule.buffer_m for rules in every for rule in rules):
        raise RecipeError(
            f"labels.{layer}.burn: buffer_m needs a grid in metres, and chips.crs is {crs}",
            hint="take crs: utm, or leave buffer_m out",
        )
    if not in_metres(crs) and wish.distance:
        raise RecipeError(f"labels.{layer}.distance: needs a grid in metres, and chips.crs is {crs}")


def _way(loaded: LoadedRecipe, layer: str, wish: Label, stores: Path, changes: Changes | None) -> _Way:
    """The layer's own way of burning, or another one."""
    at, burn, file, inner = f"labels.{layer}", wish.burn, wish.file or "", wish.layer
    outside, edge = wish.outside, wish.boundary
    if changes is not None:
        at, burn = f"labels.{layer}.override", changes.burn or burn
        file, inner = (changes.file, changes.layer) if changes.file is not None else (file, inner)
        outside = changes.outside if changes.outside is not None else outside
        edge = changes.boundary or edge
    rules = tuple(
        Rule(r.where, r.value, r.column, r.buffer_m, r.all_touched, f"{at}.burn.{k}")
        for k, r in enumerate(burn)
    )
    boundary = Boundary(edge.width_px, edge.value) if edge is not None else None
    path = (
        freeze_table(file, inner, stores, f"{at}.file: {redact(file)}")
        if is_database(file)
        else loaded.resolve(file)
    )
    item = "" if file == wish.file else path.stem
    inner = None if is_database(file) else inner
    return _Way(path, f"{at}.file: {redact(file)}", inner, rules, outside, boundary, item)


def _file(way: _Way) -> tuple[Path, str | None]:
    return way.path, way.layer


def _picks(rules: Sequence[Rule]) -> list[Rule]:
    """One of all rules that tell features and codes alike."""
    return list({rule.picks: rule for rule in reversed(rules)}.values())[::-1]


def _made(
    layer: str, ways: Sequence[_Way], stores: Path, names: Mapping[str, int]
) -> dict[tuple[Path, str | None], tuple[StoreFacts, tuple[Any, ...]]]:
    """A store for each file, with a column of codes for each rule of all ways that burn it."""
    found = {}
    for way in ways:
        if _file(way) in found:
            continue
        rules = _picks([r for w in ways if _file(w) == _file(way) for r in w.rules])
        facts = prepare_store(way.path, rules, stores, said=way.said, layer=way.layer, names=names)
        log.info("labels.%s: %s: %s", layer, way.path.name, facts.said())
        found[_file(way)] = facts, tuple(rule.picks for rule in rules)
    return found


def _reading(layer: str, way: _Way, made: tuple[StoreFacts, tuple[Any, ...]], legend: Legend) -> Reading:
    facts, known = made
    picks = tuple(known.index(rule.picks) for rule in way.rules)
    fine = {legend.nodata, *legend.codes} | ({legend.unlabeled} if legend.unlabeled is not None else set())
    said = [
        (f"{r.said}.{'value' if r.column is None else 'column'}", facts.codes[p])
        for r, p in zip(way.rules, picks, strict=True)
    ]
    said += [(f"labels.{layer}.outside", (way.outside,))] if way.outside is not None else []
    said += [(f"labels.{layer}.boundary.value", (way.boundary.value,))] if way.boundary is not None else []
    for where, codes in said:
        strange = sorted(set(codes) - fine)
        if strange:
            raise RecipeError(
                f"{where}: {', '.join(map(str, strange[:10]))}: no class of legend {legend.name}",
                hint=f"its classes are {', '.join(map(str, legend.codes))}",
            )
    outside = legend.nodata if way.outside is None else way.outside
    return Reading(facts.folder, way.rules, picks, outside, way.boundary, facts.kept, way.item)


def _own_legend(
    layer: str, ways: Sequence[_Way], facts: Mapping[Any, tuple[StoreFacts, tuple[Any, ...]]]
) -> Legend:
    """Legend of everything that is burned, its classes named after the rules."""
    names: dict[int, str] = {}
    for way in ways:
        held, known = facts[_file(way)]
        codes = [held.codes[known.index(r.picks)] for r in way.rules]
        names = class_names(way.rules, codes, layer) | names
        if way.boundary is not None:
            names.setdefault(way.boundary.value, "boundary")
        if way.outside is not None:
            names.setdefault(way.outside, "background")
    return legend_of_names(layer, names)


def _numbered(layer: str, wish: Label, places: Path | None) -> tuple[npt.NDArray[np.int64], list[Changes]]:
    """For each place which changes hold, from 1 (0: none), and the changes.

    Where several attributes of a chip have something to say, a later one of the recipe has the last word.
    """
    if places is None:
        return np.empty(0, np.int64), []
    table = pq.read_table(places, columns=list(wish.override)).to_pandas()
    hits = pd.DataFrame({n: _which(table[n], list(by)) for n, by in wish.override.items()})
    rows, numbers = np.unique(hits.to_numpy(), axis=0, return_inverse=True)
    rows = np.vstack([np.full((1, hits.shape[1]), -1), rows[(rows >= 0).any(axis=1)]])
    none = (hits < 0).to_numpy().all(axis=1)
    first = int((np.unique(hits.to_numpy(), axis=0) < 0).all(axis=1).sum())
    numbers = np.where(none, 0, numbers.ravel() + 1 - first)
    if len(rows) > MOST:
        raise RecipeError(f"labels.{layer}.override: more than {MOST} ways to burn it")
    return numbers.astype(np.int64), [_merged(wish, row) for row in rows[1:]]


def _which(values: pd.Series[Any], known: Sequence[str]) -> npt.NDArray[np.int64]:
    """Number of the text that each value is; -1 for another, and for none."""
    texts = values.map(_text, na_action="ignore")
    return np.asarray(pd.Index(known).get_indexer(pd.Index(texts.astype(object))), np.int64)


def _text(value: object) -> str:
    if isinstance(value, bool | np.bool_):
        return str(bool(value)).lower()
    return text_of(float(value) if isinstance(value, np.floating) else value)


def _merged(wish: Label, row: npt.NDArray[np.int64]) -> Changes:
    out: Changes | None = None
    for by, number in zip(wish.override.values(), row.tolist(), strict=True):
        if number >= 0:
            own = list(by.values())[number]
            out = (
                own
                if out is None
                else out.model_copy(update={k: getattr(own, k) for k in own.model_fields_set})
            )
    if out is None:
        raise ValueError("no attribute of the chip changes anything")
    return out
