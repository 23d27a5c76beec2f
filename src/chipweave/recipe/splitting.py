"""What comes out: `split`, how places are dealt to splits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Field, Tag, WithJsonSchema, field_validator, model_validator

from chipweave.recipe.base import (
    Count,
    Date,
    Flag,
    Interval,
    Name,
    Names,
    Node,
    NotNegative,
    Number,
    Positive,
    Seed,
    Share,
    Text,
    one_of,
    refused,
)

UNKEPT: Final = ("random", "list", "inside_tile")
"""Methods that keep no distance by nature: leakage is a warning, and nobody gives way, unless `leakage: fail` is
said."""

_NOT_DEALT: Final = ("inside_tile", "list", "checkerboard")

_OWN_KEYS: Final[dict[str, tuple[str, ...]]] = {
    "blocks": ("block_km", "cells"),
    "groups": ("by",),
    "bands": ("bands", "band_km", "angle_deg"),
    "checkerboard": ("block_km", "cell_deg", "jitter"),
    "clusters": ("cluster", "k", "link_m"),
    "inside_tile": (),
    "time": ("by", "periods", "cutoffs", "space", "block_km", "cells"),
    "list": ("by", "file", "key", "column"),
    "kfold": ("by", "folds", "block_km", "cells"),
    "random": (),
}
_FREE: Final = {
    "method", "fractions", "seed", "buffer_m", "buffer_drop", "stratify", "tolerance", "leakage", "override",
    "previous", "error", "audit", "block_km",
}  # fmt: skip
"""Keys of every method. Where one has no effect the plan says so: recipes change their method by one key."""

_Span = Annotated[
    Interval,
    BeforeValidator(lambda value: str(value) if type(value) is int else value),
    WithJsonSchema({"type": ["string", "integer"]}),
]
_Spans = Annotated[
    Annotated[_Span, Tag("\0text")]
    | Annotated[_Span, Tag("\0number")]
    | Annotated[tuple[_Span, ...], Tag("\0list")],
    one_of("an interval such as 2018/2019, or a list of them"),
]


class SplitAudit(Node):
    """Thresholds beyond which the leakage audit fails on what it else only reports."""

    near_duplicates: Share | None = Field(
        None, description="Largest share of samples that have a near-duplicate in another split."
    )
    morans_i: Annotated[Number, Field(ge=-1, le=1)] | None = Field(
        None, description="Largest Moran's I of labels between neighbours of two splits."
    )
    variogram: NotNegative | None = Field(
        None, description="Least buffer, as a multiple of the range of the labels' variogram."
    )
    class_distance: Share | None = Field(
        None, description="Largest Jensen-Shannon distance between the class shares of two splits."
    )
    shared_scenes: Share | None = Field(
        None, description="Largest share of scenes that more than one split shows."
    )


class Split(Node):
    """How places are dealt to splits."""

    method: Literal[
        "blocks",
        "groups",
        "bands",
        "checkerboard",
        "clusters",
        "inside_tile",
        "time",
        "list",
        "kfold",
        "random",
    ] = Field("blocks", description="The method; docs/splits.md tells them apart.")
    by: Text | None = Field(
        None,
        description="groups, kfold: attribute whose values are dealt whole. list: attribute that names the split. "
        "time: attribute with the date, or a layer whose chips have times of their own.",
    )
    block_km: Positive = Field(
        10.0, description="Side of a block or cell in kilometres, where ground is dealt."
    )
    cells: Literal["square", "h3", "mgrs", "s2_tile", "wrs", "majortom"] = Field(
        "square",
        description="blocks, kfold, time: what a block is. square: of an equal-distance grid. h3: the hexagon nearest "
        "in area. mgrs, s2_tile: a 100 km square of the military grid, by which Sentinel-2 tiles are named. wrs: the "
        "nearest scene centre of Landsat's WRS-2. majortom: cells of block_km.",
    )
    bands: Count | None = Field(
        None, description="bands: how many over the places; 60 without this and band_km."
    )
    band_km: Positive | None = Field(None, description="bands: width of one in kilometres instead.")
    angle_deg: Number = Field(
        0.0, description="bands: direction in which they run, degrees clockwise from north."
    )
    cell_deg: Positive | None = Field(
        None, description="checkerboard: side of a cell in degrees, not kilometres."
    )
    jitter: tuple[Share, Share] | None = Field(
        None,
        description="checkerboard: how far the board is moved east and north, in cells; the seed says if absent.",
    )
    cluster: Literal["kmeans", "distance"] = Field(
        "kmeans",
        description="clusters: means of centres, or chains of footprints that are near to each other.",
    )
    k: Count | None = Field(
        None, description="clusters, kmeans: how many; a tenth of the places if absent, at most 1000."
    )
    link_m: Positive = Field(
        1000.0, description="clusters, distance: footprints closer than this many metres are in one."
    )
    periods: dict[Name, _Spans] | None = Field(
        None, description="time: when each split is, such as {train: 2018/2019, test: 2021}."
    )
    cutoffs: Annotated[tuple[Date, ...], Field(min_length=1)] | None = Field(
        None,
        description="time: when the next split begins, instead of periods: one parts train from test, two part train, "
        "val and test.",
    )
    space: Flag = Field(
        False,
        description="time: ground is dealt in blocks, too, so that splits share neither time nor ground.",
    )
    folds: Count | None = Field(
        None, description="kfold: how many; without it each value of `by` is a fold (leave one group out)."
    )
    file: Text | None = Field(None, description="list: a table of keys and splits.")
    key: Text = Field("key", description="list: its column with keys of chips, or of places.")
    column: Text = Field("split", description="list: its column with splits; validation is val.")
    fractions: dict[Name, Positive] = Field(
        default_factory=lambda: {"train": 0.8, "val": 0.1, "test": 0.1},
        description="Share of kept chips by split; they sum to 1. inside_tile: areas, outer to inner, 0.5, 0.25, 0.25 "
        "if absent. list and time go by what there is if absent.",
    )
    seed: Seed = Field(0, description="Seed of every random choice here.")
    buffer_m: Annotated[
        Annotated[NotNegative, Tag("\0number")] | Annotated[Literal["auto"], Tag("\0text")],
        one_of("metres, or 'auto'"),
    ] = Field(
        0.0,
        description="Least distance between footprints of two splits, in metres. auto: the range of the variogram of "
        "the labels. random, list and inside_tile keep it with `leakage: fail` only.",
    )
    buffer_drop: Literal["larger", "both"] = Field(
        "larger", description="At a border: the chip of the larger split gives way, or both chips do."
    )
    stratify: (
        Annotated[
            Annotated[Text, Tag("\0text")] | Annotated[Names, Tag("\0list")],
            one_of("a layer or attribute, or a list of them"),
        ]
        | None
    ) = Field(None, description="Layers or attributes whose shares are alike in all splits.")
    tolerance: Share = Field(0.05, description="How far the shares may be from `fractions`.")
    leakage: Literal["fail", "warn"] = Field(
        "fail", description="What leakage does; warn if absent for random, list and inside_tile."
    )
    override: (
        Annotated[
            Annotated[Text, Tag("\0text")] | Annotated[dict[Text, Any], Tag("\0map")],
            one_of("a file, or a mapping"),
        ]
        | None
    ) = Field(
        None,
        description="Splits that are given: by key, place or unit (a block, a group), as a mapping or a table of key "
        "and split.",
    )
    previous: Text | None = Field(
        None,
        description="An earlier dataset's folder, or a table of key (or place) and split: what was assigned stays, "
        "only what is new is dealt.",
    )
    error: Text | None = Field(
        None,
        description="Attribute with how far a position may be off, in metres; like chips.sampling.jitter_m it adds to "
        "the buffer.",
    )
    audit: SplitAudit = Field(default_factory=SplitAudit, description="Thresholds of the leakage audit.")

    @field_validator("fractions")
    @classmethod
    def _whole(cls, fractions: dict[str, float]) -> dict[str, float]:
        total = math.fsum(fractions.values())
        if abs(total - 1.0) > 1e-6:
            raise refused(f"they sum to {total:g}, not to 1")
        return fractions

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, data: object) -> object:
        if isinstance(data, dict) and "leakage" not in data and data.get("method") in UNKEPT:
            return {**data, "leakage": "warn"}
        return data

    @model_validator(mode="after")
    def _keys_fit(self) -> Self:
        allowed = {*_FREE, *_OWN_KEYS[self.method]}
        for key in type(self).model_fields:
            if key in self.model_fields_set and key not in allowed:
                raise refused(f"is no option of method {self.method!r}", at=key)
        if isinstance(self.override, dict):
            for key, name in self.override.items():
                if not isinstance(name, str) or not name:
                    raise refused("expected the name of a split", at=f"override.{key}")
        self._needs()
        return self

    def _needs(self) -> None:
        if self.method == "groups" and self.by is None:
            raise refused("method 'groups' needs 'by'")
        if self.method == "kfold" and self.by is None and self.folds is None:
            raise refused("method 'kfold' needs 'folds', or 'by' for one fold a group")
        if self.folds == 1:
            raise refused("one fold holds nothing out; give 2 or more", at="folds")
        if self.method == "list" and (self.by is None) == (self.file is None):
            raise refused("method 'list' needs 'file', or 'by', an attribute: one of them")
        if self.method == "time" and (self.periods is None) == (self.cutoffs is None):
            raise refused("method 'time' needs 'periods' or 'cutoffs': one of them")
        if self.cutoffs is not None and len(self.cutoffs) > 2:
            raise refused("more than two cutoffs; name the splits in 'periods'", at="cutoffs")
        if self.bands is not None and self.band_km is not None:
            raise refused("give bands or band_km, not both", at="band_km")

    @property
    def fixed(self) -> bool:
        """Whether a rule says every place's split, so that there is nothing to deal."""
        return self.method in _NOT_DEALT or (self.method == "kfold" and self.folds is None)

    @property
    def strata(self) -> tuple[str, ...]:
        """Names in `stratify`."""
        if self.stratify is None:
            return ()
        return (self.stratify,) if isinstance(self.stratify, str) else self.stratify

    @property
    def said(self) -> dict[str, float] | None:
        """Fractions that hold; None where the method takes those that come out."""
        if "fractions" in self.model_fields_set and self.method != "kfold":
            return self.fractions
        return None if self.method in {"list", "time", "kfold", "inside_tile"} else self.fractions

    @property
    def names(self) -> tuple[str, ...]:
        """Splits that have to come out; none for a list, which says so itself."""
        if self.method == "kfold":
            return ("all",)
        if self.method == "time":
            if self.periods is not None:
                return tuple(self.periods)
            return ("train", "test") if len(self.cutoffs or ()) == 1 else ("train", "val", "test")
        if self.method == "list" and "fractions" not in self.model_fields_set:
            return ()
        return tuple(self.fractions)

    @property
    def deals(self) -> bool:
        """Whether units are dealt, so that `stratify` has an effect."""
        return not (self.fixed or (self.method == "time" and not self.space))

    @property
    def keeps(self) -> bool:
        """Whether places give way to neighbours of another split."""
        return self.method not in UNKEPT or self.leakage == "fail"

    @property
    def kept_m(self) -> float | None:
        """Metres that splits are kept apart when they are drawn; None: as the variogram says."""
        if not self.keeps:
            return 0.0
        return None if self.buffer_m == "auto" else float(self.buffer_m)

    def unheard(self) -> list[str]:
        """Keys of every method that were given and have no effect with this one, with the reason."""
        given = self.model_fields_set
        found = []
        if "block_km" in given and "block_km" not in _OWN_KEYS[self.method]:
            found.append(f"split.block_km has no effect: {self.method} deals no blocks")
        if self.stratify is not None and not self.deals:
            found.append(
                f"split.stratify has no effect: {self.method} deals nothing, its rule says who goes where"
            )
        taken = {"kfold": True, "list": not self.keeps, "time": not self.space}
        if "fractions" in given and taken.get(self.method, False):
            found.append(f"split.fractions has no effect: {self.method} takes what there is")
        if self.kept_m == 0 and self.buffer_m != 0:
            found.append(
                f"split.buffer_m is not kept: {self.method} leaves nobody out for a neighbour (verify tells how near "
                "splits come; `leakage: fail` keeps the buffer)"
            )
        if self.error is not None and not self.keeps:
            found.append(f"split.error has no effect: {self.method} leaves nobody out for a neighbour")
        return found


def split_of(mapping: Mapping[str, Any]) -> Split:
    """A `split` section from a plain mapping.

    Raises
    ------
    pydantic.ValidationError
        It is wrong.
    """
    return Split.model_validate(dict(mapping))
