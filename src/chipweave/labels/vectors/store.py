"""A vector layer made ready for chips, once a build: mended, coded, and laid out so that neighbours stand together.

A store is a folder. ``features.arrow`` holds record batches of some hundred features along a Hilbert curve, each with
its box in lon/lat, its geometry (WKB, in the file's own CRS), its code by each rule, and the fields that are kept;
``groups.npy`` the box of each batch. A worker reads the batches around its chip and parses what meets it. Making a
store takes memory for one piece of the file and some bytes a feature.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import geopandas as gpd
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from chipweave.errors import RecipeError
from chipweave.files import TEMPORARY, atomic_write_text, sha256_file, writing
from chipweave.labels.base import NO_CLASS, AnyArray
from chipweave.labels.vectors.files import Opened, Piece, open_vectors, telling
from chipweave.labels.vectors.filters import columns_of, matching, unknown_field
from chipweave.labels.vectors.mending import lonlat_boxes, mend, unwrapped
from chipweave.labels.vectors.rules import MAX_CODES, Rule, codes_of

GROUP: Final = 256
"""Features of a record batch."""

FEATURES, GROUPS, FACTS = "features.arrow", "groups.npy", "facts.json"

BOX: Final = ("w", "s", "e", "n")

_VERSION: Final = 1
_LEVEL: Final = 16  # of the Hilbert curve: cells of 600 m by 300 m at the equator


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """What a store holds, and what had to be done to its file.

    Parameters
    ----------
    folder
        The store.
    digest
        Of the file's bytes and of everything that was asked of it.
    crs
        Of the geometries: ``EPSG:n`` or WKT2.
    count
        Features that any rule burns.
    mended
        Geometries that were not valid and were made so.
    dropped
        Features that were left out, by reason: ``no geometry``, ``not finite``, ``without extent``, ``no code``.
        Those that no rule takes are not among them.
    unwrapped
        Geometries that jumped across ±180°.
    bounds
        (west, south, east, north) in lon/lat; east beyond 180 where they lie across ±180°.
    codes
        For each rule the codes that it burns.
    fields, kept
        Of the file, and those of them that the store holds.
    """

    folder: Path
    digest: str
    crs: str
    count: int
    mended: int
    dropped: Mapping[str, int]
    unwrapped: int
    bounds: tuple[float, float, float, float]
    codes: tuple[tuple[int, ...], ...]
    fields: tuple[str, ...]
    kept: tuple[str, ...]

    def said(self) -> str:
        """In a line, for the log."""
        parts = [f"{self.count:,} features in {self.crs.partition('[')[0] or 'a CRS'}"]
        parts += [f"{self.mended:,} mended"] if self.mended else []
        parts += [f"{self.unwrapped:,} brought together across ±180°"] if self.unwrapped else []
        parts += [f"{n:,} left out ({why})" for why, n in self.dropped.items() if n]
        return ", ".join(parts)


def prepare_store(
    path: Path,
    rules: Sequence[Rule],
    into: Path,
    *,
    said: str,
    layer: str | None = None,
    columns: Sequence[str] = (),
    names: Mapping[str, int] | None = None,
) -> StoreFacts:
    """Make the store of a vector file below a folder, or find it there.

    Parameters
    ----------
    path
        Any file that GDAL reads, zipped or not, or GeoParquet.
    rules
        What is burned; a feature that none takes is not kept.
    into
        Folder of stores; this one's name is the digest of what it was made from.
    said
        How errors name the file, such as ``labels.fields.file: parcels.gpkg``.
    layer
        Of a file with several.
    columns
        Fields that are kept beside those that rules name, for documents and captions.
    names
        Names of classes to their codes, of a layer with a legend.

    Raises
    ------
    RecipeError
        The file is missing, unreadable, empty, has no CRS or several, a field that rules name is not there (the nearest
        is told), holds no code, or a feature has too many vertices.
    """
    return store_of(open_vectors(path, said, layer), rules, into, columns=columns, names=names)


def store_of(
    opened: Opened,
    rules: Sequence[Rule],
    into: Path,
    *,
    columns: Sequence[str] = (),
    names: Mapping[str, int] | None = None,
) -> StoreFacts:
    """Make the store of what was opened, such as an extract of OpenStreetMap (a subclass of `Opened`).

    Parameters and errors as of `prepare_store`; another `layer` is another store.
    """
    path = opened.path
    wanted = _wanted(opened, rules, columns)
    own = dict(sorted((names or {}).items()))
    asked = [_VERSION, opened.layer, opened.crs, wanted, [r.picks for r in rules], own]
    digest = hashlib.sha256((sha256_of(path) + json.dumps(asked)).encode()).hexdigest()[:20]
    folder = into / digest
    found = load_facts(folder)
    if found is not None:
        return found
    with writing(into):
        into.mkdir(parents=True, exist_ok=True)
        work = into / f"{TEMPORARY}{digest}"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        facts = _Making(opened, rules, own, wanted, work).make(folder, digest)
        shutil.rmtree(folder, ignore_errors=True)
        work.replace(folder)
    return facts


def load_facts(folder: Path) -> StoreFacts | None:
    """Facts of a store that is whole; else None."""
    try:
        held = json.loads((folder / FACTS).read_text())
    except (OSError, ValueError):
        return None
    held["codes"] = tuple(tuple(c) for c in held["codes"])
    held |= {name: tuple(held[name]) for name in ("bounds", "fields", "kept")}
    return StoreFacts(folder=folder, **held)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, or of all files of a folder (a file geodatabase) and of those beside a shapefile."""
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file())
    elif path.suffix.lower() == ".shp":
        files = sorted(p for p in path.parent.glob(f"{path.stem}.*") if p.is_file())
    else:
        return sha256_file(path)
    return hashlib.sha256("".join(f"{p.name}:{sha256_file(p)}\n" for p in files).encode()).hexdigest()


