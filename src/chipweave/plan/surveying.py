"""Survey at any size: chips are matched a chunk of tiles at a time, tasks handed out as they are taken, receipts kept.

What a task finds stays on disk where its worker is, as rows of `matches.parquet`; what comes back is a line a chip.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import shapely

from chipweave.errors import TransientSourceError
from chipweave.files import atomic_path, atomic_write_bytes, xxh3_file
from chipweave.labels import LabelRead
from chipweave.model import Place
from chipweave.pixels import gdal_session
from chipweave.pixels.ahead import Wish, ahead
from chipweave.pixels.blocks import Sides
from chipweave.plan import tables
from chipweave.plan.batches import WORTH_PX, tile_names
from chipweave.plan.columns import Ints, Lists, Matched
from chipweave.plan.coming import of_survey
from chipweave.plan.grids import finer, times_finer
from chipweave.plan.match import Pool, Shapes
from chipweave.plan.pairs import may_lack
from chipweave.plan.regions import journey
from chipweave.plan.select import Choice, When
from chipweave.plan.survey import Amendment, Found, Reads, survey_tile
from chipweave.plan.targets import ChipScenes
from chipweave.plan.times import ticks_of, time_column, when_columns, when_of

CHUNK = 20_000
"""Places that are matched together: with 73 dates of each some hundred megabytes."""


@dataclass(frozen=True, slots=True)
class TileScenes:
    """The chips of one tile and what may serve them, as columns: what is sent to a worker."""

    places: tuple[Place, ...]
    candidates: Mapping[str, Matched]
    labels: Mapping[str, Lists]
    when: Mapping[str, tuple[When, ...]] = field(default_factory=dict)

    def chips(self) -> list[ChipScenes]:
        """The same as objects."""
        return [
            ChipScenes(
                place,
                {layer: own.queue(i) for layer, own in self.candidates.items()},
                {layer: own.of(i) for layer, own in self.labels.items()},
                {layer: own[i] for layer, own in self.when.items()},
            )
            for i, place in enumerate(self.places)
        ]


@dataclass(frozen=True, slots=True)
class SurveyTask:
    """Some tiles to be surveyed; `digest` names the snapshot, the recipe and the chips that they come from."""

    number: int
    digest: str
    tiles: tuple[TileScenes, ...]
    reads: Reads
    label_facts: tuple[str, ...]

    def coming(self) -> Iterator[Wish]:
        """What is read first for each of its tiles."""
        return of_survey((tile.chips() for tile in self.tiles), self.reads, self.label_facts)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What survey says of one chip.

    `choices` holds (chosen, reason, error, href, cloud, valid) by imagery layer, the shares as means over its steps,
    `facts` what `keep` may ask for, `error` (layer, href, what) where a label broke.
    """

    choices: Mapping[str, tuple[bool, str, str, str, float, float]]
    facts: Mapping[str, float]
    error: tuple[str, str, str] | None


@dataclass(frozen=True, slots=True)
class Surveyed:
    """One task's chips, by their row in the table of places, what became of them, and who was passed over."""

    rows: Ints
    outcomes: Sequence[Outcome]
    amendments: Sequence[Amendment]


