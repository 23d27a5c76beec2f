"""The template of a chip's key: text, and ``{column}`` or ``{column:03d}``."""

from __future__ import annotations

import re

_FIELD = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(?::(0?[1-9]d?))?\}")
_TEXT = re.compile(r"[A-Za-z0-9_-]*")


def fields(template: str) -> list[tuple[str, str, str]]:
    """Parts of a template: (text, column, format), where the last may have no column.

    Raises
    ------
    ValueError
        It is no template; the text says why.
    """
    found, at = [], 0
    for match in _FIELD.finditer(template):
        found.append((template[at : match.start()], match.group(1), match.group(2) or ""))
        at = match.end()
    found.append((template[at:], "", ""))
    wrong = next((text for text, _, _ in found if not _TEXT.fullmatch(text)), None)
    if wrong is not None:
        raise ValueError(
            f"{wrong!r} is neither of letters, digits, _ and -, nor a {{column}} or {{column:03d}}"
        )
    if len(found) == 1:
        raise ValueError("it names no {column}, so that all chips had one key")
    return found


def columns(template: str) -> frozenset[str]:
    """Columns that a template names."""
    return frozenset(name for _, name, _ in fields(template) if name)
