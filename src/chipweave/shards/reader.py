"""Random access to a finished dataset: samples by key, straight from the tars."""

from __future__ import annotations

import json
import mmap
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import geopandas as gpd
import numpy as np
from affine import Affine

from chipweave.errors import UsageError, VerifyError
from chipweave.shards.damage import readable
from chipweave.shards.index import NAME, read_index
from chipweave.shards.sample import JSON, Array, decode_array

if TYPE_CHECKING:
    import xarray as xr

_OPEN_SHARDS = 64
_OFFSET = "_offset"


class Reader:
    """A dataset by key. Cheap to pickle, so that each worker of a loader opens the shards itself.

    Parameters
    ----------
    folder
        The dataset.

    Raises
    ------
    UsageError
        The folder holds no dataset.
    VerifyError
        Its index cannot be read.

    Examples
    --------
    >>> with Reader(folder) as reader:                             # doctest: +SKIP
    ...     meta, arrays = reader.read(reader.keys[0])
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not (self.folder / NAME).is_file():
            raise UsageError(f"{self.folder} is no chipweave dataset: it has no {NAME}")
        with readable(self.folder):
            self._take(read_index(self.folder))

    def _take(self, index: gpd.GeoDataFrame) -> None:
        """Keep where everything lies."""
        self.index: gpd.GeoDataFrame = index
        self.keys: list[str] = index["key"].tolist()
        self._rows = {key: i for i, key in enumerate(self.keys)}
        fields = [c.removesuffix(_OFFSET) for c in self.index.columns if c.endswith(_OFFSET)]
        self.layers: list[str] = [field for field in fields if field != JSON]
        self._shards: list[str] = self.index["shard"].tolist()
        self._ranges = {
            field: self.index[[f"{field}{_OFFSET}", f"{field}_size"]].to_numpy(np.int64) for field in fields
        }
        self._apart = _kept_apart(self.index, self.layers)
        self._maps: OrderedDict[str, memoryview] = OrderedDict()

    def __len__(self) -> int:
        return len(self.keys)

    def __contains__(self, key: object) -> bool:
        return key in self._rows

    def read(self, key: str) -> tuple[dict[str, Any], dict[str, Array]]:
        """Metadata and arrays of a sample; its documents are read by `read_document`.

        Returns
        -------
        meta
            Contents of its `{key}.json`, with all layers, also those that licences keep in shards of their own.
        arrays
            By layer: ``(band, y, x)``, ``(time, band, y, x)`` or ``(y, x)``, as stored. Those of `.npy` are
            views of the shard's pages, so reading copies nothing, and read-only: copy what is to be changed.

        Raises
        ------
        UsageError
            No such key, or the dataset has no tars.
        VerifyError
            The index and the shard do not fit together.
        """
        row = self._row(key)
        meta = self._meta(row)
        return meta, {
            layer: self._array(row, layer, meta) for layer in self.layers if not _document(meta, layer)
        }

    def read_document(self, key: str, layer: str) -> str:
        """One text member of a sample: a caption, questions, GeoJSON.

        Raises
        ------
        UsageError
            No such key or layer.
        VerifyError
            Its bytes are no text.
        """
        row = self._row(key)
        if layer not in self.layers:
            raise UsageError(f"{self.folder} has no layer {layer}", hint=f"it has {', '.join(self.layers)}")
        try:
            return bytes(self._bytes(row, layer)).decode()
        except UnicodeDecodeError as exc:
            raise VerifyError(f"{self._name(row, layer)} is no text: {exc}") from exc

    def read_meta(self, key: str) -> dict[str, Any]:
        """Metadata of a sample alone; raises as `read` does."""
        return self._meta(self._row(key))

    def to_xarray(self, key: str) -> xr.Dataset:
        """Sample as a Dataset, one variable a layer, with coordinates and CRS as rioxarray knows them.

        Imagery has a coordinate ``band``, named ``{layer}_band`` where layers of the sample have different
        bands; a layer on a grid of its own has ``{layer}_y`` and ``{layer}_x``. A series has ``time`` (NaT where
        a step is missing), named ``{layer}_time`` where there are several; its mask shares it.
        """
        import rioxarray  # noqa: F401, PLC0415  (registers `.rio`; dear to import, and arrays alone do without)
        import xarray as xr  # noqa: PLC0415

        meta, arrays = self.read(key)
        layers: Mapping[str, Any] = {name: meta["layers"][name] for name in arrays}
        shared = len({tuple(v["bands"]) for v in layers.values() if "band" in v["dims"]}) <= 1
        series = [n for n, v in layers.items() if v["dims"][0] == "time" and v["kind"] == "imagery"]
        out = xr.Dataset(attrs={k: v for k, v in meta.items() if k in ("key", "split", "bbox")})
        chip = (tuple(meta["transform"]), meta["height"], meta["width"])
        for name, array in arrays.items():
            layer = layers[name]
            own = (tuple(layer["transform"]), *array.shape[-2:]) != chip
            renamed = {"y": f"{name}_y", "x": f"{name}_x"} if own else {}
            if not shared:
                renamed["band"] = f"{name}_band"
            if len(series) > 1:
                renamed["time"] = f"{name.removesuffix('_mask') if layer['kind'] == 'mask' else name}_time"
            dims = [renamed.get(d, d) for d in layer["dims"]]
            out[name] = xr.Variable(
                dims, array.copy(), {k: v for k, v in layer.items() if k not in _NOT_ATTRS}
            )
            out = out.assign_coords(_coordinates(layer, dims, array.shape))
        placed: xr.Dataset = out.rio.write_crs(meta["crs"]).rio.write_transform(Affine(*meta["transform"]))
        return placed

    def close(self) -> None:
        """Let go of all shards; reading opens them again. Arrays that were read stay as they are."""
        self._maps.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": OrderedDict()}

    def _row(self, key: str) -> int:
        if key not in self._rows:
            raise UsageError(f"{self.folder} has no sample {key}")
        row = self._rows[key]
        if not self._shards[row]:
            raise UsageError(f"{self.folder} has no shards/*.tar; open its zarr/ with xarray instead")
        return row

    def _meta(self, row: int) -> dict[str, Any]:
        meta = self._parsed(row, self._bytes(row, JSON), self._shards[row])
        beside = {shards[row]: ranges[row] for shards, ranges in self._apart.values()}
        for shard, (offset, size) in beside.items():
            more = self._parsed(row, self._cut(row, JSON, shard, int(offset), int(size)), shard)
            meta = {**meta, "layers": {**meta.get("layers", {}), **more.get("layers", {})}}
        return meta

    def _parsed(self, row: int, text: memoryview, shard: str) -> dict[str, Any]:
        try:
            meta: dict[str, Any] = json.loads(bytes(text))
        except ValueError as exc:
            raise VerifyError(f"{JSON} of {self.keys[row]} in {shard} is no JSON: {exc}") from exc
        key = meta.get("key") if isinstance(meta, dict) else None
        if key != self.keys[row]:
            raise VerifyError(f"{JSON} of {self.keys[row]} in {shard} belongs to sample {key}")
        return meta

    def _array(self, row: int, layer: str, meta: Mapping[str, Any]) -> Array:
        try:
            said = meta["layers"][layer]
            return decode_array(self._bytes(row, layer), said["dtype"], tuple(said["shape"]))
        except (ValueError, KeyError, TypeError) as exc:
            raise VerifyError(f"{self._name(row, layer)} is broken: {exc}") from exc

    def _shard(self, row: int, field: str) -> str:
        return self._apart[field][0][row] if field in self._apart else self._shards[row]

    def _name(self, row: int, field: str) -> str:
        return f"{field} of {self.keys[row]} in {self._shard(row, field)}"

    def _bytes(self, row: int, field: str) -> memoryview:
        return self._cut(row, field, self._shard(row, field), *self._ranges[field][row].tolist())

    def _cut(self, row: int, field: str, name: str, offset: int, size: int) -> memoryview:
        shard = self._map(name)
        if offset < 0 or size < 0 or offset + size > len(shard):
            raise VerifyError(f"{field} of {self.keys[row]} in {name} lies outside of the file")
        return shard[offset : offset + size]

    def _map(self, shard: str) -> memoryview:
        if shard in self._maps:
            self._maps.move_to_end(shard)
            return self._maps[shard]
        path = (self.folder / shard).resolve()
        if not path.is_relative_to(self.folder.resolve()):
            raise VerifyError(f"the index names {shard}, outside of {self.folder}")
        try:
            with path.open("rb") as file:
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as exc:
            raise VerifyError(f"{self.folder / shard} cannot be read: {exc}") from exc
        if len(self._maps) >= _OPEN_SHARDS:
            self._maps.popitem(last=False)
        self._maps[shard] = memoryview(mapped)
        return self._maps[shard]


def _kept_apart(index: gpd.GeoDataFrame, layers: list[str]) -> dict[str, tuple[list[str], list[Any]]]:
    """Layers in shards of their own: by name, each sample's shard, and the range of the JSON beside them there."""
    return {
        layer: (index[f"{layer}_shard"].tolist(), index[f"{layer}_json"].tolist())
        for layer in layers
        if f"{layer}_shard" in index.columns
    }


