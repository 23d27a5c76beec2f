"""How far splits lie apart on the ground, and whether the test is among the training samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chipweave.audit.report import Check, Findings
from chipweave.audit.sites import Sites
from chipweave.plan.distance import close_pairs, distances, near_pairs, overlap_shares
from chipweave.plan.splits.affordable import expected_pairs
from chipweave.shards.deal import split_order

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SLACK = 1e-3
"""Metres by which two measurements of one distance may differ."""
OVERLAP = 1e-6
"""Share of a footprint from which two overlap: neighbours that share an edge have less."""
TOUCH = 1.0
"""Metres below which footprints are looked at for overlap."""
AMONG = 1.5
"""Distance to the nearest training sample, over that of training samples among each other, up to which a split lies
among them: neighbours on a grid have 1, or the root of 2 over a corner."""
MOST_SPLITS = 8
"""Splits up to which every two of them are measured; beyond, the nearest two of all."""
MOST_PAIRS, MOST_NEAR = 2e6, 3e8
"""Pairs of two splits that are looked at one by one, and of all samples that are passed over; where more are as near as
that, only nearer ones are counted."""
_TOLD = 10
_FIRST = 2000
_RADIUS = 6_371_008.8


@dataclass(frozen=True, slots=True)
class Nearest:
    """The two samples of different splits that are nearest to each other."""

    metres: float
    one: int
    two: int


def ground_order(rings: Floats) -> Ints:
    """Rows so that neighbours on the ground stand near each other: searches look at few others then."""
    from scipy.spatial import cKDTree  # noqa: PLC0415 - dear to import, and not needed where there is one split

    return np.asarray(cKDTree(rings.mean(axis=1), leafsize=64).indices, np.int64)


def nearest(rings: Floats, groups: Ints) -> Nearest | None:
    """Smallest distance between footprints of two groups.

    Parameters
    ----------
    rings
        (n, k, 3) outlines.
    groups
        (n,) integers.

    Returns
    -------
    Nearest or None
        Metres on the ellipsoid, 0.0 where two touch or overlap; None where there are fewer than two groups.
    """
    bound = _bound(rings, groups)
    if bound is None:
        return None
    i, j = near_pairs(rings, bound.metres, groups)
    if len(i) == 0:
        return bound
    metres = distances(rings, i, j)
    at = int(np.argmin(metres))
    return Nearest(float(metres[at]), int(i[at]), int(j[at])) if metres[at] < bound.metres else bound


def _bound(rings: Floats, groups: Ints) -> Nearest | None:
    """A pair that is near, if not the nearest: by centres first, then by outlines."""
    from scipy.spatial import cKDTree  # noqa: PLC0415

    centres = rings.mean(axis=1)
    names = np.unique(groups)
    if len(names) < 2:
        return None
    ones, twos, gaps = [], [], []
    for name in names:
        own, other = np.flatnonzero(groups == name), np.flatnonzero(groups != name)
        gap, hit = cKDTree(centres[other]).query(centres[own])
        first = np.argsort(gap, kind="stable")[:_FIRST]
        ones.append(own[first])
        twos.append(other[hit[first]])
        gaps.append(gap[first])
    one, two = np.concatenate(ones), np.concatenate(twos)
    first = np.argsort(np.concatenate(gaps), kind="stable")[:_FIRST]
    one, two = one[first], two[first]
    metres = distances(rings, one, two)
    at = int(np.argmin(metres))
    return Nearest(float(metres[at]), int(one[at]), int(two[at]))


def check_geometry(sites: Sites, buffer_m: float, *, wrong: bool, findings: Findings | None = None) -> Check:
    """Check that splits share no ground and no place, and keep their distance.

    Parameters
    ----------
    sites
        The samples.
    buffer_m
        Metres that footprints of two splits have to be apart, beside what both may lie off.
    wrong
        Whether what is found is a failure; else a warning.
    findings
        What was found already; its name is the check's.
    """
    found = findings or Findings("leakage")
    frame = _shared_places(sites)
    for place, number in frame:
        found.say(f"place {place} is in {number} splits", wrong=wrong)
    numbers: dict[str, Any] = {"buffer_m": buffer_m, "places": len(frame)}
    if len(np.unique(sites.splits)) < 2:
        return found.check("there is only one split", **numbers)
    order = ground_order(sites.rings)
    off = np.zeros(len(sites)) if sites.error_m is None else sites.error_m
    if _too_many(sites.rings, TOUCH, sites.groups):
        order = order[_distinct(sites.rings[order], sites.groups[order], off[order])]
    rings, groups, off = sites.rings[order], sites.groups[order], off[order]
    within = max(buffer_m + 2 * float(off.max()), TOUCH)
    looked = countable(rings, within, groups)
    i, j, metres = close_pairs(rings, looked, groups)
    need = buffer_m + off[i] + off[j]
    overlapping, close = overlap_shares(rings, i, j) > OVERLAP, metres < need - SLACK
    if off.any():
        numbers["error_m"] = float(off.max())
    numbers |= {"overlapping": int(overlapping.sum()), "too_close": int((close & ~overlapping).sum())}
    bad = np.lexsort((metres, ~overlapping))
    bad = bad[(overlapping | close)[bad]]
    for at in bad[:_TOLD]:
        pair = sites.pair(int(order[i[at]]), int(order[j[at]]))
        if overlapping[at]:
            found.say(f"{pair} overlap", wrong=wrong)
        else:
            more = need[at] - buffer_m
            why = f"{buffer_m:g} m" + (f" and the {more:g} m that both may lie off" if more else "")
            found.say(f"{pair} are {metres[at]:.1f} m apart, less than {why}", wrong=wrong)
    found.count(len(bad) - _TOLD, wrong=wrong)
    numbers |= _nearest_of_all(sites, rings, groups, order, (i, j, metres))
    least = numbers["nearest_m"]
    if looked < within:  # more pairs than can be counted: those that are nearest tell enough
        numbers["counted_m"] = looked
        if not len(bad) and least < buffer_m + 2 * float(off.min()):
            found.say(
                f"the nearest of two splits are {least:.1f} m apart, less than {within:g} m", wrong=wrong
            )
    return found.check(
        f"no two splits share a place or pixels, or come closer than {buffer_m:g} m: "
        f"the nearest are {least:.0f} m apart",
        **numbers,
    )


def countable(rings: Floats, within_m: float, groups: Ints) -> float:
    """The distance up to which pairs of two groups are few enough to be counted, at most the one that is asked for."""
    while within_m > TOUCH and _too_many(rings, within_m, groups):
        within_m = max(within_m / 2, TOUCH)
    return within_m


def _too_many(rings: Floats, within_m: float, groups: Ints) -> bool:
    every, apart = expected_pairs(rings, within_m, groups)
    return every > MOST_NEAR or apart > MOST_PAIRS


def _distinct(rings: Floats, groups: Ints, off: Floats) -> Ints:
    """Rows of the first of each footprint, split and error: many dates of one place are one there."""
    rows = np.column_stack([rings.reshape(len(rings), -1), groups, off])
    found = np.unique(
        rows.view(np.dtype((np.void, rows.itemsize * rows.shape[1]))).ravel(), return_index=True
    )
    return np.sort(found[1])


def _nearest_of_all(
    sites: Sites, rings: Floats, groups: Ints, order: Ints, near: tuple[Ints, Ints, Floats]
) -> dict[str, Any]:
    """Smallest distance of all splits, and between every two of a few."""
    names = split_order(sites.splits.tolist())
    splits = sites.splits[order]
    i, j, metres = near
    between: dict[str, float] = {}
    two = list(combinations(names, 2)) if len(names) <= MOST_SPLITS else []
    for a, b in two:
        hit = ((splits[i] == a) & (splits[j] == b)) | ((splits[i] == b) & (splits[j] == a))
        if hit.any():
            between[f"{a}-{b}"] = float(metres[hit].min())
            continue
        rows = np.flatnonzero((splits == a) | (splits == b))
        found = nearest(rings[rows], groups[rows])
        if found is not None:
            between[f"{a}-{b}"] = found.metres
    if between:
        return {"nearest_m": min(between.values()), "between_m": between}
    found = nearest(rings, groups)
    return {"nearest_m": min([*metres.tolist(), *([found.metres] if found is not None else [])])}


def _shared_places(sites: Sites) -> list[tuple[str, int]]:
    import pandas as pd  # noqa: PLC0415

    frame = pd.DataFrame({"place": sites.places, "split": sites.splits})
    counts = frame.groupby("place", sort=True)["split"].nunique()
    return [(str(place), int(number)) for place, number in counts[counts > 1].items()]


@dataclass(frozen=True, slots=True)
class Spacing:
    """Metres to the nearest training sample, centre to centre: from each of a split, and among those of train."""

    train: str
    among: Floats
    others: Mapping[str, Floats]

    def ratio(self, name: str) -> float:
        """How far a split's samples lie from train, over how far those of train lie from each other."""
        if not (self.among.size and self.others[name].size):
            return float("nan")
        return float(np.median(self.others[name]) / max(np.median(self.among), SLACK))


