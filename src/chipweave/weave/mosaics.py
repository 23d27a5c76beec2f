"""Chosen scenes of many chips at once: each scene read for all of its chips, the next only while pixels are missing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
from affine import Affine

from chipweave.errors import PermanentSourceError
from chipweave.model import MASK_NODATA, Place, Scene
from chipweave.pixels import LayerRead, SceneArrays, read_scene
from chipweave.pixels.ahead import ahead
from chipweave.pixels.gaps import blank, whole
from chipweave.plan.coming import of_rest, picture_parts
from chipweave.plan.regions import Arrays, ReadWindow, read_chips

NARROW = 0.5
"""Share of a chip below which the window around its missing pixels is read by itself: neighbours share no window."""


def read_mosaics(
    places: Mapping[str, Place],
    chosen: Mapping[str, tuple[str, ...]],
    read: LayerRead,
    scenes: Mapping[str, Scene],
    most: int | None,
) -> tuple[dict[str, list[SceneArrays]], dict[str, tuple[str, PermanentSourceError]]]:
    """Scenes of each chip's candidate, the next only while pixels are missing.

    Parameters
    ----------
    places
        By key, on the layer's grid; of one size and resolution.
    chosen
        Ids of each chip's scenes, in reading order.
    read, scenes
        Of the layer; scenes by id.
    most
        As of `regions.read_chips`.

    Returns
    -------
    got, broken
        By key: its scenes' arrays, in order; or the scene that could not be read, and why.
    """
    got: dict[str, list[SceneArrays]] = defaultdict(list)
    broken: dict[str, tuple[str, PermanentSourceError]] = {}
    left = {key: list(items) for key, items in chosen.items()}
    holes: dict[str, npt.NDArray[np.bool_]] = {}
    while left:
        by_scene: dict[str, list[str]] = defaultdict(list)
        for key, queue in left.items():
            by_scene[queue.pop(0)].append(key)
        for item, keys in by_scene.items():
            for place, arrays in _served([places[k] for k in keys], holes, _reader(scenes[item], read), most):
                if isinstance(arrays, PermanentSourceError):
                    broken[place.key] = (item, arrays)
                    continue
                # Cut off its window: the sample needs it so, and what is counted on it runs several times as fast.
                parts = [np.ascontiguousarray(a) for a in arrays]
                scene = SceneArrays(parts[0], parts[1] if len(parts) > 1 else None)  # type: ignore[arg-type]
                got[place.key].append(scene)
                if left[place.key]:
                    holes[place.key] = ~whole(scene.values) & holes.get(place.key, np.True_)
        left = {k: q for k, q in left.items() if q and k not in broken and holes[k].any()}
        rest = {k: places[k] for k in left}
        parted = partial(_parted, list(rest.values()), holes)
        ahead.expect(of_rest(left, rest, parted, lambda item: picture_parts(scenes[item], read), most))
    return got, broken


def _parted(
    places: Sequence[Place], holes: Mapping[str, npt.NDArray[np.bool_]]
) -> tuple[list[Place], dict[str, tuple[int, int, int, int]]]:
    """Places that are read whole, and of the others the window around what is missing."""
    boxes = {p.key: _around(holes[p.key]) for p in places if p.key in holes}
    narrow = {key: box for key, box in boxes.items() if box[2] * box[3] < NARROW * holes[key].size}
    return [p for p in places if p.key not in narrow], narrow


def _served(
    places: Sequence[Place], holes: Mapping[str, npt.NDArray[np.bool_]], read: ReadWindow, most: int | None
) -> Iterator[tuple[Place, Arrays | PermanentSourceError]]:
    """As `read_chips`; where few pixels are missing yet, the window around these, in arrays without other data."""
    wide, narrow = _parted(places, holes)
    if wide:
        yield from read_chips(wide, read, most)
    for place in places:
        if place.key not in narrow:
            continue
        row, col, height, width = narrow[place.key]
        try:
            parts = read(place.crs, place.affine * Affine.translation(col, row), (height, width))
        except PermanentSourceError as error:
            yield place, error
            continue
        arrays = [
            np.full((place.size, place.size), MASK_NODATA, np.uint8)
            if a.dtype == np.uint8
            else blank((*a.shape[:-2], place.size, place.size), a.dtype)
            for a in parts
        ]
        for array, part in zip(arrays, parts, strict=True):
            array[..., row : row + height, col : col + width] = part
        yield place, tuple(arrays)


def _around(holes: npt.NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """(row, col, height, width) of the window around what is true."""
    rows, cols = np.flatnonzero(holes.any(axis=1)), np.flatnonzero(holes.any(axis=0))
    row, col = int(rows[0]), int(cols[0])
    return row, col, int(rows[-1]) + 1 - row, int(cols[-1]) + 1 - col


def _reader(scene: Scene, read: LayerRead) -> ReadWindow:
    def window(crs: str, affine: Affine, shape: tuple[int, int]) -> Arrays:
        arrays = read_scene(scene, read, crs, affine, shape)
        return (arrays.values,) if arrays.mask is None else (arrays.values, arrays.mask)

    return window
