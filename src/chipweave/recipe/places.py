"""Where: `area`, `chips`, `attributes`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, Field, Tag, field_validator, model_validator
from pyproj import CRS
from pyproj.exceptions import CRSError

from chipweave.recipe.base import (
    Count,
    Flag,
    Name,
    Node,
    NotNegative,
    Number,
    Positive,
    Quota,
    Seed,
    Share,
    Text,
    expected,
    later,
    one_of,
    refused,
)
from chipweave.recipe.keys import fields

_AREA_SOURCES: Final = ("bbox", "geojson", "file", "country", "mgrs", "world")


class Area(Node):
    """Where chips lie: one of bbox, geojson, file, country, mgrs, world."""

    bbox: tuple[Number, Number, Number, Number] | None = Field(
        None, description="[west, south, east, north] in degrees; west > east crosses the antimeridian."
    )
    geojson: Text | None = Field(None, description="GeoJSON file with the area, in lon/lat.")
    file: Text | None = Field(None, description="Vector file with the area; any CRS, but it must say which.")
    layer: Text | None = Field(None, description="Layer of `file`; the first one if absent.")
    where: Text | None = Field(None, description="Attribute filter on the features of `file`, as in SQL.")
    country: Text | None = Field(
        None, description="A country by its ISO 3166 alpha-3 code, such as PRT.", json_schema_extra=later()
    )
    mgrs: Annotated[tuple[Text, ...], Field(min_length=1)] | None = Field(
        None, description="Squares of 100 km of the military grid, such as [29TNE]."
    )
    world: Literal["land"] | None = Field(None, description="All land.", json_schema_extra=later())
    rule: Literal["centre", "within", "intersects"] = Field(
        "centre",
        description="Which chips belong: centre inside the area (half-open), wholly within, or touching it.",
    )

    @field_validator("bbox")
    @classmethod
    def _box(cls, box: tuple[float, float, float, float] | None) -> tuple[float, float, float, float] | None:
        if box is not None:
            west, south, east, north = box
            if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south < north <= 90):
                raise expected("[west, south, east, north] in degrees with south < north")
            if west == east:
                raise expected("[west, south, east, north] with west and east apart")
        return box

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [key for key in _AREA_SOURCES if getattr(self, key) is not None]
        if len(given) != 1:
            said = f"{' and '.join(given)} exclude each other" if given else "nothing says where"
            raise refused(f"{said}; give exactly one of {', '.join(_AREA_SOURCES)}")
        for key in ("layer", "where"):
            if getattr(self, key) is not None and self.file is None:
                raise refused("goes with 'file' only", at=key)
        return self


class Size(Node):
    """Size of a chip on the ground."""

    m: Positive = Field(description="Side in metres.")
    px: Count = Field(le=65536, description="Side in pixels.")


class Lattice(Node):
    """The lattice on which chips lie: multiples of size times resolution from the anchor, in its CRS."""

    anchor: Annotated[
        Annotated[Literal["s2", "landsat"], Tag("\0text")] | Annotated[tuple[Number, Number], Tag("\0list")],
        one_of("'s2', 'landsat' or [x0, y0]"),
    ] = Field(
        "s2",
        description="s2: (0, 0) north, (0, 10 000 000) south. landsat: (15, 15). Or [x0, y0] in the CRS.",
    )
    snap: Flag = Field(
        True,
        description="A chip that is placed at a point snaps its corner to the pixel lattice.",
    )


class Subdivide(Node):
    """Cut each chip into n by n chips, from its upper left corner; what is left over is dropped."""

    n: Count = Field(description="Parts on a side.")
    px: Count = Field(description="Side of a part in pixels.")


class Exclude(Node):
    """Places to stay away from."""

    near: Text = Field(description="Vector file of what to stay away from.")
    m: NotNegative = Field(description="How far, in metres.")


class Negatives(Node):
    """Places beside features where there is none."""

    per: Count = Field(1, description="Places for each feature.")
    away_m: NotNegative = Field(
        description="Metres that a chip keeps from every feature of the file, also from those that `where` leaves out."
    )
    within_m: Positive = Field(50_000.0, description="Metres from its feature within which a place is drawn.")


_OWN_KEYS: Final[dict[str, tuple[str, ...]]] = {
    "grid": ("stride",),
    "majortom": (),
    "points": ("file", "where", "jitter_m", "centre", "negatives"),
    "features": ("file", "where", "jitter_m", "centre", "negatives"),
    "random": (),
    "stratified": ("by", "quota"),
    "cities": ("file", "std_km"),
    "land_grid": ("km",),
    "scene_tiles": ("of", "origin", "partial"),
    "list": ("file",),
}
_SHARED_KEYS: Final = {"method", "count", "seed", "min_distance_m", "exclude"}
_NEEDED: Final = {
    "random": ("count",),
    "land_grid": ("km",),
    "scene_tiles": ("of",),
    "stratified": ("by", "quota"),
}
_NO_POINTS: Final = {"grid", "stratified", "scene_tiles", "list"}
"""Methods that place chips by their corner."""

_NEEDS_FILE: Final = {"points", "features", "cities", "list"}


class Sampling(Node):
    """How places are chosen in the area."""

    method: Literal[
        "grid",
        "majortom",
        "points",
        "features",
        "random",
        "stratified",
        "cities",
        "land_grid",
        "scene_tiles",
        "list",
    ] = Field("grid", description="The method.")
    stride: Count | None = Field(
        None, description="grid: step in pixels; the chip's size if absent. With less, chips overlap."
    )
    file: Text | None = Field(
        None,
        description="points, features, cities: a vector file, or a table with lon and lat. list: a table of key, crs, "
        "transform.",
    )
    where: Text | None = Field(None, description="points, features: attribute filter, as in SQL.")
    jitter_m: NotNegative = Field(
        0.0, description="points, features: random shift of at most this many metres."
    )
    centre: Literal["point", "bounds"] = Field(
        "point",
        description="points, features: a chip's centre is the feature's own point (its centroid, or one inside it), or "
        "the middle of its bounds.",
    )
    negatives: Negatives | None = Field(
        None, description="points, features: places without a feature, told apart by the column `negative`."
    )
    by: Text | None = Field(
        None, description="stratified: label layer; a chip's stratum is the class that covers most of it."
    )
    quota: Quota | None = Field(
        None,
        description="stratified: chips a class, one number, or by class (its code or name; others get none). Chips are "
        "chosen after the survey, among those that it keeps.",
    )
    std_km: Positive | None = Field(
        None,
        description="cities: standard deviation of the distance east and north of a city, in kilometres.",
    )
    km: Positive | None = Field(
        None,
        description="land_grid: step of the grid in kilometres. Land is what `area` holds.",
    )
    of: Text | None = Field(None, description="scene_tiles: imagery layer whose scenes are tiled.")
    origin: Literal["ul"] = Field("ul", description="scene_tiles: corner that tiling starts from.")
    partial: Literal["drop"] = Field("drop", description="scene_tiles: what becomes of cut tiles.")
    count: Count | None = Field(
        None, description="At most this many places; random and cities draw until they have them."
    )
    seed: Seed = Field(0, description="Seed of every random choice here.")
    min_distance_m: NotNegative = Field(
        0.0, description="Least distance between the centres of places in metres; the seed says who stays."
    )
    exclude: Exclude | None = Field(None, description="Places to stay away from.")

    @model_validator(mode="after")
    def _keys_fit(self) -> Self:
        allowed = {*_SHARED_KEYS, *_OWN_KEYS[self.method]}
        for key in type(self).model_fields:
            if key in self.model_fields_set and key not in allowed:
                raise refused(f"is no option of method {self.method!r}", at=key)
        if self.method in _NEEDS_FILE and self.file is None:
            raise refused(f"method {self.method!r} needs 'file'")
        for key in _NEEDED.get(self.method, ()):
            if getattr(self, key) is None:
                raise refused(f"method {self.method!r} needs {key!r}")
        return self


def _check_key(text: str) -> str:
    try:
        fields(text)
    except ValueError as error:
        raise expected(f"a template such as '{{crs}}-{{x}}-{{y}}' ({error})") from None
    return text


def _check_crs(text: str) -> str:
    if text == "utm":
        return text
    try:
        crs = CRS.from_user_input(text)
    except (CRSError, ValueError):
        raise expected("'utm' or a CRS such as EPSG:3035") from None
    if not (crs.is_geographic or crs.is_projected):
        raise expected("'utm' or a CRS of the plane such as EPSG:3035")
    return text


class Chips(Node):
    """The chips: size, resolution, CRS, lattice, sampling."""

    size: Annotated[
        Annotated[Count, Field(le=65536), Tag("\0number")] | Annotated[Size, Tag("\0map")],
        one_of("a whole number of pixels, or {m:, px:}"),
    ] = Field(description="Side of a chip in pixels, or {m:, px:}: metres and pixels.")
    resolution: Positive | None = Field(
        None,
        description="Metres a pixel (degrees in a geographic CRS); 10 without this and {m:, px:}.",
    )
    crs: Annotated[Text, AfterValidator(_check_crs)] = Field(
        "utm", description="utm: each chip in the zone of its centre. Or any CRS that PROJ knows."
    )
    lattice: Lattice = Field(default_factory=Lattice, description="The lattice on which chips lie.")
    max_overlap: Share = Field(
        0.0,
        description="Where UTM zones meet: largest share of a chip under one of a lower-numbered zone. Between places "
        "that are drawn (random, cities): largest share of a chip under another.",
    )
    subdivide: Subdivide | None = Field(None, description="Cut each chip.")
    key: Annotated[Text, AfterValidator(_check_key)] | None = Field(
        None,
        description="Template of a chip's key, such as `{tile}_{col:02d}_{row:02d}`. It may name crs, x, y, size, "
        "resolution, key (list), row and col (grid, majortom, land_grid, scene_tiles), tile and scene (scene_tiles), "
        "part_row and part_col (subdivide), majortom, attributes, and columns of the method's file.",
    )
    majortom: Flag = Field(
        False,
        description="Columns majortom, majortom_row, majortom_col: the Major TOM cell of a chip's centre.",
    )
    sampling: Sampling = Field(default_factory=Sampling, description="How places are chosen in the area.")

    @model_validator(mode="after")
    def _agree(self) -> Self:
        crs = None if self.crs == "utm" else CRS.from_user_input(self.crs)
        if crs is not None and isinstance(self.size, Size) and crs.axis_info[0].unit_name != "metre":
            raise refused("{m:, px:} needs a CRS in metres; give pixels and 'resolution'", at="size")
        if crs is not None and crs.is_geographic and self.resolution is None:
            raise refused("is needed, in degrees, in a geographic CRS", at="resolution")
        if isinstance(self.size, Size) and self.resolution is not None:
            said = self.size.m / self.size.px
            if not math.isclose(said, self.resolution, rel_tol=1e-9):
                raise refused(
                    f"got {self.resolution:g}, but size says {said:g}; leave one out", at="resolution"
                )
        if not self.lattice.snap and self.sampling.method in _NO_POINTS:
            raise refused(f"method {self.sampling.method!r} places no chip at a point", at="lattice.snap")
        if self.subdivide is not None and self.subdivide.n * self.subdivide.px > self.placed:
            n, px = self.subdivide.n, self.subdivide.px
            raise refused(f"{n} parts of {px} px are more than the chip's {self.placed}", at="subdivide")
        if self.sampling.method == "scene_tiles" and self.crs != "utm":
            raise refused("scene_tiles cuts chips in their scene's CRS; leave it out", at="crs")
        return self

    @property
    def pixels(self) -> int:
        """Side of a chip in pixels, as it is written: of a part, where chips are cut."""
        return self.placed if self.subdivide is None else self.subdivide.px

    @property
    def placed(self) -> int:
        """Side in pixels of what is placed, before it is cut."""
        return self.size.px if isinstance(self.size, Size) else self.size

    @property
    def metres_per_pixel(self) -> float:
        """Resolution in units of the CRS: metres, or degrees in a geographic CRS."""
        if isinstance(self.size, Size):
            return self.size.m / self.size.px
        return 10.0 if self.resolution is None else self.resolution


class Attribute(Node):
    """One column that chips get from a file."""

    file: Text = Field(
        description="Vector file, or a table with lon and lat, or one with a column key and the keys of chips."
    )
    column: Text = Field(description="Its column.")
    join: Literal["within", "nearest"] = Field(
        "within", description="Which feature a chip takes: the one that holds its centre, or the nearest one."
    )


Attributes = dict[Name, Attribute]


def needs_area(mapping: Mapping[str, Any]) -> bool:
    """Whether a raw recipe must say where: sampling from a file or from scenes brings its own places."""
    chips = mapping.get("chips")
    sampling = chips.get("sampling") if isinstance(chips, dict) else None
    method = sampling.get("method") if isinstance(sampling, dict) else None
    return "parts" not in mapping and method not in {*_NEEDS_FILE, "scene_tiles"}
