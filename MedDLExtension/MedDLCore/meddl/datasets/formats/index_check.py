"""Does a list of cases say what is in the dataset?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .list_files import read_json

Entries = Callable[[Mapping[str, Any]], list[tuple[str, Any]]]


def index_problems(
    root: Path, path: str, wanted: Mapping[str, Any], entries: Entries, lists: Mapping[str, str]
) -> list[str]:
    """Compare a JSON file of a dataset with what it should say, and return what is wrong with it.

    It may list more cases than ``wanted`` does, which need not be of all cases, if their files are there.

    Args:
        wanted: what it should say.
        entries: gives what is told of each case, behind its name, out of ``wanted`` and of the file.
        lists: keys of the lists of cases, each with the key of its length, or "".
    """
    try:
        there = read_json(root, path)
    except ValueError as error:
        return [str(error)]
    try:
        pairs = [(str(name), entry) for name, entry in entries(there)]
        listed = dict(pairs)
        lengths = {key: len(there[key]) for key in lists if key in wanted}
    except (AttributeError, KeyError, TypeError, ValueError):
        return [f"{path} is damaged: it does not list cases. Export the dataset again."]
    found = []
    for key, value in wanted.items():
        if key not in lists and key not in lists.values() and there.get(key) != value:
            found.append(f"{path} tells of other {key!r} than the dataset was made with.")
    for key, length in lengths.items():
        count = lists[key]
        if count and there.get(count) != length:
            found.append(f"{path} says that {count!r} is {there.get(count)!r}, but lists {length} cases.")
    known = dict(entries(wanted))
    for name, entry in known.items():
        if name not in listed:
            found.append(f"{name} is in the dataset, but {path} does not list it.")
        elif listed[name] != entry:
            found.append(f"{path} tells of {name} what is not so.")
    found += [f"{path} lists {name} more than once." for name, n in Counter(name for name, _ in pairs).items() if n > 1]
    for name in sorted(listed.keys() - known.keys()):
        if any(not (root / file).is_file() for file in _files(listed[name])):
            found.append(f"{path} lists {name}, whose files are not there.")
    return found


def _files(entry: Any) -> list[str]:
    """Return the texts of an entry that name files."""
    left, found = [entry], []
    while left:
        each = left.pop()
        if isinstance(each, str) and "/" in each:
            found.append(each)
        elif isinstance(each, Mapping):
            left += each.values()
        elif isinstance(each, list | tuple):
            left += each
    return found
