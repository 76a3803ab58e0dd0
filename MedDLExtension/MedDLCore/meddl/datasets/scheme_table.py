"""The table of labels: for each structure of a dataset, and each left out, what the cases have of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from meddl.datasets.facts import CaseFacts
from meddl.datasets.label_scheme import LabelScheme
from meddl.datasets.scheme_editing import unmapped
from meddl.datasets.structure_keys import code_in
from meddl.datasets.structure_sources import StructureSource, segmented, structure_sources

_MAX_LISTED = 12


@dataclass(frozen=True)
class SchemeRow:
    """One line of the table. It names cases by their ids, so it is for the user's eyes and for no file of a dataset.

    Attributes:
        kind: "structure"; "ignore"; "dropped" (left out on purpose); "unmapped" (the scheme says nothing of it).
        index: of a structure, in the scheme; else -1.
        name: in the dataset; of what is left out, the cases' names for it.
        value: in the label maps; 0 of what is left out.
        values: all values that lie in it, with those of combinations.
        color: red, green, blue in 0..1.
        sources: keys of the segments that become it.
        names: what the cases call it, the most frequent first.
        cases: how many cases have voxels of it.
        missing_in: cases without such a segment.
        empty_in: cases whose segment of it has no voxels.
        several_in: cases with several segments that become it.
        debris_in: cases in which pieces of it are single voxels.
        volume_ml: its median volume in the cases that have it.
        notes: what the user should know, in sentences.
    """

    kind: Literal["structure", "ignore", "dropped", "unmapped"]
    index: int
    name: str
    value: int
    values: tuple[int, ...]
    color: tuple[float, float, float]
    sources: tuple[str, ...]
    names: tuple[str, ...]
    cases: int
    missing_in: tuple[str, ...]
    empty_in: tuple[str, ...]
    several_in: tuple[str, ...]
    debris_in: tuple[str, ...]
    volume_ml: float
    notes: tuple[str, ...]


def scheme_rows(scheme: LabelScheme, facts: Sequence[CaseFacts]) -> tuple[SchemeRow, ...]:
    """Return the table of labels: structures by value, the ignore label, what is dropped, what is not mapped.

    Args:
        facts: of the cases; those without a segmentation are not missed anything.
    """
    table = _Table(scheme, facts)
    rows = [
        table.row("structure", each.sources, index, each.name, each.color)
        for index, each in enumerate(scheme.structures)
    ]
    if scheme.ignore:
        rows.append(table.row("ignore", scheme.ignore, name="ignore"))
    rows += [table.row("dropped", (key,)) for key in scheme.dropped]
    rows += [table.row("unmapped", (key,)) for key in unmapped(scheme, facts)]
    return tuple(rows)


def scheme_notes(scheme: LabelScheme, facts: Sequence[CaseFacts]) -> tuple[str, ...]:
    """Return what the table of labels tells, in sentences that name structures and count cases, but name none."""
    rows = scheme_rows(scheme, facts)
    total = len(segmented(facts))
    kept = [row for row in rows if row.kind == "structure"]

    def listed(title: str, entries: Sequence[str]) -> list[str]:
        rest = len(entries) - _MAX_LISTED
        told = [*entries[:_MAX_LISTED], *([f"and {rest} more"] if rest > 0 else [])]
        return [f"{title}: {', '.join(told)}."] if entries else []

    notes = listed("Not in every case", [f"'{r.name}' ({len(r.missing_in)} of {total} lack it)" for r in kept
                                         if r.missing_in])  # fmt: skip
    for title, part in (
        ("Empty in some cases", "empty_in"),
        ("Made of several segments of one case", "several_in"),
        ("With pieces of a single voxel", "debris_in"),
    ):
        cases = [(row.name, len(getattr(row, part))) for row in kept]
        notes += listed(title, [f"'{name}' ({count} of {total} cases)" for name, count in cases if count])
    for kind, title in (("dropped", "Left out"), ("unmapped", "Left out, for the labels say nothing of it")):
        notes += listed(title, [f"'{row.name}'" for row in rows if row.kind == kind and row.names])
    told = [f"'{row.name}': {note}" for row in kept for note in row.notes]
    rest = len(told) - _MAX_LISTED
    more = [f"There are {rest} more such notes in the table of labels."] if rest > 0 else []
    return (*notes, *told[:_MAX_LISTED], *more)


class _Table:
    def __init__(self, scheme: LabelScheme, facts: Sequence[CaseFacts]) -> None:
        self.scheme = scheme
        self.cases = sorted(case.id for case in segmented(facts))
        self.sources = structure_sources(facts)

    def row(
        self,
        kind: Literal["structure", "ignore", "dropped", "unmapped"],
        keys: tuple[str, ...],
        index: int = -1,
        name: str = "",
        color: tuple[float, float, float] = (0.5, 0.5, 0.5),
    ) -> SchemeRow:
        found = [self.sources[key] for key in keys if key in self.sources]
        voxels = {case: sum(each.voxels[case] for each in found) for case in self.cases}
        segments = {case: sum(each.segments[case] for each in found) for case in self.cases}
        volumes = [sum(each.volume_ml.get(case, 0.0) for each in found) for case in self.cases if voxels[case]]
        counts: dict[str, int] = {}
        for each in found:
            for spelled, count in each.names.items():
                counts[spelled] = counts.get(spelled, 0) + count
        names = tuple(sorted(counts, key=lambda spelled: (-counts[spelled], spelled)))
        values: tuple[int, ...] = ()
        if kind == "structure":
            values = self.scheme.values_of(index)
        elif kind == "ignore":
            values = (self.scheme.ignore_value or 0,)
        return SchemeRow(
            kind,
            index,
            name or ", ".join(names) or keys[0],
            values[0] if values else 0,
            values,
            color,
            keys,
            names,
            sum(count > 0 for count in voxels.values()),
            tuple(case for case in self.cases if not segments[case]),
            tuple(case for case in self.cases if segments[case] and not voxels[case]),
            tuple(case for case in self.cases if segments[case] > 1),
            tuple(case for case in self.cases if any(each.debris[case] for each in found)),
            median(volumes) if volumes else 0.0,
            tuple(self._notes(kind, found)),
        )

    def _notes(self, kind: str, found: Sequence[StructureSource]) -> list[str]:
        notes = []
        if kind == "unmapped":
            notes.append("The labels say nothing of it: it becomes background unless it is added.")
        if not any(any(each.voxels.values()) for each in found):
            notes.append("No case has a voxel of it.")
        codes = sorted({code_in(each.key) for each in found} - {""})
        if len(codes) > 1:
            notes.append(f"It is made of different codes: {', '.join(codes)}.")
        folded_names = {name for each in found for name in each.folded_names}
        if len(folded_names) > 1:
            notes.append(f"The cases call it differently: {', '.join(sorted(folded_names))}.")
        own = {each.key for each in found}
        for other in self.sources.values():
            if other.key in own:
                continue
            same = sorted(folded_names & other.folded_names)
            if same and code_in(other.key):
                notes.append(f"The name '{same[0]}' also stands for another code, {code_in(other.key)}.")
            elif same:
                notes.append(f"Segments called '{same[0]}' that have no code are not part of it.")
            if code_in(other.key) in codes:
                names = ", ".join(sorted(other.folded_names))
                notes.append(f"Another structure has the same code: {names}. Merge them if they are the same.")
        return notes
