"""Licences of the sources, and the one of the dataset that all of them allow.

What is known of a licence is what it asks of somebody who passes changed data on: credit, the same licence, no
commerce, no changes at all. Sources: the licences' own texts; of `LicenseRef-Copernicus-*`, Commission Delegated
Regulation (EU) 1159/2013 and the terms of the Land Monitoring Service, which ask for credit alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from chipweave.describe.text import markdown, plain
from chipweave.errors import RecipeError
from chipweave.model import Credit

_PUBLIC = re.compile(
    r"(cc0(-1\.0)?|(cc-)?pddc|pddl(-1\.0)?|(cc-)?pdm(-1\.0)?|pd|public-domain|unlicense|0bsd|wtfpl|mit-0|"
    r"licenseref-(us-gov-)?public-domain)"
)
_COMMONS = re.compile(r"cc-by(?P<nc>-nc)?(?P<sa>-sa)?(?P<nd>-nd)?(-(?P<version>\d\.\d))?(-[a-z]{2,3})?")
_SPDX = {
    name.lower(): name
    for name in (
        "CC0-1.0", "CC-PDDC", "PDDL-1.0", "Unlicense", "0BSD", "WTFPL", "MIT-0",
        "ODC-By-1.0", "CDLA-Permissive-1.0", "CDLA-Permissive-2.0", "etalab-2.0", "DL-DE-BY-2.0", "NLOD-1.0",
        "NLOD-2.0", "OGL-Canada-2.0", "OGL-UK-1.0", "OGL-UK-2.0", "OGL-UK-3.0", "MIT", "Apache-2.0",
        "BSD-2-Clause", "BSD-3-Clause", "ISC", "ODbL-1.0", "CDLA-Sharing-1.0", "DL-DE-ZERO-2.0",
    )
}  # fmt: skip
"""Identifiers of the SPDX list by their lower-case form, Creative Commons' other ones aside."""

_SAME = frozenset({"odbl-1.0", "cdla-sharing-1.0"})
_CREDIT = frozenset({"licenseref-copernicus-sentinel", "licenseref-copernicus-clms"})


@dataclass(frozen=True, slots=True)
class _Terms:
    """What a licence asks of changed data that are passed on."""

    credit: bool = True
    same: bool = False
    no_commerce: bool = False
    no_changes: bool = False

    @property
    def rank(self) -> int:
        """Larger is stricter, of those that leave the licence of changed data free."""
        return 2 if self.no_commerce else 1 if self.credit else 0


def _terms(licence: str) -> _Terms | None:
    """What is known of a licence, or None."""
    name = _same(licence)
    commons = _COMMONS.fullmatch(name)
    if commons is not None:
        nc, sa, nd = (commons[group] is not None for group in ("nc", "sa", "nd"))
        return _Terms(same=sa, no_commerce=nc, no_changes=nd)
    if is_public_domain(licence) or name == "dl-de-zero-2.0":
        return _Terms(credit=False)
    return _Terms(same=name in _SAME) if name in _SPDX or name in _CREDIT else None


def spdx(licence: str) -> str | None:
    """Identifier in the SPDX list, spelled as there, or None: of the licences that data come under."""
    name = _same(licence)
    commons = _COMMONS.fullmatch(name)
    if commons is not None and commons["version"] is not None:
        return name.upper()
    return _SPDX.get({"cc0": "cc0-1.0", "pddl": "pddl-1.0", "odbl": "odbl-1.0"}.get(name, name))


