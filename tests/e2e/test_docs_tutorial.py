"""The tutorial and the README as a stranger walks them: every block in its order, in a folder that was empty."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from chipweave import demo
from chipweave.catalog.providers import load_provider
from chipweave.demo.serve import free_port, stop
from chipweave.recipe import load_recipe, require_built
from worlds.harness import chipweave as run
from worlds.harness import digests, guarded_env, ledger, read_samples

ROOT = Path(__file__).resolve().parents[2]
SCALE = 0.4
"""Of the world that stands in for the one of `chipweave demo`, which costs a minute: the land is the same, and the area
of the tutorial lies well inside, so that the numbers on the page are those of either."""

SMALL = {
    "size: 128": "size: 64",
    "block_km: 10": "block_km: 2",
    "buffer_m: 640": "buffer_m: 320",
    "samples_per_shard: 256": "samples_per_shard: 10",
}
"""What makes a recipe for a region one for the small world."""
AREA = "[5.94, 47.04, 6.06, 47.08]"


class Block(NamedTuple):
    """A fenced block: its language, empty for a shell's, and what stands in it."""

    kind: str
    text: str


def blocks(path: str) -> list[Block]:
    text = (ROOT / path).read_text(encoding="utf-8")
    found = [Block(*m) for m in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)]
    assert len(found) * 2 == text.count("```"), f"a block of {path} is not closed, or stands within a line"
    return found


SESSION = """
import json, os, sys
for line in sys.stdin:
    asked = json.loads(line)
    os.chdir(asked["folder"])
    exec(compile(asked["code"], "block", "exec"), {"__name__": "__main__"})
    print(chr(4), flush=True)
"""


class Session:
    """A Python that runs one block after the other, each with no names but its own; libraries are imported once."""

    def __init__(self, log: Path) -> None:
        self.log = log
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-c", SESSION], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=errors, text=True, env=guarded_env(),
            )  # fmt: skip

    def run(self, code: str, folder: Path) -> None:
        self.process.stdin.write(json.dumps({"code": code, "folder": str(folder)}) + "\n")
        self.process.stdin.flush()
        ended = any(line == "\x04\n" for line in iter(self.process.stdout.readline, ""))
        assert ended, f"{code}\n{self.log.read_text()[-3000:]}"


