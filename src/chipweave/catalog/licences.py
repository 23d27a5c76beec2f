"""Licences of the sources: which of them share a file, and the one of the dataset that all of them allow.

What is known of a licence is what it asks of somebody who passes changed data on: credit, the same licence, no
commerce, no changes at all. Which layers lie in files of their own is said by `catalogs/licences.yaml`. Sources: the
licences' own texts; of `LicenseRef-Copernicus-*`, Commission Delegated Regulation (EU) 1159/2013 and the terms of the
Land Monitoring Service, which ask for credit alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache

from chipweave.catalog.documents import Entry, read_entry
from chipweave.errors import RecipeError
from chipweave.model import Credit, LayerSpec
from chipweave.plain import plain
from chipweave.recipe.data import catalogs_root

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


@lru_cache(maxsize=256)  # asked for each sample
def _terms(licence: str) -> _Terms | None:
    """What is known of a licence, or None."""
    name = _same(licence)
    commons = _COMMONS.fullmatch(name)
    if commons is not None:
        nc, sa, nd = (commons[group] is not None for group in ("nc", "sa", "nd"))
        return _Terms(same=sa, no_commerce=nc, no_changes=nd)
    if is_public_domain(licence) or name == "dl-de-zero-2.0":
        return _Terms(credit=False)
    return _Terms(same=name in _apart()) if name in _SPDX or name in _CREDIT else None


def spdx(licence: str) -> str | None:
    """Identifier in the SPDX list, spelled as there, or None: of the licences that data come under."""
    name = _same(licence)
    commons = _COMMONS.fullmatch(name)
    if commons is not None and commons["version"] is not None:
        return name.upper()
    return _SPDX.get({"cc0": "cc0-1.0", "pddl": "pddl-1.0", "odbl": "odbl-1.0"}.get(name, name))


class Apart(Entry):
    """A licence whose layers lie in files of their own.

    Parameters
    ----------
    licence
        SPDX identifier.
    set
        Of the shards: `shards-<set>/`.
    then
        Licences under which changed data may be passed on as well.
    source, why
        Where its text is, and what stands there.
    """

    licence: str
    set: str
    then: tuple[str, ...] = ()
    source: str
    why: str


class _File(Entry):
    apart: tuple[Apart, ...]


@cache
def _apart() -> dict[str, Apart]:
    """`catalogs/licences.yaml`, by licence."""
    return {_same(rule.licence): rule for rule in read_entry(catalogs_root() / "licences.yaml", _File).apart}


def shard_set(credit: Credit | None) -> str:
    """Name of the set of shards that a source's layers would lie in beside others; empty where they mix freely."""
    if credit is None or not is_share_alike(credit):
        return ""
    name = _same(credit.licence)
    rule = _apart().get(name)
    return rule.set if rule is not None else re.sub(r"[^a-z0-9.]+", "-", name).strip("-.") or "unnamed"


def kept_apart(layers: Sequence[LayerSpec]) -> tuple[LayerSpec, ...]:
    """The same layers, each with the set of shards that it is written to.

    `shards/` holds those that mix freely; where there are none, those of the licence of the first layer.
    """
    sets = [shard_set(spec.credit) for spec in layers]
    main = "" if "" in sets or not sets else sets[0]
    return tuple(
        replace(spec, shard_set="" if own == main else own) for spec, own in zip(layers, sets, strict=True)
    )


