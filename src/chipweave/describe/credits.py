"""What the sources ask for, in their wording with the real years."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from chipweave.catalog.licences import is_share_alike, wording
from chipweave.describe.licences import said
from chipweave.describe.text import link, markdown
from chipweave.files import atomic_write_text
from chipweave.model import Credit, LayerSpec

ATTRIBUTION = "ATTRIBUTION.md"

_PREAMBLE = """\
This dataset is made from the sources below: read, resampled to one grid and cut into chips. Whoever passes it
on, or publishes what was made with it, passes on these notices. The sources do not endorse it."""


def write_attribution(
    folder: Path,
    layers: Sequence[LayerSpec],
    years: Mapping[str, Sequence[int]],
    licence: str | None = None,
) -> Path:
    """Write `ATTRIBUTION.md`: the dataset's licence, and each source's own wording, licence and address.

    Parameters
    ----------
    folder
        The dataset.
    layers
        All layers; those without a credit are passed over.
    years
        Years of what each layer shows: of the acquisitions, or of the label's edition.
    licence
        What the recipe says; None where it is to be worked out.

    Returns
    -------
    Path
        Of the file.
    """
    sources: dict[Credit, tuple[list[LayerSpec], set[int]]] = {}
    for spec in layers:
        if spec.credit is not None:
            of, when = sources.setdefault(spec.credit, ([], set()))
            of.append(spec)
            when |= set(years.get(spec.name, ()))
    parts = ["# Attribution", _PREAMBLE, said(licence, layers)]
    for credit, (of, when) in sources.items():
        parts += _source(credit, of, when)
    path = folder / ATTRIBUTION
    atomic_write_text(path, "\n\n".join(parts) + "\n")
    return path


def _source(credit: Credit, of: Sequence[LayerSpec], when: Iterable[int]) -> list[str]:
    names = sorted({spec.collection for spec in of})
    lines = [f"- Layers: {', '.join(markdown(spec.name) for spec in of)}"]
    lines.append(f"- Licence: {link(credit.licence, credit.url)}")
    if is_share_alike(credit):
        lines.append("- Share-alike: what is made from it carries the same licence")
    if credit.citation:
        lines.append(f"- Citation: {markdown(credit.citation)}")
    return [f"## {markdown(', '.join(names))}", f"> {markdown(wording(credit, when))}", "\n".join(lines)]
