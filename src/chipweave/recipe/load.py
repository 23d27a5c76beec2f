"""From a file to a recipe: `extends`, then `--catalog`, then `--set`, then the models."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any, Final

from pydantic import ValidationError

from chipweave.errors import RecipeError, UsageError
from chipweave.recipe.crosscheck import Problem, crosscheck
from chipweave.recipe.document import Document, Path, parse, read_document
from chipweave.recipe.loaded import LoadedRecipe
from chipweave.recipe.models import Recipe
from chipweave.recipe.paths import exists, relocate
from chipweave.recipe.problems import guess, problems, report

__all__ = ["LoadedRecipe", "load_recipe", "merge"]

MAX_CHAIN: Final = 16
"""Recipes that extend each other, from the first to the last."""

_SECTIONS: Final = {"area", "attributes", "imagery", "labels", "text", "parts"}
"""Where one of these is misspelt, what is said between sections would be noise."""


def load_recipe(
    path: str | FilePath, *, sets: Sequence[str] = (), catalog: str | None = None
) -> LoadedRecipe:
    """Read, merge and validate a recipe; nothing but the recipe and what it extends is read.

    Parameters
    ----------
    path
        The YAML file. Relative paths in it are relative to its folder; in a recipe that it extends, to that
        one's folder.
    sets
        ``a.b=c`` each, `c` in YAML. They replace values and come last; null removes a key.
    catalog
        Replaces the top `catalog`. A file or folder that exists relative to the working directory is meant.

    Raises
    ------
    RecipeError
        The file cannot be read, or something in it is wrong; all problems at once, a line each.
    UsageError
        One of `sets` is not of the form ``a.b=c``.
    """
    file = FilePath(path)
    document = _extended(file, ())
    mapping = {key: value for key, value in document.mapping.items() if key != "extends"}
    document = Document(mapping, document.marks)
    base = file.absolute().parent
    if catalog is not None:
        document = _assign(document, ("catalog",), _from_here(catalog, base), {(): "--catalog"})
    for text in sets:
        document = _set(document, text)
    return LoadedRecipe(_validated(document), document.mapping, file, base, document.marks)


def _from_here(catalog: str, base: FilePath) -> str:
    """Say a catalog named on the command line as the recipe would."""
    if "://" in catalog or not exists(FilePath(catalog)) or FilePath(catalog).is_absolute():
        return catalog
    return os.path.relpath(FilePath(catalog).absolute(), base)


def _extended(file: FilePath, children: tuple[FilePath, ...]) -> Document:
    """Read a document with all that it extends; `children` are the files that led here."""
    child = read_document(file)
    other = child.mapping.get("extends")
    if other is None:
        return child
    place = child.where(("extends",))
    if not isinstance(other, str) or not other:
        raise RecipeError(f"{place}: extends: expected the path of one recipe")
    target = file.parent / other
    chain = (*children, file.resolve())
    if target.resolve() in chain:
        raise RecipeError(f"{place}: extends: {other!r} leads back to a recipe that extends it")
    if len(chain) >= MAX_CHAIN:
        raise RecipeError(f"{place}: extends: more than {MAX_CHAIN} recipes, each extending the next")
    if not exists(target):
        raise RecipeError(f"{place}: extends: there is no file {other!r}")
    parent = _extended(target, chain)
    relocate(parent.mapping, target.absolute().parent.resolve(), file.absolute().parent.resolve())
    return merge(parent, child)


def merge(parent: Document, child: Document) -> Document:
    """Parent with the child's values on top: mappings merge deeply, all else is replaced, null removes."""
    marks = dict(parent.marks)

    def over(old: dict[str, Any], new: Mapping[str, Any], path: Path) -> dict[str, Any]:
        merged = dict(old)
        for key, value in new.items():
            here = (*path, key)
            if value is None and key in old:
                del merged[key]
                _forget(marks, here)
            elif isinstance(value, dict) and isinstance(old.get(key), dict):
                merged[key] = over(old[key], value, here)
                marks[here] = child.where(here)
            else:
                _forget(marks, here)
                merged[key] = value
                marks.update({at: mark for at, mark in child.marks.items() if at[: len(here)] == here})
        return merged

    mapping = over(parent.mapping, child.mapping, ())
    marks[()] = child.where(())
    return Document(mapping, marks)


def _forget(marks: dict[Path, str], path: Path) -> None:
    for at in [at for at in marks if at[: len(path)] == path]:
        del marks[at]


def _set(document: Document, text: str) -> Document:
    """Apply one ``a.b=c``."""
    dotted, equals, value = text.partition("=")
    keys = tuple(key.strip() for key in dotted.split("."))
    if not equals or not all(keys):
        raise UsageError(
            f"--set {text[:80]!r} is not of the form a.b=c", hint="for example --set chips.size=256"
        )
    source = f"--set {'.'.join(keys)}"
    if keys[0] == "extends":
        raise RecipeError(
            f"{source}: what a recipe extends is read before --set comes",
            hint="write `extends` into the recipe",
        )
    new, marks = parse(value, source, lines=False)
    return _assign(document, keys, new, marks)


def _assign(document: Document, keys: tuple[str, ...], value: Any, marks: Mapping[Path, str]) -> Document:
    """Replace one value (None removes it); mappings on the way are made."""
    changed = dict(document.mapping)
    inner: dict[Any, Any] = changed
    for key in keys[:-1]:
        known = _like(inner, key)
        below = inner.get(known)
        inner[known] = dict(below) if isinstance(below, dict) else {}
        inner = inner[known]
    path = (*keys[:-1], _like(inner, keys[-1]))
    kept = {at: mark for at, mark in document.marks.items() if at[: len(keys)] != path}
    if value is None:
        inner.pop(path[-1], None)
        return Document(changed, kept)
    inner[path[-1]] = value
    return Document(changed, kept | {(*path, *at): mark for at, mark in marks.items()})


def _like(mapping: Mapping[Any, Any], key: str) -> Any:
    """Find the mapping's own key of that spelling: codes are whole numbers there."""
    return next((known for known in mapping if str(known) == key), key)


def _validated(document: Document) -> Recipe:
    mapping = document.mapping
    try:
        recipe = Recipe.model_validate(mapping)
    except ValidationError as error:
        found = problems(error)
        strangers = [key for key in mapping if key not in Recipe.model_fields]
        if not any(guess((key,)) in _SECTIONS for key in strangers):
            found += crosscheck(mapping)
    else:
        found = _without_catalog(recipe)
        if not found:
            return recipe
    raise RecipeError(report(found, document.where), hint="`chipweave schema` describes every key")


def _without_catalog(recipe: Recipe) -> list[Problem]:
    if recipe.catalog is not None:
        return []
    searched = [("imagery", name, layer.catalog) for name, layer in recipe.imagery.items()]
    searched += [("labels", name, layer.catalog) for name, layer in recipe.labels.items() if layer.collection]
    return [
        Problem((section, name), "catalog: missing; give one here or at the top")
        for section, name, catalog in searched
        if catalog is None
    ]
