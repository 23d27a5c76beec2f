"""`manifest.json`: every file of a dataset with its size and SHA-256."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from chipweave.files import atomic_write_text, sha256_file

NAME = "manifest.json"
VERSION = 1


def dataset_files(folder: Path) -> list[str]:
    """Files of a dataset as paths below it, with slashes, sorted: all but the manifest and hidden ones."""
    found: list[str] = []
    for at, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [(Path(at) / n).relative_to(folder).as_posix() for n in names if not n.startswith(".")]
    return sorted(name for name in found if name != NAME)


def write_manifest(
    folder: Path, known: Mapping[str, tuple[int, str]] | None = None
) -> dict[str, tuple[int, str]]:
    """Write `manifest.json` of all other files in a dataset.

    Parameters
    ----------
    folder
        The dataset.
    known
        Bytes and SHA-256 of files, taken as they were written, by path below the dataset: these are not
        read again where the size is right.

    Returns
    -------
    dict
        Bytes and SHA-256 by path.
    """
    known = known or {}
    files: dict[str, tuple[int, str]] = {}
    for name in dataset_files(folder):
        size = (folder / name).stat().st_size
        if name in known and known[name][0] == size:
            files[name] = known[name]
        else:
            files[name] = (size, sha256_file(folder / name))
    content = {
        "version": VERSION,
        "files": {name: {"bytes": size, "sha256": sha} for name, (size, sha) in files.items()},
    }
    atomic_write_text(folder / NAME, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return files
