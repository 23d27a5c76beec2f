"""Pictures of a chip laid onto each other, where the recipe asks for that: told, moved, or the chip dropped late.

A shift is measured on what the sample would hold. What has to move is read anew from its scenes, on a window that is
moved by as much: it is resampled once.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from chipweave.errors import PermanentSourceError
from chipweave.model import MASK_CLEAR, MASK_NODATA, Fate, Place
from chipweave.pixels.align import Laid, Onto, move
from chipweave.pixels.register import Shift, View, agree, estimate, guess, unknown
from chipweave.plan.pairs import in_turn
from chipweave.weave.pictures import GAP, Drawn, Picture, Pictures, Step

STAYS = Laid(confidence=1.0)
"""What the other dates of a series are laid onto."""


Agreed = Mapping[tuple[str, str], Shift]
"""Shifts that neighbours agree on, by layer and chip key."""


def agreements(places: Sequence[Place], woven: Mapping[str, Pictures]) -> Agreed:
    """What the chips of a tile say together of layers of different kinds, of which one chip tells nothing.

    Neighbours are those of the same scenes of both layers: they lie wrong by the same.

    Parameters
    ----------
    places
        Chips of one tile.
    woven
        What was read for them, by layer.
    """
    found: dict[tuple[str, str], Shift] = {}
    for layer, own in woven.items():
        onto = own.read.onto
        if onto is None or not onto.neighbours:
            continue
        voices: dict[tuple[tuple[str, ...], ...], dict[str, Shift]] = defaultdict(dict)
        for place in places:
            stays, picture = woven[onto.to].of(place), own.of(place)
            if GAP in {stays.steps[0], picture.steps[0]}:
                continue
            first = _view(woven[onto.to], stays, 0, onto.others, onto.other)
            said = guess(first, _view(own, picture, 0, onto.bands, onto.unit))
            voices[stays.steps[0].items, picture.steps[0].items][place.key] = said
        for group in voices.values():
            found |= dict.fromkeys(((layer, key) for key in group), agree(group.values()))
    return found


def pictures_of(
    place: Place, woven: Mapping[str, Pictures], agreed: Agreed = MappingProxyType({})
) -> dict[str, Picture] | Fate:
    """Pictures of one chip, by layer, laid onto each other where asked; or why there is none.

    Parameters
    ----------
    place
        The chip.
    woven
        What was read for it, by layer.
    agreed
        What its neighbours say: see `agreements`.
    """
    found = {layer: own.of(place) for layer, own in woven.items()}
    ontos = {layer: own.read.onto for layer, own in woven.items()}
    for layer in in_turn({name: "" if onto is None else onto.to for name, onto in ontos.items()}):
        own, onto = woven[layer], ontos[layer]
        if onto is None:
            continue
        there = own.read.place(place)
        said = agreed.get((layer, place.key), unknown("no neighbours")) if onto.neighbours else None
        laid = _Laying(there, own, found[layer], woven[onto.to], found[onto.to], onto, said).done()
        if isinstance(laid, Fate):
            return laid
        found[layer] = laid
    return found


@dataclass(slots=True)
class _Laying:
    """One layer of a chip, step by step onto another."""

    place: Place
    own: Pictures
    picture: Picture
    other: Pictures
    stays: Picture
    onto: Onto
    said: Shift | None = None

    def done(self) -> Picture | Fate:
        """The layer with what is known of its steps, or why the chip has none."""
        values, mask, series = self.picture.values, self.picture.mask, self.own.limits.rule.series
        planes = values.copy() if series else values[None].copy()
        masks = mask if mask is None else mask.copy() if series else mask[None].copy()
        steps, laid = list(self.picture.steps), []
        for n in range(len(steps)):
            one = self._told(n)
            if one.confidence and self.onto.corrects and one is not STAYS:
                moved = self._moved(n, one)
                if isinstance(moved, Fate):
                    return moved
                if moved is not None:
                    one, steps[n] = replace(one, moved=True), moved.step
                    gone = moved.step is GAP
                    planes[n] = self.own.read.empty(planes[n].shape) if gone else moved.values
                    if masks is not None and moved.mask is not None:
                        masks[n] = MASK_NODATA if gone else moved.mask
            laid.append(one)
        return self._enough(steps) or replace(
            self.picture, values=planes if series else planes[0], steps=tuple(steps), laid=tuple(laid),
            mask=masks if masks is None or series else masks[0],
        )  # fmt: skip

    def _told(self, step: int) -> Laid:
        """How far a step lies off."""
        itself = self.onto.to == self.own.layer
        at = _stays(step, len(self.picture.steps), self.stays, itself=itself)
        if at is None or self.picture.steps[step] is GAP:
            return Laid()
        if itself and at == step:
            return STAYS
        shift = self.said
        if shift is None:
            first = _view(self.other, self.stays, at, self.onto.others, self.onto.other)
            shift = estimate(first, _view(self.own, self.picture, step, self.onto.bands, self.onto.unit))
        return Laid(shift.dx, shift.dy, shift.confidence) if shift.known else Laid()

    def _moved(self, step: int, laid: Laid) -> Drawn | Fate | None:
        """A step read anew where it belongs; None where it lies there, a fate where it lies too far off."""
        key, layer = self.place.key, self.own.layer
        goes = move(self.place.affine, Shift(laid.x, laid.y, laid.confidence), self.onto.max_shift_px)
        if goes.drop:
            far = math.hypot(laid.x, laid.y)
            text = f"lies {far:.2f} px from {self.onto.to}, max_shift_px is {self.onto.max_shift_px:g}"
            return Fate(key, "dropped", "weave", goes.drop, layer, "", text)
        if not goes.moved:
            return None
        there = replace(self.place, x=goes.affine.c, y=goes.affine.f)
        try:
            return self.own.drawn_at(there, self.own.scenes_of(key)[step])
        except PermanentSourceError as error:
            return Fate(key, "failed", "weave", "broken", layer, error.href, error.message)

    def _enough(self, steps: Sequence[Step]) -> Fate | None:
        """Why a chip is dropped that lost steps on their way."""
        need, before = self.own.limits.rule.need, sum(s is not GAP for s in self.picture.steps)
        left = sum(step is not GAP for step in steps)
        if left == before or left >= need:
            return None
        text = f"{left} of the {need} pictures that it needs have enough valid pixels where they belong"
        return Fate(self.place.key, "dropped", "weave", "valid", self.own.layer, "", text)


def _stays(step: int, steps: int, stays: Picture, *, itself: bool) -> int | None:
    """Which step of the other a step is held against; None where the other has nothing.

    The same one where both have as many, and it is there; else the clearest one, the earliest of equals. Of a series
    with itself always that.
    """
    if not itself and len(stays.steps) == steps and stays.steps[step] is not GAP:
        return step
    there = [n for n, one in enumerate(stays.steps) if one is not GAP]
    return min(there, key=lambda n: (-_clear(stays.steps[n], stays), n), default=None)


def _clear(step: Step, picture: Picture) -> float:
    """Share of the chip that is data, and not bad."""
    height, width = picture.values.shape[-2:]
    return step.valid - step.bad / int(height * width)


def _view(own: Pictures, picture: Picture, step: int, bands: tuple[int, ...], unit: str) -> View:
    """Some bands of one step, without what is no data or bad."""
    series = own.limits.rule.series
    values = (picture.values[step] if series else picture.values)[list(bands)]
    ok = own.read.there(values)
    if picture.mask is not None:
        ok &= (picture.mask[step] if series else picture.mask) == MASK_CLEAR
    return View(values, unit, ok)
