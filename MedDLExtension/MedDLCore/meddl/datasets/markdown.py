"""Markdown out of words that anybody may have typed: they are shown as they are and never become markup."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_MARKUP = re.compile(r"([\\`*{}\[\]<>#|~!&$@]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")
_LINE_START = re.compile(r"^(\d*)([-+=:.)])")


def inline(text: str) -> str:
    """Return ``text`` in one line, with a backslash before all that Markdown or HTML would take for markup.

    Example:
        >>> inline("[free]  <b>beer</b>")
        '\\\\[free\\\\] \\\\<b\\\\>beer\\\\</b\\\\>'
    """
    shown = "".join(c if c.isprintable() else " " for c in text)  # nothing that turns the reading order round either
    return _MARKUP.sub(r"\\\1", " ".join(shown.split()))


def quote(text: str) -> str:
    """Return ``text`` as a quotation that keeps its lines; nothing in it ends the quotation."""
    lines = [_line(inline(line)) for line in re.split(r"\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]", text.strip())]
    return "\n".join(f"> {line}  " if line else ">" for line in lines)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table; cells are shown as they are."""
    lines = [columns, *rows]
    shown = ["| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines]
    return "\n".join([shown[0], "|" + "---|" * len(columns), *shown[1:]])


def _cell(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else inline(str(value))


def _line(text: str) -> str:
    """Return a line that begins neither a list, a heading's underline nor a table's."""
    return _LINE_START.sub(r"\1\\\2", text)
