"""Colours of splits and classes."""

from __future__ import annotations

import colorsys
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chipweave.describe.text import plain

_SPLITS = {"train": "#0072b2", "val": "#e69f00", "test": "#aa3377"}
UNLABELED = "#9e9e9e"
"""Colour of pixels whose class is none in the layer's legend."""

_HEX = re.compile(r"#[0-9a-fA-F]{6}")


def split_colour(name: str) -> str:
    """Colour of a split; the usual three can be told apart by colour-blind readers."""
    return _SPLITS.get(name) or hashed(name)


def hashed(text: object) -> str:
    """Colour that hangs on a text alone."""
    digest = hashlib.blake2b(str(text).encode(), digest_size=3).digest()
    hue, light, rich = digest[0] / 256, 0.35 + 0.3 * digest[1] / 256, 0.45 + 0.4 * digest[2] / 256
    return "#" + "".join(f"{round(255 * c):02x}" for c in colorsys.hls_to_rgb(hue, light, rich))


@dataclass(frozen=True, slots=True)
class Classes:
    """Names and colours of a label's classes, by code."""

    names: Mapping[int, str]
    colours: Mapping[int, str]

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]]) -> Classes:
        """From ``[{code, name, colour}]``; a colour that is none is replaced."""
        names = {int(r["code"]): plain(r.get("name", r["code"])) for r in rows}
        colours = {int(r["code"]): str(r.get("colour", "")) for r in rows}
        return cls(names, {c: v if _HEX.fullmatch(v) else hashed(c) for c, v in colours.items()})

    @classmethod
    def told(cls, content: Mapping[str, Any]) -> Classes:
        """From what `stats.json` says of a label: its classes, and the code of what has none."""
        rest = content.get("unlabeled")
        rows = [{"code": rest, "name": "unlabeled", "colour": UNLABELED}] if isinstance(rest, int) else []
        return cls.of([*content["classes"], *rows])

    def name(self, code: int) -> str:
        """Name of a class, or its code."""
        return self.names.get(code) or str(code)

    def colour(self, code: int) -> str:
        """Colour of a class."""
        return self.colours.get(code) or hashed(code)

    def paint(self, classes: NDArray[Any], data: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """(y, x, 4) picture of (y, x) codes, transparent where there is no data."""
        out = np.zeros((*classes.shape, 4), np.uint8)
        for code in np.unique(classes[data]).tolist():
            out[classes == code] = (*rgb(self.colour(code)), 255)
        out[~data] = 0
        return out


def rgb(colour: str) -> tuple[int, int, int]:
    """Bytes of ``#rrggbb``."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def present(codes: Iterable[tuple[int, int]]) -> list[int]:
    """Codes of (code, pixels), in code order, the pixels of one code in several places summed."""
    total: dict[int, int] = {}
    for code, pixels in codes:
        total[code] = total.get(code, 0) + pixels
    return sorted(code for code, pixels in total.items() if pixels)
