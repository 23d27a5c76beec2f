"""From tags to classes: the rules of a scheme, and how wide a line is."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, field_validator

from chipweave.catalog.documents import Entry, read_entry, unknown
from chipweave.catalog.legends import load_legend
from chipweave.errors import RecipeError
from chipweave.model import Legend
from chipweave.recipe.data import find, listing
from chipweave.recipe.document import read_document
from chipweave.recipe.paths import at

DEFAULT: Final = "osm-landuse"
"""Scheme of a layer that names none."""

Geometry = Literal["area", "line", "point"]

WIDEST: Final = 1000.0
"""Widths and buffers in metres beyond this are slips: roads have up to 100 m, rivers drawn as lines a few hundred."""

_NARROWEST: Final = 0.1
_MOST_LANES: Final = 30
_METRES: Final = {
    "": 1.0, "m": 1.0, "meter": 1.0, "metre": 1.0, "meters": 1.0, "metres": 1.0, "cm": 0.01, "mm": 0.001, "km": 1000.0,
    "mi": 1609.344, "nmi": 1852.0, "ft": 0.3048, "'": 0.3048, "in": 0.0254, '"': 0.0254,
}  # fmt: skip
_LENGTH = re.compile(r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+) ?([a-z'\"]*)")
_FEET = re.compile(r"([0-9]+)' ?([0-9]+(?:\.[0-9]+)?)\"")

Buffer = Annotated[float, Field(ge=0, le=WIDEST)]
Values = tuple[Annotated[str, Field(min_length=1)], ...]


def metres(text: str) -> float | None:
    """Length in metres of a tag such as ``2.5``, ``2.5 m`` or ``16'3"``; None where it is none, or out of all bounds.

    Notes
    -----
    The forms that https://wiki.openstreetmap.org/wiki/Key:width allows, and blanks that are lacking.
    """
    text = text.strip().lower()
    if feet := _FEET.fullmatch(text):
        found = int(feet[1]) * 0.3048 + float(feet[2]) * 0.0254
    elif (length := _LENGTH.fullmatch(text)) and length[2] in _METRES:
        found = float(length[1]) * _METRES[length[2]]
    else:
        return None
    return found if _NARROWEST <= found <= WIDEST else None


class _Width(Entry):
    tags: Values = ()
    lane_m: Buffer = 0.0
    by: str = ""
    metres: dict[str, Buffer] = Field(default_factory=dict)
    default_m: Annotated[float, Field(ge=_NARROWEST, le=WIDEST)]


class _Rule(Entry):
    code: int = Field(alias="class")
    key: str = Field(min_length=1)
    values: Values = ()
    geometry: Geometry
    only: dict[str, Values] = Field(default_factory=dict)
    unless: dict[str, Values] = Field(default_factory=dict)
    closed: Literal["area", "line"] = "area"
    width: str = ""
    width_m: Buffer | None = None
    buffer_m: Buffer = 0.0
    priority: Annotated[int, Field(ge=-1000, le=1000)] = 0


class _Scheme(Entry):
    name: str = ""
    title: str = ""
    nodata: object = None
    dtype: str = ""
    classes: tuple[object, ...]
    widths: dict[str, _Width] = Field(default_factory=dict)
    rules: tuple[_Rule, ...] = Field(min_length=1)

    @field_validator("rules")
    @classmethod
    def _have_extent(cls, rules: tuple[_Rule, ...]) -> tuple[_Rule, ...]:
        for rule in rules:
            if rule.geometry == "point" and not rule.buffer_m:
                raise ValueError(f"a point has no extent: {rule.key} needs buffer_m")
            if (rule.geometry == "line") != bool(rule.width or rule.width_m):
                raise ValueError(f"{rule.key}: a line, and nothing else, needs width or width_m")
        return rules


@dataclass(frozen=True, slots=True)
class Width:
    """How wide a line of a kind is: the first length among `tags`, else by lanes, else by a tag's value."""

    tags: tuple[str, ...]
    lane_m: float
    by: str
    metres: Mapping[str, float]
    default_m: float

    def of(self, tags: Mapping[str, str]) -> float:
        """Width in metres of a line with these tags."""
        for key in self.tags:
            found = metres(tags[key]) if key in tags else None
            if found is not None:
                return found
        lanes = tags.get("lanes", "")
        if self.lane_m and lanes.isascii() and lanes.isdigit() and 1 <= int(lanes[:4]) <= _MOST_LANES:
            return int(lanes) * self.lane_m
        return self.metres.get(tags.get(self.by, ""), self.default_m)


