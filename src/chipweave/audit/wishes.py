"""What the recipe asks of each sample, held against what the sample says; and its box against its grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from pyproj import Transformer

from chipweave.audit.arrays import CLOSE, Array, Layer, data_of, nodata_of
from chipweave.audit.report import BROKEN, Findings
from chipweave.audit.tables import RECIPE, Index

Box = tuple[float, float, float, float]

_ONE_SCENE = {"least_cloudy", "newest", "nearest"}
"""Ways of choosing that hold one scene of a chip against `max_cloud`, and no mean of several."""
_SAME = 1e-9


@dataclass(frozen=True, slots=True)
class Scene:
    """How scene labels come out of class shares: as `chipweave.labels.scene.SceneRule` says."""

    rule: str = "presence"
    least: float = 0.0
    ignore: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Quality:
    """What a picture may be, shares between 0 and 1. `plain`: its values are the source's, none is made no data."""

    min_valid: float = 0.0
    max_cloud: float = 1.0
    plain: bool = True


@dataclass(frozen=True, slots=True)
class Wishes:
    """By layer, as far as the recipe says it in words that this reads."""

    scenes: Mapping[str, Scene] = field(default_factory=dict)
    pictures: Mapping[str, Quality] = field(default_factory=dict)


def read_wishes(folder: Path) -> Wishes:
    """Read the recipe in the folder; nothing is asked where it cannot be used, which its own check says."""
    try:
        recipe = yaml.safe_load((folder / RECIPE).read_text(encoding="utf-8"))
        scenes = {str(name): _scene(of) for name, of in (recipe.get("labels") or {}).items()}
        pictures = {str(name): _quality(of) for name, of in (recipe.get("imagery") or {}).items()}
    except (*BROKEN, yaml.YAMLError):
        return Wishes()
    return Wishes(scenes, pictures)


def _scene(wish: Mapping[str, Any]) -> Scene:
    asked = wish.get("scene_labels") or {}
    ignored = frozenset(int(code) for code in wish.get("ignore") or ())
    return Scene(str(asked.get("rule") or "presence"), float(asked.get("min_fraction") or 0.0), ignored)


def _quality(wish: Mapping[str, Any]) -> Quality:
    method = (wish.get("select") or {}).get("method") or "least_cloudy"
    plain = not wish.get("encode") and wish.get("mask") != "blank"
    # A picture that was laid onto another is read anew elsewhere, and a grown mask depends on what lies around it.
    kept = not wish.get("register") and not wish.get("native")
    once = kept and method in _ONE_SCENE and not wish.get("dilate_m")
    held = kept and method in {*_ONE_SCENE, "mosaic"}
    cloud = wish.get("max_cloud")
    return Quality(
        min_valid=float(wish.get("min_valid") or 0.0) / 100 if held else 0.0,
        max_cloud=float(cloud) / 100 if once and cloud is not None else 1.0,
        plain=plain,
    )


def check_picture(
    called: str, layer: Layer, array: Array, mask: Array | None, wish: Quality | None, findings: Findings
) -> None:
    """Hold a picture against the recipe, where it is certain what a build does with such a one."""
    if not layer["present"] or wish is None:
        return
    # The share is known to be that of the pixels: they are looked at again only where it says that there is none.
    if wish.plain and layer["valid_fraction"] == 0 and not data_of(array, nodata_of(layer)).any():
        findings.fail(f"{called} is present but has no pixel with data")
    if "time" in layer["dims"]:
        return  # steps are judged one by one
    valid, cloud = layer["valid_fraction"], layer["cloud_fraction"]
    if valid < wish.min_valid - CLOSE:
        findings.fail(f"valid_fraction of {called} is {valid}, the recipe's min_valid is {wish.min_valid:g}")
    # One scene whose mask and bands are all there: survey has counted these very pixels.
    alone = len(layer["items"]) == 1 and len(layer["items"][0]) == 1 and valid >= 1 - _SAME
    whole = mask is not None and not (mask == 255).any()
    if alone and whole and cloud > wish.max_cloud + CLOSE:
        findings.fail(f"cloud_fraction of {called} is {cloud}, the recipe's max_cloud is {wish.max_cloud:g}")


