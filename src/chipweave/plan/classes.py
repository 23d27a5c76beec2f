"""How raster labels are read, and what becomes of the classes of any label: remap, ignored codes, scene labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from chipweave.catalog import LayerRequest, request_legend
from chipweave.catalog.remap import Remap, remap_of
from chipweave.errors import PermanentSourceError, RecipeError
from chipweave.labels import LabelRead
from chipweave.labels.ages import days_between, days_of
from chipweave.labels.cleanup import Vote
from chipweave.labels.remap import Recode
from chipweave.labels.scene import SceneRule
from chipweave.model import Collection, LayerSpec, Legend, Scene
from chipweave.pixels import Method, choose_method, source_grid
from chipweave.plan.rules import aged_layers
from chipweave.recipe import LoadedRecipe

VALUE = "value"
"""Band of a file of numbers."""

MANY = 5
"""Classes that a warning names."""

BLENDS = frozenset({"bilinear", "cubic", "mean"})
"""Rules that make of some values another."""


@dataclass(frozen=True, slots=True)
class Classes:
    """What is written of a class label.

    Parameters
    ----------
    legend
        Of what is written.
    recode
        From the codes of the source to those.
    scene
        How scene labels are made.
    ignore
        Codes of `legend` that count as ignored.
    """

    legend: Legend
    recode: Recode
    scene: SceneRule
    ignore: tuple[int, ...] = ()


def classes_of(loaded: LoadedRecipe, request: LayerRequest, source: Legend) -> Classes:
    """What a recipe makes of the classes of a label's source.

    Parameters
    ----------
    loaded, request
        The recipe, and the layer as the catalog room sees it.
    source
        Legend of the source.

    Raises
    ------
    RecipeError
        A legend or a code that is not there, or classes of which no legend says what they become.
    """
    wish = loaded.recipe.labels[request.layer]
    remap = None
    if wish.remap is not None:
        remap = remap_of(wish.remap, source, request.layer, request.base, request.extra)
    legend = remap.legend if remap else source
    strange = sorted(set(wish.ignore) - set(legend.codes))
    if strange:
        raise RecipeError(
            f"labels.{request.layer}.ignore: {strange[0]} is no class of {legend.name}",
            hint=f"its classes are {', '.join(map(str, legend.codes))}",
        )
    table = dict(remap.table) if remap else None
    return Classes(
        legend, Recode.of(source, table, legend), _scene(loaded, request, legend), tuple(sorted(set(wish.ignore))),
    )  # fmt: skip


def remap_notes(loaded: LoadedRecipe, labels: Mapping[str, object]) -> tuple[str, ...]:
    """Classes of which a recipe's own codes do not say what they become; `labels` are the sources, by layer."""
    found = []
    for name, wish in loaded.recipe.labels.items():
        recode = getattr(labels.get(name), "recode", None)
        if not isinstance(recode, Recode) or not isinstance(wish.remap, dict):
            continue
        rest = dict(recode.pairs)
        unlisted = [str(code) for code in rest if code not in wish.remap and rest[code] != recode.nodata]
        if unlisted:
            more = f" and {len(unlisted) - MANY} more" if len(unlisted) > MANY else ""
            listed = ", ".join(unlisted[:MANY])
            found.append(f"labels.{name}.remap: not listed, so unlabeled: {listed}{more}")
    return tuple(found)


def _scene(loaded: LoadedRecipe, request: LayerRequest, legend: Legend) -> SceneRule:
    wish = loaded.recipe.labels[request.layer]
    asked = wish.scene_labels
    if asked is None:
        return SceneRule.plain(legend, wish.ignore)
    remap = Remap(legend, tuple((c, c) for c in legend.codes))
    if asked.remap is not None:
        remap = remap_of(asked.remap, legend, request.layer, request.base, request.extra)
    table = tuple((c, to) for c, to in remap.table if c not in wish.ignore and to in remap.legend.codes)
    return SceneRule(remap.legend, table, asked.rule, asked.min_fraction, asked.remap is not None)


