"""`README.md` of a dataset: a card with Hugging Face's front matter, and everything a first reader asks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from chipweave.catalog.licences import check_licence, licence_of, owed, spdx, wording
from chipweave.describe.credits import ATTRIBUTION
from chipweave.describe.licences import said
from chipweave.describe.loading import loading
from chipweave.describe.summary import Summary
from chipweave.describe.text import code, link, markdown, paragraphs, plain, table
from chipweave.files import atomic_write_text
from chipweave.model import LayerSpec
from chipweave.recipe.splitting import UNKEPT

CARD = "README.md"

_TIMES = " \N{MULTIPLICATION SIGN} "
_ABOUT_VALUES = """\
Every sample carries these layers on one pixel grid (pixel size in units of the chip's CRS). Where an array is not
its no-data value, the physical value is `array * scale + offset`."""
_ABOUT_FILES = """\
Woven by chipweave from `recipe.yaml`. `chipweave.lock` holds what the searches found, `plan/` which scene served
which chip and why, `ledger.parquet` the fate of every placed chip, `index.parquet` one row a sample,
`stac/` the same as a STAC collection with its items, `manifest.json` the checksum of every file."""

_SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
    (100_000_000, "10M<n<100M"),
)
_HUB_NAMES = {"odbl-1.0": "odbl", "pddl-1.0": "pddl", "odc-by-1.0": "odc-by"}
_HUB = frozenset(
    {
        "apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "isc", "cc0-1.0", "cc-by-2.0", "cc-by-2.5",
        "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0",
        "cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0",
        "cc-by-nc-sa-4.0", "cdla-sharing-1.0", "cdla-permissive-1.0", "cdla-permissive-2.0", "wtfpl",
        "etalab-2.0", "gpl-3.0", "odc-by", "odbl", "unlicense", "pddl",
    }
)  # fmt: skip
"""Licences of data that the Hub knows by name (it refuses others, its message of May 2026 lists them: issue 4218
of huggingface_hub); anything else goes as `other` with a name and a link, which must be this file or a URL."""

_OWN_LICENCE = "LICENSE.md"

_READ = frozenset({"imagery", "label", "table"})
"""Kinds of layers that come from sources; others are made of these: masks, instances, captions."""


def write_card(
    folder: Path, recipe: Mapping[str, Any], layers: Sequence[LayerSpec], summary: Summary
) -> Path:
    """Write `README.md`. No wall-clock time stands in it: the same dataset has the same card.

    Where the Hub knows no name for the licence, `LICENSE.md` is written too: it is what the front matter links to.

    Parameters
    ----------
    folder
        The dataset.
    recipe
        Of its keys, `name, title, description, licence, citation` and `split` are told.
    layers
        All layers.
    summary
        As `summarise` reads it from the folder.

    Returns
    -------
    Path
        Of the file.

    Raises
    ------
    RecipeError
        The licence is weaker than an input's.
    """
    check_licence(recipe.get("licence"), owed(layers))
    licence, stated = licence_of(recipe.get("licence"), layers), said(recipe.get("licence"), layers)
    title = plain(recipe.get("title") or recipe.get("name") or "dataset")
    matter = _front_matter(title, licence, layers, summary)
    front = yaml.safe_dump(matter, sort_keys=False, allow_unicode=True, width=1_000)
    sections = [
        f"# {markdown(title)}",
        paragraphs(recipe.get("description") or "") or default_description(layers, summary),
        _contents(layers, summary),
        _splits(recipe, summary),
        _classes(layers, summary),
        _making(layers, summary),
        loading(layers, summary, (recipe.get("output") or {}).get("encoding", "npy")),
        _licence(recipe, stated, layers, summary),
    ]
    if matter.get("license_link") == _OWN_LICENCE:
        terms = f"{stated} What each source asks for stands in [{ATTRIBUTION}]({ATTRIBUTION})."
        atomic_write_text(folder / _OWN_LICENCE, f"# Licence\n\n{terms}\n")
    path = folder / CARD
    atomic_write_text(path, f"---\n{front}---\n\n" + "\n\n".join(s for s in sections if s) + "\n")
    return path


def _front_matter(
    title: str, licence: str | None, layers: Sequence[LayerSpec], summary: Summary
) -> dict[str, Any]:
    total = sum(summary.counts.values())
    size = next((name for limit, name in _SIZES if total < limit), "100M<n<1B")
    collections = sorted({slug(spec.collection) for spec in layers if spec.collection})
    front: dict[str, Any] = {
        **_hub_licence(licence),
        "pretty_name": title,
        "size_categories": [size],
        "task_categories": ["image-segmentation" if _labels(layers) else "image-feature-extraction"],
        "tags": [
            "earth-observation",
            "remote-sensing",
            "geospatial",
            "chipweave",
            *summary.formats,
            *collections,
        ],
    }
    if summary.shards:
        files = [{"split": split, "path": f"shards/{split}-*.tar"} for split in summary.counts]
        front["configs"] = [{"config_name": "default", "data_files": files}]
        for own in summary.beside:
            files = [{"split": split, "path": f"shards-{own}/{split}-*.tar"} for split in summary.counts]
            front["configs"].append({"config_name": own, "data_files": files})
    return front


def _hub_licence(licence: str | None) -> dict[str, str]:
    name = (spdx(licence or "") or licence or "see-attribution").lower()
    name = _HUB_NAMES.get(name, name)
    if name in _HUB:
        return {"license": name}
    return {"license": "other", "license_name": slug(name), "license_link": _OWN_LICENCE}


def slug(text: str) -> str:
    """Lower-case letters, digits, dots and hyphens."""
    return re.sub(r"[^a-z0-9.]+", "-", plain(text).lower()).strip("-.") or "unnamed"


def _labels(layers: Sequence[LayerSpec]) -> list[LayerSpec]:
    return [spec for spec in layers if spec.kind == "label"]


def default_description(layers: Sequence[LayerSpec], summary: Summary) -> str:
    """A sentence for a dataset whose recipe describes it not."""
    names = ", ".join(dict.fromkeys(markdown(s.collection) for s in layers if s.kind in {"imagery", "label"}))
    return f"{_number(sum(summary.counts.values()))} chips of {names}, layer upon layer on one grid."


def _contents(layers: Sequence[LayerSpec], summary: Summary) -> str:
    rows = []
    for spec in layers:
        first, last = summary.dates.get(spec.name, ("", ""))
        rows.append(
            (
                code(spec.name),
                spec.kind,
                markdown(spec.collection),
                ", ".join(markdown(band) for band in spec.bands),
                ""
                if spec.document
                else f"{_TIMES.join(str(n) for n in spec.shape)} ({', '.join(spec.dims)})",
                spec.suffix if spec.document else spec.dtype,
                "" if spec.document else f"{spec.resolution:g}",
                _physical(spec),
                "" if spec.document else f"{spec.nodata:g}",
                _span(first, last),
            )
        )
    head = ("layer", "kind", "source", "bands", "shape", "type", "pixel size", "value", "no data", "dates")
    return "\n\n".join(["## What it holds", _ABOUT_VALUES, table(head, rows), *_lost(layers, summary)])


def _lost(layers: Sequence[LayerSpec], summary: Summary) -> list[str]:
    """What is said of reflectance below zero that a provider did not keep."""
    return [
        f"{code(spec.name)}: of {_number(n)} of its {_number(summary.items.get(spec.name, n))} items the offset was "
        "subtracted where they come from, in files that hold no negative numbers: what was below zero, as dark water "
        "and shadow may be, is 0 there, or no data."
        for spec in layers
        if spec.kind == "imagery" and (n := summary.subtracted.get(spec.name, 0))
    ]


def _physical(spec: LayerSpec) -> str:
    if spec.document:
        return f"{spec.kind} in UTF-8"
    if spec.legend is not None:
        return f"classes of {markdown(spec.legend.name)}"
    if spec.kind == "mask":
        return "0 clear, 1 bad, 255 no data"
    scaled = f"array * {spec.scale:g}" + (f" + {spec.offset:g}" if spec.offset else "")
    return f"{markdown(spec.unit or 'physical')} = {code(scaled)}"


def _span(first: str, last: str) -> str:
    first, last = first[:10], last[:10]
    return first if first == last else f"{first} to {last}"


def _splits(recipe: Mapping[str, Any], summary: Summary) -> str:
    total = max(sum(summary.counts.values()), 1)
    rows = [
        (code(split), _number(n), f"{n / total:.1%}", _number(len(summary.shards.get(split, ()))))
        for split, n in summary.counts.items()
    ]
    parts = ["## Splits", table(("split", "samples", "share", "shards"), rows)]
    split = recipe.get("split") or {}
    parts += _kept_apart(split)
    if summary.placed:
        lost = [(markdown(reason), _number(n)) for reason, n in summary.dropped.items()]
        if summary.failed:
            lost.append(("failed: a source could not be read", _number(summary.failed)))
        parts.append(
            f"{_number(summary.placed)} chips were placed." + (" These were left out:" if lost else "")
        )
        if lost:
            parts.append(table(("reason", "chips"), lost))
    return "\n\n".join(parts)


def _kept_apart(split: Mapping[str, Any]) -> list[str]:
    """What the split method promises, and what it does not."""
    method, buffer = split.get("method", "blocks"), split.get("buffer_m", 0)
    own = "part" if method == "kfold" else "split"
    said = []
    if method == "random":
        said.append(
            "**This split leaks.** Places were dealt one by one, so that neighbours lie in different splits: what a "
            "model reaches on test says little about ground that it has not seen."
        )
    elif method == "kfold":
        said.append(
            "All samples are in one split; the column `fold` of the index says which fold holds each out."
        )
    if method in UNKEPT and split.get("leakage", "warn") == "warn":
        if method != "random":
            said.append(f"{code(method)} leaves nobody out for a neighbour: places of two splits may touch.")
    elif buffer == "auto":
        said.append(
            f"Footprints of different {own}s are at least the range of the labels' variogram apart, which "
            "`chipweave.lock` tells, measured between their outlines on the ellipsoid."
        )
    elif buffer:
        said.append(
            f"Footprints of different {own}s are at least {buffer:g} m apart, measured between "
            "their outlines on the ellipsoid."
        )
    return said


def _classes(layers: Sequence[LayerSpec], summary: Summary) -> str:
    parts = []
    for spec in _labels(layers):
        if spec.legend is None:
            continue
        shares = summary.shares.get(spec.name, {})
        splits = [s for s in summary.counts if s in shares]
        rows = [
            (
                str(c.code),
                markdown(c.name),
                code(c.colour),
                *(_percent(shares[s].get(str(c.code), 0.0)) for s in splits),
            )
            for c in spec.legend.classes
        ]
        parts.append("### " + ": ".join(dict.fromkeys(markdown(n) for n in (spec.name, spec.legend.name))))
        parts.append(table(("code", "class", "colour", *(f"{s} pixels" for s in splits)), rows))
        if spec.legend.unlabeled is not None:
            parts.append(f"{spec.legend.unlabeled} is where the source has a class that is none of these.")
        if spec.scene is not None:
            own = [(str(n), str(c.code), markdown(c.name)) for n, c in enumerate(spec.scene.classes)]
            parts.append(
                f"`scene_labels` of {code(spec.name)} are of {markdown(spec.scene.name)}, in this order:"
            )
            parts.append(table(("place", "code", "class"), own))
    return "\n\n".join(["## Classes", *parts]) if parts else ""


def _percent(share: float) -> str:
    return "" if share == 0 else "< 0.1 %" if share < 0.001 else f"{100 * share:.1f} %"


def _making(layers: Sequence[LayerSpec], summary: Summary) -> str:
    lines = [_ABOUT_FILES]
    read = {spec.name for spec in layers if spec.kind in _READ}
    used = [
        f"{_number(n)} {'item' if n == 1 else 'items'} of {code(layer)}"
        for layer, n in summary.items.items()
        if n and layer in read
    ]
    if used:
        lines.append(f"Sources: {', '.join(used)}.")
    if summary.versions:
        rows = [(markdown(name), markdown(version)) for name, version in summary.versions.items()]
        lines.append(table(("library", "version"), rows))
    return "\n\n".join(["## How it was made", *lines])


def _licence(recipe: Mapping[str, Any], stated: str, layers: Sequence[LayerSpec], summary: Summary) -> str:
    parts = [
        "## Licence and credit",
        f"{stated} The sources ask for these notices ([{ATTRIBUTION}]({ATTRIBUTION})):",
    ]
    notices: dict[str, None] = {}
    for spec in layers:
        if spec.credit is not None:
            years = [
                year
                for other in layers
                if other.credit == spec.credit
                for year in summary.years.get(other.name, ())
            ]
            notice = markdown(wording(spec.credit, years))
            notices[f"- {notice} ({link(spec.credit.licence, spec.credit.url)})"] = None
    parts.append("\n".join(notices))
    if recipe.get("citation"):
        parts += ["### Citation", paragraphs(recipe["citation"])]
    return "\n\n".join(part for part in parts if part)


def _number(n: int) -> str:
    return f"{n:,}"
