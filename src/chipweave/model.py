"""The frozen nouns that every room speaks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Literal

import numpy as np
from affine import Affine
from shapely.geometry.base import BaseGeometry

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

Kind = Literal["imagery", "label", "mask", "scalar", "vector", "text", "table", "preview"]

Suffix = Literal["npy", "txt", "geojson", "json"]
"""How the file of a layer ends, after its name."""

KEY = re.compile(r"[A-Za-z0-9_-]+")
"""What a chip's key may be made of: WebDataset ends a key at the first dot."""

MASK_CLEAR, MASK_BAD, MASK_NODATA = 0, 1, 255
"""Codes of a `<layer>_mask`."""


@dataclass(frozen=True, slots=True)
class LegendClass:
    """One class of a legend: its code, its name, its colour as ``#rrggbb``."""

    code: int
    name: str
    colour: str


@dataclass(frozen=True, slots=True)
class Legend:
    """The classes of a categorical raster, in the order of `scene_labels`.

    Parameters
    ----------
    name
        What `<layer>.legend` says in every sample.
    classes
        In code order.
    nodata
        The code written where the source has no data, or a code that the legend does not know.
    dtype
        ``uint8`` or ``uint16``.
    unlabeled
        The code written where the source has a class that is none here; None where every class of it is one.
    """

    name: str
    classes: tuple[LegendClass, ...]
    nodata: int
    dtype: str = "uint8"
    unlabeled: int | None = None

    @property
    def codes(self) -> tuple[int, ...]:
        """The class codes, in legend order."""
        return tuple(c.code for c in self.classes)


@dataclass(frozen=True, slots=True)
class Credit:
    """What a source's licence asks for; `text` may hold ``{years}``."""

    licence: str
    url: str
    text: str
    citation: str = ""
    share_alike: bool = False


@dataclass(frozen=True, slots=True)
class Band:
    """A band under its common name, with every key that a known provider files it under.

    `scale`, `offset` and `unit` stand in place of the collection's where they are given. `derive` is what is worked out
    of the heights that its file holds, ``slope`` or ``aspect``.
    """

    name: str
    keys: tuple[str, ...]
    gsd: float
    scale: float | None = None
    offset: float | None = None
    unit: str = ""
    derive: str = ""


@dataclass(frozen=True, slots=True)
class MaskRule:
    """Which band tells bad pixels, which of its codes are bad, and which mean no data.

    With `bits` both are numbers of bits, from 0 for the lowest: a code with any of them set is bad, or no data; and
    `fill` is a code that is no data as a whole, whatever its bits.
    """

    band: str
    bad: tuple[int, ...]
    nodata: tuple[int, ...]
    bits: bool = False
    fill: int | None = None


@dataclass(frozen=True, slots=True)
class Collection:
    """What a collection means, whatever a catalog calls it.

    Parameters
    ----------
    name
        Canonical name, by which a recipe names it.
    kind
        ``imagery`` or ``label``.
    bands
        All bands that a recipe may ask for.
    nodata
        Value that means "no data" in the source files where neither item nor file states one.
    scale, offset
        Of imagery: ``source * scale + offset`` is the physical value, where the source value is what the file stores,
        for Sentinel-2 after its offset rule.
    unit
        Of that physical value: ``reflectance``, ``linear`` (backscatter power), ``dB`` (the same, stored as
        decibels), ``DN`` (as stored), ``K``, ``m``.
    static
        Whether it is of no date, as a model of the terrain is: a layer's time does not choose among its scenes.
    backscatter
        What a radar collection measures, as the card says it: ``gamma0, terrain-corrected``; else empty.
    offset_rule
        Name of the rule that finds the stored offset (``sentinel-2``), or empty.
    mask
        The mask rule, or None where the collection has no mask.
    legend
        Name of the legend (labels), or empty.
    editions
        Known editions, as years (labels).
    edition_property
        Item property that names the edition, and how its values map to years.
    credit
        Licence and wording.
    """

    name: str
    title: str
    kind: Literal["imagery", "label"]
    bands: tuple[Band, ...]
    nodata: float | None
    credit: Credit
    scale: float = 1.0
    offset: float = 0.0
    unit: str = "reflectance"
    backscatter: str = ""
    static: bool = False
    offset_rule: str = ""
    mask: MaskRule | None = None
    legend: str = ""
    editions: tuple[int, ...] = ()
    edition_property: str = ""
    edition_values: Mapping[str, int] = field(default_factory=dict)

    def band(self, name: str) -> Band | None:
        """Band of that common name or provider key, or None."""
        return next((b for b in self.bands if name == b.name or name in b.keys), None)


