"""Blocks that chips need, computed without the engine: chip by chip, from the files' headers and PROJ alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyproj
import rasterio

from benchmarks.worlds import Box
from chipweave.model import Place

Rule = Literal["bilinear", "nearest"]
Floats = npt.NDArray[np.float64]

STEP = 32
"""Exact coordinates at every 32nd pixel of a chip, straight lines between: wrong by millimetres."""


def needed(
    files: Mapping[Path, Rule], places: Sequence[Place], given: Mapping[str, Box] = MappingProxyType({})
) -> int:
    """Stored blocks that hold a pixel which any of the chips needs, each counted once.

    Parameters
    ----------
    files
        Each with its rule; ``bilinear`` needs the neighbours of each centre too, where they have a weight.
    places
        The chips, each by itself: what lies between two chips is not needed.
    given
        By key of a chip: the box, in the chip's CRS, of which another scene has given the pixels already.
    """
    return sum(int(hit.sum()) for _, hit in _hits(files, places, given)) if places else 0


def needed_bytes(files: Mapping[Path, Rule], places: Sequence[Place]) -> int:
    """Bytes that these blocks take as they are stored; as `needed`."""
    total = 0
    for path, hit in _hits(files, places, {}):
        with rasterio.open(path) as file:
            for row, col in np.argwhere(hit).tolist():
                total += int(file.get_tag_item(f"BLOCK_SIZE_{col}_{row}", "TIFF", bidx=1))
    return total


def _hits(
    files: Mapping[Path, Rule], places: Sequence[Place], given: Mapping[str, Box]
) -> Iterator[tuple[Path, npt.NDArray[np.bool_]]]:
    """Which blocks (rows, columns) of each file are needed."""
    seen: dict[tuple[object, ...], npt.NDArray[np.bool_]] = {}
    for path, rule in files.items():
        with rasterio.open(path) as file:
            key = (file.crs.to_wkt(), tuple(file.transform), file.shape, file.block_shapes[0], rule)
            if key not in seen:
                seen[key] = _of_file(file, rule, places, given)
        yield path, seen[key]


def _of_file(
    file: rasterio.DatasetReader, rule: Rule, places: Sequence[Place], given: Mapping[str, Box]
) -> npt.NDArray[np.bool_]:
    to_file = pyproj.Transformer.from_crs(places[0].crs, file.crs, always_xy=True)
    height, width = file.shape
    across = -(-width // file.block_shapes[0][1])
    down = -(-height // file.block_shapes[0][0])
    hit = np.zeros((down, across), np.bool_)
    for place in places:
        u, v = _coordinates(place, to_file, ~file.transform)
        # Noise of the projection must not make a neighbour of weight 1e-9 needed.
        u, v = np.round(u, 4), np.round(v, 4)
        inside = (u >= 0) & (v >= 0) & (u < width) & (v < height)
        if place.key in given:
            inside &= ~_within(place, given[place.key])
        if rule == "nearest":
            corners = [(np.floor(u), np.floor(v))]
        else:
            u, v = u - 0.5, v - 0.5
            corners = [(f(u), g(v)) for f in (np.floor, np.ceil) for g in (np.floor, np.ceil)]
        for cols, rows in corners:
            good = inside & (cols >= 0) & (rows >= 0) & (cols < width) & (rows < height)
            i = rows[good].astype(np.int64) // file.block_shapes[0][0]
            j = cols[good].astype(np.int64) // file.block_shapes[0][1]
            hit[i, j] = True
    return hit


def _within(place: Place, box: Box) -> npt.NDArray[np.bool_]:
    """Which pixel centres of a chip lie in a box of its CRS."""
    centres = (np.arange(place.size) + 0.5) * place.resolution
    x, y = place.x + centres, place.y - centres
    return ((y > box[1]) & (y < box[3]))[:, None] & ((x > box[0]) & (x < box[2]))


def _coordinates(
    place: Place, to_file: pyproj.Transformer, inverse: rasterio.Affine
) -> tuple[Floats, Floats]:
    """(column, row) in the file, as real numbers, of every pixel centre of a chip."""
    nodes = np.arange(0, place.size + STEP, STEP, dtype=np.float64)
    x, y = np.meshgrid(place.x + nodes * place.resolution, place.y - nodes * place.resolution)
    x, y = to_file.transform(x, y)
    u, v = inverse * (x, y)
    centres = np.arange(place.size) + 0.5
    return _between(np.asarray(u), centres), _between(np.asarray(v), centres)


def _between(nodes: Floats, centres: Floats) -> Floats:
    i = (centres // STEP).astype(np.int64)
    f = centres / STEP - i
    rows = nodes[i] * (1 - f)[:, None] + nodes[i + 1] * f[:, None]
    return np.asarray(rows[:, i] * (1 - f) + rows[:, i + 1] * f)
