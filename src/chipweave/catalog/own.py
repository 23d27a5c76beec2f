"""`collection: local`: a collection that is made of what the user's own files say of themselves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from chipweave.catalog.documents import unknown
from chipweave.catalog.hrefs import is_http
from chipweave.catalog.rasterfacts import BandFacts
from chipweave.catalog.sources.local import LocalFile, local_files
from chipweave.errors import NotBuiltError, RecipeError
from chipweave.model import Band, Collection, Credit

DEGREE: Final = 111_320.0
"""Metres of a degree of latitude: about how large a pixel in degrees is."""

_RADAR: Final = frozenset({"dB", "linear"})


def own_collection(where: str, name: str, wanted: Sequence[str], catalog: str) -> Collection:
    """Collection of the bands that a layer asks for, in the unit that all files of a path say.

    Parameters
    ----------
    where
        The layer, for messages: ``imagery.ortho``.
    name
        Of the collection.
    wanted
        Bands by their description in the files, by red, green, blue where a file has these colours, by what a table
        calls them, or by place: ``b1`` for a file's first band.
    catalog
        Path of a raster, a folder, a list or a table.

    Raises
    ------
    RecipeError
        No path, files that cannot be used, or bands that none of them has, or that differ in unit.
    """
    if is_http(catalog):
        raise RecipeError(
            f"{where}.catalog: {name} takes a file, a folder, a list or a table of files, no URL"
        )
    try:
        files = local_files(Path(catalog))
    except RecipeError as error:
        raise RecipeError(f"{where}.catalog: {error.message}", hint=error.hint) from None
    alone = len(wanted) == 1 and all(len(f.facts.bands) == 1 for f in files)
    bands, units = [], set()
    for band in wanted:
        found = [(f, hit) for f in files if (hit := f.facts.bands[0] if alone else f.band(band)) is not None]
        if not found:
            known = sorted({n for f in files for i in range(len(f.facts.bands)) for n in f.named(i)})
            guess = unknown("band", band, known)
            raise RecipeError(f"{where}.bands: {guess.message}", hint=guess.hint)
        units.add(_unit(f"{where}.bands: {band}", found))
        bands.append(Band(band, (), _gsd(found[0][0])))
    if len(units) > 1:
        raise RecipeError(
            f"{where}.bands: bands in {' and '.join(sorted(units))}",
            hint="give them layers of their own: the bands of a layer share one unit",
        )
    return Collection(
        name=name, title="Files of one's own", kind="imagery", bands=tuple(bands), nodata=None,
        credit=Credit("", "", ""), unit=units.pop(), offset_rule="stated", static=all(f.when is None for f in files),
    )  # fmt: skip


def _unit(where: str, found: Sequence[tuple[LocalFile, BandFacts]]) -> str:
    """The one unit of a band in all files that have it."""
    first, one = found[0]
    for file, band in found[1:]:
        if band.unit != one.unit:
            raise RecipeError(
                f"{where} is in {one.unit} in {first.facts.path.name}, and in {band.unit} in {file.facts.path.name}",
                hint="make two layers of them",
            )
    if one.unit in _RADAR and any((b.scale, b.offset) != (1.0, 0.0) for _, b in found):
        raise NotBuiltError(f"{where}: radar with a scale or offset in its file is known, but not built yet")
    return one.unit


def _gsd(file: LocalFile) -> float:
    size = abs(file.facts.transform[0]) or abs(file.facts.transform[1])
    return size * DEGREE if file.facts.crs == "EPSG:4326" else size
