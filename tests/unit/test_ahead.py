"""What is fetched before it is read: the very blocks that are read, side by side, within bounds; and nothing breaks."""

from __future__ import annotations

import threading
from concurrent.futures import wait

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.transform import from_origin

from chipweave import executor
from chipweave.catalog import access, ranges, remote, web
from chipweave.catalog.remote import RemoteFile
from chipweave.errors import PermanentSourceError
from chipweave.model import Asset
from chipweave.pixels import ahead as module
from chipweave.pixels.ahead import Wish, ahead
from chipweave.pixels.bands import read_bands, read_int16
from chipweave.pixels.blocks import counts, read_block
from chipweave.pixels.codes import read_codes
from chipweave.pixels.read import gdal_session, handles, source_grid
from support.ranges import serving
from tiny import UTM

SIDE, BLOCK = 1024, 64
X, Y = 600_000.0, 5_200_000.0


def write(path, seed=0, *, res=10.0, crs=UTM, count=1, dtype="uint16", interleave="band"):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(1, 200, (count, SIDE, SIDE)).astype(dtype)
    origin = (X, Y) if crs == UTM else (140_000.0, 5_210_000.0)
    with rasterio.open(
        path, "w", driver="GTiff", width=SIDE, height=SIDE, count=count, dtype=dtype, crs=crs, nodata=0, tiled=True,
        transform=from_origin(*origin, res, res), blockxsize=BLOCK, blockysize=BLOCK, compress="deflate",
        interleave=interleave,
    ) as file:  # fmt: skip
        file.write(values)
    return path


def window(row: int, col: int, res: float = 10.0) -> Affine:
    return Affine(res, 0, X + col * res, 0, -res, Y - row * res)


@pytest.fixture
def direct(monkeypatch) -> list[str]:
    """Files of which bytes were asked for by who reads, and waits for them."""
    waited: list[str] = []
    plain = RemoteFile._get

    def get(self, spans):
        waited.append(self.href.rpartition("/")[2])
        return plain(self, spans)

    monkeypatch.setattr(RemoteFile, "_get", get)
    return waited


def begin(*wishes: Wish, name: object = None) -> None:
    ahead.begin(object() if name is None else name, lambda: iter(wishes))


CASES = [
    ("bilinear", 10.0, UTM, 10.0),  # the same grid
    ("bilinear", 20.0, UTM, 10.0),
    ("bilinear", 10.0, "EPSG:32633", 10.0),
    ("mean", 10.0, UTM, 40.0),
    ("nearest", 10.0, UTM, 10.0),
    ("nearest", 20.0, UTM, 10.0),
    ("nearest", 10.0, "EPSG:32633", 10.0),
    ("mode", 10.0, "EPSG:32633", 30.0),
]


@pytest.mark.parametrize(
    ("method", "res", "crs", "target", "dtype"),
    [
        (*case, dtype)
        for case in CASES
        for dtype in ("uint16", "float32" if case[0] in {"bilinear", "mean"} else "uint8")
    ],
)
def test_what_is_fetched_is_what_is_read(tmp_path, direct, method, res, crs, target, dtype):
    """Not a block more, and none that whoever reads has to ask for."""
    write(tmp_path / "a.tif", res=res, crs=crs, dtype=dtype)
    affine, shape = window(37, 53, target), (100, 120)
    with serving(tmp_path) as log, gdal_session():
        href = f"{log.url}/a.tif"
        begin(Wish(((href, 1, method),), UTM, affine, shape))
        counts.reset()
        if method in {"nearest", "mode"}:
            read_codes(Asset(href), 0, UTM, affine, shape, method, lambda codes, _: codes)
        elif dtype == "uint16":
            read_int16([Asset(href)], 0, UTM, affine, shape, [method])
        else:
            read_bands([Asset(href)], 0, UTM, affine, shape, method)
        assert direct == []
        assert handles.web.coming == 0
        assert counts.decoded > 0


