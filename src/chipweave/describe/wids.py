"""`wids-{split}.json`: which shards a split has, and how many samples each, for random access over tars."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from chipweave.files import atomic_write_text


def write_wids(
    folder: Path, split: str, shards: Sequence[tuple[str, int, int]], name: str, own: str = ""
) -> Path:
    """Write the index of one split.

    Parameters
    ----------
    folder
        The dataset.
    split
        Its name is part of the file's: readers cache by base name.
    shards
        Path below the dataset, number of samples and bytes of each shard.
    name
        Of the dataset.
    own
        The set of shards that licences keep apart, of which they are: `wids-<set>-{split}.json`.

    Returns
    -------
    Path
        Of the file.
    """
    stem = f"{own}-{split}" if own else split
    content = {
        "wids_version": 1,
        "name": f"{name}-{stem}",
        "shardlist": [{"url": url, "nsamples": count, "filesize": size} for url, count, size in shards],
    }
    path = folder / f"wids-{stem}.json"
    atomic_write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return path
