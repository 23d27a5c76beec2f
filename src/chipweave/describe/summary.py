"""What the card tells, read from a finished folder."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from chipweave.describe.negatives import subtracted
from chipweave.shards.deal import split_order
from chipweave.shards.ledger import read_ledger

LOCK = "chipweave.lock"


@dataclass(frozen=True, slots=True)
class Summary:
    """Figures of a dataset.

    Parameters
    ----------
    counts
        Samples by split, train, val, test, then others.
    shards
        Tars by split: path below the dataset, samples, bytes.
    dates
        First and last date by layer, ISO 8601, as far as they are known.
    years
        Years that each layer shows.
    placed
        Chips that were placed.
    dropped
        Chips by reason.
    failed
        Chips that could not be read.
    items
        Source items by layer, how many different ones.
    shares
        Class shares by label layer, split and code (text), of all pixels.
    formats
        ``webdataset``, ``zarr``.
    versions
        Of the libraries, by name.
    subtracted
        Items by layer whose offset was subtracted at their provider: see `negatives`.
    beside
        Tars as in `shards`, of each set that licences keep apart, by its name.
    """

    counts: Mapping[str, int]
    shards: Mapping[str, Sequence[tuple[str, int, int]]] = field(default_factory=dict)
    dates: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    years: Mapping[str, Sequence[int]] = field(default_factory=dict)
    placed: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    failed: int = 0
    items: Mapping[str, int] = field(default_factory=dict)
    shares: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)
    formats: Sequence[str] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    subtracted: Mapping[str, int] = field(default_factory=dict)
    beside: Mapping[str, Mapping[str, Sequence[tuple[str, int, int]]]] = field(default_factory=dict)


def summarise(folder: Path, layers: Iterable[str]) -> Summary:
    """Read the figures of a finished folder from its index, ledger, statistics and lock.

    Parameters
    ----------
    folder
        The dataset; it needs no manifest yet.
    layers
        Names of its layers.
    """
    names = list(layers)
    table = pq.read_table(folder / "index.parquet")
    splits = table["split"].to_pylist()
    fates = read_ledger(folder / "ledger.parquet")
    tally = Counter(splits)
    dates, years = {}, {}
    used: dict[str, set[str]] = {}
    for name in names:
        when = sorted({d for row in _column(table, f"{name}_datetime") for d in row if d})
        if when:
            dates[name] = (when[0], when[-1])
            years[name] = sorted({int(d[:4]) for d in when})
        used[name] = {i for row in _column(table, f"{name}_items") for step in row for i in step if i}
    return Summary(
        counts={split: tally[split] for split in split_order(splits)},
        shards=_shards(folder, zip(table["shard"].to_pylist(), splits, strict=True)),
        dates=dates,
        years=years,
        placed=len(fates),
        dropped=dict(sorted(Counter(f.reason or f.stage for f in fates if f.state == "dropped").items())),
        failed=sum(f.state == "failed" for f in fates),
        items={name: len(ids) for name, ids in used.items()},
        shares=_shares(folder),
        formats=[n for n, at in (("webdataset", "shards"), ("zarr", "zarr")) if any((folder / at).glob("*"))],
        versions=_versions(folder),
        subtracted=subtracted(folder, used),
        beside=_beside(folder, table, splits),
    )


def _column(table: Any, name: str) -> list[Any]:
    return table[name].to_pylist() if name in table.column_names else []


def _shards(folder: Path, rows: Iterable[tuple[str, str]]) -> dict[str, list[tuple[str, int, int]]]:
    counts = Counter(row for row in rows if row[0])
    found: dict[str, list[tuple[str, int, int]]] = {}
    for (shard, split), number in sorted(counts.items()):
        found.setdefault(split, []).append((shard, number, (folder / shard).stat().st_size))
    return found


def _beside(
    folder: Path, table: Any, splits: Sequence[str]
) -> dict[str, dict[str, list[tuple[str, int, int]]]]:
    """Tars of the sets that licences keep apart: each of their layers names its own in the index."""
    found: dict[str, dict[str, list[tuple[str, int, int]]]] = {}
    for name in (c for c in table.column_names if c.endswith("_shard")):
        shards = table[name].to_pylist()
        if pa.types.is_string(table[name].type) and str(shards[0]).startswith("shards-"):
            own = str(shards[0]).partition("/")[0].removeprefix("shards-")
            found[own] = _shards(folder, zip(shards, splits, strict=True))
    return dict(sorted(found.items()))


def _shares(folder: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Class shares from the counts of `stats.json`, pixels of no class included in the whole."""
    stats = json.loads((folder / "stats.json").read_bytes())
    out: dict[str, dict[str, dict[str, float]]] = {}
    for layer, content in stats.items():
        if "classes" not in content:
            continue
        out[layer] = {}
        for split, counts in content["counts"].items():
            whole = max(sum(counts.values()) + content.get("nodata", {}).get(split, 0), 1)
            out[layer][split] = {code: number / whole for code, number in counts.items()}
    return out


def _versions(folder: Path) -> dict[str, str]:
    path = folder / LOCK
    if not path.is_file():
        return {}
    versions = json.loads(path.read_bytes()).get("versions", {})
    return {str(name): str(version) for name, version in sorted(versions.items())}
