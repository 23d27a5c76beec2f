"""Targets on the chip's grid. A label source is one file behind its function; so far: categorical rasters."""

from chipweave.labels.rasters import LabelRead, class_shares, compose_labels, read_label, scene_labels

__all__ = ["LabelRead", "class_shares", "compose_labels", "read_label", "scene_labels"]