def test_headers_of_all_files_are_asked_for_at_once(tmp_path):
    hrefs = [f"{n}.tif" for n in range(6)]
    for n, name in enumerate(hrefs):
        write(tmp_path / name, n)
    with serving(tmp_path) as log, gdal_session():
        log.meet = threading.Barrier(6)
        wish = Wish(tuple((f"{log.url}/{name}", 1, "nearest") for name in hrefs), UTM, window(0, 0), (64, 64))
        begin(wish)
        for href, _, _ in wish.bands:
            source_grid(href)
        assert log.most == 6
        log.meet = None


def test_blocks_of_all_bands_are_under_way_while_the_first_is_awaited(tmp_path):
    names = [f"{n}.tif" for n in range(5)]
    for n, name in enumerate(names):
        write(tmp_path / name, n)
    with serving(tmp_path) as log, gdal_session():
        hrefs = [f"{log.url}/{name}" for name in names]
        for href in hrefs:
            source_grid(href)
        log.meet = threading.Barrier(5)
        begin(Wish(tuple((href, 1, "nearest") for href in hrefs), UTM, window(512, 0), (64, 64)))
        read_block(source_grid(hrefs[0]), 512, 0, 64, 64)
        assert log.most == 5
        log.meet = None


def test_the_next_window_is_fetched_while_this_one_is_read(tmp_path, direct):
    write(tmp_path / "a.tif")
    with serving(tmp_path) as log, gdal_session():
        href = f"{log.url}/a.tif"
        grid = source_grid(href)
        rows = (256, 512, 768)
        direct.clear()
        begin(*(Wish(((href, 1, "nearest"),), UTM, window(row, 0), (64, 64)) for row in rows))
        read_block(grid, rows[0], 0, 64, 64)
        assert handles.web.open[href].coming > 0
        for row in rows[1:]:
            read_block(grid, row, 0, 64, 64)
        assert direct == []
        assert len(log.asked) == 1 + len(rows)


def test_no_more_is_under_way_than_there_is_room_for(tmp_path, monkeypatch, direct):
    write(tmp_path / "a.tif")
    monkeypatch.setattr(module, "BYTES", 30_000)
    most = []
    plain = RemoteFile.later

    def later(self, *args):
        done = plain(self, *args)
        most.append(handles.web.coming)
        return done

    monkeypatch.setattr(RemoteFile, "later", later)
    with serving(tmp_path) as log, gdal_session():
        href = f"{log.url}/a.tif"
        grid = source_grid(href)
        direct.clear()
        rows = range(64, SIDE, 64)
        begin(*(Wish(((href, 1, "nearest"),), UTM, window(row, 0), (64, 64)) for row in rows))
        for row in rows:
            read_block(grid, row, 0, 64, 64)
        assert direct == []
    assert 10_000 < max(most) <= 30_000


def test_bands_that_are_stored_together_are_fetched_once(tmp_path, direct):
    write(tmp_path / "a.tif", count=3, interleave="pixel")
    with serving(tmp_path) as log, gdal_session():
        href = f"{log.url}/a.tif"
        source_grid(href)
        direct.clear()
        begin(Wish(tuple((href, n, "nearest") for n in (1, 2, 3)), UTM, window(512, 512), (64, 64)))
        for index in (1, 2, 3):
            read_block(source_grid(href, index), 512, 512, 64, 64)
        assert len(log.asked) == 2
        assert direct == []
        assert handles.web.coming == 0


def test_blocks_that_two_windows_share_are_fetched_once(tmp_path, direct):
    write(tmp_path / "a.tif")
    with serving(tmp_path) as log, gdal_session():
        href = f"{log.url}/a.tif"
        grid = source_grid(href)
        cols = (512, 544, 576)
        begin(*(Wish(((href, 1, "nearest"),), UTM, window(512, col), (64, 64)) for col in cols))
        counts.reset()
        for col in cols:
            read_block(grid, 512, col, 64, 64)
        assert counts.decoded == 2
        spans = log.of("a.tif")[1:]
        assert sum(stop - start for start, stop in spans) == len({b for s in spans for b in range(*s)})


