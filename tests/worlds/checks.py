"""Judge every pixel of a sample against the analytic world, by the contract's rules and the issue's bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from worlds.analytic import BAD, CELL, KEYS, LabelRaster, Scene, transformer
from worlds.harness import Sample

NODATA = -32768
SLACK_PX = 0.05
"""Coordinates may be off by this much of a source pixel (the issue's 0.05 px): nearer than that to a source
pixel's edge either side is right for whatever is taken from "the source pixel under the centre"."""


@dataclass
class Seen:
    """What a scene is at each target pixel, for one band's grid."""

    code: np.ndarray  # SCL code under the centre, 0 outside or no data
    unsure: np.ndarray  # the centre lies within SLACK_PX of a pixel where the code differs
    whole: np.ndarray  # all source pixels of the 2 x 2 with a weight are data
    cloudy: np.ndarray  # one of the 2 x 2 is a bad (spiked) one


def see(scene: Scene, x, y, res: int) -> Seen:
    """Look at a scene from points (x, y) in its CRS on the grid of pixels of `res` m."""
    code = scene.code_at(x, y, res)
    d = SLACK_PX * res
    around = [scene.code_at(x + i * d, y + j * d, res) for i in (-1, 1) for j in (-1, 1)]
    unsure = np.any([a != code for a in around], axis=0)
    u, v = (x - scene.x) / res - 0.5, (scene.y - y) / res - 0.5
    # A centre on a source centre (within the coordinate slack) needs no neighbour; whether it is taken as such, or
    # with a sliver of weight, moves the value by less than the bound allows, but not its neighbours' being there.
    c0, r0 = np.floor(u + 1e-6), np.floor(v + 1e-6)
    on_col, on_row = np.abs(u - c0) < 1e-5, np.abs(v - r0) < 1e-5
    whole, cloudy = np.ones(np.shape(x), bool), np.zeros(np.shape(x), bool)
    for j in (0, 1):
        for i in (0, 1):
            weightless = (on_col & (i == 1)) | (on_row & (j == 1))
            near = scene.code_at(scene.x + (c0 + i + 0.5) * res, scene.y - (r0 + j + 0.5) * res, res)
            whole &= weightless | (near != 0)
            cloudy |= ~weightless & np.isin(near, BAD)
    return Seen(code, unsure, whole, cloudy)


def bound(scene: Scene, band: str, lon, lat, whole):
    """The largest |out - truth| that the issue allows, in DN.

    1 DN: half by rounding the source, half by rounding the result. 0.05 px x gradient: coordinates. h^2/8 x
    (|f_xx| + |f_yy|): what bilinear interpolation is off by at most. Where the 2 x 2 is not whole the weights that are
    left may sit up to half a pixel off along each axis.
    """
    f, h = scene.fields[band], KEYS[band][1]
    fx, fy = f.gradient(lon, lat)
    fxx, fyy, _ = f.second(lon, lat)
    allowed = 1 + SLACK_PX * h * np.hypot(fx, fy) + h * h / 8 * (np.abs(fxx) + np.abs(fyy))
    return allowed + np.where(whole, 0.0, 0.5 * h * (np.abs(fx) + np.abs(fy)))


@dataclass
class Tally:
    """How much was really looked at: a test must be able to fail."""

    pixels: int = 0
    edge: int = 0
    empty: int = 0
    bad: int = 0
    worst: float = 0.0

    def __iadd__(self, other: Tally) -> Self:
        self.pixels += other.pixels
        self.edge += other.edge
        self.empty += other.empty
        self.bad += other.bad
        self.worst = max(self.worst, other.worst)
        return self


def scenes_of(sample: Sample, layer: str, scenes: dict[str, Scene]) -> list[Scene]:
    """The scenes that the sample says it was made of, in their order; one step."""
    meta = sample.meta["layers"][layer]
    (ids,) = meta["items"]
    used = [scenes[i] for i in ids]
    assert len({s.time[:10] for s in used}) == 1, f"{ids} are not one datatake"
    (told,) = meta["datetime"]
    assert told[:19] in {s.time[:19] for s in used}, f"{told} is the time of none of {ids}"
    return used


def check_imagery(
    sample: Sample,
    layer: str,
    scenes: dict[str, Scene],
    *,
    blank: bool = False,
    moved: float = 0.0,
) -> Tally:
    """Assert every pixel of an imagery layer and of its mask.

    `scenes` are all that the catalog has; the datatake of the scenes that were used counts whole. `moved` shifts
    the truth by that many metres east: the check must then fail.
    """
    used = scenes_of(sample, layer, scenes)
    takes = [s for s in scenes.values() if s.time[:10] == used[0].time[:10]]
    takes = used + [s for s in takes if s not in used]
    meta, array = sample.meta["layers"][layer], sample.arrays[layer]
    mask = sample.arrays[f"{layer}_mask"]
    x, y = sample.centres()
    lon, lat = transformer(sample.crs, "EPSG:4326").transform(x + moved, y)
    at = [transformer(sample.crs, s.crs).transform(x, y) for s in takes]

    check_mask(sample, layer, takes, at)
    grids = {
        res: [see(s, sx, sy, res) for s, (sx, sy) in zip(takes, at, strict=True)]
        for res in {KEYS[band][1] for band in meta["bands"]}
    }
    tally = Tally()
    for n, band in enumerate(meta["bands"]):
        tally += _check_band(sample.key, band, array[n], mask, takes, grids[KEYS[band][1]], (lon, lat), blank)
    return tally


def _check_band(key, band, out, mask, takes, seen, where, blank) -> Tally:
    lon, lat = where
    under = np.any([s.code != 0 for s in seen], axis=0)
    unsure = np.any([s.unsure for s in seen], axis=0)
    valid = out != NODATA
    expected = under & (mask != 1) if blank else under
    wrong = (valid != expected) & ~unsure
    assert not wrong.any(), (
        f"{key} {band}: {wrong.sum()} pixels are data where they should not be, or the reverse"
    )

    # A bad pixel is spiked; a neighbour of one may hold a share of the spike: only the rest is compared.
    clear = valid & ~np.any([s.cloudy | np.isin(s.code, BAD) for s in seen], axis=0)
    whole = np.all([s.whole | (s.code == 0) for s in seen], axis=0)
    allowed = np.max([bound(s, band, lon, lat, whole) for s in takes], axis=0)
    truth = takes[0].truth(band, lon, lat)
    tally = compare(f"{key} {band}", out.astype(float), truth, allowed, clear, unsure, whole)
    tally.empty, tally.bad = int((~valid).sum()), int((mask == 1).sum())
    return tally


def compare(name: str, out, truth, allowed, clear, unsure, whole) -> Tally:
    """Hold every clear pixel of a band to its bound, but those where the source pixel is not sure."""
    error = np.abs(out - truth)
    over = clear & ~unsure & (error > allowed + 1e-6)
    if over.any():
        r, c = np.argwhere(over)[np.argmax((error - allowed)[over])]
        raise AssertionError(
            f"{name}: {over.sum()} of {clear.sum()} pixels beyond the bound, worst at row {r} col {c}: "
            f"out {out[r, c]}, truth {truth[r, c]:.4f}, allowed {allowed[r, c]:.4f}, "
            f"2x2 whole: {bool(whole[r, c])}"
        )
    return Tally(
        pixels=int(clear.sum()),
        edge=int((clear & ~whole).sum()),
        worst=float((error / allowed)[clear].max(initial=0)),
    )


def check_mask(sample: Sample, layer: str, takes: list[Scene], at) -> None:
    """0 clear, 1 bad, 255 no data: of the first scene, in the sample's own order, that has data at the pixel."""
    mask = sample.arrays[f"{layer}_mask"]
    assert mask.dtype == np.uint8
    code = np.zeros(mask.shape, int)
    unsure = np.zeros(mask.shape, bool)
    for scene, (x, y) in zip(takes, at, strict=True):
        seen = see(scene, x, y, 20)
        unsure |= seen.unsure
        code = np.where(code == 0, seen.code, code)
    expected = np.where(code == 0, 255, np.isin(code, BAD).astype(int))
    wrong = (mask != expected) & ~unsure
    assert not wrong.any(), (
        f"{sample.key}: {wrong.sum()} of {mask.size} mask pixels; has {np.unique(mask[wrong])}, "
        f"should be {np.unique(expected[wrong])} (SCL {np.unique(code[wrong])})"
    )


def check_fractions(sample: Sample, layer: str, *, blank: bool) -> None:
    """`cloud_fraction` = bad / data, `valid_fraction` = every band data before blanking / all: from the arrays."""
    meta, mask, array = sample.meta["layers"][layer], sample.arrays[f"{layer}_mask"], sample.arrays[layer]
    data = (mask != 255).sum()
    cloud = (mask == 1).sum() / data if data else 0.0
    # 1e-6: the figures may be rounded for print, and a chip's share is a multiple of 1 / 4096 or less.
    assert abs(meta["cloud_fraction"] - cloud) < 1e-6, (sample.key, meta["cloud_fraction"], cloud)
    every = (array != NODATA).all(axis=0)
    if blank:
        every |= mask == 1
    assert abs(meta["valid_fraction"] - every.mean()) < 1e-6, (
        sample.key,
        meta["valid_fraction"],
        every.mean(),
    )


def check_label(
    sample: Sample, layer: str, label: LabelRaster, *, reach: float | None = None
) -> tuple[int, int]:
    """Classes are right wherever no class edge is near: compared and unsure pixels.

    `reach` (m) is how far from the centre a class edge must be: by default half a source pixel's diagonal (0.71
    px), the farthest that the nearest source centre can lie.
    """
    x, y = sample.centres()
    lon, lat = transformer(sample.crs, "EPSG:4326").transform(x, y)
    if reach is None:
        reach = 0.71 * np.hypot(*ground_size(label)) / np.sqrt(2)
    sure = label.classes.sure(lon, lat, reach)
    out = sample.arrays[layer]
    wrong = sure & (out != label.classes.value(lon, lat))
    assert not wrong.any(), (
        f"{sample.key} {layer}: {wrong.sum()} of {sure.sum()} sure pixels have the wrong class: "
        f"{np.unique(out[wrong])} for {np.unique(label.classes.value(lon, lat)[wrong])}"
    )
    # Beside an edge the class may be either side's, but never one that is not there.
    assert np.isin(out, label.classes.codes).all()
    return int(sure.sum()), int((~sure).sum())


def ground_size(label: LabelRaster) -> tuple[float, float]:
    """Width and height of a pixel on the ground, in metres."""
    width, height = label.affine.a, -label.affine.e
    if label.crs == "EPSG:4326":
        east, north = label.classes.field.frame.metres
        return width * east, height * north
    return width, height


def check_label_figures(
    sample: Sample, layer: str, codes: tuple[int, ...], scene: Mapping[int, int] | None = None
) -> None:
    """`fractions` of every code and `scene_labels`, recomputed; `scene` says which class of them a code is, if any."""
    meta, out = sample.meta["layers"][layer], sample.arrays[layer]
    assert list(meta["fractions"]) == [str(c) for c in codes]
    if scene is not None:
        present = {scene[int(code)] for code in np.unique(out) if int(code) in scene}
        assert meta["scene_labels"] == [int(n in present) for n in range(max(scene.values()) + 1)], sample.key
        assert abs(meta["ignored"] - np.isin(out, list(scene), invert=True).mean()) < 1e-6, sample.key
    for n, code in enumerate(codes):
        share = (out == code).mean()
        # The same 1e-6 as for the fractions above.
        assert abs(meta["fractions"][str(code)] - share) < 1e-6, (sample.key, code)
        assert scene is not None or meta["scene_labels"][n] == int(share > 0), (sample.key, code)


def mean_of_source(scene: Scene, band: str, sample: Sample) -> np.ndarray:
    """What `mean` must give on a grid of whole multiples of the source pixel, without rounding, clear pixels only.

    NaN where fewer than half of the source pixels are data.
    """
    h = KEYS[band][1]
    n = round(sample.affine.a / h)
    x0, y0 = sample.affine.c, sample.affine.f
    x = x0 + (np.arange(sample.meta["width"] * n) + 0.5) * h
    y = y0 - (np.arange(sample.meta["height"] * n) + 0.5) * h
    xx, yy = np.meshgrid(x, y)
    codes = scene.code_at(xx, yy, h)
    value = np.rint(scene.truth(band, *transformer(scene.crs, "EPSG:4326").transform(xx, yy)))
    value = np.where(np.isin(codes, BAD), 9000.0, value)
    value = np.where(codes == 0, np.nan, value)
    blocks = value.reshape(sample.meta["height"], n, sample.meta["width"], n)
    share = np.isfinite(blocks).mean(axis=(1, 3))
    total = np.nansum(blocks, axis=(1, 3))
    count = np.isfinite(blocks).sum(axis=(1, 3))
    return np.where(share >= 0.5, total / np.maximum(count, 1), np.nan)


__all__ = [
    "CELL",
    "Tally",
    "check_fractions",
    "check_imagery",
    "check_label",
    "check_label_figures",
    "check_mask",
]
