"""Leakage: what two splits must not share. Geometry and identity only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from chipweave.audit.geometry import check_geometry
from chipweave.audit.report import BROKEN, Check, Findings
from chipweave.audit.sites import Sites, sites_of
from chipweave.audit.tables import Index, Rules


def check_splits(index: Index, rules: Rules) -> Check:
    """Check that every split that the recipe asks for has samples, and no other has."""
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
    told = ", ".join(f"{name} {there.get(name, 0)}" for name in wanted)
    return findings.check(told, **{name: there.get(name, 0) for name in wanted})


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