class Survey:
    """A build's survey: hands out tasks, and takes their results back.

    Parameters
    ----------
    places
        Table of all places without their geometry, sorted by key.
    wkb
        Their footprints.
    reads, label_facts
        How to read; label layers whose class shares a `keep` rule asks for.
    digest
        Of recipe and snapshot.
    tile_px
        Side of a tile; no pixel depends on it.

    Attributes
    ----------
    lacking
        (n,) number in `layers` of the first layer that no scene serves at a place, -1 where all are served. Complete
        when the tasks are exhausted.
    task, start, count
        (n,) task that surveyed a place (-1: none), and its rows in that task's table.
    """

    def __init__(
        self,
        places: pd.DataFrame,
        wkb: pa.Array,
        reads: Reads,
        label_facts: Sequence[str],
        digest: str,
        tile_px: int | None = None,
    ) -> None:
        n = len(places)
        self.places, self.reads = places, reads
        self.layers = [*reads.imagery, *reads.labels]
        self.lacking = np.full(n, -1, np.int16)
        self.task, self.start, self.count = (np.full(n, -1, np.int32) for _ in range(3))
        self.candidates = 0
        self.tasks_made = 0
        self._wkb, self._facts, self._digest = wkb, tuple(label_facts), digest
        self._open: dict[int, Ints] = {}
        self._tile_px = tile_px

    @cached_property
    def _tiles(self) -> tuple[Ints, Ints]:
        """Rows of the places that are no overlap, by tile and key, and where each tile begins."""
        own = np.flatnonzero((self.places["reason"] == "").to_numpy())
        if not len(own):
            return own, np.zeros(1, np.int64)
        places = self.places.iloc[own]
        fine = finer(places, times_finer(places, self.reads.imagery.values()))
        codes, _ = pd.factorize(tile_names(fine, self._tile_px), sort=True)
        order = np.argsort(codes, kind="stable")
        starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
        return own[order], np.append(starts, len(own))

    @property
    def tiles(self) -> int:
        """How many tiles there are."""
        return len(self._tiles[1]) - 1

    def tasks(self) -> Iterator[SurveyTask]:
        """Tasks, each made when it is asked for."""
        scenes = self.reads.scenes
        rasters = {
            n: Pool(
                [s for s in scenes[n].values() if not isinstance(read, LabelRead) or read.band in s.assets],
                (),
            )
            for n, read in self.reads.labels.items()
        }
        spared = may_lack(self.reads.limits)
        rows, starts = self._tiles
        first = 0
        while first < len(starts) - 1:
            last = max(int(np.searchsorted(starts, starts[first] + CHUNK, "right")) - 1, first + 1)
            chunk = rows[starts[first] : starts[last]]
            footprints, crs = self._ground(chunk)
            matched = {n: self.candidates_of(n, chunk) for n in self.reads.imagery}
            labels = {n: pool.rasters(footprints, crs) for n, pool in rasters.items()}
            self.candidates += sum(len(m.cloud) for m in matched.values())
            firsts = [*(m.first for m in matched.values()), *(r.first for r in labels.values())]
            for number, first_of in enumerate(firsts):
                if self.layers[number] in spared:
                    continue
                none = chunk[np.diff(first_of) == 0]
                self.lacking[none[self.lacking[none] < 0]] = number
            yield from self._of_chunk(chunk, starts[first : last + 1] - starts[first], matched, labels)
            first = last

    @cached_property
    def _pools(self) -> dict[str, Pool]:
        scenes = self.reads.scenes
        return {n: Pool(list(scenes[n].values()), read.bands) for n, read in self.reads.imagery.items()}

    def _ground(self, rows: Ints) -> tuple[Shapes, npt.NDArray[np.object_]]:
        """Footprints and CRS of places by their rows."""
        wkb = self._wkb.take(pa.array(rows)).to_numpy(zero_copy_only=False)
        return np.asarray(shapely.from_wkb(wkb), np.object_), self.places["crs"].to_numpy()[rows]

    def candidates_of(self, layer: str, rows: Ints) -> Matched:
        """Candidates of a layer at places by their rows, in each chip's own time, where it has one."""
        matched = self._pools[layer].candidates(*self._ground(rows))
        column = time_column(layer)
        if column not in self.places:
            return matched
        texts = self.places[column].iloc[rows].tolist()
        return matched.between(*ticks_of(texts, self.reads.limits[layer].rule))

    def _of_chunk(
        self, chunk: Ints, starts: Ints, matched: Mapping[str, Matched], labels: Mapping[str, Lists]
    ) -> Iterator[SurveyTask]:
        size = int(self.places["size"].iloc[0])
        whole = self.lacking[chunk] < 0
        parts: list[Ints] = []
        for k in range(len(starts) - 1):
            part = np.arange(starts[k], starts[k + 1])[whole[starts[k] : starts[k + 1]]]
            if len(part):
                parts.append(part)
            # Tiles that hold a chip or two go together.
            if parts and (k == len(starts) - 2 or sum(map(len, parts)) * size**2 >= WORTH_PX):
                yield self._task(chunk, parts, matched, labels)
                parts = []

    def _task(
        self, chunk: Ints, parts: Sequence[Ints], matched: Mapping[str, Matched], labels: Mapping[str, Lists]
    ) -> SurveyTask:
        tiles = tuple(
            TileScenes(
                self._places_of(chunk[part]),
                {n: m.take(part) for n, m in matched.items()},
                {n: r.take(part) for n, r in labels.items()},
                self._when(chunk[part]),
            )
            for part in parts
        )
        number, rows = self.tasks_made, np.concatenate([chunk[part] for part in parts])
        self.tasks_made += 1
        self._open[number] = rows
        # The keys too: a tile of another size must not take this one's receipt.
        keys = "\n".join([self._digest, *(p.key for t in tiles for p in t.places)])
        wanted: dict[str, dict[str, None]] = {layer: {} for layer in self.layers}
        for tile in tiles:
            for layer in matched:
                wanted[layer] |= dict.fromkeys(tile.candidates[layer].ids)
            for layer in labels:
                wanted[layer] |= dict.fromkeys(tile.labels[layer].ids)
        scenes = {layer: {i: self.reads.scenes[layer][i] for i in ids} for layer, ids in wanted.items()}
        digest = hashlib.sha256(keys.encode()).hexdigest()
        return SurveyTask(number, digest, tiles, replace(self.reads, scenes=scenes), self._facts)

    def _when(self, rows: Ints) -> dict[str, tuple[When, ...]]:
        """What rules ask for beside candidates, by layer."""
        timed = [n for n, limits in self.reads.limits.items() if limits.rule.timed]
        if not timed:
            return {}
        names = list(dict.fromkeys(c for n in timed for c in when_columns(n, self.places.columns.tolist())))
        values = zip(*(self.places[name].iloc[rows].tolist() for name in names), strict=True)
        own = [dict(zip(names, row, strict=True)) for row in values]
        return {n: tuple(when_of(row, n) for row in own) for n in timed}

    def _places_of(self, rows: Ints) -> tuple[Place, ...]:
        own = self.places[["key", "crs", "x", "y", "size", "resolution"]].iloc[rows]
        return tuple(Place(*row) for row in zip(*(own[n].tolist() for n in own), strict=True))

    def settle(self, content: Mapping[str, Any]) -> Surveyed:
        """Take the result of a task back."""
        number = int(content["number"])
        rows, counts = self._open.pop(number), np.array(content["rows"], np.int32)
        self.task[rows], self.count[rows] = number, counts
        self.start[rows] = np.cumsum(counts) - counts
        layers = list(content["choices"])
        choices = zip(*(content["choices"][n] for n in layers), strict=True) if layers else ((),) * len(rows)
        outcomes = [
            Outcome(
                {n: tuple(c) for n, c in zip(layers, own, strict=True)},
                facts,
                tuple(error) if error else None,
            )
            for own, facts, error in zip(choices, content["facts"], content["errors"], strict=True)
        ]
        return Surveyed(rows, outcomes, [Amendment(**a) for a in content["amendments"]])


