"""How labels from OpenStreetMap are made: the scheme, the store of its objects, and what is burned of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from chipweave.catalog import LayerRequest
from chipweave.errors import RecipeError
from chipweave.labels.osm import DEFAULT, OsmRead, collection_of, load_scheme, prepare_osm
from chipweave.labels.osm.source import BURNED, OBJECT, REACH, TAGS
from chipweave.labels.vectors import Reading
from chipweave.labels.vectors.burn import Boundary
from chipweave.model import Legend, Scene
from chipweave.plan.classes import classes_of
from chipweave.plan.grids import in_metres
from chipweave.recipe import LoadedRecipe

NOT_OSM = ("burn", "layer", "override", "legend", "nodata", "unit", "reduce")
"""Keys that say what a scheme says, or that OpenStreetMap has not."""


def osm_label(loaded: LoadedRecipe, request: LayerRequest, scenes: Sequence[Scene], stores: Path) -> OsmRead:
    """How a layer of OpenStreetMap is burned; its store is made where it is not there yet.

    Parameters
    ----------
    loaded, request
        The recipe, and the layer as the catalog room sees it.
    scenes
        The one that stands for the extract; its outline is the extract's box.
    stores
        Folder of stores.

    Raises
    ------
    RecipeError
        A scheme that is none, or what it asks for cannot be had of an extract.
    PermanentSourceError
        The extract is cut short, or broken.
    """
    layer, wish = request.layer, loaded.recipe.labels[request.layer]
    key = wish.first_given(NOT_OSM)
    if key is not None:
        raise RecipeError(
            f"labels.{layer}.{key}: does not go with OpenStreetMap: `classes` says what is burned",
            hint="leave it out; a scheme of one's own is a YAML file, as catalogs/legends/osm-landuse.yaml is",
        )
    if wish.resample != "auto":
        raise RecipeError(f"labels.{layer}.resample: is of rasters, and {wish.file} holds vectors")
    if request.file is None:
        raise RecipeError(f"labels.{layer}.classes: goes with 'file' only")
    if not in_metres(loaded.recipe.chips.crs):
        raise RecipeError(
            f"labels.{layer}: widths of roads need a grid in metres, and chips.crs is {loaded.recipe.chips.crs}",
            hint="take crs: utm",
        )
    scheme = load_scheme(wish.classes or DEFAULT, loaded.base, loaded.catalogs)
    boundary = None if wish.boundary is None else Boundary(wish.boundary.width_px, wish.boundary.value)
    _check(layer, "outside", wish.outside, scheme.legend)
    _check(layer, "boundary.value", boundary.value if boundary else None, scheme.legend)
    facts, reach = prepare_osm(request.file, scheme, stores, f"labels.{layer}.file: {wish.file}")
    outside = scheme.legend.nodata if wish.outside is None else wish.outside
    made = classes_of(loaded, request, scheme.legend)
    collection, credit = collection_of(request.file)
    boxes = [(w, s, e, n) for w, s, e, n in (scene.geometry.bounds for scene in scenes)]
    return OsmRead(
        layer, made.legend, Reading(facts.folder, (BURNED,), (0,), outside, boundary, (OBJECT, TAGS, REACH)),
        loaded.recipe.chips.pixels, loaded.recipe.chips.metres_per_pixel,
        instances=wish.instances, distance=wish.distance, boxes=wish.boxes, credit=credit,
        recode=made.recode if wish.remap is not None else None, scene=made.scene, ignore=made.ignore,
        collection=collection, reach_m=reach, box=boxes[0] if boxes else None, beyond=scheme.legend.nodata,
    )  # fmt: skip


def _check(layer: str, key: str, code: int | None, legend: Legend) -> None:
    if code is not None and code not in {legend.nodata, *legend.codes}:
        raise RecipeError(
            f"labels.{layer}.{key}: {code} is no class of {legend.name}",
            hint=f"its classes are {', '.join(map(str, legend.codes))}",
        )
