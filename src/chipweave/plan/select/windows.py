"""What the rules of several named steps share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from chipweave.plan.select.onedate import ALWAYS, widened
from chipweave.plan.select.slots import Slot, Slotted
from chipweave.recipe.windows import Span, of_year, pieces, years_back


def _years(window: str, within: Span) -> tuple[Span, ...]:
    """Years in which a window is looked for, the last first; all of the time, where it has its own."""
    return years_back(within) if of_year(window) else (within,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Windowed(Slotted):
    """Steps of a fixed number and order, each with its windows in `time`.

    Parameters
    ----------
    time
        Of the layer; a chip's own comes first.
    """

    time: Span = ALWAYS

    def of_year(self, windows: Mapping[str, str], within: Span) -> tuple[Slot, ...]:
        """A step a window of the year: of the last year of a time first, else of the year before, …; then wider.

        A window that a year cuts in two, such as winter, has both parts in it.
        """
        slots = []
        for name, window in windows.items():
            found = [dict(pieces(window, year)) for year in _years(window, within)]
            levels = tuple(tuple(spans) for spans in found if spans)
            wholes = {cut: whole for spans in found for cut, whole in spans.items()}
            wide = widened(tuple(wholes), self.by, self.times)
            of = {span: whole for spans in wide for span, whole in zip(spans, wholes.values(), strict=True)}
            slots.append(Slot(name, (*levels, *wide[1:]), wholes=of))
        return tuple(slots)

    def of_spans(self, spans: Mapping[str, Span]) -> tuple[Slot, ...]:
        """A step a span; then wider."""
        return tuple(Slot(name, widened((span,), self.by, self.times)) for name, span in spans.items())
