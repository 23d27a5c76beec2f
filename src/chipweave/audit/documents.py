"""What lies beside the samples: card, credits, Croissant, STAC; and whether every format is there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq
import yaml

from chipweave.audit.arrays import strict_json
from chipweave.audit.files import unreadable
from chipweave.audit.report import BROKEN, Check, Findings
from chipweave.audit.tables import RECIPE, Index
from chipweave.files import sha256_file

_CROISSANT: Final = "croissant.json"
_COLLECTION, _SAMPLES = "stac/collection.json", "stac/samples.parquet"
_PAPERS: Final = ("README.md", "ATTRIBUTION.md", _CROISSANT, _COLLECTION, _SAMPLES)
_FOLDERS: Final = {"webdataset": "shards", "zarr": "zarr"}


def check_documents(folder: Path, index: Index) -> Check:
    """Check that all is there that belongs to a dataset, and that it speaks of this one."""
    findings = Findings("documents")
    for name in _PAPERS:
        try:
            if not (folder / name).is_file():
                findings.fail(f"{name} is missing")
            elif not (folder / name).stat().st_size:
                findings.fail(f"{name} is empty")
            elif name == _CROISSANT:
                _check_croissant(folder, strict_json((folder / name).read_bytes()), findings)
            elif name == _COLLECTION:
                strict_json((folder / name).read_bytes())
            elif name == _SAMPLES:
                _check_items(folder, index, findings)
        except BROKEN as exc:
            findings.fail(unreadable(name, exc))
    for name in _formats(folder):
        if name in _FOLDERS and not (folder / _FOLDERS[name]).is_dir():
            findings.fail(f"{_FOLDERS[name]}/ is missing: the recipe's output.formats asks for {name}")
    return findings.check("card, credits, Croissant and STAC are there, and of this index")


def _check_croissant(folder: Path, said: Mapping[str, Any], findings: Findings) -> None:
    """Files that Croissant names by their bytes are those of the folder; the index is among them."""
    named = {str(of["contentUrl"]): of for of in said["distribution"] if "sha256" in of}
    if "index.parquet" not in named:
        findings.fail(f"{_CROISSANT} does not name index.parquet by its SHA-256")
    for name, of in named.items():
        path = folder / name
        if "://" in name:
            continue
        if not path.resolve().is_relative_to(folder.resolve()):
            findings.fail(f"{_CROISSANT} names {name[:80]}, which leads out of the folder")
        elif not path.is_file():
            findings.fail(f"{_CROISSANT} names {name[:80]}, which is missing")
        elif of["sha256"] != sha256_file(path):
            findings.fail(f"{_CROISSANT} names another SHA-256 of {name} than it has")


def _check_items(folder: Path, index: Index, findings: Findings) -> None:
    """STAC has an item a sample, of its key."""
    ids = pq.read_table(folder / _SAMPLES, columns=["id"])["id"].to_pylist()
    odd = sorted({str(one) for one in ids} ^ {str(key) for key in index.column("key")})
    if odd:
        findings.fail(f"{_SAMPLES} and the index have not the same samples: {odd[0]} is in one of them")
    elif len(ids) != len(index):
        findings.fail(f"{_SAMPLES} has {len(ids)} items, the index {len(index)} samples")


def _formats(folder: Path) -> list[str]:
    """What the recipe asks for; nothing where it cannot be read, which its own check says."""
    try:
        output = yaml.safe_load((folder / RECIPE).read_text(encoding="utf-8")).get("output") or {}
        return [str(name) for name in output.get("formats") or ("webdataset",)]
    except (*BROKEN, yaml.YAMLError):
        return []
