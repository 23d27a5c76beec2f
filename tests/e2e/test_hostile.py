"""Catalogs, files, recipes and datasets that mean harm: refused or harmless, and nothing outside is touched."""

from __future__ import annotations

import json
import shutil
import struct
import zlib
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from support.faults import serve_faulty
from support.listening import listening
from worlds import harness, recipes
from worlds.harness import refuse, succeed, write_recipe
from worlds.recipes import small
from worlds.stac import write_catalog

BEST, NEXT = "S2_32_0824", "S2_32_0610"


def two_dates(border) -> list[dict]:
    """June, and the cloudless August, which wins over it."""
    return [i for i in border.items(NEXT, BEST) if i["collection"] == "sentinel-2-l2a"]


def used(out: Path) -> set[str]:
    return {i for s in harness.read_samples(out).values() for i in s.meta["layers"]["s2"]["items"][0]}


@contextmanager
def untouched(*folders: Path):
    """Nothing in these folders changes, appears or goes."""
    before = [harness.tree(f) for f in folders]
    yield
    assert [harness.tree(f) for f in folders] == before


@pytest.fixture
def room(tmp_path) -> Path:
    """A folder with a neighbour that nobody may touch."""
    (tmp_path / "neighbour").mkdir()
    (tmp_path / "neighbour" / "secret.txt").write_text("do not read", encoding="utf-8")
    return tmp_path


class _Victim(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"the keys of the kingdom")

    def log_message(self, *args) -> None:
        pass


@contextmanager
def victim():
    """A service of the private network that answers whoever asks it; what was asked is in `asked`."""
    with listening(_Victim, asked=[]) as server:
        yield server, f"{server.url}/latest/meta-data"


# --- redirects ----------------------------------------------------------------------------------


def slow(*values: object):
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    "there",
    [
        "victim",
        *map(
            slow,
            ("http://169.254.169.254/latest", "file:///etc/passwd", "http://[::1]:9/", "http://x@10.0.0.1/"),
        ),
    ],
)
def test_a_file_that_leads_into_the_private_network_gives_way(border, room, there):
    with victim() as (server, url), serve_faulty(two_dates(border), border.folder) as service:
        target = url if there == "victim" else there
        service.choose = lambda p: f"redirect:{target}" if p.endswith(f"{BEST}/B04.tif") else None
        out = harness.build(room, small(service.url, s2={"time": recipes.SUMMER}))
        assert server.asked == []
    assert used(out) == {NEXT}


def test_a_file_that_moved_on_its_own_host_is_read(border, room):
    folder = room / "files"
    for ident in (NEXT, BEST):
        shutil.copytree(border.folder / ident, folder / ident)
    (folder / BEST / "B04.tif").rename(folder / "moved.tif")
    with serve_faulty(two_dates(border), folder) as service:
        there = f"{service.url}/files/moved.tif"
        service.choose = lambda p: f"redirect:{there}" if p.endswith(f"{BEST}/B04.tif") else None
        assert used(harness.build(room, small(service.url, s2={"time": recipes.SUMMER}))) == {BEST}


def test_a_user_may_trust_a_host_of_the_private_network(border, room):
    with (
        serve_faulty(two_dates(border), border.folder) as service,
        serve_faulty([], border.folder) as other,
    ):
        there = f"{other.url}/files/{BEST}/B04.tif"
        service.choose = lambda p: f"redirect:{there}" if p.endswith(f"{BEST}/B04.tif") else None
        env = harness.guarded_env(CHIPWEAVE_TRUSTED_HOSTS=other.url.removeprefix("http://"))
        assert used(harness.build(room, small(service.url, s2={"time": recipes.SUMMER}), env=env)) == {BEST}


@pytest.mark.parametrize("there", ["victim", slow("file:///etc/passwd")])
def test_a_catalog_that_leads_into_the_private_network_is_4(border, room, there):
    with victim() as (server, url), serve_faulty(two_dates(border), border.folder) as service:
        target = url if there == "victim" else there
        service.choose = lambda p: f"redirect:{target}" if p in ("/", "/search") else None
        recipe = write_recipe(room / "r.yaml", small(service.url))
        refuse(4, "build", recipe, "-o", room / "out", "--workers", 0, names=("leads to",))
        assert server.asked == []


def test_a_redirect_in_a_circle_is_4(border, room):
    with serve_faulty(two_dates(border), border.folder) as service:
        service.choose = lambda p: f"redirect:{service.url}/search" if p == "/search" else None
        recipe = write_recipe(room / "r.yaml", small(service.url))
        refuse(4, "build", recipe, "-o", room / "out", "--workers", 0)


# --- items --------------------------------------------------------------------------------------

