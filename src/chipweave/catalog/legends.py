"""Class codes, names and colours: legends by name, from a file, or from the codes that a raster holds."""

from __future__ import annotations

import colorsys
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import rasterio
import rasterio.errors
from pydantic import BaseModel, ConfigDict, Field

from chipweave.catalog.documents import held_to, unknown
from chipweave.errors import RecipeError
from chipweave.model import Legend, LegendClass
from chipweave.recipe.data import find, listing
from chipweave.recipe.document import read_document
from chipweave.recipe.paths import at

MAX_PIXELS: Final = 400_000_000
"""Largest raster whose codes are looked up."""

MAX_CLASSES: Final = 256
_COLOUR = re.compile(r"#?[0-9A-Fa-f]{6}")


class _Class(BaseModel):
    """One class; `value` before `code` before `index`, since some legends carry several numberings."""

    model_config = ConfigDict(extra="ignore")

    value: int | None = Field(None, ge=0, le=65535)
    code: int | str | None = None
    index: int | None = Field(None, ge=0, le=65535)
    name: str = Field(min_length=1)
    color: str = ""
    colour: str = ""

    @property
    def number(self) -> int | None:
        """The code that pixels hold."""
        if self.value is not None:
            return self.value
        if self.code is not None:
            return int(self.code) if str(self.code).isdigit() else None
        return self.index


class _LegendFile(BaseModel):
    model_config = ConfigDict(extra="ignore")

    id: str = ""
    name: str = ""
    nodata: Any = None
    unlabeled: int | None = Field(None, ge=0, le=65535)
    dtype: str = ""
    classes: tuple[_Class, ...] = Field(min_length=1)


def load_legend(name_or_path: str, base: Path, extra: Sequence[Path] = ()) -> Legend:
    """Legend by name, or from a YAML file.

    Parameters
    ----------
    name_or_path
        A name in `catalogs/legends`, or a path relative to `base`.
    base
        Folder of the recipe.
    extra
        Further `catalogs/` folders.

    Raises
    ------
    RecipeError
        Neither a known name (it names the nearest) nor a file, or the file is no legend.
    """
    path = legend_path(name_or_path, base, extra)
    document = read_document(path)
    return _legend(held_to(document, document.mapping, _LegendFile), path)


def legend_names(name_or_path: str, base: Path, extra: Sequence[Path] = ()) -> dict[str, int]:
    """What classes are called, to their codes: their names, and other codes as text, such as CORINE's ``112``.

    Parameters and errors are those of `load_legend`.
    """
    legend = load_legend(name_or_path, base, extra)
    found: dict[str, int] = {}
    held = read_document(legend_path(name_or_path, base, extra)).mapping["classes"]
    for one in held:
        number = _Class.model_validate(one).number
        texts = (t for key, t in one.items() if isinstance(t, str) and key not in {"color", "colour"})
        found |= {text: number for text in texts if number in legend.codes}
    return found


def legend_path(name_or_path: str, base: Path, extra: Sequence[Path] = ()) -> Path:
    """File of a legend; parameters and errors as of `load_legend`."""
    path = find("legends", name_or_path, extra) or at(base, name_or_path)
    if not path.is_file():
        raise unknown("legend", name_or_path, list(listing("legends", extra)))
    return path


def _legend(held: _LegendFile, path: Path) -> Legend:
    numbers = [c.number for c in held.classes]
    codes = [n for n in numbers if n is not None]
    if len(codes) != len(numbers):
        raise RecipeError(f"{path}: class {held.classes[numbers.index(None)].name!r} has no value")
    if len(set(codes)) != len(codes):
        twice = next(c for i, c in enumerate(codes) if c in codes[:i])
        raise RecipeError(f"{path}: the value {twice} stands twice")
    nodata = _nodata(held.nodata, codes, path)
    held_by_code = sorted(zip(codes, held.classes, strict=True), key=lambda pair: pair[0])
    classes = [
        LegendClass(code, c.name, _colour(c.color or c.colour, place))
        for place, (code, c) in enumerate(held_by_code)
        if code != nodata
    ]
    if not classes:
        raise RecipeError(f"{path}: no class but no data")
    rest = () if held.unlabeled is None else (held.unlabeled,)
    if held.unlabeled in {nodata, *codes}:
        raise RecipeError(f"{path}: unlabeled {held.unlabeled} is a class, or no data")
    name = held.name or held.id or path.stem
    return Legend(name, tuple(classes), nodata, _dtype([*codes, nodata, *rest]), held.unlabeled)


