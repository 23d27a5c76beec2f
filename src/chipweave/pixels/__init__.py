"""From stored blocks to aligned arrays: read, resample, radiometry, masks, mosaics.

Pixels know nothing of plans: they take scenes, a grid and a rule, and give arrays.
"""

from chipweave.pixels.bands import read_band, read_bands
from chipweave.pixels.blocks import counts
from chipweave.pixels.masks import mask_codes, mask_shares
from chipweave.pixels.mosaic import LayerRead, SceneArrays, compose, compose_masks, read_mask, read_scene
from chipweave.pixels.read import end_tile, gdal_session, keep_open, let_go, source_grid, spare
from chipweave.pixels.resample import Method, choose_method
from chipweave.pixels.stored import SourceGrid

__all__ = [
    "LayerRead",
    "Method",
    "SceneArrays",
    "SourceGrid",
    "choose_method",
    "compose",
    "compose_masks",
    "counts",
    "end_tile",
    "gdal_session",
    "keep_open",
    "let_go",
    "mask_codes",
    "mask_shares",
    "read_band",
    "read_bands",
    "read_mask",
    "read_scene",
    "source_grid",
    "spare",
]
