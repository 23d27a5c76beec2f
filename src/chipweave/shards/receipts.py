"""Receipts: what finished work leaves, so that a resumed build does not do it again.

A receipt is written after the file it speaks of is in place. One that cannot be read, or whose files are not
as it says, means "not done": never a crash.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from chipweave.files import atomic_write_bytes, sha256_file, xxh3_file
from chipweave.model import Fate
from chipweave.shards.parts import SampleRow
from chipweave.shards.sample import encode_json
from chipweave.shards.stats import PartialStats

FOLDER = "receipts"
"""Below the scratch folder."""

_VERSION = 3


@dataclass(frozen=True, slots=True)
class Receipt:
    """What weaving a batch left.

    Parameters
    ----------
    batch
        Its number in the plan.
    part
        Path of the part below the scratch folder; empty where the batch wrote no sample.
    bytes, xxh3
        Of the part. It is scratch: SHA-256, which costs more than writing does, is for what stays.
    samples
        In the part's order.
    fates
        One for each chip of the batch.
    stats
        What its samples add to the statistics.
    counters
        Numbers for the log and the report (seconds, bytes read, ...), to be summed.
    amendments
        Verdicts on broken assets, rows of `plan/amendments.parquet`.
    warnings
        For the user.
    digest
        Of what the batch was made from: a receipt of another plan does not count.
    """

    batch: int
    part: str
    bytes: int
    xxh3: str
    samples: list[SampleRow]
    fates: list[Fate]
    stats: PartialStats
    counters: dict[str, int | float] = field(default_factory=dict)
    amendments: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    digest: str = ""


def receipt_path(work: Path, batch: int) -> Path:
    """Where the receipt of a batch lies below the scratch folder."""
    return work / FOLDER / f"batch-{batch:06d}.json"


def part_name(batch: int) -> str:
    """Name of a batch's part below the scratch folder."""
    return f"parts/batch-{batch:06d}.part"


def save_receipt(work: Path, receipt: Receipt) -> Path:
    """Write a receipt: statistics first, then the JSON file that makes it count.

    Raises
    ------
    ChipweaveError
        Disk full, or facts that are not plain JSON.
    """
    path = receipt_path(work, receipt.batch)
    stats = receipt.stats.to_bytes()
    # All is checked before it counts, so nobody waits for the disk.
    atomic_write_bytes(path.with_suffix(".npz"), stats, durable=False)
    content = {
        "version": _VERSION,
        "batch": receipt.batch,
        "digest": receipt.digest,
        "part": receipt.part,
        "bytes": receipt.bytes,
        "xxh3": receipt.xxh3,
        "stats_sha256": hashlib.sha256(stats).hexdigest(),
        "samples": [_fields(row) for row in receipt.samples],
        "fates": [_fields(fate) for fate in receipt.fates],
        "counters": receipt.counters,
        "amendments": receipt.amendments,
        "warnings": receipt.warnings,
    }
    atomic_write_bytes(path, encode_json(content, f"batch {receipt.batch}"), durable=False)
    return path


def _fields(row: SampleRow | Fate) -> dict[str, Any]:
    """As `asdict`, which would copy all that is in it."""
    return {one.name: getattr(row, one.name) for one in fields(row)}


def load_receipt(
    work: Path, batch: int, *, digest: str = "", check: bool = False, freed: bool = False
) -> Receipt | None:
    """Receipt of a batch, or None where the batch has to be done (again).

    Parameters
    ----------
    work
        The scratch folder.
    batch
        Its number.
    digest
        What `Receipt.digest` has to be.
    check
        Read the part and compare its XXH3 too, not its size alone.
    freed
        The part is not looked for: its samples have been dealt.
    """
    path = receipt_path(work, batch)
    try:
        content = json.loads(path.read_bytes())
        if content["version"] != _VERSION or content["batch"] != batch or content["digest"] != digest:
            return None
        stats = path.with_suffix(".npz").read_bytes()
        if hashlib.sha256(stats).hexdigest() != content["stats_sha256"]:
            return None
        receipt = _parse(content, PartialStats.from_bytes(stats))
        if _ends(receipt.samples) > receipt.bytes or not (freed or _in_place(work, receipt, check)):
            return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile):
        return None
    return receipt


def _parse(content: Mapping[str, Any], stats: PartialStats) -> Receipt:
    names = ("batch", "part", "bytes", "xxh3", "counters", "amendments", "warnings", "digest")
    return Receipt(
        samples=[_row(row) for row in content["samples"]],
        fates=[Fate(**fate) for fate in content["fates"]],
        stats=stats,
        **{name: content[name] for name in names},
    )


def _row(row: Mapping[str, Any]) -> SampleRow:
    members, sets = (
        {name: (int(offset), int(size)) for name, (offset, size) in row[what].items()}
        for what in ("members", "sets")
    )
    return SampleRow(
        str(row["key"]),
        str(row["split"]),
        int(row["offset"]),
        int(row["size"]),
        members,
        dict(row["facts"]),
        sets=sets,
    )


def _ends(samples: Sequence[SampleRow]) -> int:
    return max((row.offset + row.size for row in samples), default=0)


def _in_place(work: Path, receipt: Receipt, check: bool) -> bool:
    if not receipt.part:
        return not receipt.samples
    part = work / receipt.part
    return part.stat().st_size == receipt.bytes and (not check or xxh3_file(part) == receipt.xxh3)


@dataclass(frozen=True, slots=True)
class FileReceipt:
    """What dealing one shard left.

    Parameters
    ----------
    digest
        Of what the shard was dealt from.
    files
        By path below the folder that was dealt into: bytes and SHA-256.
    """

    digest: str
    files: dict[str, tuple[int, str]]


def save_file_receipt(path: Path, receipt: FileReceipt) -> None:
    """Write the receipt of a dealt shard, after its files are in place."""
    atomic_write_bytes(path, encode_json({"version": _VERSION, **asdict(receipt)}, path.name), durable=False)


def load_file_receipt(path: Path, digest: str, root: Path) -> FileReceipt | None:
    """Receipt of a dealt shard, or None where it has to be dealt (again).

    The files are read and their SHA-256 compared, so what is skipped is what was written.

    Parameters
    ----------
    path
        The receipt.
    digest
        What `FileReceipt.digest` has to be.
    root
        The folder that was dealt into.
    """
    try:
        content = json.loads(path.read_bytes())
        if content["version"] != _VERSION or content["digest"] != digest:
            return None
        files = {str(name): (int(size), str(sha)) for name, (size, sha) in content["files"].items()}
        for name, (size, sha) in files.items():
            if (root / name).stat().st_size != size or sha256_file(root / name) != sha:
                return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return FileReceipt(digest, files)