def spacing(sites: Sites) -> Spacing | None:
    """Nearest-neighbour distances; None where there are no two splits."""
    from scipy.spatial import cKDTree  # noqa: PLC0415

    names = split_order(sites.splits.tolist())
    if len(names) < 2:
        return None
    rows = sites.one_a_place()
    centres, splits = sites.rings[rows].mean(axis=1), sites.splits[rows]
    train = names[0]
    if train != "train":  # folds: each is tested by a model of all others
        among, others = [], {}
        for name in names:
            mine, theirs = centres[splits == name], centres[splits != name]
            others[name] = arc(cKDTree(theirs).query(mine)[0])
            if len(mine) > 1:
                among.append(arc(cKDTree(mine).query(mine, k=2)[0][:, 1]))
        return Spacing("the others", np.concatenate([np.empty(0), *among]), others)
    own = centres[splits == train]
    tree = cKDTree(own)
    near = arc(tree.query(own, k=2)[0][:, 1]) if len(own) > 1 else np.empty(0)
    others = {name: arc(tree.query(centres[splits == name])[0]) for name in names[1:]}
    return Spacing(train, near, others)


def arc(chord: Floats) -> Floats:
    """Metres on the ground between points whose straight distance is known."""
    return np.asarray(2 * _RADIUS * np.arcsin(np.minimum(chord / (2 * _RADIUS), 1.0)))