def check_scene_labels(called: str, layer: Layer, wish: Scene | None, findings: Findings) -> None:
    """Hold scene labels against class shares: those of the legend they are of, by the recipe's rule."""
    labels = layer.get("scene_labels")
    if labels is None or not layer["present"]:
        return
    shares = dict(layer.get("scene_fractions", layer["fractions"]))
    if len(labels) != len(shares) or any(label not in {0, 1} for label in labels):
        findings.fail(f"scene_labels of {called} are not one 0 or 1 a class")
        return
    wanted = [int(label and share > 0) for label, share in zip(labels, shares.values(), strict=True)]
    if wish is not None:
        if "scene_fractions" not in layer:
            shares = {code: 0.0 if int(code) in wish.ignore else share for code, share in shares.items()}
        if wish.least and any(abs(share - wish.least) < _SAME for share in shares.values()):
            return  # as many pixels as are asked for, or one fewer
        wanted = _labels(list(shares.values()), wish)
    rows = zip(shares.items(), labels, wanted, strict=True)
    odd = [(code, label, share) for (code, share), label, want in rows if label != want]
    if odd:
        code, label, share = odd[0]
        more = f", and {len(odd) - 1} more" if len(odd) > 1 else ""
        findings.fail(
            f"scene_labels of {called} have {label} of class {code}, whose share is {share:.6g}{more}"
        )


def _labels(shares: Sequence[float], wish: Scene) -> list[int]:
    there = [share > 0 and share >= wish.least for share in shares]
    if wish.rule != "majority":
        return [int(one) for one in there]
    best = max((share for share, one in zip(shares, there, strict=True) if one), default=-1.0)
    first = next((n for n, share in enumerate(shares) if share == best), -1)
    return [int(n == first) for n in range(len(shares))]


def boxes_of(index: Index) -> dict[str, Box]:
    """West, south, east and north of each sample, from its grid: corners, and middles of the edges."""
    transforms = np.stack([np.asarray(t, float) for t in index.column("transform")])
    sizes = np.stack([index.column("width"), index.column("height")], axis=1).astype(float)
    along = np.array([[0, 0], [0.5, 0], [1, 0], [1, 0.5], [1, 1], [0.5, 1], [0, 1], [0, 0.5]])
    col, row = sizes[:, :1] * along[:, 0], sizes[:, 1:] * along[:, 1]
    a, b, c, d, e, f = transforms.T[:, :, None]
    x, y = a * col + b * row + c, d * col + e * row + f
    names = index.column("crs").astype(str)
    keys = index.column("key").tolist()
    found: dict[str, Box] = {}
    for name in np.unique(names):
        rows = np.flatnonzero(names == name)
        there = Transformer.from_crs(str(name), "EPSG:4326", always_xy=True)
        lon, lat = (np.asarray(v) for v in there.transform(x[rows], y[rows]))
        # Across ±180° longitudes go on beyond it; the east is turned back by who compares.
        lon = np.where((np.ptp(lon, axis=1) > 180)[:, None] & (lon < 0), lon + 360, lon)
        bounds = zip(lon.min(axis=1), lat.min(axis=1), lon.max(axis=1), lat.max(axis=1), strict=True)
        for r, (w, s, e, n) in zip(rows.tolist(), bounds, strict=True):
            found[keys[r]] = float(w), float(s), float(e), float(n)
    return found


def check_box(key: str, said: Sequence[float], box: Box, findings: Findings) -> None:
    """Compare `bbox` with that of the grid; ±180° are one meridian."""
    apart = [abs(float(a) - b) for a, b in zip(said, box, strict=True)]
    apart[::2] = [min(one % 360, -one % 360) for one in apart[::2]]
    if not max(apart) <= CLOSE:
        grid = [round(v, 6) for v in box]
        findings.fail(f"bbox of {key} is {[round(float(v), 6) for v in said]}, its grid gives {grid}")
