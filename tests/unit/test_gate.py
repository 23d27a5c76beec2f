"""The gate's verdict: what `.ci/run` ends with, when each of its steps passes or fails."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

GATE = Path(__file__).resolve().parents[2] / ".ci" / "run"

# Stands in for make, pip and pytest: writes what it was asked, and fails where `FAILING` is a part of that.
STEP = """#!/usr/bin/env bash
asked="$(basename "$0") $*"
echo "$asked" >> "$ASKED"
for made in .venv/bin/python .venv-newer/bin/chipweave; do
  [ -x $made ] || { mkdir -p $(dirname $made); cp "$STEPS/step" made.$$ && mv made.$$ $made; }
done
[[ -n "$FAILING" && "$asked" == *"$FAILING"* ]] && exit 3
[[ "$asked" == *"pip wheel"* ]] && touch "$(sed -E 's/.*--wheel-dir ([^ ]+).*/\\1/' <<<"$asked")/chipweave-0.whl"
[[ "$asked" == *--version* ]] && echo "Python 3.14.0"
exit 0
"""

pytestmark = pytest.mark.skipif(
    not GATE.is_file() or not shutil.which("bash"), reason="needs .ci/run and bash"
)


def gate(folder: Path, failing: str = "", newer: bool = True) -> tuple[int, str, str]:
    """Run the gate over stand-ins: its exit code, the steps it asked for, and what it printed."""
    steps = folder / "steps"
    steps.mkdir()
    (folder / ".ci").mkdir()
    shutil.copy(GATE, folder / ".ci" / "run")
    names = {"step": STEP, "make": STEP, "python3": STEP, "pyenv": "#!/bin/sh\necho /nowhere\n"}
    names |= dict.fromkeys(
        ("python3.14", "python3.13", "python3.12"), STEP if newer else "#!/bin/sh\nexit 127\n"
    )
    for name, text in names.items():
        (steps / name).write_text(text)
        (steps / name).chmod(0o755)
    scratch = folder / "scratch"
    scratch.mkdir()
    env = {"PATH": f"{steps}:{os.environ['PATH']}", "STEPS": str(steps), "ASKED": str(folder / "asked")}
    env |= {"FAILING": failing, "TMPDIR": str(scratch)}
    done = subprocess.run(
        ["bash", ".ci/run"], cwd=folder, env=env, check=False, capture_output=True, text=True
    )
    assert not list(scratch.iterdir()), "the gate left its scratch folder"
    return done.returncode, (folder / "asked").read_text(), done.stdout + done.stderr


@pytest.mark.parametrize("newer", [True, False])
def test_every_step_that_passes_is_a_gate_that_passes(tmp_path, newer):
    code, asked, said = gate(tmp_path, newer=newer)
    assert code == 0, said
    for step in ("make demo", "make test", "make check", "python -m pytest", "pip wheel", "chipweave check"):
        assert step in asked
    for step in ("make .venv-newer/.test", "\nchipweave demo", "VENV=.venv-newer TESTS="):
        assert (step in asked) is newer


@pytest.mark.parametrize(
    "failing",
    [
        *("make demo", "make test", "make check", "make .venv/.dev", "make .venv-newer/.test"),
        *("pip wheel", "chipweave new", "chipweave check", "test_benchmarks"),
        *("chipweave demo", "make test PYTHON"),
    ],
)
def test_a_step_that_fails_is_a_gate_that_fails(tmp_path, failing):
    code, asked, said = gate(tmp_path, failing)
    assert failing in asked
    assert code != 0, said
