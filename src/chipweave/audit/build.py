"""The leakage audit that every build runs on itself before it is sealed."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from pathlib import Path

from chipweave.audit.duplicates import Fingerprints
from chipweave.audit.leakage import look_across
from chipweave.audit.limits import Limits
from chipweave.audit.report import Report
from chipweave.audit.scan import Scan, scan_tars, scan_zarr
from chipweave.audit.sites import side
from chipweave.audit.splits import buffer_of, check_leakage
from chipweave.audit.tables import Index, load_index, load_rules
from chipweave.audit.zarrs import Stores
from chipweave.errors import VerifyError
from chipweave.files import atomic_write_text
from chipweave.shards.parts import SampleRow

log = logging.getLogger("chipweave")

NAME = "report/leakage.json"
"""Where the outcome lies, below the dataset."""

PIXELS = "pixels"
"""Fact of a sample: digest of its imagery, empty where that holds no data."""


def audit_build(folder: Path, samples: Iterable[SampleRow]) -> Report:
    """Hold a dataset that is about to be sealed against its own recipe, and write `report/leakage.json`.

    Pixels are known by the digests that were taken as they were woven. They are read again only where the recipe gives
    a threshold for near-duplicates.

    Parameters
    ----------
    folder
        The dataset, with its index, and without a manifest.
    samples
        All samples as they were woven.

    Raises
    ------
    VerifyError
        The splits leak: the dataset is left without a manifest.
    """
    index, check = load_index(folder)
    if index is None:
        raise VerifyError(f"{folder}: {check.text}", hint="this is a fault of ours: report it")
    rules, _ = load_rules(folder)
    several = len(set(zip(index.column("split"), index.column("fold"), strict=True))) > 1
    check, sites = check_leakage(index, rules, twins_of(samples) if several else [])
    checks = [check]
    if several and sites is not None:
        wanted = Limits.of(rules.split).near_duplicates is not None
        prints = _fingerprints(folder, index) if wanted else None
        checks += look_across(sites, rules.split, buffer_of(rules), prints).checks
    report = Report("", checks)
    content = {k: v for k, v in report.to_dict().items() if k != "folder"}
    (folder / NAME).parent.mkdir(exist_ok=True)
    atomic_write_text(
        folder / NAME, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    )
    bad = [c for c in checks if c.verdict == "fail"]
    if bad:
        raise VerifyError(
            f"{folder}: the splits leak, so this is not sealed: {bad[0].text}",
            hint=f"{NAME} says more; make split.buffer_m or split.block_km larger, or say split.leakage: warn, in "
            "another folder",
        )
    for found in checks:
        if found.verdict == "warn":
            log.warning("audit: %s: %s", found.name, found.text)
    log.info("audit: splits %s", report.verdict)
    return report


def twins_of(samples: Iterable[SampleRow]) -> list[tuple[str, str]]:
    """Pairs of keys in two splits whose imagery is the same, pixel by pixel."""
    seen: dict[str, tuple[str, str]] = {}
    found = []
    for row in sorted(samples, key=lambda row: row.key):
        digest = row.facts.get(PIXELS)
        if digest:
            mine = side(row.split, int(row.facts.get("columns", {}).get("fold", -1)))
            other, theirs = seen.setdefault(digest, (row.key, mine))
            if theirs != mine:
                found.append((other, row.key))
    return found


def _fingerprints(folder: Path, index: Index) -> Fingerprints:
    prints = Fingerprints()
    rules, _ = load_rules(folder)
    scan = Scan(index, rules, Stores.open(folder, index), watchers=[prints])
    if any(index.column("shard")):
        scan_tars(folder, scan)
    else:
        scan_zarr(scan)
    return prints
