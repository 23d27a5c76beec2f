"""Charts as SVG: a map of footprints, bars, histograms. Text, so that a page needs nothing else and bytes repeat."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import shapely

from chipweave.describe.colours import split_colour
from chipweave.describe.text import plain

MOST = 4000
"""Footprints that are drawn one by one; of more, cells of a grid are."""

_CELLS = 90
_WIDTH = 640.0

Floats = npt.NDArray[np.float64]
Shapes = npt.NDArray[np.object_]


def footprints(outlines: Shapes, splits: Sequence[str], keys: Sequence[str]) -> str:
    """Map of chips in lon/lat, north up, as wide as high on the ground in its middle.

    Parameters
    ----------
    outlines
        (n,) polygons in lon/lat.
    splits, keys
        Of each; a split of "" is the gap between splits.
    """
    west, south, east, north = (float(v) for v in shapely.total_bounds(outlines))
    squeeze = float(np.cos(np.radians((south + north) / 2)))
    scale = min(_WIDTH / max((east - west) * squeeze, 1e-9), 520 / max(north - south, 1e-9))
    height = (north - south) * scale

    def at(lonlat: Floats) -> Floats:
        return np.column_stack([(lonlat[:, 0] - west) * squeeze * scale, (north - lonlat[:, 1]) * scale])

    if len(outlines) > MOST:
        inner = _cells(at(shapely.get_coordinates(shapely.centroid(outlines))), splits)
    else:
        inner = [
            f'<path d="{_path(at(shapely.get_coordinates(shape)))}" fill="{colour_of(split)}">'
            f"<title>{html.escape(plain(key))} · {html.escape(split or 'gap')}</title></path>"
            for shape, split, key in zip(outlines, splits, keys, strict=True)
        ]
    width = (east - west) * squeeze * scale
    marks = (
        f'<text x="0" y="{height + 14:.0f}">{west:.3f}°, {south:.3f}°</text>'
        f'<text x="{width:.0f}" y="{height + 14:.0f}" text-anchor="end">{east:.3f}°, {north:.3f}°</text>'
    )
    return (
        f'<svg class="map" viewBox="-2 -2 {width + 4:.0f} {height + 22:.0f}" role="img" '
        f'aria-label="map of the splits">{"".join(inner)}{marks}</svg>'
    )


def colour_of(split: str) -> str:
    """Colour of a split; light grey for the gap."""
    return split_colour(split) if split else "#dddddd"


def _path(xy: Floats) -> str:
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in xy[:-1].tolist())
    return f"M{points}Z"


def _cells(xy: Floats, splits: Sequence[str]) -> list[str]:
    """Squares with the split that most of their chips have."""
    side = max(float(np.ptp(xy[:, 0])), float(np.ptp(xy[:, 1])), 1.0) / _CELLS
    names = sorted(set(splits))
    of = np.searchsorted(names, np.asarray(splits, np.str_))
    cells, where = np.unique(np.floor(xy / side).astype(np.int64), axis=0, return_inverse=True)
    counts = np.zeros((len(cells), len(names)), np.int64)
    np.add.at(counts, (where.ravel(), of), 1)
    return [
        f'<rect x="{col * side:.1f}" y="{row * side:.1f}" width="{side:.1f}" height="{side:.1f}" '
        f'fill="{colour_of(names[int(best)])}"/>'
        for (col, row), best in zip(cells.tolist(), counts.argmax(axis=1), strict=True)
    ]


def histogram(edges: Sequence[float], counts: Sequence[int], label: str) -> str:
    """Bars of counts over a range of values."""
    top, n = max([*counts, 1]), max(len(counts), 1)
    bars = "".join(
        f'<rect x="{200 * k / n:.2f}" y="{60 - 56 * c / top:.2f}" width="{200 / n:.2f}" height="{56 * c / top:.2f}"/>'
        for k, c in enumerate(counts)
        if c
    )
    low, high = (f"{edges[0]:.4g}", f"{edges[-1]:.4g}") if len(edges) else ("", "")
    return (
        f'<figure><svg class="bars" viewBox="0 0 200 74">{bars}<text x="0" y="72">{low}</text>'
        f'<text x="200" y="72" text-anchor="end">{high}</text></svg>'
        f"<figcaption>{html.escape(plain(label))}</figcaption></figure>"
    )


def stacked(rows: Mapping[str, Sequence[tuple[str, str, float]]]) -> str:
    """A bar a row: its parts as (name, colour, share of the whole)."""
    out = []
    for name, parts in rows.items():
        left, bars = 0.0, []
        for what, colour, share in parts:
            bars.append(
                f'<rect x="{left:.3f}" y="0" width="{100 * share:.3f}" height="6" fill="{html.escape(colour)}">'
                f"<title>{html.escape(plain(what))}: {share:.1%}</title></rect>"
            )
            left += 100 * share
        out.append(
            f'<tr><th>{html.escape(plain(name))}</th><td><svg class="stack" viewBox="0 0 100 6" '
            f'preserveAspectRatio="none">{"".join(bars)}</svg></td></tr>'
        )
    return f'<table class="stacks">{"".join(out)}</table>'
