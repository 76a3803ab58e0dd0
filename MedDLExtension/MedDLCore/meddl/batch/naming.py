"""File names out of case names, which come from anywhere."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable

_LENGTH = 80
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def safe_name(name: str) -> str:
    """Return ``name`` as part of a file name that every system takes; a name that had to be changed gets a mark.

    Example:
        >>> safe_name("patient 7"), safe_name("../../etc/passwd")
        ('patient 7', 'etc_passwd-3754d6cb')
    """
    text = unicodedata.normalize("NFC", name)
    safe = re.sub(r"[^\w .,+=()-]+", "_", text).strip(" ._-")[:_LENGTH].strip(" ._-")
    if _RESERVED.fullmatch(safe):
        safe = f"case {safe}"
    if safe == text and safe:
        return safe
    return f"{safe or 'case'}-{_mark(name)}"


def safe_names(names: Iterable[str]) -> list[str]:
    """Return a file name for each of the distinct ``names``, distinct also where a system ignores upper and lower case.

    Each depends on its own name only, but where two would be the same.
    """
    names = list(names)
    plain = [safe_name(name) for name in names]
    folded = [each.casefold() for each in plain]
    return [
        each if folded.count(fold) == 1 else f"{each}-{_mark(name)}"
        for name, each, fold in zip(names, plain, folded, strict=True)
    ]


def _mark(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
