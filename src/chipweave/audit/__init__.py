"""Checks on a finished dataset. Everything is read again; nothing is believed because a build wrote it."""

from __future__ import annotations

from pathlib import Path

from chipweave.audit.files import check_files
from chipweave.audit.report import Check, Findings, Report
from chipweave.audit.scan import Scan, scan_tars, scan_zarr
from chipweave.audit.splits import check_leakage, check_splits
from chipweave.audit.stats import check_stats
from chipweave.audit.tables import check_ledger, load_index, load_rules
from chipweave.audit.tars import check_shards
from chipweave.audit.zarrs import Stores
from chipweave.errors import UsageError
from chipweave.shards.index import NAME as INDEX
from chipweave.shards.manifest import NAME as MANIFEST

__all__ = ["Check", "Report", "verify"]


def verify(folder: str | Path) -> Report:
    """Read a dataset again, from the folder alone, and say whether it is what its files say.

    Checks, by name: ``manifest`` and ``unlisted`` (every file, its size and SHA-256), ``index``,
    ``recipe``, ``ledger``, ``shards`` (numbering, counts, `wids`), ``tar`` (structure against offsets),
    ``members`` (arrays against their JSON), ``json``, ``shares``, ``nodata``, ``zarr`` (where there is
    one), ``stats``, ``splits``, ``leakage``. Samples are read one at a time, so memory does not grow with
    the dataset.

    Parameters
    ----------
    folder
        A finished dataset.

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
    checks = check_files(folder)
    if not (folder / INDEX).is_file():
        findings = Findings("index")
        findings.fail(f"{INDEX} is missing")
        return Report(str(folder), [*checks, findings.check("")])
    index, check = load_index(folder)
    checks.append(check)
    if index is None:
        return Report(str(folder), checks)
    rules, check = load_rules(folder)
    checks += [check, check_ledger(folder, index)]
    scan = Scan(index, rules, Stores.open(folder, index))
    if any(index.column("shard")):
        checks.append(check_shards(folder, index))
        scan_tars(folder, scan)
    else:
        scan_zarr(scan)
    checks += scan.checks()
    checks.append(check_stats(folder, scan.totals, scan.layers()))
    checks += [check_splits(index, rules), check_leakage(index, rules, scan.twins)]
    return Report(str(folder), checks)
