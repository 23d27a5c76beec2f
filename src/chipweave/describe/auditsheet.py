"""The picture of an audit: the map of splits with their gaps, the distances, and the verdict of each check."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import geopandas as gpd
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from chipweave.describe.colours import split_colour
from chipweave.describe.splitmap import draw_map
from chipweave.describe.text import plain, shortened

Floats = NDArray[np.float64]

_DPI = 150
_PAGE = 12.0
"""Width, inches."""
_MAP = (0.35, 6.2)
_RIGHT = (7.35, 4.3)
_LINE = 0.155
_HEAD = 1.35
"""Lines that the name of a check takes."""
_TOP = 0.85
"""Inches above the map."""
_PLOT = 3.15
"""Inches of the distances, their labels included."""
_INK, _SOFT = "#222222", "#777777"
_MARKS = {"pass": "#2a7f3f", "warn": "#c77700", "fail": "#c0182b", "skip": "#888888"}
_BINS = 40
_WORDS = 78
"""Letters of a line of a check's text."""
_LINES = 5
"""Lines of a check's text."""


@dataclass(frozen=True, slots=True)
class Distances:
    """Metres from samples of a split to the nearest of train, by split; and those of train among themselves."""

    train: str
    among: Floats
    others: Mapping[str, Floats]
    buffer_m: float = 0.0


def draw_audit(
    index: gpd.GeoDataFrame,
    gap: gpd.GeoDataFrame | None,
    distances: Distances | None,
    verdicts: Sequence[tuple[str, str, str]],
    title: str,
    verdict: str = "",
) -> bytes:
    """Draw an audit on one page.

    Parameters
    ----------
    index
        Samples: `split` and geometry in lon/lat.
    gap
        Chips that gave way at a border; None where they are not known.
    distances
        To the nearest training sample; None where there is one split only.
    verdicts
        Name, verdict (``pass``, ``warn``, ``fail``, ``skip``) and text of each check, in their order.
    title, verdict
        Of the page; and all of it in a sentence.

    Returns
    -------
    bytes
        A PNG; the same for the same input.
    """
    told = [(name, verdict, _wrapped(text)) for name, verdict, text in verdicts]
    lines = sum(len(text) + _HEAD for *_, text in told)
    height = max(7.4, _TOP + _PLOT + lines * _LINE + 0.4)
    page = (_PAGE, height)
    figure = Figure(figsize=page, dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)  # so that no backend of the user's is asked
    head: dict[str, Any] = {"parse_math": False, "va": "center"}
    left = _MAP[0] / _PAGE
    figure.text(
        left, 1 - 0.3 / height, shortened(plain(title), 90), size=13, weight="bold", color=_INK, **head
    )
    figure.text(left, 1 - 0.58 / height, shortened(plain(verdict), 170), size=8, color=_SOFT, **head)
    draw_map(figure, (_MAP[0], 0.4, _MAP[1], height - 0.4 - _TOP - 0.3), page, index, gap)
    if distances is not None:
        _histogram(figure, page, distances)
    _verdicts(figure, page, told)
    out = io.BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()


def _verdicts(
    figure: Figure, page: tuple[float, float], told: Sequence[tuple[str, str, Sequence[str]]]
) -> None:
    x, y = _RIGHT[0] / page[0], page[1] - _TOP - _PLOT
    style: dict[str, Any] = {"size": 7, "va": "top", "parse_math": False}
    for name, verdict, text in told:
        figure.text(x - 0.02, y / page[1], "●", color=_MARKS[verdict], **style)
        figure.text(x, y / page[1], f"{verdict}  {name}", color=_INK, weight="bold", **style)
        for line in text:
            y -= _LINE
            figure.text(x, y / page[1], line, color=_SOFT, **style)
        y -= _HEAD * _LINE


def _wrapped(text: str) -> list[str]:
    lines = textwrap.wrap(plain(text), _WORDS) or [""]
    return lines if len(lines) <= _LINES else [*lines[: _LINES - 1], f"{lines[_LINES - 1][: _WORDS - 2]} …"]


def _histogram(figure: Figure, page: tuple[float, float], found: Distances) -> None:
    """How many samples have their nearest of train how far away, each split beside train's own."""
    width, height = page
    axes = figure.add_axes(
        (_RIGHT[0] / width, (height - _TOP - 2.6) / height, _RIGHT[1] / width, 2.3 / height)
    )
    parts = [(f"{found.train} among itself", found.train, found.among)]
    parts += [(f"{name} to {found.train}", name, metres) for name, metres in found.others.items()]
    parts = [(label, name, metres[metres > 0]) for label, name, metres in parts if (metres > 0).any()]
    axes.set_title("Distance of centres to the nearest training sample", size=8, color=_INK, loc="left")
    if parts:
        low, high = (f(float(f(metres)) for *_, metres in parts) for f in (min, max))
        edges = np.geomspace(low * 0.95, high * 1.05, _BINS)
        for label, name, metres in parts:
            own = name == found.train
            share = np.histogram(metres, edges)[0] / metres.size
            style: dict[str, Any] = {"color": split_colour(name), "linewidth": 1.4, "label": plain(label)}
            axes.stairs(share, edges, fill=own, alpha=0.35 if own else 1.0, **style)
        axes.set_xscale("log")
    if found.buffer_m > 0:
        label = f"buffer {found.buffer_m:,.0f} m (between footprints)"
        axes.axvline(found.buffer_m, color=_INK, linewidth=0.8, linestyle="--", label=label)
    _tidy(axes)


def _tidy(axes: Axes) -> None:
    def length(metres: float, _: object) -> str:
        return f"{metres:g} m" if metres < 1000 else f"{metres / 1000:g} km"

    axes.xaxis.set_major_formatter(FuncFormatter(length))
    axes.xaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{share:.0%}"))
    axes.tick_params(labelsize=6.5, colors=_SOFT, length=2.5, width=0.6)
    for name, spine in axes.spines.items():
        spine.set(color="#999999", linewidth=0.6, visible=name in {"left", "bottom"})
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=6.5, frameon=False, labelcolor=_INK)
