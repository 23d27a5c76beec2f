"""A recipe with what surrounds it: the merged mapping, its folder, its hash."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Final

import yaml

from chipweave.errors import RecipeError
from chipweave.recipe.crosscheck import nearest
from chipweave.recipe.document import Loader
from chipweave.recipe.models import Imagery, Label, Recipe
from chipweave.recipe.paths import at
from chipweave.recipe.places import Area
from chipweave.recipe.timing import TimeRule

_USER = re.compile(r"(?<=://)[^/@\s?#]+@")
_BREAKS = re.compile("[\u2028\u2029]")
_QUERY = re.compile(r"([?&;])([^=&;#\s]+)=([^&;#\s]*)")
_SECRETS: Final = {
    "sig", "signature", "token", "key", "secret", "password", "credential", "credentials", "apikey", "sas", "auth",
    "authorization", "bearer", "jwt",
}  # fmt: skip


@dataclass(frozen=True)
class LoadedRecipe:
    """A valid recipe and where it came from.

    Parameters
    ----------
    recipe
        The models.
    mapping
        What the user wrote, merged, without `extends`.
    path
        The file, as it was named.
    base
        Absolute folder that relative paths are relative to.
    marks
        Where each value stands, as ``FILE:LINE``, by its path of keys.
    """

    recipe: Recipe
    mapping: dict[str, Any]
    path: Path
    base: Path
    marks: Mapping[tuple[str | int, ...], str] = field(default_factory=dict, repr=False, compare=False)

    def resolve(self, p: str) -> Path:
        """Path that the recipe means by `p`: relative to its folder; a leading ``~/`` is the home."""
        return at(self.base, p)

    def where(self, dotted: str) -> str:
        """``FILE:LINE`` of a key such as ``imagery.s2.bands``, or of what it would stand in."""
        keys: tuple[str | int, ...] = tuple(int(k) if k.isdigit() else k for k in dotted.split("."))
        found = (self.marks[keys[:n]] for n in range(len(keys), -1, -1) if keys[:n] in self.marks)
        return next(found, str(self.path))

    def catalog_of(self, layer: str) -> str:
        """Find the layer's own catalog, else the top one; empty for a label file where there is neither.

        Raises
        ------
        RecipeError
            No such imagery or label layer, or it has to be searched for and nothing says where.
        """
        layers: dict[str, Imagery | Label] = {**self.recipe.imagery, **self.recipe.labels}
        if layer not in layers:
            raise RecipeError(f"unknown layer {layer!r}; did you mean {nearest(layer, layers)!r}?")
        found = layers[layer].catalog or self.recipe.catalog
        if found is None and layers[layer].collection is not None:
            raise RecipeError(
                f"layer {layer!r} has no catalog", hint="give `catalog` at the top or in the layer"
            )
        return found or ""

    @property
    def catalogs(self) -> tuple[Path, ...]:
        """Catalogs folders of the recipe's own, for `recipe.data.find`."""
        return tuple(self.resolve(folder) for folder in self.recipe.catalogs)

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the recipe, secrets aside, and of the files that say where and when."""
        area = self.recipe.area or Area.model_construct()
        sampling = self.recipe.chips.sampling
        near = sampling.exclude.near if sampling.exclude is not None else None
        columns = (own.file for own in self.recipe.attributes.values())
        layers = self.recipe.imagery.values()
        tables = (layer.time.table for layer in layers if isinstance(layer.time, TimeRule))
        calendars = (layer.select.from_.files.values() for layer in layers if layer.select.from_ is not None)
        pinned = (layer.items.file for layer in layers if layer.items is not None)
        files = [
            n
            for n in (
                area.geojson,
                area.file,
                sampling.file,
                near,
                *columns,
                *tables,
                *chain(*calendars),
                *pinned,
            )
            if n is not None
        ]
        content: dict[str, Any] = {
            "recipe": _canonical(redacted(self.mapping)),
            "files": {name: _digest_of(self.resolve(name)) for name in files},
        }
        steps = [list(layer.select.windows or layer.select.steps or ()) for layer in layers]
        if any(steps):  # mappings whose order is that of an axis
            content["steps"] = dict(zip(self.recipe.imagery, steps, strict=True))
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def to_yaml(self) -> str:
        """Write the resolved recipe: same text for the same recipe, secrets replaced by ``***``."""
        return yaml.dump(
            redacted(self.mapping), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100
        )


class _Dumper(yaml.SafeDumper):
    """Quotes whatever YAML 1.1 or 1.2 would read as something else than text."""

    yaml_implicit_resolvers: dict[str, Any] = {  # noqa: RUF012 - PyYAML's own class attribute
        first: [
            *yaml.SafeDumper.yaml_implicit_resolvers.get(first, []),
            *Loader.yaml_implicit_resolvers.get(first, []),
        ]
        for first in {*yaml.SafeDumper.yaml_implicit_resolvers, *Loader.yaml_implicit_resolvers}
    }

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        """Write every value out."""
        return True

    def said(self, text: str) -> yaml.ScalarNode:
        """Text as a node: line breaks that are none of JSON's are escaped, else they come back as other text."""
        return self.represent_scalar("tag:yaml.org,2002:str", text, '"' if _BREAKS.search(text) else None)


_Dumper.add_representer(str, _Dumper.said)


def redacted(value: Any) -> Any:
    """Replace the secrets in a value's URLs (user info, signatures, tokens, keys) by ``***``."""
    if isinstance(value, dict):
        return {key: redacted(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(item) for item in value]
    if isinstance(value, str) and "://" in value:
        return _QUERY.sub(_query, _USER.sub("***@", value))
    return value


def _query(match: re.Match[str]) -> str:
    before, name, _ = match.groups()
    return f"{before}{name}=***" if is_secret(name) else match[0]


def is_secret(name: str) -> bool:
    """Whether a URL's parameter of that name holds a secret: a signature, a token, a key."""
    words = set(re.split(r"[-_.]", name.lower()))
    return bool(words & _SECRETS or {"amz", "goog"} & words) or name.lower().endswith(
        ("token", "key", "secret")
    )


def _canonical(value: Any) -> Any:
    """Keys as text, so that JSON can sort them; numbers as they are written."""
    if isinstance(value, dict):
        return {str(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    return value


def _digest_of(path: Path) -> str:
    """SHA-256 of a file's bytes, of a shapefile with its companions, or of a folder's files."""
    found = sha256 = None
    for found in _files(path):
        sha256 = sha256 or hashlib.sha256()
        sha256.update(found.relative_to(path.parent).as_posix().encode() if found != path else b"")
        with found.open("rb") as file:
            sha256.update(hashlib.file_digest(file, "sha256").digest())
    return "missing" if sha256 is None else sha256.hexdigest()


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from sorted(p for p in path.rglob("*") if p.is_file())
    elif path.suffix.lower() == ".shp":
        yield from sorted(path.parent.glob(f"{path.stem}.*"))
    elif path.is_file():
        yield path