def raster_label(
    loaded: LoadedRecipe,
    request: LayerRequest,
    scenes: Sequence[Scene],
    areas: Mapping[str, float],
    target: float,
    loader: str,
) -> LabelRead:
    """How a raster label is read.

    It is numbers where its collection has no legend, the recipe names the file's unit, or the file holds floats and no
    legend is named; else classes.

    Parameters
    ----------
    loaded, request
        The recipe, and the layer as the catalog room sees it.
    scenes
        Its rasters.
    areas, target
        Ground areas of a source pixel by band, and of a target pixel, m².
    loader
        Who reads it.

    Raises
    ------
    RecipeError
        What it asks for cannot be had of its source.
    """
    wish, band = loaded.recipe.labels[request.layer], request.bands[0]
    numbers = _is_numbers(request, wish.unit, scenes)
    method = choose_method("imagery" if numbers else "class", areas[band], target, wish.resample)
    _check_method(request.layer, method, numbers=numbers)
    if numbers:
        return _numbers(loaded, request, method, loader)
    made = classes_of(loaded, request, request_legend(request))
    collection = request.collection
    spec = LayerSpec(
        name=request.layer, kind="label", collection=collection.name if collection else "file",
        bands=(band,), dims=("y", "x"), dtype=made.legend.dtype, shape=(loaded.recipe.chips.pixels,) * 2,
        resolution=loaded.recipe.chips.metres_per_pixel, nodata=made.legend.nodata, unit="class", legend=made.legend,
        credit=collection.credit if collection else None, scene=made.scene.legend if made.scene.remapped else None,
    )  # fmt: skip
    nodata = collection.nodata if collection else None
    return LabelRead(
        made.legend, method, nodata, band, loader, (spec,), made.recode, made.scene, made.ignore,
        cleanup=Vote(wish.cleanup.segments, wish.cleanup.min_share) if wish.cleanup else None,
    )  # fmt: skip


def _is_numbers(request: LayerRequest, unit: str | None, scenes: Sequence[Scene]) -> bool:
    if request.collection is not None:
        return not request.collection.legend
    if unit is not None or request.legend:
        return unit is not None
    for scene in scenes:
        asset = scene.assets[request.bands[0]]
        try:
            return bool(np.issubdtype(source_grid(asset.href, asset.index).dtype, np.floating))
        except PermanentSourceError:
            continue  # survey will say what is wrong with it, chip by chip
    return False


def check_age(loaded: LoadedRecipe, request: LayerRequest, scenes: Sequence[Scene]) -> None:
    """Refuse a rule of age that cannot be told, or a limit that no image of the recipe's time can meet.

    Raises
    ------
    RecipeError
        That is so.
    """
    if request.layer not in aged_layers(loaded) or not scenes:
        return
    limit = loaded.recipe.labels[request.layer].max_label_age
    where = "keep" if limit is None else f"labels.{request.layer}.max_label_age"
    static = request.collection is not None and request.collection.static
    if static or not all(s.edition for s in scenes):
        date = "" if request.collection else f", or set labels.{request.layer}.date"
        raise RecipeError(
            f"{where}: {request.layer} is of no date, so no age can be told", hint=f"leave it out{date}"
        )
    if limit is None:
        return
    for name, layer in loaded.recipe.imagery.items():
        if layer.searched is None:
            continue
        least = {s.edition: days_between(s.edition, layer.searched) for s in scenes}
        if min(least.values()) > days_of(limit):
            edition = min(least, key=lambda e: least[e])
            raise RecipeError(
                f"{where}: {limit}: {request.layer} is of {edition}, {least[edition]:.0f} days or more from all "
                f"imagery of {name}",
                hint="take another edition, other imagery, or a larger limit",
            )


def _check_method(layer: str, method: Method, *, numbers: bool) -> None:
    if method in BLENDS and not numbers:
        raise RecipeError(
            f"labels.{layer}.resample: {method}: what lies between two classes is none",
            hint="take nearest, or mode; or name the `unit` of a file of numbers",
        )
    if method == "mode" and numbers:
        raise RecipeError(
            f"labels.{layer}.resample: mode: of classes; numbers have mean, bilinear, cubic and nearest"
        )


def _numbers(loaded: LoadedRecipe, request: LayerRequest, method: Method, loader: str) -> LabelRead:
    wish, band, collection = loaded.recipe.labels[request.layer], request.bands[0], request.collection
    for key in ("remap", "ignore", "scene_labels"):
        if getattr(wish, key):
            raise RecipeError(
                f"labels.{request.layer}.{key}: is of classes, and this layer holds numbers",
                hint="leave it out, or name the legend of the layer's classes",
            )
    gain, add, unit = _physical(collection, band)
    spec = LayerSpec(
        name=request.layer, kind="label", collection=collection.name if collection else "file",
        bands=(band if collection else VALUE,), dims=("y", "x"),
        dtype="float32", shape=(loaded.recipe.chips.pixels,) * 2,
        resolution=loaded.recipe.chips.metres_per_pixel, nodata=float("nan"),
        unit=wish.unit or unit,
        credit=collection.credit if collection else None,
    )  # fmt: skip
    nodata = collection.nodata if collection else None
    return LabelRead(
        None, method, nodata, band, loader, (spec,), gain=gain, add=add,
        static=collection is not None and collection.static,
    )  # fmt: skip


def _physical(collection: Collection | None, name: str) -> tuple[float, float, str]:
    """Scale, offset and unit of a band, where the collection states them; a file of its own states them itself."""
    if collection is None:
        return 1.0, 0.0, ""
    band = collection.band(name)
    if band is None:
        return collection.scale, collection.offset, collection.unit
    return (
        collection.scale if band.scale is None else band.scale,
        collection.offset if band.offset is None else band.offset,
        band.unit or collection.unit,
    )
