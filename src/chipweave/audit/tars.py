"""Tars: their names and numbers, and whether their structure is what the index says."""

from __future__ import annotations

import re
import tarfile
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path

from chipweave.audit.arrays import strict_json
from chipweave.audit.files import unreadable
from chipweave.audit.report import BROKEN, Check, Findings
from chipweave.audit.tables import Index

_NAME = re.compile(r"shards/([A-Za-z0-9_]+)-(\d{6})\.tar")
_SET = re.compile(r"shards-([a-z0-9.-]+)")
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
    folders = [folder / "shards", *(path for path in folder.glob("shards-*") if path.is_dir())]
    there = {path.relative_to(folder).as_posix() for one in folders for path in one.glob("*")}
    named = {shard for shard, _ in counts} | _check_sets(index, findings)
    for shard in sorted(there - named):
        findings.fail(f"{shard} is not in the index")
    for shard in sorted(named - there):
        findings.fail(f"{shard} is missing")
    for own in index.sets:
        _check_wids(folder, counts, own, findings)
    return findings.check(f"{len(counts)} shards, gap-free", shards=len(counts))


def _check_sets(index: Index, findings: Findings) -> set[str]:
    """Shards of the sets that licences keep apart: one beside each of `shards/`, of its name, with its samples."""
    named = set()
    shards = index.column("shard").astype(str)
    for own, layers in index.sets.items():
        if own == "shards":
            continue
        if not _SET.fullmatch(own):
            findings.fail(f"{own!r} is no name of a set of shards")
        for layer in layers:
            beside = index.column(f"{layer}_shard").astype(str)
            for shard, other in sorted(set(zip(shards, beside, strict=True))):
                named.add(str(other))
                if other != shard.replace("shards/", f"{own}/", 1):
                    findings.fail(f"{layer} of samples of {shard} lies in {other}")
    return named


def _check_wids(folder: Path, counts: Mapping[tuple[str, str], int], own: str, findings: Findings) -> None:
    """Hold the lists of one set of shards, `own` its folder, against what there is: every shard once, in order."""
    stem = f"wids-{own.removeprefix('shards-')}-" if own != "shards" else "wids-"
    there = {path.stem.removeprefix(stem) for path in folder.glob(f"{stem}*.json")}
    # One with a dash is of another set.
    for split in sorted({split for _, split in counts} | {name for name in there if "-" not in name}):
        path = folder / f"{stem}{split}.json"
        mine = sorted((s.replace("shards/", f"{own}/", 1), n) for (s, of), n in counts.items() if of == split)
        if not path.is_file():
            findings.fail(f"{path.name} is missing")
            continue
        try:
            rows = strict_json(path.read_bytes())["shardlist"]
            listed = [(row["url"], row["nsamples"], row["filesize"]) for row in rows]
        except BROKEN as exc:
            findings.fail(unreadable(path.name, exc))
            continue
        _compare_wids(folder, path.name, listed, mine, findings)


def _compare_wids(
    folder: Path,
    name: str,
    listed: list[tuple[str, int, int]],
    mine: list[tuple[str, int]],
    findings: Findings,
) -> None:
    urls, shards = [row[0] for row in listed], [shard for shard, _ in mine]
    if urls != shards:
        odd = sorted(map(str, {*urls} ^ {*shards}))
        why = f"{odd[0]} is in one of them" if odd else "not each once, in order"
        findings.fail(f"{name} lists other shards than the index: {why}")
        return
    for (shard, count), (_, said, size) in zip(mine, listed, strict=True):
        if said != count:
            findings.fail(f"{name} says {said} samples of {shard}, which has {count}")
        try:
            real = (folder / shard).stat().st_size
        except OSError:
            continue  # it is missing, or may not be read: that is told of itself
        if real != size:
            findings.fail(f"{name} says {size} bytes of {shard}, which has {real}")


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
    except OSError:
        raise  # a file that may not be read is no broken tar: who reads the shard says so
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
