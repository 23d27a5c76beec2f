"""The error tree. Each kind says what its catcher should do.

::

    ChipweaveError                exit 1   something of ours broke: report it
    ├── UsageError                exit 2   the call or the folder is wrong: call again, corrected
    ├── RecipeError               exit 3   the recipe or the area is wrong: edit it
    │   └── NotBuiltError         exit 3   a key of the contract whose room is not built yet: leave it out
    ├── SourceError               exit 4   a source did not answer or was refused
    │   ├── TransientSourceError  exit 4   may pass: retry, then run the same command again
    │   └── PermanentSourceError  exit 4   will not pass: take the next-best scene
    ├── YieldError                exit 5   nothing written, an empty split, or `allow` exceeded: loosen the recipe
    └── VerifyError               exit 6   the dataset is not what it says: do not train on it

`PermanentSourceError` reaches the command line only where no other scene can take the place (a search that is
refused, a local file outside the allowed folders).
"""

from __future__ import annotations

from typing import ClassVar


class ChipweaveError(Exception):
    """Base of all errors raised on purpose.

    Parameters
    ----------
    message
        The thing and the cause, in one or two lines.
    hint
        The next command or edit that would help.
    """

    exit_code: ClassVar[int] = 1
    kind: ClassVar[str] = "error"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def facts(self) -> dict[str, object]:
        """As plain JSON values: kind, message, hint, exit code."""
        return {"error": self.kind, "message": self.message, "hint": self.hint, "exit": self.exit_code}

    def __reduce__(self) -> tuple[object, ...]:
        """Survive pickling: workers raise these in other processes."""
        return (_rebuild, (type(self), self.message, self.hint, self.__dict__))


def _rebuild(cls: type[ChipweaveError], message: str, hint: str, state: dict[str, object]) -> ChipweaveError:
    error = cls.__new__(cls)
    Exception.__init__(error, message)
    error.__dict__.update(state)
    error.message, error.hint = message, hint
    return error


class UsageError(ChipweaveError):
    """The call or the output folder is wrong."""

    exit_code = 2
    kind = "usage"


class RecipeError(ChipweaveError):
    """The recipe, or the area it names, is wrong."""

    exit_code = 3
    kind = "recipe"


class NotBuiltError(RecipeError):
    """A key of the contract whose room is not built yet."""

    kind = "not-built"


class SourceError(ChipweaveError):
    """A catalog or a file did not answer, or was refused.

    Parameters
    ----------
    message, hint
        As in the base class.
    href
        What was asked for; unsigned, so that it may be logged.
    """

    exit_code = 4
    kind = "source"

    def __init__(self, message: str, *, hint: str = "", href: str = "") -> None:
        super().__init__(message, hint=hint)
        self.href = href


class TransientSourceError(SourceError):
    """May pass: a timeout, a cut connection, 429, 5xx, an expired token."""

    kind = "source-transient"


class PermanentSourceError(SourceError):
    """Will not pass: 404, a truncated or undecodable file."""

    kind = "source-permanent"


class YieldError(ChipweaveError):
    """Nothing was written, a split is empty, or more failed than `allow` permits."""

    exit_code = 5
    kind = "yield"


class VerifyError(ChipweaveError):
    """The dataset is not what its files say."""

    exit_code = 6
    kind = "verify"
