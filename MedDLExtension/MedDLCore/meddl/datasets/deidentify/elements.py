"""Each element of a dataset and of the items in it: kept, changed or removed."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from meddl.datasets.options import DeidentifyOptions

from . import attributes, free_text
from .dates import days_of, moved
from .private_safe import is_safe
from .seen_in_header import Seen
from .values import DUMMY_TEXT, make_dummy, make_empty, replace_uids

if TYPE_CHECKING:
    from pydicom import DataElement, Dataset

logger = logging.getLogger(__name__)

_NUMBERS = ("AT", "FD", "FL", "SL", "SS", "SV", "UL", "US", "UV")
_CONTACT = re.compile(r"\S@\S+\.\w|\+\d[\d\s/()-]{7,}")
_BYTES = {
    "PixelData", "FloatPixelData", "DoubleFloatPixelData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths",
    "RedPaletteColorLookupTableData", "GreenPaletteColorLookupTableData", "BluePaletteColorLookupTableData",
    "AlphaPaletteColorLookupTableData", "SegmentedRedPaletteColorLookupTableData",
    "SegmentedGreenPaletteColorLookupTableData", "SegmentedBluePaletteColorLookupTableData",
    "SegmentedAlphaPaletteColorLookupTableData", "LUTData", "BlendingLookupTableData", "PixelPaddingValue",
}  # fmt: skip
"""The only plain bytes that are kept. Color profiles are not: they tell the device, sometimes its owner."""
_INDISPENSABLE = {"PhotometricInterpretation", "BurnedInAnnotation"}
"""Codes without which nobody reads the image."""

_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths")

_LONG_CODE = 6
"""Digits. Shorter numbers are as likely a setting of the scanner."""


@dataclass(frozen=True)
class Pass:
    """One pass over a dataset.

    Attributes:
        patient, case: in the dataset.
        seen: what identified somebody in this header.
    """

    options: DeidentifyOptions
    patient: str
    case: str
    secret: bytes
    seen: Seen

    @property
    def days(self) -> int:
        """By how many days the patient's dates are moved."""
        return days_of(self.secret, self.patient)


def clean_dataset(dataset: Dataset, context: Pass) -> None:
    """Clean a dataset or an item of a sequence in place."""
    for tag in list(dataset.keys()):
        try:
            kept = _keeps(dataset, dataset[tag], context)
        except Exception as error:  # damaged, or of a kind nobody foresaw: what it holds nobody knows
            logger.debug("%s removed: %s", tag, type(error).__name__)
            kept = False
        if not kept:
            del dataset[tag]
    _without_empty_private_blocks(dataset)
    _without_idle_tables(dataset)


def _keeps(dataset: Dataset, element: DataElement, context: Pass) -> bool:
    """Change an element as it must be, and say whether it stays."""
    tag = element.tag
    if tag.group % 2:
        return _keeps_private(dataset, element, context)
    # Commands, group lengths; overlays, curves and pixels of further groups: without their data they mean nothing.
    if (
        tag.group < 8
        or tag.element == 0
        or tag.group >> 8 in (0x50, 0x60)
        or (tag.group >> 8 == 0x7F and tag.group != 0x7FE0)
    ):
        return False
    code = attributes.action(tag)
    if not code:
        return _keeps_unlisted(element, context)
    if element.keyword in ("PatientName", "PatientID"):
        element.value = context.patient
        return True
    if element.keyword == "StudyID":
        element.value = context.case[:16]
        return True
    if _kept_by_option(element, context):
        return True
    return _act(element, code, context)


def _act(element: DataElement, code: str, context: Pass) -> bool:
    if code == "X":
        return False
    if code in ("Z", "X/Z"):
        make_empty(element)
        return True
    if code == "X/Z/U*" and element.VR == "SQ":
        _each_item(element, context)
        return True
    if code in ("U", "X/Z/U*"):
        if element.VR != "UI":
            return False
        replace_uids(element, context.secret)
        return True
    return make_dummy(element, context.secret)


def _kept_by_option(element: DataElement, context: Pass) -> bool:
    """Change an element as an option allows to keep it; False if none does or nothing harmless would be left."""
    options = context.options
    if options.shift_dates and attributes.keeps_shifted(element.keyword, element.VR):
        if element.keyword == "TimezoneOffsetFromUTC":
            return bool(str(element.value or "").strip("+-0123456789 ") == "" and element.value)
        return _each_value(element, lambda text: moved(text, element.VR, context.days))
    if options.clean_descriptors and attributes.keeps_cleaned(element.keyword, element.VR):
        return _each_value(element, lambda text: _cleaned(text, context))
    return False


