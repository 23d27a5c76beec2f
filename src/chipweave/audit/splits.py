"""Leakage: what two splits must not share. Geometry and identity only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from chipweave.audit.geometry import check_geometry
from chipweave.audit.report import BROKEN, Check, Findings
from chipweave.audit.sites import Sites, sites_of
from chipweave.audit.tables import Index, Rules
from chipweave.shards.ledger import NAME as LEDGER


def check_splits(index: Index, rules: Rules, folder: Path | None = None) -> Check:
    """Check that every split and fold that the recipe asks for has samples, and no other has."""
    findings = Findings("splits")
    names, counts = np.unique(index.column("split").astype(str), return_counts=True)
    there = dict(zip(names.tolist(), counts.tolist(), strict=True))
    # A list says itself what splits there are.
    wanted = ["train"] if rules.split is None else list(rules.split.names or sorted(there))
    for name in wanted:
        if name not in there:
            say = findings.warn if rules.limited else findings.fail
            say(f"split {name} is empty")
    for name in sorted(set(there) - set(wanted)):
        findings.fail(f"split {name} is not in the recipe")
    _check_folds(index, rules, folder, findings)
    told = ", ".join(f"{name} {there.get(name, 0)}" for name in wanted)
    return findings.check(told, **{name: there.get(name, 0) for name in wanted})


def _check_folds(index: Index, rules: Rules, folder: Path | None, findings: Findings) -> None:
    """Folds are numbered from 0, as many as the recipe says, or as its groups are; none where there are no folds.

    That each sample is in the fold that it was dealt to is looked at with the plan.
    """
    folds = index.column("fold").astype(np.int64)
    folded = rules.split is not None and rules.split.method == "kfold"
    number = 0
    if rules.split is not None and folded:
        number = rules.split.folds or len(rules.folds)
        if not number:
            return  # one a group, and nothing says how many there are
    wrong = (folds < 0) | (folds >= number) if folded else folds != -1
    for row in np.flatnonzero(wrong).tolist():
        why = f"folds are 0 to {number - 1}" if folded else "the recipe has no folds"
        findings.fail(f"{index.column('key')[row]} is in fold {folds[row]}: {why}")
    empty = sorted(set(range(number)) - set(folds.tolist()))
    explained = rules.limited or bool(empty and folder is not None and _lost_late(folder))
    for fold in empty:
        findings.say(f"fold {fold} is empty", wrong=rules.folds.get(fold, 0.0) > 0 and not explained)


def _lost_late(folder: Path) -> bool:
    """Whether chips were lost after they were dealt: a fold's may all be among them."""
    try:
        rows = pq.read_table(folder / LEDGER, columns=["state", "stage"]).to_pylist()
    except BROKEN:
        return False
    return any(row["stage"] == "weave" and row["state"] != "written" for row in rows)


def check_leakage(
    index: Index, rules: Rules, twins: Sequence[tuple[str, str]], doubles: Sequence[tuple[str, str]] = ()
) -> tuple[Check, Sites | None]:
    """Check overlap, distance, places and pixels across splits.

    Parameters
    ----------
    index
        Of the dataset.
    rules
        Of the recipe: the buffer, and whether leakage fails or warns.
    twins
        Pairs of keys in two splits with the same pixels in all imagery.
    doubles
        Pairs of keys of one place and split with the same pixels: warned of.

    Returns
    -------
    Check, Sites or None
        The verdict, and the samples' sites for further checks; None where they cannot be measured.
    """
    findings = Findings("leakage")
    wrong = rules.split is None or rules.split.leakage != "warn"
    for one, two in twins:
        findings.say(f"{one} and {two} have the same pixels and are in two splits", wrong=wrong)
    for one, two in doubles:
        findings.warn(f"{one} and {two} are one place with the same pixels")
    try:
        error = rules.split.error if rules.split is not None else None
        sites = sites_of(index, rules.jitter_m, error)
        check = check_geometry(sites, buffer_of(rules), wrong=wrong, findings=findings)
    except BROKEN as exc:
        findings.fail(f"footprints cannot be measured: {exc}")
        return findings.check(""), None
    return replace(check, numbers={**check.numbers, "twins": len(twins)}), sites


def buffer_of(rules: Rules) -> float:
    """Metres that two splits have to be apart."""
    return 0.0 if rules.split is None or rules.split.buffer_m == "auto" else float(rules.split.buffer_m)
