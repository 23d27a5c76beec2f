"""What is measured, how, and where its limit lies; as a table on the terminal and in docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

OLD_GDAL: Final = 3.11
"""Below it LIBERTIFF is missing, and the limits of the engine are wider."""


@dataclass(frozen=True, slots=True)
class Row:
    """One key of latest.json: the part that gives it, its limit (at most or at least), and how it is measured."""

    key: str
    part: str
    how: str
    most: float | None = None
    least: float | None = None
    most_old: float | None = None
    times_burn: float | None = None

    def limit(self, figures: Mapping[str, Any]) -> tuple[str, bool | None]:
        """The limit as text, and whether the figure keeps it; None where there is nothing to say."""
        value = figures.get(self.key)
        if self.times_burn is not None:
            burn = figures.get("cpu_burn_speedup")
            text = f"≥ {self.times_burn:g} × cpu_burn_speedup"
            return text, None if value is None or burn is None else value >= self.times_burn * burn
        old = self.most_old is not None and gdal_number(figures) < OLD_GDAL
        most = self.most_old if old else self.most
        if most is not None:
            return f"≤ {most:g}", None if value is None else value <= most
        if self.least is not None:
            return f"≥ {self.least:g}", None if value is None else value >= self.least
        return "", None


_GRID = "256 chips of 256 px and 15 layers in memory, one thread, kernels warm; CPU ms a chip over that of `sol.py`"
_PEER = "the same job by `engines.py` in a process of its own, best chunking, two threads; its CPU over ours"
_BUILD = "CPU of `chipweave build --workers 0` (import, plan, survey, weave, deal, seal) a chip"
_SHARE = "CPU of client and scheduler over that of the work, which is stubs"
_REMOTE = "chips a second (wall) of a build by one worker whose files come over HTTP, over that without latency: after"
_BLOCKS = "stored blocks decoded after the survey over distinct blocks that the chips' pixels need"

ROWS: Final = (
    Row(
        "sol_ratio_a",
        "engine",
        f"{_GRID}, of the same round; the scene is on the chips' grid",
        1.8,
        most_old=2.0,
    ),
    Row("sol_ratio_d", "engine", "the same, the scene is in the next UTM zone", 1.9, most_old=2.1),
    Row("cpu_vs_odc_a", "engine", f"odc-stac, chunks of 4096: {_PEER}", least=3.5),
    Row("cpu_vs_odc_d", "engine", "the same across zones", least=3.5),
    Row("cpu_vs_stackstac_a", "engine", f"stackstac, chunks of 512: {_PEER}", least=3.5),
    Row("cpu_vs_stackstac_d", "engine", "the same across zones", least=3.5),
    Row("e2e_cpu_ms_chip", "build", f"{_BUILD}: ten bands, mask, WorldCover, CORINE"),
    Row("decode_amplification", "build", f"{_BLOCKS}, computed apart from the engine; dense", 1.2),
    Row("decode_amplification_sparse", "build", "the same, one chip every 20 km", 1.1),
    Row("decode_amplification_seam", "build", "the same, over the seam of two scenes of one datatake", 1.2),
    Row("decode_amplification_24_dates", "dates", "the same, 24 dates a chip", 1.2),
    Row("peak_rss_mb", "build", "largest resident size of that build's process, imports included", 800),
    Row(
        "peak_rss_ratio_10x_area",
        "memory",
        "peak of one process over 100 tiles of 2048 px against 10",
        1.1,
    ),
    Row("peak_rss_ratio_24_dates", "dates", "peak with 24 dates a chip against one", 1.1),
    Row(
        "two_worker_speedup",
        "workers",
        "wall time of a long build, all of it, with one worker over two's; written to memory, where there is room",
        times_burn=0.9,
    ),
    Row(
        "cpu_burn_speedup",
        "workers",
        "the same of a pure CPU burn in the same minutes: what the machine gives",
    ),
    Row("scheduler_cpu_share_1k", "workers", f"{_SHARE}, 1 000 chips", 0.01),
    Row("scheduler_cpu_share_100k", "workers", f"{_SHARE}, 100 000 chips", 0.01),
    Row(
        "plan_1m_seconds",
        "planning",
        "CPU seconds to plan a million chips with 73 dates, from places to batches",
    ),
    Row("plan_1m_peak_mb", "planning", "largest resident size of that process", 3000),
    Row(
        "split_1m_seconds",
        "splits",
        "CPU seconds of the slowest split method on a million places; all of them stand in `split_curve`",
        60,
    ),
    Row(
        "split_1m_peak_mb",
        "splits",
        "largest resident size of any of these processes, the table included",
        2048,
    ),
    Row("plan_2x_time_ratio", "planning", "its time for twice the chips over that for once", 2.2),
    Row(
        "writer_vs_shardwriter",
        "shards",
        "CPU of webdataset.ShardWriter over ours, same samples, npy",
        least=2.5,
    ),
    Row(
        "random_read_vs_geotiff",
        "shards",
        "CPU of a GeoTIFF a sample over ours, random samples by key",
        least=6,
    ),
    Row("random_read_vs_zarr", "shards", "CPU of zarr-python over ours, random samples", least=3),
    Row(
        "cpu_vs_rslearn_e2e",
        "rslearn",
        "CPU of prepare + ingest + materialize over our whole build's, same job",
        least=6,
    ),
    Row(
        "vectors_burn_vs_imagery",
        "labels",
        "CPU to burn classes and edges of 100 of a million parcels a chip over that of weaving its ten bands",
        1.0,
    ),
    Row(
        "vectors_burn_rss_ratio",
        "labels",
        "peak of the process that burns 1000 chips of a million parcels against 10 of 10 000, as dense",
        1.1,
    ),
    Row("vectors_burn_cpu_ms_chip", "labels", "that CPU, in ms"),
    Row("vectors_tell_cpu_ms_chip", "labels", "the same with instances, and GeoJSON of all parcels"),
    Row(
        "vectors_store_seconds", "labels", "CPU seconds to make the store of a million parcels, once a build"
    ),
    Row("remote_throughput_20ms", "remote", f"{_REMOTE} 20 ms", least=0.7),
    Row("remote_throughput_100ms", "remote", f"{_REMOTE} 100 ms", least=0.7),
    Row(
        "remote_bytes_ratio",
        "remote",
        "all bytes that the server gave in such a build, headers too, over those of the blocks that the chips need",
        1.1,
    ),
)
"""In the order of the issue; every one of these keys stands in latest.json, null where it was not measured."""


def gdal_number(figures: Mapping[str, Any]) -> float:
    """``3.12`` of ``3.12.2``, as a number that sorts; 0 where it is not known."""
    major, _, rest = str(figures.get("gdal", "0.0")).partition(".")
    return int(major) + int(rest.partition(".")[0] or 0) / 100


def shown(value: object) -> str:
    """A figure with as many digits as it deserves."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    number = float(value)  # type: ignore[arg-type]
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"


