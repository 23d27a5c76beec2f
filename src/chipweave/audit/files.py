"""Files against the manifest."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any

from chipweave.audit.report import BROKEN, Check, Findings
from chipweave.files import sha256_file
from chipweave.shards.manifest import NAME, VERSION, dataset_files

_REPORTS = "report/"


def check_files(folder: Path) -> list[Check]:
    """Check that every listed file is there as listed, and that nothing else is."""
    findings = Findings("manifest")
    listed: dict[str, Any] = {}
    if not (folder / NAME).is_file():
        findings.fail(f"{NAME} is missing: the build was not sealed")
        return [findings.check("")]
    try:
        listed = _load(folder / NAME)
    except BROKEN as exc:
        findings.fail(f"{NAME} cannot be read: {exc}")
        return [findings.check("")]
    size = 0
    for name, said in listed.items():
        try:
            size += _check_file(folder, name, said, findings)
        except BROKEN as exc:
            findings.fail(f"{name}: {exc}")
    told = findings.check(f"{len(listed)} files are as listed", files=len(listed), bytes=size)
    return [told, _check_unlisted(folder, set(listed))]


def _load(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_bytes())
    if content["version"] != VERSION:
        raise ValueError(f"its version is {content['version']}, not {VERSION}")
    files = content["files"]
    if not isinstance(files, dict):
        raise TypeError("`files` is no mapping")
    return files


def _check_file(folder: Path, name: str, said: dict[str, Any], findings: Findings) -> int:
    pure = PurePosixPath(name)
    path = folder / name
    inside = path.resolve().is_relative_to(folder.resolve())
    if pure.is_absolute() or ".." in pure.parts or "\\" in name or not inside:
        findings.fail(f"{name} leads out of the folder")
        return 0
    if not path.is_file():
        findings.fail(f"{name} is missing")
        return 0
    size = path.stat().st_size
    if size != said["bytes"]:
        findings.fail(f"{name} has {size} bytes, listed are {said['bytes']}")
    elif sha256_file(path) != said["sha256"]:
        findings.fail(f"{name} has another SHA-256 than is listed")
    return size


def _check_unlisted(folder: Path, listed: set[str]) -> Check:
    findings = Findings("unlisted")
    for name in dataset_files(folder):
        if name not in listed:
            if name.startswith(_REPORTS):
                findings.warn(f"{name} is not listed")
            else:
                findings.fail(f"{name} is not listed")
    hidden = sorted(path.name for path in folder.iterdir() if path.name.startswith("."))
    for name in hidden:
        findings.warn(f"{name} lies in the folder and was left aside")
    return findings.check("nothing lies in the folder that is not listed", hidden=len(hidden))
