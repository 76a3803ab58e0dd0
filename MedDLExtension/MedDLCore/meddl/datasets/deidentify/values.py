"""Values that stand where others were: empty ones, and dummies of the right kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .uids import is_public, new_uid

if TYPE_CHECKING:
    from pydicom import DataElement, Dataset

DUMMY_TEXT = "ANONYMIZED"

_DUMMIES: dict[str, Any] = {
    "AE": DUMMY_TEXT, "CS": DUMMY_TEXT, "LO": DUMMY_TEXT, "LT": DUMMY_TEXT, "PN": DUMMY_TEXT, "SH": DUMMY_TEXT,
    "ST": DUMMY_TEXT, "UC": DUMMY_TEXT, "UT": DUMMY_TEXT, "UR": "http://anonymized.invalid", "AS": "000Y",
    "DA": "19000101", "DT": "19000101000000", "TM": "000000", "DS": "0", "IS": "0", "AT": 0, "FD": 0.0, "FL": 0.0,
    "SL": 0, "SS": 0, "SV": 0, "UL": 0, "US": 0, "UV": 0, "OB": b"\0\0", "OD": bytes(8), "OF": bytes(4),
    "OL": bytes(4), "OV": bytes(8), "OW": b"\0\0", "UN": b"\0\0",
}  # fmt: skip


def make_empty(element: DataElement) -> None:
    """Give an element a value of no length."""
    from pydicom.sequence import Sequence

    element.value = Sequence() if element.VR == "SQ" else None if _is_number(element.VR) else element.empty_value


def make_dummy(element: DataElement, secret: bytes) -> bool:
    """Give an element a value of its kind that tells nothing; its items keep their structure.

    Returns:
        False for a kind that there is no dummy of: the element is to be removed.
    """
    if element.VR == "SQ":
        for item in element.value:
            make_dummies(item, secret)
        return True
    if element.VR == "UI":
        replace_uids(element, secret)
        return True
    if element.VR not in _DUMMIES:
        return False
    element.value = _DUMMIES[element.VR]
    return True


def make_dummies(item: Dataset, secret: bytes) -> None:
    """Give all elements of a sequence's item dummy values; private ones go."""
    for tag in list(item.keys()):
        try:
            element = item[tag]
            kept = not tag.is_private and bool(element.keyword) and make_dummy(element, secret)
        except Exception:  # a damaged element: what it holds nobody knows
            kept = False
        if not kept:
            del item[tag]


def replace_uids(element: DataElement, secret: bytes) -> None:
    """Replace the UIDs of an element, all but those that name what everybody shares."""
    value = element.value
    if value is None or isinstance(value, str):
        element.value = _replaced(value or "", secret)
    else:
        element.value = [_replaced(each, secret) for each in value]


def _replaced(uid: str, secret: bytes) -> str:
    uid = str(uid).strip(" \0")
    return uid if not uid or is_public(uid) else new_uid(secret, uid)


def _is_number(vr: str) -> bool:
    return vr in ("FD", "FL", "SL", "SS", "SV", "UL", "US", "UV", "AT")
