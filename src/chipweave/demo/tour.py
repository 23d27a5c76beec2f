"""`chipweave demo`: make the world, build from its STAC API, verify, draw, and say how to load the result."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chipweave import audit, run
from chipweave.demo.serve import serve
from chipweave.demo.world import MARKER, make_world
from chipweave.describe.show import show
from chipweave.errors import UsageError, VerifyError
from chipweave.files import atomic_write_text
from chipweave.plan.lockfile import read_lock
from chipweave.recipe import builtin_recipes, load_recipe

log = logging.getLogger("chipweave")

ADDRESS = "address.json"
"""Where the world was served: a demo that was stopped is served there again, and goes on."""

RECIPE, DATASET, SHEET = "recipe.yaml", "dataset", "contact-sheet.png"


def run_demo(folder: Path, *, workers: int | None = None) -> dict[str, Any]:
    """Run the whole line below `folder`, in a minute or two; what is done already is not done again.

    Parameters
    ----------
    folder
        Is made; holds ``world/``, ``recipe.yaml``, ``dataset/`` and ``contact-sheet.png`` afterwards.
    workers
        As in `run.build`.

    Raises
    ------
    UsageError
        The folder holds files of somebody's own by the names of those that are written.
    VerifyError
        The dataset is not what it says: never on a sound machine.
    """
    started = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    _spare(folder)
    log.info("demo: a small synthetic Earth in %s", folder / "world")
    world = make_world(folder / "world", log=lambda text: log.info("demo: %s", text))
    recipe, dataset = folder / RECIPE, folder / DATASET
    atomic_write_text(recipe, builtin_recipes()["demo"].read_text(encoding="utf-8"))
    with serve(world, near=_last_address(folder)) as served:
        log.info("demo: its STAC API answers at %s", served.stac_url)
        atomic_write_text(folder / ADDRESS, json.dumps({"stac": served.stac_url, "files": served.files_url}))
        loaded = load_recipe(recipe, catalog=served.stac_url)
        lock = read_lock(dataset)
        if lock is not None and lock.sha256 != loaded.digest:
            log.info("demo: %s was made from another address: it is built again", dataset)
            shutil.rmtree(dataset)
        built = run.build(loaded, dataset, workers=workers)
    log.info("demo: verify")
    report = audit.verify(dataset)
    if not report.ok:
        raise VerifyError(f"{dataset}: {[c.text for c in report.checks if c.verdict == 'fail']}")
    picture = show(dataset, (), folder / SHEET)
    return {
        **built,
        "verified": len(report.checks),
        "picture": str(picture),
        "recipe": str(recipe),
        "seconds": round(time.monotonic() - started, 1),
    }


def _spare(folder: Path) -> None:
    """Refuse a folder in which a demo would write over, or remove, what no demo has made.

    Raises
    ------
    UsageError
        It holds such a thing.
    """
    if (folder / "world" / MARKER).is_file() or (folder / ADDRESS).is_file():
        return
    for name in (RECIPE, DATASET, SHEET, "world/items.json"):
        if (folder / name).exists():
            raise UsageError(
                f"{folder / name} is no demo's, and would be written over",
                hint="name a folder of its own: chipweave demo DIR",
            )


def _last_address(folder: Path) -> tuple[str, str] | None:
    """STAC API and files of the last time; None where nothing usable is said."""
    try:
        said = json.loads((folder / ADDRESS).read_text(encoding="utf-8"))
        return str(said["stac"]), str(said["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def demo_text(result: Mapping[str, Any]) -> str:
    """What a person is told at the end."""
    dataset = result["folder"]
    splits = ", ".join(f"{n} {split}" for split, n in result["splits"].items())
    dropped = ", ".join(f"{n} {reason}" for reason, n in result["dropped"].items())
    return f"""
A dataset of {result["written"]} chips ({splits}) in {result["seconds"]:g} s; left out: {dropped}.
verify: {result["verified"]} checks passed

  the picture   {result["picture"]}
  the report    {dataset}/report/index.html   (opens in a browser: map, yield, values, samples)
  the dataset   {dataset}   (its card: {dataset}/README.md)
  the recipe    {result["recipe"]}

Load it in PyTorch, with the webdataset package:

  import torch, webdataset as wds
  from glob import glob
  data = wds.WebDataset(sorted(glob("{dataset}/shards/train-*.tar")), shardshuffle=False).decode()
  data = data.to_tuple("s2.npy", "s1.npy", "worldcover.npy").batched(16)
  for optical, radar, label in torch.utils.data.DataLoader(data, batch_size=None): ...

or as arrays:

  import xarray as xr
  xr.open_zarr("{dataset}/zarr/train.zarr", group="s2")"""
