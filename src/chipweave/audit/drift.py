"""What the catalog says today of what a build asked it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas as gpd
import pandas as pd

from chipweave import catalog
from chipweave.audit.report import BROKEN, Check, Findings
from chipweave.audit.tables import LOCK, RECIPE
from chipweave.catalog.hrefs import redact
from chipweave.errors import ChipweaveError
from chipweave.model import Scene
from chipweave.plan.native import split_native
from chipweave.plan.place import search_cells
from chipweave.plan.planning import SNAPSHOT
from chipweave.plan.times import with_searches
from chipweave.recipe import LoadedRecipe, load_recipe


def check_drift(folder: Path) -> Check:
    """Ask the catalog again, and say what it has more, less or otherwise than the lock."""
    try:
        locked = catalog.read_snapshot(folder / SNAPSHOT)
        today, asked = _today(folder)
    except (ChipweaveError, *BROKEN) as exc:
        why = exc.message if isinstance(exc, ChipweaveError) else f"{type(exc).__name__}: {exc}"
        return Check("drift", "skip", f"the catalog could not be asked again: {redact(why)}"[:400])
    findings = Findings("drift")
    numbers: dict[str, Any] = {}
    for layer in asked:
        old, new = ({s.id: s.processed for s in of if s.layer == layer} for of in (locked, today))
        more, less = sorted(new.keys() - old.keys()), sorted(old.keys() - new.keys())
        again = sorted(i for i in old.keys() & new.keys() if old[i] != new[i])
        numbers[layer] = {"locked": len(old), "new": len(more), "gone": len(less), "reprocessed": len(again)}
        if more or less or again:
            first = (more + less + again)[0]
            findings.warn(
                f"{layer}: of {len(old)} locked scenes {len(less)} are gone and {len(again)} processed again, "
                f"{len(more)} are new: {first}"
            )
    return findings.check("the catalog answers today as it did then", **numbers)


def _today(folder: Path) -> tuple[list[Scene], list[str]]:
    """What the catalog says now of what the build asked, and the layers that were asked for.

    Raises
    ------
    ChipweaveError, or one of `BROKEN`
        It cannot be asked: it does not answer, or the recipe leads to files of another machine.
    """
    loaded = load_recipe(folder / RECIPE)
    # Files of the user's own are no catalog, and lie beside his recipe, not here.
    named = {n: of for n, of in loaded.recipe.labels.items() if of.file is None}
    loaded = replace(loaded, recipe=loaded.recipe.model_copy(update={"labels": named}))
    loaded = _at_lock(split_native(loaded), folder)
    places = pd.DataFrame(gpd.read_parquet(folder / "plan" / "places.parquet").drop(columns="geometry"))
    requests = with_searches(catalog.requests(loaded), places, loaded)
    found = catalog.lock(list(requests), search_cells(places)).scenes
    return found, sorted(request.layer for request in requests)


def _at_lock(loaded: LoadedRecipe, folder: Path) -> LoadedRecipe:
    """The recipe with catalogs that it names beside itself where the lock says they lay: it was copied here."""
    searches = json.loads((folder / LOCK).read_bytes())["searches"]
    urls = {s["layer"]: s["url"] for s in searches if Path(s.get("url") or "").is_absolute()}
    update = {}
    for kind in ("imagery", "labels"):
        layers = getattr(loaded.recipe, kind)
        update[kind] = {
            name: of.model_copy(update={"catalog": urls[name]})
            if name in urls and _beside(loaded.catalog_of(name), loaded)
            else of
            for name, of in layers.items()
        }
    return replace(loaded, recipe=loaded.recipe.model_copy(update=update))


def _beside(address: str, loaded: LoadedRecipe) -> bool:
    """Whether a catalog is a path relative to the recipe, and not below the folder in which that lies now."""
    path = Path(address)
    return "://" not in address and not path.is_absolute() and not loaded.resolve(address).exists()
