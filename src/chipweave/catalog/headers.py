"""Where a file lies, by its own header: for items that tell nothing of their place."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Final

import rasterio
import rasterio.errors
from shapely.geometry.base import BaseGeometry

from chipweave.catalog import access
from chipweave.catalog.footprint import crs_text, projected
from chipweave.catalog.formats import open_raster
from chipweave.catalog.hrefs import is_http, redact, scheme_of
from chipweave.catalog.secrets import scrub
from chipweave.errors import PermanentSourceError

if TYPE_CHECKING:
    from chipweave.catalog.remote import RemoteFile

_REMOTE: Final = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_HTTP_CONNECTTIMEOUT": "10",  # these are for buckets
    "GDAL_HTTP_TIMEOUT": "60",
    "GDAL_HTTP_MAX_RETRY": "3",
    "GDAL_HTTP_RETRY_DELAY": "0.3",
    "CPL_VSIL_CURL_USE_HEAD": "NO",
    "GDAL_PAM_ENABLED": "NO",
}


def header_outline(href: str) -> tuple[str, BaseGeometry]:
    """CRS of a raster, and its outline in lon/lat.

    Parameters
    ----------
    href
        http, https or s3 URL, unsigned; or a path that may be read.

    Raises
    ------
    TransientSourceError
        A secret is missing, or the service that signs does not answer.
    PermanentSourceError
        The file cannot be opened, or has no place on Earth.
    """
    web = _web(href) if is_http(href) else None
    how = access.opening(href) if scheme_of(href) and web is None else access.Opening(href)
    try:
        with warnings.catch_warnings(), how.env(**(_REMOTE if scheme_of(href) else {})):
            # Said below, as an error.
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            with web.open() if web else open_raster(how.name, redact(href)) as source:
                crs = crs_text(source.crs.to_wkt()) if source.crs else ""
                affine, width, height = source.transform, source.width, source.height
    except rasterio.errors.RasterioError as error:
        if web is not None and web.failure is not None:
            raise web.failure from None  # what kept the bytes from GDAL
        said = scrub(str(error).splitlines()[0]).replace(how.name, redact(href))
        raise PermanentSourceError(f"{redact(href)}: {said[:300]}", href=redact(href)) from None
    corners = tuple(affine * at for at in ((0, 0), (width, 0), (width, height), (0, height)))
    outline = projected(crs, corners) if crs and not affine.is_identity else None
    if outline is None:
        raise PermanentSourceError(f"{redact(href)}: has no place on Earth", href=redact(href))
    return crs, outline


def _web(href: str) -> RemoteFile:
    from chipweave.catalog.remote import RemoteFile  # noqa: PLC0415 - local files do without HTTP

    return RemoteFile(href)
