"""Whether pixels are where they belong: against their source, between layers, and labels against what they label."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from chipweave.audit.edges import check_edges
from chipweave.audit.fits import Fits
from chipweave.audit.picked import Picked
from chipweave.audit.report import BROKEN, Check, Findings
from chipweave.audit.reread import Seen
from chipweave.audit.shifts import check_shifts
from chipweave.audit.sources import Sources
from chipweave.errors import ChipweaveError
from chipweave.pixels import gdal_session


def check_alignment(folder: Path, picked: Picked) -> list[Check]:
    """Look at a sample of chips: ``source``, ``labels``, ``shifts``, ``edges``.

    Parameters
    ----------
    folder
        The dataset.
    picked
        Chips that were kept.
    """
    return [*_against_source(folder, picked), check_shifts(picked), check_edges(picked)]


def _against_source(folder: Path, picked: Picked) -> list[Check]:
    try:
        sources = Sources.of(folder)
    except (ChipweaveError, *BROKEN):
        why = "the dataset has no snapshot of its scenes (plan/scenes.parquet) that could be read"
        return [Check("source", "skip", why), Check("labels", "skip", why)]
    seen, fits, maps = Seen(), Fits(), replace(sources, unreached={})
    with gdal_session():
        seen.look(sources, picked)
        fits.look(maps, picked)
    return [_of_imagery(seen, sources), _of_labels(fits, maps)]


def _of_imagery(seen: Seen, sources: Sources) -> Check:
    findings = Findings("source")
    numbers = seen.judge(findings)
    for name in sorted(seen.composites):
        findings.warn(f"{name} is made of many dates, and was not read again")
    told = f"{len(numbers)} scenes read again by GDAL: pixels lie where they belong, and have their values"
    left_out = {why: number for why, number in sorted(seen.left_out.items()) if number}
    return _told(findings, sources, told, numbers, left_out)


def _of_labels(fits: Fits, sources: Sources) -> Check:
    findings = Findings("labels")
    numbers = fits.judge(findings)
    told = f"{', '.join(numbers)} read again by GDAL: labels lie where they belong"
    return _told(findings, sources, told, numbers, {})


def _told(
    findings: Findings,
    sources: Sources,
    told: str,
    numbers: Mapping[str, Any],
    left_out: Mapping[str, int],
) -> Check:
    """A verdict, with what could not be reached and what was left out; a skip where there was nothing else."""
    missing = len(sources.unreached)
    first = next(iter(sources.unreached.items()), ("", ""))
    if not numbers and not findings.warned and not findings.failed:
        if missing:
            return Check(
                findings.name,
                "skip",
                f"no source could be read: {first[0]}: {first[1]}",
                {"unreached": missing},
            )
        whys = [f"{number} {why}" for why, number in left_out.items()]
        whys += [f"{', '.join(sorted(sources.drawn))} come from no raster"] if sources.drawn else []
        text = ": ".join(["there is nothing to read again", *filter(None, [", ".join(whys)])])
        return Check(findings.name, "skip", text, {"left_out": dict(left_out)} if left_out else {})
    if missing:
        findings.warn(f"{missing} files could not be read, first {first[0]}: {first[1]}")
    return findings.check(told, scenes=dict(numbers), unreached=missing, left_out=dict(left_out))
