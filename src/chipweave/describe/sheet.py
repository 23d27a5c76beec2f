"""Drawing the contact sheet. Sizes are inches from the lower left corner of the page."""

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
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from chipweave.describe.colours import split_colour
from chipweave.describe.panels import Panel, Picture, stretches, true_colour
from chipweave.describe.splitmap import Shares, draw_map, draw_shares
from chipweave.describe.text import plain, shortened

_DPI = 150
_COLUMNS = 6
_GAP = 0.07
_MARGIN = 0.45
_HEAD = 0.42
"""Above the panels of a sample: split, date and key."""
_TITLE = 0.62
_MAP = 4.6
_LINE = 0.24
"""Height of a line of the legend."""
_WORDS, _LETTER, _MOST_LINES = 0.105, 0.043, 5
"""Below a sample: height of a line, about the width of a letter, most lines of one text."""
_LONGEST = 46
"""Letters of a class name in the legend."""
_INK, _SOFT = "#222222", "#777777"
_MONO = "DejaVu Sans Mono"


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where things go."""

    columns: int
    rows: int
    layers: int
    panel: float
    legend: float
    words: float = 0.0

    @property
    def sheet_width(self) -> float:
        return self.columns * (self.panel + _GAP) + _MARGIN

    @property
    def width(self) -> float:
        return self.sheet_width + 0.4 + _MAP + 0.25

    @property
    def block(self) -> float:
        """Height of a row of samples."""
        return _HEAD + self.layers * (self.panel + _GAP) + self.words + 0.1

    @property
    def height(self) -> float:
        return max(_TITLE + self.rows * self.block + self.legend + 0.15, 5.6)

    def panel_box(self, number: int, layer: int) -> tuple[float, float, float, float]:
        row, column = divmod(number, self.columns)
        left = _MARGIN + column * (self.panel + _GAP)
        top = self.height - _TITLE - row * self.block - _HEAD - layer * (self.panel + _GAP)
        return left, top - self.panel, self.panel, self.panel


def draw(
    pictures: Sequence[Picture],
    index: gpd.GeoDataFrame,
    shares: Mapping[str, Sequence[tuple[str, Shares]]],
    title: str,
) -> bytes:
    """Draw samples, legends and the map of splits.

    Parameters
    ----------
    pictures
        Samples in the order in which they are drawn; all with the same layers.
    index
        Of the whole dataset: `split` and geometry in lon/lat.
    shares
        By label layer, split and its colours with their shares of the pixels.
    title
        Name of the dataset.

    Returns
    -------
    bytes
        A PNG; the same for the same input.
    """
    columns = min(_COLUMNS, len(pictures))
    rows = -(-len(pictures) // columns)
    panel = {1: 3.6, 2: 2.6, 3: 2.1}.get(columns, 1.62)
    lines = _legend_lines(pictures, columns * (panel + _GAP))
    legend = _LINE * len(lines) + 0.1
    told = [_lines_of(picture, panel) for picture in pictures]
    words = _WORDS * max(len(own) for own in told)
    page = _Layout(columns, rows, max(len(p.panels) for p in pictures), panel, legend, words)
    figure = Figure(figsize=(page.width, page.height), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)  # so that no backend of the user's is asked
    head = page.height - 0.34
    _text(figure, page, (_MARGIN, head), plain(title), size=14, weight="bold")
    scales = stretches(pictures)
    for number, picture in enumerate(pictures):
        _draw_sample(figure, page, number, picture, scales)
        _draw_words(figure, page, number, told[number])
    _draw_legends(figure, page, lines)
    left, top = page.sheet_width + 0.4, page.height - _TITLE - _HEAD
    _text(figure, page, (left, head), f"{len(index):,} samples by split", size=10, weight="bold")
    below = draw_map(figure, (left, 0.35, _MAP, top - 0.35), (page.width, page.height), index)
    draw_shares(figure, (left, 0.2, _MAP, below - 0.2), (page.width, page.height), shares)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=_DPI, metadata={"Software": None})
    return file.getvalue()


def _axes(figure: Figure, page: _Layout, box: tuple[float, float, float, float]) -> Axes:
    left, bottom, width, height = box
    return figure.add_axes(
        (left / page.width, bottom / page.height, width / page.width, height / page.height)
    )


def _text(figure: Figure, page: _Layout, at: tuple[float, float], text: str, **style: Any) -> None:
    style = {"color": _INK, "va": "center", "parse_math": False, **style}
    figure.text(at[0] / page.width, at[1] / page.height, text, **style)


def _draw_sample(
    figure: Figure,
    page: _Layout,
    number: int,
    picture: Picture,
    scales: Mapping[str, NDArray[np.float64]],
) -> None:
    left, bottom, width, height = page.panel_box(number, 0)
    top = bottom + height
    colour = split_colour(picture.split)
    _text(
        figure,
        page,
        (left + 0.02, top + 0.25),
        shortened(picture.split, 11),
        size=8,
        weight="bold",
        color=colour,
    )
    _text(figure, page, (left + width, top + 0.25), plain(picture.date), size=7.5, ha="right", color=_INK)
    size = min(6.5, 72 * width / (0.61 * len(picture.key)))
    _text(figure, page, (left + 0.02, top + 0.1), picture.key, size=size, family=_MONO, color=_SOFT)
    for layer, panel in enumerate(picture.panels):
        box = page.panel_box(number, layer)
        axes = _axes(figure, page, box)
        _draw_panel(axes, panel, scales.get(panel.layer))
        for spine in axes.spines.values():
            spine.set(color=colour, linewidth=1.1)
        if number % page.columns == 0:
            middle = (_MARGIN - 0.16, box[1] + box[3] / 2)
            _text(figure, page, middle, plain(panel.layer), size=8, rotation=90, ha="center", color=_SOFT)


def _lines_of(picture: Picture, width: float) -> list[str]:
    """Texts of a sample, broken into lines as wide as its panels; of each the first few."""
    letters = int(width / _LETTER)
    lines: list[str] = []
    for text in picture.words:
        lines += textwrap.wrap(plain(text), letters, max_lines=_MOST_LINES, placeholder=" …")
    return lines


def _draw_words(figure: Figure, page: _Layout, number: int, lines: Sequence[str]) -> None:
    left, bottom, _, _ = page.panel_box(number, page.layers - 1)
    for row, line in enumerate(lines):
        _text(figure, page, (left + 0.02, bottom - 0.1 - row * _WORDS), line, size=5.6)


def _draw_panel(axes: Axes, panel: Panel, stretch: NDArray[np.float64] | None) -> None:
    axes.set(xticks=[], yticks=[])
    if not panel.data.all():
        axes.add_patch(
            Rectangle(
                (0, 0), 1, 1, transform=axes.transAxes, facecolor="#f4f4f4", edgecolor="#bdbdbd",
                hatch="/////", linewidth=0, zorder=0,
            )
        )  # fmt: skip
    if panel.classes is not None:
        axes.imshow(panel.classes.paint(panel.array, panel.data), interpolation="nearest", zorder=1)
        return
    flat = np.zeros((len(panel.array), 2))
    image = true_colour(panel, flat if stretch is None else stretch)
    axes.imshow(image, interpolation="nearest", zorder=1)


def _legend_lines(pictures: Sequence[Picture], width: float) -> list[list[tuple[str, str]]]:
    """Lines of name and colour: the layer's own name without a colour, then the classes on the sheet."""
    found: dict[str, dict[int, tuple[str, str]]] = {}
    for panel in (panel for picture in pictures for panel in picture.panels):
        if panel.classes is not None and panel.classes.names:
            for code in np.unique(panel.array[panel.data]).tolist():
                entry = (shortened(panel.classes.name(code), _LONGEST), panel.classes.colour(code))
                found.setdefault(panel.layer, {})[code] = entry
    lines = []
    for layer, of in found.items():
        lines += _wrapped([(layer, ""), *(entry for _, entry in sorted(of.items()))], width)
    return lines


