"""The map of the splits, footprints in lon/lat with a scale bar; and how classes are shared by split."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from chipweave.describe.colours import split_colour
from chipweave.describe.text import plain, shortened
from chipweave.shards.deal import split_order

_KM_A_DEGREE = 111.195
_LEAST_SPAN = 1e-4
_INK, _SOFT = "#222222", "#777777"

Box = tuple[float, float, float, float]
Shares = Sequence[tuple[str, float]]
"""Colours and their shares."""


MOST_OUTLINES = 20_000
"""Footprints that are drawn as they are; of more, or where some are points or lines, each is a dot."""


def draw_map(
    figure: Figure,
    box: Box,
    page: tuple[float, float],
    index: gpd.GeoDataFrame,
    gap: gpd.GeoDataFrame | None = None,
) -> float:
    """Draw footprints of all samples, and a line of legend above.

    Parameters
    ----------
    figure
        The page.
    box
        Left, bottom, width and height of what may be used, inches; the legend stands on its upper edge.
    page
        Width and height of the page, inches.
    index
        With `split` and a geometry in lon/lat. Chips in the gap are not in it.
    gap
        Those that gave way at a border: drawn hollow, beneath.

    Returns
    -------
    float
        Where the map ends below, its labels included, inches.
    """
    splits = index["split"].to_numpy(str)
    names = split_order(splits.tolist())
    shown = _shown(index)
    hollow = _shown(gap) if gap is not None and len(gap) else None
    west, south, east, north = shown.bounds if hollow is None else _joined(shown.bounds, hollow.bounds)
    squeeze = max(math.cos(math.radians((south + north) / 2)), 0.05)
    frame = _padded(west, south, east, north, squeeze)
    axes, bottom = _place(figure, box, page, frame, squeeze)
    if hollow is not None:
        hollow.draw(axes, np.ones(len(hollow.rows), bool), face="#f4f4f4", edge="#bbbbbb")
    for name in names:
        shown.draw(axes, splits[shown.rows] == name, face=split_colour(name), edge=split_colour(name))
    _frame(axes, frame)
    _scale_bar(axes, frame, squeeze)
    counts = [(name, int(np.sum(splits == name))) for name in names]
    _legend(figure, box, page, counts, 0 if gap is None else len(gap))
    return bottom - 0.25


@dataclass(frozen=True, slots=True)
class _Shown:
    """Outlines or dots, and the row of each."""

    rows: NDArray[np.int64]
    rings: Sequence[NDArray[np.float64]] | NDArray[np.float64]
    bounds: Box

    def draw(self, axes: Axes, which: NDArray[np.bool_], face: str, edge: str) -> None:
        if isinstance(self.rings, np.ndarray):
            x, y = self.rings[which].T
            few: dict[str, Any] = {
                "marker": "o",
                "markersize": 2.5,
                "markeredgewidth": 0,
                "linestyle": "none",
            }
            style = few if len(self.rows) <= MOST_OUTLINES else {"marker": ",", "linestyle": "none"}
            axes.plot(x, y, color=edge, alpha=0.85, rasterized=True, **style)
            return
        outlines = [self.rings[k] for k in np.flatnonzero(which).tolist()]
        axes.add_collection(
            PolyCollection(outlines, facecolors=face, edgecolors=edge, linewidths=0.4, alpha=0.85)
        )


def _shown(index: gpd.GeoDataFrame) -> _Shown:
    """What is drawn of footprints; one side of ±180° is moved to the other."""
    kinds = shapely.get_type_id(shapely.get_parts(index.geometry.to_numpy()))
    if len(index) <= MOST_OUTLINES and (kinds == shapely.GeometryType.POLYGON).all():
        rows, rings = _rings(index)
        low, high = (np.array([f(r, axis=0) for r in rings]) for f in (np.min, np.max))
        return _Shown(rows, rings, (*low.min(axis=0), *high.max(axis=0)))
    boxes = shapely.bounds(index.geometry.to_numpy())
    boxes[boxes[:, 2] - boxes[:, 0] > 180, 0] = 180.0  # in two parts: a dot on the border does
    dots = np.stack([(boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2], axis=1)
    if np.ptp(dots[:, 0]) > 180 and not ((dots[:, 0] > -90) & (dots[:, 0] < 90)).any():
        dots[dots[:, 0] < 0, 0] += 360
    return _Shown(np.arange(len(dots)), dots, (*dots.min(axis=0), *dots.max(axis=0)))


def _joined(one: Box, two: Box) -> Box:
    return min(one[0], two[0]), min(one[1], two[1]), max(one[2], two[2]), max(one[3], two[3])


def _legend(
    figure: Figure, box: Box, page: tuple[float, float], counts: Sequence[tuple[str, int]], gap: int
) -> None:
    """One line above the box; smaller where there are many splits."""
    x, y = box[0], box[1] + box[3] + 0.2
    total = sum(n for _, n in counts)
    labels = {name: f"{shortened(name, 16)}  {n:,} ({n / total:.0%})" for name, n in counts}
    colours = {name: split_colour(name) for name in labels}
    if gap:
        labels["\0gap"], colours["\0gap"] = f"in the gap  {gap:,}", "#bbbbbb"
    scale = min(1.0, box[2] / sum(0.34 + 0.068 * len(label) for label in labels.values()))
    for name, label in labels.items():
        place: dict[str, Any] = {"va": "center", "parse_math": False}
        figure.text(x / page[0], y / page[1], "■", size=9 * scale, color=colours[name], **place)
        at = (x + 0.16 * scale) / page[0]
        figure.text(at, y / page[1], label, size=8 * scale, color=_INK, **place)
        x += (0.34 + 0.068 * len(label)) * scale


def draw_shares(
    figure: Figure, box: Box, page: tuple[float, float], shares: Mapping[str, Sequence[tuple[str, Shares]]]
) -> None:
    """Draw a bar a split of each label: which part of the pixels each class has; none where it does not fit.

    Parameters
    ----------
    figure
        The page.
    box
        Left, bottom, width and height of what may be used, inches.
    page
        Width and height of the page, inches.
    shares
        By label layer, split and its colours with their shares of the pixels.
    """
    left, bottom, width, height = box
    y = bottom + height - 0.3
    for layer, bars in shares.items():
        if y - 0.2 * len(bars) - 0.2 < bottom:
            return
        style: dict[str, Any] = {"va": "center", "parse_math": False}
        title = f"{plain(layer)}: classes by split"
        figure.text(left / page[0], y / page[1], title, size=8, weight="bold", color=_SOFT, **style)
        y -= 0.2
        for split, parts in bars:
            said = shortened(split, 8)
            figure.text(left / page[0], y / page[1], said, size=7.5, color=split_colour(split), **style)
            x, room = left + 0.5, width - 0.5
            for colour, share in parts:
                corner = (x / page[0], (y - 0.065) / page[1])
                bar = Rectangle(corner, share * room / page[0], 0.13 / page[1], transform=figure.transFigure)
                bar.set(facecolor=colour, edgecolor="none")
                figure.add_artist(bar)
                x += share * room
            y -= 0.19
        y -= 0.15


def _rings(index: gpd.GeoDataFrame) -> tuple[NDArray[np.int64], list[NDArray[np.float64]]]:
    """Rows and outlines of all parts of all footprints; one side of ±180° is moved to the other."""
    parts, rows = shapely.get_parts(index.geometry.to_numpy(), return_index=True)
    rings = [shapely.get_coordinates(part) for part in shapely.get_exterior_ring(parts)]
    west, east = (f(ring[:, 0].min() for ring in rings) for f in (min, max))
    if east - west > 180:
        rings = [ring + np.array([360.0, 0.0]) if ring[:, 0].max() < 0 else ring for ring in rings]
    return np.asarray(rows, np.int64), rings


def _padded(west: float, south: float, east: float, north: float, squeeze: float) -> Box:
    span = max((east - west) * squeeze, north - south, _LEAST_SPAN)
    pad = 0.05 * span
    # A strip is widened, so that a map of one row of chips is still a map.
    tall = max(0.0, 0.3 * span - (north - south)) / 2 + pad
    wide = max(0.0, 0.3 * span - (east - west) * squeeze) / 2 + pad
    return west - wide / squeeze, south - tall, east + wide / squeeze, north + tall


def _place(
    figure: Figure, box: Box, page: tuple[float, float], frame: Box, squeeze: float
) -> tuple[Axes, float]:
    """Axes of the map's own aspect at the top of the box, and where they end below, in inches."""
    left, bottom, width, height = box
    left, width, top = left + 0.25, width - 0.25, bottom + height
    ratio = (frame[3] - frame[1]) / ((frame[2] - frame[0]) * squeeze)
    if width * ratio > height:
        width = height / ratio
    height = width * ratio
    axes = figure.add_axes((left / page[0], (top - height) / page[1], width / page[0], height / page[1]))
    return axes, top - height