@dataclass(frozen=True, slots=True)
class Rule:
    """What objects take a class.

    Those of a `geometry` whose tag `key` has one of `values` (any but ``no`` where there are none), and which have a
    tag as in all of `only` and none of `unless`. `buffer_m` widens a point or an area, `width` a line. With
    `closed_line` a closed way is a line, as of roads, unless tagged ``area=yes``.
    """

    code: int
    key: str
    values: frozenset[str]
    geometry: Geometry
    only: Mapping[str, frozenset[str]]
    unless: Mapping[str, frozenset[str]]
    width: Width | None
    buffer_m: float
    priority: int
    closed_line: bool = False

    def fits(self, value: str, tags: Mapping[str, str]) -> bool:
        """Whether an object of its geometry, whose tag `key` has this value, takes the class."""
        return (
            (value in self.values if self.values else value != "no")
            and all(tags.get(k) in v for k, v in self.only.items())
            and not any(tags.get(k) in v for k, v in self.unless.items())
        )

    def reach(self, tags: Mapping[str, str]) -> float:
        """How far in metres an object's class reaches beyond its geometry: half a line's width."""
        return self.width.of(tags) / 2 if self.width is not None else self.buffer_m


@dataclass(frozen=True, slots=True)
class Scheme:
    """Classes, and the rules by which objects get them, in order."""

    legend: Legend
    rules: tuple[Rule, ...]
    _by_key: Mapping[tuple[Geometry, str], tuple[tuple[int, Rule], ...]] = field(repr=False, compare=False)

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of tags that any rule begins with, sorted."""
        return tuple(sorted({rule.key for rule in self.rules}))

    @property
    def digest(self) -> str:
        """Of all rules: objects of equal schemes have equal classes."""
        text = json.dumps([asdict(rule) for rule in self.rules], default=sorted, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:20]

    def rule(self, tags: Mapping[str, str], geometry: Geometry, *, closed: bool = False) -> Rule | None:
        """The first rule that fits an object, or None; `closed` says that an area is but a closed way."""
        line = closed and tags.get("area") != "yes"
        best: tuple[int, Rule] | None = None
        for key, value in tags.items():
            for place, rule in self._by_key.get((geometry, key), ()):
                if best is not None and place >= best[0]:
                    break
                if not (line and rule.closed_line) and rule.fits(value, tags):
                    best = (place, rule)
                    break
        return best[1] if best else None


def load_scheme(name_or_path: str, base: Path, extra: Sequence[Path] = ()) -> Scheme:
    """Scheme by name, or from a YAML file: a legend with `rules` and `widths`.

    Parameters
    ----------
    name_or_path
        A name in `catalogs/legends`, or a path relative to `base`.
    base
        Folder of the recipe.
    extra
        Further `catalogs/` folders.

    Raises
    ------
    RecipeError
        Neither a known name (it names the nearest) nor a file, or the file is no scheme; with file and line.
    """
    path = find("legends", name_or_path, extra) or at(base, name_or_path)
    if not path.is_file():
        known = [n for n, p in listing("legends", extra).items() if "rules" in read_document(p).mapping]
        raise unknown("scheme", name_or_path, known)
    if "rules" not in read_document(path).mapping:
        raise RecipeError(f"{path}: a legend without rules, no scheme of OSM classes", hint="give it `rules`")
    held = read_entry(path, _Scheme)
    legend = load_legend(str(path), base, extra)
    for rule in held.rules:
        if rule.code not in legend.codes:
            raise RecipeError(f"{path}: rules: {rule.key}: {rule.code} is none of the classes")
        if rule.width and rule.width not in held.widths:
            guess = unknown("width", rule.width, sorted(held.widths))
            raise RecipeError(f"{path}: rules: {rule.key}: {guess.message}", hint=guess.hint)
    return scheme_of(legend, [_rule(rule, held.widths) for rule in held.rules])


def scheme_of(legend: Legend, rules: Sequence[Rule]) -> Scheme:
    """Scheme of a legend and rules."""
    by_key: dict[tuple[Geometry, str], list[tuple[int, Rule]]] = {}
    for place, rule in enumerate(rules):
        by_key.setdefault((rule.geometry, rule.key), []).append((place, rule))
    return Scheme(legend, tuple(rules), {k: tuple(v) for k, v in by_key.items()})


def _rule(held: _Rule, widths: Mapping[str, _Width]) -> Rule:
    width = None
    if held.width_m is not None:
        width = Width((), 0.0, "", {}, held.width_m)
    elif held.width:
        table = widths[held.width]
        width = Width(table.tags, table.lane_m, table.by, table.metres, table.default_m)
    return Rule(
        held.code, held.key, frozenset(held.values), held.geometry,
        {k: frozenset(v) for k, v in held.only.items()}, {k: frozenset(v) for k, v in held.unless.items()},
        width, held.buffer_m, held.priority, held.closed == "line",
    )  # fmt: skip
