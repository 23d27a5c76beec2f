"""The contract's pixel rules over a package that knows GDAL's.

What GDAL's warp does not do as the contract says is taken away from it:

* Nodata is the item's, the file's or the collection's, in this order, and infinite values are none: the package
  sees every band through a small virtual file, in which whatever is no data is NaN.
* A target pixel is data where the source pixel under its centre is: a nearest load tells, not the warp.
* The warp follows curves by chords: windows go through in pieces of 2.6 km, over which a chord is 13 cm off. The
  pieces lie on the target's own lattice, so that pixels do not depend on the window.
* A grid that is turned or coarser gets a blend of more than four pixels: such a window is loaded on a finer grid,
  of which every third (or fifth, …) pixel has its centre where the target's pixels have theirs.
* The mean of GDAL weighs pixels by shares, and no rule of it asks for half of them: for `mean` and `mode` the
  package gives the source's own pixels, and the rule of `resample.py` counts their centres.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Literal, Protocol
from xml.sax.saxutils import escape

import numpy as np
import numpy.typing as npt
import rasterio.errors
from affine import Affine
from rasterio.io import MemoryFile

from chipweave.catalog import access
from chipweave.catalog.hrefs import is_http
from chipweave.errors import NotBuiltError, PermanentSourceError
from chipweave.model import Asset
from chipweave.pixels.failures import attempts, classify, is_remote
from chipweave.pixels.lattice import Grid, reproject, same_crs, shift, units
from chipweave.pixels.loaders.base import AnyArray, BoolArray
from chipweave.pixels.read import source_of
from chipweave.pixels.resample import Method, clip, inside, resample
from chipweave.pixels.stored import SourceGrid

Floats = npt.NDArray[np.floating]
Rule = Literal["nearest", "bilinear"]

PIECE_M = 2600.0
"""Most metres of a piece's side."""

PIECE_PX = (32, 512)
"""Fewest and most pixels of a piece's side."""

HINT = "use --loader native"

_VSI = {"http": "/vsicurl/http://", "https": "/vsicurl/https://", "file": ""}

_VIRTUAL = """\
<VRTDataset rasterXSize="{width}" rasterYSize="{height}">
<SRS>{crs}</SRS>
<GeoTransform>{transform}</GeoTransform>
<VRTRasterBand dataType="{dtype}" band="1">
<NoDataValue>nan</NoDataValue>
<ComplexSource>
<SourceFilename relativeToVRT="0" shared="0">{file}</SourceFilename>
<SourceBand>{index}</SourceBand>
<SrcRect xOff="0" yOff="0" xSize="{width}" ySize="{height}"/>
<DstRect xOff="0" yOff="0" xSize="{width}" ySize="{height}"/>
{lacking}
</ComplexSource>
</VRTRasterBand>
</VRTDataset>
"""


class Fetch(Protocol):
    """One band of one file on a grid, by a package."""

    def __call__(
        self, file: str, dtype: np.dtype[np.floating], grid: Grid, shape: tuple[int, int], rule: Rule, /
    ) -> Floats:
        """Values (rows, columns) as `dtype`, NaN where there are none.

        Parameters
        ----------
        file
            GDAL's name of a file whose one band says NaN for no data.
        dtype
            float32 or float64.
        grid, shape
            The grid, whose pixel (0, 0) is the first, and (rows, columns).
        rule
            How to warp.
        """


