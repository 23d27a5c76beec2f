"""`tables/<layer>.parquet`: records of all samples of a layer of features, one row a polygon."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq

from chipweave.files import atomic_path
from chipweave.labels.tables import table_of
from chipweave.model import LayerSpec
from chipweave.shards.reader import Reader

FOLDER = "tables"
"""Below the dataset."""

SAMPLES = 512
"""Samples whose records are held at a time."""


def write_records(folder: Path, specs: Sequence[LayerSpec]) -> list[Path]:
    """Gather the records of all layers of kind ``table`` from the shards, in the order of the index.

    Parameters
    ----------
    folder
        The dataset, with shards and index.
    specs
        Members of its samples.

    Returns
    -------
    list of Path
        The tables, one a layer.
    """
    layers = [spec.name for spec in specs if spec.kind == "table"]
    if not layers:
        return []
    with Reader(folder) as dataset:
        return [_write(dataset, layer, folder / FOLDER / f"{layer}.parquet") for layer in layers]


def _write(dataset: Reader, layer: str, path: Path) -> Path:
    keys, splits = dataset.keys, dataset.index["split"].astype(str).tolist()
    with atomic_path(path) as temporary:
        writer = None
        try:
            for first in range(0, len(keys), SAMPLES):
                own = zip(keys[first : first + SAMPLES], splits[first : first + SAMPLES], strict=True)
                table = table_of((key, split, dataset.read_document(key, layer)) for key, split in own)
                writer = writer or pq.ParquetWriter(temporary, table.schema, compression="zstd")
                writer.write_table(table)
        finally:
            if writer is not None:
                writer.close()
    return path
