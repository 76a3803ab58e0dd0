"""What stands out among the cases of a dataset: values far from the others', images stored twice, mixed modalities."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from meddl.datasets.facts import CaseFacts
from meddl.datasets.splitting import SplitItem, groups_of

FEWEST = 5
"""Of fewer values nobody can say what is usual."""
_FAR = 3.5
"""Robust z-score from which a value stands out (Iglewicz and Hoaglin 1993, "How to detect and handle outliers")."""
_AIR_HU = -800
_CASE, _IMAGE = "case", "image"


@dataclass(frozen=True)
class Outlier:
    """A value of a case that is far from those of the others.

    Attributes:
        case: its id.
        column: of :func:`quality_rows` or, for a volume, the structure's key.
        image: the channel, or "" for a structure.
        value, median: this one, and the middle of all.
        score: robust z-score, by the median absolute deviation.
        sentence: for people.
    """

    case: str
    column: str
    image: str
    value: float
    median: float
    score: float
    sentence: str


@dataclass(frozen=True)
class _Measure:
    """One number per case, to be compared with those of the other cases."""

    column: str
    image: str
    what: str
    unit: str
    is_ratio: bool
    """Twice and half are equally far."""
    least: float
    """Smaller differences (factors, or the values' own unit) are nothing to look at, however equal the others are."""
    values: Mapping[str, float]


def outliers(facts: Sequence[CaseFacts]) -> tuple[Outlier, ...]:
    """Return what stands out, by case and measure: voxel sizes and intensities of each channel, volumes of structures.

    A value stands out where its robust z-score is above 3.5 and it differs by what matters: voxel sizes and volumes by
    half, intensities by a quarter of the usual range. Intensities are compared within a modality. Needs five values.
    """
    found = [outlier for measure in _measures(facts) for outlier in _standing_out(measure)]
    order = {fact.id: number for number, fact in enumerate(facts)}
    return tuple(sorted(found, key=lambda each: order[each.case]))


def duplicates(facts: Sequence[CaseFacts]) -> tuple[tuple[str, ...], ...]:
    """Return groups of ids of cases that have an image in common: the same voxels under several names."""
    order = {fact.id: number for number, fact in enumerate(facts)}
    groups = groups_of([SplitItem(fact.id, digest=fact.digest) for fact in facts])
    found = [sorted((item.id for item in group.items), key=order.__getitem__) for group in groups]
    return tuple(sorted((tuple(each) for each in found if len(each) > 1), key=lambda group: order[group[0]]))


def mixtures(facts: Sequence[CaseFacts]) -> tuple[str, ...]:
    """Return sentences about channels whose images are of several modalities, and labels of several kinds."""
    notes = []
    for name in dict.fromkeys(name for fact in facts for name in fact.channels):
        counts: dict[str, int] = defaultdict(int)
        for fact in facts:
            if name in fact.channels:
                counts[fact.channels[name].modality] += 1
        known = {modality: count for modality, count in counts.items() if modality}
        if len(known) > 1:
            told = ", ".join(f"{count} {modality}" for modality, count in sorted(known.items()))
            notes.append(f'The images of channel "{name}" are of several modalities: {told}.')
        unknown = [c for c in (fact.channels.get(name) for fact in facts) if c is not None and not c.modality]
        like_ct = sum(channel.minimum <= _AIR_HU for channel in unknown)
        others = len(unknown) - like_ct
        if like_ct and others:
            low = "1 image has" if like_ct == 1 else f"{like_ct} images have"
            notes.append(
                f'In channel "{name}", {low} values as low as those of air in CT, and {others} '
                f"{'has' if others == 1 else 'have'} not: they may be of several modalities, or lack an offset."
            )
    tasks = sorted({fact.task for fact in facts if fact.task})
    if len(tasks) > 1:
        notes.append(f"The labels are of several kinds: {', '.join(tasks)}.")
    return tuple(notes)


def remarks(facts: Sequence[CaseFacts]) -> dict[str, tuple[str, ...]]:
    """Return by case id what the user should look at: problems, warnings, outliers and duplicates, in sentences."""
    told: dict[str, list[str]] = {fact.id: [*fact.problems, *fact.warnings] for fact in facts}
    for outlier in outliers(facts):
        told[outlier.case].append(outlier.sentence)
    for group in duplicates(facts):
        for name in group:
            others = [other for other in group if other != name]
            more = f" and {len(others) - 3} more" if len(others) > 3 else ""
            told[name].append(f"Has an image in common with {', '.join(others[:3])}{more}.")
    return {name: tuple(sentences) for name, sentences in told.items()}


def quality_rows(facts: Sequence[CaseFacts]) -> list[dict[str, str | float | int]]:
    """Return the quality table before anything is written: a row for each image of each case."""
    told = remarks(facts)
    rows: list[dict[str, str | float | int]] = []
    for fact in facts:
        labeled = [each for each in fact.structures if each.voxels]
        sentences = " ".join(told[fact.id])
        if not fact.channels:
            rows.append({_CASE: fact.id, "remarks": sentences})
        for name, channel in fact.channels.items():
            rows.append(
                {
                    _CASE: fact.id,
                    _IMAGE: name,
                    "modality": channel.modality,
                    "size": " x ".join(map(str, channel.shape)),
                    "spacing (mm)": " x ".join(f"{length:.4g}" for length in channel.spacing_mm),
                    "orientation": channel.orientation,
                    "type": channel.dtype,
                    "minimum": channel.minimum,
                    "1 %": channel.p1,
                    "median": channel.p50,
                    "99 %": channel.p99,
                    "maximum": channel.maximum,
                    "structures": len(labeled),
                    "label outside (%)": round(100 * fact.label_outside, 2),
                    "remarks": sentences,
                }
            )
            sentences = "" if len(fact.channels) > 1 else sentences
    return rows


def volume_rows(facts: Sequence[CaseFacts]) -> list[dict[str, str | float | int]]:
    """Return a row for each structure of each case."""
    marked = {(each.case, each.column) for each in outliers(facts) if not each.image}
    return [
        {
            _CASE: fact.id,
            "structure": each.name,
            "volume (ml)": float(f"{each.volume_ml:.6g}"),
            "voxels": each.voxels,
            "pieces": each.components,
            "pieces of one voxel": each.debris_voxels,
            "outlier": "yes" if (fact.id, each.key) in marked else "",
        }
        for fact in facts
        for each in fact.structures
    ]


def _measures(facts: Sequence[CaseFacts]) -> Iterator[_Measure]:
    for name in dict.fromkeys(name for fact in facts for name in fact.channels):
        channels = {fact.id: fact.channels[name] for fact in facts if name in fact.channels}
        ends = {case: (min(each.spacing_mm), max(each.spacing_mm)) for case, each in channels.items()}
        for end, what in enumerate(("Smallest voxel edge", "Largest voxel edge")):
            values = {case: pair[end] for case, pair in ends.items()}
            yield _Measure("spacing (mm)", name, f'{what} of "{name}"', "mm", True, 1.5, values)
        for modality in sorted({each.modality for each in channels.values()}):
            same = {case: each for case, each in channels.items() if each.modality == modality}
            usual = float(np.median([each.p99 - each.p1 for each in same.values()]))
            for column, what in (("1 %", "darkest hundredth"), ("median", "median"), ("99 %", "brightest hundredth")):
                field = {"1 %": "p1", "median": "p50", "99 %": "p99"}[column]
                values = {case: float(getattr(each, field)) for case, each in same.items()}
                yield _Measure(column, name, f'Intensity of "{name}", {what},', "", False, usual / 4, values)
    volumes: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    names: dict[str, str] = {}
    for fact in facts:
        for structure in fact.structures:
            if structure.voxels:
                names.setdefault(structure.key, structure.name)
                volumes[structure.key][fact.id] += structure.volume_ml
    for key, values in volumes.items():
        yield _Measure(key, "", f"Volume of {names[key]}", "ml", True, 1.5, values)


def _standing_out(measure: _Measure) -> Iterator[Outlier]:
    if len(measure.values) < FEWEST:
        return
    numbers = np.array(list(measure.values.values()), dtype=np.float64)
    compared = np.log(numbers) if measure.is_ratio else numbers
    least = math.log(measure.least) if measure.is_ratio else measure.least
    middle = float(np.median(compared))
    distances = np.abs(compared - middle)
    scale = float(np.median(distances)) / 0.6745
    if scale <= 1e-9 * max(1.0, abs(middle)):  # more than half are equal: the mean distance says more
        scale = float(distances.mean()) * 1.253314
    median = float(np.median(numbers))
    for (case, value), distance in zip(measure.values.items(), distances, strict=True):
        if scale > 0 and distance > least and distance / scale > _FAR:
            unit = f" {measure.unit}" if measure.unit else ""
            sentence = f"{measure.what} is {value:.4g}{unit}, that of most cases near {median:.4g}{unit}."
            score = round(float(distance / scale), 2)
            yield Outlier(case, measure.column, measure.image, value, median, score, sentence)
