"""What an audit says: checks with verdicts, and how findings become one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from shapely.errors import ShapelyError

Verdict = Literal["pass", "warn", "fail", "skip"]

BROKEN = (
    *(OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, RuntimeError, ArithmeticError),
    ShapelyError,
)
"""What reading a damaged file may raise. An audit reports these, whatever the library that raised them."""

_EXAMPLES = 4


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Parameters
    ----------
    name
        Stable: scripts may look for it.
    verdict
        ``fail`` means that the dataset is not what it says, ``skip`` that it could not be looked at: why stands in
        `text`.
    text
        For a person, one line.
    numbers
        What was counted or measured.
    """

    name: str
    verdict: Verdict
    text: str
    numbers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Report:
    """All checks of a dataset."""

    folder: str
    checks: Sequence[Check]

    @property
    def ok(self) -> bool:
        """Whether nothing failed; warnings do not count."""
        return all(check.verdict != "fail" for check in self.checks)

    def __getitem__(self, name: str) -> Check:
        return next(check for check in self.checks if check.name == name)

    def to_text(self) -> str:
        """One line a check, the verdict last."""
        width = max([10, *(len(c.name) for c in self.checks)])
        lines = [f"{c.verdict:<5} {c.name:<{width}} {c.text}" for c in self.checks]
        return "\n".join([*lines, f"{self.folder}: {self.verdict}"])

    @property
    def verdict(self) -> str:
        """All of it in a sentence or two."""
        said = {v: [c.name for c in self.checks if c.verdict == v] for v in ("fail", "warn", "skip")}
        text = "ok"
        if said["fail"]:
            text = f"NOT what it says: {', '.join(said['fail'])} failed of {len(self.checks)} checks"
        if said["warn"]:
            text += f"; read what {', '.join(said['warn'])} {'says' if len(said['warn']) == 1 else 'say'}"
        if said["skip"]:
            text += f"; not looked at: {', '.join(said['skip'])}"
        return text

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        checks = [
            {"name": c.name, "verdict": c.verdict, "text": c.text, "numbers": dict(c.numbers)}
            for c in self.checks
        ]
        return {"folder": self.folder, "ok": self.ok, "verdict": self.verdict, "checks": checks}


class Findings:
    """Gathers what is wrong with one thing; only the first few are told in words, all are counted."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.failed = 0
        self.warned = 0
        self._said: list[str] = []

    def fail(self, text: str) -> None:
        """Note something that makes the dataset wrong."""
        self.failed += 1
        self._note(text, self.failed)

    def warn(self, text: str) -> None:
        """Note something that a person should know."""
        self.warned += 1
        self._note(text, self.warned)

    def say(self, text: str, *, wrong: bool) -> None:
        """Note something that is wrong, or that a person should know."""
        (self.fail if wrong else self.warn)(text)

    def count(self, number: int, *, wrong: bool) -> None:
        """Note further ones of a kind without words."""
        if wrong:
            self.failed += max(number, 0)
        else:
            self.warned += max(number, 0)

    def _note(self, text: str, number: int) -> None:
        if number <= _EXAMPLES:
            self._said.append(text)

    def check(self, fine: str, **numbers: Any) -> Check:
        """Make a check of it; `fine` is the text where nothing was found."""
        verdict: Verdict = "fail" if self.failed else "warn" if self.warned else "pass"
        more = self.failed + self.warned - len(self._said)
        text = "; ".join(self._said) + (f"; and {more} more" if more else "")
        return Check(self.name, verdict, text or fine, {**numbers, "problems": self.failed})
