"""What every label and text source is, and what it gives of a chip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from chipweave.model import LayerSpec, Place, Scene

AnyArray = npt.NDArray[Any]

NO_CLASS: Final = -1
"""Class of a feature that has none."""


@dataclass(frozen=True, slots=True)
class Features:
    """Whole features that meet a chip, n of them, in the order in which they are burned.

    Parameters
    ----------
    geometry
        (n,) valid shapely geometries in the chip's CRS, not cut at its edge.
    codes
        (n,) int32, class of each in the layer's legend; `NO_CLASS` where it has none.
    ids
        (n,) of the source, such as ``way/123``; text that a person may look up.
    tags
        (n,) attributes: text to plain JSON values.
    """

    geometry: npt.NDArray[np.object_]
    codes: npt.NDArray[np.int32]
    ids: tuple[str, ...]
    tags: tuple[Mapping[str, Any], ...]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Target:
    """What one label or text layer gives of one chip.

    Parameters
    ----------
    arrays
        By member: the layer's own name first, then such as ``fields_instances``; as the member's `LayerSpec` says.
    documents
        Text members, by name: bytes in UTF-8.
    said
        By member: what ``{key}.json`` says of it beside its `LayerSpec`, the same keys and types in every sample, no
        empty list and no null: ``datetime``, ``items``, ``present``, ``valid_fraction`` (of documents too, 1.0 where
        nothing else is meant), and of class labels ``legend``, ``fractions``, ``scene_labels``.
    facts
        Figures of the layer that `keep`, `split` and `balance` may ask for, by name: ``80`` (share of a class),
        ``nodata``, ``ignored``, ``valid_fraction``.
    features
        Where it comes from vectors: what captions and questions are written from.
    """

    arrays: Mapping[str, AnyArray]
    said: Mapping[str, Mapping[str, Any]]
    documents: Mapping[str, bytes] = field(default_factory=dict)
    facts: Mapping[str, float] = field(default_factory=dict)
    features: Features | None = None


class PlaceSource(Protocol):
    """A label layer that is made place by place: vectors, OpenStreetMap, points. It is sent to workers.

    Whatever it opens, such as an index of features, it keeps in its process, by path and time of change, and small.
    """

    @property
    def specs(self) -> tuple[LayerSpec, ...]:
        """Its members, the layer itself first."""

    def read(self, place: Place, scenes: Sequence[Scene]) -> Target:
        """What it gives of one place.

        Raises
        ------
        TransientSourceError, PermanentSourceError
            Where a source cannot be read.
        """


@dataclass(frozen=True, slots=True)
class Shown:
    """What a sample says of one imagery layer, for those who write about it."""

    collection: str
    bands: tuple[str, ...]
    resolution: float
    unit: str
    datetimes: tuple[str, ...]
    items: tuple[tuple[str, ...], ...]
    cloud_fraction: float
    valid_fraction: float


@dataclass(frozen=True, slots=True)
class Seen:
    """Everything of one chip that text may be written from.

    Parameters
    ----------
    place
        Its grid; `crs` is in metres unless the recipe wants degrees.
    bbox
        (w, s, e, n) in lon/lat.
    targets, specs
        What label layers gave, and what their members are: by layer, and by member.
    imagery
        By layer.
    columns
        Attributes of the chip, and its Major TOM cell.
    """

    place: Place
    bbox: tuple[float, float, float, float]
    targets: Mapping[str, Target]
    specs: Mapping[str, LayerSpec]
    imagery: Mapping[str, Shown] = field(default_factory=dict)
    columns: Mapping[str, Any] = field(default_factory=dict)


class TextSource(Protocol):
    """A text layer: a pure function of what a chip shows and a seed."""

    @property
    def specs(self) -> tuple[LayerSpec, ...]:
        """Its members: the text (``txt``), then its facts (``json``)."""

    def write(self, seen: Seen) -> Target:
        """Texts of one chip."""


def plain_facts(dates: Sequence[str], items: Sequence[str]) -> dict[str, Any]:
    """What ``{key}.json`` says of a member that is all there or not: the same keys in every sample, no empty list."""
    return {
        "datetime": list(dates) or [""],
        "items": [list(items) or [""]],
        "present": bool(items),
        "valid_fraction": 1.0 if items else 0.0,
    }
