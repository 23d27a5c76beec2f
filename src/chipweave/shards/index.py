"""`index.parquet`: one row a sample, with what a reader needs to find it and a person to choose it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import geopandas as gpd
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from pyproj import CRS

from chipweave.errors import ChipweaveError
from chipweave.files import atomic_path
from chipweave.model import LayerSpec
from chipweave.shards.deal import Deal, ShardRow, split_order
from chipweave.shards.parts import SampleRow
from chipweave.shards.sample import JSON, json_field

NAME = "index.parquet"

FACTS = {
    "datetime": pa.list_(pa.string()),
    "items": pa.list_(pa.list_(pa.string())),
    "cloud_fraction": pa.float64(),
    "valid_fraction": pa.float64(),
    "fractions": None,  # a struct by code
    "scene_labels": pa.list_(pa.int8()),
    "scene_fractions": None,  # the same, where scene labels are of another legend
    "ignored": pa.float64(),
    "age_days": pa.float64(),
    "agreement": pa.float64(),
    "shift_x": pa.list_(pa.float64()),
    "shift_y": pa.list_(pa.float64()),
    "shift_confidence": pa.list_(pa.float64()),
}
"""What is said of a layer in its sample's JSON and is a column too: its name, and its type in Arrow."""

_ROW_GROUP = 50_000


@dataclass(frozen=True, slots=True)
class IndexRow:
    """A sample and where it lies.

    Parameters
    ----------
    row
        As woven, with its facts.
    shard
        Path of its tar below the dataset, empty where there are no tars.
    base
        Offset of its first tar record in the shard, -1 where there are no tars.
    beside
        The same two of each set of shards that licences keep apart, by its name.
    """

    row: SampleRow
    shard: str = ""
    base: int = -1
    beside: Mapping[str, tuple[str, int]] = field(default_factory=dict)

    def offset(self, name: str) -> int:
        """Where a file's own bytes begin in its shard, by its field."""
        own = self.row.set_of(name)
        base = self.beside[own][1] if own and self.shard else self.base
        return base + self.row.members[name][0] - self.row.range_of(own)[0] if self.shard else -1

    def size(self, name: str) -> int:
        """Bytes of a file, by its field."""
        return self.row.members[name][1]


def index_rows(deal: Deal, shards: Sequence[ShardRow]) -> list[IndexRow]:
    """List the samples in the order of the deal; `shards` may be empty (no WebDataset was written)."""
    if not shards:
        return [IndexRow(deal.samples[i].row) for numbers in deal.order.values() for i in numbers]
    return [
        IndexRow(
            deal.samples[number].row, shard.path, base,
            {own: (other.path, other.offsets[n]) for own, other in shard.beside.items()},
        )
        for shard in shards
        for n, (number, base) in enumerate(zip(shard.samples, shard.offsets, strict=True))
    ]  # fmt: skip


def write_index(path: Path, rows: Sequence[IndexRow], layers: Sequence[LayerSpec]) -> None:
    """Write the index as GeoParquet in EPSG:4326, sorted by split (train, val, test, others), shard, offset.

    That is the order of samples in the tars and in Zarr. Geometries, boxes and the like come from each
    row's facts; offsets are absolute in the shard and name a file's own bytes, not its tar header. The same
    rows give the same bytes.

    Parameters
    ----------
    path
        Of the file.
    rows
        All samples.
    layers
        All members: they decide about columns.

    Raises
    ------
    ChipweaveError
        No samples, a sample that lacks a fact which another has, or disk full.
    """
    if not rows:
        raise ChipweaveError("an index needs at least one sample")
    ranks = {split: i for i, split in enumerate(split_order(r.row.split for r in rows))}
    rows = sorted(rows, key=lambda r: (ranks[r.row.split], r.shard, r.base))
    columns: dict[str, pa.Array] = _places(rows)
    for spec in layers:
        columns |= _ranges(rows, spec.name) | _elsewhere(rows, spec)
    columns |= _grids(rows)
    for spec in layers:
        columns |= _layer_facts(rows, spec)
    further = _further(rows)
    columns["majortom"] = further.pop("majortom", pa.array([""] * len(rows), pa.string()))
    columns["licences"] = pa.array([r.row.facts["licences"] for r in rows], pa.list_(pa.string()))
    columns |= further
    table = pa.table(columns).replace_schema_metadata({b"geo": _geo(rows)})
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", row_group_size=_ROW_GROUP)


def _places(rows: Sequence[IndexRow]) -> dict[str, pa.Array]:
    return {
        "key": pa.array([r.row.key for r in rows], pa.string()),
        "place": pa.array([r.row.facts["place"] for r in rows], pa.string()),
        "split": pa.array([r.row.split for r in rows], pa.string()),
        "fold": pa.array([r.row.facts.get("columns", {}).get("fold", -1) for r in rows], pa.int32()),
        "shard": pa.array([r.shard for r in rows], pa.string()),
        **_ranges(rows, JSON),
    }


