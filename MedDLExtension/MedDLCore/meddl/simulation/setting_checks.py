"""Checking the settings of a simulation: what is wrong is said with what a setting can be."""

from __future__ import annotations

from typing import Any

from meddl.errors import UsageError


def make_tuples(options: Any, *names: str) -> None:
    """Make tuples of settings that may be given as one value or as a list."""
    for name in names:
        value = getattr(options, name)
        object.__setattr__(options, name, (value,) if isinstance(value, int | float | str) else tuple(value))


def check_one_of(options: Any, **known: tuple[str, ...]) -> None:
    """Refuse a setting that is none of the known words."""
    for name, values in known.items():
        if getattr(options, name) not in values:
            raise UsageError(f"{name} is {getattr(options, name)!r}. Choose one of: {', '.join(map(repr, values))}.")


def check_within(options: Any, name: str, low: float, high: float) -> None:
    """Refuse a number that is too small or too large."""
    if not low <= getattr(options, name) <= high:
        raise UsageError(f"{name} is {getattr(options, name):g}. It takes {low:g} to {high:g}.")


def check_range(options: Any, name: str, low: float, high: float, *, empty: bool = False) -> None:
    """Refuse what is neither one number nor a range of two."""
    ends = getattr(options, name)
    if not ends and empty:
        return
    if len(ends) not in (1, 2) or not all(low <= each <= high for each in ends) or ends[0] > ends[-1]:
        raise UsageError(f"{name} is one number, or the lowest and the highest, from {low:g} to {high:g}.")


def is_like(value: Any, example: Any) -> bool:
    """Say whether a value that was read as plain data can be a setting of which there is an example."""
    if isinstance(example, bool):
        return isinstance(value, bool)
    if isinstance(example, tuple):
        if not isinstance(value, list | tuple):
            return is_like(value, example[0])
        return all(is_like(each, example[0]) for each in value)
    return _is_number(value) if isinstance(example, float) else type(value) is type(example)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