def check_neighbours(found: Spacing | None) -> Check:
    """Check that val and test do not lie among the training samples.

    Their distances to the nearest training sample are held against those of training samples among each other (as
    nearest-neighbour distance matching does: Milà et al. 2022, doi:10.1111/2041-210X.13851). A split whose samples have
    one of train as near as those of train have each other tests how well a model fills in gaps, nothing else.
    """
    findings = Findings("neighbours")
    if found is None:
        return findings.check("there is only one split")
    numbers: dict[str, Any] = {"train_median_m": _median(found.among)}
    said = []
    for name, metres in found.others.items():
        ratio = found.ratio(name)
        share = float(np.mean(metres <= AMONG * np.median(found.among))) if found.among.size else float("nan")
        numbers[name] = {"median_m": _median(metres), "ratio": finite(ratio), "among_train": finite(share)}
        said.append(f"{name} {np.median(metres):,.0f} m")
        if ratio <= AMONG:
            findings.warn(
                f"{name} lies among {found.train}, so {name} is leaking: half of it has a sample of {found.train} "
                f"within {np.median(metres):,.0f} m, as those of {found.train} have each other "
                f"({np.median(found.among):,.0f} m)"
            )
    own = f"{np.median(found.among):,.0f} m" if found.among.size else "alone"
    return findings.check(
        f"median distance of centres to the nearest of {found.train}: {', '.join(said)}; of its own {own}",
        **numbers,
    )


def _median(values: Floats) -> float | None:
    return float(np.median(values)) if values.size else None


def finite(value: float) -> float | None:
    """A number that JSON has."""
    return float(value) if np.isfinite(value) else None