def _entry_width(name: str) -> float:
    return 0.38 + 0.066 * len(name)


def _wrapped(entries: Sequence[tuple[str, str]], width: float) -> list[list[tuple[str, str]]]:
    """Break a legend into lines that fit."""
    lines: list[list[tuple[str, str]]] = [[]]
    used = 0.0
    for name, colour in entries:
        needed = _entry_width(name)
        if lines[-1] and used + needed > width:
            lines.append([])
            used = 0.0
        lines[-1].append((name, colour))
        used += needed
    return lines


def _draw_legends(figure: Figure, page: _Layout, lines: Sequence[Sequence[tuple[str, str]]]) -> None:
    y = page.height - _TITLE - page.rows * page.block - 0.15
    for line in lines:
        x = _MARGIN
        for name, colour in line:
            if colour:
                box = ((x + 0.02) / page.width, (y - 0.06) / page.height)
                swatch = Rectangle(box, 0.2 / page.width, 0.13 / page.height, transform=figure.transFigure)
                swatch.set(facecolor=colour, edgecolor="#555555", linewidth=0.4)
                figure.add_artist(swatch)
                _text(figure, page, (x + 0.27, y), name, size=7.5)
            else:
                _text(figure, page, (x + 0.02, y), plain(name), size=8, weight="bold", color=_SOFT)
            x += _entry_width(name)
        y -= _LINE
