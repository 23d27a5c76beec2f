"""`show`: samples and a map of the splits on one sheet, from the folder alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chipweave.describe.colours import Classes
from chipweave.describe.panels import choose, class_counts, picture_of, title_of
from chipweave.describe.sheet import draw
from chipweave.errors import UsageError
from chipweave.files import atomic_write_bytes
from chipweave.shards.damage import readable
from chipweave.shards.deal import split_order
from chipweave.shards.reader import Reader

_SAMPLES = 12
_MOST = 60
_FEW = 5
"""Layers up to which a dozen samples fit on a sheet; of more layers half as many are drawn."""


def show(folder: Path, keys: Sequence[str] = (), out: Path | None = None) -> Path:
    """Draw a contact sheet: imagery in true colour, labels in their colours, and the map of splits.

    Parameters
    ----------
    folder
        A finished dataset.
    keys
        Samples to draw, at most 60; by default a dozen, spread over the splits and over the area.
    out
        Of the PNG; by default beside the folder, ``{folder}-sheet.png``, as a dataset holds nothing that its
        manifest does not list.

    Returns
    -------
    Path
        Where the sheet was written.

    Raises
    ------
    UsageError
        The folder holds no dataset, a key is not in it, or too many were asked for.
    VerifyError
        A sample cannot be read.
    """
    if len(keys) > _MOST:
        raise UsageError(f"{len(keys)} samples do not fit on a sheet", hint=f"name at most {_MOST} keys")
    folder = Path(folder)
    with readable(folder):
        sheet = _sheet(folder, keys)
    name = folder.resolve().name
    path = out or folder.resolve().with_name(f"{name}-sheet.png")
    atomic_write_bytes(path, sheet)
    return path


def _sheet(folder: Path, keys: Sequence[str]) -> bytes:
    """The PNG."""
    with Reader(folder) as reader:
        index = reader.index
        missing = [key for key in keys if key not in reader]
        if missing:
            raise UsageError(
                f"{folder} has no sample {missing[0]}",
                hint="its keys stand in the column `key` of index.parquet",
            )
        drawn = sum(not name.endswith("_mask") for name in reader.layers)
        chosen = list(dict.fromkeys(keys)) or choose(index, _SAMPLES if drawn <= _FEW else _SAMPLES // 2)
        rows = {key: number for number, key in enumerate(reader.keys)}
        stats = class_counts(folder)
        classes = {layer: Classes.told(content) for layer, content in stats.items()}
        pictures = [picture_of(reader, index, rows[key], classes) for key in chosen]
    return draw(pictures, index, class_shares(stats, classes), title_of(folder))


def class_shares(
    stats: Mapping[str, Any], classes: Mapping[str, Classes]
) -> dict[str, list[tuple[str, list[tuple[str, float]]]]]:
    """By label layer, split and class: colours and their shares of the pixels that have a class."""
    out: dict[str, list[tuple[str, list[tuple[str, float]]]]] = {}
    for layer, content in stats.items():
        out[layer] = []
        for split in split_order(content["counts"]):
            counts = content["counts"][split]
            whole = max(sum(counts.values()), 1)
            parts = [(classes[layer].colour(int(code)), n / whole) for code, n in counts.items() if n]
            out[layer].append((split, parts))
    return out
