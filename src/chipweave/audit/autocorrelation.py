"""Spatial autocorrelation of labels: how far it reaches, and how much of it is left across splits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyproj import Transformer

from chipweave.audit.geometry import finite
from chipweave.audit.limits import Limits
from chipweave.audit.report import Check, Findings
from chipweave.audit.sites import Sites
from chipweave.plan.splits.variogram import morans_i, variogram

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FEWEST = 30
"""Places from which a variogram or Moran's I says something."""
MOST = 50_000
"""Places that are looked at; of more, every so many-th by name."""
NEIGHBOURS = 8
"""Neighbours of a place that Moran's I is taken over."""


def check_autocorrelation(sites: Sites, buffer_m: float, limits: Limits) -> Check:
    """Report Moran's I of the labels, within and across splits, and the range of their variogram against the buffer.

    Values are shares of classes, one set a place. ``within`` is Moran's I over the eight nearest neighbours of each
    place; ``across`` the same over pairs of a place and the nearest one of another split: what one split tells of the
    other. Nothing here fails but at a threshold of the recipe.

    Parameters
    ----------
    sites
        The samples.
    buffer_m
        Metres that two splits have to be apart.
    limits
        Thresholds: `morans_i` of ``across``, `variogram` of buffer over range.
    """
    findings = Findings("autocorrelation")
    numbers: dict[str, Any] = {}
    said = []
    for layer, classes in sites.classes.items():
        rows = _rows(sites, classes.shares)
        if len(rows) < FEWEST:
            said.append(f"{layer}: {len(rows)} places are too few to say")
            continue
        values, centres = classes.shares[rows], sites.rings[rows].mean(axis=1)
        one, two = _nearest(centres)
        within = morans_i(values, one, two)
        across = morans_i(values, *_across(centres, sites.groups[rows]))
        lon, lat = _lonlat(centres)
        found = variogram(lon, lat, values)
        numbers[layer] = {
            "morans_i": finite(within), "across": finite(across), "range_m": found.range_m, "model": found.model,
            "reached": found.reached, "buffer_m": buffer_m, "lag_m": found.lag_m.tolist(),
            "gamma": found.gamma.tolist(),
        }  # fmt: skip
        far = (
            f"{found.range_m:,.0f} m" if found.reached else f"more than {found.lag_m.max(initial=0.0):,.0f} m"
        )
        held = "held by" if buffer_m >= found.range_m else "longer than"
        said.append(
            f"{layer}: Moran's I {within:.2f} among neighbours, {across:.2f} across splits; labels are alike up to "
            f"{far}, {held} the buffer of {buffer_m:g} m"
        )
        _judge(layer, across, buffer_m, found.range_m, limits, findings)
    return findings.check("; ".join(said) or "no classes whose likeness could be measured", **numbers)


def _judge(
    layer: str, across: float, buffer_m: float, range_m: float, limits: Limits, findings: Findings
) -> None:
    if limits.morans_i is not None and across > limits.morans_i:
        findings.fail(f"Moran's I of {layer} across splits is {across:.2f}, more than {limits.morans_i:g}")
    if limits.variogram is not None and buffer_m < limits.variogram * range_m:
        findings.fail(
            f"the buffer of {buffer_m:g} m is less than {limits.variogram:g} of the {range_m:,.0f} m up to which "
            f"{layer} is alike"
        )


def _rows(sites: Sites, shares: Floats) -> Ints:
    """One row a place that has classes, by name: at most so many."""
    rows = sites.one_a_place()
    rows = rows[~np.isnan(shares[rows]).any(axis=1)]
    rows = rows[np.argsort(sites.keys[rows], kind="stable")]
    return rows if len(rows) <= MOST else rows[np.linspace(0, len(rows) - 1, MOST).astype(np.int64)]


def _nearest(centres: Floats) -> tuple[Ints, Ints]:
    """Pairs of places and their nearest neighbours, each once."""
    from scipy.spatial import cKDTree  # noqa: PLC0415 - dear to import

    near = cKDTree(centres).query(centres, k=min(NEIGHBOURS + 1, len(centres)))[1]
    pairs = np.stack([np.repeat(np.arange(len(centres)), near.shape[1]), near.ravel()], axis=1)
    pairs = np.unique(np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1), axis=0)
    return pairs[:, 0], pairs[:, 1]


def _across(centres: Floats, groups: Ints) -> tuple[Ints, Ints]:
    """Each place and the nearest one of another split."""
    from scipy.spatial import cKDTree  # noqa: PLC0415

    ones, twos = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for name in np.unique(groups):
        own, other = np.flatnonzero(groups == name), np.flatnonzero(groups != name)
        if len(other):
            ones.append(own)
            twos.append(other[cKDTree(centres[other]).query(centres[own])[1]])
    return np.concatenate(ones), np.concatenate(twos)


def _lonlat(centres: Floats) -> tuple[Floats, Floats]:
    x, y, z = centres.T
    found = Transformer.from_crs("EPSG:4978", "EPSG:4979", always_xy=True).transform(x, y, z)
    return np.asarray(found[0]), np.asarray(found[1])
