"""The ids of a config: finding, setting and walking its parts, and filling in its ``%`` copies.

Ids are the keys on the way to a part, joined by ``::`` (``#`` in older bundles): ``preprocessing::transforms::0``.
"""

from __future__ import annotations

import contextlib
import copy
import re
from collections.abc import Iterator
from typing import Any, Final

from meddl.errors import ModelError
from meddl.models.config_files import MAX_DEPTH, MAX_NODES, ConfigTree

SEPARATOR = "::"
ROOT = ""

_REFERENCE = re.compile(r"@\w*(?:::\w*)*")
_RELATIVE = re.compile(r"[@%](?:::)+")
_YAML_WORDS: dict[str, Any] = {"None": None, "True": True, "False": False}
_MAX_ABSOLUTE = 1 << 20
"""Characters that one text may grow to when its relative ids are filled in."""

_FILE_MACRO = re.compile(r".*\.(json|yaml|yml)(?=::|$)", re.IGNORECASE | re.DOTALL)


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final[Any] = _Missing()


def normalize_id(id: str) -> str:
    """Return the id with ``::`` between its parts."""
    return str(id).replace("#", SEPARATOR)


def child_id(id: str, key: object) -> str:
    """Return the id of a part of ``id``."""
    return f"{id}{SEPARATOR}{key}" if id else str(key)


def children(id: str, node: dict[Any, Any] | list[Any]) -> Iterator[tuple[Any, str, Any]]:
    """Yield (key or index, id, value) for each part of a dict or list."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        yield key, child_id(id, key), value


def is_component(node: object) -> bool:
    """Tell whether this is something to be made: an object with a ``_target_``."""
    return isinstance(node, dict) and "_target_" in node


def is_expression(node: object) -> bool:
    """Tell whether this is text to be calculated."""
    return isinstance(node, str) and node.startswith("$")


def reference_of(text: str) -> str | None:
    """Return the id that ``text`` refers to when all of it is a reference (``@id``), else None."""
    text = normalize_id(text)
    return text[1:] if text != "@" and _REFERENCE.fullmatch(text) else None


def names_file(macro: str) -> bool:
    """Tell whether a macro (without its ``%``) copies from another file."""
    return _FILE_MACRO.match(normalize_id(macro)) is not None


def find(tree: Any, id: str) -> Any:
    """Return the part of ``tree`` that has this id, or ``MISSING``."""
    if id == ROOT:
        return tree
    node = tree
    for key in id.split(SEPARATOR):
        if isinstance(node, dict):
            if key in node:
                node = node[key]
            else:
                node = next((node[other] for other in _yaml_keys(key) if other in node), MISSING)
        elif isinstance(node, list) and key.isascii() and key.isdecimal() and len(key) < 9 and int(key) < len(node):
            node = node[int(key)]
        else:
            return MISSING
        if node is MISSING:
            return MISSING
    return node


def _yaml_keys(key: str) -> Iterator[Any]:
    """Yield what a YAML key that is no text, but reads as ``key``, may be. Comparing with all keys would take long."""
    if key in _YAML_WORDS:
        yield _YAML_WORDS[key]
    for kind in (int, float) if len(key) < 40 else ():
        with contextlib.suppress(ValueError):
            if str(kind(key)) == key:
                yield kind(key)


def put(tree: ConfigTree, id: str, value: Any) -> None:
    """Set the part with this id; missing levels above it are made.

    Raises:
        ModelError: the id leads into something that has no parts.
    """
    keys = id.split(SEPARATOR)
    node: Any = tree
    for key in keys[:-1]:
        if isinstance(node, dict):
            node = node.setdefault(key, {})
        else:
            node = find(node, key)
    last = keys[-1]
    if isinstance(node, dict):
        node[last] = value
    elif isinstance(node, list) and find(node, last) is not MISSING:
        node[int(last)] = value
    else:
        raise ModelError(f"The value {id[:160]!a} of the configuration cannot be set: there is nothing to set it in.")


def expand(tree: ConfigTree, source: str) -> ConfigTree:
    """Fill in relative ids (``@#sibling``) and copies (``%id``), in place and in MONAI's order; returns ``tree``.

    Copies from other files, and of parts that are not there, stay as they are written.

    Raises:
        ModelError: a relative id leads out of the config, or the copies add up to too much.
    """
    _expand(tree, ROOT, tree, source, 0, [MAX_NODES])
    return tree


def _expand(node: Any, id: str, tree: ConfigTree, source: str, depth: int, left: list[int]) -> Any:
    left[0] -= 1
    if left[0] < 0 or depth > 2 * MAX_DEPTH:
        raise ModelError(f"{source} is too large or nested too deep once its '%' copies are filled in.")
    if isinstance(node, dict | list):
        for key, sub_id, value in list(children(id, node)):
            node[key] = _expand(value, sub_id, tree, source, depth + 1, left)
        return node
    if not isinstance(node, str) or not node.startswith(("@", "%", "$")):
        return node
    text = _absolute(node, id, source)
    if not text.startswith("%") or names_file(text[1:]):
        return text
    target = find(tree, normalize_id(text[1:]))
    if target is MISSING or id == normalize_id(text[1:]):
        return text
    left[0] -= _count(target, left[0], source)
    return copy.deepcopy(target)


def _absolute(text: str, id: str, source: str) -> str:
    value = normalize_id(text)
    current = id.split(SEPARATOR)
    for prefix in sorted(set(_RELATIVE.findall(value)), reverse=True):
        levels = prefix.count(SEPARATOR)
        if levels > len(current):
            raise ModelError(f"{source}: '{ascii(id[:160])[1:-1]}' refers to something outside the configuration.")
        above = "" if levels == len(current) else SEPARATOR.join(current[:-levels]) + SEPARATOR
        if len(value) + value.count(prefix) * len(above) > max(_MAX_ABSOLUTE, len(text)):
            raise ModelError(f"{source}: a text becomes too long once its relative ids are filled in.")
        value = value.replace(prefix, prefix[0] + above)
    # Where there was nothing relative, the text stays as it is, '#' included.
    return value if value != normalize_id(text) else text


def _count(node: Any, limit: int, source: str) -> int:
    count = 0
    stack = [(node, 0)]
    while stack:
        item, depth = stack.pop()
        count += 1
        if count > limit or depth > 2 * MAX_DEPTH:
            raise ModelError(f"{source} is too large or nested too deep once its '%' copies are filled in.")
        if isinstance(item, dict | list):
            stack.extend((value, depth + 1) for _, _, value in children("", item))
    return count
