"""`stac/`: the dataset as a STAC 1.1 collection, and its samples as items in stac-geoparquet 1.1.

The items are made from the columns of `index.parquet`, a row group at a time and never a sample at a time: a build
waits for no STAC library, and a million samples take the memory of twenty thousand. Specification:
https://github.com/radiantearth/stac-geoparquet-spec.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from chipweave.catalog.licences import licence_of, spdx
from chipweave.describe.card import CARD, default_description
from chipweave.describe.credits import ATTRIBUTION
from chipweave.describe.stac_items import CODE, VERSION, ItemPlan, Times, items, times_of
from chipweave.describe.summary import Summary
from chipweave.describe.text import paragraphs, plain
from chipweave.files import atomic_path, atomic_write_text
from chipweave.model import LayerSpec
from chipweave.shards import index

FOLDER = "stac"
COLLECTION = "collection.json"
SAMPLES = "samples.parquet"

_PARQUET = "application/vnd.apache.parquet"
_ROWS = 20_000
_RADAR = frozenset({"dB", "linear"})
"""Units of imagery that no cloud covers."""


def write_stac(
    folder: Path, recipe: Mapping[str, Any], layers: Sequence[LayerSpec], summary: Summary
) -> tuple[Path, Path]:
    """Write `stac/collection.json` and `stac/samples.parquet`; the same index gives the same bytes.

    An item's id is the sample's key. Its times are those of its imagery, or the years of its labels where no imagery
    has a date. An asset is one member of the sample: a range of bytes in a tar (`chipweave:offset`,
    `chipweave:size`), or, in a dataset without tars, a place in a Zarr group (`chipweave:sample`).

    Parameters
    ----------
    folder
        The dataset, with its index.
    recipe
        Of its keys, `name, title, description` and `licence` are told.
    layers
        All layers.
    summary
        As `summarise` reads it from the folder.

    Returns
    -------
    tuple of Path
        The collection and the items.
    """
    collection, samples = folder / FOLDER / COLLECTION, folder / FOLDER / SAMPLES
    with pq.ParquetFile(folder / index.NAME) as source:
        fields = source.schema_arrow
        systems = pc.unique(source.read(columns=["crs"])["crs"]).to_pylist()
        codes = sorted(crs for crs in systems if re.match(CODE, crs))
        plan = _plan(recipe, layers, summary, fields.names, wkt=len(codes) < len(systems))
        wanted = [name for s in layers if (name := f"{s.name}_datetime") in plan.columns]
        # Of all samples at once: two numbers each, so there is room for them.
        times = Times.joined([times_of(b, layers) for b in source.iter_batches(_ROWS, columns=wanted)])
        geo = json.loads(fields.metadata[b"geo"])
        content = _collection(plan, recipe, summary, codes)
        content["extent"] = {
            "spatial": {"bbox": [geo["columns"]["geometry"]["bbox"]]},
            "temporal": {"interval": [times.extent()]},
        }
        with atomic_path(samples) as temporary:
            _write(temporary, source, plan, times, _metadata(plan, content, geo))
    atomic_write_text(collection, _dumped(content, indent=1) + "\n")
    return collection, samples


def _write(
    path: Path, source: pq.ParquetFile, plan: ItemPlan, times: Times, metadata: Mapping[str, str]
) -> None:
    fields = source.schema_arrow
    nothing = pa.RecordBatch.from_pylist([], pa.schema([fields.field(name) for name in plan.needed]))
    schema = items(plan, nothing, times.part(0, 0), 0).schema.with_metadata(metadata)
    row = 0
    with path.open("wb") as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for batch in source.iter_batches(_ROWS, columns=plan.needed):
            writer.write_batch(items(plan, batch, times.part(row, len(batch)), row))
            row += len(batch)


def _plan(
    recipe: Mapping[str, Any],
    layers: Sequence[LayerSpec],
    summary: Summary,
    columns: Sequence[str],
    *,
    wkt: bool,
) -> ItemPlan:
    clouds = [f"{s.name}_cloud_fraction" for s in layers if s.kind == "imagery" and s.unit not in _RADAR]
    return ItemPlan(
        collection=plain(recipe.get("name") or "dataset"),
        layers=tuple(layers),
        columns=frozenset(columns),
        starts=dict(zip(summary.counts, accumulate(summary.counts.values(), initial=0), strict=False)),
        tars=bool(summary.shards),
        cloud=next((name for name in clouds if name in columns), ""),
        wkt=wkt,
    )


def _collection(
    plan: ItemPlan, recipe: Mapping[str, Any], summary: Summary, codes: Sequence[str]
) -> dict[str, Any]:
    """The collection, but for its extent."""
    licence = licence_of(recipe.get("licence"), plan.layers)
    text = paragraphs(recipe.get("description") or "") or default_description(plan.layers, summary)
    summaries: dict[str, Any] = {"chipweave:split": list(summary.counts)}
    if codes:
        summaries["proj:code"] = list(codes)
    kept = {spec.name: spec for spec in plan.layers}
    return {
        "type": "Collection",
        "stac_version": VERSION,
        "stac_extensions": plan.extensions,
        "id": plan.collection,
        "title": plain(recipe.get("title") or plan.collection),
        "description": text,
        "keywords": sorted({plain(spec.collection) for spec in plan.layers if spec.collection}),
        "license": spdx(licence or "") or "other",
        "summaries": summaries,
        "links": [
            {"rel": "license", "href": f"../{ATTRIBUTION}", "type": "text/markdown"},
            {"rel": "describedby", "href": f"../{CARD}", "type": "text/markdown"},
        ],
        "item_assets": {name: told | _about(kept.get(name)) for name, told in plan.assets.items()},
        "assets": {
            "items": {
                "href": f"./{SAMPLES}", "title": "All samples, one item each", "type": _PARQUET,
                "roles": ["collection-mirror"],
            },
        },
    }  # fmt: skip


def _about(spec: LayerSpec | None) -> dict[str, Any]:
    """What STAC's common metadata say of a layer's values."""
    if spec is None or spec.document:
        return {}
    told: dict[str, Any] = {
        "data_type": spec.numpy_dtype.name,
        "nodata": "nan" if math.isnan(spec.nodata) else spec.nodata,
    }
    if spec.unit:
        told["unit"] = plain(spec.unit)
    if spec.bands:
        told["bands"] = [{"name": plain(band)} for band in spec.bands]
    return told


def _metadata(plan: ItemPlan, content: Mapping[str, Any], geo: Mapping[str, Any]) -> dict[str, str]:
    """File metadata; those of GeoParquet are the index's, in OGC:CRS84, which is meant where none is named."""
    column = {k: v for k, v in geo["columns"]["geometry"].items() if k != "crs"}
    column["covering"] = {"bbox": {side: ["bbox", side] for side in ("xmin", "ymin", "xmax", "ymax")}}
    told = {"version": geo["version"], "primary_column": "geometry", "columns": {"geometry": column}}
    mirror = {"version": VERSION, "collections": {plan.collection: content}}
    return {"geo": _dumped(told), "stac-geoparquet": _dumped(mirror)}


def _dumped(content: Mapping[str, Any], indent: int | None = None) -> str:
    return json.dumps(content, indent=indent, ensure_ascii=False, allow_nan=False)