def _frame(axes: Axes, frame: Box) -> None:
    west, south, east, north = frame
    axes.set(xlim=(west, east), ylim=(south, north))
    for axis, low, high, ends in ((axes.xaxis, west, east, "EW"), (axes.yaxis, south, north, "NS")):
        digits = max(0, math.ceil(-math.log10((high - low) / 3)))
        axis.set_major_locator(MaxNLocator(4))
        axis.set_major_formatter(FuncFormatter(_degrees(ends, digits)))
    axes.tick_params(labelsize=6.5, colors=_SOFT, length=2.5, width=0.6)
    axes.tick_params(axis="y", labelrotation=90)
    for label in axes.get_yticklabels():
        label.set_verticalalignment("center")
    for spine in axes.spines.values():
        spine.set(color="#999999", linewidth=0.6)
    axes.grid(visible=True, color="#e6e6e6", linewidth=0.5)
    axes.set_axisbelow(True)


def _degrees(ends: str, digits: int) -> Callable[[float, Any], str]:
    def label(value: float, _: Any) -> str:
        turned = (value + 180) % 360 - 180 if ends == "EW" else value
        return f"{abs(turned):.{digits}f}° {ends[0] if turned >= 0 else ends[1]}"

    return label


def _scale_bar(axes: Axes, frame: Box, squeeze: float) -> None:
    """Put a bar of a round length, a fifth to a half of the map's width, in the lower left corner."""
    west, south, east, north = frame
    width_km = (east - west) * squeeze * _KM_A_DEGREE
    power = 10.0 ** math.floor(math.log10(width_km / 4))
    length = max(n * power for n in (1, 2, 5) if n * power <= width_km / 4 or n == 1)
    x0, y0 = west + 0.04 * (east - west), south + 0.035 * (north - south)
    x1 = x0 + length / (squeeze * _KM_A_DEGREE)
    said = f"{length:g} km" if length >= 1 else f"{1000 * length:g} m"
    halo = {"boxstyle": "square,pad=0.25", "facecolor": "white", "edgecolor": "none", "alpha": 0.8}
    axes.plot([x0, x1], [y0, y0], color="white", linewidth=5, solid_capstyle="butt", zorder=5)
    axes.plot([x0, x1], [y0, y0], color=_INK, linewidth=2.2, solid_capstyle="butt", zorder=6)
    axes.annotate(
        said, ((x0 + x1) / 2, y0), xytext=(0, 6), textcoords="offset points", ha="center", va="bottom",
        size=7, color=_INK, zorder=6, bbox=halo,
    )  # fmt: skip
