"""Finding what identifies somebody in a text: names, numbers and dates that were seen with the cases."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from .vocabulary import COMMON

_WORD = re.compile(r"[^\W\d_]+")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_TOKEN = re.compile(r"[^\W_]+")
_YEAR = re.compile(r"(?:19|20)\d\d")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def plain(text: str) -> str:
    """Return a text in small letters without accents, so that Müller, MULLER and mu\u0308ller are one."""
    split = unicodedata.normalize("NFKD", text)
    return "".join(c for c in split if not unicodedata.combining(c)).casefold()


def words_of(text: str) -> set[str]:
    """Return the words of a text (letters only); "DoeJane" has three: both of its parts, and itself."""
    text = unicodedata.normalize("NFC", text)
    return {plain(word) for each in (text, _CAMEL.sub(" ", text)) for word in _WORD.findall(each)}


@dataclass(frozen=True)
class Identifiers:
    """What identifies people, ready to be looked for.

    Attributes:
        words: names of at least three letters, without common words of imaging and of file names.
        codes: numbers and IDs with at least one digit, letters and digits only: at least four characters.
        phrases: several words run together, at least six characters.
    """

    words: frozenset[str]
    codes: frozenset[str]
    phrases: frozenset[str]

    @classmethod
    def of(cls, seen: Iterable[str]) -> Identifiers:
        """Return what is to be looked for so that none of the texts ``seen`` is written."""
        words: set[str] = set()
        codes: set[str] = set()
        phrases: set[str] = set()
        for text in seen:
            words |= {word for word in words_of(text) if len(word) >= 3 and word not in COMMON}
            tokens = _TOKEN.findall(plain(text))
            whole = "".join(tokens)
            if any(c.isdigit() for c in whole):
                # "case_001" is nobody: a code of which only common words and a short number are left.
                rest = tokens if len(tokens) == 1 else [token for token in tokens if _is_telling(token)]
                if rest and len(whole) >= 4 and not _YEAR.fullmatch(whole):
                    codes.add(whole)
                codes |= {token for token in rest if any(c.isdigit() for c in token) and len(token) >= 4}
                codes |= _ways_to_write(whole)
            elif len(whole) >= 6 and len(tokens) > 1 and not set(tokens) <= COMMON:
                phrases.add(whole)
        return cls(frozenset(words), frozenset(codes), frozenset(phrases))

    def without(self, common: Iterable[str]) -> Identifiers:
        """Return what is left when words and codes that all cases share are not counted."""
        kept = frozenset(common)
        return Identifiers(self.words - kept, self.codes - kept, self.phrases - kept)

    def found_in(self, text: str) -> tuple[str, ...]:
        """Return what of it a text holds, in its plain form; () for a harmless text."""
        if not text:
            return ()
        words = words_of(text)
        tokens = _TOKEN.findall(plain(text))
        whole = "".join(tokens)
        found = {word for word in self.words if word in words or (len(word) >= 5 and _within(word, words))}
        found |= {code for code in self.codes if _holds(code, tokens, whole)}
        found |= {phrase for phrase in self.phrases if phrase in whole}
        return tuple(sorted(found))


def _within(word: str, words: set[str]) -> bool:
    """Say whether a name stands inside of a longer word that is no common one."""
    return any(word in other for other in words if other not in COMMON)


def _is_telling(token: str) -> bool:
    if token in COMMON or _YEAR.fullmatch(token):
        return False
    return not token.isdigit() or int(token) >= 1000


def _holds(code: str, tokens: list[str], whole: str) -> bool:
    """Say whether a text has a code: a short one as a token by itself, a long one anywhere."""
    if len(code) < 6:
        return code in tokens or any(code == a + b for a, b in itertools.pairwise(tokens))
    return code in whole


def _ways_to_write(digits: str) -> set[str]:
    """Return other ways to write a date that is given as YYYYMMDD."""
    if not re.fullmatch(r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])", digits):
        return set()
    year, month, day = digits[:4], digits[4:6], digits[6:]
    name = _MONTHS[int(month) - 1]
    return {day + month + year, month + day + year, day + name + year, name + day + year, year + name + day}
