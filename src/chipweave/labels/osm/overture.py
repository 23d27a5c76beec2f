"""Overture Maps files, read as if they were OpenStreetMap: places, buildings, land use, water, roads and railways.

Schema: https://docs.overturemaps.org/schema. Features that come from OpenStreetMap carry its tags (`source_tags`); of
others those tags are written that a scheme would look for. What Overture itself says of a feature stands under
``overture:type``, ``overture:subtype``, ``overture:class`` and ``overture:category``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq
import shapely

from chipweave.catalog.extracts import BATCH, parquet_reading
from chipweave.labels.osm.pbf import Found, Tally, kept_tags
from chipweave.labels.osm.scheme import Geometry, Scheme

_COLUMNS: Final = (
    "id", "geometry", "type", "subtype", "class", "names", "categories", "source_tags", "is_underground", "sources",
)  # fmt: skip
_SHAPES: Final[Mapping[int, Geometry]] = {0: "point", 4: "point", 1: "line", 5: "line", 3: "area", 6: "area"}
_RAILS: Final = {"standard_gauge": "rail", "unknown": "rail"}
_FOLDER = re.compile(r"type=([a-z_]+)")


def read_overture(path: Path, scheme: Scheme, tally: Tally) -> Iterator[Found]:
    """Features of a file that a scheme gives a class, in the file's order; `tally` is counted up.

    Raises
    ------
    PermanentSourceError
        No whole Parquet file, after some features were given.
    """
    with parquet_reading(path), pq.ParquetFile(path) as file:
        names = set(file.schema_arrow.names)
        folder = _FOLDER.search(str(path))
        kind = folder[1] if folder else _kind(names)
        for batch in file.iter_batches(BATCH, columns=[c for c in _COLUMNS if c in names and c != "sources"]):
            rows = batch.to_pylist()
            shapes = shapely.from_wkb([r["geometry"] for r in rows], on_invalid="ignore")
            for row, shape in zip(rows, shapes, strict=True):
                geometry = _SHAPES.get(int(shapely.get_type_id(shape)))
                if geometry is None or shape.is_empty:
                    tally.left["broken"] += 1
                    continue
                tags = tags_of(row, kind)
                rule = scheme.rule(tags, geometry)
                if rule is None:
                    continue
                tally.taken[rule.code] += 1
                kept = kept_tags(tags)
                name = f"overture/{row['id']}"
                yield Found(bytes(row["geometry"]), rule.code, name, kept, rule.priority, rule.reach(tags))


def _kind(names: set[str]) -> str:
    """Type of features that have these columns, where neither the rows nor the path say it."""
    if "categories" in names:
        return "place"
    return "building" if {"num_floors", "roof_shape"} & names else ""


def tags_of(row: Mapping[str, Any], kind: str) -> dict[str, str]:
    """A feature of Overture as tags of OpenStreetMap.

    Parameters
    ----------
    row
        Its columns; those that it lacks are left out.
    kind
        Its type, such as ``building``, where the row does not say it.
    """
    kind = str(row.get("type") or kind)
    subtype, own = (str(row.get(key) or "") for key in ("subtype", "class"))
    pairs = row.get("source_tags") or ()
    tags = {str(k): str(v) for k, v in (pairs.items() if isinstance(pairs, dict) else pairs) if v is not None}
    category = (row.get("categories") or {}).get("primary")
    said = {"type": kind, "subtype": subtype, "class": own, "category": category}
    tags |= {f"overture:{k}": str(v) for k, v in said.items() if v}
    name = (row.get("names") or {}).get("primary")
    if name:
        tags.setdefault("name", str(name))
    if row.get("is_underground"):
        tags["location"] = "underground"
    if kind in {"building", "building_part"}:
        tags.setdefault("building", own or "yes")
    elif kind == "segment" and own:
        key = {"road": "highway", "rail": "railway"}.get(subtype)
        if key:
            tags.setdefault(key, _RAILS.get(own, own) if key == "railway" else own)
    elif kind == "land_use" and own and not pairs:
        tags["landuse"] = own
    return tags
