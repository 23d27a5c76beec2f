"""All that is looked at across splits: what fails by itself, and what is reported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chipweave.audit.autocorrelation import check_autocorrelation
from chipweave.audit.duplicates import Fingerprints, check_near_duplicates
from chipweave.audit.figures import check_classes, check_scenes
from chipweave.audit.geometry import Spacing, check_neighbours, spacing
from chipweave.audit.limits import Limits
from chipweave.audit.report import Check
from chipweave.audit.sites import Sites
from chipweave.recipe.outcome import Split

SCENE = frozenset({"scene", "item", "items"})
"""Names of `split.by` under which splits are to have scenes of their own."""


@dataclass(frozen=True, slots=True)
class Across:
    """What was found across splits: the checks, and the distances that are drawn."""

    checks: Sequence[Check]
    spacing: Spacing | None


def look_across(
    sites: Sites, split: Split | None, buffer_m: float, prints: Fingerprints | None = None
) -> Across:
    """Look at everything but geometry and identity.

    Parameters
    ----------
    sites
        The samples.
    split
        Of the recipe, with its thresholds; None where there is none.
    buffer_m
        Metres that two splits have to be apart.
    prints
        Fingerprints of the pictures; None where pixels are not read, and the check is skipped.
    """
    limits = Limits.of(split)
    method, by = (split.method, split.by) if split is not None else (None, None)
    found = spacing(sites)
    checks = [
        check_neighbours(found),
        check_scenes(
            sites, limits.shared_scenes,
            by_scene=method == "groups" and str(by).rpartition(".")[2] in SCENE, by_time=method == "time",
        ),
        check_classes(sites, limits.class_distance),
        check_autocorrelation(sites, buffer_m, limits),
    ]  # fmt: skip
    if prints is None:
        checks.append(
            Check(
                "near_duplicates", "skip",
                "pictures were not compared: `chipweave verify --leakage` reads them", {},
            )
        )  # fmt: skip
    else:
        checks.append(check_near_duplicates(prints, limits.near_duplicates))
    return Across(checks, found)