ESCAPES = [
    "../../neighbour/x",
    "/etc/passwd",
    "a\x1b[31mred",
    "a\nb",
    "\u202egnp",
    "x" * 300,
    "<script>alert(1)</script>",
]


@pytest.mark.parametrize("ident", [*ESCAPES[:1], ESCAPES[2], *map(slow, [ESCAPES[1], *ESCAPES[3:]])])
def test_an_id_is_a_text_and_no_path(border, room, ident):
    """Taken as a name, or left out; never a path, and nothing of it steers the terminal or the page."""
    items = two_dates(border)
    items[1]["id"] = ident
    with serve_faulty(items, border.folder) as service, untouched(room / "neighbour", border.folder):
        recipe = write_recipe(room / "r.yaml", small(service.url, s2={"time": recipes.SUMMER}))
        done = succeed("build", recipe, "-o", room / "out", "--workers", 0)
    assert "\x1b" not in done.stdout + done.stderr
    assert "\u202e" not in done.stdout + done.stderr
    assert used(room / "out") <= {NEXT, ident}
    assert "<script>" not in (room / "out" / "README.md").read_text("utf-8")
    shown = harness.chipweave("show", room / "out", "-o", room / "a.png")
    assert shown.returncode == 0
    assert "\x1b" not in shown.stdout + shown.stderr
    assert harness.chipweave("verify", room / "out").returncode == 0
    assert sorted(p.name for p in room.iterdir()) == ["a.png", "neighbour", "out", "r.yaml"]


VSI = [
    "/vsicurl/http://127.0.0.1:9/x.tif",
    "/vsizip//etc/x.zip",
    "//vsimem/x",
    "file:///vsicurl/http://127.0.0.1:9/x",
]


@pytest.mark.parametrize(
    "href",
    [VSI[0], "file:///etc/passwd", *map(slow, [*VSI[1:], "/etc/passwd", "file://elsewhere/etc/passwd"])],
)
def test_hrefs_that_are_no_place_of_a_catalog_are_4(border, room, href):
    items = two_dates(border)
    items[1]["assets"]["red"]["href"] = href
    with serve_faulty(items, border.folder) as service:
        recipe = write_recipe(room / "r.yaml", small(service.url, s2={"time": recipes.SUMMER}))
        refuse(4, "build", recipe, "-o", room / "out", "--workers", 0, names=(BEST,))
    assert not (room / "out" / "manifest.json").exists()


@pytest.mark.parametrize("claim", [[10**9, 10**9], *map(slow, ([-1, -1], ["x"], [2**70, 2**70]))])
def test_a_shape_that_an_item_claims_costs_nothing(border, room, claim):
    items = two_dates(border)
    for asset in items[1]["assets"].values():
        asset["proj:shape"] = claim
        asset["proj:transform"] = [10, 0, 729960, 0, -10, 4992000]
    catalog = write_catalog(border.folder / "claims.json", items)
    recipe = write_recipe(room / "r.yaml", small(catalog, s2={"time": recipes.SUMMER}))
    done = harness.chipweave("build", recipe, "-o", room / "out", "--workers", 0)
    assert done.returncode == 0, done.stderr
    assert used(room / "out") <= {NEXT, BEST}


# --- answers ------------------------------------------------------------------------------------


def test_a_bomb_of_an_answer_is_4(room):
    """Half a gibibyte of blanks in half a megabyte: refused before it is unpacked."""
    blanks, crc = b" " * (1 << 24), 0
    for _ in range(32):
        crc = zlib.crc32(blanks, crc)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    chunk = packer.compress(blanks) + packer.flush(
        zlib.Z_FULL_FLUSH
    )  # stands alone: so it can stand 32 times
    end = packer.flush() + struct.pack("<II", crc, 32 << 24)
    bomb = bytes.fromhex("1f8b08000000000000ff") + 32 * chunk + end
    assert zlib.decompressobj(31).decompress(bomb, 100) == blanks[:100]

    class Bomb(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(bomb)))
            self.end_headers()
            try:
                self.wfile.write(bomb)
            except OSError:
                return  # they had enough

        do_POST = do_GET  # noqa: N815

        def log_message(self, *args) -> None:
            pass

    with listening(Bomb) as server:
        recipe = write_recipe(room / "r.yaml", small(server.url))
        refuse(4, "build", recipe, "-o", room / "out", "--workers", 0, names=("bytes",))


# --- files --------------------------------------------------------------------------------------


