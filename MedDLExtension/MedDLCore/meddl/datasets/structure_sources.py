"""What the cases have under each key: the raw material of a dataset's labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from meddl.datasets.facts import CaseFacts
from meddl.datasets.structure_keys import folded


@dataclass
class StructureSource:
    """All segments of one key.

    Attributes:
        key: of :func:`meddl.datasets.structure_keys.keys_within`.
        names, terminologies, colors: how many segments have each.
        voxels, volume_ml, debris: by case.
        segments: how many a case has.
    """

    key: str
    names: Counter[str] = field(default_factory=Counter)
    terminologies: Counter[str] = field(default_factory=Counter)
    colors: Counter[tuple[float, float, float]] = field(default_factory=Counter)
    voxels: Counter[str] = field(default_factory=Counter)
    volume_ml: dict[str, float] = field(default_factory=dict)
    debris: Counter[str] = field(default_factory=Counter)
    segments: Counter[str] = field(default_factory=Counter)

    @property
    def folded_names(self) -> set[str]:
        """The names but for upper and lower case, spaces and underscores."""
        return {folded(name) for name in self.names}


def structure_sources(facts: Iterable[CaseFacts]) -> dict[str, StructureSource]:
    """Return what is known of each key, in the order of the fullest case, whatever order the cases come in."""
    sources: dict[str, StructureSource] = {}
    for case in segmented(facts):
        for structure in case.structures:
            source = sources.setdefault(structure.key, StructureSource(structure.key))
            source.names[structure.name] += 1
            source.colors[structure.color] += 1
            if structure.terminology:
                source.terminologies[structure.terminology] += 1
            source.voxels[case.id] += structure.voxels
            source.volume_ml[case.id] = source.volume_ml.get(case.id, 0.0) + structure.volume_ml
            source.debris[case.id] += structure.debris_voxels
            source.segments[case.id] += 1
    return sources


def segmented(facts: Iterable[CaseFacts]) -> list[CaseFacts]:
    """Return the cases that have a segmentation, the one with most structures first."""
    found = (case for case in facts if case.task == "segmentation")
    return sorted(found, key=lambda case: (-len(case.structures), case.digest, case.id))


def most_common(counts: Sequence[Counter[Any]]) -> Any:
    """Return the most frequent entry of all, the least of several; None without any."""
    total: Counter[Any] = Counter()
    for each in counts:
        total.update(each)
    return min(total, key=lambda entry: (-total[entry], entry)) if total else None
