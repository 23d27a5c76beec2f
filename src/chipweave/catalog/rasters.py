"""Label layers from files: each raster as a `Scene`, and each vector file as one that lies everywhere."""

from __future__ import annotations

import warnings
from pathlib import Path
from urllib.parse import urlsplit

import rasterio
import rasterio.errors
from shapely import box

from chipweave.catalog.extracts import Extract, extract_of
from chipweave.catalog.footprint import crs_text, projected
from chipweave.catalog.hrefs import is_clean, shown
from chipweave.catalog.request import DATELESS, FILE_BAND, LayerRequest
from chipweave.catalog.stac import MAX_ID
from chipweave.errors import RecipeError
from chipweave.model import Asset, Scene
from chipweave.recipe.interval import interval

_ENDINGS = frozenset({".tif", ".tiff", ".jp2"})
_TABLES = frozenset({".csv", ".tsv", ".txt"})


def file_scenes(request: LayerRequest) -> list[Scene]:
    """Scenes of a label layer that names a raster, or a folder of rasters.

    Raises
    ------
    RecipeError
        Missing, not a raster, or without a place on Earth.
    """
    path = request.file
    if path is None and request.catalog:
        return [_everywhere(request, Path(urlsplit(request.catalog).path))]
    if path is None or not path.exists():
        raise RecipeError(f"labels.{request.layer}.file: {path}: no such file")
    if request.form != "raster":
        return [_everywhere(request, path.resolve())]
    paths = sorted(p for p in path.iterdir() if p.suffix.lower() in _ENDINGS) if path.is_dir() else [path]
    if not paths:
        raise RecipeError(f"labels.{request.layer}.file: {path}: a folder without rasters")
    return [_scene(request, p.resolve(), p.stem) for p in paths]


def _everywhere(request: LayerRequest, path: Path) -> Scene:
    """A vector file: where it has no feature it says that there is none; an extract does so within its box."""
    _check_name(request, path)
    extract = extract_of(path) if request.form == "osm" else Extract("", None)
    date = request.date or extract.date
    return Scene(
        layer=request.layer,
        id=path.stem[:MAX_ID],
        collection=request.layer,
        time=interval(date)[0] if date else DATELESS,
        geometry=box(*(extract.box or (-180, -90, 180, 90))),
        edition=date,
        assets={FILE_BAND: Asset(request.catalog or str(path))},
    )


def _check_name(request: LayerRequest, path: Path) -> None:
    if not is_clean(str(path)):
        raise RecipeError(f"labels.{request.layer}.file: {shown(path, 200)}: control characters in the name")


def _scene(request: LayerRequest, path: Path, name: str) -> Scene:
    where = f"labels.{request.layer}.file: {path}"
    _check_name(request, path)
    try:
        with warnings.catch_warnings():
            # Said below, as an error: a raster without a transform has no place.
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            with rasterio.open(path) as source:
                crs = crs_text(source.crs.to_wkt()) if source.crs else ""
                affine, width, height = source.transform, source.width, source.height
                gain, add = float(source.scales[0]), float(source.offsets[0])
                kind = source.dtypes[0]
    except rasterio.errors.RasterioError as error:
        raise RecipeError(
            f"{where}: cannot be read as a raster: {str(error).splitlines()[0]}",
            hint="a table of points is given as `points`" if path.suffix.lower() in _TABLES else "",
        ) from None
    if kind.startswith("complex"):
        raise RecipeError(f"{where}: holds {kind}, which are neither classes nor plain numbers")
    corners = tuple(affine * at for at in ((0, 0), (width, 0), (width, height), (0, height)))
    outline = projected(crs, corners) if crs and not affine.is_identity else None
    if outline is None:
        raise RecipeError(f"{where}: has no CRS, or none that lies on Earth")
    return Scene(
        layer=request.layer,
        id=name[:MAX_ID],
        collection=request.layer,
        time=interval(request.date)[0] if request.date else DATELESS,
        geometry=outline,
        crs=crs,
        edition=request.date,
        assets={FILE_BAND: Asset(str(path), gain=gain, add=add, nodata=request.nodata)},
    )
