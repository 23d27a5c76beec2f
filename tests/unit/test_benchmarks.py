"""The harness of `make bench` works: keys and types, never times. And what it calls needed is what chips need."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from benchmarks import blocks, peers, report, worlds
from rasterio.transform import from_origin

from chipweave.model import Place

ROOT = Path(__file__).parents[2]

KEYS = [
    "sol_ratio_a", "sol_ratio_d", "cpu_vs_odc_a", "cpu_vs_odc_d", "cpu_vs_stackstac_a", "cpu_vs_stackstac_d",
    "e2e_cpu_ms_chip", "decode_amplification", "decode_amplification_sparse", "decode_amplification_seam",
    "decode_amplification_24_dates",
    "peak_rss_mb", "peak_rss_ratio_10x_area", "peak_rss_ratio_24_dates", "two_worker_speedup", "cpu_burn_speedup",
    "scheduler_cpu_share_1k", "scheduler_cpu_share_100k",
    "plan_1m_seconds", "plan_1m_peak_mb", "split_1m_seconds", "split_1m_peak_mb", "plan_2x_time_ratio",
    "writer_vs_shardwriter", "random_read_vs_geotiff",
    "random_read_vs_zarr", "cpu_vs_rslearn_e2e",
    "vectors_burn_vs_imagery", "vectors_burn_rss_ratio", "vectors_burn_cpu_ms_chip", "vectors_tell_cpu_ms_chip",
    "vectors_store_seconds", "remote_throughput_20ms", "remote_throughput_100ms", "remote_bytes_ratio",
]  # fmt: skip

NEEDS_SHARED = {k for k in KEYS if k.startswith(("sol_", "cpu_vs_"))}


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("bench")
    env = {**os.environ, "CHIPWEAVE_BENCH": str(folder / "none"), "CHIPWEAVE_BENCH_WORLD": str(folder)}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--out", folder / "latest.json"],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    figures = json.loads((folder / "latest.json").read_text())
    assert done.returncode == 0, (figures.get("reasons"), done.stderr[-2000:])
    assert not list(folder.glob("scratch-*"))
    return figures


@pytest.mark.slow
def test_a_rehearsal_gives_every_key_a_number_or_a_reason(rehearsal):
    assert set(KEYS) <= set(rehearsal)
    null = {k for k in KEYS if rehearsal[k] is None}
    assert null == NEEDS_SHARED
    assert set(rehearsal["reasons"]) == null
    numbers = [rehearsal[k] for k in set(KEYS) - null]
    assert all(isinstance(n, int | float) and 0 < n < 1e9 for n in numbers)
    assert rehearsal["gdal"][0].isdigit()
    assert rehearsal["cores"] >= 1
    assert set(rehearsal["taken"]) == {row.part for row in report.ROWS}


@pytest.mark.slow
def test_builds_over_http_asked_for_several_ranges_at_once(rehearsal):
    assert rehearsal["remote_requests"] > 13
    assert rehearsal["remote_requests_at_once"] > 1


@pytest.mark.slow
def test_each_chip_was_read_by_the_engine(rehearsal):
    assert rehearsal["engine_decoded_a"] >= 16  # 4 x 4 chips, and no block of a fine band serves two
    assert rehearsal["blocks_surveyed"] > 0


def test_every_key_of_the_issue_has_a_row_in_its_order():
    assert [row.key for row in report.ROWS] == KEYS


@pytest.mark.parametrize(
    ("figures", "key", "kept"),
    [
        ({"sol_ratio_a": 1.9, "gdal": "3.12.2"}, "sol_ratio_a", False),
        ({"sol_ratio_a": 1.9, "gdal": "3.10.3"}, "sol_ratio_a", True),
        ({"sol_ratio_a": 1.8, "gdal": "3.11.0"}, "sol_ratio_a", True),
        ({"cpu_vs_odc_a": 3.4}, "cpu_vs_odc_a", False),
        ({"cpu_vs_odc_a": 3.5}, "cpu_vs_odc_a", True),
        ({"two_worker_speedup": 1.6, "cpu_burn_speedup": 1.8}, "two_worker_speedup", False),
        ({"two_worker_speedup": 1.63, "cpu_burn_speedup": 1.8}, "two_worker_speedup", True),
        ({"two_worker_speedup": 1.6}, "two_worker_speedup", None),
        ({"sol_ratio_a": None}, "sol_ratio_a", None),
    ],
)
def test_limits(figures, key, kept):
    row = next(r for r in report.ROWS if r.key == key)
    assert row.limit(figures)[1] is kept


def test_the_page_says_what_was_not_measured_and_when_the_rest_was():
    page = report.page(
        {
            "sol_ratio_a": 2.5,
            "gdal": "3.12.0",
            "reasons": {"sol_ratio_d": "no shared scripts"},
            "taken": {"engine": "2026-01-02, 5"},
        }
    )
    assert "| `sol_ratio_a` | 2.5 | ≤ 1.8 | NO | 2026-01-02, 5 |" in page
    assert re.search(r"\| `sol_ratio_d` \| – \| ≤ 1.9 \| .* \| – \|", page)
    assert "- `sol_ratio_d`: no shared scripts" in page


def test_the_page_shows_the_curve_of_the_splits():
    cost = {"1000": 0.5, "10000": 1.5, "100000": 12.0, "peak_mb": 456.7}
    text = report.page({"split_curve": {"blocks": cost}})
    assert "| method | 1,000 places | 10,000 places | 100,000 places | growth | peak MB |" in text
    assert "| blocks | 0.50 | 1.50 | 12.00 | 8 | 457 |" in text


@pytest.fixture(scope="module")
def tile(tmp_path_factory) -> Path:
    """100 x 100 px of 10 m in blocks of 16 px."""
    path = tmp_path_factory.mktemp("tile") / "t.tif"
    values = np.ones((100, 100), np.uint16)
    worlds.write_tif(path, values, "EPSG:32632", from_origin(500000, 5000000, 10, 10), 0, 16)
    return path


@pytest.mark.parametrize(
    ("x", "y", "rule", "count"),
    [
        (0, 0, "bilinear", 1),  # the chip is the block: a bilinear blend on the grid needs no neighbour
        (3, -3, "bilinear", 4),  # a third of a pixel off: three more
        (3, 3, "bilinear", 2),  # its first row lies on the file's edge
        (0, -160, "nearest", 1),
        (80, 0, "nearest", 2),
        (0.3, 0, "nearest", 1),
        (0.3, 0, "bilinear", 2),
        (-80, 0, "bilinear", 1),  # half of it lies outside
        (-160, 0, "bilinear", 0),
        (840, 0, "nearest", 2),
    ],
)
def test_needed_blocks_of_one_chip(tile, x, y, rule, count):
    place = Place("p", "EPSG:32632", 500000 + x, 5000000 + y, 16, 10.0)
    assert blocks.needed({tile: rule}, [place]) == count


def test_needed_blocks_are_counted_once_and_what_lies_between_chips_is_not(tile):
    near = [Place(str(i), "EPSG:32632", 500000 + 40 * i, 5000000, 4, 10.0) for i in range(4)]
    far = [Place(str(i), "EPSG:32632", 500000 + 320 * i, 5000000, 4, 10.0) for i in range(3)]
    assert blocks.needed({tile: "nearest"}, near) == 1
    assert blocks.needed({tile: "nearest"}, far) == 3


@pytest.mark.parametrize(
    ("rule", "west", "count"),
    [("nearest", 0, 4), ("nearest", 160, 2), ("nearest", 320, 0), ("bilinear", 155, 4), ("bilinear", 160, 2)],
)
def test_what_another_scene_gave_is_not_needed(tile, rule, west, count):
    """A chip over four blocks, its `west` metres given."""
    place = Place("p", "EPSG:32632", 500000, 5000000, 32, 10.0)
    given = {"p": (499000.0, 4999000.0, 500000.0 + west, 5001000.0)}
    assert blocks.needed({tile: rule}, [place], given) == count
    assert blocks.needed({tile: rule}, [place], {"another": given["p"]}) == 4


def test_bytes_of_needed_blocks_are_those_that_the_file_states(tile):
    near = [Place(str(i), "EPSG:32632", 500000 + 160 * i, 5000000, 16, 10.0) for i in range(2)]
    with rasterio.open(tile) as file:
        sizes = [int(file.get_tag_item(f"BLOCK_SIZE_{col}_0", "TIFF", bidx=1)) for col in range(2)]
    assert blocks.needed_bytes({tile: "nearest"}, near) == sum(sizes)


def test_the_windows_of_the_peer_are_snapped_outwards():
    places = peers.windows(2048, 256)
    assert len(places) == 49  # what rslearn reports for this size
    assert all(p.x % 2560 == 0 and p.y % 2560 == 0 for p in places)
    assert min(p.x for p in places) == 601600
    assert max(p.y for p in places) == 5299200
