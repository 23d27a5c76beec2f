"""Tars: their names and numbers, and whether their structure is what the index says."""

from __future__ import annotations

import json
import re
import tarfile
from collections import Counter, defaultdict
from pathlib import Path

from chipweave.audit.report import BROKEN, Check, Findings
from chipweave.audit.tables import Index

_NAME = re.compile(r"shards/([A-Za-z0-9_]+)-(\d{6})\.tar")
_BLOCK = 512

Ranges = dict[str, tuple[int, int]]
"""By file name: where its bytes begin, and how many they are."""


def check_shards(folder: Path, index: Index) -> Check:
    """Check that shards are numbered without gaps, hold one split each, and are those that the index names."""
    findings = Findings("shards")
    splits = index.column("split").tolist()
    counts = Counter(zip(index.column("shard").tolist(), splits, strict=True))
    numbers: dict[str, dict[int, int]] = defaultdict(dict)
    for (shard, split), rows in counts.items():
        match = _NAME.fullmatch(shard)
        if not match:
            findings.fail(f"{shard!r} is no name of a shard")
        elif match[1] != split:
            findings.fail(f"{shard} holds samples of {split}")
        else:
            numbers[split][int(match[2])] = rows
    for split, of in numbers.items():
        if sorted(of) != list(range(len(of))):
            findings.fail(f"shards of {split} are not numbered from 0 without a gap: {sorted(of)}")
        sizes = [of[k] for k in sorted(of)]
        if len(set(sizes[:-1])) > 1 or sizes[-1] > sizes[0]:
            findings.fail(
                f"shards of {split} hold {sizes} samples: all but the last should hold equally many"
            )
    there = {path.relative_to(folder).as_posix() for path in (folder / "shards").glob("*")}
    named = {shard for shard, _ in counts}
    for shard in sorted(there - named):
        findings.fail(f"{shard} is not in the index")
    for shard in sorted(named - there):
        findings.fail(f"{shard} is missing")
    _check_wids(folder, counts, findings)
    return findings.check(f"{len(counts)} shards, gap-free", shards=len(counts))


def _check_wids(folder: Path, counts: Counter[tuple[str, str]], findings: Findings) -> None:
    for path in sorted(folder.glob("wids-*.json")):
        split = path.stem.removeprefix("wids-")
        try:
            listed = {
                row["url"]: (row["nsamples"], row["filesize"])
                for row in json.loads(path.read_bytes())["shardlist"]
            }
            real = {
                shard: (rows, (folder / shard).stat().st_size)
                for (shard, of), rows in counts.items()
                if of == split
            }
        except BROKEN as exc:
            findings.fail(f"{path.name} cannot be read: {exc}")
            continue
        if listed != real:
            findings.fail(f"{path.name} lists other shards, samples or sizes than there are")


def read_structure(path: Path, findings: Findings) -> Ranges:
    """List a tar's files with `tarfile`, and check headers, order and end."""
    found: Ranges = {}
    runs: list[str] = []
    end = 0
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                if not member.isreg() or (member.mtime, member.uid, member.gid) != (0, 0, 0):
                    findings.fail(f"{path.name}: {member.name} is no plain file with time 0 and owner 0")
                if member.name in found:
                    findings.fail(f"{path.name}: {member.name} comes twice")
                found[member.name] = (member.offset_data, member.size)
                end = member.offset_data + -(-member.size // _BLOCK) * _BLOCK
                key = member.name.partition(".")[0]
                if not runs or runs[-1] != key:
                    runs.append(key)
    except (*BROKEN, tarfile.TarError) as exc:
        findings.fail(f"{path.name} is no whole tar: {exc}")
        return found
    if len(set(runs)) < len(runs):
        findings.fail(f"{path.name}: files of a sample do not stand together")
    rest = _rest(path, end)
    if len(rest) < 2 * _BLOCK or any(rest):
        findings.fail(f"{path.name} does not end after its last file")
    return found


def _rest(path: Path, end: int) -> bytes:
    with path.open("rb") as file:
        file.seek(end)
        return file.read(1 << 20)