@dataclass
class Walk:
    """Someone who does what a page says, in `folder`."""

    folder: Path
    url: str
    session: Session
    servers: list[subprocess.Popen] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    needs_torch: list[str] = field(default_factory=list)

    def follow(self, page: list[Block]) -> Walk:
        for kind, text in page:
            {"": self.shell, "yaml": self.recipe, "text": self.shown, "python": self.python}[kind](
                text.replace("http://127.0.0.1:8080", self.url)
            )
        return self

    def shell(self, text: str) -> None:
        self.said = []
        for line in text.splitlines():
            command, _, comment = line.partition(" #")
            words = shlex.split(command)
            if words[0] == "export":
                assert words[1].partition("=")[0] in load_provider("cdse").access[0].model_dump().values()
            elif words == ["chipweave", "demo"]:
                demo.make_world(self.folder / "chipweave-demo" / "world", scale=SCALE)
            elif words[0] == "python":
                self.serve(words)
            else:
                assert words[0] == "chipweave", f"who is {words[0]}?"
                self.chipweave(words[1:], comment)

    def chipweave(self, words: list[str], comment: str) -> None:
        if "Ctrl-C" in comment:
            self.interrupt(words)
            return
        env = guarded_env(CHIPWEAVE_CATALOGS=str(self.folder / "catalogs"))
        if words[0] in {"plan", "build"}:
            # Worker processes cost seconds, and the build that is interrupted has them.
            words = [*words, "--workers", "0"]
        done = run(*words, cwd=self.folder, env=env)
        code = re.match(r" exit (\d+): ", comment)
        assert done.returncode == (int(code[1]) if code else 0), (
            f"{words}\n{done.stdout}\n{done.stderr[-5000:]}"
        )
        self.said.append(done.stdout)
        if code:
            assert "max_clouds" in done.stderr
            assert "did you mean 'max_cloud'" in done.stderr

    def interrupt(self, words: list[str]) -> None:
        """Press Ctrl-C as soon as it weaves: a terminal sends it to the whole group."""
        process = subprocess.Popen(
            [sys.executable, "-m", "chipweave", *words],
            cwd=self.folder, env=guarded_env(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        with process:
            said = ""
            for line in process.stderr:
                said += line
                if line.startswith("weave: 0 of"):
                    os.killpg(process.pid, signal.SIGINT)
                    break
            said += process.stderr.read()
            assert process.wait(120) == 130, said
        assert "run the same command again" in said
        assert not (self.folder / "first" / "manifest.json").exists()

    def serve(self, words: list[str]) -> None:
        assert words[1:4] == ["-m", "chipweave.demo.servers", "chipweave-demo/world"]
        port = self.url.rpartition(":")[2]
        command = [sys.executable, *words[1:], "--until-stdin-closes"]
        command[command.index("8080")] = port
        self.servers.append(
            subprocess.Popen(command, cwd=self.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        )
        assert json.loads(self.servers[-1].stdout.readline())["stac_url"] == self.url

    def recipe(self, text: str) -> None:
        """Write the file that the first line names; one for a real archive must be right, and is then made small."""
        path = self.folder / text.partition("\n")[0].removeprefix("# ")
        path.write_text(text, encoding="utf-8")
        require_built(load_recipe(path))
        if self.url not in text:
            path.write_text(small(text), encoding="utf-8")

    def shown(self, text: str) -> None:
        assert any(text in said for said in self.said), f"{text}\nis not what was printed:\n{self.said}"

    def python(self, text: str) -> None:
        if re.search(r"^import torch", text, re.MULTILINE) and importlib.util.find_spec("torch") is None:
            self.needs_torch.append(text)
            return
        self.session.run(text, self.folder)


def small(text: str) -> str:
    """A recipe for a region as one for the small world; each replacement must find its place."""
    changed, n = re.subn(r"bbox: \[.*?\]", f"bbox: {AREA}", text)
    assert n == 1
    for old, new in SMALL.items():
        assert old in changed, old
        changed = changed.replace(old, new)
    return changed


@pytest.fixture(scope="module")
def room(tmp_path_factory) -> Iterator[Walk]:
    """An empty folder; real archives are called by their names, and answered by the demo's API."""
    folder = tmp_path_factory.mktemp("stranger")
    session = Session(tmp_path_factory.mktemp("session") / "stderr")
    walk = Walk(folder, f"http://127.0.0.1:{free_port()}", session)
    providers = walk.folder / "catalogs" / "providers"
    providers.mkdir(parents=True)
    for name in ("earth-search", "planetary-computer"):
        endpoint = {"title": load_provider(name).title, "endpoint": walk.url}
        (providers / f"{name}.yaml").write_text(yaml.safe_dump(endpoint), encoding="utf-8")
    yield walk
    for process in (session.process, *walk.servers):
        stop(process)
        process.stdout.close()


@pytest.fixture(scope="module")
def tutorial(room) -> Walk:
    return room.follow(blocks("docs/tutorial.md"))


@pytest.fixture(scope="module")
def readme(tutorial, tmp_path_factory) -> Walk:
    """Its recipe, against the archive that the tutorial left running."""
    walk = Walk(tmp_path_factory.mktemp("reader"), tutorial.url, tutorial.session)
    (corine,) = (tutorial.folder / "chipweave-demo" / "world").glob("*CLC*/map.tif")
    shutil.copy(corine, walk.folder / "U2018_CLC2018_V2020_20u1.tif")
    page = blocks("README.md")
    (recipe,) = (b.text for b in page if b.kind == "yaml")
    named = re.sub(r"^catalog: \S+", f"catalog: {walk.url}", recipe, flags=re.MULTILINE)
    walk.recipe(f"# alps.yaml\n{small(named)}")
    make, commands, *more = (b for b in page if b.kind == "")
    assert not more
    targets = re.findall(r"^make (\w+)", make.text, re.MULTILINE)
    assert targets == ["demo", "test"]
    walk.follow([commands])
    # The decoder of blosc2 is run in tests/contract/test_blosc2.py, over a dataset that is encoded so.
    return walk.follow([b for b in page if b.kind == "python" and "blosc2" not in b.text])


def test_the_tutorial_does_what_it_says(tutorial):
    folder = tutorial.folder
    trial = [f for f in digests(folder / "trial") if f.startswith("shards/")]
    whole = [f for f in digests(folder / "first") if f.startswith("shards/")]
    assert 1 <= len(trial) < len(whole)
    assert (folder / "trial.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "trial-porto" / "manifest.json").is_file()
    lock = yaml.safe_load((folder / "trial-porto" / "recipe.yaml").read_text())
    assert lock["catalog"] == "earth-search"


def test_the_concepts_name_what_is_there(tutorial):
    """Files of a dataset, and reasons in its ledger."""
    text = (ROOT / "docs" / "concepts.md").read_text(encoding="utf-8")
    first = tutorial.folder / "first"
    files = re.findall(r"`((?:plan/)?[a-z]+\.(?:parquet|json|lock))`", text)
    assert len(set(files)) >= 8
    for name in files:
        assert (first / name).is_file() or (first / "plan" / name).is_file(), name
    rows = [ledger(tutorial.folder / name) for name in ("first", "trial")]
    reasons = {reason for table in rows for reason in table["reason"]} - {""}
    assert {"buffer", "limit", "overlap"} <= reasons <= set(re.findall(r"`(\w+)`", text))


def test_samples_of_the_trial_are_those_of_the_whole(tutorial):
    """The page says so."""
    trial, whole = (read_samples(tutorial.folder / name) for name in ("trial", "first"))
    assert trial.keys() < whole.keys()
    for key, sample in trial.items():
        assert sample.meta == whole[key].meta
        assert all((sample.arrays[n] == whole[key].arrays[n]).all() for n in sample.arrays)


def test_the_readme_does_what_it_says(readme):
    assert (readme.folder / "alps.png").read_bytes().startswith(b"\x89PNG")
    train = sorted(p.name for p in (readme.folder / "alps" / "shards").glob("train-*.tar"))
    braces = "train-{000000..000003}.tar"
    assert braces in (ROOT / "README.md").read_text(encoding="utf-8")
    assert train == [f"train-{n:06d}.tar" for n in range(4)]


@pytest.mark.parametrize("page", ["tutorial", "readme"])
def test_torch_reads_it(page, request):
    walk = request.getfixturevalue(page)
    if walk.needs_torch:
        pytest.skip("torch is not installed: its block was left out")
