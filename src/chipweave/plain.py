"""Text of strangers as one harmless line, since it ends up in files that others parse; and values as text."""

from __future__ import annotations

import re
import unicodedata

_HARMFUL = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
_READ = 16
"""Letters that are looked at for each that may be kept: a tag of a megabyte costs no more than a long one."""


def plain(text: object) -> str:
    """One line without control characters (directional overrides and the like included).

    Parameters
    ----------
    text
        Anything; it is turned into text first.
    """
    spaced = re.sub(r"\s+", " ", str(text))
    return "".join(c for c in spaced if unicodedata.category(c) not in _HARMFUL).strip()


def shortened(text: object, length: int) -> str:
    """One plain line of at most that many letters."""
    whole = str(text)
    line = plain(whole[: _READ * length])
    if len(line) <= length and len(whole) <= _READ * length:
        return line
    return f"{line[: length - 1]}…"


def text_of(value: object) -> str:
    """Text of a value by which things are looked up: of a recipe and of a table the same.

    A whole number has no decimals: a column of them that has gaps holds floats.
    """
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).lower() if isinstance(value, bool) else str(value)
