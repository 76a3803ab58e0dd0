"""How a training went: ``training/history.csv``, one line for every few steps."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from meddl.errors import ModelError

HISTORY = "training/history.csv"
_MOST_BYTES = 1 << 26
EVERY = 10
"""Steps whose mean losses are a line."""


@dataclass(frozen=True)
class History:
    """The losses of a training.

    Attributes:
        columns: names of the losses.
        rows: (step, mean losses since the row before, seconds since the training began).
    """

    columns: tuple[str, ...] = ()
    rows: tuple[tuple[int, tuple[float, ...], float], ...] = field(default=())

    def up_to(self, step: int) -> History:
        """Return what it was after ``step`` steps."""
        return History(self.columns, tuple(row for row in self.rows if row[0] <= step))

    def with_row(self, step: int, losses: Mapping[str, float], seconds: float) -> History:
        """Return the history with one more row."""
        row = (step, tuple(float(f"{losses[name]:.6g}") for name in self.columns), round(seconds, 2))
        return History(self.columns, (*self.rows, row))

    @property
    def seconds(self) -> float:
        """How long it took, over all its parts."""
        return self.rows[-1][2] if self.rows else 0.0

    def to_bytes(self) -> bytes:
        """Return the file."""
        sink = io.StringIO()
        table = csv.writer(sink, lineterminator="\n")
        table.writerow(["step", *self.columns, "seconds"])
        table.writerows([step, *losses, seconds] for step, losses, seconds in self.rows)
        return sink.getvalue().encode()


def read_history(bundle: Path) -> History:
    """Return how the training of a bundle went, also while it runs; empty where there is none.

    Raises:
        ModelError: the file is damaged.
    """
    path = bundle / HISTORY
    if not path.is_file():
        return History()
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError("too long")
        head, *rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
        if len(head) < 3 or head[0] != "step" or head[-1] != "seconds":
            raise ValueError("other columns")
        found = tuple((int(row[0]), tuple(map(float, row[1:-1])), float(row[-1])) for row in rows)
        if any(len(row) != len(head) - 2 or not all(map(math.isfinite, (*row, seconds))) for _, row, seconds in found):
            raise ValueError("no numbers")
        if any(step < 1 or seconds < 0 for step, _, seconds in found):
            raise ValueError("no steps")
    except (ValueError, IndexError, OSError) as error:
        raise ModelError(f"{HISTORY} is damaged. Delete it; the model itself does not need it.", str(error)) from error
    return History(tuple(head[1:-1]), found)
