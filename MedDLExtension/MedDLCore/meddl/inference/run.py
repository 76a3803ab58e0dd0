"""One run in progress: what was asked for, whom to tell, and what to write down."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from meddl.errors import JobCancelled
from meddl.inference.options import RunOptions
from meddl.inference.provenance import Stopwatch

Progress = Callable[[float, str], None]
Cancelled = Callable[[], bool]
Log = Callable[[str], None]


def silent(fraction: float, text: str) -> None:
    """Tell nobody."""


def unlogged(line: str) -> None:
    """Write nothing down."""


def never() -> bool:
    """Never cancel."""
    return False


@dataclass
class Run:
    """What the parts of a run share.

    Attributes:
        options: what the user chose.
        progress, cancelled, log: the caller's.
        watch: adds up the times.
        parameters: what was used, for the provenance.
        notes: sentences for the user, for the provenance.
        start, end: the share of the whole that :meth:`tell` maps 0..1 to.
    """

    options: RunOptions
    progress: Progress = silent
    cancelled: Cancelled = never
    log: Log = unlogged
    watch: Stopwatch = field(default_factory=Stopwatch)
    parameters: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    start: float = 0.0
    end: float = 1.0

    def tell(self, fraction: float, text: str) -> None:
        """Report progress within this run's share of the whole."""
        self.progress(self.start + (self.end - self.start) * fraction, text)

    def part(self, start: float, end: float) -> Run:
        """Return the same run, whose 0..1 is a part of this one's; notes, times and parameters are shared."""
        span = self.end - self.start
        return Run(
            self.options, self.progress, self.cancelled, self.log, self.watch, self.parameters, self.notes,
            self.start + span * start, self.start + span * end,
        )  # fmt: skip

    def windows(self, start: float, end: float, text: str) -> Callable[[int, int], None]:
        """Return a callback for (windows done, windows in all) that reports them as a share of the run."""

        def report(done: int, total: int) -> None:
            what = f"{text} ({done} of {total} windows)" if total > 1 else text
            self.tell(start + (end - start) * done / max(total, 1), what)

        self.tell(start, text)
        return report

    def note(self, sentence: str) -> None:
        """Write a sentence down once."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def warn(self, sentence: str) -> None:
        """Write a sentence down and tell it at once, too."""
        self.note(sentence)
        self.log(sentence)

    def raise_if_cancelled(self) -> None:
        """Raise :class:`JobCancelled` if the user wants no more of it."""
        if self.cancelled():
            raise JobCancelled("The run was cancelled.")
