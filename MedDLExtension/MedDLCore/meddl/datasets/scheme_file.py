"""A dataset's labels as a small JSON file that a user keeps, edits and gives to the next export."""

from __future__ import annotations

import colorsys
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from meddl.datasets.label_scheme import LabelScheme, Structure
from meddl.datasets.scheme_check import check_scheme
from meddl.datasets.structure_keys import folded
from meddl.errors import UsageError
from meddl.volume import whole_file

_KIND = "MedDL labels"
_MAX_BYTES = 1 << 24


def scheme_text(scheme: LabelScheme) -> str:
    """Return a scheme as JSON; :func:`parse_scheme` gives back the very same."""
    structures = [
        {
            "name": each.name,
            "color": list(each.color),
            "terminology": each.terminology,
            "sources": list(each.sources),
        }
        for each in scheme.structures
    ]
    data = {
        "kind": _KIND,
        "overlaps": scheme.overlaps,
        "structures": structures,
        "combinations": [[scheme.structures[n].name for n in members] for members in scheme.combinations],
        "ignore": list(scheme.ignore),
        "dropped": list(scheme.dropped),
    }
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def parse_scheme(text: str, name: str = "The file of labels") -> LabelScheme:
    """Return the scheme that JSON describes.

    Written by hand it can be short: a structure may be its name alone, and sources may be the segments' names as people
    write them; without any the structure's own name is its source. Colors that are not given are spread around the
    color wheel. The combinations of "regions" can be left out, for they follow from the cases, see
    :func:`meddl.datasets.scheme_editing.with_combinations`.

    Args:
        name: what the text is called in messages.

    Raises:
        UsageError: it is no JSON, or not of this shape.

    Example:
        >>> scheme = parse_scheme('{"structures": ["Liver", {"name": "Kidney", "sources": ["left_kidney", "RK"]}]}')
        >>> scheme.structures[1].sources
        ('left kidney', 'rk')
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        where = f" in line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise UsageError(f"{name} is no JSON: it is broken{where}.") from None
    data = _mapping(data, name, {"kind", "overlaps", "structures", "combinations", "ignore", "dropped"})
    overlaps = data.get("overlaps", "order")
    if overlaps not in ("order", "regions"):
        raise UsageError(f'{name} says overlaps {str(overlaps)[:40]!r}; they can be "order" or "regions".')
    entries = data.get("structures")
    if not isinstance(entries, list):
        raise UsageError(f'{name} has no list "structures".')
    structures = tuple(_structure(entry, number, name) for number, entry in enumerate(entries, 1))
    ignore, dropped = (_keys(data.get(part, []), part, name) for part in ("ignore", "dropped"))
    combinations = _combinations(data.get("combinations", []), structures, name)
    return check_scheme(LabelScheme(structures, overlaps, combinations, ignore, dropped))


def read_scheme(path: Path) -> LabelScheme:
    """Return the scheme in a file, see :func:`parse_scheme`.

    Raises:
        UsageError: it cannot be read, or holds something else.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe, a device
            raise UsageError(f"{path.name} is no file of labels.")
        with path.open("rb") as file:
            raw = file.read(_MAX_BYTES + 1)
        text = raw.decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"{path.name} could not be read: {error.strerror or 'the system refused it'}.") from error
    except UnicodeDecodeError:
        raise UsageError(f"{path.name} is no text in UTF-8, so it is no file of labels.") from None
    if len(raw) > _MAX_BYTES:
        raise UsageError(f"{path.name} is too large for a file of labels.")
    return parse_scheme(text, path.name)


def write_scheme(scheme: LabelScheme, path: Path) -> None:
    """Write a scheme to a file, which appears whole or not at all.

    Raises:
        VolumeError: it cannot be written.
    """
    with whole_file(path) as file:
        file.write(scheme_text(scheme).encode("utf-8"))


def _structure(entry: Any, number: int, name: str) -> Structure:
    if isinstance(entry, str):
        entry = {"name": entry}
    entry = _mapping(entry, name, {"name", "color", "terminology", "sources"})
    title, terminology = entry.get("name", ""), entry.get("terminology", "")
    if not isinstance(title, str) or not isinstance(terminology, str):
        raise UsageError(f"{name}: name and terminology of structure {number} must be texts.")
    color = entry.get("color") or colorsys.hsv_to_rgb(number * 0.618034 % 1.0, 0.55, 0.9)
    if not isinstance(color, list | tuple) or not all(_is_number(part) for part in color) or len(color) != 3:
        raise UsageError(f"{name}: the color of structure {number} must be three numbers from 0 to 1.")
    red, green, blue = (float(part) for part in color)
    keys = _keys(entry.get("sources") or [title], "sources", name)
    return Structure(" ".join(title.split()), (red, green, blue), terminology, keys)


def _combinations(entries: Any, structures: Sequence[Structure], name: str) -> tuple[tuple[int, ...], ...]:
    index = {each.name: number for number, each in enumerate(structures)}
    try:
        return tuple(tuple(sorted(index[each] for each in members)) for members in entries)
    except (KeyError, TypeError):
        raise UsageError(f'{name}: "combinations" must be lists of the structures\' names. Leave it out.') from None


def _keys(entries: Any, part: str, name: str) -> tuple[str, ...]:
    if not isinstance(entries, list) or not all(isinstance(each, str) for each in entries):
        raise UsageError(f'{name}: "{part}" must be a list of names or codes.')
    return tuple(sorted({_key(each) for each in entries}))


def _key(text: str) -> str:
    """Return a key, of a key or of a name as people write it."""
    code, closed, rest = text.strip().partition("]")
    if code.startswith("[") and closed and ":" in code:
        return f"{code}] {folded(rest)}".strip()
    return folded(text)


def _mapping(value: Any, name: str, known: set[str]) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{name} is no file of labels: an entry is not what it should be.")
    if extra := sorted(set(value) - known):
        raise UsageError(f"{name} says {extra[0]!r}, which is not known. Known are: {', '.join(sorted(known))}.")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
