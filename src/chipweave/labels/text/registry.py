"""Kinds of text by name, and what writes a text layer of a recipe."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

from chipweave.errors import NotBuiltError, RecipeError
from chipweave.labels.base import TextSource
from chipweave.labels.text import landcover, metadata, osm, vqa
from chipweave.labels.text.base import Ask, Text, Writer
from chipweave.labels.text.grid import why_untrue
from chipweave.labels.text.objects import class_names
from chipweave.labels.text.words import class_name
from chipweave.model import LayerSpec, document_spec
from chipweave.recipe.crosscheck import nearest
from chipweave.recipe.texts import TEXT_PARTS, TextLayer


class _Kind(NamedTuple):
    """What writes it, what a language model may be asked for, and whether it measures on the chip's grid."""

    writer: Writer
    task: str
    measures: bool


KINDS: Final[Mapping[str, _Kind]] = {
    "landcover_caption": _Kind(
        landcover.write,
        "Describe the land cover of one satellite image in a paragraph: first the whole, then its parts in their "
        "order, each by decreasing share; vary the wording of shares and end with its theme.",
        False,
    ),
    "osm_caption": _Kind(
        osm.write,
        "Describe one image from above in one or two sentences: the object that it is about, then what lies around "
        "it and where.",
        True,
    ),
    "metadata_caption": _Kind(
        metadata.write,
        "Say in one sentence when, where and by which sensor one satellite image was taken.",
        False,
    ),
    "vqa": _Kind(
        vqa.write,
        "Put each question about one satellite image in other words; keep its meaning and its answer.",
        True,
    ),
}


def text_source(
    name: str,
    wish: TextLayer,
    specs: Mapping[str, LayerSpec],
    crs: str,
    centre: tuple[float, float],
    titles: Mapping[str, str] | None = None,
    rasters: Collection[str] = (),
    apart: Collection[int] = (),
) -> TextSource:
    """What writes one text layer.

    Parameters
    ----------
    name, wish
        As the recipe has them.
    specs
        Imagery and label members by name, in the order of a sample.
    crs, centre
        Of the recipe's chips, and (lon, lat) of the middle of its area.
    titles
        What people call collections, by canonical name.
    rasters
        Label layers that are no features.
    apart
        Codes of the legend of its layer that no feature has.

    Raises
    ------
    RecipeError
        The layer that it is written from has no classes, or a class is not known.
    NotBuiltError
        It measures, and the chips' CRS does not serve for that.
    """
    kind = KINDS[wish.kind]
    source = _source(name, wish, specs, rasters)
    if wish.kind == "osm_caption" and source.name in rasters:
        raise RecipeError(
            f"text.{name}.from: {source.name} holds no areas or lines, and an osm_caption is written from features",
            hint="take a layer of vectors or of an extract x.osm.pbf, or kind: landcover_caption",
        )
    if kind.measures:
        _check_grid(name, wish, crs, centre)
    names = class_names(source.legend, source.name)
    if source.name not in rasters and not set(names) - set(apart):
        raise RecipeError(
            f"text.{name}.from: all classes of {source.name} are of ground outside, or of edges"
        )
    known = list(names.values())
    for given in wish.visible:
        if class_name(given) not in known:
            raise RecipeError(
                f"text.{name}.visible: {given!r} is no class of {source.name}; did you mean "
                f"{nearest(class_name(given), known)!r}?"
            )
    masked = f"{source.name}_mask" in specs
    ask = Ask(name, wish, source, (titles or {}).get(source.collection, ""), masked, frozenset(apart))
    return Text(ask, kind.writer, kind.task, members(name, wish, source))


def _check_grid(name: str, wish: TextLayer, crs: str, centre: tuple[float, float]) -> None:
    why = why_untrue(crs, centre)
    if why:
        raise NotBuiltError(
            f"text.{name}.kind: {wish.kind} measures on the chips' grid, and {crs} {why}; others are known, but not "
            "built yet",
            hint="take crs: utm, or a grid in metres of equal areas such as EPSG:3035",
        )


def members(name: str, wish: TextLayer, source: LayerSpec) -> tuple[LayerSpec, ...]:
    """Its documents: the text, the facts behind it, and the prompt where wanted; all under the credit of the source."""
    made = [document_spec(name, "text", "txt", source.collection, source.credit)]
    made.append(document_spec(f"{name}_{TEXT_PARTS[0]}", "text", "json", source.collection, source.credit))
    if wish.prompt:
        made.append(document_spec(f"{name}_{TEXT_PARTS[1]}", "text", "txt", source.collection, source.credit))
    return tuple(made)


def _source(
    name: str, wish: TextLayer, specs: Mapping[str, LayerSpec], rasters: Collection[str]
) -> LayerSpec:
    """The layer that it is written from."""
    layers = {s.name: s for s in specs.values() if s.kind in {"imagery", "label"}}
    if wish.from_ is None:
        return next(iter(layers.values()))
    source = specs[wish.from_]
    if wish.kind != "metadata_caption" and source.kind != "label":
        labels = [s.name for s in layers.values() if s.kind == "label"]
        raise RecipeError(
            f"text.{name}.from: {source.name} is {source.kind}, and {wish.kind} is written from labels",
            hint=f"take {' or '.join(labels)}" if labels else "give the recipe a label layer",
        )
    if source.legend is None and (
        wish.kind == "landcover_caption" or (wish.kind == "vqa" and source.name in rasters)
    ):
        raise RecipeError(f"text.{name}.from: {source.name} has no classes to write about")
    return source