def load_band(
    fetch: Fetch,
    asset: Asset,
    default_nodata: float | None,
    crs: str,
    affine: Affine,
    shape: tuple[int, int],
    method: Method,
) -> tuple[AnyArray, BoolArray]:
    """One band of `Loader`: see there for parameters and errors; `fetch` is the package's part."""
    source, nodata = source_of(asset, default_nodata)
    dtype = _wider(source)
    remote = is_remote(asset.href)
    how = access.opening(asset.href) if remote else access.Opening(asset.href)
    # Side-car files of a remote asset would each cost a request.
    sparing = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"} if remote else {}
    virtual = _virtual(source, how.name, nodata, dtype)
    target, row, col = Grid.anchored(crs, affine)
    with how.env(**sparing), MemoryFile(virtual.encode(), filename="band.vrt") as file:
        take = partial(_take, fetch, file.name, dtype, asset.href)
        same = shift(source.grid, target) is not None
        if method in {"mean", "mode"} and not same:
            return resample(
                source.grid,
                source.shape,
                target,
                (row, col, *shape),
                method,
                partial(_own_pixels, take, source),
                source.dtype,
            )
        rule: Rule = "bilinear" if method == "bilinear" and not same else "nearest"
        values = np.full(shape, np.nan, dtype)
        size = _piece_size(target)
        for r in range(row // size, -(-(row + shape[0]) // size)):
            for c in range(col // size, -(-(col + shape[1]) // size)):
                piece = _piece(take, source, _moved(target, r * size, c * size), size, rule)
                if piece is not None:
                    _paste(values, piece, r * size - row, c * size - col)
    return _stored(values, source.dtype)


def _wider(source: SourceGrid) -> np.dtype[np.floating]:
    """Type that holds every stored value, and NaN beside them."""
    kind, size = source.dtype.kind, source.dtype.itemsize
    if (kind in "iu" and size <= 2) or (kind == "f" and size <= 4):
        return np.dtype(np.float32)
    if (kind in "iu" and size == 4) or (kind == "f" and size == 8):
        return np.dtype(np.float64)
    raise NotBuiltError(f"{source.href}: this loader does not read {source.dtype}", hint=HINT)


def _virtual(source: SourceGrid, name: str, nodata: float | None, dtype: np.dtype[np.floating]) -> str:
    """A virtual file with one band of the file that is opened by `name`, in which no data is NaN."""
    scheme, _, rest = name.partition("://")
    file = _VSI[scheme] + rest if rest and scheme in _VSI else name
    stated = nodata is not None and (source.dtype.kind == "f" or float(nodata).is_integer())
    told = f"<NODATA>{nodata!r}</NODATA>" if stated else ""
    if source.hidden is None:
        return _layer(source, file, source.index, told, dtype)
    # GDAL looks at the mask or at the value, not at both: one file above the other.
    return _layer(
        source, _layer(source, file, source.index, "<UseMaskBand>true</UseMaskBand>", dtype), 1, told, dtype
    )


def _layer(source: SourceGrid, file: str, index: int, lacking: str, dtype: np.dtype[np.floating]) -> str:
    """A virtual file with band `index` of a file; `lacking` says where that has no data."""
    a = source.grid.affine
    return _VIRTUAL.format(
        width=source.shape[1],
        height=source.shape[0],
        crs=escape(source.grid.crs),
        transform=", ".join(repr(float(v)) for v in (a.c, a.a, a.b, a.f, a.d, a.e)),
        dtype={4: "Float32", 8: "Float64"}[dtype.itemsize],
        file=escape(file),
        index=index,
        lacking=lacking,
    )


@contextmanager
def _errors(href: str) -> Iterator[None]:
    try:
        yield
    except (rasterio.errors.RasterioError, OSError, RuntimeError, MemoryError) as error:
        if not is_remote(href):
            raise classify(error, href) from error
        found = classify(error, href)
    else:
        return
    if is_http(href) and isinstance(found, PermanentSourceError):
        # GDAL does not always tell a server that falters from a file that is broken: a look of our own raises which.
        from chipweave.catalog.remote import RemoteFile  # noqa: PLC0415 - local files do without HTTP

        RemoteFile(href)
    raise found  # without its cause, which may quote a signed URL


def _take(
    fetch: Fetch,
    file: str,
    dtype: np.dtype[np.floating],
    href: str,
    grid: Grid,
    shape: tuple[int, int],
    rule: Rule,
) -> Floats:
    """Call `fetch` as this project reads: what fails is classified, and tried again where that may help."""
    for attempt in attempts(href, by_gdal=True):
        with attempt, _errors(href):
            return fetch(file, dtype, grid, shape, rule)
    raise AssertionError(href)  # pragma: no cover - stamina returns or raises


class _Take(Protocol):
    def __call__(self, grid: Grid, shape: tuple[int, int], rule: Rule, /) -> Floats: ...


def _own_pixels(
    take: _Take, source: SourceGrid, row: int, col: int, height: int, width: int
) -> tuple[AnyArray, BoolArray]:
    """A block of the file on its own grid."""
    return _stored(take(_moved(source.grid, row, col), (height, width), "nearest"), source.dtype)


def _stored(values: Floats, dtype: np.dtype[np.generic]) -> tuple[AnyArray, BoolArray]:
    """Values in the file's type, integers rounded half up, and where they are data."""
    ok: BoolArray = np.isfinite(values)
    clean = np.where(ok, values, values.dtype.type(0))
    return (np.floor(clean + 0.5) if dtype.kind in "iu" else clean).astype(dtype), ok


def _moved(grid: Grid, row: int, col: int) -> Grid:
    """The grid whose pixel (0, 0) is pixel (row, col) of this one."""
    return Grid(grid.crs, grid.affine * Affine.translation(col, row))


def _paste(values: Floats, piece: Floats, row: int, col: int) -> None:
    """Put a piece at (row, col) of a window; what hangs over is cut."""
    box = (row, col, *piece.shape)
    part = clip(box, values.shape)
    if part is not None:
        values[inside((0, 0, *values.shape), part)] = piece[inside(box, part)]


def _scale(source: Grid, target: Grid) -> tuple[float, float] | None:
    """Width and height of a target pixel in source pixels, of grids of one CRS that lie alike; else None."""
    a, b = source.affine, target.affine
    if a.b or a.d or not same_crs(source.crs, target.crs):
        return None
    return round(b.a / a.a, 9), round(b.e / a.e, 9)


def _piece_size(target: Grid) -> int:
    """Pixels of a piece's side: a power of two."""
    metres = target.affine.a * units(target.crs)[0]
    return max(PIECE_PX[0], min(PIECE_PX[1], 1 << max(0, math.floor(math.log2(PIECE_M / metres)))))


def _piece(take: _Take, source: SourceGrid, grid: Grid, size: int, rule: Rule) -> Floats | None:
    """A square piece of the target, NaN where the source pixel under a centre is none; None far from the file."""
    span = _span(source, grid, size)
    if span is None:
        return None
    scale = _scale(source.grid, grid)
    # Odd, so that centres meet. Pixels of one size, and enlarged ones, are blended from four as they are.
    finer = 1 if scale == (1.0, 1.0) or max(scale or (span,)) <= 0.6 else 2 * math.ceil(0.6 * span) + 1
    under = _fine(take, grid, size, "nearest", finer if scale else 1)
    if rule == "nearest":
        return under
    blend = _fine(take, grid, size, "bilinear", finer)
    blend = np.where(np.isfinite(blend), blend, under)
    return np.where(np.isfinite(under), blend, under.dtype.type(np.nan))


def _fine(take: _Take, grid: Grid, size: int, rule: Rule, finer: int) -> Floats:
    """A piece by way of a grid `finer` times as fine, of which the pixels with its centres are kept."""
    fine = Grid(grid.crs, grid.affine * Affine.scale(1 / finer))
    return take(fine, (size * finer, size * finer), rule)[finer // 2 :: finer, finer // 2 :: finer]


def _span(source: SourceGrid, grid: Grid, size: int) -> float | None:
    """Source pixels along the larger side of a piece's bounds, over its own pixels; None where they do not meet."""
    steps = np.linspace(0.0, size, 9)
    cols, rows = np.meshgrid(steps, steps)
    x, y = grid.affine * (cols, rows)
    x, y = reproject(x, y, grid.crs, source.grid.crs)
    u, v = ~source.grid.affine * (x, y)
    if not (np.isfinite(u).all() and np.isfinite(v).all()):
        raise NotBuiltError(f"{source.href}: this loader does not read where projections end", hint=HINT)
    height, width = source.shape
    if float(v.max()) < -2 or float(v.min()) > height + 2:
        return None
    a = source.grid.affine
    turn = units(source.grid.crs)[1] / math.hypot(a.a, a.d)
    met = [
        k for k in (-1, 0, 1) if float(u.max()) + k * turn >= -2 and float(u.min()) + k * turn <= width + 2
    ]
    if turn and met not in ([], [0]):
        raise NotBuiltError(f"{source.href}: this loader does not read across ±180°", hint=HINT)
    if not met:
        return None
    return max(float(np.ptp(u)), float(np.ptp(v))) / size
