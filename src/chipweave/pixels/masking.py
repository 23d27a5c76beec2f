"""Masks of a window from a quality band: by codes or by bits, and grown by metres.

On a coarser grid codes that stand for one thing each give way to their mode, as labels do. A code of several bits is no
class: there the mode is that of clear, bad and no data, which each source pixel is first.
"""

from __future__ import annotations

from functools import lru_cache, partial

import numpy as np
import numpy.typing as npt
from affine import Affine

from chipweave.model import MASK_NODATA, Asset, MaskRule
from chipweave.pixels.blocks import read_block
from chipweave.pixels.codes import Finish, read_codes
from chipweave.pixels.lattice import Grid
from chipweave.pixels.masks import Mask, dilate, disk, mask_codes
from chipweave.pixels.read import source_of
from chipweave.pixels.resample import Method, resample
from chipweave.pixels.stored import data_mask


def default_nodata(rule: MaskRule) -> float | None:
    """Code that is no data where neither item nor file states one: a mode over codes must not count it as a class."""
    if rule.bits:
        return None if rule.fill is None else float(rule.fill)
    return float(rule.nodata[0]) if rule.nodata else None


def mask_on(
    asset: Asset, rule: MaskRule, crs: str, affine: Affine, shape: tuple[int, int], method: Method
) -> Mask:
    """Mask of one quality band on a north-up window; 255 where the file does not reach.

    Raises
    ------
    TransientSourceError, PermanentSourceError
        As `read_codes`.
    """
    nodata = default_nodata(rule)
    if rule.bits and method == "mode":
        return _settled_first(asset, rule, nodata, crs, affine, shape)
    return read_codes(asset, nodata, crs, affine, shape, method, _finish(rule))


@lru_cache(maxsize=64)
def _finish(rule: MaskRule) -> Finish:
    """One function a rule: tables of what becomes of codes are kept by it."""
    return partial(mask_codes, rule=rule)


def grown(metres: float, affine: Affine, shape: tuple[int, int]) -> tuple[Affine, tuple[int, int], int, int]:
    """Window with a margin from which bad pixels may grow into it: affine, shape, margin in rows and in columns."""
    offsets = disk(metres, (affine.a, -affine.e))
    rows, cols = len(offsets) - 1, offsets[0]
    wide = affine * Affine.translation(-cols, -rows)
    return wide, (shape[0] + 2 * rows, shape[1] + 2 * cols), rows, cols


def cut(mask: Mask, metres: float, affine: Affine, rows: int, cols: int) -> Mask:
    """A mask with a margin, its bad pixels grown, without the margin."""
    out = dilate(mask, disk(metres, (affine.a, -affine.e)))
    return np.ascontiguousarray(out[rows : out.shape[0] - rows, cols : out.shape[1] - cols])


def _settled_first(
    asset: Asset, rule: MaskRule, nodata: float | None, crs: str, affine: Affine, shape: tuple[int, int]
) -> Mask:
    """Mode of clear and bad over the source pixels inside each pixel; no data where fewer than half are either."""
    source, code = source_of(asset, nodata)
    grid, row, col = Grid.anchored(crs, affine)

    def read(row: int, col: int, height: int, width: int) -> tuple[Mask, npt.NDArray[np.bool_]]:
        values = read_block(source, row, col, height, width)
        mask = mask_codes(values, data_mask(values, code), rule)
        return mask, mask != MASK_NODATA

    window = (row, col, *shape)
    out, ok = resample(source.grid, source.shape, grid, window, "mode", read, np.dtype(np.uint8))
    return np.where(ok, out, np.uint8(MASK_NODATA)).astype(np.uint8)