def test_what_was_fetched_in_vain_is_let_go_of(tmp_path):
    write(tmp_path / "a.tif")
    write(tmp_path / "b.tif")
    with serving(tmp_path) as log, gdal_session():
        first, second = (f"{log.url}/{name}.tif" for name in "ab")
        grid = source_grid(second)
        source_grid(first)
        begin(*(Wish(((href, 1, "nearest"),), UTM, window(512, 0), (64, 64)) for href in (first, second)))
        assert handles.web.comes(first)
        read_block(grid, 512, 0, 64, 64)
        assert not handles.web.comes(first)
        assert handles.web.coming == 0


def test_what_was_said_too_late_is_not_fetched(tmp_path, monkeypatch):
    """Windows that are read before there was room for them are not fetched after."""
    write(tmp_path / "a.tif")
    monkeypatch.setattr(module, "BYTES", 1)
    with serving(tmp_path) as log, gdal_session():
        href = f"{log.url}/a.tif"
        grid = source_grid(href)
        begin(*(Wish(((href, 1, "nearest"),), UTM, window(row, 0), (64, 64)) for row in (256, 512)))
        for row in (256, 512):
            read_block(grid, row, 0, 64, 64)
        monkeypatch.setattr(module, "BYTES", 1 << 20)
        read_block(grid, 768, 0, 64, 64)
        assert len(log.asked) == 4


@pytest.mark.parametrize("status", [404, 500])
def test_a_file_that_is_not_there_is_told_to_who_reads_it(tmp_path, monkeypatch, status):
    monkeypatch.setattr(web.time, "sleep", lambda _: None)
    write(tmp_path / "a.tif")
    write(tmp_path / "gone.tif")
    with serving(tmp_path) as log, gdal_session():
        log.status = lambda name, _: status if name == "gone.tif" else 206
        good, gone = f"{log.url}/a.tif", f"{log.url}/gone.tif"
        begin(Wish(((gone, 1, "nearest"), (good, 1, "nearest")), UTM, window(0, 0), (64, 64)))
        read_block(source_grid(good), 512, 0, 64, 64)
        with pytest.raises(Exception, match=str(status)):
            source_grid(gone)
        assert len(log.of("gone.tif")) == (1 if status == 404 else web.TRIES)


def test_a_range_that_did_not_come_is_asked_for_once_more(tmp_path, monkeypatch):
    monkeypatch.setattr(web.time, "sleep", lambda _: None)
    monkeypatch.setattr(web, "TRIES", 1)
    monkeypatch.setattr(remote, "REST", -1.0)  # some time ago
    write(tmp_path / "a.tif")
    with serving(tmp_path) as log, gdal_session():
        href = f"{log.url}/a.tif"
        grid = source_grid(href)
        faults = iter([503])
        log.status = lambda *_: next(faults, 206)
        begin(Wish(((href, 1, "nearest"),), UTM, window(512, 0), (64, 64)))
        wait([piece.got for piece in handles.web.open[href]._pieces.meeting([(0, 1 << 30)])])
        got = read_block(grid, 512, 0, 64, 64)
        with rasterio.open(tmp_path / "a.tif") as file:
            np.testing.assert_array_equal(got, file.read(1)[512:576, :64])
        assert len(log.asked) == 3


def test_what_was_signed_with_is_renewed_once_for_all_that_was_asked_for(tmp_path, monkeypatch):
    """Ranges under way when a token ends are refused; they are asked for again with a new one."""
    write(tmp_path / "a.tif")
    signed = [0]
    monkeypatch.setattr(access, "opening", lambda href: access.Opening(f"/vsicurl/{href}?token={signed[-1]}"))
    monkeypatch.setattr(access, "refused", lambda _: signed.append(signed[-1] + 1))
    with serving(tmp_path) as log, gdal_session():
        href = f"{log.url}/a.tif"
        grid = source_grid(href)
        log.status = lambda path, _: 403 if path.endswith("token=0") else 206
        rows = (256, 512, 768)
        begin(*(Wish(((href, 1, "nearest"),), UTM, window(row, 0), (64, 64)) for row in rows))
        with rasterio.open(tmp_path / "a.tif") as file:
            for row in rows:
                got = read_block(grid, row, 0, 64, 64)
                np.testing.assert_array_equal(got, file.read(1)[row : row + 64, :64])
    assert signed == [0, 1]


