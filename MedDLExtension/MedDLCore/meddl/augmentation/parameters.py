"""What can be set at a transform: ranges to draw from and choices, checked with a sentence that says what is wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from meddl.errors import UsageError

Setting: TypeAlias = tuple[float, float] | tuple[str, ...]


@dataclass(frozen=True)
class Parameter:
    """One thing that is drawn.

    Attributes:
        name: in plans.
        default: ``(low, high)``, or some of ``choices``.
        limits: least and greatest value that makes sense.
        unit: for people: "mm", "degrees", ...
        meaning: for people.
        choices: the words to choose from; () for numbers.
        whole: whole numbers only.
    """

    name: str
    default: Setting
    limits: tuple[float, float] = (0.0, 1.0)
    unit: str = ""
    meaning: str = ""
    choices: tuple[str, ...] = ()
    whole: bool = False

    def parsed(self, value: Any, where: str) -> Setting:
        """Return a setting as it is kept: a number is a range of one, a word a choice of one.

        Raises:
            UsageError: it is none that this parameter can have.
        """
        return self._words(value, where) if self.choices else self._range(value, where)

    def _words(self, value: Any, where: str) -> tuple[str, ...]:
        words = [value] if isinstance(value, str) else value
        if not isinstance(words, Sequence) or not words or any(word not in self.choices for word in words):
            raise UsageError(f"{where}: {self.name} is {value!r}. It can be one or several of: "
                             f"{', '.join(self.choices)}.")  # fmt: skip
        return tuple(dict.fromkeys(words))

    def _range(self, value: Any, where: str) -> tuple[float, float]:
        pair = [value, value] if _is_number(value) else value
        low, high = self.limits
        kind = "whole numbers" if self.whole else "numbers"
        unit = f" {self.unit}" if self.unit else ""
        if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2 or not all(map(_is_number, pair)):
            raise UsageError(f"{where}: {self.name} is {value!r}. It takes a range of two {kind}, for instance "
                             f"{_shown(self.default)}, or one number.")  # fmt: skip
        if not low <= pair[0] <= pair[1] <= high:
            raise UsageError(f"{where}: {self.name} is {_shown(pair)}. It takes the lower number first, and {kind} "
                             f"from {low:g} to {high:g}{unit}.")  # fmt: skip
        if self.whole and any(number != int(number) for number in pair):
            raise UsageError(f"{where}: {self.name} is {_shown(pair)}. It takes whole numbers.")
        return float(pair[0]), float(pair[1])


def parsed_settings(parameters: Sequence[Parameter], given: Mapping[str, Any], where: str) -> dict[str, Setting]:
    """Return all settings of a transform, defaults where nothing is given.

    Raises:
        UsageError: something is given that there is no parameter for, or that it cannot be.
    """
    known = {each.name: each for each in parameters}
    for name in given:
        if name not in known:
            raise UsageError(f"{where}: there is nothing called {name!r} to set. There are: "
                             f"{', '.join(known) or 'none'}.")  # fmt: skip
    return {name: each.parsed(given.get(name, each.default), where) for name, each in known.items()}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _shown(value: Sequence[Any]) -> str:
    return f"[{', '.join(f'{each:g}' if _is_number(each) else repr(each) for each in value)}]"
