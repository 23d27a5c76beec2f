"""Imagery of a tile's chips: chosen scenes read once, laid over each other, held against `min_valid`, kept.

Of a series one date of all chips is read after the other, and waits on disk: memory holds a date, not a series.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime

import numpy as np

from chipweave.errors import PermanentSourceError
from chipweave.model import MASK_BAD, MASK_NODATA, Fate, Place, Scene
from chipweave.pixels import LayerRead, SceneArrays, compose, end_tile, let_go
from chipweave.pixels.align import Laid
from chipweave.pixels.coding import Stretch
from chipweave.pixels.gaps import BoolArray, Values, blank, erase, whole
from chipweave.pixels.masks import Mask, mask_counts
from chipweave.plan.columns import Candidate
from chipweave.plan.select import Limits
from chipweave.plan.select.taken import Scenes, Taken, of_choice
from chipweave.plan.survey import Amendment, choose_scenes
from chipweave.plan.targets import ChipScenes
from chipweave.weave.composing import Clear, Made, clear_of, made_of
from chipweave.weave.mosaics import read_mosaics
from chipweave.weave.spool import Spool

SERIES_PX = 2048 * 512
"""Most pixels of a series' windows, a quarter of a tile: what GDAL keeps of a hundred files takes the other room."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a picture: the scenes that gave pixels, their time, the valid share, and counts of its mask.

    Of a composite `dates` are the times of the dates that took part, and `shares` the share of the chip of each.
    `filled` is the share that was no data and took its nearest neighbour's, `stretch` (low, high) of each band.
    """

    items: tuple[str, ...] = ("",)
    time: str = ""
    valid: float = 0.0
    known: int = 0
    bad: int = 0
    dates: tuple[str, ...] = ("",)
    shares: tuple[float, ...] = (0.0,)
    filled: float = 0.0
    stretch: Stretch = ()


GAP = Step()
"""A step without a scene: no data."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """One step as drawn, `GAP` where too little is data; `valid` is the share of data before holes are filled."""

    step: Step
    values: Values
    mask: Mask | None
    valid: float


@dataclass(frozen=True, slots=True)
class Picture:
    """One imagery layer of one chip: ``([time,] band, y, x)``, its mask ``([time,] y, x)``, and every step's facts.

    There is a time axis where the layer is a series; a step without a scene is `GAP`. `names` are those of the steps,
    where they have some, and `stat` is the statistic of a composite. `laid` says of each step how far it lay from
    where it belongs, where the recipe asks for that; `fills` whether holes may be filled, `stretched` how many bands
    are stretched.
    """

    values: Values
    mask: Mask | None
    steps: tuple[Step, ...]
    names: tuple[str, ...] = ()
    stat: str = ""
    laid: tuple[Laid, ...] = ()
    fills: bool = False
    stretched: int = 0

    @property
    def valid(self) -> float:
        """Share of all steps' pixels that are data in every band, before bad ones are blanked."""
        return sum(s.valid for s in self.steps) / len(self.steps)

    @property
    def cloud(self) -> float:
        """Bad share of the pixels that the masks know."""
        known = sum(s.known for s in self.steps)
        return sum(s.bad for s in self.steps) / known if known else 0.0


