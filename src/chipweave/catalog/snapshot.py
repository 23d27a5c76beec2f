"""The lock of a build: its scenes as stac-geoparquet, one row a layer and scene, lossless."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from datetime import UTC
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from chipweave.catalog.hrefs import unsigned
from chipweave.errors import UsageError
from chipweave.model import Asset, Scene

ROW_GROUP: Final = 20_000
_OURS: Final = "chipweave:"
_BOX: Final = ("xmin", "ymin", "xmax", "ymax")
_EXTENSIONS: Final = (
    "https://stac-extensions.github.io/eo/v1.1.0/schema.json",
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
)
_ASSET = pa.struct(
    [
        ("href", pa.string()),
        ("roles", pa.list_(pa.string())),
        (f"{_OURS}index", pa.int32()),
        (f"{_OURS}gain", pa.float64()),
        (f"{_OURS}add", pa.float64()),
        (f"{_OURS}nodata", pa.float64()),
    ]
)
_LINK = pa.struct([("href", pa.string()), ("rel", pa.string())])


def write_snapshot(scenes: Sequence[Scene], path: Path) -> None:
    """Write scenes as stac-geoparquet; the same scenes give the same bytes.

    Parameters
    ----------
    scenes
        In the order to keep; `geometry` in EPSG:4326.
    path
        File to write; its folder exists.
    """
    table = pa.Table.from_pylist([_row(s) for s in scenes], schema=_schema(scenes))
    pq.write_table(
        table, path, row_group_size=ROW_GROUP, compression="zstd", version="2.6", write_page_index=False
    )


def read_snapshot(path: Path) -> list[Scene]:
    """Scenes as they were written, in their order.

    Raises
    ------
    UsageError
        The file is missing or is no snapshot.
    """
    try:
        return scenes_of(pq.read_table(path))
    except (OSError, pa.ArrowException, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path}: is no snapshot of scenes ({type(error).__name__})") from None


def scenes_of(table: pa.Table) -> list[Scene]:
    """Scenes of rows of a snapshot, in their order."""
    return [_scene(row) for row in table.to_pylist()]


def _schema(scenes: Sequence[Scene]) -> pa.Schema:
    bands = sorted({band for scene in scenes for band in scene.assets}) or ["data"]
    fields = [
        ("type", pa.string()),
        ("stac_version", pa.string()),
        ("stac_extensions", pa.list_(pa.string())),
        ("id", pa.string()),
        ("collection", pa.string()),
        ("geometry", pa.binary()),
        ("bbox", pa.struct([(name, pa.float64()) for name in _BOX])),
        ("links", pa.list_(_LINK)),
        ("assets", pa.struct([(band, _ASSET) for band in bands])),
        ("datetime", pa.timestamp("us", tz="UTC")),
        ("platform", pa.string()),
        ("eo:cloud_cover", pa.float64()),
        ("proj:code", pa.string()),
        ("proj:wkt2", pa.string()),
        (f"{_OURS}layer", pa.string()),
        (f"{_OURS}processed", pa.string()),
        (f"{_OURS}edition", pa.string()),
        ("sat:orbit_state", pa.string()),
        ("sat:relative_orbit", pa.int32()),
        (f"{_OURS}bands", pa.list_(pa.string())),
        (f"{_OURS}missing", pa.list_(pa.string())),
    ]
    types = sorted({scene.geometry.geom_type for scene in scenes})
    geo = {
        "version": "1.1.0",
        "primary_column": "geometry",
        "columns": {
            "geometry": {
                "encoding": "WKB",
                "geometry_types": types,
                "edges": "planar",
                "covering": {"bbox": {name: ["bbox", name] for name in _BOX}},
            }
        },
    }
    metadata = {"geo": json.dumps(geo), "stac-geoparquet": json.dumps({"version": "1.0.0"})}
    return pa.schema(fields, metadata=metadata)


def _row(scene: Scene) -> dict[str, Any]:
    coded = scene.crs.startswith("EPSG:")
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": list(_EXTENSIONS),
        "id": scene.id,
        "collection": scene.collection,
        "geometry": shapely.to_wkb(scene.geometry, byte_order=1, output_dimension=2),
        "bbox": dict(zip(_BOX, scene.geometry.bounds, strict=True)),
        "links": [],
        "assets": {band: _asset_row(asset) for band, asset in scene.assets.items()},
        "datetime": scene.time.astimezone(UTC),
        "platform": scene.platform or None,
        "eo:cloud_cover": None if math.isnan(scene.cloud) else scene.cloud,
        "proj:code": scene.crs if coded else None,
        "proj:wkt2": scene.crs if scene.crs and not coded else None,
        f"{_OURS}layer": scene.layer,
        f"{_OURS}processed": scene.processed or None,
        f"{_OURS}edition": scene.edition or None,
        "sat:orbit_state": scene.orbit_state or None,
        "sat:relative_orbit": scene.relative_orbit,
        f"{_OURS}bands": list(scene.assets),
        f"{_OURS}missing": list(scene.missing),
    }


def _asset_row(asset: Asset) -> dict[str, Any]:
    return {
        "href": unsigned(asset.href),  # another dataset's, which an older release froze, may be signed
        "roles": ["data"],
        f"{_OURS}index": asset.index,
        f"{_OURS}gain": asset.gain,
        f"{_OURS}add": asset.add,
        f"{_OURS}nodata": asset.nodata,
    }


def _scene(row: dict[str, Any]) -> Scene:
    return Scene(
        layer=row[f"{_OURS}layer"],
        id=row["id"],
        collection=row["collection"],
        time=row["datetime"].astimezone(UTC),
        geometry=shapely.from_wkb(row["geometry"]),
        crs=row["proj:code"] or row["proj:wkt2"] or "",
        cloud=float("nan") if row["eo:cloud_cover"] is None else row["eo:cloud_cover"],
        platform=row["platform"] or "",
        processed=row[f"{_OURS}processed"] or "",
        edition=row[f"{_OURS}edition"] or "",
        orbit_state=row.get("sat:orbit_state") or "",  # a snapshot of an older release has none
        relative_orbit=row.get("sat:relative_orbit"),
        assets={band: _asset(row["assets"][band]) for band in row[f"{_OURS}bands"]},
        missing=tuple(row[f"{_OURS}missing"]),
    )


def _asset(row: dict[str, Any]) -> Asset:
    return Asset(
        href=row["href"],
        index=row[f"{_OURS}index"],
        gain=row[f"{_OURS}gain"],
        add=row[f"{_OURS}add"],
        nodata=row[f"{_OURS}nodata"],
    )
