"""`report/index.html`: a finished dataset on one page that needs no network: map, yield, values, classes, samples."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import geopandas as gpd
import numpy as np
import pyarrow.parquet as pq
import shapely
from PIL import Image

from chipweave.describe import svg
from chipweave.describe.colours import Classes
from chipweave.describe.panels import (
    Panel,
    Picture,
    choose,
    class_counts,
    picture_of,
    stretches,
    title_of,
    true_colour,
)
from chipweave.describe.summary import Summary, summarise
from chipweave.describe.text import plain
from chipweave.errors import UsageError
from chipweave.files import atomic_write_text
from chipweave.shards.damage import readable
from chipweave.shards.deal import split_order
from chipweave.shards.index import NAME as INDEX
from chipweave.shards.reader import Reader

NAME: Final = "report/index.html"

_SAMPLES, _SIDE = 6, 160
_STYLE: Final = """
body{font:15px/1.45 system-ui,sans-serif;color:#222;max-width:1080px;margin:2em auto;padding:0 1em}
h1{margin-bottom:.1em}h2{margin-top:1.8em;border-bottom:1px solid #ddd}.soft{color:#777}
.numbers{display:flex;gap:2em;flex-wrap:wrap}.numbers b{display:block;font-size:1.7em}
table{border-collapse:collapse}td,th{padding:.15em .7em .15em 0;text-align:left;vertical-align:top}
td.n{text-align:right;font-variant-numeric:tabular-nums}svg text{font-size:10px;fill:#777}
svg.map{display:block;width:100%;max-width:760px}svg.map path,svg.map rect{stroke:#fff;stroke-width:.3}
svg.bars{width:180px;fill:#0072b2}figure{display:inline-block;margin:.3em .6em .3em 0}
figcaption{font-size:12px;color:#555}table.stacks{width:100%}table.stacks td{width:88%}
svg.stack{width:100%;height:18px}.key{display:inline-block;margin-right:1em;font-size:13px}
.key i{display:inline-block;width:12px;height:12px;margin-right:4px;border:1px solid #5555}
.sample{display:inline-block;width:170px;margin:0 .4em 1em 0;vertical-align:top;font-size:12px}
.sample img{width:160px;height:160px;image-rendering:pixelated;display:block;border:1px solid #ccc}
"""


def write_report(folder: Path, out: Path | None = None) -> Path:
    """Write the page from what lies in the folder; the same folder gives the same bytes.

    Parameters
    ----------
    folder
        A dataset with its index, statistics and ledger.
    out
        Of the page; by default `NAME` in the folder, which is for who seals it.

    Returns
    -------
    Path
        Of the page.

    Raises
    ------
    UsageError
        The folder holds no dataset.
    VerifyError
        A sample cannot be read.
    """
    path = out or folder / NAME
    atomic_write_text(path, _page(Path(folder)))
    return path


def _page(folder: Path) -> str:
    """The page's HTML."""
    if not (folder / INDEX).is_file():
        raise UsageError(f"{folder} is no chipweave dataset: it has no {INDEX}")
    with Reader(folder) as reader:
        summary = summarise(folder, reader.layers)
        stats = json.loads((folder / "stats.json").read_bytes())
        parts = [
            *_head(folder, summary, reader),
            *_map(folder, reader.index),
            *_yield(summary),
            *_layers(summary, reader.layers),
            *_values(stats),
            *_classes(stats),
            *_samples(folder, reader),
            *_verdict(folder),
        ]
    title = html.escape(plain(title_of(folder)))
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>'
        f"<body>{''.join(parts)}</body></html>\n"
    )


def page_of(folder: Path, out: Path | None = None) -> Path:
    """The page that a dataset was sealed with; or a new one, at `out` or else beside the folder where it has none.

    Raises
    ------
    UsageError, VerifyError
        As `write_report`.
    """
    sealed = Path(folder) / NAME
    if out is None and sealed.is_file():
        return sealed
    whole = Path(folder).resolve()
    path = out or whole.with_name(f"{whole.name}-report.html")
    with readable(folder):
        page = _page(folder)
    atomic_write_text(path, page)
    return path


def _table(head: Sequence[str], rows: Sequence[Sequence[str | int]]) -> str:
    """Cells are escaped here; numbers stand to the right."""
    cells = "".join(
        "<tr>" + "".join(
            f'<td class="n">{c:,}</td>' if isinstance(c, int) else f"<td>{html.escape(plain(c))}</td>" for c in row
        ) + "</tr>"
        for row in rows
    )  # fmt: skip
    return f"<table><tr>{''.join(f'<th>{html.escape(h)}</th>' for h in head)}</tr>{cells}</table>"


def _head(folder: Path, summary: Summary, reader: Reader) -> Iterator[str]:
    yield f"<h1>{html.escape(plain(title_of(folder)))}</h1>"
    counts = [("samples", f"{len(reader):,}"), *((s, f"{n:,}") for s, n in summary.counts.items())]
    counts += [("layers", str(len(reader.layers))), ("written as", ", ".join(summary.formats))]
    told = "".join(f"<div><b>{html.escape(n)}</b>{html.escape(plain(what))}</div>" for what, n in counts)
    yield f'<div class="numbers">{told}</div>'
    yield (
        '<p class="soft">Its <a href="../README.md">card</a> says what it holds and how it is loaded; '
        '<a href="../ATTRIBUTION.md">credits</a>; <a href="../recipe.yaml">recipe</a>.</p>'
    )


def _map(folder: Path, index: gpd.GeoDataFrame) -> Iterator[str]:
    """Footprints by split, and the places that the gap cost."""
    yield "<h2>Where</h2>"
    outlines, splits, keys = list(index.geometry), index["split"].tolist(), index["key"].tolist()
    chips, places = folder / "plan/chips.parquet", folder / "plan/places.parquet"
    if len(index) <= svg.MOST and chips.is_file() and places.is_file():
        known = set(pq.read_schema(chips).names)
        if {"key", "reason", "place"} <= known:
            gap = pq.read_table(chips, columns=["key"], filters=[("reason", "=", "buffer")])[
                "key"
            ].to_pylist()
            table = (
                pq.read_table(places, columns=["key", "geometry"], filters=[("key", "in", gap)])
                if gap
                else None
            )
            if table is not None:
                outlines = [*shapely.from_wkb(table["geometry"].to_pylist()), *outlines]
                splits, keys = [""] * len(table) + splits, table["key"].to_pylist() + keys
    yield svg.footprints(np.array(outlines, object), splits, keys)
    yield _key((name or "gap between splits", svg.colour_of(name)) for name in dict.fromkeys(splits))


def _key(entries: Any) -> str:
    return "".join(
        f'<span class="key"><i style="background:{html.escape(colour)}"></i>{html.escape(plain(name))}</span>'
        for name, colour in entries
    )


def _yield(summary: Summary) -> Iterator[str]:
    yield "<h2>What became of every chip</h2>"
    rows: list[tuple[str, int]] = [("placed", summary.placed), ("written", sum(summary.counts.values()))]
    rows += [(f"dropped: {reason}", n) for reason, n in summary.dropped.items()]
    yield _table(("", "chips"), [*rows, ("failed", summary.failed)])


def _layers(summary: Summary, layers: Sequence[str]) -> Iterator[str]:
    yield "<h2>Layers</h2>"
    rows: list[tuple[str | int, ...]] = []
    for name in layers:
        if not name.endswith("_mask"):
            first, last = summary.dates.get(name, ("", ""))
            rows.append((name, summary.items.get(name, 0), first[:10], last[:10]))
    yield _table(("layer", "source items", "first", "last"), rows)


def _values(stats: Mapping[str, Any]) -> Iterator[str]:
    """Histograms of train, by band."""
    found = {
        layer: {band: of for band, of in content.items() if isinstance(of, dict) and of.get("count")}
        for layer, content in stats.items()
        if "classes" not in content
    }
    if any(found.values()):
        yield "<h2>Values of train, as stored</h2>"
    for layer, bands in found.items():
        if bands:
            yield f"<h3>{html.escape(plain(layer))}</h3>"
        for band, of in bands.items():
            text = f"{band}: mean {of['mean']:.4g}, std {of['std']:.4g}"
            yield svg.histogram(of["histogram"]["edges"], of["histogram"]["counts"], text)


def _classes(stats: Mapping[str, Any]) -> Iterator[str]:
    for layer, content in stats.items():
        if "classes" not in content:
            continue
        classes = Classes.told(content)
        rows, seen = {}, set()
        for split in split_order(content["counts"]):
            counts = content["counts"][split]
            whole = max(sum(counts.values()), 1)
            parts = [(int(c), n / whole) for c, n in counts.items() if n]
            seen |= {code for code, _ in parts}
            rows[split] = [(classes.name(c), classes.colour(c), share) for c, share in parts]
        yield f"<h2>Classes of {html.escape(plain(layer))}</h2>{svg.stacked(rows)}"
        yield _key((classes.name(c), classes.colour(c)) for c in sorted(seen))


def _samples(folder: Path, reader: Reader) -> Iterator[str]:
    classes = {layer: Classes.told(of) for layer, of in class_counts(folder).items()}
    rows = {key: n for n, key in enumerate(reader.keys)}
    pictures = [picture_of(reader, reader.index, rows[k], classes) for k in choose(reader.index, _SAMPLES)]
    scales = stretches(pictures)
    yield "<h2>Samples</h2>"
    for picture in pictures:
        yield f"<h3>{html.escape(picture.key)} <span class='soft'>{html.escape(picture.split)}</span></h3>"
        for panel in picture.panels:
            yield f'<div class="sample">{_image(panel, scales)}{html.escape(panel.layer)} {panel.date}</div>'
        yield _words(picture)


def _words(picture: Picture) -> str:
    return "".join(f"<p>{html.escape(plain(text))}</p>" for text in picture.words)


def _image(panel: Panel, scales: Mapping[str, Any]) -> str:
    """A panel as PNG within the page, never larger than it is drawn by much."""
    step = max(1, panel.data.shape[0] // _SIDE)
    panel = replace(panel, array=panel.array[..., ::step, ::step], data=panel.data[::step, ::step])
    if panel.classes is not None:
        image = panel.classes.paint(panel.array, panel.data)
    else:
        scale = scales.get(panel.layer, np.zeros((len(panel.array), 2)))
        image = np.rint(255 * true_colour(panel, scale)).astype(np.uint8)
    file = io.BytesIO()
    # Level 1: in a fifth of the time, a few percent larger; noise of sensors hardly packs at any level.
    Image.fromarray(np.ascontiguousarray(image), "RGBA").save(file, "PNG", compress_level=1)
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}">'


def _verdict(folder: Path) -> Iterator[str]:
    """What the build's own audit said, where it left its word."""
    path = folder / "report" / "leakage.json"
    if not path.is_file():
        return
    checks = json.loads(path.read_bytes()).get("checks", [])
    yield "<h2>Leakage audit</h2>"
    yield _table(("check", "verdict", ""), [(c["name"], c["verdict"], c["text"]) for c in checks])