def _ranges(rows: Sequence[IndexRow], field: str) -> dict[str, pa.Array]:
    return {
        f"{field}_offset": pa.array([r.offset(field) for r in rows], pa.int64()),
        f"{field}_size": pa.array([r.size(field) for r in rows], pa.int64()),
    }


def _elsewhere(rows: Sequence[IndexRow], spec: LayerSpec) -> dict[str, pa.Array]:
    """Columns of a layer that licences keep apart: its shard, and where in it the JSON lies that speaks of it."""
    own = spec.shard_set
    if not own:
        return {}
    meta = json_field(own)
    return {
        f"{spec.name}_shard": pa.array([r.beside[own][0] if r.shard else "" for r in rows], pa.string()),
        f"{spec.name}_json": pa.array([[r.offset(meta), r.size(meta)] for r in rows], pa.list_(pa.int64())),
    }


def _grids(rows: Sequence[IndexRow]) -> dict[str, pa.Array]:
    facts = [r.row.facts for r in rows]
    return {
        "geometry": pa.array([bytes.fromhex(f["geometry_wkb_hex"]) for f in facts], pa.binary()),
        "crs": pa.array([f["crs"] for f in facts], pa.string()),
        "transform": pa.array([f["transform"] for f in facts], pa.list_(pa.float64())),
        "height": pa.array([f["height"] for f in facts], pa.int32()),
        "width": pa.array([f["width"] for f in facts], pa.int32()),
    }


def _layer_facts(rows: Sequence[IndexRow], spec: LayerSpec) -> dict[str, pa.Array]:
    """Columns of one layer: those of its facts, which every sample has or none."""
    types: dict[str, pa.DataType] = {name: kind for name, kind in FACTS.items() if kind is not None}
    if spec.legend is not None:
        codes = [(str(code), pa.float64()) for code in spec.legend.codes]
        types["fractions"] = pa.struct(codes)
    if spec.scene is not None:
        types["scene_fractions"] = pa.struct([(str(code), pa.float64()) for code in spec.scene.codes])
    facts: list[dict[str, Any]] = [r.row.facts["layers"].get(spec.name, {}) for r in rows]
    present = set(facts[0])
    for row, fact in zip(rows, facts, strict=True):
        if set(fact) != present:
            odd = ", ".join(sorted(set(fact) ^ present))
            raise ChipweaveError(f"sample {row.row.key} and others differ in the facts on {spec.name}: {odd}")
    return {
        f"{spec.name}_{name}": pa.array([fact[name] for fact in facts], types[name])
        for name in FACTS
        if name in types and name in present
    }


def _further(rows: Sequence[IndexRow]) -> dict[str, pa.Array]:
    """Columns of the places' own: Major TOM cell and attributes. Text where nothing is known of any."""
    found = {}
    facts: list[dict[str, Any]] = [r.row.facts.get("columns", {}) for r in rows]
    for name in [n for n in facts[0] if n != "fold"]:  # which every index has
        values = pa.array([fact[name] for fact in facts])
        found[name] = values.cast(pa.string()) if pa.types.is_null(values.type) else values
    return found


def _geo(rows: Sequence[IndexRow]) -> bytes:
    """GeoParquet's own metadata, version 1.1."""
    geometries = shapely.from_wkb([bytes.fromhex(r.row.facts["geometry_wkb_hex"]) for r in rows])
    column = {
        "encoding": "WKB",
        "geometry_types": sorted({g.geom_type for g in geometries}),
        "crs": _crs(),
        "bbox": [float(x) for x in shapely.total_bounds(geometries)],
    }
    content = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
    return json.dumps(content, allow_nan=False).encode()


def read_index(folder: Path) -> gpd.GeoDataFrame:
    """Index of a dataset, one row a sample, geometry in lon/lat.

    As geopandas reads it. But where it says of the CRS what `write_index` says, that is known: geopandas would have the
    datum looked up by name, which takes longer than all else.
    """
    path = folder / NAME
    if not _plain_geometry((pq.read_schema(path).metadata or {}).get(b"geo", b"")):
        return gpd.read_parquet(path)
    table = pq.read_table(path)
    frame = table.drop_columns(["geometry"]).to_pandas()
    shapes = gpd.GeoSeries.from_wkb(table["geometry"].to_pandas(), crs="EPSG:4326")
    frame.insert(table.column_names.index("geometry"), "geometry", shapes.to_numpy())
    return gpd.GeoDataFrame(frame, geometry="geometry", crs="EPSG:4326")


def _plain_geometry(said: bytes) -> bool:
    """Whether GeoParquet's metadata are of WKB in our own CRS; what else they may be is for geopandas to judge."""
    try:
        content = json.loads(said)
        column = content["columns"]["geometry"]
        return bool(
            content["primary_column"] == "geometry"
            and column["crs"] == _crs()
            and column["encoding"] == "WKB"
        )
    except (ValueError, KeyError, TypeError):
        return False


@cache
def _crs() -> dict[str, Any]:
    """WGS 84 as PROJJSON."""
    found: dict[str, Any] = CRS.from_epsg(4326).to_json_dict()
    return found
