"""Grid, CRS and bounds of every member: one footprint, and one that fits the pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from affine import Affine

from chipweave.audit.arrays import Array, Layer
from chipweave.audit.report import Check, Findings

_CLOSE = 1e-6
"""Pixels by which two grids may differ."""


@dataclass
class Grids:
    """Looks at the grids of every sample: see `chipweave.audit.scan.Watcher`."""

    findings: Findings = field(default_factory=lambda: Findings("grids"))
    members: int = 0

    def see(self, row: Mapping[str, Any], layers: Mapping[str, Layer], arrays: Mapping[str, Array]) -> None:
        """Hold every member's grid against the sample's."""
        chip, size = Affine(*row["transform"]), (int(row["height"]), int(row["width"]))
        for name, array in arrays.items():
            if array.ndim < 2:
                continue  # a number, which lies on no grid
            self.members += 1
            layer = layers[name]
            own = Affine(*layer["transform"])
            for text in _wrong(chip, size, own, array.shape[-2:], float(layer["resolution"])):
                self.findings.fail(f"{name} of {row['key']} {text}")

    def check(self) -> Check:
        """Give the verdict."""
        return self.findings.check(
            f"{self.members} members lie on grids over their sample's own centre, of the pixels that they say",
            members=self.members,
        )


def _wrong(
    chip: Affine, size: tuple[int, int], own: Affine, shape: tuple[int, ...], resolution: float
) -> list[str]:
    """What is wrong with a member's grid, in words."""
    said = []
    pixel = abs(own.a)
    if own.b or own.d or own.e >= 0 or own.a <= 0:
        said.append("lies on a grid that is not north-up")
    elif max(abs(own.a - resolution), abs(own.e + resolution)) > _CLOSE * pixel:
        said.append(f"has pixels of {own.a:g} x {-own.e:g}, and says {resolution:g}")
    middle, centre = own * (shape[1] / 2, shape[0] / 2), chip * (size[1] / 2, size[0] / 2)
    off = max(abs(middle[0] - centre[0]), abs(middle[1] - centre[1])) / pixel
    if off > _CLOSE:
        said.append(f"lies {off:g} px off its sample's centre")
    return said
