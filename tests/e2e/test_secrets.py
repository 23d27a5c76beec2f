"""A planted secret is found nowhere: not in output or logs, nor in any byte of the dataset, whatever goes wrong."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from support.faults import serve_faulty
from worlds import harness, recipes
from worlds.harness import write_recipe
from worlds.recipes import small

PLANTED = {
    "user": "XusernameplantedX",
    "password": "XpasswordplantedX",
    "query": "XcatalogtokenplantedX",
    "href": "XhrefsignatureplantedX",
    "token": "XbearertokenplantedX",
    "link": "XnextpageplantedX",
}
BEST = "S2_32_0824"

PROVIDER = """\
name: guarded
title: Guarded
endpoint: {url}
access:
  - {{kind: bearer, hosts: ["127.0.0.1:{port}"], token: GUARDED_TOKEN}}
"""


def signed(items: list[dict], url: str) -> list[dict]:
    """Items whose hrefs carry a signature, and a user."""
    items = copy.deepcopy(items)
    host = url.removeprefix("http://")
    for item in items:
        for asset in item["assets"].values():
            path = asset["href"].removeprefix("./")
            asset["href"] = (
                f"http://{PLANTED['user']}:{PLANTED['password']}@{host}/files/{path}"
                f"?sv=2021&se=2030-01-01&sr=c&sig={PLANTED['href']}&X-Amz-Signature={PLANTED['href']}"
            )
    return items


def leaks(folder: Path, *said: str) -> dict[str, set[str]]:
    """Where a secret is found: every byte of every file below a folder, their names, and what was said."""
    found: dict[str, set[str]] = {}
    for n, text in enumerate(said):
        found[f"output {n}"] = {k for k, v in PLANTED.items() if v in text}
    for path in folder.rglob("*"):
        body = path.read_bytes() if path.is_file() else b""
        hit = {k for k, v in PLANTED.items() if v.encode() in body or v in path.name}
        # Parquet and tars may store text packed: readers see it all the same.
        if path.suffix == ".parquet":
            import pyarrow.parquet as pq

            text = str(pq.read_table(path).to_pylist()) + str(pq.read_schema(path).metadata)
            hit |= {k for k, v in PLANTED.items() if v in text}
        found[path.relative_to(folder).as_posix()] = hit
    return {k: v for k, v in found.items() if v}


FAULTS = {
    "none": lambda _path: None,
    "gone": lambda path: 404 if path.endswith(f"{BEST}/B04.tif") else None,
    "down": lambda path: 503 if path.endswith(f"{BEST}/B04.tif") else None,
    "refused": lambda path: 403 if path.endswith(f"{BEST}/B04.tif") else None,
    "cut": lambda path: "cut" if path.endswith(f"{BEST}/B04.tif") else None,
    "astray": lambda path: "redirect:http://10.0.0.1/x?y=z" if path.endswith(f"{BEST}/B04.tif") else None,
    "no search": lambda path: 403 if path.endswith("/search") else None,
    "search down": lambda path: 503 if path.endswith("/search") else None,
}
WANT = {"none": 0, "gone": 0, "astray": 0}


@pytest.mark.parametrize(
    "fault", [f if f in ("gone", "down") else pytest.param(f, marks=pytest.mark.slow) for f in FAULTS]
)
def test_no_secret_is_said_or_stored(border, tmp_path, fault):
    items = [i for i in border.items("S2_32_0610", BEST) if i["collection"] == "sentinel-2-l2a"]
    with serve_faulty(items, border.folder, FAULTS[fault]) as service:
        service.items = signed(items, service.url)
        port = service.url.rpartition(":")[2]
        (tmp_path / "providers").mkdir()
        (tmp_path / "providers" / "guarded.yaml").write_text(PROVIDER.format(url=service.url, port=port))
        url = f"http://{PLANTED['user']}:{PLANTED['password']}@127.0.0.1:{port}/?token={PLANTED['query']}"
        mapping = small(url, s2={"time": recipes.SUMMER}, catalogs=".")
        recipe = write_recipe(tmp_path / "r.yaml", mapping)
        env = harness.guarded_env(GUARDED_TOKEN=PLANTED["token"], CPL_DEBUG="ON", CPL_CURL_VERBOSE="YES")
        said = []
        for _ in range(2):
            done = harness.chipweave(
                "--log-format",
                "json",
                "build",
                recipe,
                "-o",
                tmp_path / "out",
                "--workers",
                0,
                "--json",
                env=env,
            )
            assert done.returncode == WANT.get(fault, 4), done.stderr
            said += [done.stdout, done.stderr]
            assert leaks(tmp_path / "out", *said) == {}
        if done.returncode == 0:
            for command in ("verify", "report", "show"):
                more = ["-o", tmp_path / "a.png"] if command == "show" else []
                shown = harness.chipweave(command, tmp_path / "out", *more, env=env)
                said += [shown.stdout, shown.stderr]
            assert json.loads(said[0])["state"] == "built"
    assert leaks(tmp_path / "out", *said) == {}


def test_the_test_finds_a_secret(tmp_path):
    (tmp_path / "a.json").write_text(f"x{PLANTED['token']}y")
    assert leaks(tmp_path, f"u{PLANTED['user']}") == {"output 0": {"user"}, "a.json": {"token"}}
