"""Statistics of a dataset, gathered a batch at a time: imagery by band on train, class counts by split.

Imagery is counted as stored, without nodata; a physical figure is ``figure * scale + offset``.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from chipweave.errors import ChipweaveError
from chipweave.model import LayerSpec, Legend
from chipweave.shards.sample import Array
from chipweave.shards.tallies import FloatTally, Histogram

TRAINED = frozenset({"train", "all"})
"""Splits that are trained on, and so tell of values; all folds are, each in its turn."""


CLIPPED = 32767
"""Where int16 is clipped, up and down (contract, section 3): values that stand there may have lain beyond."""


def classes_of(legend: Legend) -> list[dict[str, Any]]:
    """Classes of a legend, as `stats.json` and Zarr have them."""
    return [{"code": c.code, "name": c.name, "colour": c.colour} for c in legend.classes]


def is_numbers(spec: LayerSpec) -> bool:
    """Whether a layer is a label that is a quantity, such as a height."""
    return (
        spec.kind == "label"
        and spec.legend is None
        and not spec.document
        and np.issubdtype(spec.numpy_dtype, np.floating)
    )


class PartialStats:
    """What some samples add to `stats.json`. Merging in any order gives the same result, bit for bit."""

    def __init__(self) -> None:
        self._integers: dict[tuple[str, int], Histogram] = {}
        self._floats: dict[tuple[str, int], FloatTally] = {}
        self._classes: dict[tuple[str, str], Histogram] = {}

    def add(self, spec: LayerSpec, split: str, array: Array) -> None:
        """Count one layer of one sample.

        Imagery and labels that are numbers count where `split` is train, class labels always, other kinds never.

        Parameters
        ----------
        spec
            Its `dims` tell where the bands are.
        array
            ``([time,] band, y, x)`` or ``(y, x)``.
        """
        if spec.kind == "imagery" and split in TRAINED:
            bands = np.moveaxis(array, spec.dims.index("band"), 0)
            for number, band in enumerate(bands):
                self._add_band((spec.name, number), band, spec.nodata)
        elif is_numbers(spec):
            if split in TRAINED:
                self._add_band((spec.name, 0), array, spec.nodata)
        elif spec.kind == "label" and np.issubdtype(array.dtype, np.integer):
            self._classes.setdefault((spec.name, split), Histogram()).add(array)

    def _add_band(self, where: tuple[str, int], band: Array, nodata: float) -> None:
        if np.issubdtype(band.dtype, np.integer):
            whole = None if math.isnan(nodata) else int(nodata)
            self._integers.setdefault(where, Histogram()).add(band, whole)
        else:
            self._floats.setdefault(where, FloatTally()).add(band, nodata)

    def merge(self, other: PartialStats) -> None:
        """Add what another one counted; it is not changed."""
        for band, histogram in other._integers.items():
            self._integers.setdefault(band, Histogram()).add_counts(*histogram.items())
        for band, tally in other._floats.items():
            self._floats.setdefault(band, FloatTally()).merge(tally)
        for label, histogram in other._classes.items():
            self._classes.setdefault(label, Histogram()).add_counts(*histogram.items())

    def finish(self, layers: Sequence[LayerSpec]) -> dict[str, Any]:
        """Contents of `stats.json`.

        Returns
        -------
        dict
            By layer. Imagery, and labels that are numbers: by band ``count, mean, std`` (of the population) ``, min,
            max, p01, p02, p50, p98, p99, histogram: {edges, counts}``, figures None where nothing was counted; of int16
            imagery also ``clipped``, how many values stand at ±32767. Class labels: ``legend, classes, counts`` (by
            split and code) and ``nodata`` (by split: pixels of no class), the code ``unlabeled``, and
            ``scene_legend, scene_classes`` where scene labels are of another legend.
        """
        out: dict[str, Any] = {}
        for spec in layers:
            if spec.kind == "imagery" or is_numbers(spec):
                out[spec.name] = {band: self._band(spec, i) for i, band in enumerate(spec.bands)}
            elif spec.kind == "label" and spec.legend is not None:
                out[spec.name] = self._label(spec)
        return out

    def _band(self, spec: LayerSpec, number: int) -> dict[str, Any]:
        where = (spec.name, number)
        if where in self._floats:
            return self._floats[where].summary()
        histogram = self._integers.get(where, Histogram())
        if spec.kind != "imagery" or spec.numpy_dtype != np.int16:
            return histogram.summary()
        values, counts = histogram.items()
        return histogram.summary() | {"clipped": int(counts[np.abs(values) == CLIPPED].sum())}

    def _label(self, spec: LayerSpec) -> dict[str, Any]:
        if spec.legend is None:
            raise ChipweaveError(f"label {spec.name} has no legend")
        counts: dict[str, dict[str, int]] = {}
        rest: dict[str, int] = {}
        for split in sorted(s for layer, s in self._classes if layer == spec.name):
            values, numbers = self._classes[spec.name, split].items()
            found = dict(zip(values.tolist(), numbers.tolist(), strict=True))
            counts[split] = {str(code): found.pop(code, 0) for code in spec.legend.codes}
            rest[split] = sum(found.values())
        said: dict[str, Any] = {
            "legend": spec.legend.name, "classes": classes_of(spec.legend), "counts": counts, "nodata": rest,
        }  # fmt: skip
        if spec.legend.unlabeled is not None:
            said["unlabeled"] = spec.legend.unlabeled
        if spec.scene is not None:
            said |= {"scene_legend": spec.scene.name, "scene_classes": classes_of(spec.scene)}
        return said

    def to_bytes(self) -> bytes:
        """As an `.npz` file."""
        arrays: dict[str, Array] = {}
        names: dict[str, list[Any]] = {"integers": [], "floats": [], "classes": []}

        def put(kind: str, name: tuple[str, Any], histogram: Histogram, state: Any = None) -> None:
            number = len(arrays) // 2
            arrays[f"values{number}"], arrays[f"counts{number}"] = histogram.items()
            names[kind].append([*name, number, state])

        for band, histogram in sorted(self._integers.items()):
            put("integers", band, histogram)
        for band, tally in sorted(self._floats.items()):
            put("floats", band, tally.bins, tally.state())
        for label, histogram in sorted(self._classes.items()):
            put("classes", label, histogram)
        file = io.BytesIO()
        index = np.frombuffer(json.dumps(names).encode(), np.uint8)
        np.savez(file, allow_pickle=False, index=index, **arrays)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> PartialStats:
        """Undo `to_bytes`.

        Raises
        ------
        ValueError, KeyError, OSError, zipfile.BadZipFile
            The bytes are no such file.
        """
        stats = cls()
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            names = json.loads(arrays["index"].tobytes())

            def get(number: int) -> Histogram:
                histogram = Histogram()
                histogram.add_counts(arrays[f"values{number}"], arrays[f"counts{number}"])
                return histogram

            for layer, band, number, _ in names["integers"]:
                stats._integers[layer, band] = get(number)
            for layer, band, number, state in names["floats"]:
                stats._floats[layer, band] = FloatTally.restore(state, get(number))
            for layer, split, number, _ in names["classes"]:
                stats._classes[layer, split] = get(number)
        return stats
