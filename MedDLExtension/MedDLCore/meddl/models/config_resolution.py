"""A walk through a bundle's config that makes objects of it, without handing the config to anything that can run code.

Only the classes of :mod:`meddl.models.allowed_targets` and the calculations of :mod:`meddl.models.expressions` are
known; anything else is refused with an :class:`UntrustedModelError` that says where and why.
"""

from __future__ import annotations

from typing import Any

from meddl.errors import MedDLError, ModelError
from meddl.models import config_scan
from meddl.models.allowed_targets import (
    FORCED_ARGUMENTS,
    OBSOLETE_ARGUMENTS,
    REFUSED_ARGUMENTS,
    AllowedTarget,
    find_target,
)
from meddl.models.budget import check_network_numbers, check_step_numbers
from meddl.models.config_given import Given, shown
from meddl.models.config_tree import (
    MISSING,
    ROOT,
    child_id,
    children,
    find,
    is_component,
    is_expression,
    reference_of,
)
from meddl.models.expressions import (
    Expression,
    ExpressionFailed,
    ExpressionRefused,
    MethodCall,
    evaluate_expression,
    parse_expression,
)
from meddl.models.special_targets import SPECIAL_TARGETS

MAX_REFERENCE_DEPTH = 60
MAX_ARGUMENT_VALUES = 100_000


