"""The values, functions and operators that bundle expressions may use, each with a bound on what it can make."""

from __future__ import annotations

import ast
import math
import operator
import os.path
import re
from collections.abc import Callable
from typing import Any

MAX_ITEMS = 10_000
MAX_CHARACTERS = 65_536
MAX_BITS = 64
MAX_EXPONENT = 64


_DEVICE = re.compile(r"cpu|mps|cuda(:\d{1,2})?")
SCALARS = (bool, int, float, str, type(None))
SEQUENCES = (list, tuple, range)


class ExpressionRefused(Exception):
    """The expression needs more than this calculator; the text says what, as the end of a sentence."""


class ExpressionFailed(Exception):
    """The expression is allowed but has no value; the text says why."""


BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
    ast.Not: operator.not_,
}
COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: lambda item, container: item in container,
    ast.NotIn: lambda item, container: item not in container,
}

_TORCH_TYPES = (
    "float16", "bfloat16", "float32", "float64", "half", "float", "double",
    "uint8", "int8", "int16", "int32", "int64", "short", "int", "long", "bool",
)  # fmt: skip
_NUMPY_TYPES = (
    "float16",
    "float32",
    "float64",
    "uint8",
    "uint16",
    "uint32",
    "int8",
    "int16",
    "int32",
    "int64",
    "bool_",
)
CONSTANTS = frozenset(
    [f"torch.{name}" for name in _TORCH_TYPES]
    + [f"{module}.{name}" for module in ("np", "numpy") for name in (*_NUMPY_TYPES, "pi", "inf")]
)
"""Dotted names that stand for a value of PyTorch or NumPy. Nothing but these and ``NAMES`` is reached with a dot."""
NAMES = {
    f"monai.utils.{where}CommonKeys.{key.upper()}": key
    for where in ("", "enums.")
    for key in ("image", "label", "pred", "loss", "metadata")
}
"""What MONAI calls the usual keys of its dictionaries."""


def _bounded_range(*arguments: int) -> range:
    result = range(*arguments)
    if len(result) > MAX_ITEMS:
        raise ExpressionRefused(f"makes a list of more than {MAX_ITEMS} items")
    return result


def _torch_device(name: str, index: int | None = None) -> Any:
    text = name if index is None else f"{name}:{index}"
    if not isinstance(name, str) or not _DEVICE.fullmatch(text):
        raise ExpressionRefused(f"names the device {ascii(text)[:60]}")
    import torch

    return torch.device(text)


def _cuda_is_available() -> bool:
    import torch

    return torch.cuda.is_available()


def _join_paths(*parts: str) -> str:
    if not all(isinstance(part, str) for part in parts):
        raise ExpressionFailed("joins something that is not text")
    if sum(len(part) + 1 for part in parts) > MAX_CHARACTERS:
        raise ExpressionRefused("makes something huge")
    return os.path.join(*parts)  # noqa: PTH118 (text in, text out)


def _flat(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function see scalars and flat sequences of them only, never an object with methods of its own."""

    def checked(*arguments: Any) -> Any:
        for argument in arguments:
            require_flat(argument)
        return function(*arguments)

    return checked


def _sequence(function: Callable[..., Any]) -> Callable[..., Any]:
    def checked(*arguments: Any) -> Any:
        for argument in arguments:
            if type(argument) not in (*SEQUENCES, str, dict):
                raise ExpressionRefused(f"takes apart an object of type {type(argument).__name__}")
        return function(*arguments)

    return checked


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": _flat(abs),
    "bool": _flat(bool),
    "float": _flat(float),
    "int": _flat(int),
    "len": _sequence(len),
    "list": _sequence(list),
    "max": _flat(max),
    "min": _flat(min),
    "os.path.join": _join_paths,
    "range": _flat(_bounded_range),
    "round": _flat(lambda number, digits=0: _round(number, digits)),
    "sorted": _flat(sorted),
    "str": _flat(lambda value="": _text(value)),
    "sum": _flat(sum),
    "torch.cuda.is_available": _cuda_is_available,
    "torch.device": _torch_device,
    "tuple": _sequence(tuple),
}
"""All that may be called, by name."""


def _round(number: Any, digits: int) -> Any:
    # Python computes 10 ** -digits for whole numbers, however many that is.
    if abs(digits) > MAX_EXPONENT:
        raise ExpressionRefused("rounds to a huge number of digits")
    return round(number, digits) if digits else round(number)


def _text(value: Any) -> str:
    if type(value) not in SCALARS:
        raise ExpressionRefused("writes out more than a number")
    return str(value)


def constant(name: str) -> Any:
    if name in NAMES:
        return NAMES[name]
    module, _, attribute = name.rpartition(".")
    if module == "torch":
        import torch

        return getattr(torch, attribute)
    import numpy

    return getattr(numpy, attribute)


def move(module: Any, device: Any) -> Any:
    import torch

    if isinstance(device, str):
        device = _torch_device(device)
    if not isinstance(module, torch.nn.Module) or not isinstance(device, torch.device):
        raise ExpressionRefused("calls '.to' on something that is not a network, or with something not a device")
    return module.to(device)


def truth(value: Any) -> bool:
    if type(value) not in (*SCALARS, *SEQUENCES, dict):
        raise ExpressionRefused(f"asks whether an object of type {type(value).__name__} is true")
    return bool(value)


def check_sequence_operation(kind: type[ast.operator], left: Any, right: Any) -> None:
    if kind is ast.Add and type(left) is type(right) and type(left) in (str, list, tuple):
        size = len(left) + len(right)
    elif kind is ast.Mult and type(left) in (str, list, tuple) and type(right) is int:
        size = len(left) * right
    elif kind is ast.Mult and type(right) in (str, list, tuple) and type(left) is int:
        size = len(right) * left
    else:
        raise ExpressionRefused(
            f"uses the operator {kind.__name__} on {type(left).__name__} and {type(right).__name__}"
        )
    if size > (MAX_CHARACTERS if isinstance(left, str) or isinstance(right, str) else MAX_ITEMS):
        raise ExpressionRefused("makes something huge")


def key_of(value: Any) -> Any:
    if type(value) not in SCALARS:
        raise ExpressionRefused(f"uses an object of type {type(value).__name__} as a key")
    return value


def number(value: Any) -> Any:
    if type(value) not in (bool, int, float):
        raise ExpressionRefused(f"calculates with an object of type {type(value).__name__}")
    return value


def require_flat(value: Any) -> None:
    items = [*value.keys(), *value.values()] if type(value) is dict else value if type(value) in SEQUENCES else [value]
    for item in items:
        if type(item) not in SCALARS:
            raise ExpressionRefused(f"calculates with an object of type {type(item).__name__}")


def bounded(value: Any) -> Any:
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise ExpressionRefused("makes a huge number")
    if isinstance(value, complex) or (isinstance(value, float) and math.isnan(value)):
        raise ExpressionFailed("has a value that is not a real number")
    return value