@dataclass(slots=True)
class Pictures:
    """One imagery layer of a tile's chips, or of a batch's where several dates of a chip are read.

    Parameters
    ----------
    layer, read, limits
        Its name, how it is read, and what it may be; the rule of its limits says how many steps there are.
    scenes
        By id.
    blank
        Whether bad pixels become no data.
    spools
        Where the chips of a series or a composite wait, by key.
    fates, amendments
        Chips that came to nothing, and scenes that were passed over, are added here.
    """

    layer: str
    read: LayerRead
    limits: Limits
    scenes: Mapping[str, Scene]
    blank: bool
    spools: Mapping[str, Spool]
    fates: dict[str, Fate]
    amendments: list[Amendment]
    _chosen: dict[str, Taken] = field(default_factory=dict)
    _steps: dict[str, dict[Scenes, Step]] = field(default_factory=lambda: defaultdict(dict))
    _held: dict[str, tuple[Values, Mask | None]] = field(default_factory=dict)
    _valid: dict[str, float] = field(default_factory=dict)
    _clear: Clear = field(default_factory=Clear)

    @property
    def taken(self) -> Mapping[str, Taken]:
        """What each chip's picture is made of, by key."""
        return self._chosen

    @property
    def series(self) -> bool:
        """Whether several dates of a chip are read, and wait."""
        return self.limits.rule.dates

    def weave(self, tiles: Sequence[Mapping[str, ChipScenes]], chosen: Mapping[str, Taken]) -> None:
        """Read what was chosen; where a scene is broken, choose again without it, until every chip has a fate.

        Of a series one date after the other, each tile by tile, so that neighbours share the blocks of their border.
        """
        chips, wanted = {key: chip for tile in tiles for key, chip in tile.items()}, dict(chosen)
        while wanted:
            self._chosen |= wanted
            broken: dict[str, tuple[str, PermanentSourceError]] = {}
            for step_of in self.dates(wanted):
                for tile in tiles:
                    own = {key: step_of[key] for key in tile if key in step_of and key not in broken}
                    broken |= self._read(chips, own)
                    if self.series:
                        end_tile()
                if self.series:
                    let_go(ahead=False)  # of this date's files and blocks: no other step reads them
            for key in wanted:
                if key not in broken:
                    self._judge(key)
            wanted = {}
            for tile in tiles:
                wanted |= self._again(chips, {key: broken[key] for key in tile if key in broken})

    def _read(
        self, chips: Mapping[str, ChipScenes], chosen: Mapping[str, Scenes]
    ) -> dict[str, tuple[str, PermanentSourceError]]:
        """One step of some chips, kept; and those that a scene cannot serve."""
        most = SERIES_PX if self.series else None
        places = {key: chips[key].place for key in chosen}
        got, broken = read_mosaics(places, chosen, self.read, self.scenes, most)
        for key, parts in got.items():
            if key not in broken:
                self._add(key, chosen[key], parts)
        return broken

    def dates(self, chosen: Mapping[str, Taken]) -> Iterator[dict[str, Scenes]]:
        """Steps that are read together, by chip: of a series those of one date, else the only one."""
        together: dict[tuple[date, int], dict[str, Scenes]] = defaultdict(dict)
        for key, own in chosen.items():
            before: Counter[date] = Counter()
            for items in own.scenes:
                day = self.scenes[items[0]].time.date() if self.series else date.min
                if items not in self._steps[key]:  # it was read before another step was found broken
                    together[day, before[day]][key] = items
                before[day] += 1
        for name in sorted(together):
            yield together[name]

    def _again(
        self, chips: dict[str, ChipScenes], broken: Mapping[str, tuple[str, PermanentSourceError]]
    ) -> dict[str, Taken]:
        """Choose for some chips of one tile anew, each without the scene that it could not read."""
        for key, (item, error) in broken.items():
            self.amendments.append(Amendment(key, self.layer, item, "weave", error.href, error.message))
            chips[key] = _without(chips[key], self.layer, item)
        again, passed = choose_scenes(
            [chips[k] for k in broken], self.layer, self.read, self.limits, self.scenes, "weave"
        )
        self.amendments += passed
        chosen: dict[str, Taken] = {}
        for key, choice in again.items():
            if choice.chosen:
                chosen[key] = of_choice(choice, self.limits.rule)
                if self.limits.rule.stat:  # what its dates made together is of other dates
                    self._clear.forget(key)
                    self._steps.pop(key, None)
            else:
                error = broken[key][1]
                self.fates[key] = Fate(
                    key, "failed", "weave", "broken", self.layer, error.href, error.message
                )
        return chosen

    def _add(self, key: str, items: Scenes, parts: Sequence[SceneArrays]) -> None:
        """Keep one step of a chip where enough of it is data."""
        drawn = self._draw(items, parts)
        self._valid[key], self._steps[key][items] = drawn.valid, drawn.step
        if drawn.step is GAP:
            return
        values, mask = drawn.values, drawn.mask
        if self.limits.rule.stat:
            own = self._chosen[key]
            clear = clear_of(values, mask)
            for step in {at for at, scenes in zip(own.at, own.scenes, strict=True) if scenes == items}:
                self._clear.add(key, step, clear)
        if self.series:
            self.spools[key].put((self.layer, key, items), [values] if mask is None else [values, mask])
        else:
            self._held[key] = values, mask

    def _draw(self, items: Scenes, parts: Sequence[SceneArrays]) -> Drawn:
        """Lay the scenes of one step over each other; a gap where too little of it is data."""
        values, mask, used, full = compose(parts)
        stat = self.limits.rule.stat
        if self.read.indices and not stat:
            values = self.read.with_indices(values)
            full = whole(values)
        valid = float(np.count_nonzero(full)) / full.size
        least = 0.0 if stat else self.limits.min_valid or 0.0  # a composite is held against it, not its dates
        if valid == 0 or valid < least:
            return Drawn(GAP, values, mask, valid)
        known = bad = 0
        if mask is not None:
            known, bad = mask_counts(mask)
            if self.blank and not stat:
                values = erase(values, mask == MASK_BAD)
        gave = tuple(item for item, yes in zip(items, used, strict=False) if yes)
        time = self.scenes[gave[0]].time.strftime("%Y-%m-%dT%H:%M:%S.%f").rstrip("0").rstrip(".") + "Z"
        step = Step(gave, time, valid, known, bad)
        if not stat:
            values, step = self._finished(values, step, full)
        return Drawn(step, values, mask, valid)

    def _finished(self, values: Values, step: Step, full: BoolArray) -> tuple[Values, Step]:
        """What a sample holds of a working array, (band, y, x), and its step; `full` is where it was data."""
        done = self.read.finish(values)
        if done.filled:
            there = full | done.full
            step = replace(step, valid=float(np.count_nonzero(there)) / full.size, filled=done.filled)
        return done.values, replace(step, stretch=done.stretch) if done.stretch else step

    def drawn_at(self, place: Place, items: Scenes) -> Drawn:
        """One step of a chip, read anew at another place of the same grid.

        Raises
        ------
        PermanentSourceError
            One of its scenes cannot be read there.
        """
        got, broken = read_mosaics({place.key: place}, {place.key: items}, self.read, self.scenes, None)
        if broken:
            raise broken[place.key][1]
        return self._draw(items, got[place.key])

    def scenes_of(self, key: str) -> dict[int, Scenes]:
        """Scenes of each step of a chip that is no gap."""
        own = self._chosen[key]
        return {
            n: items
            for n, items in zip(own.at, own.scenes, strict=True)
            if self._steps[key][items] is not GAP
        }

    def _judge(self, key: str) -> None:
        """Drop a chip whose steps with enough data are too few."""
        rule, need = self.limits.rule, self.limits.rule.need
        own = self._chosen[key]
        if rule.stat:
            shares = [self._clear.share(key, step) for step in range(rule.steps)]
            self._valid[key] = max(shares)
            count = sum(self._enough(share) for share in shares)
        else:
            count = sum(self._steps[key][items] is not GAP for items in own.scenes)
        if count >= need:
            return
        text = f"valid share of the bands is {self._valid[key]:.4f}"
        if rule.series:
            what = "composites" if rule.stat else "dates"
            text = f"{count} of the {need} {what} that it needs have enough valid pixels"
        self.fates[key] = Fate(key, "dropped", "weave", "valid", self.layer, "", text)

    def of(self, place: Place) -> Picture:
        """The picture of one chip; a series is fetched from where it waits."""
        place = self.read.place(place)
        key, size, rule = place.key, place.size, self.limits.rule
        own = self._chosen[key]
        if key in self._held:
            held = tuple(self._steps[key][items] for items in own.scenes)
            return self._whole(*self._held[key], held)
        values = self.read.empty((rule.steps, self.read.depth, size, size))
        mask = None if self.read.mask is None else np.full((rule.steps, size, size), MASK_NODATA, np.uint8)
        steps = [GAP] * rule.steps
        for n, items in zip(own.at, own.scenes, strict=True):
            if rule.stat or self._steps[key][items] is GAP:
                continue
            steps[n] = self._steps[key][items]
            name = (self.layer, key, items)
            self.spools[key].load(name, [values[n]] if mask is None else [values[n], mask[n]])
        for n in range(rule.steps if rule.stat else 0):
            if self._enough(self._clear.share(key, n)):
                steps[n], made = self._composite(place, n)
                values[n] = made.values
                if mask is not None and made.mask is not None:
                    mask[n] = made.mask
        if not rule.series:
            values, mask = values[0], None if mask is None else mask[0]
        return self._whole(values, mask, tuple(steps))

    def _whole(self, values: Values, mask: Mask | None, steps: tuple[Step, ...]) -> Picture:
        rule, coding = self.limits.rule, self.read.coding
        stretched = self.read.depth if coding is not None and coding.stretch is not None else 0
        names = rule.names if rule.series else ()
        return Picture(
            values, mask, steps, names, rule.stat, fills=self.read.fill > 0, stretched=stretched
        )  # fmt: skip

    def _enough(self, share: float) -> bool:
        """Whether a composite of that valid share is one."""
        return share > 0 and share >= (self.limits.min_valid or 0.0)

    def _composite(self, place: Place, step: int) -> tuple[Step, Made]:
        """One step out of the dates that wait."""
        key, size, own = place.key, place.size, self._chosen[place.key]
        dates: list[tuple[Values, Mask | None]] = []
        parts: list[Step] = []
        for at, items in zip(own.at, own.scenes, strict=True):
            if at == step and self._steps[key][items] is not GAP:
                values = blank((len(self.read.bands), size, size), self.read.dtype)
                mask = None if self.read.mask is None else np.full((size, size), MASK_NODATA, np.uint8)
                arrays = [values] if mask is None else [values, mask]
                self.spools[key].load((self.layer, key, items), arrays)
                dates.append((values, mask))
                parts.append(self._steps[key][items])
        times = [datetime.fromisoformat(part.time) for part in parts]
        made = made_of(dates, times, self.read, self.limits.rule.stat)
        used = [parts[n] for n in made.order]
        items = tuple(dict.fromkeys(item for part in used for item in part.items))
        said = tuple(part.time for part in used)
        middle = said[(len(said) - 1) // 2]
        drawn = Step(items, middle, made.valid, made.known, 0, said, made.shares, made.filled, made.stretch)
        return drawn, made


def _without(chip: ChipScenes, layer: str, item: str) -> ChipScenes:
    left: list[Candidate] = []
    for candidate in chip.candidates[layer]:
        scenes = tuple(s for s in candidate.scenes if s != item)
        if scenes:
            left.append(replace(candidate, scenes=scenes))
    return replace(chip, candidates={**chip.candidates, layer: tuple(left)})
