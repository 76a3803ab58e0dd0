"""Which parts of a config need trust: read off its text, with nothing made, calculated or imported."""

from __future__ import annotations

import re
from builtins import id as identity
from collections.abc import Iterable, Iterator
from typing import Any

from meddl.models.allowed_targets import (
    DEVICE_TARGET,
    IO_TRANSFORMS,
    ONNX_TARGET,
    REFUSED_ARGUMENTS,
    TORCHSCRIPT_TARGET,
    canonical_name,
    find_target,
    short_name,
)
from meddl.models.config_files import ConfigTree
from meddl.models.config_tree import (
    MISSING,
    ROOT,
    child_id,
    children,
    find,
    is_component,
    is_expression,
    names_file,
    reference_of,
)
from meddl.models.expressions import ExpressionFailed, ExpressionRefused, parse_expression

META_KEYS = frozenset({"_target_", "_disabled_", "_requires_", "_desc_", "_mode_"})
MAX_REASONS = 200
_CALLED = re.compile(r"(?<![\w.@])[A-Za-z_]\w*(?:\.\w+)+(?=\s*\()")


def scan(tree: ConfigTree, source: str, ids: Iterable[str] | None, drop: frozenset[str]) -> tuple[str, ...]:
    """Return why the config needs trust, one line per place.

    Args:
        tree: the config with its ``%`` copies filled in.
        source: what to call it.
        ids: start from these and follow references; from the whole config when None.
        drop: canonical names of transforms, and ids, that are dropped from lists.
    """
    scanner = _Scanner(tree, source, drop)
    if ids is None:
        scanner.visit_all(ROOT, tree)
    else:
        scanner.follow(ids)
    return tuple(dict.fromkeys(scanner.reasons))[:MAX_REASONS]


def scan_targets(tree: ConfigTree, ids: Iterable[str], drop: frozenset[str]) -> tuple[str, ...]:
    """Return the names of all that would be called to make these ids, known or not, as far as they are written out."""
    scanner = _Scanner(tree, "", drop)
    scanner.follow(ids)
    return tuple(dict.fromkeys(scanner.targets))


def ids_of_class(tree: ConfigTree, names: frozenset[str]) -> tuple[str, ...]:
    """Return the ids of all components whose class has one of these short names, in order."""
    found = []
    stack: list[tuple[str, Any]] = [(ROOT, tree)]
    while stack:
        id, node = stack.pop()
        if is_component(node) and isinstance(node["_target_"], str) and short_name(node["_target_"]) in names:
            found.append(id)
        if isinstance(node, dict | list):
            stack.extend((sub_id, value) for _, sub_id, value in reversed(list(children(id, node))))
    return tuple(found)


def expressions(tree: ConfigTree) -> Iterator[tuple[str, str]]:
    """Yield (id, text with its ``$``) of all expressions of a config, in order."""
    stack: list[tuple[str, Any]] = [(ROOT, tree)]
    while stack:
        id, node = stack.pop()
        if isinstance(node, str) and is_expression(node):
            yield id, node
        elif isinstance(node, dict | list):
            stack.extend((sub_id, value) for _, sub_id, value in reversed(list(children(id, node))))


def is_dropped(node: Any, drop: frozenset[str], id: str = "") -> bool:
    """Tell whether an item of a list is one of the transforms to leave out: by its class, or by its ``id``."""
    if not is_component(node):
        return False
    if id and id in drop:
        return True
    target = node["_target_"]
    return isinstance(target, str) and canonical_name(target) in drop


def target_refusal(node: dict[Any, Any]) -> str:
    """Return why a component may not be made as it is written, as the end of a sentence, or "" when it may."""
    target = node["_target_"]
    if not isinstance(target, str):
        return "has a '_target_' that is not a name"
    shown = ascii(target[:120])
    if target.startswith(("$", "@", "%")):
        return f"computes its '_target_' ({shown})"
    if canonical_name(target) in IO_TRANSFORMS:
        return f"reads or writes files by itself ({shown})"
    if find_target(target) is None and target not in (TORCHSCRIPT_TARGET, DEVICE_TARGET, ONNX_TARGET):
        return f"calls {shown}, which is not among the known classes"
    if node.get("_mode_", "default") != "default":
        return f"has the '_mode_' {str(node['_mode_'])[:60]!a}"
    for key in node:
        if key in META_KEYS:
            continue
        if not isinstance(key, str) or not key.isidentifier() or key.startswith("_"):
            return f"gives {shown} the argument {str(key)[:60]!a}"
    return ""


def macro_refusal(text: str) -> str:
    """Return why a ``%`` copy is refused, or ""."""
    if text.startswith("%") and names_file(text[1:]):
        return f"copies from another file ({text[:120]!a})"
    return ""


def expression_reason(text: str, why: str) -> str:
    """Return the reason line's end for an expression."""
    return f"has the expression {'$' + text[:120]!a}, which {why}"


class _Scanner:
    def __init__(self, tree: ConfigTree, source: str, drop: frozenset[str]) -> None:
        self._tree = tree
        self._source = source
        self._drop = drop
        self._seen: set[str] = set()
        self._queue: list[str] = []
        # One part may go by many ids ("@l::0" and "@l::00"); it is read once.
        self._read: set[int] = set()
        self.reasons: list[str] = []
        self.targets: list[str] = []

    def follow(self, ids: Iterable[str]) -> None:
        self._queue = list(ids)
        while self._queue:
            id = self._queue.pop()
            node = find(self._tree, id)
            if id not in self._seen and node is not MISSING:
                self._seen.add(id)
                self.visit_all(id, node)

    def visit_all(self, id: str, node: Any) -> None:
        stack = [(id, node)]
        while stack:
            here, part = stack.pop()
            if isinstance(part, str):
                self._text(here, part)
            if not isinstance(part, dict | list) or identity(part) in self._read:
                continue
            self._read.add(identity(part))
            if isinstance(part, dict) and is_component(part):
                self._component(here, part)
            for key, sub_id, value in reversed(list(children(here, part))):
                if isinstance(part, list) and is_dropped(value, self._drop, sub_id):
                    continue
                if is_component(part) and key in ("_target_", "_desc_", "_mode_"):
                    continue
                stack.append((sub_id, value))

    def _component(self, id: str, node: dict[Any, Any]) -> None:
        if isinstance(node["_target_"], str):
            self.targets.append(node["_target_"])
        refused = target_refusal(node)
        if refused:
            self._add(id, refused)
            return
        if node["_target_"] == TORCHSCRIPT_TARGET:
            self._add(id, f"runs a TorchScript program ({str(node.get('f'))[:120]!a})")
        for name in REFUSED_ARGUMENTS & node.keys():
            if node[name] not in (None, False, "", 0):
                self._add(child_id(id, name), f"gives {node['_target_']} the argument '{name}'")

    def _text(self, id: str, text: str) -> None:
        refused = macro_refusal(text)
        if refused:
            self._add(id, refused)
        reference = reference_of(text)
        if reference is not None:
            self._queue.append(reference)
        if is_expression(text):
            self.targets.extend(_CALLED.findall(text))
            try:
                self._queue.extend(parse_expression(text[1:]).references.values())
            except ExpressionRefused as error:
                self._add(id, expression_reason(text[1:], str(error)))
            except ExpressionFailed:
                pass  # broken, but nothing to trust

    def _add(self, id: str, why: str) -> None:
        self.reasons.append(f"{self._source}: '{ascii(id[:160])[1:-1]}' {why}")
