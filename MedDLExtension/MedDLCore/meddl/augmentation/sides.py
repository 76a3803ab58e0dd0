"""Left and right: what a label is called in a mirror."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from meddl.datasets.label_scheme import LabelScheme
from meddl.volume import Segment
from meddl.volume.terminology import parse_terminology

_WORDS = {"left": "right", "links": "rechts", "gauche": "droite", "lh": "rh", "lt": "rt", "l": "r"}
_OTHER = {**_WORDS, **{right: left for left, right in _WORDS.items()}}
_LONG = "|".join(sorted((word for word in _OTHER if len(word) > 2), key=len, reverse=True))
_SIDE = re.compile(rf"(?<![A-Za-z])(?:{'|'.join(_OTHER)})(?![A-Za-z0-9])|(?<![A-Za-z])(?:{_LONG})(?=\d)", re.IGNORECASE)
_HUMP = re.compile(r"(?:(?<![A-Za-z])|(?<=[a-z]))(?:Left|Right)(?=[A-Z]|$)|(?:(?<![A-Za-z]))(?:left|right)(?=[A-Z])")
_CODES = {"7771000": "24028007", "24028007": "7771000"}


@dataclass(frozen=True)
class Sides:
    """What becomes of the labels where left and right are exchanged.

    Attributes:
        values: by layer of the label map, the value that each sided value becomes.
        names: likewise of classes, boxes and points.
        reason: why left and right must not be exchanged, in a sentence; "" where they can.
    """

    values: tuple[Mapping[int, int], ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""


def mirrored_name(name: str) -> str:
    """Return what a name is called in a mirror; one that has no side stays.

    Example:
        >>> mirrored_name("Left kidney"), mirrored_name("eye_R"), mirrored_name("liver"), mirrored_name("LungLeft")
        ('Right kidney', 'eye_L', 'liver', 'LungRight')
    """
    return _HUMP.sub(_exchanged, _SIDE.sub(_exchanged, name)) if not _HUMP.search(name) else _HUMP.sub(_exchanged, name)


def sides_of_segments(segments: Sequence[Segment]) -> Sides:
    """Return what the segments of a label map become in a mirror."""
    layers: list[dict[int, int]] = [{} for _ in range(1 + max((each.layer for each in segments), default=0))]
    for each in segments:
        if not is_sided(each.name, each.terminology):
            continue
        other = _partner(each, segments)
        if other is None:
            return Sides(reason=_lonely(each.name))
        if other.layer != each.layer:
            return Sides(reason=f"{each.name} and its other side overlap other structures in different ways.")
        layers[each.layer][each.label] = other.label
    return Sides(tuple(layers))


def sides_of_scheme(scheme: LabelScheme) -> Sides:
    """Return what the values of a dataset's label maps become in a mirror, combinations of structures too."""
    segments = [Segment(n, each.name, each.color, each.terminology) for n, each in enumerate(scheme.structures, 1)]
    sides = sides_of_segments(segments)
    if sides.reason:
        return sides
    values = dict(sides.values[0])
    first = 1 + len(scheme.structures)
    places = {members: first + n for n, members in enumerate(scheme.combinations)}
    for members, value in places.items():
        mirrored = tuple(sorted(values.get(index + 1, index + 1) - 1 for index in members))
        if mirrored != members:
            if mirrored not in places:
                names = " and ".join(scheme.structures[index].name for index in members)
                return Sides(reason=f"{names} overlap, and their other sides have no label for that.")
            values[value] = places[mirrored]
    return Sides((values,))


def with_names(sides: Sides, used: Iterable[str], known: Iterable[str]) -> Sides:
    """Return ``sides`` for names of classes, boxes or points too.

    Args:
        used: names that the case has.
        known: names that there are in the dataset.
    """
    there, names = set(known), {}
    for name in used:
        other = mirrored_name(name)
        if other == name:
            continue
        if other not in there:
            return replace(sides, reason=sides.reason or _lonely(name))
        names[name] = other
    return replace(sides, names=names)


def is_sided(name: str, terminology: str = "") -> bool:
    """Say whether a structure lies on one side of the body, by its name or its code."""
    return mirrored_name(name) != name or _mirrored_code(terminology) != ""


def _partner(segment: Segment, segments: Sequence[Segment]) -> Segment | None:
    code, name = _mirrored_code(segment.terminology), mirrored_name(segment.name).casefold()
    if code:
        for each in segments:
            if _plain_code(each.terminology) == code:
                return each
    named = [each for each in segments if each.name.casefold() == name and each is not segment]
    return named[0] if named and name != segment.name.casefold() else None


def _plain_code(terminology: str) -> str:
    if not terminology:
        return ""
    parsed = parse_terminology(terminology)
    codes = (parsed.category, parsed.type, parsed.modifier, parsed.region, parsed.region_modifier)
    return "|".join(f"{code.scheme}:{code.value}" if code else "" for code in codes)


def _mirrored_code(terminology: str) -> str:
    """Return the codes of the other side; "" where they tell no side."""
    plain = _plain_code(terminology)
    mirrored = re.sub(r"(?<=SCT:)(7771000|24028007)\b", lambda found: _CODES[found[1]], plain)
    return mirrored if mirrored != plain else ""


def _lonely(name: str) -> str:
    return f"{name} has a side, and no label stands for the other one."


def _exchanged(found: re.Match[str]) -> str:
    text = found[0]
    other = _OTHER[text.casefold()]
    return other.upper() if text.isupper() else other.capitalize() if text[0].isupper() else other
