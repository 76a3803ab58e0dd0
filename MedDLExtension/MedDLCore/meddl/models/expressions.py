"""A small calculator for the ``$`` expressions of bundle configs.

MONAI hands these strings to ``eval``. Here they are parsed, each node is held against a list of harmless ones, and the
tree is walked by an interpreter of our own that knows numbers, text, lists, a few named functions and the classes of
:mod:`meddl.models.allowed_targets`: there is no attribute access, no call of a value, no loop, no comprehension, and
every result has a bounded size.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from meddl.models.allowed_targets import POSITIONAL_ARGUMENTS, REFUSED_ARGUMENTS, find_target
from meddl.models.expression_values import (
    BINARY,
    COMPARE,
    CONSTANTS,
    FUNCTIONS,
    MAX_BITS,
    MAX_EXPONENT,
    NAMES,
    SCALARS,
    SEQUENCES,
    UNARY,
    ExpressionFailed,
    ExpressionRefused,
    bounded,
    check_sequence_operation,
    constant,
    key_of,
    move,
    number,
    require_flat,
    truth,
)

MAX_TEXT = 2000
MAX_NODES = 300
MAX_NESTING = 40

_REFERENCE = re.compile(r"@\w*(?:::\w*)*")


Make = Callable[[str, dict[str, Any]], Any]
"""Makes an object of a known class: (its dotted name, arguments)."""


@dataclass(frozen=True, eq=False)
class MethodCall:
    """``@target.name(argument=...)``, with its arguments still to be calculated."""

    target: str
    name: str
    arguments: dict[str, Expression]


@dataclass(frozen=True, eq=False)
class Expression:
    """A checked expression: its syntax tree, and which names in it stand for which ids of the config."""

    body: ast.expr
    references: dict[str, str]


def parse_expression(text: str) -> Expression:
    """Return a checked expression for ``text`` (without its ``$``), ids written ``@id::sub``.

    Raises:
        ExpressionRefused: it is more than a calculation.
        ExpressionFailed: it is no expression at all.
    """
    body, references, stem = _parse(text)
    _check(body, references, stem, 0, [MAX_NODES])
    return Expression(body, references)


def parse_method_call(text: str) -> MethodCall | None:
    """Return a call of a method with named arguments, or None where ``text`` (without its ``$``) is something else.

    Nothing calls the method: what it would do is up to the caller.

    Raises:
        ExpressionRefused: an argument is more than a calculation.
    """
    try:
        body, references, stem = _parse(text)
    except ExpressionFailed:
        return None
    if (
        not isinstance(body, ast.Call)
        or not isinstance(body.func, ast.Attribute)
        or not isinstance(body.func.value, ast.Name)
        or body.func.value.id not in references
        or body.args
        or any(keyword.arg is None for keyword in body.keywords)
    ):
        return None
    arguments = {}
    left = [MAX_NODES]
    for keyword in body.keywords:
        _check(keyword.value, references, stem, 0, left)
        arguments[str(keyword.arg)] = Expression(keyword.value, references)
    return MethodCall(references[body.func.value.id], body.func.attr, arguments)


def _parse(text: str) -> tuple[ast.expr, dict[str, str], str]:
    """Return the syntax tree, what its made-up names refer to, and how those begin."""
    if len(text) > MAX_TEXT:
        raise ExpressionRefused(f"is longer than {MAX_TEXT} characters")
    stem = "ref_"
    while stem in text:
        stem += "x"
    references: dict[str, str] = {}

    def name_of(match: re.Match[str]) -> str:
        if match.group() == "@":
            raise ExpressionFailed("has an '@' with no id after it")
        name = f"{stem}{len(references)}"
        references[name] = match.group()[1:]
        # Brackets keep "1if@a else 2" and "@a@b" from growing together with their neighbors.
        return f"({name})"

    source = _REFERENCE.sub(name_of, text.replace("#", "::")).strip()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            body = ast.parse(source, mode="eval").body
    except SyntaxError as error:
        if re.match(r"\s*(import|from)\b", text):
            raise ExpressionRefused("imports a module") from error
        raise ExpressionFailed(f"is not an expression ({error.msg})") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise ExpressionRefused("is too complicated") from error
    return body, references, stem


def evaluate_expression(expression: Expression, resolve: Callable[[str], Any], make: Make | None = None) -> Any:
    """Return the value of a checked expression.

    Args:
        expression: from :func:`parse_expression`.
        resolve: gives the value of an id.
        make: makes objects of known classes; without it expressions that call them are refused.

    Raises:
        ExpressionRefused: a value is of a kind, or of a size, that is not calculated with.
        ExpressionFailed: for instance a division by zero.
    """

    def value(node: ast.expr) -> Any:
        return _evaluate(node, value, lambda name: resolve(expression.references[name]), make)

    try:
        return value(expression.body)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise ExpressionFailed(f"has no value ({error})") from error


_NODES = (
    ast.Constant, ast.Name, ast.Tuple, ast.List, ast.Dict, ast.UnaryOp, ast.BinOp, ast.BoolOp, ast.Compare, ast.IfExp,
    ast.Subscript, ast.Slice, ast.Call, ast.Attribute,
)  # fmt: skip
_REFUSALS: dict[type[ast.AST], str] = {
    ast.Lambda: "defines a function",
    ast.NamedExpr: "assigns a name",
    ast.JoinedStr: "uses an f-string",
    ast.ListComp: "uses a comprehension",
    ast.SetComp: "uses a comprehension",
    ast.DictComp: "uses a comprehension",
    ast.GeneratorExp: "uses a generator",
    ast.Starred: "unpacks with '*'",
    ast.Await: "awaits something",
    ast.Yield: "yields something",
    ast.YieldFrom: "yields something",
}


def _check(node: ast.AST, references: dict[str, str], stem: str, depth: int, left: list[int]) -> None:
    left[0] -= 1
    if left[0] < 0 or depth > MAX_NESTING:
        raise ExpressionRefused("is too complicated")
    if not isinstance(node, _NODES):
        raise ExpressionRefused(_REFUSALS.get(type(node), f"uses {type(node).__name__}"))
    children: list[ast.AST | None] = []
    if isinstance(node, ast.Constant):
        _check_constant(node.value, stem)
    elif isinstance(node, ast.Name):
        if node.id not in references:
            raise ExpressionRefused(f"uses the name {node.id!r}")
    elif isinstance(node, ast.Attribute):
        dotted = _dotted(node)
        if dotted not in CONSTANTS and dotted not in NAMES:
            named = dotted and dotted.partition(".")[0] not in references
            raise ExpressionRefused(f"uses {dotted!r}" if named else f"reaches for the attribute {node.attr!r}")
    elif isinstance(node, ast.Call) and find_target(_dotted(node.func)) is not None:
        children = list(_known_arguments(node).values())
    elif isinstance(node, ast.Call):
        if node.keywords:
            raise ExpressionRefused("calls something with named arguments")
        moved = _moved(node)
        if moved is not None:
            children = [moved, *node.args]
        elif (dotted := _dotted(node.func)) not in FUNCTIONS:
            named = dotted and dotted.partition(".")[0] not in references
            raise ExpressionRefused(f"calls {dotted!r}" if named else "calls a value or one of its methods")
        else:
            children = list(node.args)
    elif isinstance(node, ast.BinOp):
        if type(node.op) not in BINARY:
            raise ExpressionRefused(f"uses the operator {type(node.op).__name__}")
        children = [node.left, node.right]
    elif isinstance(node, ast.UnaryOp):
        if type(node.op) not in UNARY:
            raise ExpressionRefused(f"uses the operator {type(node.op).__name__}")
        children = [node.operand]
    elif isinstance(node, ast.Dict):
        if None in node.keys:
            raise ExpressionRefused("unpacks with '**'")
        children = [*node.keys, *node.values]
    elif isinstance(node, ast.Slice):
        children = [node.lower, node.upper, node.step]
    else:
        children = [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]
    for child in children:
        if child is not None:
            _check(child, references, stem, depth + 1, left)


def _known_arguments(node: ast.Call) -> dict[str, ast.expr]:
    """Return the arguments of a known class or function by name.

    Raises:
        ExpressionRefused: their names cannot be told, or one of them could do harm.
    """
    dotted = _dotted(node.func)
    names = POSITIONAL_ARGUMENTS.get(dotted, ())
    if len(node.args) > len(names):
        raise ExpressionRefused(f"calls {dotted!r} with arguments that are not named")
    arguments = dict(zip(names, node.args, strict=False))
    for keyword in node.keywords:
        if keyword.arg is None or keyword.arg.startswith("_") or keyword.arg in arguments:
            raise ExpressionRefused(f"calls {dotted!r} with arguments in an unusual way")
        arguments[keyword.arg] = keyword.value
    for name in REFUSED_ARGUMENTS & arguments.keys():
        given = arguments[name]
        if not isinstance(given, ast.Constant) or given.value not in (None, False, "", 0):
            raise ExpressionRefused(f"gives {dotted} the argument '{name}'")
    return arguments


def _check_constant(value: object, stem: str) -> None:
    if type(value) not in SCALARS:
        raise ExpressionRefused(f"holds a {type(value).__name__}")
    if isinstance(value, str) and stem in value:
        raise ExpressionRefused("has a reference within quotes")
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise ExpressionRefused("holds a huge number")


def _dotted(node: ast.expr) -> str:
    """Return ``a.b.c`` for a plain chain of names, else ""."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    return ".".join([node.id, *reversed(parts)])


