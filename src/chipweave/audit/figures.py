"""What is reported of splits, and fails only at a recipe's own threshold: shared scenes and dates, class distances."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from chipweave.audit.report import Check, Findings
from chipweave.audit.sites import Sites
from chipweave.shards.deal import split_order

Floats = NDArray[np.float64]


def check_scenes(
    sites: Sites, limit: float | None = None, *, by_scene: bool = False, by_time: bool = False
) -> Check:
    """Count scenes and acquisition dates that more than one split shows.

    That is no fault where splits are cut by place: one scene covers many blocks. It is one, and is warned of, where the
    recipe groups by scene, or splits by time; it fails at the recipe's threshold.

    Parameters
    ----------
    sites
        The samples.
    limit
        Largest share of scenes that may be shared.
    by_scene, by_time
        Whether splits are to have scenes, or dates, of their own.
    """
    findings = Findings("scenes")
    numbers: dict[str, Any] = {}
    said = []
    for layer in sites.scenes:
        scenes, shared = _shared(sites, sites.scenes[layer])
        dates, days = _shared(sites, sites.dates[layer])
        numbers[layer] = {"scenes": scenes, "shared": len(shared), "dates": dates, "shared_dates": len(days)}
        said.append(
            f"{layer}: {len(shared)} of {scenes} scenes and {len(days)} of {dates} dates in several splits"
        )
        share = len(shared) / scenes if scenes else 0.0
        if limit is not None and share > limit:
            findings.fail(
                f"{share:.0%} of the scenes of {layer} are in several splits, more than {limit:.0%}"
            )
        if by_scene and shared:
            findings.warn(f"splits are to have scenes of their own, and {shared[0]} of {layer} is in several")
        if by_time and days:
            findings.warn(f"splits are to have dates of their own, and {days[0]} of {layer} is in several")
    return findings.check("; ".join(said) or "no imagery that names its scenes", **numbers)


def _shared(sites: Sites, listed: pd.DataFrame) -> tuple[int, list[str]]:
    """How many names there are, and which of them several splits have."""
    frame = pd.DataFrame({"name": listed["name"], "split": sites.splits[listed["row"].to_numpy(np.int64)]})
    counts = frame.groupby("name", sort=True)["split"].nunique()
    return len(counts), [str(name) for name in counts[counts > 1].index]


def check_classes(sites: Sites, limit: float | None = None) -> Check:
    """Measure how differently classes are shared out in two splits: Jensen-Shannon distances.

    The square root of the divergence in bits: 0 where shares are alike, 1 where no class is in both (Endres and
    Schindelin 2003, doi:10.1109/TIT.2003.813506).

    Parameters
    ----------
    sites
        The samples.
    limit
        Largest distance.
    """
    findings = Findings("classes")
    numbers: dict[str, Any] = {}
    said = []
    for layer, classes in sites.classes.items():
        shares = _by_split(sites, classes.shares)
        own: dict[str, float] = {}
        for (a, one), (b, two) in combinations(shares.items(), 2):
            own[f"{a}-{b}"] = apart = jensen_shannon(one, two)
            if limit is not None and apart > limit:
                findings.fail(f"classes of {layer} in {a} and {b} are {apart:.2f} apart, more than {limit:g}")
        there = {
            name: {c for c, part in zip(classes.codes, of, strict=True) if part > 0}
            for name, of in shares.items()
        }
        known = set().union(*there.values())
        lacking = {name: [c for c in classes.codes if c in known - mine] for name, mine in there.items()}
        numbers[layer] = {"jensen_shannon": own, "lacking": lacking}
        if own:
            worst = max(own, key=lambda name: own[name])
            said.append(f"{layer}: shares of classes differ by at most {own[worst]:.2f} of 1 ({worst})")
    return findings.check("; ".join(said) or "no classes to compare", **numbers)


def _by_split(sites: Sites, shares: Floats) -> dict[str, Floats]:
    out = {}
    for name in split_order(sites.splits.tolist()):
        rows = shares[(sites.splits == name) & ~np.isnan(shares).any(axis=1)]
        if len(rows):
            out[name] = np.asarray(rows.mean(axis=0))
    return out


def jensen_shannon(one: Floats, two: Floats) -> float:
    """Distance of two shares of a whole, 0..1."""
    one, two = one / one.sum(), two / two.sum()
    middle = (one + two) / 2
    divergence = 0.0
    for part in (one, two):
        some = part > 0
        divergence += 0.5 * float(np.sum(part[some] * np.log2(part[some] / middle[some])))
    return float(np.sqrt(min(max(divergence, 0.0), 1.0)))