def _wanted(opened: Opened, rules: Sequence[Rule], columns: Sequence[str]) -> list[str]:
    """Fields that rules look at and that are kept, in the file's order."""
    used = set(columns)
    for rule in rules:
        if rule.where is not None:
            used |= columns_of(rule.where, opened.fields, f"{rule.said}.where")
        if rule.column is not None:
            if rule.column not in opened.fields:
                raise unknown_field(f"{rule.said}.column", rule.column, opened.fields)
            used.add(rule.column)
    for name in used - set(opened.fields):
        raise unknown_field(opened.said, name, opened.fields)
    nested = next((n for n in opened.fields if n in used and not opened.fields[n]), None)
    if nested is not None:
        raise RecipeError(f"{opened.said}: field {nested!r} holds no plain values, but lists or structures")
    return [name for name in opened.fields if name in used]


class _Making:
    """One store in the making."""

    def __init__(
        self, opened: Opened, rules: Sequence[Rule], names: Mapping[str, int], columns: list[str], work: Path
    ) -> None:
        self.opened, self.rules, self.names, self.columns, self.work = opened, rules, names, columns, work
        self.conditions = {r.where: f"{r.said}.where" for r in rules if r.where is not None}
        self.counts: Counter[str] = Counter()
        self.codes: list[set[int]] = [set() for _ in rules]
        self.seen = 0

    def make(self, folder: Path, digest: str) -> StoreFacts:
        """Write the store's files; facts come last."""
        curve, boxes = self._gather()
        if not len(curve):
            self._nothing()
        order = np.argsort(curve, kind="stable")
        self._lay_out(order)
        grouped = [boxes[order[k : k + GROUP]] for k in range(0, len(order), GROUP)]
        np.save(self.work / GROUPS, np.array([_around(b) for b in grouped]))
        (self.work / "raw.arrow").unlink()
        facts = StoreFacts(
            folder, digest, self.opened.crs, len(order), self.counts.pop("mended", 0),
            {k: n for k, n in sorted(self.counts.items()) if n and k != "unwrapped"}, self.counts["unwrapped"],
            _around(boxes), tuple(tuple(sorted(c)) for c in self.codes), tuple(self.opened.fields),
            tuple(self.columns),
        )  # fmt: skip
        held = {k: v for k, v in asdict(facts).items() if k != "folder"}
        atomic_write_text(self.work / FACTS, json.dumps(held))
        return facts

    def _nothing(self) -> None:
        said = self.opened.said
        if not self.seen:
            raise RecipeError(f"{said}: is empty: it has no feature")
        lost = ", ".join(f"{n:,} {why}" for why, n in self.counts.items() if n)
        raise RecipeError(
            f"{said}: none of its {self.seen:,} features is burned" + (f" ({lost})" if lost else ""),
            hint="look at `burn`: no rule takes one" if not lost else "",
        )

    def _gather(self) -> tuple[AnyArray, AnyArray]:
        """Write what is kept of each piece in the file's order; places on the curve, and boxes."""
        curves, boxes = [], []
        with pa.OSFile(str(self.work / "raw.arrow"), "wb") as sink:
            writer = None
            for piece in self.opened.pieces(self.columns):
                batch, box = self._piece(piece)
                if not len(box):
                    continue
                writer = writer or pa.ipc.new_file(sink, batch.schema)
                writer.write_batch(batch)
                middle = shapely.points((box[:, 0] + box[:, 2]) / 2, (box[:, 1] + box[:, 3]) / 2)
                curves.append(
                    gpd.GeoSeries(middle).hilbert_distance((-180, -90, 540, 90), _LEVEL).to_numpy(np.uint32)
                )
                boxes.append(box)
            if writer is not None:
                writer.close()
        if not boxes:
            return np.empty(0, np.uint32), np.empty((0, 4))
        return np.concatenate(curves), np.concatenate(boxes)

    def _piece(self, piece: Piece) -> tuple[pa.RecordBatch, AnyArray]:
        count, ids = len(piece.ids), piece.ids
        rows = np.arange(self.seen, self.seen + count, dtype=np.int64) if piece.turns is None else piece.turns
        self.seen += count
        with telling(self.opened.said):  # text that is none
            for column in piece.columns.values():
                column.validate(full=True)
        hits = matching(self.conditions, piece.columns, count, self.opened.fields)
        codes = np.stack(
            [codes_of(r, hits.get(r.where or ""), piece.columns, ids, self.names) for r in self.rules], axis=1
        )
        taken = np.zeros(count, np.bool_)
        for rule in self.rules:
            taken |= hits[rule.where] if rule.where is not None else True
        coded = (codes != NO_CLASS).any(axis=1)
        self.counts["no code"] += int((taken & ~coded).sum())
        given = piece.shapes.copy()
        given[~coded] = None
        given = unwrapped(given, self.opened.crs, self.counts)
        shapes, kept = mend(given, ids, self.opened.said, self.counts)
        self.counts["no geometry"] -= int((~coded).sum())
        at = np.flatnonzero(kept)
        own = shapes[at]
        boxes = lonlat_boxes(own, ids[at], self.opened.crs, self.opened.said)
        for k, found in enumerate(self.codes):
            found.update(np.unique(codes[at, k]).tolist())
            found.discard(NO_CLASS)
            if len(found) > MAX_CODES:
                raise RecipeError(
                    f"{self.rules[k].said}: more than {MAX_CODES} codes", hint="group them by `where`"
                )
        arrays = {"row": pa.array(rows[at]), "id": pa.array(ids[at])}
        arrays |= {name: pa.array(np.ascontiguousarray(boxes[:, k])) for k, name in enumerate(BOX)}
        arrays["wkb"] = pa.array(shapely.to_wkb(own, byte_order=1), pa.large_binary())
        arrays |= {f"code{k}": pa.array(np.ascontiguousarray(codes[at, k])) for k in range(len(self.rules))}
        index = pa.array(at)
        arrays |= {
            f"field:{c}": _steady(piece.columns[c].take(index), self.opened.fields[c]) for c in self.columns
        }
        return pa.RecordBatch.from_pydict(arrays), boxes

    def _lay_out(self, order: AnyArray) -> None:
        """Write the features in their new order, some thousands at a time, each gathered from where it stands."""
        with pa.memory_map(str(self.work / "raw.arrow")) as source:
            raw = pa.ipc.open_file(source)
            batches = [raw.get_batch(k) for k in range(raw.num_record_batches)]
            starts = np.cumsum([0, *(b.num_rows for b in batches)])
            with (
                pa.OSFile(str(self.work / FEATURES), "wb") as sink,
                pa.ipc.new_file(sink, raw.schema) as writer,
            ):
                for first in range(0, len(order), GROUP * 32):
                    own = order[first : first + GROUP * 32]
                    for batch in _taken(batches, starts, own).to_batches(GROUP):
                        writer.write_batch(batch)


