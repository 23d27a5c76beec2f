"""Run the command line as a user does, and read what it wrote with no code of ours."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from affine import Affine

TESTS = Path(__file__).resolve().parents[1]

BYTE_EQUAL = ("shards", "zarr", "index.parquet", "stats.json")
"""What "byte-equal" means in the contract; sets of shards that licences keep apart are shards."""


def guarded_env(**extra: str) -> dict[str, str]:
    """The environment of a subprocess: sockets closed but for loopback (see tests/guard), proxies into the void.

    The proxies stop what is not Python: GDAL's curl asks them first, and nobody listens on port 9.
    """
    env = {k: v for k, v in os.environ.items() if not k.startswith("CHIPWEAVE_")}
    # Every start would otherwise compile the libraries again.
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    path = [str(TESTS / "guard"), *filter(None, [env.get("PYTHONPATH")])]
    void = "http://127.0.0.1:9"
    local = "127.0.0.1,localhost,::1"
    env |= {"PYTHONPATH": os.pathsep.join(path), "http_proxy": void, "https_proxy": void, "HTTPS_PROXY": void}
    env |= {
        "no_proxy": local,
        "NO_PROXY": local,
        "GDAL_HTTP_MAX_RETRY": "0",
        "NO_COLOR": "1",
        "COLUMNS": "200",
    }
    return env | extra


class _Zygote:
    """The process of `zygote.py`, started at its first use."""

    def __init__(self) -> None:
        self.process: subprocess.Popen | None = None

    def start(self) -> subprocess.Popen:
        self.process = subprocess.Popen(
            [sys.executable, str(TESTS / "worlds" / "zygote.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=guarded_env(),
        )
        assert json.loads(self.process.stdout.readline()) == {"ready": True}
        return self.process

    def call(self, args: list[str], timeout: float, env: dict[str, str], cwd: Path | None):
        process = self.process or self.start()
        with tempfile.TemporaryDirectory() as folder:
            out, err = Path(folder, "stdout"), Path(folder, "stderr")
            request = {"args": args, "timeout": timeout, "env": env, "cwd": str(cwd) if cwd else None}
            process.stdin.write(json.dumps({**request, "stdout": str(out), "stderr": str(err)}) + "\n")
            process.stdin.flush()
            code = json.loads(process.stdout.readline())["rc"]
            assert code != -signal.SIGKILL, f"{args} did not end in {timeout} s:\n{err.read_text()[-3000:]}"
            return subprocess.CompletedProcess(args, code, out.read_text("utf-8"), err.read_text("utf-8"))

    def close(self) -> None:
        if self.process:
            self.process.stdin.close()
            self.process.wait(timeout=20)
            self.process.stdout.close()
            self.process = None


zygote = _Zygote()


def chipweave(
    *args: object,
    timeout: float = 300,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
    plain: bool = False,
) -> subprocess.CompletedProcess:
    """Run the command line in a process of its own and wait; text in `stdout` and `stderr`.

    `plain` starts ``python -m chipweave`` afresh, which costs the seconds of its imports; else see `zygote.py`.
    """
    given, env = [str(a) for a in args], env or guarded_env()
    if not plain:
        return zygote.call(given, timeout, env, cwd)
    return subprocess.run(
        [sys.executable, "-m", "chipweave", *given],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=env,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def start(*args: object, env: dict[str, str] | None = None) -> subprocess.Popen:
    """Start ``python -m chipweave`` in a process group of its own, so that all of it can be killed."""
    return subprocess.Popen(
        [sys.executable, "-m", "chipweave", *map(str, args)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        env=env or guarded_env(),
        start_new_session=True,
    )


def succeed(*args: object, **kwargs) -> subprocess.CompletedProcess:
    """`chipweave`, which must exit with 0."""
    done = chipweave(*args, **kwargs)
    assert done.returncode == 0, f"{args} -> {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-6000:]}"
    return done


def refuse(code: int, *args: object, names: tuple[str, ...] = (), **kwargs) -> subprocess.CompletedProcess:
    """`chipweave`, which must exit with that code, without a traceback, naming the things in `names`."""
    done = chipweave(*args, **kwargs)
    said = done.stdout + done.stderr
    assert done.returncode == code, f"{args} -> {done.returncode}, not {code}\n{said[-6000:]}"
    assert "Traceback" not in said, said[-6000:]
    for name in names:
        assert name in said, f"{name!r} is not named in:\n{said[-3000:]}"
    return done


def write_recipe(path: Path, mapping: dict) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(mapping, sort_keys=False), encoding="utf-8")
    return path


def build(folder: Path, mapping: dict, *more: object, workers: int = 0, **kwargs) -> Path:
    """Write the recipe beside `folder/out`, build it, and give the dataset's folder."""
    recipe = write_recipe(folder / "recipe.yaml", mapping)
    out = folder / "out"
    succeed("build", recipe, "-o", out, "--workers", workers, *more, **kwargs)
    return out


