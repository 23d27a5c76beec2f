"""What the user writes: the models, loading, the JSON Schema, the built-in recipes."""

from __future__ import annotations

from chipweave.recipe.built import require_built, unbuilt
from chipweave.recipe.checks import check
from chipweave.recipe.data import builtin_recipes, catalogs_root
from chipweave.recipe.load import load_recipe
from chipweave.recipe.loaded import LoadedRecipe
from chipweave.recipe.models import Recipe
from chipweave.recipe.reference import schema, schema_text
from chipweave.recipe.starter import new

__all__ = [
    "LoadedRecipe",
    "Recipe",
    "builtin_recipes",
    "catalogs_root",
    "check",
    "load_recipe",
    "new",
    "require_built",
    "schema",
    "schema_text",
    "unbuilt",
]