class Resolution:
    """One walk through a config.

    Args:
        given: the config.
        drop: canonical names or ids of the steps that are left out of lists.
        done: the objects made so far by id; more come to it.
        make: whether anything may be made at all, or only texts be read.
    """

    def __init__(self, given: Given, drop: frozenset[str], done: dict[str, Any], *, make: bool = True) -> None:
        self._may_make = make
        self._given = given
        self._drop = drop
        self._done = done
        self._active: list[str] = []

    def resolve(self, id: str) -> Any:
        """Return the object that ``id`` stands for."""
        if id in self._done:
            return self._done[id]
        node = find(self._given.tree, id)
        if node is MISSING:
            raise ModelError(f"{self._given.place(id)} is referred to but not there.")
        if id == ROOT:
            raise ModelError(f"{self._given.source} can only be made part by part.")
        if id in self._active:
            raise ModelError(f"{self._given.place(id)} refers to itself in a circle.")
        if len(self._active) > MAX_REFERENCE_DEPTH:
            raise ModelError(f"{self._given.place(id)}: references are nested too deep.")
        self._given.spend()
        self._active.append(id)
        try:
            value = self._build(id, node)
        finally:
            self._active.pop()
        self._done[id] = value
        return value

    def arguments(self, id: str, text: str, call: MethodCall) -> dict[str, Any]:
        """Return the values of a method call's arguments."""
        return {name: self._evaluated(id, text[1:], given) for name, given in call.arguments.items()}

    def _build(self, id: str, node: Any) -> Any:
        if is_component(node):
            return self._component(id, node)
        if isinstance(node, dict):
            return dict(self._items(id, node))
        if isinstance(node, list):
            return [value for _, value in self._items(id, node)]
        if isinstance(node, str):
            return self._text(id, node)
        return node

    def _items(self, id: str, node: dict[Any, Any] | list[Any]) -> list[tuple[Any, Any]]:
        items = []
        for key, sub_id, child in children(id, node):
            if isinstance(node, list) and self._drop and config_scan.is_dropped(child, self._drop, sub_id):
                continue
            value = self._child(sub_id, child)
            if is_component(child) and value is None:
                continue  # MONAI leaves disabled components out
            items.append((key, value))
        return items

    def _child(self, id: str, node: Any) -> Any:
        self._given.spend()
        return self.resolve(id) if isinstance(node, dict | list | str) else node

    def _text(self, id: str, text: str) -> Any:
        if is_expression(text):
            return self._expression(id, text[1:])
        refused = config_scan.macro_refusal(text)
        if refused:
            raise self._given.untrusted(id, refused)
        if text.startswith("%"):
            raise ModelError(f"{self._given.place(id)} copies '{shown(text[1:])}', which is not there.")
        reference = reference_of(text)
        return text if reference is None else self.resolve(reference)

    def _expression(self, id: str, text: str) -> Any:
        return self._evaluated(id, text, None)

    def _evaluated(self, id: str, text: str, expression: Expression | None) -> Any:
        """Return the value of an expression: that of ``text``, or a part of it that is parsed already."""
        try:
            expression = expression or parse_expression(text)
            return evaluate_expression(expression, self.resolve, lambda target, given: self._called(id, target, given))
        except ExpressionRefused as error:
            raise self._given.untrusted(id, config_scan.expression_reason(text, str(error))) from error
        except ExpressionFailed as error:
            raise ModelError(f"{self._given.place(id)}: the expression {shown(text)!r} {error}.") from error

    def _component(self, id: str, node: dict[Any, Any]) -> Any:
        target = node["_target_"]
        refused = config_scan.target_refusal(node)
        if refused:
            raise self._given.untrusted(id, refused)
        if not self._may_make:
            raise ModelError(f"{self._given.place(id)} should be a text, and is something to be made.")
        if self._is_disabled(id, node):
            return None
        if "_requires_" in node:
            self._child(child_id(id, "_requires_"), node["_requires_"])
        arguments = {
            key: value
            for key, value in self._items(id, {key: value for key, value in node.items() if not _is_meta(key)})
        }
        return self._called(id, target, arguments)

    def _called(self, id: str, target: str, arguments: dict[str, Any]) -> Any:
        if not self._may_make:
            raise ModelError(f"{self._given.place(id)} should be a text, and is something to be made.")
        self._given.spend(_expanded_size(arguments))
        for name in REFUSED_ARGUMENTS & arguments.keys():
            if not _is_off(arguments[name]):
                raise self._given.untrusted(id, f"gives {target} the argument '{name}'")
        if target in SPECIAL_TARGETS:
            return SPECIAL_TARGETS[target](self._given, id, arguments)
        allowed = find_target(target)
        assert allowed is not None  # target_refusal has seen to it
        return self._make(id, allowed, arguments)

    def _is_disabled(self, id: str, node: dict[Any, Any]) -> bool:
        if "_disabled_" not in node:
            return False
        value = self._child(child_id(id, "_disabled_"), node["_disabled_"])
        if isinstance(value, str):
            return value.lower().strip() == "true"
        if type(value) not in (bool, int, float, type(None), list, tuple, dict):
            raise self._given.untrusted(id, "has a '_disabled_' that is neither true nor false")
        return bool(value)

    def _make(self, id: str, allowed: AllowedTarget, arguments: dict[str, Any]) -> Any:
        if allowed.is_network:
            check_network_numbers(arguments, self._given.place(id))
        else:
            check_step_numbers(arguments, self._given.place(id))
        arguments = {
            name: value for name, value in arguments.items() if name not in OBSOLETE_ARGUMENTS.get(allowed.name, ())
        }
        for name, value in FORCED_ARGUMENTS.get(allowed.name, {}).items():
            arguments.setdefault(name, value)
        try:
            factory = allowed.load()
            if allowed.is_network:
                self._given.budget.try_without_memory(lambda: factory(**arguments))
            with self._given.budget.spent():
                return factory(**arguments)
        except MedDLError:
            raise
        except Exception as error:
            hint = shown(str(error).strip().split("\n")[0], 300) or type(error).__name__
            raise ModelError(
                f"{self._given.place(id)}: {allowed.name} cannot be made with these arguments ({hint}).",
                details=f"{type(error).__name__}: {error}",
            ) from error


def _is_meta(key: object) -> bool:
    return key in config_scan.META_KEYS


def _is_off(value: Any) -> bool:
    return value is None or (type(value) in (bool, int, float, str) and not value)


def _expanded_size(value: Any) -> int:
    """Count the values below ``value`` as if nothing were shared: what walking through it would cost."""
    count = 0
    stack = [value]
    while stack:
        item = stack.pop()
        count += 1
        if count > MAX_ARGUMENT_VALUES:
            raise ModelError(f"The configuration makes something of more than {MAX_ARGUMENT_VALUES} values.")
        if isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, list | tuple):
            stack.extend(item)
    return count