def _taken(batches: Sequence[pa.RecordBatch], starts: AnyArray, rows: AnyArray) -> pa.Table:
    """Rows of several batches, in the order asked for."""
    where = np.searchsorted(starts, rows, side="right") - 1
    by = np.argsort(where, kind="stable")
    which, first = np.unique(where[by], return_index=True)
    parts = [
        batches[k].take(pa.array(rows[own] - starts[k]))
        for k, own in zip(which.tolist(), np.split(by, first[1:]), strict=True)
    ]
    back = np.empty(len(rows), np.int64)
    back[by] = np.arange(len(rows))
    return pa.Table.from_batches(parts).combine_chunks().take(pa.array(back)).combine_chunks()


def _steady(column: pa.Array, kind: str) -> pa.Array:
    """A kept field as one of three types, whatever the piece: nulls alone have none of their own."""
    held = column.cast({"INTEGER": pa.int64(), "REAL": pa.float64()}.get(kind, pa.string()))
    # Documents are strict JSON, which has neither NaN nor infinity.
    return pc.if_else(pc.is_finite(held), held, None) if pa.types.is_floating(held.type) else held


def _around(boxes: AnyArray) -> tuple[float, float, float, float]:
    return (
        float(boxes[:, 0].min()), float(boxes[:, 1].min()), float(boxes[:, 2].max()), float(boxes[:, 3].max()),
    )  # fmt: skip
