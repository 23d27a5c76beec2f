"""What can be said of a recipe before anything is read but the recipe."""

from __future__ import annotations

from chipweave.recipe.built import unbuilt
from chipweave.recipe.crosscheck import nearest
from chipweave.recipe.data import listing
from chipweave.recipe.loaded import LoadedRecipe
from chipweave.recipe.paths import exists, named_files


def check(loaded: LoadedRecipe) -> list[str]:
    """Warnings about a valid recipe: files that it names and that are not there, keys that are not built.

    No network, and no data file is opened.
    """
    warnings = []
    for named in named_files(loaded.mapping, loaded.base):
        if exists(loaded.resolve(named.value)):
            continue
        dotted = ".".join(str(key) for key in named.keys)
        guess = ""
        if not named.certain:
            kind = "providers" if named.keys[-1] == "catalog" else "legends"
            guess = f"; the nearest known name is {nearest(named.value, listing(kind, loaded.catalogs))!r}"
        warnings.append(f"{loaded.where(dotted)}: {dotted}: there is no file {named.value!r}{guess}")
    warnings += [f"{loaded.where(key)}: {key}: known, but not built yet" for key in unbuilt(loaded)]
    return warnings
