"""The leakage audit that every build runs on itself before it is sealed."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from chipweave.audit.duplicates import Fingerprints
from chipweave.audit.leakage import look_across
from chipweave.audit.report import Report
from chipweave.audit.sites import side
from chipweave.audit.splits import buffer_of, check_leakage
from chipweave.audit.tables import load_index, load_rules
from chipweave.errors import VerifyError
from chipweave.files import atomic_write_text
from chipweave.pixels.fingerprint import Fingerprint
from chipweave.shards.parts import SampleRow

log = logging.getLogger("chipweave")

NAME = "report/leakage.json"
"""Where the outcome lies, below the dataset."""

PIXELS, PRINT = "pixels", "print"
"""Facts of a sample: digest and fingerprint of its imagery, empty where that holds no data."""


def audit_build(folder: Path, samples: Sequence[SampleRow]) -> Report:
    """Hold a dataset that is about to be sealed against its own recipe, and write `report/leakage.json`.

    No pixel is read again: pictures are known by digests and fingerprints that were taken as they were woven.

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
        checks += look_across(sites, rules.split, buffer_of(rules), _prints(samples)).checks
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
            mine = _side(row)
            other, theirs = seen.setdefault(digest, (row.key, mine))
            if theirs != mine:
                found.append((other, row.key))
    return found


def _prints(samples: Iterable[SampleRow]) -> Fingerprints:
    """Fingerprints of all samples, in the order of their keys."""
    prints = Fingerprints()
    for row in sorted(samples, key=lambda row: row.key):
        text = row.facts.get(PRINT)
        prints.add(row.key, _side(row), Fingerprint.told(text) if text else None)
    return prints


def _side(row: SampleRow) -> str:
    return side(row.split, int(row.facts.get("columns", {}).get("fold", -1)))
