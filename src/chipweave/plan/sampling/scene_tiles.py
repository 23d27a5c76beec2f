"""``scene_tiles``: the scenes of a layer cut into chips from their upper left corner, as reBEN cuts its tiles."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from affine import Affine

from chipweave.errors import RecipeError
from chipweave.model import Scene
from chipweave.pixels import source_grid
from chipweave.plan.lattices import crs_name
from chipweave.plan.sampling.base import Ask, too_many

_TILE = re.compile(r"(?:^|[^A-Za-z0-9]|T)(\d{2}[C-HJ-NP-X][A-HJ-NP-Z][A-HJ-NP-V])(?![A-Za-z0-9])")
"""An MGRS tile in an item's id, by which dates of one tile are known to share their grid."""

_SLACK = 1e-6
"""Of a chip: float noise of a tile's side must not cost its last column."""


def sample(ask: Ask) -> Iterator[pd.DataFrame]:
    """Chips of every scene: whole ones, column by row from its corner; several dates of one tile give them once.

    Raises
    ------
    RecipeError
        No scene, or scenes whose CRS or pixels the chips cannot have.
    TransientSourceError, PermanentSourceError
        The header of a scene's file cannot be read.
    """
    if not ask.scenes:
        raise RecipeError(
            f"chips.sampling.of: no scene of {ask.sampling.of} to tile", hint="another area, time or `where`"
        )
    side = ask.chips.placed * ask.chips.metres_per_pixel
    grids = [(s, *_grid(s)) for s in _one_a_tile(ask.scenes)]
    shapes = [(math.floor(h / side + _SLACK), math.floor(w / side + _SLACK)) for _, _, _, h, w in grids]
    too_many(sum(r * c for r, c in shapes), ask, "larger chips, or fewer scenes")
    for (scene, crs, affine, high, wide), (rows, cols) in zip(grids, shapes, strict=True):
        row, col = (a.ravel() for a in np.mgrid[0:rows, 0:cols])
        tile = _tile(scene.id)
        frame = pd.DataFrame(
            {"crs": crs, "x": affine.c + col * side, "y": affine.f - row * side, "row": row, "col": col}
        ).astype({"crs": object})
        left, top = affine.c, affine.f
        frame = frame.assign(
            tile=tile or scene.id, scene=scene.id, scene_tile=tile or scene.id,
            tile_xmin=left, tile_ymin=top - high, tile_xmax=left + wide, tile_ymax=top,
        )  # fmt: skip
        yield frame[["crs", "x", "y", *sorted(ask.wanted & set(frame.columns) - {"crs", "x", "y"})]]


def _one_a_tile(scenes: Sequence[Scene]) -> list[Scene]:
    """The first scene of every tile, in the order of ids: dates of one tile lie on one grid."""
    found: dict[object, Scene] = {}
    for scene in sorted(scenes, key=lambda s: s.id):
        found.setdefault((scene.crs, _tile(scene.id) or scene.geometry.wkb), scene)
    return list(found.values())


def _tile(ident: str) -> str:
    match = _TILE.search(ident)
    return match.group(1) if match else ""


def _grid(scene: Scene) -> tuple[str, Affine, float, float]:
    """CRS of a scene's files, the affine of one, and its height and width in CRS units, from its header."""
    asset = next(iter(scene.assets.values()), None)
    if asset is None:
        raise RecipeError(f"chips.sampling.of: {scene.id} has no band that could be tiled")
    source = source_grid(asset.href, asset.index)
    affine = source.grid.affine
    if affine.b or affine.d:
        raise RecipeError(f"chips.sampling.of: {scene.id} is turned: its tiles would be, too")
    rows, cols = source.shape
    return crs_name(source.grid.crs), affine, -affine.e * rows, affine.a * cols