def check_licence(licence: str | None, inputs: Iterable[Credit]) -> None:
    """Refuse a licence of the dataset that gives away what an input does not.

    Parameters
    ----------
    licence
        What the recipe says, an SPDX identifier as a rule; None where it says nothing: each set of shards then goes
        under the licences of what is in it.
    inputs
        Credits of all sources.

    Raises
    ------
    RecipeError
        A public-domain dedication over an input that asks for attribution; anything else than the same
        licence over one that is share-alike; a licence for commercial use over an input that allows none; one that
        allows changes over an input that does not. Of a licence whose terms are unknown only the second is said.
    """
    if licence is None:
        return
    meant = _terms(licence)
    asked = sorted({(plain(c.licence), is_share_alike(c)) for c in inputs})
    several = len({_same(name) for name, share_alike in asked if share_alike}) > 1
    for name, share_alike in asked:
        known = _terms(name)
        if share_alike and not _passes_on(name, licence):
            raise _weaker(licence, name, f"asks that what is made from it carries {name} too", name, several)
        if is_public_domain(licence) and not is_public_domain(name):
            raise _weaker(licence, name, "asks for attribution", "CC-BY-4.0")
        if meant is None or known is None:
            continue
        if known.no_commerce and not meant.no_commerce:
            raise _weaker(licence, name, "allows no commercial use", name)
        if known.no_changes and not meant.no_changes:
            raise _weaker(licence, name, "allows no changed versions", name)


def _passes_on(name: str, licence: str) -> bool:
    """Whether what is made under a share-alike licence may go under another."""
    rule = _apart().get(_same(name))
    return _same(licence) in {_same(name), *(_same(n) for n in (rule.then if rule else ()))}


def is_public_domain(licence: str) -> bool:
    """Whether a licence asks for nothing."""
    return _PUBLIC.fullmatch(_same(licence)) is not None


def _same(licence: str) -> str:
    return plain(licence).lower().replace(" ", "-")


def is_share_alike(credit: Credit) -> bool:
    """Whether what is made from a source goes under its licence too."""
    known = _terms(credit.licence)
    return credit.share_alike or (known is not None and known.same)


def _weaker(licence: str, name: str, asks: str, better: str, several: bool = False) -> RecipeError:
    """Error for a declared licence; `several`: none would do, as two inputs ask for two."""
    instead = (
        "leave `licence` out: each set of shards then has its own"
        if several
        else f"write `licence: {better}`"
    )
    return RecipeError(
        f"licence: {plain(licence)} is weaker than that of an input: {name} {asks}",
        hint=f"{instead}, or leave the source out",
    )


def strictest(inputs: Iterable[Credit]) -> str | None:
    """The licence of an input that keeps what all of them ask for, or None where there is no such one.

    A share-alike licence wins, then one without commercial use, then one that asks for credit, then the public
    domain. Of several that ask the same, Creative Commons' latest stands for all; there is none where others
    differ, where terms are unknown, or where changed data may not be passed on.

    Parameters
    ----------
    inputs
        Credits of the sources of one set of shards.
    """
    every = list(inputs)
    shared = sorted(plain(c.licence) for c in every if is_share_alike(c))
    if shared:
        return shared[0]
    names = {_same(c.licence): plain(c.licence) for c in every}
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


def owed(layers: Iterable[LayerSpec], own: str | None = None) -> list[Credit]:
    """Credits of layers, of one set of shards where it is named."""
    return [s.credit for s in layers if s.credit is not None and own in {None, s.shard_set}]


def licence_of(licence: str | None, layers: Sequence[LayerSpec]) -> str | None:
    """Licence of the dataset: the recipe's, else the strictest of the sources'.

    None where no single one fits them all, and where layers that licences keep apart each go under their own.
    """
    if licence is not None:
        return plain(licence)
    return strictest(owed(layers)) if len({spec.shard_set for spec in layers}) == 1 else None


_YEARS = "{years}"


def wording(credit: Credit, years: Iterable[int]) -> str:
    """Credit's own text with the real years; without them where none are known."""
    return _worded(credit.text, tuple(sorted(set(years))))


@lru_cache(maxsize=256)
def _worded(text: str, years: tuple[int, ...]) -> str:
    line = plain(text) if years else re.sub(r"\s*[(\[]?\{years\}[)\]]?", "", plain(text))
    return line.replace(_YEARS, ", ".join(map(str, years)))