def _lying(path: Path, kind: str) -> None:
    """A file in the place of a good one."""
    whole = path.read_bytes()
    if kind == "truncated":
        path.write_bytes(whole[: len(whole) // 5])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "page":
        path.write_bytes(b"<html><script>alert(1)</script></html>")
    elif kind == "vrt":
        path.write_text(
            '<VRTDataset rasterXSize="10" rasterYSize="10"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
            "<SourceFilename>/etc/passwd</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
        )
    elif kind == "wms":
        path.write_text(
            '<GDAL_WMS><Service name="WMS"><ServerUrl>http://127.0.0.1:9/</ServerUrl></Service></GDAL_WMS>'
        )
    elif kind == "noise":
        path.write_bytes(whole[:8] + np.random.default_rng(1).bytes(len(whole) - 8))
    elif kind == "block bomb":
        _write(path, 1 << 20, 1 << 20, blockxsize=1 << 16, blockysize=1 << 16)
    elif kind == "billion":
        _patch(path, whole, 256, 10**9)
        _patch(path, path.read_bytes(), 257, 10**9)
    elif kind == "offsets":
        _patch(path, whole, 324, 0x7FFFFFF0)
    elif kind == "counts":
        _patch(path, whole, 325, 0x7FFFFFF0)
    elif kind == "width":
        _patch(path, whole, 322, 1 << 20)


def _write(path: Path, width: int, height: int, **more) -> None:
    """A sparse file: no block is stored."""
    path.unlink()
    with rasterio.open(
        path, "w", driver="GTiff", width=width, height=height, count=1, dtype="uint16", crs="EPSG:32632",
        transform=from_origin(729960, 4992000, 10, 10), tiled=True, SPARSE_OK=True, BIGTIFF="YES", **more,
    ):  # fmt: skip
        pass


def _patch(path: Path, whole: bytes, tag: int, value: int) -> None:
    """Let a tag of a little-endian classic TIFF say something else, all its values."""
    data = bytearray(whole)
    assert data[:4] == b"II*\0"
    at = struct.unpack_from("<I", data, 4)[0]
    for n in range(struct.unpack_from("<H", data, at)[0]):
        entry = at + 2 + 12 * n
        name, _kind, count, where = struct.unpack_from("<HHII", data, entry)
        if name != tag:
            continue
        if count == 1:
            struct.pack_into("<HII", data, entry + 2, 4, 1, value)
        else:
            struct.pack_into(f"<{count}I", data, where, *[value] * count)
        path.write_bytes(data)
        return
    raise AssertionError(f"no tag {tag}")


LIES = [
    "truncated",
    "empty",
    "page",
    "vrt",
    "wms",
    "noise",
    "block bomb",
    "billion",
    "offsets",
    "counts",
    "width",
]


@pytest.mark.parametrize(
    ("kind", "remote"),
    [("truncated", True), ("vrt", True), ("counts", True), ("billion", False)]
    + [slow(kind, remote) for kind in LIES for remote in (False, True)],
)
def test_a_file_that_lies_gives_way_to_the_next_best(border, room, kind, remote):
    """No pixel of it is taken, nothing is read beside it; what it said stands in the amendments."""
    folder = room / "files"
    for ident in (NEXT, BEST):
        shutil.copytree(border.folder / ident, folder / ident)
    _lying(folder / BEST / "B04.tif", kind)
    # South in the tile, so beyond the cut of a truncated file: GDAL writes blocks row by row.
    more = {"s2": {"time": recipes.SUMMER}, "area": {"bbox": [11.93, 44.976, 11.955, 44.988]}}
    with serve_faulty(two_dates(border), folder) as service, untouched(room / "neighbour"):
        where = service.url if remote else write_catalog(folder / "catalog.json", two_dates(border))
        out = harness.build(room, small(where, **more))
    assert used(out) == {NEXT}
    assert set(harness.ledger(out)["state"]) == {"written"}
    assert (out / "plan" / "amendments.parquet").exists()
    succeed("verify", out)


def test_a_lone_file_that_lies_fails_its_chips(border, room):
    """No other scene: the ledger says which file and why, and the exit is 5 unless the recipe allows it."""
    folder = room / "files"
    shutil.copytree(border.folder / BEST, folder / BEST)
    _lying(folder / BEST / "B04.tif", "truncated")
    mapping = {"s2": {"time": recipes.SUMMER}, "area": {"bbox": [11.93, 44.976, 11.955, 44.988]}}
    with serve_faulty(two_dates(border)[1:], folder) as service:
        recipe = write_recipe(room / "r.yaml", small(service.url, **mapping))
        refuse(5, "build", recipe, "-o", room / "out", "--workers", 0)
    rows = harness.ledger(room / "out")
    assert set(rows["state"]) == {"failed"}
    assert rows["href"].str.endswith("B04.tif").all()
    assert (rows["error"].str.len() > 0).all()


# --- recipes ------------------------------------------------------------------------------------

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join(f'*{a}' for _ in range(9))}]\n"
    for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        "version: !!python/object/apply:os.system ['touch owned']\n",
        "version: 1\nname: ../../x\ncatalog: c\n",
        'version: 1\nname: "a\\e[31m"\ncatalog: c\n',
        "extends: r.yaml\n",
        "extends: ../../../../../../etc/passwd\n",
        "version: 1\nname: &a\n  b: *a\n",
        "[" * 5000,
        "{" * 5000,
        "\x00\x01",
    ],
    ids=range(10),
)
def test_a_recipe_that_means_harm_is_3(room, text):
    (room / "r.yaml").write_text(text, encoding="utf-8")
    with untouched(room):
        named = ("passwd" if "passwd" in text else "r.yaml",)
        done = refuse(3, "check", room / "r.yaml", names=named, cwd=room)
        refuse(3, "build", room / "r.yaml", "-o", room / "out", cwd=room)
    assert "\x1b" not in done.stdout + done.stderr
    assert not (room / "out").exists()


