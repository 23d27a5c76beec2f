"""What the sources ask for: their wording with the real years, and licences not to be undercut."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from chipweave.describe.text import link, markdown, plain
from chipweave.errors import RecipeError
from chipweave.files import atomic_write_text
from chipweave.model import Credit, LayerSpec

ATTRIBUTION = "ATTRIBUTION.md"

_PUBLIC = re.compile(
    r"(cc0(-1\.0)?|(cc-)?pddc|pddl(-1\.0)?|(cc-)?pdm(-1\.0)?|pd|public[- ]domain|unlicense|0bsd|wtfpl|mit-0|"
    r"licenseref-(us-gov-)?public-domain)"
)
_YEARS = "{years}"
_PREAMBLE = """\
This dataset is made from the sources below: read, resampled to one grid and cut into chips. Whoever passes it
on, or publishes what was made with it, passes on these notices. The sources do not endorse it."""


def check_licence(licence: str | None, inputs: Iterable[Credit]) -> None:
    """Refuse a licence that gives away what an input does not.

    Parameters
    ----------
    licence
        What the recipe says, an SPDX expression as a rule; None where it says nothing.
    inputs
        Credits of all sources.

    Raises
    ------
    RecipeError
        A public-domain dedication over an input that asks for attribution; anything else than the same
        licence over one that is share-alike; two different share-alike licences together; a Creative Commons
        licence for commercial use over one without.
    """
    asked = sorted({(plain(c.licence), c.share_alike) for c in inputs})
    shared = sorted({name for name, share_alike in asked if share_alike})
    if len({_same(name) for name in shared}) > 1:
        raise RecipeError(
            f"inputs under {' and '.join(shared)} cannot go into one dataset: each asks for its own licence",
            hint="leave one of them out, or build two datasets",
        )
    if licence is None:
        return
    for name, share_alike in asked:
        if share_alike and _same(licence) != _same(name):
            raise _weaker(licence, name, f"asks that what is made from it carries {name} too", name)
        if is_public_domain(licence) and not is_public_domain(name):
            raise _weaker(licence, name, "asks for attribution", "CC-BY-4.0")
        if _same(name).startswith("cc-by-nc") and re.match(r"cc-by(?!-nc)", _same(licence)):
            raise _weaker(licence, name, "allows no commercial use", name)


def is_public_domain(licence: str) -> bool:
    """Whether a licence asks for nothing."""
    return _PUBLIC.fullmatch(_same(licence)) is not None


def _same(licence: str) -> str:
    return plain(licence).lower()


def _weaker(licence: str, name: str, asks: str, better: str) -> RecipeError:
    return RecipeError(
        f"licence: {plain(licence)} is weaker than that of an input: {name} {asks}",
        hint=f"write `licence: {better}`, or leave the source out",
    )


def licence_of(licence: str | None, inputs: Iterable[Credit]) -> str | None:
    """Licence of the dataset: the recipe's, else the one that a share-alike input asks for, else None."""
    if licence is not None:
        return plain(licence)
    return next((plain(c.licence) for c in inputs if c.share_alike), None)


def wording(credit: Credit, years: Iterable[int]) -> str:
    """Credit's own text with the real years; without them where none are known."""
    known = ", ".join(str(year) for year in sorted(set(years)))
    text = plain(credit.text)
    if not known:
        text = re.sub(r"\s*[(\[]?\{years\}[)\]]?", "", text)
    return text.replace(_YEARS, known)


def write_attribution(folder: Path, layers: Sequence[LayerSpec], years: Mapping[str, Sequence[int]]) -> Path:
    """Write `ATTRIBUTION.md`: each source's own wording, licence and address.

    Parameters
    ----------
    folder
        The dataset.
    layers
        All layers; those without a credit are passed over.
    years
        Years of what each layer shows: of the acquisitions, or of the label's edition.

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
    parts = ["# Attribution", _PREAMBLE]
    for credit, (of, when) in sources.items():
        parts += _source(credit, of, when)
    path = folder / ATTRIBUTION
    atomic_write_text(path, "\n\n".join(parts) + "\n")
    return path


def _source(credit: Credit, of: Sequence[LayerSpec], when: Iterable[int]) -> list[str]:
    names = sorted({spec.collection for spec in of})
    lines = [f"- Layers: {', '.join(markdown(spec.name) for spec in of)}"]
    lines.append(f"- Licence: {link(credit.licence, credit.url)}")
    if credit.share_alike:
        lines.append("- Share-alike: what is made from it carries the same licence")
    if credit.citation:
        lines.append(f"- Citation: {markdown(credit.citation)}")
    return [f"## {markdown(', '.join(names))}", f"> {markdown(wording(credit, when))}", "\n".join(lines)]
