"""Files against the manifest."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from chipweave.audit.arrays import strict_json
from chipweave.audit.report import BROKEN, Check, Findings
from chipweave.files import sha256_file
from chipweave.shards.manifest import NAME, VERSION, dataset_files

_REPORTS = "report/"


def unreadable(what: str, exc: Exception) -> str:
    """Say that a file cannot be read, and why, in the system's own words where it is the system that refuses."""
    why = exc.strerror if isinstance(exc, OSError) and exc.strerror else exc
    return f"{what} cannot be read: {why}"


def check_files(folder: Path, *, copied: bool = False) -> list[Check]:
    """Check that every listed file is there as listed, and that nothing else is.

    Parameters
    ----------
    folder
        The dataset.
    copied
        The folder is a copy of what the manifest lists, from a URL: what else lies there cannot be known.
    """
    findings = Findings("manifest")
    listed: dict[str, Any] = {}
    try:
        if not (folder / NAME).is_file():
            findings.fail(f"{NAME} is missing: the build was not sealed")
            return [findings.check("")]
        listed = _load(folder / NAME)
    except BROKEN as exc:
        findings.fail(unreadable(NAME, exc))
        return [findings.check("")]
    size = 0
    for name, said in listed.items():
        try:
            size += _check_file(folder, name, said, findings)
        except BROKEN as exc:
            findings.fail(unreadable(name, exc))
    told = findings.check(f"{len(listed)} files are as listed", files=len(listed), bytes=size)
    if copied:
        why = "read from a URL, where only the files that the manifest lists are known"
        return [told, Check("unlisted", "skip", why)]
    return [told, _check_unlisted(folder, set(listed))]


def _load(path: Path) -> dict[str, Any]:
    content = strict_json(path.read_bytes())
    if content.get("version") != VERSION:
        raise ValueError(f"its version is {content.get('version')}, not {VERSION}")
    files = content.get("files")
    if not isinstance(files, dict):
        raise TypeError("`files` is no mapping")
    return files


def _check_file(folder: Path, name: str, said: object, findings: Findings) -> int:
    pure = PurePosixPath(name)
    path = folder / name
    inside = path.resolve().is_relative_to(folder.resolve())
    if pure.is_absolute() or ".." in pure.parts or "\\" in name or not inside:
        findings.fail(f"{name} leads out of the folder")
        return 0
    if not isinstance(said, dict) or not {"bytes", "sha256"} <= said.keys():
        findings.fail(f"{NAME} does not say bytes and sha256 of {name}")
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
    try:
        hidden = sorted(path.name for path in folder.iterdir() if path.name.startswith("."))
    except OSError as exc:
        return Check("unlisted", "fail", unreadable(str(folder), exc))
    for name in hidden:
        findings.warn(f"{name} lies in the folder and was left aside")
    return findings.check("nothing lies in the folder that is not listed", hidden=len(hidden))
