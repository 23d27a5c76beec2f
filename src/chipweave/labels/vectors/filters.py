"""Conditions on features, as in SQL: asked of SQLite, in memory, which may look at their fields and no further."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from chipweave.errors import RecipeError
from chipweave.recipe.crosscheck import nearest

FUNCTIONS: Final = frozenset({
    "abs", "ceil", "coalesce", "floor", "format", "glob", "ifnull", "iif", "instr", "length", "like", "lower", "ltrim",
    "max", "min", "mod", "nullif", "replace", "round", "rtrim", "sign", "substr", "substring", "trim", "typeof",
    "upper",
})  # fmt: skip
"""What a condition may call: functions of their arguments alone."""

LONGEST: Final = 4000
"""Characters of a condition."""

STEPS: Final = 200_000_000
"""Steps of SQLite's machine after which a condition is given up, a piece of a file."""

_TABLE: Final = "features"
_ROW: Final = '"row of chipweave"'
_QUOTED: Final = re.compile(r"'(?:[^']|'')*'|\"((?:[^\"]|\"\")+)\"")


def columns_of(condition: str, fields: Mapping[str, str], said: str) -> frozenset[str]:
    """Fields that a condition looks at.

    Parameters
    ----------
    condition
        As it would stand behind ``WHERE``; text is compared as SQLite does, upper and lower case apart.
    fields
        Of the file, with SQLite's word for their type; those without one cannot be asked for.
    said
        How an error names the condition, such as ``labels.fields.burn.0.where``.

    Raises
    ------
    RecipeError
        It is none, or names no field of the file: the nearest one is told.
    """
    if len(condition) > LONGEST or "\0" in condition:
        raise RecipeError(f"{said}: more than {LONGEST} characters, or characters that are none")
    used: set[str] = set()
    lower = {name.lower(): name for name, kind in fields.items() if kind}
    for quoted in _QUOTED.findall(condition):
        # SQLite takes a name that it does not know, in double quotes, for a text.
        if quoted and quoted.replace('""', '"').lower() not in lower:
            raise unknown_field(said, quoted, fields)
    text = condition.lower()
    own = {name: kind for name, kind in fields.items() if name.lower().replace('"', '""') in text}
    with _asked(own) as base:

        def allow(action: int, first: str | None, second: str | None, *_: object) -> int:
            if action == sqlite3.SQLITE_READ and first == _TABLE and second:
                used.add(second.lower())
            return _allowed(action, first, second)

        base.set_authorizer(allow)
        try:
            base.execute(_query(condition))
        except sqlite3.Error as error:
            raise _refused(said, error, fields) from None
    return frozenset(lower[name] for name in used if name in lower)


def unknown_field(said: str, name: str, fields: Iterable[str]) -> RecipeError:
    """Error for a field that a file does not have."""
    known = list(fields)
    guess = nearest(name, known)
    return RecipeError(
        f"{said}: there is no field {name!r}" + (f"; did you mean {guess!r}?" if guess else ""),
        hint=f"the file has {', '.join(known[:40])}" if known else "the file has no fields at all",
    )


def matching(
    conditions: Mapping[str, str], columns: Mapping[str, pa.Array], count: int, fields: Mapping[str, str]
) -> dict[str, npt.NDArray[np.bool_]]:
    """Which features meet each condition.

    Parameters
    ----------
    conditions
        Text to how an error names it.
    columns
        Of the features, with all that the conditions look at.
    count
        Of features.
    fields
        Of the file, as in `columns_of`.

    Raises
    ------
    RecipeError
        One cannot be worked out, or takes too long.
    """
    if not conditions:
        return {}
    out = {}
    own = {name: fields[name] for name in columns if fields.get(name)}
    with _asked(own) as base:
        names = list(own)
        if names:
            rows = zip(range(count), *(columns[name].to_pylist() for name in names), strict=True)
            marks = ", ".join("?" * (len(names) + 1))
            listed = "".join(f", {_name(n)}" for n in names)
            base.executemany(f"INSERT INTO {_TABLE} ({_ROW}{listed}) VALUES ({marks})", rows)  # noqa: S608 - quoted
        else:
            base.executemany(f"INSERT INTO {_TABLE} ({_ROW}) VALUES (?)", ((i,) for i in range(count)))  # noqa: S608
        base.set_authorizer(_allowed)
        base.set_progress_handler(lambda: 1, STEPS)
        for condition, said in conditions.items():
            hit = np.zeros(count, np.bool_)
            try:
                found = [row[0] for row in base.execute(_query(condition))]
            except sqlite3.Error as error:
                raise _refused(said, error, own) from None
            hit[[i for i in found if isinstance(i, int) and 0 <= i < count]] = True
            out[condition] = hit
    return out


class _asked:  # noqa: N801 - used as a function
    """A table in memory with a file's fields, and no row."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        self.fields = fields

    def __enter__(self) -> sqlite3.Connection:
        self.base = sqlite3.connect(":memory:")
        seen: dict[str, str] = {}
        for name, kind in self.fields.items():
            if kind:
                seen.setdefault(name.lower(), f"{_name(name)} {kind}")
        listed = ", ".join([f"{_ROW} INTEGER PRIMARY KEY", *seen.values()])
        try:
            self.base.execute(f"CREATE TABLE {_TABLE} ({listed})")
        except sqlite3.Error:
            self.base.close()
            raise
        return self.base

    def __exit__(self, *_: object) -> None:
        self.base.close()


def _name(text: str) -> str:
    doubled = text.replace('"', '""')
    return f'"{doubled}"'


def _query(condition: str) -> str:
    return f"SELECT {_ROW} FROM {_TABLE} WHERE (\n{condition}\n)"  # noqa: S608 - held by the authorizer


def _allowed(action: int, first: str | None, second: str | None, *_: object) -> int:
    fine = (
        action == sqlite3.SQLITE_SELECT
        or (action == sqlite3.SQLITE_READ and first == _TABLE)
        or (action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in FUNCTIONS)
    )
    return sqlite3.SQLITE_OK if fine else sqlite3.SQLITE_DENY


def _refused(said: str, error: sqlite3.Error, fields: Iterable[str]) -> RecipeError:
    text = str(error)
    if text.startswith("no such column: "):
        return unknown_field(said, text.removeprefix("no such column: ").partition(" - ")[0], fields)
    if "interrupted" in text:
        return RecipeError(f"{said}: takes too long", hint="write a simpler condition")
    if "not authorized" in text or "prohibited" in text:
        return RecipeError(
            f"{said}: {text}: a condition may look at the features' own fields, and call "
            f"{', '.join(sorted(FUNCTIONS))}"
        )
    return RecipeError(
        f"{said}: is no condition: {text}", hint="write it as in SQL: crop = 'wheat' AND area > 1"
    )
