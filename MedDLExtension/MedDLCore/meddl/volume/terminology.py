"""Slicer's terminology entries and the DICOM codes in them."""

from __future__ import annotations

from dataclasses import dataclass

_CONTEXT = "Segmentation category and type - DICOM master list"
_REGION_CONTEXT = "Anatomic codes - DICOM master list"


@dataclass(frozen=True)
class Code:
    """A coded concept, for instance ``Code("SCT", "12738006", "Brain")``."""

    scheme: str
    value: str
    meaning: str


TISSUE = Code("SCT", "85756007", "Tissue")
"""What Slicer takes for a segment that nobody has said anything about, as category and as type."""


@dataclass(frozen=True)
class Terminology:
    """What a segment is: a category, a type with an optional modifier, and where it lies."""

    category: Code = TISSUE
    type: Code = TISSUE
    modifier: Code | None = None
    region: Code | None = None
    region_modifier: Code | None = None


def parse_terminology(entry: str) -> Terminology:
    """Return the codes of an entry as Slicer serializes it; what is missing or broken falls back to "Tissue".

    Example:
        >>> parse_terminology("list~SCT^123037004^Anatomical Structure~SCT^12738006^Brain~^^~regions~^^~^^").type
        Code(scheme='SCT', value='12738006', meaning='Brain')
    """
    parts = [*entry.split("~"), *[""] * 7]
    category, kind, modifier, region, region_modifier = (_code(parts[n]) for n in (1, 2, 3, 5, 6))
    if category is None or kind is None:
        return Terminology()
    return Terminology(category, kind, modifier, region, region_modifier if region else None)


def serialize_terminology(codes: Terminology) -> str:
    """Return Slicer's entry for ``codes``, in the terms of DICOM's master list."""
    parts = [_CONTEXT, *(_text(code) for code in (codes.category, codes.type, codes.modifier))]
    parts += [_REGION_CONTEXT, _text(codes.region), _text(codes.region_modifier)]
    return "~".join(parts)


def _code(text: str) -> Code | None:
    parts = [" ".join(part.split()) for part in text.split("^")]
    if len(parts) != 3 or not all(parts) or len(parts[0]) > 16 or len(parts[1]) > 16:  # DICOM's short strings
        return None
    return Code(parts[0], parts[1], parts[2][:64])


def _text(code: Code | None) -> str:
    if code is None:
        return "^^"
    return "^".join(part.translate(str.maketrans("^~|", "   ")) for part in (code.scheme, code.value, code.meaning))
