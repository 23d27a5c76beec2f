"""How tables of features are made: `unit: features`, the polygons and their statistics."""

from __future__ import annotations

import logging
from pathlib import Path

from chipweave.catalog import LayerRequest, request_legend
from chipweave.errors import RecipeError
from chipweave.labels.tables import TableRead, check_statistics
from chipweave.labels.vectors import Rule
from chipweave.labels.vectors.files import open_vectors
from chipweave.labels.vectors.store import store_of
from chipweave.recipe import LoadedRecipe

NOT_TABLES = (
    "outside", "boundary", "instances", "distance", "boxes", "override", "nodata", "classes", "remap", "ignore",
    "scene_labels", "cleanup",
)  # fmt: skip
"""Keys of rasters, which a table is not."""

FEATURES = "features"
"""The `unit` of a label that is a table."""

log = logging.getLogger(__name__)


def table_label(loaded: LoadedRecipe, request: LayerRequest, stores: Path) -> TableRead:
    """How the records of a file of polygons are made; its store is made where it is not there yet.

    Without `burn` every polygon has its record; with it those that a rule takes, with the code of the last one.

    Parameters
    ----------
    loaded, request
        The recipe, and the layer as the catalog room sees it.
    stores
        Folder of stores.

    Raises
    ------
    RecipeError
        What it asks for cannot be had of its file, or there is no imagery to take statistics of.
    """
    layer, wish = request.layer, loaded.recipe.labels[request.layer]
    key = wish.first_given(NOT_TABLES)
    if key is not None:
        raise RecipeError(f"labels.{layer}.{key}: is of rasters, and unit: features makes a table")
    if wish.file is None or request.file is None or request.form != "vector":
        raise RecipeError(
            f"labels.{layer}.unit: features: needs a vector file of polygons, such as parcels.gpkg"
        )
    if not loaded.recipe.imagery:
        raise RecipeError(f"labels.{layer}.reduce: there is no imagery to take statistics of")
    if "webdataset" not in loaded.recipe.output.formats:
        raise RecipeError(f"labels.{layer}.unit: features: needs webdataset among output.formats")
    statistics = check_statistics(wish.reduce, f"labels.{layer}.reduce")
    rules = [
        Rule(r.where, r.value, r.column, r.buffer_m, r.all_touched, f"labels.{layer}.burn.{k}")
        for k, r in enumerate(wish.burn)
    ]
    wide = next((k for k, r in enumerate(wish.burn) if r.buffer_m or r.all_touched), None)
    if wide is not None:
        raise RecipeError(
            f"labels.{layer}.burn.{wide}: buffer_m and all_touched are of rasters: a record counts the pixels whose "
            "centre its polygon holds"
        )
    names = {c.name: c.code for c in request_legend(request).classes} if request.legend else {}
    opened = open_vectors(request.file, f"labels.{layer}.file: {wish.file}", wish.layer)
    columns = [name for name, kind in opened.fields.items() if kind]
    every = [Rule(None, 1, None, said=f"labels.{layer}")]
    facts = store_of(opened, rules or every, stores, columns=columns, names=names)
    log.info("labels.%s: %s: %s", layer, request.file.name, facts.said())
    return TableRead(layer, facts.folder, statistics, facts.kept, coded=bool(rules))