def check_licence(licence: str | None, inputs: Iterable[Credit]) -> None:
    """Refuse a licence that gives away what an input does not, and inputs that no licence fits.

    Parameters
    ----------
    licence
        What the recipe says, an SPDX identifier as a rule; None where it says nothing.
    inputs
        Credits of all sources.

    Raises
    ------
    RecipeError
        A public-domain dedication over an input that asks for attribution; anything else than the same
        licence over one that is share-alike; two different share-alike licences together, or one that allows
        commercial use beside an input that does not; a licence for commercial use over such an input; one that
        allows changes over an input that does not. Of a licence whose terms are unknown only the second is said.
    """
    asked = sorted({(plain(c.licence), _share_alike(c)) for c in inputs})
    shared = sorted({name for name, share_alike in asked if share_alike})
    if len({_same(name) for name in shared}) > 1:
        raise _apart(shared, "each asks for its own licence")
    for name, share_alike in asked:
        if shared and not share_alike and _no_commerce(name) and not _no_commerce(shared[0]):
            raise _apart(
                [shared[0], name], "the first is to be passed on as it is, the other allows no commerce"
            )
    if licence is None:
        return
    meant = _terms(licence)
    for name, share_alike in asked:
        known = _terms(name)
        if share_alike and _same(licence) != _same(name):
            raise _weaker(licence, name, f"asks that what is made from it carries {name} too", name)
        if is_public_domain(licence) and not is_public_domain(name):
            raise _weaker(licence, name, "asks for attribution", "CC-BY-4.0")
        if meant is None or known is None:
            continue
        if known.no_commerce and not meant.no_commerce:
            raise _weaker(licence, name, "allows no commercial use", name)
        if known.no_changes and not meant.no_changes:
            raise _weaker(licence, name, "allows no changed versions", name)


def is_public_domain(licence: str) -> bool:
    """Whether a licence asks for nothing."""
    return _PUBLIC.fullmatch(_same(licence)) is not None


def _same(licence: str) -> str:
    return plain(licence).lower().replace(" ", "-")


def _share_alike(credit: Credit) -> bool:
    known = _terms(credit.licence)
    return credit.share_alike or (known is not None and known.same)


def _no_commerce(licence: str) -> bool:
    known = _terms(licence)
    return known is not None and known.no_commerce


def _apart(names: Iterable[str], why: str) -> RecipeError:
    return RecipeError(
        f"inputs under {' and '.join(names)} cannot go into one dataset: {why}",
        hint="leave one of them out, or build two datasets",
    )


def _weaker(licence: str, name: str, asks: str, better: str) -> RecipeError:
    return RecipeError(
        f"licence: {plain(licence)} is weaker than that of an input: {name} {asks}",
        hint=f"write `licence: {better}`, or leave the source out",
    )


def strictest(inputs: Iterable[Credit]) -> str | None:
    """The licence of an input that keeps what all of them ask for, or None where there is no such one.

    A share-alike licence wins, then one without commercial use, then one that asks for credit, then the public
    domain. Of several that ask the same, Creative Commons' latest stands for all; there is none where others
    differ, where terms are unknown, or where changed data may not be passed on.

    Parameters
    ----------
    inputs
        Credits of all sources, which `check_licence` let pass.
    """
    owed = list(inputs)
    shared = sorted(plain(c.licence) for c in owed if _share_alike(c))
    if shared:
        return shared[0]
    names = {_same(c.licence): plain(c.licence) for c in owed}
    terms = {name: _terms(name) for name in names}
    if not names or any(t is None or t.no_changes for t in terms.values()):
        return None
    rank = max(t.rank for t in terms.values() if t is not None)
    top = sorted(name for name, t in terms.items() if t is not None and t.rank == rank)
    commons = [name for name in top if name.startswith("cc") and spdx(name) is not None]
    if len(top) > 1 and not commons and rank:
        return None
    return names[max(commons, key=_version) if commons else top[0]]


def _version(commons: str) -> tuple[str, str]:
    found = re.search(r"\d\.\d", commons)
    return (found[0] if found else "", commons)


def licence_of(licence: str | None, inputs: Iterable[Credit]) -> str | None:
    """Licence of the dataset: the recipe's, else the strictest of the inputs', None where none fits them all."""
    return plain(licence) if licence is not None else strictest(inputs)


def said(licence: str | None, inputs: Iterable[Credit]) -> str:
    """How a reader is told of the dataset's licence, in Markdown.

    Parameters
    ----------
    licence
        What the recipe says, or None.
    inputs
        Credits of all sources.
    """
    owed = list(inputs)
    if licence is not None:
        return f"Licence: {markdown(licence)}."
    found = strictest(owed)
    if found is not None:
        return f"Licence: {markdown(found)}, worked out as the strictest of those of the sources."
    names = ", ".join(sorted({markdown(c.licence) for c in owed}))
    none = "The recipe names no licence"
    return (
        f"{none}, and no single one fits all sources: {names}."
        if names
        else f"{none}, and no source has one."
    )
