"""Converts a Python value to what a Qt property takes, as leniently (and no more) as PythonQt does."""

from __future__ import annotations

import numbers
from collections.abc import Callable

_REFUSED = (TypeError, ValueError, OverflowError)


def _string_list(value: object) -> list[str]:
    if isinstance(value, str) or not isinstance(value, (list, tuple)):
        raise TypeError(value)
    return [str(item) for item in value]


def _whole(value: object) -> int:
    if isinstance(value, numbers.Real):
        return int(value)
    raise TypeError(value)


def _real(value: object) -> float:
    if isinstance(value, numbers.Real):
        return float(value)
    raise TypeError(value)


def _truth(value: object) -> bool:
    return bool(_whole(value))


_CONVERTERS: dict[str, Callable[[object], object]] = {
    "QString": str,
    "QStringList": _string_list,
    "bool": _truth,
    "int": _whole,
    "uint": _whole,
    "double": _real,
    "float": _real,
}


def to_property(name: str, type_name: str, value: object) -> object:
    """`value` as the property's Qt type.

    Raises:
        AttributeError: the type does not take such a value (PythonQt's own words).
    """
    converter = _CONVERTERS.get(type_name)
    if converter is None:
        return value
    try:
        return converter(value)
    except _REFUSED:
        raise refusal(name, type_name, value) from None


def refusal(name: str, type_name: str, value: object) -> AttributeError:
    """The error PythonQt raises for a value of the wrong type."""
    return AttributeError(
        f"Property '{name}' of type '{type_name}' does not accept an object of type {type(value).__name__} ({value!r})"
    )