def _document(meta: Mapping[str, Any], layer: str) -> bool:
    """Whether a layer is text, and no array."""
    return bool(meta.get("layers", {}).get(layer, {}).get("dtype") == "utf-8")


_NOT_ATTRS = frozenset(
    {"bands", "dims", "dtype", "shape", "transform", "fractions", "scene_labels", "scene_fractions", "items"}
)


def _coordinates(layer: Mapping[str, Any], dims: list[str], shape: tuple[int, ...]) -> dict[str, Any]:
    """Pixel centres, and names of bands."""
    sizes = dict(zip(layer["dims"], zip(dims, shape, strict=True), strict=True))
    affine = Affine(*layer["transform"])
    coordinates: dict[str, Any] = {}
    if "time" in sizes:
        texts = [text.removesuffix("Z") or "NaT" for text in layer["datetime"]]
        coordinates[sizes["time"][0]] = np.array(texts, "datetime64[ns]")
    if "band" in sizes:
        coordinates[sizes["band"][0]] = list(layer["bands"])
    if affine.b == affine.d == 0:
        for axis, origin, step in (("x", affine.c, affine.a), ("y", affine.f, affine.e)):
            dim, size = sizes[axis]
            coordinates[dim] = (dim, origin + step * (np.arange(size) + 0.5), {"axis": axis.upper()})
    return coordinates
