"""Which segments of several cases are the same structure: by their codes where they have some, else by their names."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Sequence

from meddl.volume import Segment
from meddl.volume.terminology import TISSUE, Code, Terminology, parse_terminology

_SAYS_NOTHING = {
    ("SCT", TISSUE.value),  # what Slicer takes for a segment of which nothing is known
    ("SCT", "123037004"),  # body structure; "Anatomical Structure" as a category
    ("SCT", "91723000"),  # anatomical structure
    ("SCT", "113343008"),  # organ
}


def structure_key(segment: Segment) -> str:
    """Return what equal structures of several cases have in common.

    That is the code of its type, with those of modifier and region, as in ``[SCT:64033007+SCT:7771000]``. A code that
    says nothing (Slicer's "Tissue") counts as none; then the name decides, see :func:`folded`. Where two segments of a
    case have one code and two names, use :func:`keys_within`.

    Example:
        >>> structure_key(Segment(1, "Left_Kidney", (1, 0, 0)))
        'left kidney'
        >>> entry = "list~SCT^123037004^Anatomical Structure~SCT^64033007^Kidney~SCT^7771000^Left~regions~^^~^^"
        >>> structure_key(Segment(1, "LK", (1, 0, 0), entry))
        '[SCT:64033007+SCT:7771000]'
    """
    return code_of(segment.terminology) or folded(segment.name)


def keys_within(segments: Sequence[Segment]) -> Callable[[Segment], str]:
    """Return the key of each segment of one case.

    It is :func:`structure_key`, with the name behind it where segments of other names have the same code: the left and
    the right kidney of someone who coded both as "Kidney" are two structures.

    Example:
        >>> entry = "list~SCT^123037004^Anatomical Structure~SCT^64033007^Kidney~^^~regions~^^~^^"
        >>> both = [Segment(1, "left", (1, 0, 0), entry), Segment(2, "right", (0, 1, 0), entry)]
        >>> [keys_within(both)(each) for each in both]
        ['[SCT:64033007] left', '[SCT:64033007] right']
    """
    names: dict[str, set[str]] = defaultdict(set)
    for segment in segments:
        names[structure_key(segment)].add(folded(segment.name))

    def key(segment: Segment) -> str:
        plain = structure_key(segment)
        return f"{plain} {folded(segment.name)}" if len(names[plain]) > 1 else plain

    return key


def folded(name: str) -> str:
    """Return a name without what people write differently: upper and lower case, spaces and underscores."""
    shown = "".join(c if c.isprintable() and c != "_" else " " for c in unicodedata.normalize("NFKC", name))
    text = " ".join(shown.casefold().split())
    return f"({text[1:]}" if text.startswith("[") else text  # a name is never taken for a code


def code_of(terminology: str) -> str:
    """Return the part of a key that a terminology entry gives, or "" where it says nothing."""
    if not terminology:
        return ""
    codes = parse_terminology(terminology)
    kind = _current(codes.type)
    if kind in _SAYS_NOTHING and codes.modifier is None and codes.region is None:
        return ""
    return f"[{_joined(codes)}]"


def code_in(key: str) -> str:
    """Return the code at the beginning of a key, or "" where a name alone is the key."""
    return key[: key.index("]") + 1] if key.startswith("[") and "]" in key else ""


def _joined(codes: Terminology) -> str:
    kind = "+".join(_text(code) for code in (codes.type, codes.modifier) if code is not None)
    region = "+".join(_text(code) for code in (codes.region, codes.region_modifier) if code is not None)
    return f"{kind}@{region}" if region else kind


def _text(code: Code) -> str:
    scheme, value = _current(code)
    return ":".join("".join(c for c in part if c not in "[]+@:") for part in (scheme, value))


def _current(code: Code) -> tuple[str, str]:
    """Return scheme and value; SNOMED's older codes, as many DICOM files have them, become today's."""
    scheme = {"SNM3": "SRT", "99SDM": "SRT"}.get(code.scheme.upper(), code.scheme.upper())
    if scheme == "SRT":
        from pydicom.sr.coding import snomed_mapping

        value = snomed_mapping["SRT"].get(code.value)
        return ("SCT", str(value)) if value else (scheme, code.value)
    return scheme, code.value
