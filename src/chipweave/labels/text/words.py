"""Words: chosen by a hash and never by chance, with numbers rounded for people."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final, TypeVar

from chipweave.plain import shortened

Of = TypeVar("Of")

LONGEST: Final = 80
"""Letters of a class name or a tag that are kept."""

HECTARE, KM2, KM = 1e4, 1e6, 1e3

COUNTABLE: Final = frozenset({
    "airfield", "area", "bridge", "building", "canal", "church", "city", "courtyard", "dam", "field", "forest",
    "garden", "greenhouse", "harbour", "hospital", "house", "institution", "island", "lake", "marina", "orchard",
    "park", "parcel", "path", "pier", "pitch", "plant", "playground", "pond", "quarry", "railway", "ring", "river",
    "road", "roof", "runway", "school", "settlement", "shed", "square", "stadium", "station", "stream", "street",
    "tank", "tower", "town", "track", "tree", "turbine", "village", "vineyard", "wall", "warehouse", "well", "wood",
    "yard",
})  # fmt: skip
"""Nouns that are counted by themselves; what is named otherwise is counted in areas, stretches or points."""

ADJECTIVES: Final = frozenset({
    "agricultural", "built-up", "commercial", "industrial", "military", "natural", "recreational", "residential",
    "retail", "rural", "urban",
})  # fmt: skip
"""Names of classes that are no nouns."""

LINEAR: Final = frozenset({"canal", "path", "railway", "river", "road", "stream", "street", "track", "wall"})
"""Those that maps draw as lines, in as many pieces as it pleases: nobody asks how many there are."""

POINTS: Final = (
    "north", "north-east", "east", "south-east", "south", "south-west", "west", "north-west",
)  # fmt: skip


def draw(n: int, *what: object) -> int:
    """A number below `n` that depends on `what` alone."""
    text = "\0".join(str(w) for w in what).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") % n


def one_of(options: Sequence[Of], *what: object) -> Of:
    """One of some options, chosen by `what` alone."""
    return options[draw(len(options), *what)]


def clean(text: object) -> str:
    """A stranger's word as one short line without control characters."""
    return shortened(text, LONGEST)


def class_name(name: str) -> str:
    """Name of a class inside a sentence: ``Tree cover`` → ``tree cover``; an acronym keeps its capitals."""
    word = clean(name) or "unnamed"
    return word[0].lower() + word[1:] if len(word) < 2 or not word[1].isupper() else word


def compass(degrees: float) -> str:
    """One of eight points of the compass, of a bearing clockwise from north."""
    return POINTS[int((degrees % 360 + 22.5) // 45) % 8]


def two_digits(value: float) -> float:
    """A number rounded to two significant digits."""
    return float(f"{value:.2g}")


def number(value: float) -> str:
    """A number as people write it: ``12,000``, ``1.5``."""
    return f"{value:,.10g}"


def area_text(m2: float) -> str:
    """An area to two digits, in m², ha or km²."""
    m2 = two_digits(m2)
    if m2 < HECTARE:
        return f"{number(m2)} m²"
    return f"{number(two_digits(m2 / HECTARE))} ha" if m2 < KM2 else f"{number(two_digits(m2 / KM2))} km²"


def bound_text(m2: float) -> str:
    """A bound between areas, as it is, in m², ha or km²."""
    if m2 < HECTARE:
        return f"{number(m2)} m²"
    return f"{number(m2 / HECTARE)} ha" if m2 < KM2 else f"{number(m2 / KM2)} km²"


def length_text(m: float) -> str:
    """A length to two digits, in m or km."""
    m = two_digits(m)
    return f"{number(m)} m" if m < KM else f"{number(two_digits(m / KM))} km"


def percent(share: float) -> int:
    """A share in whole per cent, halves up."""
    return int(share * 100 + 0.5)


def listed(parts: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def a(noun: str) -> str:
    """The noun behind its indefinite article."""
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"


def upper_first(text: str) -> str:
    """A sentence with its capital."""
    return text[:1].upper() + text[1:]


def noun(name: str, dimension: int, n: int = 1) -> str:
    """What one, or many, objects of a class are called.

    Parameters
    ----------
    name
        Of the class, as `class_name` gives it.
    dimension
        0, 1 or 2: points, lines, areas.
    n
        How many.
    """
    if name in ADJECTIVES:
        return f"{name} {'area' if n == 1 else 'areas'}"
    head, _, last = name.rpartition(" ")
    single = last if last in COUNTABLE else last.removesuffix("s")
    if single in COUNTABLE and " and " not in name and "," not in name:
        return f"{head} {single if n == 1 else _plural(single)}".strip()
    kind = ("point", "stretch", "area")[dimension]
    return f"{kind if n == 1 else _plural(kind)} of {name}"


def thing(name: str) -> str:
    """What an object of a class is, whatever it is drawn as: ``building``, ``heath``."""
    single = noun(name, 2)
    return name if single.startswith("area of ") else single


def any_of(name: str) -> str:
    """Object of a question whether there is one: ``a building``, ``any heath``."""
    return f"any {name}" if noun(name, 2).startswith("area of ") else a(thing(name))


def are(name: str) -> str:
    """``Is`` or ``Are``, before `any_of`."""
    parts = name.replace(" and ", ", ").split(", ")  # of quarries and landfill there are some, if any
    many = any_of(name).startswith("any ") and any(p.endswith("s") and not p.endswith("ss") for p in parts)
    return "Are" if many else "Is"


def linear(name: str) -> bool:
    """Whether a class is of what maps draw as lines."""
    last = name.rpartition(" ")[2]
    return last in LINEAR or last.removesuffix("s") in LINEAR


def _plural(word: str) -> str:
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return f"{word[:-1]}ies"
    return f"{word}es" if word.endswith(("s", "x", "ch", "sh")) else f"{word}s"


def counted(n: int, name: str, dimension: int) -> str:
    """``1 building``, ``12 buildings``, ``3 areas of forest``."""
    return f"{n:,} {noun(name, dimension, n)}"
