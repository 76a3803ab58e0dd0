"""What a training has written into its folder so far: losses, samples, settings. Looked at again and again, cheaply."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

from meddl.errors import ModelError, UsageError
from meddl.synthesis.config import SynthesisConfig
from meddl.synthesis.history import HISTORY, History, read_history

if TYPE_CHECKING:
    from collections.abc import Sequence

STEP = "step"
_MOST_POINTS = 400


class TrainingView:
    """The folder of a generator that is, or was, trained.

    Args:
        root: the bundle's folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._history = History()
        self._seen: tuple[int, int] | None = None

    @property
    def steps(self) -> int:
        """How many steps have been trained, as far as was read."""
        return self._history.rows[-1][0] if self._history.rows else 0

    @property
    def hasBundle(self) -> bool:
        """Whether there is a generator that can be used."""
        return _is_file(self.root / "configs" / "metadata.json")

    def look(self) -> bool:
        """Read what has come since the last look; returns whether there was anything."""
        try:
            about = (self.root / HISTORY).stat()
            seen = (about.st_mtime_ns, about.st_size)
            if seen == self._seen:
                return False
            self._history = read_history(self.root)
        except (OSError, ModelError):  # there is nothing yet, or it cannot be read
            return False
        self._seen = seen
        return bool(self._history.rows)

    def losses(self) -> dict[str, list[float]]:
        """Return the steps and each loss by name; where there are many, means over steps that follow one another.

        A loss of which there is nothing yet is left out.
        """
        rows = self._history.rows
        block = math.ceil(len(rows) / _MOST_POINTS) or 1
        groups = [rows[start : start + block] for start in range(0, len(rows), block)]
        columns = {STEP: [float(group[-1][0]) for group in groups]}
        for index in self._begun():
            columns[self._history.columns[index]] = [_mean([row[1][index] for row in group]) for group in groups]
        return columns

    def latest(self) -> dict[str, float]:
        """Return the losses of the last steps, without those of which there is nothing yet."""
        return {self._history.columns[index]: self._history.rows[-1][1][index] for index in self._begun()}

    def _begun(self) -> list[int]:
        """Return which losses there are: a discriminator may begin late, and has zeros until then."""
        rows = self._history.rows
        return [index for index in range(len(self._history.columns)) if any(row[1][index] for row in rows)]

    def newest_samples(self) -> Path | None:
        """Return the newest picture of samples, or None."""
        try:
            pictures = sorted((self.root / "training" / "samples").glob("step_*.png"))
        except OSError:
            return None
        return pictures[-1] if pictures else None

    def config(self) -> SynthesisConfig | None:
        """Return the settings of the training that is there, or None."""
        try:
            told = json.loads((self.root / "training" / "config.json").read_text(encoding="utf-8"))
            return SynthesisConfig.from_dict(told["config"])
        except (OSError, ValueError, TypeError, KeyError, UsageError):
            return None

    def is_taken(self) -> bool:
        """Whether something that is no training lies in the folder already."""
        try:
            return any(each.name != "training" for each in self.root.iterdir())
        except OSError:
            return False


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # its name is too long, or nobody may look there
        return False
