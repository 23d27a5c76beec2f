"""Labels of the whole chip, from how many of its pixels each class has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from chipweave.model import Legend

Rule = Literal["presence", "fraction", "majority"]


@dataclass(frozen=True, slots=True)
class SceneRule:
    """How scene labels are made of the codes of a layer.

    Parameters
    ----------
    legend
        Of the scene labels, which come in its order.
    table
        (code of the layer, class of `legend`) of every class that counts; what is not in it is ignored.
    rule
        ``presence`` and ``fraction``: each class with a share above 0 and at least `min_fraction`. ``majority``: the
        one with the largest such share, the first of the legend where several have it.
    min_fraction
        Of all pixels of the chip.
    remapped
        Whether `legend` is another than the layer's.
    """

    legend: Legend
    table: tuple[tuple[int, int], ...]
    rule: Rule = "presence"
    min_fraction: float = 0.0
    remapped: bool = False

    @classmethod
    def plain(cls, legend: Legend, ignore: tuple[int, ...] = ()) -> SceneRule:
        """Presence of the layer's own classes, but for those that are ignored."""
        return cls(legend, tuple((c, c) for c in legend.codes if c not in ignore))

    def counts(self, pixels: npt.NDArray[np.int64]) -> dict[int, int]:
        """Pixels of each class, in legend order, of how often each code of the layer comes."""
        found = dict.fromkeys(self.legend.codes, 0)
        for code, to in self.table:
            if to in found:
                found[to] += int(pixels[code])
        return found

    def labels(self, counts: Mapping[int, int], size: int) -> list[int]:
        """0 or 1 for each class, in legend order; `size` is the number of pixels of the chip."""
        present = [n > 0 and n / size >= self.min_fraction for n in counts.values()]
        if self.rule == "majority":
            best = max((n for n, is_in in zip(counts.values(), present, strict=True) if is_in), default=0)
            first = next((i for i, n in enumerate(counts.values()) if n == best), -1) if best else -1
            present = [i == first for i in range(len(present))]
        return [int(p) for p in present]

    def said(self, pixels: npt.NDArray[np.int64], size: int) -> dict[str, Any]:
        """What ``{key}.json`` says of it: `scene_labels`, and `ignored`, the share of pixels that have no class here.

        Where the legend is another than the layer's, its name, and the share of each of its classes, too.
        """
        counts = self.counts(pixels)
        own: dict[str, Any] = {"scene_labels": self.labels(counts, size)}
        if self.remapped:
            own["scene_legend"] = self.legend.name
            own["scene_fractions"] = {str(code): n / size for code, n in counts.items()}
        return {**own, "ignored": (size - sum(counts.values())) / size}