def test_a_file_that_is_no_raster_is_not_asked_for_again_and_again(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"II*\0" + bytes(60_000))
    with serving(tmp_path) as log, gdal_session():
        href = f"{log.url}/a.tif"
        begin(*(Wish(((href, 1, "nearest"),), UTM, window(row, 0), (64, 64)) for row in range(0, 512, 64)))
        with pytest.raises(PermanentSourceError):
            source_grid(href)
        ahead.expect([Wish(((href, 1, "nearest"),), UTM, window(0, 64), (64, 64))])
        assert len(log.asked) <= 6


def test_a_directory_behind_the_pixels_comes_with_the_header(tmp_path, direct):
    """As of files that were changed after they were written."""
    path = write(tmp_path / "a.tif")
    with rasterio.open(path, "r+") as file:
        file.update_tags(**{f"KEY{n}": "x" * 50 for n in range(40)})
    assert ranges.directory(path.read_bytes()[:16]) > remote.FIRST
    with serving(tmp_path) as log, gdal_session():
        href = f"{log.url}/a.tif"
        begin(Wish(((href, 1, "nearest"),), UTM, window(0, 0), (64, 64)))
        source_grid(href)
        assert direct == []
        assert len(log.asked) == 2


def test_files_of_this_machine_are_left_alone(tmp_path, monkeypatch):
    path = write(tmp_path / "a.tif")
    monkeypatch.setattr(remote, "_threads", None)
    with gdal_session():
        begin(Wish(((str(path), 1, "nearest"),), UTM, window(0, 0), (64, 64)))
        read_block(source_grid(str(path)), 0, 0, 64, 64)
        assert not handles.web.open
        assert not handles.web.begun


class _Task:
    def __init__(self, href: str) -> None:
        self.digest = self.href = href

    def coming(self):
        yield Wish(((self.href, 1, "nearest"),), UTM, window(512, 0), (64, 64))


def test_the_next_task_is_fetched_while_this_one_reads(tmp_path, direct):
    """In one process; its header is under way, and its blocks as soon as that is there."""
    for n in range(4):
        write(tmp_path / f"{n}.tif", n)

    def work(task: _Task) -> int:
        with gdal_session():
            ahead.begin(task.digest, task.coming)
            return int(read_block(source_grid(task.href), 512, 0, 64, 64).sum())

    with serving(tmp_path) as log, executor.executor(0, None) as run:
        got = list(run(work, [_Task(f"{log.url}/{n}.tif") for n in range(4)]))
        assert len(log.asked) == 8
    assert direct == []
    for n, total in enumerate(got):
        with rasterio.open(tmp_path / f"{n}.tif") as file:
            assert total == file.read(1)[512:576, :64].sum()


class TestJoined:
    def test_narrow_gaps_are_read_over_as_far_as_they_are_few_bytes(self):
        own = [(n * 1010, n * 1010 + 1000) for n in range(10)]
        assert ranges.joined(own, 1 << 20) == [(0, 10_090)]

    def test_of_gaps_that_are_alike_no_more_than_a_share_is_read(self):
        own = [(n * 1200, n * 1200 + 1000) for n in range(20)]
        found = ranges.joined(own, 1 << 20)
        assert sum(stop - start for start, stop in found) <= (1 + ranges.OVER) * 20_000
        assert 1 < len(found) < 20
        assert all(any(a <= start and stop <= b for a, b in found) for start, stop in own)

    def test_wide_gaps_are_asked_around(self):
        own = [(0, 4 << 20), ((4 << 20) + ranges.GAP + 1, 5 << 20)]
        assert ranges.joined(own, 1 << 30) == own

    def test_no_request_is_too_large_and_nothing_beyond_the_file_is_asked_for(self):
        own = [(n << 20, (n + 1) << 20) for n in range(10)]
        found = ranges.joined([*own, (20 << 20, 21 << 20), (5, 5), (-1, 10)], 15 << 20)
        assert [stop - start for start, stop in found] == [4 << 20, 4 << 20, 2 << 20]

    def test_ranges_that_overlap(self):
        assert ranges.joined([(0, 100), (50, 120), (50, 120), (60, 70)], 1000) == [(0, 120)]
