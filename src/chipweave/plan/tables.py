"""The plan's files: places, matches, chips and amendments as parquet, and back.

What weave does comes from these files alone, so a resumed build reads the same plan.
"""

from __future__ import annotations

import io
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import geopandas as gpd
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from chipweave.files import atomic_write_bytes
from chipweave.model import Place
from chipweave.plan.match import Candidate
from chipweave.plan.select import Choice
from chipweave.plan.survey import Amendment, ChipScenes

MATCHES = pa.schema(
    [
        ("key", pa.string()),
        ("layer", pa.string()),
        ("step", pa.int32()),
        ("rank", pa.int32()),
        ("item", pa.string()),
        ("datetime", pa.string()),
        ("cloud_fraction", pa.float64()),
        ("valid_fraction", pa.float64()),
        ("chosen", pa.bool_()),
        ("why", pa.string()),
        # What weave needs to choose again where a scene turns out broken.
        ("order", pa.int32()),
        ("coverage", pa.float64()),
        ("catalog_cloud", pa.float64()),
        ("same_crs", pa.bool_()),
        ("broken", pa.string()),
    ]
)
ROW_GROUP = 100_000
"""Rows that are held as Python objects at a time."""

AMENDMENTS = pa.schema([(name, pa.string()) for name in ("key", "layer", "item", "stage", "href", "error")])


_CHOICE = [
    "key", "layer", "rank", "order", "item", "datetime", "chosen", "coverage", "catalog_cloud", "same_crs", "broken"
]  # fmt: skip


def parquet_bytes(table: pa.Table) -> bytes:
    """A table as parquet, the same bytes for the same table."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def write_places(path: Path, places: gpd.GeoDataFrame) -> None:
    """Write places as GeoParquet."""
    sink = io.BytesIO()
    places.to_parquet(sink, index=False, compression="zstd")
    atomic_write_bytes(path, sink.getvalue())


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> None:
    """Write rows under a fixed schema, also where there are none; a group at a time, as millions may come."""
    sink, left = io.BytesIO(), iter(rows)
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        while group := [dict(row) for row in islice(left, ROW_GROUP)]:
            writer.write_table(pa.Table.from_pylist(group, schema=schema))
    atomic_write_bytes(path, sink.getvalue())


def write_chips(path: Path, chips: pd.DataFrame) -> None:
    """Write the table of chips."""
    atomic_write_bytes(path, parquet_bytes(pa.Table.from_pandas(chips, preserve_index=False)))


def imagery_rows(key: str, layer: str, choice: Choice) -> list[dict[str, Any]]:
    """Rows of `matches.parquet` of one chip and imagery layer: one an item, candidates in their ranking."""
    rows = []
    for rank, measured in enumerate(choice.ranked):
        c = measured.candidate
        rows += [
            {
                "key": key, "layer": layer, "step": 0, "rank": rank, "order": order, "item": item, "datetime": c.time,
                "cloud_fraction": measured.cloud if measured.measured else None,
                "valid_fraction": measured.valid if measured.measured else None,
                "chosen": choice.chosen and rank == 0, "why": measured.why, "coverage": c.coverage,
                "catalog_cloud": c.cloud, "same_crs": c.same_crs, "broken": c.broken,
            }
            for order, item in enumerate(c.scenes)
        ]  # fmt: skip
    return rows


def label_rows(key: str, layer: str, items: Sequence[str], edition: str) -> list[dict[str, Any]]:
    """Rows of one chip and label layer: the rasters of its edition in reading order."""
    return [
        {
            "key": key, "layer": layer, "step": 0, "rank": 0, "order": order, "item": item, "datetime": edition,
            "cloud_fraction": None, "valid_fraction": None, "chosen": True, "why": "covers the chip",
            "coverage": None, "catalog_cloud": None, "same_crs": None, "broken": "",
        }
        for order, item in enumerate(items)
    ]  # fmt: skip


def amendment_rows(amendments: Iterable[Amendment]) -> list[dict[str, str]]:
    """Rows of `amendments.parquet`."""
    return [asdict(a) for a in amendments]


def place_of(row: Mapping[str, Any]) -> Place:
    """Place of a row of the chips or places table."""
    return Place(
        key=str(row["place"]), crs=str(row["crs"]), x=float(row["x"]), y=float(row["y"]),
        size=int(row["size"]), resolution=float(row["resolution"]),
    )  # fmt: skip


def read_choices(
    path: Path, chips: pd.DataFrame, imagery: Sequence[str], labels: Sequence[str]
) -> tuple[dict[str, ChipScenes], dict[str, dict[str, tuple[str, ...]]]]:
    """Candidates and chosen scenes of the given chips, from `matches.parquet`.

    Returns
    -------
    scenes, chosen
        By chip key: everything that may serve, in ranking order; and by layer the ids that do.
    """
    keys = set(chips["key"])
    found: dict[str, dict[str, dict[int, list[dict[str, Any]]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for group in pq.ParquetFile(path).iter_batches(batch_size=ROW_GROUP, columns=_CHOICE):
        for row in group.to_pylist():
            if row["key"] in keys:
                # A few hundred scenes stand in millions of rows.
                row |= {name: sys.intern(row[name]) for name in ("item", "datetime", "broken")}
                found[row["key"]][row["layer"]][row["rank"]].append(row)
    scenes, chosen = {}, {}
    records: list[dict[str, Any]] = chips.to_dict("records")  # type: ignore[assignment]  # column names are text
    for record in records:
        key = str(record["key"])
        own = found.pop(key, defaultdict(lambda: defaultdict(list)))
        scenes[key] = ChipScenes(
            place=place_of(record),
            candidates={n: tuple(_candidate(own[n][rank]) for rank in sorted(own[n])) for n in imagery},
            labels={n: tuple(r["item"] for rank in sorted(own[n]) for r in own[n][rank]) for n in labels},
        )
        chosen[key] = {n: tuple(r["item"] for r in own[n].get(0, ()) if r["chosen"]) for n in imagery}
    return scenes, chosen


def _candidate(rows: Sequence[Mapping[str, Any]]) -> Candidate:
    first = rows[0]
    return Candidate(
        scenes=tuple(str(r["item"]) for r in sorted(rows, key=lambda r: r["order"])),
        time=first["datetime"],
        coverage=first["coverage"],
        cloud=first["catalog_cloud"] if first["catalog_cloud"] is not None else float("nan"),
        same_crs=first["same_crs"],
        broken=first["broken"],
    )