def rows_path(work: Path, number: int) -> Path:
    """Table of a task's rows."""
    return work / "survey" / f"tile-{number:06d}.arrow"


def survey_task(task: SurveyTask, work: Path) -> dict[str, Any] | TransientSourceError:
    """Survey some tiles, or take what an earlier run found: a receipt as JSON, rows as an Arrow file."""
    table_path = rows_path(work, task.number)
    path = table_path.with_suffix(".json")
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if content["digest"] == task.digest and content["xxh3"] == xxh3_file(table_path):
            return content
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not surveyed yet, or not whole: survey it
    found: dict[str, Found] = {}
    labels: dict[str, Mapping[str, tuple[str, ...]]] = {}
    amendments: list[Amendment] = []
    try:
        with (
            gdal_session(task.reads.catalogs),
            journey([tile.places for tile in task.tiles], _later(task.tiles[0].places[0])),
        ):
            ahead.begin(task.digest, task.coming)
            for tile in task.tiles:
                chips = tile.chips()
                own, passed = survey_tile(chips, task.reads, task.label_facts)
                found |= own
                labels |= {chip.place.key: chip.labels for chip in chips}
                amendments += passed
    except TransientSourceError as error:
        return error
    table, counts = tables.match_table(found, labels, task.reads)
    with atomic_path(table_path, durable=False) as temporary:  # what it holds is checked, by the receipt
        tables.write_scratch(temporary, table)
    steps = {layer: limits.rule.steps for layer, limits in task.reads.limits.items()}
    content = {
        "digest": task.digest,
        "number": task.number,
        "rows": counts,
        "xxh3": xxh3_file(table_path),
        **_receipt(found, amendments, steps),
    }
    text = json.dumps(content)
    atomic_write_bytes(path, text.encode(), durable=False)
    result: dict[str, Any] = json.loads(text)
    return result


def _later(place: Place) -> Sides:
    """Where tiles come after that of a place: they are sorted by name, a text, in which numbers below zero fall."""
    up, left = place.y > 0, place.x < 0
    return up, not up, left, not left


def _receipt(
    found: Mapping[str, Found], amendments: Sequence[Amendment], steps: Mapping[str, int]
) -> dict[str, Any]:
    """What main needs to know of each chip, in the order of `found`; `steps` by imagery layer."""
    layers = list(next(iter(found.values())).choices)
    return {
        "choices": {n: [_line(f.choices[n], steps[n]) for f in found.values()] for n in layers},
        "facts": [f.facts for f in found.values()],
        "errors": [f.error for f in found.values()],
        "amendments": [asdict(a) for a in amendments],
    }


def _line(choice: Choice, steps: int) -> tuple[bool, str, str, str, float, float]:
    said = (choice.chosen, choice.reason, choice.error, choice.href)
    if choice.figures is not None:
        return (*said, *choice.figures)
    if choice.chosen:  # as in the sample: a step that is missing has no valid pixel
        cloud = sum(m.cloud for m in choice.steps) / choice.taken
        return (*said, cloud, sum(m.valid for m in choice.steps) / steps)
    best = choice.best if choice.ranked else None
    return (*said, best.cloud, best.valid) if best is not None else (*said, float("nan"), float("nan"))
