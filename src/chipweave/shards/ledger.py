"""`ledger.parquet`: the fate of every placed chip."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from chipweave.errors import YieldError
from chipweave.files import atomic_path
from chipweave.model import Fate

NAME = "ledger.parquet"
COLUMNS = tuple(f.name for f in fields(Fate))
"""``key, state, stage, reason, layer, href, error``"""


def write_ledger(path: Path, fates: Sequence[Fate]) -> None:
    """Write one row a chip, sorted by key, all columns plain text; the same fates give the same bytes."""
    rows = sorted(fates, key=lambda fate: (fate.key, fate.state, fate.stage))
    schema = pa.schema([(name, pa.string()) for name in COLUMNS])
    columns = [[getattr(row, name) for row in rows] for name in COLUMNS]
    table = pa.Table.from_arrays([pa.array(c, pa.string()) for c in columns], schema=schema)
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_ledger(path: Path) -> list[Fate]:
    """Fates in the file's order."""
    return [Fate(**row) for row in pq.read_table(path, columns=list(COLUMNS)).to_pylist()]


def tally(path: Path) -> dict[str, Any]:
    """What became of the chips: how many were placed, written, failed, and dropped for which reason."""
    fates = read_ledger(path)
    return {
        "placed": len(fates),
        "written": sum(f.state == "written" for f in fates),
        "failed": sum(f.state == "failed" for f in fates),
        "dropped": dict(sorted(Counter(f.reason for f in fates if f.state == "dropped").items())),
    }


class Allowed(Protocol):
    """Largest shares of the placed chips that may fail or be dropped."""

    @property
    def failed(self) -> float:
        """Share that may fail."""

    @property
    def dropped(self) -> float:
        """Share that may be dropped."""


def check_yield(
    fates: Sequence[Fate], written: Collection[str], asked: Sequence[str], allow: Allowed
) -> None:
    """Hold what was woven against the recipe.

    Parameters
    ----------
    fates
        Of every placed chip.
    written, asked
        Splits that hold a sample, and those that the recipe asks for.
    allow
        The recipe's limits.

    Raises
    ------
    YieldError
        Nothing written, an empty split, or more failed or dropped than allowed.
    """
    counts = Counter(f.state for f in fates)
    dropped = Counter(f.reason for f in fates if f.state == "dropped")
    reasons = ", ".join(f"{n} {reason}" for reason, n in dropped.most_common())
    see = f"{NAME} lists every chip"
    if counts["failed"] > allow.failed * len(fates):
        first = next(f for f in fates if f.state == "failed")
        raise YieldError(
            f"{counts['failed']} of {len(fates)} chips failed, more than allow.failed ({allow.failed:g}): "
            f"{first.key}: {first.error or first.reason}",
            hint=f"{see}; `allow: {{failed: 0.1}}` would accept a tenth",
        )
    if not counts["written"]:
        raise YieldError(f"nothing to write: {len(fates)} chips were dropped: {reasons}", hint=see)
    if counts["dropped"] > allow.dropped * len(fates):
        raise YieldError(
            f"{counts['dropped']} of {len(fates)} chips were dropped, "
            f"more than allow.dropped ({allow.dropped:g}): {reasons}",
            hint=see,
        )
    empty = [name for name in asked if name not in written]
    if empty:
        raise YieldError(f"split {', '.join(empty)} came out empty; dropped: {reasons or 'none'}", hint=see)
