"""Targets on the chip's grid, and text about them: a label source is one file behind a Protocol (`labels.base`)."""

from chipweave.labels.base import Features, PlaceSource, Seen, Shown, Target, TextSource
from chipweave.labels.rasters import (
    LabelRead,
    clean_target,
    read_label,
    said_of_classes,
    target_of,
)

__all__ = [
    "Features",
    "LabelRead",
    "PlaceSource",
    "Seen",
    "Shown",
    "Target",
    "TextSource",
    "clean_target",
    "read_label",
    "said_of_classes",
    "target_of",
]