def _moved(node: ast.Call) -> ast.Name | None:
    """Return the reference in ``@network.to(device)``, the one method that may be called."""
    func = node.func
    if (
        isinstance(func, ast.Attribute)
        and func.attr == "to"
        and isinstance(func.value, ast.Name)
        and len(node.args) == 1
    ):
        return func.value
    return None


def _evaluate(
    node: ast.expr,
    value: Callable[[ast.expr], Any],
    reference: Callable[[str], Any],
    make: Make | None,
) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return reference(node.id)
    if isinstance(node, ast.Attribute):
        return constant(_dotted(node))
    if isinstance(node, ast.List):
        return [value(item) for item in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(value(item) for item in node.elts)
    if isinstance(node, ast.Dict):
        keys = [key_of(value(key)) for key in node.keys if key is not None]
        return dict(zip(keys, (value(item) for item in node.values), strict=True))
    if isinstance(node, ast.IfExp):
        return value(node.body) if truth(value(node.test)) else value(node.orelse)
    if isinstance(node, ast.BoolOp):
        return _boolean(node, value)
    if isinstance(node, ast.UnaryOp):
        operand = value(node.operand)
        if isinstance(node.op, ast.Not):
            return not truth(operand)
        return bounded(UNARY[type(node.op)](number(operand)))
    if isinstance(node, ast.BinOp):
        return _binary(type(node.op), value(node.left), value(node.right))
    if isinstance(node, ast.Compare):
        return _compare(node, value)
    if isinstance(node, ast.Subscript):
        return _subscript(node, value)
    if isinstance(node, ast.Call):
        return _call(node, value, make)
    raise ExpressionRefused(f"uses {type(node).__name__}")


def _call(node: ast.Call, value: Callable[[ast.expr], Any], make: Make | None) -> Any:
    if find_target(_dotted(node.func)) is not None:
        if make is None:
            raise ExpressionRefused("makes an object")
        return make(_dotted(node.func), {name: value(given) for name, given in _known_arguments(node).items()})
    moved = _moved(node)
    if moved is not None:
        return move(value(moved), value(node.args[0]))
    return bounded(FUNCTIONS[_dotted(node.func)](*[value(argument) for argument in node.args]))


def _boolean(node: ast.BoolOp, value: Callable[[ast.expr], Any]) -> Any:
    stop = isinstance(node.op, ast.Or)
    result: Any = None
    for item in node.values:
        result = value(item)
        if truth(result) is stop:
            break
    return result


def _binary(kind: type[ast.operator], left: Any, right: Any) -> Any:
    numbers = isinstance(left, int | float) and isinstance(right, int | float)
    if not numbers:
        check_sequence_operation(kind, left, right)
    elif kind is ast.Pow and (abs(right) > MAX_EXPONENT or abs(left) > 2**MAX_BITS):
        raise ExpressionRefused("raises to a huge power")
    return bounded(BINARY[kind](left, right))


def _compare(node: ast.Compare, value: Callable[[ast.expr], Any]) -> bool:
    left = value(node.left)
    for op, comparator in zip(node.ops, node.comparators, strict=True):
        right = value(comparator)
        if not isinstance(op, ast.Is | ast.IsNot):
            # Flat values only: comparing lists of lists of the same list takes exponential time.
            require_flat(left)
            require_flat(right)
        if not COMPARE[type(op)](left, right):
            return False
        left = right
    return True


def _subscript(node: ast.Subscript, value: Callable[[ast.expr], Any]) -> Any:
    container = value(node.value)
    if type(container) not in (*SEQUENCES, str, dict):
        raise ExpressionRefused(f"takes a part of an object of type {type(container).__name__}")
    if isinstance(node.slice, ast.Slice):
        bounds = [
            None if part is None else value(part) for part in (node.slice.lower, node.slice.upper, node.slice.step)
        ]
        if not all(bound is None or type(bound) is int for bound in bounds):
            raise ExpressionFailed("has a slice that is not made of whole numbers")
        return container[slice(*bounds)]
    return container[key_of(value(node.slice))]
