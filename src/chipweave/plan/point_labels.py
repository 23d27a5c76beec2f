"""How labels of points are made: numbers or classes, their legend, and the store of the file."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from chipweave.catalog import LayerRequest, request_legend
from chipweave.catalog.legends import legend_of_names
from chipweave.errors import RecipeError
from chipweave.labels.points import PointsRead, PointTable, Values, open_points, prepare_points
from chipweave.labels.points.tables import values_of
from chipweave.labels.vectors.rules import HIGHEST, MAX_CODES
from chipweave.model import Legend
from chipweave.plan.classes import classes_of
from chipweave.plan.grids import in_metres
from chipweave.recipe import LoadedRecipe

NOT_POINTS = (
    "burn", "layer", "outside", "boundary", "instances", "distance", "boxes", "override", "nodata", "unit", "reduce",
)  # fmt: skip
"""Keys that points have not: `points.unit` is theirs, and elsewhere there is no data."""

log = logging.getLogger(__name__)


def point_label(loaded: LoadedRecipe, request: LayerRequest, stores: Path) -> PointsRead:
    """How points are laid on the grid; their store is made where it is not there yet.

    They are numbers where the recipe names their unit, or where they are numbers of which some are not whole and no
    legend is named; else classes: those of the legend, or of the column's own values.

    Parameters
    ----------
    loaded, request
        The recipe, and the layer as the catalog room sees it.
    stores
        Folder of stores.

    Raises
    ------
    RecipeError
        What it asks for cannot be had of its file.
    """
    layer, wish = request.layer, loaded.recipe.labels[request.layer]
    points, path = wish.points, request.file
    if points is None or path is None:
        raise RecipeError(f"labels.{layer}.points: names no file")
    key = wish.first_given(NOT_POINTS)
    if key is not None:
        raise RecipeError(f"labels.{layer}.{key}: does not go with points", hint="leave it out")
    if wish.resample != "auto":
        raise RecipeError(f"labels.{layer}.resample: is of rasters, and {points.file} holds points")
    if points.diameter_m and not in_metres(loaded.recipe.chips.crs):
        raise RecipeError(
            f"labels.{layer}.points.diameter_m: needs a grid in metres, and chips.crs is {loaded.recipe.chips.crs}",
            hint="take crs: utm, or leave it out",
        )
    table = open_points(path, f"labels.{layer}.points.file: {points.file}", points.column)
    legend = _legend(request, table, points.unit)
    if legend is not None:
        names = {c.name: c.code for c in legend.classes}
        codes = {str(c.code): c.code for c in legend.classes}
        table = replace(table, codes=names | codes if request.legend else names)
    facts = prepare_points(table, stores)
    log.info("labels.%s: %s: %s", layer, path.name, facts.said())
    read = PointsRead(
        layer, facts.folder, legend, loaded.recipe.chips.pixels, loaded.recipe.chips.metres_per_pixel,
        unit=points.unit or "", diameter_m=points.diameter_m, jittered=table.jittered,
    )  # fmt: skip
    if legend is None:
        for key in ("remap", "ignore", "scene_labels"):
            if getattr(wish, key):
                raise RecipeError(f"labels.{layer}.{key}: is of classes, and {points.column} holds numbers")
        return read
    made = classes_of(loaded, request, legend)
    return replace(
        read, legend=made.legend, recode=made.recode if wish.remap is not None else None, source=legend,
        scene=made.scene, ignore=made.ignore,
    )  # fmt: skip


def _legend(request: LayerRequest, table: PointTable, unit: str | None) -> Legend | None:
    """Legend of classes; None of numbers."""
    if request.legend:
        if unit is not None:
            raise RecipeError(
                f"labels.{request.layer}.points.unit: {unit}: is of numbers, and a legend of classes"
            )
        return request_legend(request)
    if unit is not None:
        return None
    values = values_of(table)
    if values.numbers and (not values.whole or len(values.texts) > MAX_CODES):
        return None
    if len(values.texts) > MAX_CODES:
        raise RecipeError(
            f"{table.said}: column {table.column} holds more than {MAX_CODES} classes",
            hint="name another one",
        )
    return legend_of_names(request.layer, names_of(values))


def names_of(values: Values) -> dict[int, str]:
    """Codes of a column's own values: themselves where all are codes, else 1, 2, … by the alphabet."""
    if all(t.isascii() and t.isdigit() and int(t) <= HIGHEST for t in values.texts):
        codes = {int(t): t for t in values.texts}
        if len(codes) == len(values.texts):  # else 01 and 1 are two classes
            return codes
    return {k + 1: text for k, text in enumerate(values.texts)}