def test_markup_and_escapes_of_a_recipe_end_as_text(june, room):
    evil = '<img src=x onerror="alert(1)"> \x1b[31m [x](javascript:alert(1))'
    mapping = {**small(june), "title": evil, "description": evil, "citation": evil}
    done = harness.chipweave(
        "build", write_recipe(room / "r.yaml", mapping), "-o", room / "out", "--workers", 0
    )
    assert "\x1b" not in done.stdout + done.stderr
    if done.returncode == 0:
        card = (room / "out" / "README.md").read_text("utf-8")
        assert "<img" not in card.partition("---\n")[2].partition("---\n")[2]
        assert "](javascript:" not in card
        assert "\x1b" not in card
    else:
        assert done.returncode == 3, done.stderr


# --- datasets -----------------------------------------------------------------------------------


@pytest.fixture
def dataset(finished, room) -> Path:
    """A finished dataset to harm."""
    out = room / "data"
    shutil.copytree(finished[1], out)
    return out


def test_a_manifest_that_leads_out_is_6(dataset, room):
    path = dataset / "manifest.json"
    manifest = json.loads(path.read_bytes())
    evil = {
        "../neighbour/secret.txt": {"bytes": 11, "sha256": "0" * 64},
        "/etc/passwd": {"bytes": 1, "sha256": "0"},
    }
    evil["\x1b[31mred"] = {"bytes": 1, "sha256": "0"}
    manifest["files"] |= evil
    path.write_text(json.dumps(manifest), encoding="utf-8")
    with untouched(room):
        done = refuse(6, "verify", dataset, names=("leads out",))
    assert "\x1b" not in done.stdout + done.stderr


def neither_verified_nor_shown(dataset: Path, room: Path) -> None:
    """Both end with 6, and touch nothing of the neighbour's."""
    with untouched(room / "neighbour"):
        refuse(6, "verify", dataset)
        refuse(6, "show", dataset, "-o", room / "a.png")
    assert not (room / "a.png").exists()


def test_a_link_in_a_dataset_that_leads_out_is_6(dataset, room):
    shard = next((dataset / "shards").glob("*.tar"))
    shutil.move(shard, room / "neighbour" / shard.name)
    shard.symlink_to(room / "neighbour" / shard.name)
    neither_verified_nor_shown(dataset, room)


def test_an_index_that_leads_out_is_6(dataset, room):
    import pyarrow as pa
    import pyarrow.parquet as pq

    secret = next((dataset / "shards").glob("*.tar"))
    shutil.copy(secret, room / "neighbour" / secret.name)
    table = pq.read_table(dataset / "index.parquet")
    at = table.column_names.index("shard")
    away = pa.array([f"../neighbour/{secret.name}"] * table.num_rows)
    pq.write_table(table.set_column(at, "shard", away), dataset / "index.parquet")
    neither_verified_nor_shown(dataset, room)


def test_a_tar_whose_members_lead_out_is_6(dataset, room):
    import tarfile

    shard = next((dataset / "shards").glob("*.tar"))
    with tarfile.open(shard, "a") as tar:
        member = tarfile.TarInfo("../../neighbour/owned.txt")
        member.size = 0
        tar.addfile(member)
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with untouched(room):
        refuse(6, "verify", dataset)


def test_a_build_into_a_folder_with_links_that_lead_out(june, room):
    """What lies in the output's place is none of ours: 2, and left alone."""
    (room / "out").mkdir()
    (room / "out" / "shards").symlink_to(room / "neighbour")
    with untouched(room / "neighbour"):
        recipe = write_recipe(room / "r.yaml", small(june))
        refuse(2, "build", recipe, "-o", room / "out", "--workers", 0)