@dataclass(frozen=True, slots=True)
class Asset:
    """Where one band of one scene lies and how its stored numbers become ours: ``stored * gain + add``.

    `index` counts from 1, as GDAL does. `nodata` is what the item states, else None: then the file's own
    tag counts, else the collection's value.
    """

    href: str
    index: int = 1
    gain: float = 1.0
    add: float = 0.0
    nodata: float | None = None


@dataclass(frozen=True, slots=True)
class Scene:
    """One frozen STAC item, as one layer of the recipe sees it.

    Parameters
    ----------
    layer
        The recipe's layer that found it.
    id, collection
        Of the item; `collection` by its canonical name.
    time
        Acquisition, UTC. For a label the first day of its edition's year.
    geometry
        Footprint in lon/lat (EPSG:4326), taken from the projection where the item's own is loose.
    crs
        ``EPSG:n`` or WKT2 where the item states it, else empty: the file's header tells.
    cloud
        The catalog's own cloud figure in percent, NaN where it has none.
    platform, processed, edition
        Empty where unknown. `processed` sorts as text: newer is larger.
    assets
        By common band name, the mask band included; only what the recipe asks for.
    missing
        Bands that were asked for and that the item lacks.
    orbit_state, relative_orbit
        ``ascending`` or ``descending``, and the number of the track; empty and None where unknown.
    """

    layer: str
    id: str
    collection: str
    time: datetime
    geometry: BaseGeometry
    crs: str = ""
    cloud: float = float("nan")
    platform: str = ""
    processed: str = ""
    edition: str = ""
    assets: Mapping[str, Asset] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    orbit_state: str = ""
    relative_orbit: int | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """A square footprint on a lattice: upper left corner (x, y) in `crs`, `size` pixels of `resolution`."""

    key: str
    crs: str
    x: float
    y: float
    size: int
    resolution: float

    @property
    def affine(self) -> Affine:
        """Pixel (col, row) to CRS coordinates, of the pixel's upper left corner."""
        return Affine(self.resolution, 0.0, self.x, 0.0, -self.resolution, self.y)

    def on(self, size: int, resolution: float) -> Place:
        """Another grid over the same centre: `size` pixels of `resolution`."""
        if (size, resolution) == (self.size, self.resolution):
            return self
        shift = (self.size * self.resolution - size * resolution) / 2
        return Place(self.key, self.crs, self.x + shift, self.y - shift, size, resolution)

    @property
    def geobox(self) -> GeoBox:
        """The same as an odc-geo GeoBox."""
        from odc.geo.geobox import GeoBox  # noqa: PLC0415 - it brings dask, which a serial build saves

        return GeoBox((self.size, self.size), self.affine, self.crs)


@dataclass(frozen=True, slots=True)
class LayerSpec:
    """One layer as every sample of the dataset carries it.

    `dims` are ``("band", "y", "x")`` for imagery and ``("y", "x")`` for class labels and masks, after ``"time"`` where
    imagery and its mask are a series. `nodata` is
    NaN for floats. `legend` is set for class labels, `scene` where scene labels are of another legend, `credit` for
    whatever comes from a source.

    `shard_set` names the set of shards that licences keep it apart in, ``shards-<set>/``; empty for `shards/`.

    `suffix` says what its file is: ``npy``, an array; or a document in UTF-8, ``txt``, ``geojson`` or ``json``, which
    has no dimensions (see `document_spec`).
    """

    name: str
    kind: Kind
    collection: str
    bands: tuple[str, ...]
    dims: tuple[str, ...]
    dtype: str
    shape: tuple[int, ...]
    resolution: float
    nodata: float
    scale: float = 1.0
    offset: float = 0.0
    unit: str = ""
    legend: Legend | None = None
    credit: Credit | None = None
    suffix: Suffix = "npy"
    scene: Legend | None = None
    shard_set: str = ""

    @property
    def document(self) -> bool:
        """Whether it is text, and no array."""
        return self.suffix != "npy"

    @property
    def numpy_dtype(self) -> np.dtype[np.generic]:
        """Little-endian, so that bytes do not depend on the machine."""
        return np.dtype(self.dtype).newbyteorder("<")


def document_spec(
    name: str, kind: Kind, suffix: Suffix, collection: str, credit: Credit | None = None
) -> LayerSpec:
    """Layer of documents: `{key}.{name}.{suffix}`, in UTF-8."""
    return LayerSpec(
        name, kind, collection, (), (), "utf-8", (), 0.0, float("nan"), credit=credit, suffix=suffix
    )


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of a placed chip: one row of the ledger."""

    key: str
    state: Literal["written", "dropped", "failed"]
    stage: str
    reason: str = ""
    layer: str = ""
    href: str = ""
    error: str = ""