def _cleaned(text: str, context: Pass) -> str:
    cleaned = free_text.clean(text, context.seen.names)
    return "" if context.seen.identifiers.found_in(cleaned) else cleaned


def _each_value(element: DataElement, change: Callable[[str], str]) -> bool:
    """Change each value of an element; those of which nothing is left go. Say whether any is left."""
    value = element.value
    several = hasattr(value, "append")
    changed = [text for text in (change(str(each)) for each in (value if several else [value]) if each) if text]
    if not changed:
        return False
    element.value = changed if several and len(changed) > 1 else changed[0]
    return True


def _keeps_unlisted(element: DataElement, context: Pass) -> bool:
    """Decide on an element that the standard's table does not list."""
    vr, keyword = element.VR, element.keyword
    if not keyword:
        return False  # of a newer standard, or of none
    if vr == "SQ":
        if keyword == "PrivateDataElementCharacteristicsSequence":
            return False
        _each_item(element, context)
        return True
    if vr == "UI":
        replace_uids(element, context.secret)
        return True
    if vr in attributes.TEMPORAL:
        return context.options.shift_dates and _each_value(element, lambda text: moved(text, vr, context.days))
    if vr in ("DS", "IS"):
        return _are_numbers(element) and not _are_codes(element, context)
    if vr in _NUMBERS:
        return True
    if keyword in ("ImageType", "FrameType") and _is_telling(element, context):
        element.value = list(element.value)[:2] if element.VM > 2 else None  # the others are the maker's own
        return not element.is_empty
    if vr == "CS":
        if keyword not in _INDISPENSABLE and _is_telling(element, context):
            element.value = None
        return True
    if vr in attributes.TEXT:
        if _is_telling(element, context):
            element.value = DUMMY_TEXT
        return True
    return (
        vr in ("OB", "OD", "OF", "OL", "OV", "OW") and keyword in _BYTES
    )  # no names, addresses, ages, applications, other bytes


def _are_numbers(element: DataElement) -> bool:
    """Say whether numbers that are stored as text are numbers."""
    value = element.value
    try:
        return all(
            each in (None, "") or float(each) is not None for each in (value if hasattr(value, "append") else [value])
        )
    except (TypeError, ValueError):
        return False


def _are_codes(element: DataElement, context: Pass) -> bool:
    """Say whether one of some numbers is an ID or a date of the patient: a series may be numbered by its order."""
    value = element.value
    texts = (str(each).strip() for each in (value if hasattr(value, "append") else [value]))
    return any(len(text) >= _LONG_CODE and text in context.seen.identifiers.codes for text in texts)


def _is_telling(element: DataElement, context: Pass) -> bool:
    value = element.value
    values = value if hasattr(value, "append") else [value]
    texts = [str(each) for each in values if each]
    return any(_CONTACT.search(text) or context.seen.identifiers.found_in(text) for text in texts)


def _each_item(element: DataElement, context: Pass) -> None:
    for item in element.value or ():
        clean_dataset(item, context)
        for keyword in _PIXELS:  # nobody has looked for text in those
            if keyword in item:
                del item[keyword]


def _keeps_private(dataset: Dataset, element: DataElement, context: Pass) -> bool:
    tag = element.tag
    if not context.options.keep_safe_private or tag.group in (1, 3, 5, 7, 0xFFFF):
        return False
    if tag.is_private_creator:
        return True  # goes below if nothing of its block stays
    creator = dataset.get((tag.group, tag.element >> 8))
    name = str(creator.value or "") if creator is not None else ""
    return is_safe(tag.group, name, tag.element & 0xFF, element.VR, element.value)


def _without_empty_private_blocks(dataset: Dataset) -> None:
    tags = list(dataset.keys())
    used = {(tag.group, tag.element >> 8) for tag in tags if tag.is_private and not tag.is_private_creator}
    for tag in tags:
        if tag.is_private_creator and (tag.group, tag.element) not in used:
            del dataset[tag]


def _without_idle_tables(dataset: Dataset) -> None:
    """Take away the bytes of color tables that the pixels do not use."""
    colored = dataset.get("PhotometricInterpretation") == "PALETTE COLOR"
    if not colored and dataset.get("PixelPresentation") not in ("COLOR", "MIXED"):
        for element in [each for each in dataset if each.VR == "OW" and "LookupTable" in each.keyword]:
            del dataset[element.tag]
