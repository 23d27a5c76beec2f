"""How far a stage is: a log record with numbers, which a terminal draws and everything else reads as a line."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

EXTRA: Final = "step"
"""Attribute of the log record that holds the `Step`."""

log = logging.getLogger("chipweave")


@dataclass(frozen=True, slots=True)
class Step:
    """How far a stage is.

    Parameters
    ----------
    stage
        Its name: survey, weave, deal, put.
    done, total
        Units of work; a total of 0 is one that is not known.
    what
        The unit, in the plural.
    chips
        Chips that were done so far, where units are not chips.
    """

    stage: str
    done: int
    total: int
    what: str
    chips: int | None = None

    def __str__(self) -> str:
        of = f" of {self.total:,}" if self.total else ""
        chips = "" if self.chips is None else f", {self.chips:,} chips"
        return f"{self.stage}: {self.done:,}{of} {self.what}{chips}"

    @property
    def last(self) -> bool:
        """Whether the stage is done."""
        return self.done == self.total


def tell(step: Step) -> None:
    """Say how far a stage is."""
    log.info("%s", step, extra={EXTRA: step})
