"""What readers are told of licences, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from chipweave.catalog.licences import owed, strictest
from chipweave.describe.text import markdown
from chipweave.model import LayerSpec


def said(licence: str | None, layers: Sequence[LayerSpec]) -> str:
    """How a reader is told of the dataset's licence, in Markdown.

    Parameters
    ----------
    licence
        What the recipe says, or None.
    layers
        All layers, with their sets of shards.
    """
    if licence is not None:
        return f"Licence: {markdown(licence)}."
    sets = sorted({spec.shard_set for spec in layers})
    if len(sets) > 1:
        return _of_sets(layers, sets)
    found = strictest(owed(layers))
    if found is not None:
        return f"Licence: {markdown(found)}, worked out as the strictest of those of the sources."
    names = _names(layers)
    none = "The recipe names no licence"
    return (
        f"{none}, and no single one fits all sources: {names}."
        if names
        else f"{none}, and no source has one."
    )


def _names(layers: Sequence[LayerSpec], own: str | None = None) -> str:
    return ", ".join(sorted({markdown(c.licence) for c in owed(layers, own)}))


def _of_sets(layers: Sequence[LayerSpec], sets: Sequence[str]) -> str:
    """Which licence each set of shards goes under."""
    told = []
    for own in sets:
        found = strictest(owed(layers, own))
        of = markdown(found) if found is not None else _names(layers, own) or "no licence is known"
        names = ", ".join(markdown(s.name) for s in layers if s.shard_set == own)
        told.append(f"`shards{'-' * bool(own)}{own}/` ({names}): {of}")
    return (
        "Licences keep layers apart; each set of shards goes under its own, as do a layer's Zarr groups, its columns "
        f"of the index and its statistics: {'; '.join(told)}."
    )