def _nodata(stated: object, codes: Sequence[int], path: Path) -> int:
    """Stated nodata; else 0, or 255 where 0 is a class, or the first free value of uint16."""
    if isinstance(stated, int | float) and not isinstance(stated, bool):
        if not (0 <= stated <= 65535 and float(stated).is_integer()):
            raise RecipeError(f"{path}: nodata {stated} is no code in 0..65535")
        return int(stated)
    return free_code(codes)


def free_code(codes: Sequence[int]) -> int:
    """A code for no data that is no class: 0, else 255, else the largest free one."""
    free: int = next(n for n in (0, 255, 65535, *range(65534, 0, -1)) if n not in codes)
    return free


def _dtype(numbers: Sequence[int]) -> str:
    return "uint8" if max(numbers) <= 255 else "uint16"


def _colour(stated: str, place: int) -> str:
    if _COLOUR.fullmatch(stated):
        return f"#{stated.removeprefix('#').lower()}"
    red, green, blue = colorsys.hsv_to_rgb(
        (place * 0.618034) % 1.0, 0.55, 0.9
    )  # golden angle: neighbours differ
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"


def legend_of_names(name: str, names: Mapping[int, str], apart: Sequence[int] = ()) -> Legend:
    """Legend of codes that are given names, with colours of its own.

    Parameters
    ----------
    name
        Of the legend.
    names
        Codes, 0 to 65535, to what they are called.
    apart
        Further codes that no data must not have.
    """
    free = free_code([*names, *apart])
    classes = tuple(LegendClass(c, text, _colour("", i)) for i, (c, text) in enumerate(sorted(names.items())))
    return Legend(name, classes, free, _dtype([*names, *apart, free]))


def legend_of_file(path: Path, name: str, nodata: float | None = None) -> Legend:
    """Legend of the codes that a raster holds, its classes named after their codes.

    Parameters
    ----------
    path
        Raster of whole numbers from 0 to 65535; its first band is read, block by block.
    name
        Name of the legend.
    nodata
        Value that means no data; else the file's own tag.

    Raises
    ------
    RecipeError
        Not readable, too large to read through, not whole numbers in that range, or too many of them.
    """
    if path.is_dir():
        raise RecipeError(
            f"{path}: classes of a folder of rasters are not looked up",
            hint="give the layer a legend, or name the `unit` of files of numbers",
        )
    try:
        with rasterio.open(path) as source:
            if source.width * source.height > MAX_PIXELS:
                raise RecipeError(
                    f"{path}: more than {MAX_PIXELS // 1_000_000} million pixels, too many to look its classes up",
                    hint="give the layer a legend",
                )
            empty = nodata if nodata is not None else source.nodata
            found = _distinct(source, path)
    except rasterio.errors.RasterioError as error:
        raise RecipeError(f"{path}: cannot be read as a raster: {str(error).splitlines()[0]}") from None
    codes = sorted(c for c in found if empty is None or math.isnan(empty) or c != empty)
    if not codes:
        raise RecipeError(f"{path}: holds no data")
    if codes[0] < 0 or codes[-1] > 65535:
        raise RecipeError(
            f"{path}: holds the value {codes[0] if codes[0] < 0 else codes[-1]}; classes are 0..65535",
            hint="name the `unit` of a file of numbers",
        )
    free = (
        int(empty)
        if empty is not None and float(empty).is_integer() and 0 <= empty <= 65535
        else free_code(codes)
    )
    classes = tuple(LegendClass(c, str(c), _colour("", i)) for i, c in enumerate(codes))
    return Legend(name, classes, free, _dtype([*codes, free]))


def _distinct(source: rasterio.DatasetReader, path: Path) -> set[int]:
    if not np.issubdtype(np.dtype(source.dtypes[0]), np.integer):
        raise RecipeError(f"{path}: holds {source.dtypes[0]}, not whole numbers; it is no map of classes")
    found: set[int] = set()
    for _, window in source.block_windows(1):
        found.update(int(v) for v in np.unique(source.read(1, window=window)))
        if len(found) > MAX_CLASSES + 1:
            raise RecipeError(
                f"{path}: holds more than {MAX_CLASSES} values",
                hint="give the layer a legend, or name the `unit` of a file of numbers",
            )
    return found
