"""Checks on a finished dataset. Everything is read again; nothing is believed because a build wrote it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

from chipweave.audit.alignment import check_alignment
from chipweave.audit.completeness import check_completeness
from chipweave.audit.documents import check_documents
from chipweave.audit.duplicates import Fingerprints
from chipweave.audit.files import check_files
from chipweave.audit.geometry import Spacing
from chipweave.audit.grids import Grids
from chipweave.audit.leakage import Across, look_across
from chipweave.audit.picked import NUMBER, pick
from chipweave.audit.picture import draw
from chipweave.audit.report import BROKEN, Check, Findings, Report
from chipweave.audit.scan import Scan, Watcher, scan_tars, scan_zarr
from chipweave.audit.splits import buffer_of, check_leakage, check_splits
from chipweave.audit.stats import Totals, check_stats, read_stats
from chipweave.audit.tables import Index, Rules, check_ledger, load_index, load_rules
from chipweave.audit.tars import check_shards
from chipweave.audit.wishes import read_wishes
from chipweave.audit.zarrs import Stores
from chipweave.errors import UsageError
from chipweave.shards.index import NAME as INDEX
from chipweave.shards.manifest import NAME as MANIFEST

__all__ = ["Check", "Report", "verify"]

P = ParamSpec("P")
T = TypeVar("T")


def verify(
    folder: str | Path,
    *,
    leakage: bool = False,
    alignment: bool = False,
    completeness: bool = False,
    number: int = NUMBER,
    picture: str | Path | None = None,
    copied: bool = False,
    told: Callable[[Report], object] | None = None,
) -> Report:
    """Read a dataset again, from the folder alone, and say whether it is what its files say.

    Checks, by name: ``manifest`` and ``unlisted`` (every file, its size and SHA-256), ``index``,
    ``recipe``, ``ledger``, ``documents`` (card, credits, Croissant, STAC), ``shards`` (numbering, counts,
    `wids`), ``tar`` (structure against offsets), ``members`` (arrays against their JSON), ``json``,
    ``shares``, ``nodata``, ``zarr`` (where there is one), ``stats``, ``splits``, ``leakage``. Samples are read
    one at a time, so memory does not grow with the dataset.

    Parameters
    ----------
    folder
        A finished dataset.
    leakage
        Look across splits in every way: also ``neighbours``, ``scenes``, ``classes``, ``autocorrelation`` and
        ``near_duplicates``. These fail at the recipe's own thresholds only (`split.audit`).
    alignment
        Look whether pixels are where they belong: ``grids`` of every member; and of some chips ``source`` and
        ``labels`` (read again by GDAL, where they can be reached), ``shifts`` between imagery layers, and ``edges`` of
        labels against those of the imagery.
    completeness
        Look whether all is there: ``planned`` (by layer and date), ``holes`` that the snapshot could fill, and
        ``drift`` of the catalog since the build, which is asked again.
    number
        Chips of which `alignment` looks at the pixels.
    picture
        A PNG to draw: the map of splits with their gaps, and distances.
    copied
        The folder is a copy of the files that the manifest lists: `unlisted` has nothing to look at, and is skipped.
    told
        Is given the report before the picture is drawn, which may fail.

    Returns
    -------
    Report
        `ok` is false where a check failed. A dataset with failed chips whose files are consistent is ok,
        and its ``ledger`` check warns.

    Raises
    ------
    UsageError
        The folder holds no dataset.
    """
    folder = Path(folder)
    if not (folder / MANIFEST).is_file() and not (folder / INDEX).is_file():
        why = f"it has neither {MANIFEST} nor {INDEX}" if folder.is_dir() else "there is no such folder"
        raise UsageError(
            f"{folder} is no chipweave dataset: {why}", hint="name the folder that `chipweave build -o` wrote"
        )
    checks = check_files(folder, copied=copied)
    if not (folder / INDEX).is_file():
        findings = Findings("index")
        findings.fail(f"{INDEX} is missing")
        return Report(str(folder), [*checks, findings.check("")])
    index, check = load_index(folder)
    checks.append(check)
    if index is None:
        return Report(str(folder), checks)
    rules, check = load_rules(folder)
    checks += [check, check_ledger(folder, index), check_documents(folder, index)]
    wanted = _Wanted(leakage, alignment, completeness, number)
    found, spacing = _checks(folder, index, rules, wanted)
    report = Report(str(folder), [*checks, *found])
    if told is not None:
        told(report)
    if picture is not None:
        draw(Path(picture), folder, index.frame, spacing, buffer_of(rules), report)
    return report


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Which further audits are asked for: as the arguments of `verify`."""

    leakage: bool
    alignment: bool
    completeness: bool
    number: int


def _checks(folder: Path, index: Index, rules: Rules, wanted: _Wanted) -> tuple[list[Check], Spacing | None]:
    """Checks that read samples, and those of splits, sources and the plan; and distances across splits."""
    checks: list[Check] = []
    prints = Fingerprints() if wanted.leakage else None
    grids, picked = (Grids(), pick(index, wanted.number)) if wanted.alignment else (None, None)
    watchers: list[Watcher] = [w for w in (prints, grids, picked) if w is not None]
    totals = Totals(read_stats(folder))
    scan = Scan(index, rules, Stores.open(folder, index), totals, watchers, read_wishes(folder))
    if any(index.column("shard")):
        checks.append(check_shards(folder, index))
        scan_tars(folder, scan)
    else:
        scan_zarr(scan)
    checks += scan.checks()
    checks.append(check_stats(folder, scan.totals, scan.layers()))
    checks.append(check_splits(index, rules, folder))
    check, sites = check_leakage(index, rules, scan.twins, scan.doubles)
    checks.append(check)
    spacing = None
    if wanted.leakage and sites is not None:
        across = _guarded("neighbours", look_across, sites, rules.split, buffer_of(rules), prints)
        spacing = across.spacing if isinstance(across, Across) else None
        checks += across.checks if isinstance(across, Across) else [across]
    if grids is not None and picked is not None:
        found = _guarded("source", check_alignment, folder, picked)
        checks += [grids.check(), *([found] if isinstance(found, Check) else found)]
    if wanted.completeness:
        there = _guarded("planned", check_completeness, folder, index)
        checks += [there] if isinstance(there, Check) else there
    return checks, spacing


def _guarded(name: str, look: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | Check:
    """What a look gives, or where it meets what nobody can use a check that failed."""
    try:
        return look(*args, **kwargs)
    except BROKEN as exc:
        return Check(name, "fail", f"the dataset holds values that cannot be used: {exc!r}"[:300])
