"""Samples as STAC items, in columns: from a batch of `index.parquet` to one of `stac/samples.parquet`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from chipweave.describe.text import plain
from chipweave.model import LayerSpec
from chipweave.shards.sample import JSON

VERSION = "1.1.0"
"""Of STAC, and of stac-geoparquet, which are alike."""

PROJECTION = "https://stac-extensions.github.io/projection/v2.0.0/schema.json"
CLOUDS = "https://stac-extensions.github.io/eo/v1.1.0/schema.json"
TAR, ZARR = "application/x-tar", "application/vnd.zarr; version=3"
CODE = r"^[A-Za-z]+:[0-9]+$"
"""How a CRS with a code stands in the index; one without is WKT2."""

_ROLES: Mapping[str, list[str]] = {"label": ["labels"], "mask": ["metadata", "data-mask"], JSON: ["metadata"]}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_MICROSECOND = timedelta(microseconds=1)
_NEVER, _EVER = int(np.iinfo(np.int64).max), int(np.iinfo(np.int64).min)
_TEXTS = pa.list_(pa.string())
_TIME = pa.timestamp("us", tz="UTC")
_LINKS = pa.list_(pa.struct([("rel", pa.string()), ("href", pa.string()), ("type", pa.string())]))

Batch = Any
"""`pyarrow.RecordBatch`; pyarrow ships no types."""


@dataclass(frozen=True, slots=True)
class Times:
    """First and last microsecond since 1970 of each sample; the first is after the last where none is known."""

    first: npt.NDArray[np.int64]
    last: npt.NDArray[np.int64]

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """Which samples have a time."""
        return self.first <= self.last

    @classmethod
    def joined(cls, times: Sequence[Times]) -> Times:
        """Of the samples of all, in order."""
        return cls(np.concatenate([t.first for t in times]), np.concatenate([t.last for t in times]))

    def part(self, start: int, count: int) -> Times:
        """Of some samples."""
        return Times(self.first[start : start + count], self.last[start : start + count])

    def extent(self) -> list[str | None]:
        """From the first to the last of all, as RFC 3339; None where no time is known."""
        if not self.known.any():
            return [None, None]
        ends = (_EPOCH + int(at) * _MICROSECOND for at in (self.first.min(), self.last.max()))
        return [end.isoformat().replace("+00:00", "Z") for end in ends]


@dataclass(frozen=True, slots=True)
class ItemPlan:
    """What is the same for all samples.

    Parameters
    ----------
    collection
        Id of the collection.
    layers
        All layers.
    columns
        Of the index.
    starts
        By split, the number of its first sample: Zarr counts from there.
    tars
        Whether there are tars.
    cloud
        Column of the index with the share of cloud, or empty.
    wkt
        Whether a CRS has no code.
    """

    collection: str
    layers: tuple[LayerSpec, ...]
    columns: frozenset[str]
    starts: Mapping[str, int]
    tars: bool
    cloud: str
    wkt: bool

    @property
    def extensions(self) -> list[str]:
        """Of every item."""
        return [PROJECTION, *([CLOUDS] if self.cloud else [])]

    @property
    def assets(self) -> dict[str, dict[str, Any]]:
        """What is told of each asset of any item: its title, type and roles."""
        told: dict[str, dict[str, Any]] = {}
        if self.tars:
            told[JSON] = {"title": "Metadata of the sample", "type": TAR, "roles": _ROLES[JSON]}
        for spec in self.layers:
            if f"{spec.name}_offset" in self.columns:
                title = ": ".join(dict.fromkeys(t for t in (spec.name, plain(spec.collection)) if t))
                kind = TAR if self.tars else ZARR
                told[spec.name] = {"title": title, "type": kind, "roles": _ROLES.get(spec.kind, ["data"])}
        return told

    @property
    def needed(self) -> list[str]:
        """Columns of the index that `items` looks at."""
        wanted = ["key", "split", "shard", "geometry", "crs", "transform", "height", "width", self.cloud]
        for field in (JSON, *(spec.name for spec in self.layers)):
            wanted += [f"{field}_{what}" for what in ("offset", "size", "shard")]
        return [name for name in wanted if name in self.columns]


def items(plan: ItemPlan, batch: Batch, times: Times, start: int) -> Batch:
    """Items of some samples.

    Parameters
    ----------
    plan
        What is the same for all.
    batch
        Rows of the index, with the columns that the plan needs.
    times
        Of these samples.
    start
        Number of the first row in the index.

    Returns
    -------
    pyarrow.RecordBatch
        One item a row; the schema is the same for every batch.
    """
    columns = {
        "type": _same("Feature", pa.string(), len(batch)),
        "stac_version": _same(VERSION, pa.string(), len(batch)),
        "stac_extensions": _same(plan.extensions, _TEXTS, len(batch)),
        "id": batch["key"],
        "geometry": batch["geometry"],
        "bbox": _boxes(batch["geometry"]),
        "links": _same(_links(), _LINKS, len(batch)),
        "assets": _assets(plan, batch, start),
        "collection": _same(plan.collection, pa.string(), len(batch)),
        **_dates(times),
        **_grids(plan, batch),
        "chipweave:split": batch["split"],
    }
    if plan.cloud:
        # Percent, as the extension has it; the sixth place is beyond what a pixel in a chip can change.
        columns["eo:cloud_cover"] = pa.array(np.round(100 * batch[plan.cloud].to_numpy(), 6))
    return pa.RecordBatch.from_pydict(columns)


def _same(value: Any, kind: pa.DataType, count: int) -> pa.Array:
    return pa.array([value], kind).take(pa.array(np.zeros(count, np.int64)))


def _links() -> list[dict[str, str]]:
    return [{"rel": "collection", "href": "./collection.json", "type": "application/json"}]


def _boxes(geometry: pa.Array) -> pa.Array:
    """(west, south, east, north); west is larger where a footprint crosses ±180°, as GeoJSON has it."""
    shapes = shapely.from_wkb(geometry.to_numpy(zero_copy_only=False))
    bounds = shapely.bounds(shapes).reshape(-1, 4)
    for number in np.flatnonzero(bounds[:, 2] - bounds[:, 0] > 180):
        parts = shapely.bounds(shapely.get_parts(shapes[number]))
        east = parts[:, 0] >= 0
        if east.any() and not east.all():
            bounds[number, 0], bounds[number, 2] = parts[east, 0].min(), parts[~east, 2].max()
    names = ("xmin", "ymin", "xmax", "ymax")
    return pa.StructArray.from_arrays([pa.array(side) for side in bounds.T], names=names)


def _assets(plan: ItemPlan, batch: Batch, start: int) -> pa.Array:
    """One a member: a range of bytes in a tar, or a place in a Zarr group."""
    count = len(batch)
    number = {} if plan.tars else {"chipweave:sample": _places(plan, batch, start)}
    assets = {}
    for name, told in plan.assets.items():
        if plan.tars:
            # Layers that licences keep apart have shards of their own.
            own = f"{name}_shard" if f"{name}_shard" in plan.columns else "shard"
            href = pc.binary_join_element_wise("..", batch[own], "/")
            number = {f"chipweave:{what}": batch[f"{name}_{what}"] for what in ("offset", "size")}
        else:
            href = pc.binary_join_element_wise("../zarr/", batch["split"], f".zarr/{name}", "")
        fields = {
            "href": href,
            "title": _same(told["title"], pa.string(), count),
            "type": _same(told["type"], pa.string(), count),
            "roles": _same(told["roles"], _TEXTS, count),
            **number,
        }
        assets[name] = pa.StructArray.from_arrays(list(fields.values()), names=list(fields))
    return pa.StructArray.from_arrays(list(assets.values()), names=list(assets))


def _places(plan: ItemPlan, batch: Batch, start: int) -> pa.Array:
    """Number of each sample in its split."""
    split = batch["split"].dictionary_encode()
    starts = np.array([plan.starts[name] for name in split.dictionary.to_pylist()], np.int64)
    return pa.array(start + np.arange(len(batch)) - starts[split.indices.to_numpy()], pa.int64())


def _dates(times: Times) -> dict[str, pa.Array]:
    """`datetime` is null where a sample shows more than one moment: then the other two tell which."""
    unknown = ~times.known
    at = {
        "datetime": (times.first, times.first != times.last),
        "start_datetime": (times.first, unknown),
        "end_datetime": (times.last, unknown),
    }
    return {name: pa.array(value, pa.int64(), mask=mask).cast(_TIME) for name, (value, mask) in at.items()}


def _grids(plan: ItemPlan, batch: Batch) -> dict[str, pa.Array]:
    crs, count = batch["crs"], len(batch)
    shape = np.stack([batch["height"].to_numpy(), batch["width"].to_numpy()], axis=1)
    columns = {"proj:code": crs}
    if plan.wkt:
        coded, none = pc.match_substring_regex(crs, CODE), pa.scalar(None, pa.string())
        columns = {"proj:code": pc.if_else(coded, crs, none), "proj:wkt2": pc.if_else(coded, none, crs)}
    pairs = pa.array(np.arange(0, 2 * count + 2, 2, dtype=np.int32))
    columns["proj:shape"] = pa.ListArray.from_arrays(pairs, pa.array(shape.reshape(-1), pa.int32()))
    columns["proj:transform"] = batch["transform"]
    return columns


def times_of(batch: Batch, layers: Sequence[LayerSpec]) -> Times:
    """Times of some samples: of the imagery, or of the labels where no imagery has a date.

    Parameters
    ----------
    batch
        Rows of the index, with its `<layer>_datetime`.
    layers
        All layers.
    """
    found = _span(batch, [s.name for s in layers if s.kind == "imagery"])
    if not found.known.all():
        other = _span(batch, [s.name for s in layers if s.kind != "imagery"])
        first = np.where(found.known, found.first, other.first)
        found = Times(first, np.where(found.known, found.last, other.last))
    return found


def _span(batch: Batch, names: Sequence[str]) -> Times:
    first, last = np.full(len(batch), _NEVER), np.full(len(batch), _EVER)
    for name in names:
        if f"{name}_datetime" not in batch.schema.names:
            continue
        column = batch[f"{name}_datetime"]
        texts = column.flatten().dictionary_encode()
        # Few texts are different: samples share scenes.
        moments = np.array([_moment(t) for t in texts.dictionary.to_pylist()], np.int64).reshape(-1, 2)
        steps = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
        rows = np.flatnonzero(steps)
        if not rows.size:
            continue
        begins = (np.cumsum(steps) - steps)[rows]
        begin, end = moments[texts.indices.to_numpy()].T
        first[rows] = np.minimum(first[rows], np.minimum.reduceat(begin, begins))
        last[rows] = np.maximum(last[rows], np.maximum.reduceat(end, begins))
    return Times(first, last)


def _moment(text: str) -> tuple[int, int]:
    """First and last microsecond of a date: a moment, a day, or a month or a year, which is what a label has."""
    text = text.strip()
    if not text:
        return _NEVER, _EVER
    if found := re.fullmatch(r"(\d{4})(?:-(\d{2}))?", text):
        year, month = int(found[1]), int(found[2] or 1)
        first = datetime(year, month, 1, tzinfo=UTC)
        months = year * 12 + (month if found[2] else 12)
        last = datetime(months // 12, months % 12 + 1, 1, tzinfo=UTC) - _SECOND
    else:
        first = last = datetime.fromisoformat(text)
        if first.tzinfo is None:
            first = last = first.replace(tzinfo=UTC)
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
            last = first + timedelta(days=1) - _SECOND
    return (first - _EPOCH) // _MICROSECOND, (last - _EPOCH) // _MICROSECOND
