"""How a dataset is loaded, as the card tells it: a few lines of Python a format."""

from __future__ import annotations

from collections.abc import Sequence

from chipweave.describe.summary import Summary
from chipweave.describe.text import code
from chipweave.model import LayerSpec

DECODER = (
    "import blosc2",
    "import numpy as np",
    "",
    "",
    "def decode_b2(sample):",
    '    for name, layer in sample["json"]["layers"].items():',
    '        if f"{name}.b2" in sample:',
    '            data = blosc2.decompress2(sample.pop(f"{name}.b2"))',
    '            sample[f"{name}.npy"] = np.frombuffer(data, layer["dtype"]).reshape(layer["shape"])',
    "    return sample",
    "",
)
"""How a sample with `.b2` members becomes one with arrays: type and shape stand in its JSON."""


def loading(layers: Sequence[LayerSpec], summary: Summary, encoding: str) -> str:
    """Section of the card: how the dataset is read by those that know nothing of chipweave."""
    split = next(iter(summary.counts), "train")
    names = [spec.name for spec in layers if spec.kind in {"imagery", "label"} and not spec.document]
    apart = {spec.name for spec in layers if spec.shard_set}
    every, names = names, [name for name in names if name not in apart]
    parts = ["## How to load it"]
    shards = summary.shards.get(split, ())
    if shards:
        fields = ", ".join(f'"{name}.npy"' for name in names)
        last = len(shards) - 1
        which = f"{split}-{{000000..{last:06d}}}" if last else f"{split}-000000"
        parts += [
            _python(
                "import webdataset as wds",
                *(DECODER if encoding == "blosc2" else ()),
                "",
                f'samples = wds.WebDataset("shards/{which}.tar", shardshuffle=False).decode()',
                *(("samples = samples.map(decode_b2)",) if encoding == "blosc2" else ()),
                f'for {", ".join([*names, "meta"])} in samples.to_tuple({fields}, "json"):',
                "    break",
            ),
            _python(
                "from datasets import load_dataset",
                "",
                f'files = {{"{split}": "shards/{split}-*.tar"}}',
                f'samples = load_dataset("webdataset", data_files=files, split="{split}", streaming=True)',
                (
                    f'array = decode_b2(next(iter(samples)))["{names[0]}.npy"]  # as above'
                    if encoding == "blosc2"
                    else f'array = next(iter(samples))["{names[0]}.npy"]'
                ),
            ),
        ]
    parts += _zipped(layers, summary, split)
    if "zarr" in summary.formats:
        parts.append(
            _python(
                "import xarray as xr",
                "",
                *(f'{n} = xr.open_zarr("zarr/{split}.zarr", group="{n}")["{n}"]' for n in every),
            )
        )
    return "\n\n".join(parts)


def _zipped(layers: Sequence[LayerSpec], summary: Summary, split: str) -> list[str]:
    """How the layers that licences keep apart are read beside the others: the same keys in the same order."""
    told = []
    for own in summary.beside:
        names = ", ".join(code(s.name) for s in layers if s.shard_set == own)
        last = len(summary.beside[own].get(split, ())) - 1
        which = f"{split}-{{000000..{last:06d}}}" if last > 0 else f"{split}-000000"
        told += [
            f"Licences keep {names} apart, in `shards-{own}/`: the same keys in the same order.",
            _python(
                "import webdataset as wds",
                "",
                f'sets = [wds.WebDataset(f"{{name}}/{which.replace("{", "{{").replace("}", "}}")}.tar",',
                "                       shardshuffle=False).decode()",
                f'        for name in ("shards", "shards-{own}")]',
                "for sample, beside in zip(*sets):",
                '    assert sample["__key__"] == beside["__key__"]',
                "    break",
            ),
        ]
    return told


def _python(*lines: str) -> str:
    return "\n".join(["```python", *lines, "```"])
