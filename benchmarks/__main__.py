"""``make bench``: measure against stated limits, write ``benchmarks/latest.json``, print a table.

``--quick`` rehearses all of it on a small world of our own in well under a minute; its figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks import report, shared

LATEST = Path(__file__).with_name("latest.json")
PAGE = shared.ROOT / "docs" / "benchmarks.md"
NAMES = tuple(dict.fromkeys(row.part for row in report.ROWS))
PACKAGES = ("chipweave", "numpy", "numba", "rasterio", "odc-stac", "stackstac", "webdataset", "zarr", "dask")


def machine() -> dict[str, Any]:
    """What the figures were taken with."""
    import rasterio  # noqa: PLC0415 - the parent of what is measured stays small until it is done

    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "gdal": rasterio.__gdal_version__,
        "versions": versions,
    }


def run_part(name: str, *, quick: bool, rounds: int) -> tuple[dict[str, Any], str, bool]:
    """One part in its process.

    Returns
    -------
    figures, reason, failed
        Nothing and a reason where it gave none; `failed` unless it only lacks what it needs.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "figures.json"
        command = [sys.executable, "-m", "benchmarks.parts", name, str(out), "--rounds", str(rounds)]
        done = subprocess.run(  # noqa: S603 - our own interpreter
            command + ["--quick"] * quick, cwd=shared.ROOT, stderr=subprocess.PIPE, text=True, check=False
        )
        if done.returncode == 0:
            return json.loads(out.read_text("utf-8")), "", False
        lines = done.stderr.strip().splitlines()
        said = lines[-1] if lines else f"ended with {done.returncode}"
        # The page that is made of it names no folder of this machine.
        return {}, re.sub(r"(?<![\w.:/])/\S*/", "", said), done.returncode != 3


def measure(
    names: Sequence[str], before: dict[str, Any], *, quick: bool, rounds: int
) -> tuple[dict[str, Any], bool]:
    """All parts, one after the other; figures of parts that are left out stay as they were."""
    figures = {row.key: before.get(row.key) for row in report.ROWS}
    extra = {k: v for k, v in before.items() if k not in figures}
    reasons: dict[str, str] = dict(extra.pop("reasons", {}))
    taken: dict[str, str] = dict(extra.pop("taken", {}))
    failed = False
    for name in names:
        sys.stderr.write(f"{name} …\n")
        got, reason, broke = run_part(name, quick=quick, rounds=rounds)
        failed |= broke
        taken[name] = f"{datetime.now(UTC).date().isoformat()}, {rounds}"
        for row in report.ROWS:
            if row.part != name:
                continue
            figures[row.key] = got.get(row.key)
            reasons.pop(row.key, None)
            if figures[row.key] is None:
                reasons[row.key] = reason or shared.why_not() or "not measured"
        extra |= {k: v for k, v in got.items() if k not in figures}
    return {**figures, **extra, "reasons": reasons, "taken": taken}, failed


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table, write the file; 1 where a part failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", action="append", choices=NAMES, help="a part; may be repeated")
    parser.add_argument(
        "--quick", action="store_true", help="a rehearsal with tiny sizes; its figures mean nothing"
    )
    parser.add_argument("--rounds", type=int, help="interleaved rounds (5; 1 with --quick)")
    parser.add_argument("--out", type=Path, help="instead of benchmarks/latest.json")
    parser.add_argument(
        "--table", action="store_true", help="measure nothing; write docs/benchmarks.md from the file"
    )
    args = parser.parse_args(arguments)
    out: Path = args.out or (shared.cache() / "quick.json" if args.quick else LATEST)
    if args.table:
        PAGE.write_text(report.page(json.loads(out.read_text("utf-8"))), encoding="utf-8")
        return 0
    if not args.quick and shared.why_not():
        sys.stderr.write(f"{shared.why_not()}: what needs them is left out\n")
    before = json.loads(out.read_text("utf-8")) if args.only and out.exists() else {}
    rounds = args.rounds or (1 if args.quick else 5)
    figures, failed = measure(args.only or NAMES, before, quick=args.quick, rounds=rounds)
    world = "rehearsal" if args.quick else "own" if shared.why_not() else "shared"
    figures |= {"world": world, "rounds": rounds, **machine()}
    out.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    sys.stdout.write(report.table(figures))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
