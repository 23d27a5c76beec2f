"""`index.parquet`: one row a sample, with what a reader needs to find it and a person to choose it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
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
from chipweave.shards.sample import JSON

NAME = "index.parquet"
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
    """

    row: SampleRow
    shard: str = ""
    base: int = -1

    def offset(self, field: str) -> int:
        """Where a file's own bytes begin in the shard."""
        return self.base + self.row.members[field][0] if self.shard else -1


def index_rows(deal: Deal, shards: Sequence[ShardRow]) -> list[IndexRow]:
    """List the samples in the order of the deal; `shards` may be empty (no WebDataset was written)."""
    if not shards:
        return [IndexRow(deal.samples[i].row) for numbers in deal.order.values() for i in numbers]
    return [
        IndexRow(deal.samples[number].row, shard.path, base)
        for shard in shards
        for number, base in zip(shard.samples, shard.offsets, strict=True)
    ]


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
        All layers with arrays: they decide about columns.

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
        columns |= _ranges(rows, spec.name)
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
        "fold": pa.array([-1] * len(rows), pa.int32()),
        "shard": pa.array([r.shard for r in rows], pa.string()),
        **_ranges(rows, JSON),
    }


def _ranges(rows: Sequence[IndexRow], field: str) -> dict[str, pa.Array]:
    return {
        f"{field}_offset": pa.array([r.offset(field) for r in rows], pa.int64()),
        f"{field}_size": pa.array([r.row.members[field][1] for r in rows], pa.int64()),
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
    types: dict[str, pa.DataType] = {
        "datetime": pa.list_(pa.string()),
        "items": pa.list_(pa.list_(pa.string())),
        "cloud_fraction": pa.float64(),
        "valid_fraction": pa.float64(),
        "scene_labels": pa.list_(pa.int8()),
    }
    if spec.legend is not None:
        codes = [(str(code), pa.float64()) for code in spec.legend.codes]
        types["fractions"] = pa.struct(codes)
    facts: list[dict[str, Any]] = [r.row.facts["layers"].get(spec.name, {}) for r in rows]
    present = set(facts[0])
    for row, fact in zip(rows, facts, strict=True):
        if set(fact) != present:
            odd = ", ".join(sorted(set(fact) ^ present))
            raise ChipweaveError(f"sample {row.row.key} and others differ in the facts on {spec.name}: {odd}")
    return {
        f"{spec.name}_{name}": pa.array([fact[name] for fact in facts], types[name])
        for name in ("datetime", "items", "cloud_fraction", "valid_fraction", "fractions", "scene_labels")
        if name in types and name in present
    }


def _further(rows: Sequence[IndexRow]) -> dict[str, pa.Array]:
    """Columns of the places' own: Major TOM cell and attributes. Text where nothing is known of any."""
    found = {}
    facts: list[dict[str, Any]] = [r.row.facts.get("columns", {}) for r in rows]
    for name in facts[0]:
        values = pa.array([fact[name] for fact in facts])
        found[name] = values.cast(pa.string()) if pa.types.is_null(values.type) else values
    return found


def _geo(rows: Sequence[IndexRow]) -> bytes:
    """GeoParquet's own metadata, version 1.1."""
    geometries = shapely.from_wkb([bytes.fromhex(r.row.facts["geometry_wkb_hex"]) for r in rows])
    column = {
        "encoding": "WKB",
        "geometry_types": sorted({g.geom_type for g in geometries}),
        "crs": CRS.from_epsg(4326).to_json_dict(),
        "bbox": [float(x) for x in shapely.total_bounds(geometries)],
    }
    content = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
    return json.dumps(content, allow_nan=False).encode()


def read_index(folder: Path) -> gpd.GeoDataFrame:
    """Index of a dataset, one row a sample, geometry in lon/lat."""
    return gpd.read_parquet(folder / NAME)
