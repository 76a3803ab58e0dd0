"""Label maps of others in a generator's values: structures are matched by code or by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from meddl.datasets.structure_keys import code_of, folded
from meddl.errors import UsageError
from meddl.synthesis.facts import SynthesisFacts
from meddl.synthesis.structure_words import structure_words, words_of_code
from meddl.volume import Segment, Volume


@dataclass(frozen=True, eq=False)
class MatchedLabels:
    """A label map in a generator's values.

    Attributes:
        labels: ``(1, I, J, K)`` uint8.
        segments: what its values mean, colored as they were.
        unknown: names of structures that the generator does not know, and that are background now.
    """

    labels: Volume
    segments: tuple[Segment, ...]
    unknown: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know, in sentences."""
        if not self.unknown:
            return ()
        return (f"The generator has not learned what these look like; they are background: {', '.join(self.unknown)}.",)


def match_labels(
    labels: Volume,
    segments: Sequence[Segment],
    facts: SynthesisFacts,
    known: Sequence[Segment],
    *,
    smaller_stays: bool = False,
) -> MatchedLabels:
    """Return a label map in a generator's values.

    Args:
        labels: ``(L, I, J, K)`` whole numbers; where layers overlap, the structure with the generator's least value
            stays.
        segments: what they mean; empty: they have the generator's values.
        facts, known: of the generator.
        smaller_stays: where layers overlap, the structure with fewer voxels stays: a tumor in a liver in a body.

    Raises:
        UsageError: none of the structures is known, or the labels are no whole numbers.
    """
    if labels.array.dtype.kind not in "iub":
        if labels.array.dtype.kind != "f" or not _are_whole(labels.array):
            raise UsageError("The labels are no label map: their values are no whole numbers.")
        labels = labels.with_array(labels.array.astype(np.int64))
    if not segments:
        present = {int(value) for value in np.unique(labels.array)} - {0}
        if strange := sorted(present - set(facts.labels)):
            raise UsageError(f"The label map has values that the generator does not know: {_list(map(str, strange))}. "
                             f"It knows: {_told(facts)}.")  # fmt: skip
        segments = [each for each in known if each.label in present]
    found = {each: value for each in segments if (value := _value(each, facts, known)) is not None}
    unknown = tuple(dict.fromkeys(each.name for each in segments if each not in found))
    if segments and not found:
        raise UsageError(f"The generator knows none of the structures {_list(unknown)}. It knows: {_told(facts)}. "
                         "Rename them, or train a generator on images in which they are labeled.")  # fmt: skip
    array = np.zeros((1, *labels.shape), np.uint8)
    counts = _counts(labels) if smaller_stays else {}

    def order(pair: tuple[Segment, int]) -> tuple[int, int]:  # what comes last stays
        each, value = pair
        return -counts.get((each.layer, each.label), 0), -value

    for each, value in sorted(found.items(), key=order):
        if each.layer < labels.channels:
            array[0][labels.array[each.layer] == each.label] = value
    colors: dict[int, Segment] = {}
    for each, value in found.items():
        colors.setdefault(value, Segment(value, facts.labels[value], each.color, each.terminology))
    meant = tuple(colors[value] for value in sorted(colors))
    return MatchedLabels(Volume(array, labels.affine, labels.name), meant, unknown)


def unknown_structures(segments: Sequence[Segment], facts: SynthesisFacts, known: Sequence[Segment]) -> tuple[str, ...]:
    """Return the names of the structures that a generator does not know."""
    return tuple(dict.fromkeys(each.name for each in segments if _value(each, facts, known) is None))


def _value(segment: Segment, facts: SynthesisFacts, known: Sequence[Segment]) -> int | None:
    code = code_of(segment.terminology)
    if code:
        same = [each.label for each in known if code_of(each.terminology) == code]
        if len(same) == 1:
            return same[0]
    names = [(value, each) for value, each in facts.labels.items() if value]
    name = folded(segment.name)
    if (same_name := next((value for value, each in names if folded(each) == name), None)) is not None:
        return same_name
    # The same words in another order, as "kidney_right", or what its code says in words.
    for text in (segment.name, words_of_code(segment.terminology)):
        words = structure_words(text)
        if words and len(alike := [value for value, each in names if structure_words(each) == words]) == 1:
            return alike[0]
    return None


def _are_whole(array: np.ndarray) -> bool:
    return bool(np.isfinite(array).all() and np.array_equal(array, np.rint(array)))


def _counts(labels: Volume) -> dict[tuple[int, int], int]:
    """Return the voxels of each label by layer and value."""
    found = {}
    for layer, array in enumerate(labels.array):
        for value, count in zip(*np.unique(array, return_counts=True), strict=True):
            found[layer, int(value)] = int(count)
    return found


def _told(facts: SynthesisFacts) -> str:
    return _list([name for value, name in sorted(facts.labels.items()) if value])


def _list(names: object, most: int = 12) -> str:
    all_names = list(names)  # type: ignore[call-overload]
    more = f" and {len(all_names) - most} more" if len(all_names) > most else ""
    return ", ".join(all_names[:most]) + more
