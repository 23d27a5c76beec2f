"""Captions of where, when and by what a chip was seen."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Final

from chipweave.labels.base import Seen
from chipweave.labels.text.base import IMAGE, Ask, Fact, Statement
from chipweave.labels.text.grid import unit_of
from chipweave.labels.text.words import clean, number, one_of, percent, upper_first
from chipweave.model import Place

TROPIC: Final = 23.44
"""Degrees of latitude within which the year has no four seasons."""

MONTHS: Final = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
SEASONS: Final = ("winter", "spring", "summer", "autumn")
"""Of the northern hemisphere, three months each from December on; of the southern half a year later."""


def season(day: date, lat: float) -> str:
    """The season by months at a latitude; empty between the tropics."""
    if abs(lat) < TROPIC:
        return ""
    return SEASONS[(day.month % 12 // 3 + (2 if lat < 0 else 0)) % 4]


def long_date(day: date) -> str:
    """``3 July 2021``."""
    return f"{day.day} {MONTHS[day.month - 1]} {day.year}"


def middle(bbox: tuple[float, float, float, float]) -> tuple[float, float]:
    """(lon, lat) of the centre of a box, which may lie across the 180th meridian."""
    west, south, east, north = bbox
    lon = (west + (east if east >= west else east + 360)) / 2
    return (lon - 360 if lon > 180 else lon), (south + north) / 2


def write(ask: Ask, seen: Seen) -> list[Statement]:
    """Sensor and date, place, size, clouds."""
    out = [_taken(ask, seen), *_where(ask, seen), _size(seen.place)]
    shown = seen.imagery.get(ask.source.name)
    if shown is not None and ask.masked and any(shown.datetimes):
        share = shown.cloud_fraction
        said = f"{percent(share)} %" if percent(share) or share == 0 else "less than 1 %"
        text = "No cloud covers it." if share == 0 else f"Clouds and their shadows cover {said} of it."
        out.append(Statement(text, (Fact("cloud", ask.source.name, IMAGE, share, "share", said),)))
    return out


def _taken(ask: Ask, seen: Seen) -> Statement:
    """By what, and when; several dates from the first to the last."""
    shown, source = seen.imagery.get(ask.source.name), ask.source
    what = clean(
        ask.title or (source.name.replace("_", " ") if source.collection == "file" else source.collection)
    )
    facts = [Fact("collection", source.name, "", text=clean(source.collection))]
    if shown is None:
        dates = [clean(d) for d in ask.target(seen).said.get(source.name, {}).get("datetime", ()) if d]
        facts += [Fact("date", source.name, "", text=d) for d in dates]
        when = f", of {_plain_date(dates[0])}" if dates else ""
        return Statement(f"This is a label, {what}{when}.", tuple(facts))
    days = sorted({date.fromisoformat(d[:10]) for d in shown.datetimes if d})
    facts += [Fact("date", source.name, "", text=d.isoformat()) for d in days]
    if not days:
        facts.append(Fact("date", source.name, "", text="none"))
        return Statement(f"There is no image of {what} here.", tuple(facts))
    seasons = {season(d, middle(seen.bbox)[1]) for d in days}
    when = f"on {long_date(days[0])}" if len(days) == 1 else _span(days)
    if len(seasons) == 1 and "" not in seasons:
        [word] = seasons
        facts.append(Fact("season", source.name, "", text=word))
        when += f", in {word}" + (" of the southern hemisphere" if middle(seen.bbox)[1] < 0 else "")
    verb = one_of(("taken", "acquired", "recorded"), *ask.drawn_from(seen, "verb"))
    return Statement(f"{upper_first(what)}: an image {verb} {when}.", tuple(facts))


def _plain_date(text: str) -> str:
    """A moment by its day; a year or a month as it is."""
    try:
        return long_date(date.fromisoformat(text[:10]))
    except ValueError:
        return text


def _span(days: Sequence[date]) -> str:
    return f"on {len(days)} days from {long_date(days[0])} to {long_date(days[-1])}"


def _where(ask: Ask, seen: Seen) -> list[Statement]:
    lon, lat = middle(seen.bbox)
    places = ask.wish.decimals
    text = f"{_degrees(lat, places, 'NS')}, {_degrees(lon, places, 'EW')}"
    facts = (
        Fact("longitude", IMAGE, "", round(lon, places), "deg"),
        Fact("latitude", IMAGE, "", round(lat, places), "deg"),
    )
    out = [Statement(f"Its centre lies near {text}.", facts)]
    told = [(name, clean(v)) for name in ask.wish.place if (v := seen.columns.get(name)) is not None]
    told = [(name, value) for name, value in told if value and value.lower() != "nan"]
    if told:
        said = ", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in told)
        own = tuple(Fact("attribute", IMAGE, name, text=value) for name, value in told)
        out.append(Statement(f"Of the place, {said}.", own))
    return out


def _degrees(value: float, places: int, hemispheres: str) -> str:
    rounded = round(abs(value), places)
    side = f" {hemispheres[0] if value > 0 else hemispheres[1]}" if rounded else ""
    return f"{rounded:.{places}f}°{side}"


def _size(place: Place) -> Statement:
    """Of a pixel, and of the chip, in the units of its grid."""
    side, unit = place.size * place.resolution, unit_of(place.crs)
    known = {"metre": ("m", " m"), "degree": ("deg", "°")}.get(unit, ("", f" {unit}"))
    facts = (
        Fact("resolution", IMAGE, "", place.resolution, known[0], "" if known[0] else unit),
        Fact("side", IMAGE, "", side, known[0], "" if known[0] else unit),
    )
    across = f"{number(side / 1000)} km" if known[0] == "m" and side >= 1000 else f"{number(side)}{known[1]}"
    return Statement(f"A pixel is {number(place.resolution)}{known[1]} wide, the image {across}.", facts)
