"""Cleaning descriptions: what tells how an image was made stays, everything else goes.

Only words on a list are kept, and small numbers. So a name need not be recognized as one to be removed; nor an
address, a date or an age.
"""

from __future__ import annotations

import re
from collections.abc import Set

from .identifying import plain
from .vocabulary import IMAGING, UNITS, words

_LONG_NUMBERS = re.compile(
    r"""
    \d{1,4}\s*[./-]\s*\d{1,2}\s*[./-]\s*\d{1,4}      # dates
    | \d{1,2}\s*:\s*\d{2}(?:\s*:\s*\d{2})?             # times of day
    | \+?\d(?:[\s()./-]*\d){6,}                          # telephones, other long numbers
    | \S+@\S+ | https?:\S+ | www\.\S+
    """,
    re.VERBOSE,
)
_AGE = re.compile(
    r"(?:\b(?:aged?|alter|edad)\b\W*\d{1,3})|(?:\d{1,3}[\s_-]*(?:yo|y/o|yrs?|y|years?|jahre?|j|ans|anos)\b)",
    re.IGNORECASE,
)
_TOKEN = re.compile(r"[^\W_]+(?:\.\d+[^\W_]*)?\*?")
_NUMBER = re.compile(r"\d{1,2}(?:\.\d{1,3})?")
_MEASURE = re.compile(r"(\d{1,4}(?:\.\d{1,3})?)([a-z]+)")
_SETTING = re.compile(r"b\d{1,4}|[tpr]\d{1,2}|[bchij]\d{2}[a-z]|t[12](?:w|rho)?")
_TITLES = words("dr dres doctor prof mr mrs ms miss herr frau hr fr md mme mlle sr sra dra by name ref")
"""After these words comes a name, even where it is also a word of imaging."""


def clean(text: str, names: Set[str] = frozenset()) -> str:
    """Return what may stay of a description, in words with single spaces between; "" for nothing.

    Args:
        names: plain words that go although they are on the list: names of people seen with the image.

    Example:
        >>> clean("T2_TSE ax Müller^Hans 12.05.1961 5.0mm, 94y")
        'T2 TSE ax 5.0mm'
    """
    text = text.replace("w/o", "without").replace("W/O", "WITHOUT")
    text = _AGE.sub(" ; ", _LONG_NUMBERS.sub(" ; ", text))
    kept: list[str] = []
    named = 0
    for token in _TOKEN.finditer(text):
        word = plain(token[0])
        if word in _TITLES:
            named = 2  # a given name and a surname
            continue
        if named and word.isalpha():
            named -= 1
            continue
        named = 0
        bare = word.rstrip("*")
        if bare not in names and word not in names and _is_harmless(bare):
            kept.append(token[0])
    return " ".join(kept)


def _is_harmless(word: str) -> bool:
    if word in IMAGING or _SETTING.fullmatch(word):
        return True
    if _NUMBER.fullmatch(word):
        return True
    measure = _MEASURE.fullmatch(word)
    return bool(measure and measure[2] in UNITS)
