"""The recipe's language as JSON Schema."""

from __future__ import annotations

import json
from typing import Any

from chipweave.recipe.models import Recipe


def schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a recipe, every key with a description.

    The keyword ``x-not-built`` is true for a key that is known but not built, or lists such values.
    """
    body: dict[str, Any] = _closed(Recipe.model_json_schema(by_alias=True))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **body}


def schema_text() -> str:
    """Write the schema as it stands in ``catalogs/recipe.schema.json``."""
    return json.dumps(schema(), indent=2, ensure_ascii=False, sort_keys=True) + "\n"


def _closed(part: Any) -> Any:
    """Let mappings by name (layers, fractions) hold nothing but good names, as the models do."""
    if isinstance(part, list):
        return [_closed(item) for item in part]
    if not isinstance(part, dict):
        return part
    closed = {key: _closed(value) for key, value in part.items()}
    return {"additionalProperties": False, **closed} if "patternProperties" in closed else closed
