"""Leakage: what two splits must not share. Geometry and identity only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chipweave.audit.report import BROKEN, Check, Findings
from chipweave.audit.tables import Index, Rules
from chipweave.plan.distance import close_pairs, overlap_shares, rings

_SLACK = 1e-3
"""Metres by which two measurements of one distance may differ."""
_OVERLAP = 1e-6
_REACH = 1.0


def check_splits(index: Index, rules: Rules) -> Check:
    """Check that every split that the recipe asks for has samples, and no other has."""
    findings = Findings("splits")
    names, counts = np.unique(index.column("split").astype(str), return_counts=True)
    there = dict(zip(names.tolist(), counts.tolist(), strict=True))
    wanted = ["train"] if rules.split is None else list(rules.split.fractions)
    for name in wanted:
        if name not in there:
            say = findings.warn if rules.limited else findings.fail
            say(f"split {name} is empty")
    for name in sorted(set(there) - set(wanted)):
        findings.fail(f"split {name} is not in the recipe")
    told = ", ".join(f"{name} {there.get(name, 0)}" for name in wanted)
    return findings.check(told, **{name: there.get(name, 0) for name in wanted})


def check_leakage(index: Index, rules: Rules, twins: Sequence[tuple[str, str]]) -> Check:
    """Check overlap, distance, places and pixels across splits.

    Parameters
    ----------
    index
        Of the dataset.
    rules
        Of the recipe: the buffer, and whether leakage fails or warns.
    twins
        Pairs of keys in two splits with the same pixels in all imagery.
    """
    findings = Findings("leakage")
    say = findings.warn if rules.split is not None and rules.split.leakage == "warn" else findings.fail
    buffer = 0.0 if rules.split is None or rules.split.buffer_m == "auto" else float(rules.split.buffer_m)
    splits, keys = index.column("split").astype(str), index.column("key")
    for place, number in _shared_places(index):
        say(f"place {place} is in {number} splits")
    for one, two in twins:
        say(f"{one} and {two} have the same pixels and are in two splits")
    nearest = float("inf")
    try:
        outlines = _outlines(index)
        groups = np.unique(splits, return_inverse=True)[1]
        i, j, metres = close_pairs(outlines, max(buffer, _REACH), groups=groups)
        shares = overlap_shares(outlines, i, j)
        nearest = float(metres.min(initial=np.inf))
        for a, b, apart, share in zip(i, j, metres, shares, strict=True):
            pair = f"{keys[a]} ({splits[a]}) and {keys[b]} ({splits[b]})"
            if share > _OVERLAP:
                say(f"{pair} overlap")
            elif apart < buffer - _SLACK:
                say(f"{pair} are {apart:.1f} m apart, less than {buffer:g} m")
    except BROKEN as exc:
        findings.fail(f"footprints cannot be measured: {exc}")
    said = f"no two splits share a place or pixels, or come closer than {buffer:g} m"
    if len(np.unique(splits)) < 2:
        said = "there is only one split"
    numbers = {"buffer_m": buffer, "twins": len(twins)}
    if nearest < np.inf:
        numbers["nearest_m"] = nearest
    return findings.check(said, **numbers)


def _shared_places(index: Index) -> list[tuple[str, int]]:
    splits = index.frame.groupby("place", sort=True)["split"].nunique()
    return [(str(place), int(number)) for place, number in splits[splits > 1].items()]


def _outlines(index: Index) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    transforms = np.stack([np.asarray(t, float) for t in index.column("transform")])
    side = np.abs(transforms[:, 0]) * index.column("width").astype(float)
    return rings(index.column("crs").astype(str).tolist(), transforms[:, 2], transforms[:, 5], side)
