"""Reading a bundle's JSON and YAML files as plain data, with bounds on what they may cost."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from meddl.errors import ModelError

MAX_JSON_BYTES = 8 << 20
MAX_YAML_BYTES = 1 << 20
MAX_DEPTH = 64
MAX_NODES = 200_000
MAX_YAML_ALIASES = 100

ConfigTree = dict[str, Any]
"""Nested dict, list, str, int, float, bool and None."""


def read_config(path: Path, shown: str = "") -> ConfigTree:
    """Return the object in a JSON or YAML file (by suffix) as plain data; nothing in it is evaluated.

    Args:
        path: the file.
        shown: what to call it in messages; its name by default.

    Raises:
        ModelError: missing, too large, not valid, a key twice, NaN or infinite numbers, or not an object.
    """
    shown = shown or path.name
    yaml = path.suffix.lower() in (".yaml", ".yml")
    text = _read_text(path, shown, MAX_YAML_BYTES if yaml else MAX_JSON_BYTES)
    if not text.strip():
        raise ModelError(f"{shown} is empty.")
    try:
        content = _parse_yaml(text) if yaml else _parse_json(text)
        content = _plain(content, 0, [MAX_NODES])
    except _Refused as error:
        raise ModelError(f"{shown} {error}.") from error
    except RecursionError as error:
        raise ModelError(f"{shown} is nested too deep.") from error
    if not isinstance(content, dict):
        raise ModelError(f"{shown} should hold an object (key and value pairs) and holds {_kind(content)}.")
    return content


class _Refused(Exception):
    """The rest of a sentence that begins with the file's name."""


def _read_text(path: Path, shown: str, limit: int) -> str:
    try:
        if not path.is_file():
            raise ModelError(f"{shown} is missing.")
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise ModelError(f"{shown} cannot be read: {error.strerror}.") from error
    if len(data) > limit:
        raise ModelError(f"{shown} is larger than {limit >> 20} MB, which no configuration is.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ModelError(f"{shown} is not text in UTF-8.") from error


def _parse_json(text: str) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise _Refused(f"has the key {twice[:80]!a} twice")
        return result

    def refuse_constant(name: str) -> Any:
        raise _Refused(f"holds {name}, which is not JSON")

    try:
        return json.loads(text, object_pairs_hook=unique, parse_constant=refuse_constant)
    except json.JSONDecodeError as error:
        raise _Refused(f"is not valid JSON (line {error.lineno}: {error.msg})") from error
    except ValueError as error:
        raise _Refused(f"holds a number that cannot be read ({error})") from error


def _parse_yaml(text: str) -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """The safe loader, with each key allowed once."""

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen = set()
            for key, _ in node.value:
                name = (key.tag, str(key.value))
                if name in seen:
                    raise _Refused(f"has the key {str(key.value)[:80]!a} twice")
                seen.add(name)
            return super().construct_mapping(node, deep)

    try:
        # Events come one by one, so depth and aliases are known before anything is built.
        depth = aliases = documents = 0
        for event in yaml.parse(text, Loader=Loader):
            aliases += isinstance(event, yaml.AliasEvent)
            documents += isinstance(event, yaml.DocumentStartEvent)
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            if depth > MAX_DEPTH:
                raise _Refused("is nested too deep")
            if aliases > MAX_YAML_ALIASES:
                raise _Refused(f"has more than {MAX_YAML_ALIASES} aliases")
            if isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.implicit[0]:
                raise _Refused("uses YAML merge keys ('<<'), which are not read")
        if documents > 1:
            raise _Refused("holds more than one YAML document")
        return yaml.load(text, Loader=Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or "not understood"
        raise _Refused(f"is not plain YAML ({where}{problem})") from error
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise _Refused(f"holds a value that cannot be read ({type(error).__name__})") from error


def _plain(value: Any, depth: int, left: list[int]) -> Any:
    """Copy into fresh plain containers: aliases become copies, and what they add up to is counted."""
    left[0] -= 1
    if left[0] < 0:
        raise _Refused(f"holds more than {MAX_NODES} values")
    if depth > MAX_DEPTH:
        raise _Refused("is nested too deep")
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str | int | float | bool | None):
                raise _Refused(f"has {_kind(key)} as a key")
        return {key: _plain(item, depth + 1, left) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, depth + 1, left) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise _Refused("holds a number that is not finite")
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise _Refused(f"holds {_kind(value)}, which is not plain data")


def _kind(value: object) -> str:
    names = {list: "a list", dict: "an object", str: "text", bool: "true or false", int: "a number", float: "a number"}
    return "nothing" if value is None else names.get(type(value), f"a {type(value).__name__}")
