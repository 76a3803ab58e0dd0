"""What a report is made of, whatever it is written as: headings, sentences, tables and pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

_LONGEST = 2000
"""Characters: a text that anybody may have written is cut there."""


@dataclass(frozen=True)
class Heading:
    """A heading: 1 is the report's title, 2 that of a part, 3 of a part of that.

    Attributes:
        with_picture: a picture follows soon, which is to be on the same page.
    """

    text: str
    level: int = 2
    with_picture: bool = False


@dataclass(frozen=True)
class Text:
    """A paragraph: "lead" says what matters most, "warning" what must not be overlooked, "small" the rest."""

    text: str
    kind: Literal["plain", "lead", "warning", "small"] = "plain"


@dataclass(frozen=True)
class Items:
    """A list of sentences."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """Rows of words.

    Attributes:
        columns: their names; () for rows of a name and a value.
        rows: as many cells as there are columns.
        numbers: columns that are aligned to the right.
        verdicts: column that says "good", "doubtful" or "bad", or None.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: tuple[int, ...] = ()
    verdicts: int | None = None


@dataclass(frozen=True)
class Picture:
    """A PNG with what it shows in words, for those who do not see it.

    Attributes:
        width: 0 to 1 of a printed page's.
    """

    png: bytes
    words: str
    width: float = 1.0


Block: TypeAlias = Heading | Text | Items | Table | Picture

VERDICTS = {"good": "\N{CHECK MARK} good", "doubtful": "? doubtful", "bad": "\N{BALLOT X} bad"}
"""How verdicts are written: by a sign and a word, not by their color alone."""


def one_line(text: str) -> str:
    """Return words of a model, a segmentation or a user as one line without what steers or turns round the reading."""
    shown = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return shown if len(shown) <= _LONGEST else shown[: _LONGEST - 1] + "\N{HORIZONTAL ELLIPSIS}"