def verdict(keeps: bool | None) -> str:
    """Whether a figure keeps its limit, in a word."""
    return {True: "yes", False: "NO", None: ""}[keeps]


def table(figures: Mapping[str, Any]) -> str:
    """The table for a terminal, and below it why figures are missing."""
    lines = [f"{'':<32}{'measured':>12}  {'limit':<26}kept"]
    for row in ROWS:
        limit, keeps = row.limit(figures)
        lines.append(f"{row.key:<32}{shown(figures.get(row.key)):>12}  {limit:<26}{verdict(keeps)}".rstrip())
    known = {row.key for row in ROWS}
    lines += [
        "",
        *(f"{k:<40}{shown(v):>14}" for k, v in figures.items() if k not in known and not isinstance(v, dict)),
    ]
    lines += ["", *("".join(f"{cell:>16}" for cell in row) for row in curve(figures))]
    lines += [f"{key}: {why}" for key, why in figures.get("reasons", {}).items()]
    return "\n".join(lines) + "\n"


def curve(figures: Mapping[str, Any]) -> list[list[str]]:
    """What splitting costs as places grow: a head, and a row a case of `benchmarks.splits`; empty if not measured.

    CPU seconds by places, how many times as much the last ten times the places took, and the peak of the largest.
    """
    cases: Mapping[str, Mapping[str, float]] = figures.get("split_curve") or {}
    rows = []
    for case, cost in cases.items():
        sizes = sorted((key for key in cost if key.isdigit()), key=int)
        if not rows:
            rows.append(["method", *(f"{int(n):,} places" for n in sizes), "growth", "peak MB"])
        growth = cost[sizes[-1]] / cost[sizes[-2]] if len(sizes) > 1 else None
        rows.append([case, *(f"{cost[n]:.2f}" for n in sizes), shown(growth), shown(cost["peak_mb"])])
    return rows