@dataclass
class Sample:
    """One sample as it lies in a shard: its JSON and its arrays."""

    key: str
    meta: dict
    arrays: dict[str, np.ndarray]
    members: tuple[str, ...]
    shard: str

    @property
    def crs(self) -> str:
        return self.meta["crs"]

    @property
    def split_of_shard(self) -> str:
        return self.shard.partition("-")[0]

    @property
    def affine(self) -> Affine:
        return Affine(*self.meta["transform"])

    def centres(self) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates of the pixel centres in the chip's CRS, each (height, width)."""
        a = self.affine
        x = a.c + (np.arange(self.meta["width"]) + 0.5) * a.a
        y = a.f + (np.arange(self.meta["height"]) + 0.5) * a.e
        return tuple(np.meshgrid(x, y))

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        a = self.affine
        return a.c, a.f + self.meta["height"] * a.e, a.c + self.meta["width"] * a.a, a.f


def strict_json(text: bytes) -> dict:
    """Parse JSON, refusing NaN and Infinity and keys that come twice."""

    def no_constant(name):
        raise ValueError(f"{name} is not JSON")

    def once(pairs):
        keys = [k for k, _ in pairs]
        assert len(keys) == len(set(keys)), f"a key comes twice: {keys}"
        return dict(pairs)

    return json.loads(text, parse_constant=no_constant, object_pairs_hook=once)


def read_shard(path: Path) -> Iterator[Sample]:
    """Samples of a tar in their order; a sample is a run of members that share all before the first dot."""
    key, files, name = None, {}, path.name
    with tarfile.open(path) as tar:
        for member in tar:
            assert member.isfile()
            stem, _, ending = member.name.partition(".")
            if stem != key and key is not None:
                yield _sample(key, files, name)
                files = {}
            key = stem
            assert ending not in files, f"{member.name} comes twice"
            files[ending] = tar.extractfile(member).read()
    if key is not None:
        yield _sample(key, files, name)


def _sample(key: str, files: dict[str, bytes], shard: str) -> Sample:
    arrays = {
        ending.removesuffix(".npy"): np.load(io.BytesIO(body), allow_pickle=False)
        for ending, body in files.items()
        if ending.endswith(".npy")
    }
    return Sample(key, strict_json(files["json"]), arrays, tuple(files), shard)


def read_samples(out: Path) -> dict[str, Sample]:
    """All samples of a dataset by key, in shard order, no key twice; with the layers that licences keep apart."""
    found: dict[str, Sample] = {}
    for shard in sorted((out / "shards").glob("*.tar")):
        beside = zip(*(read_shard(one) for one in sorted(out.glob(f"shards-*/{shard.name}"))), strict=True)
        for sample in read_shard(shard):
            assert sample.key not in found, f"{sample.key} is written twice"
            found[sample.key] = sample
            for other in next(beside, ()):
                assert (other.key, other.meta["key"]) == (sample.key, sample.key)
                assert not other.arrays.keys() & sample.arrays.keys()
                sample.meta["layers"] |= other.meta["layers"]
                sample.arrays |= other.arrays
                sample.members += tuple(m for m in other.members if m != "json")
        assert next(beside, None) is None, f"a set beside {shard.name} has more samples"
    return found


def ledger(out: Path) -> pd.DataFrame:
    return pd.read_parquet(out / "ledger.parquet")


def digests(out: Path) -> dict[str, str]:
    """sha256 of every file that the contract wants to repeat, by path."""
    found = {}
    for top in (*BYTE_EQUAL, *(p.name for p in out.glob("shards-*"))):
        path = out / top
        files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
        for file in files:
            found[file.relative_to(out).as_posix()] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found


def tree(out: Path) -> dict[str, tuple[int, int]]:
    """Size and mtime of every file: what "untouched" means."""
    return {
        p.relative_to(out).as_posix(): (p.stat().st_size, p.stat().st_mtime_ns)
        for p in sorted(out.rglob("*"))
        if p.is_file()
    }
