"""Dates of a patient, all moved by the same number of whole days: what lies between them stays.

Times of day are left as they are, so nothing has to be carried over midnight: an examination from 23:50 to 00:10 takes
twenty minutes before and after.
"""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import date, timedelta

from .key_file import derived

_LONGEST = 3650
_DATE = re.compile(r"(\d{4})(?:(\d{2})(?:(\d{2}))?)?")
_OLD_DATE = re.compile(r"(\d{4})\.(\d{2})\.(\d{2})")
_TIME = re.compile(r"(?:[01]\d|2[0-3])(?:[0-5]\d(?:(?:[0-5]\d|60)(?:\.\d{1,6})?)?)?")
_OLD_TIME = re.compile(r"(?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d{1,6})?)?")
_WHOLE_MOMENT = re.compile(rf"(\d{{8}})({_TIME.pattern})?([+-](?:0\d|1[0-4])[0-5]\d)?")


def days_of(secret: bytes, patient: str) -> int:
    """Return by how many days the dates of a patient are moved: -3650 to -1, never into the future."""
    return -1 - int.from_bytes(derived(secret, "days", patient)[:8], "big") % _LONGEST


def moved(text: str, vr: str, days: int) -> str:
    """Return a date (DA), date and time (DT) or time (TM) moved by ``days``; "" where it cannot be understood.

    Example:
        >>> moved("20240301", "DA", -2), moved("20240301000500.5+0100", "DT", -1), moved("235959", "TM", -9)
        ('20240228', '20240229000500.5+0100', '235959')
    """
    text = text.strip(" \0")
    if vr == "TM":
        return text if _TIME.fullmatch(text) or _OLD_TIME.fullmatch(text) else ""
    if vr == "DA":
        old = _OLD_DATE.fullmatch(text)
        plain = "".join(old.groups()) if old else text
        return _moved_date(plain, days) if len(plain) == 8 else ""
    whole = _WHOLE_MOMENT.fullmatch(text)
    if whole:
        day = _moved_date(whole[1], days)
        return day + (whole[2] or "") + (whole[3] or "") if day else ""
    return _moved_date(text, days) if len(text) in (4, 6) else ""


def _moved_date(text: str, days: int) -> str:
    """Return YYYY, YYYYMM or YYYYMMDD moved; of one with no day or month the middle of what it may be is moved."""
    found = _DATE.fullmatch(text)
    if not found:
        return ""
    try:
        year, month = int(found[1]), int(found[2] or 7)
        day = int(found[3] or (monthrange(year, month)[1] + 1) // 2)
        then = date(year, month, day) + timedelta(days)
    except (ValueError, OverflowError):
        return ""
    return f"{then.year:04}{then.month:02}{then.day:02}"[: len(text)]