def page(figures: Mapping[str, Any]) -> str:
    """docs/benchmarks.md."""
    rows = []
    for row in ROWS:
        limit, keeps = row.limit(figures)
        value = figures.get(row.key)
        taken = "–" if value is None else figures.get("taken", {}).get(row.part, "–")
        rows.append(f"| `{row.key}` | {shown(value)} | {limit} | {verdict(keeps)} | {taken} | {row.how} |")
    reasons = [f"- `{key}`: {why}" for key, why in figures.get("reasons", {}).items()]
    return _PAGE.format(
        date=figures.get("date", "–"), cores=figures.get("cores", "–"), gdal=figures.get("gdal", "–"),
        python=figures.get("python", "–"), world=figures.get("world", "–"),
        versions=", ".join(f"{k} {v}" for k, v in figures.get("versions", {}).items()), rows="\n".join(rows),
        share=shown(figures.get("limits_cpu_share")),
        curve=_markdown(curve(figures)) or "Not measured here.",
        missing="\n".join(["", "Not measured here:", "", *reasons]) if reasons else "",
    )  # fmt: skip


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([*lines[:1], *["|---" + "|---:" * (len(row) - 1) + "|" for row in rows[:1]], *lines[1:]])


_PAGE = """# Benchmarks

Written by `python -m benchmarks --table` from what `make bench` measured. Ratios compare CPU time (user and system) of
processes that ran one after the other in the same round, so they survive a busy machine; the median of the rounds
counts. `two_worker_speedup` and `remote_throughput_*` compare wall time: they want a quiet one. No test times
anything; `python -m benchmarks --quick`, which the tests run, only shows that the harness works.

Measured last {date}: {cores} cores, Python {python}, GDAL {gdal}, world: {world}.
{versions}

| key | measured | limit | kept | day, rounds | how |
|---|---:|---|---|---|---|
{rows}
{missing}

## Doing it again

- `make bench` installs what it needs into `.venv-bench` and writes `benchmarks/latest.json` (not committed).
- `CHIPWEAVE_BENCH` names the folder of `world.py`, `limits.py`, `sol.py` and `engines.py`; without it it is
  `../shared/bench`. Where neither is there, `make bench` says so, and measures the rest on a small world of its own.
- `CHIPWEAVE_BENCH_WORLD` names the folder of worlds and scratch (about 10 GB), `.bench/` by default. Worlds are made
  once.
- `make bench-peers` installs rslearn into `.venv-peers`; `make bench` finds it there.
- `python -m benchmarks --only engine --rounds 1` measures one part and leaves the other figures as they were. The
  parts: engine, build, memory, dates, workers, planning, splits, shards, rslearn, labels, remote.

## What splitting costs as places grow

CPU seconds of `plan/splits` alone, a process a figure (`benchmarks/splits.py`): squares of 1280 m in eight UTM zones
with a gap of 200 m, but for the methods that have none by nature. `growth` is what ten times the places cost more:
10 is linear. The peak is that of a million places, the table and the interpreter included.

{curve}

## What is in a round of the engine

`limits.py` measures what one core of this machine can do (memory, inflate, resampling loops), `sol.py` adds up what
the job needs at those rates, and then ours, odc-stac and stackstac do the job, on scene A and on scene D. All are
processes of their own. Ours is timed in one thread, with its kernels compiled before; each of the 15 layers of each
chip is copied once into a sample's buffer, as in `engines.py`. Blocks that are needed are computed without the
engine: from the files' headers and PROJ, chip by chip (`benchmarks/blocks.py`).

`limits.py` times wall, the engines CPU: on a busy machine the limits come out low, and `sol_ratio_*` looks better
than it is. `limits_cpu_share` tells (CPU over wall time of `limits.py`): here {share}.
"""
