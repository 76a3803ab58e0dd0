"""Copies of a dataset's training cases with lesions that nobody had."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from meddl.augmentation.adding import Made, Maker
from meddl.augmentation.prepared_sample import segments_of
from meddl.datasets.case import PreparedCase
from meddl.datasets.geometry.target_grid import cropped, with_margin
from meddl.datasets.label_scheme import LabelScheme
from meddl.datasets.manifest import Manifest
from meddl.datasets.plan import CaseRecord, ExportPlan, PlannedCase
from meddl.datasets.structure_keys import folded
from meddl.datasets.synthetic import real_cases
from meddl.errors import UsageError
from meddl.randomness import Stream
from meddl.synthesis.generated_cases import provenance_notes
from meddl.synthesis.lesion_insertion import combined, insert_lesions
from meddl.synthesis.lesion_options import Donor, LesionOptions
from meddl.volume import Grid, Segment, Volume

if TYPE_CHECKING:
    from meddl.augmentation.reading_back import Sources
    from meddl.synthesis.synthesizer import Synthesizer

Progress = Callable[[float, str], None]

_ALGORITHM = 1
_MARGIN_MM = 15.0
_LEAST_VOXELS = 10


class LesionCaseMaker(Maker):
    """Puts lesions into copies of training cases.

    Args:
        options: what is put where.
        count: copies of each training case.
        synthesizer: of textures, or None.
    """

    mark: ClassVar[str] = "l"
    what: ClassVar[str] = "cases with lesions"
    cancelled_text: ClassVar[str] = "It was cancelled. Cases with lesions that were finished are in the dataset."

    def __init__(self, options: LesionOptions, count: int, synthesizer: Synthesizer | None) -> None:
        if not 1 <= count <= 99:
            raise UsageError(f"{count} copies of each case were asked for. Choose 1 to 99.")
        self.count = count
        self._options, self._synthesizer = options, synthesizer
        self._donors: dict[str, CaseRecord] = {}
        self._examples: dict[str, Donor] = {}
        self._sources: Sources | None = None

    @property
    def recipe(self) -> str:
        """What all its cases have in common."""
        generator = self._synthesizer.bundle.digest if self._synthesizer is not None else ""
        return json.dumps([_ALGORITHM, "lesions", self._options.to_dict(), generator])

    def check(self, plan: ExportPlan) -> tuple[str, ...]:
        """Return notes on a dataset.

        Raises:
            UsageError: it has no label maps, or no structure of the lesion's name.
        """
        if plan.task != "segmentation" or plan.scheme is None:
            raise UsageError(f"The dataset is for {plan.task} and has no label maps, in which lesions are marked.")
        _index(plan.scheme, self._options.name)
        if self._options.inside:
            _index(plan.scheme, self._options.inside)
        if self._synthesizer is None:
            return ()
        told = provenance_notes(self._synthesizer.facts.trained_on, plan, self._synthesizer.bundle.name)
        return (*self._synthesizer.notes, *told)

    def begin(self, manifest: Manifest, sources: Sources) -> None:
        """Find the real lesions of the training part.

        Raises:
            UsageError: there is none, and one is needed.
        """
        self._sources = sources
        name = folded(self._options.name)
        for case in real_cases(manifest.plan.cases):
            record = manifest.records.get(case.name)
            if case.split == "train" and record is not None and _voxels(record, name) >= _LEAST_VOXELS:
                self._donors[case.name] = record
        if not self._donors and "example" in (self._options.shape, self._options.texture):
            raise UsageError(f"No training case of the dataset has a {self._options.name} that shape and texture could "
                             "be taken from. Choose a random shape and texture by statistics.")  # fmt: skip

    def depends_on(self, planned: PlannedCase) -> str:
        """Return the real lesions that the case may get its own from."""
        return json.dumps([[each.case.name, each.made_from] for each in self._candidates(planned)])

    def make(
        self,
        source: PreparedCase,
        planned: PlannedCase,
        plan: ExportPlan,
        record: CaseRecord,
        progress: Progress,
        cancelled: Callable[[], bool],
    ) -> Made:
        """Return a copy of the case with lesions."""
        assert plan.scheme is not None and source.labels is not None
        donor = self._donor(planned, plan)
        segments = _with_members(segments_of(plan), plan.scheme)
        made = insert_lesions(
            source.images, source.labels, segments, self._options, donor, self._synthesizer, planned.name, progress,
            cancelled,
        )  # fmt: skip
        labels = combined(
            source.labels, made.labels, made.mask, _combinations(plan.scheme, _index(plan.scheme, self._options.name))
        )
        labels = labels.with_array(labels.array.astype(source.labels.array.dtype))
        notes = tuple(made.facts["notes"])
        facts = {"how": "lesions", **{key: made.facts[key] for key in ("name", "inside", "border_mm", "seed")},
                 "lesions": made.facts["lesions"], "notes": list(notes), "warnings": []}  # fmt: skip
        return Made(replace(source, images=dict(made.images), labels=labels), facts)

    def _candidates(self, planned: PlannedCase) -> list[CaseRecord]:
        """Return the cases that a lesion may be from: of the same fold, or a fold would validate what it learned."""
        same = [each for each in self._donors.values() if each.case.fold == planned.fold]
        others = [each for each in same if each.case.name != planned.source]
        return others or same

    def _donor(self, planned: PlannedCase, plan: ExportPlan) -> Donor | None:
        candidates = self._candidates(planned)
        if not candidates:
            if "example" in (self._options.shape, self._options.texture):
                raise UsageError(f"No training case of fold {planned.fold} has a {self._options.name}. Choose a random "
                                 "shape and texture by statistics.")  # fmt: skip
            return None
        name = Stream("meddl lesion donor", self._options.seed, planned.name).choice(candidates).case.name
        if name not in self._examples:
            assert self._sources is not None and plan.scheme is not None
            self._examples[name] = _cut(self._sources.prepared(name), plan.scheme, self._options.name)
        return self._examples[name]


def _cut(case: PreparedCase, scheme: LabelScheme, name: str) -> Donor:
    """Return the lesion of a case with what lies round it: not all of its images stay in memory."""
    assert case.labels is not None
    mask = np.isin(case.labels.array[0], scheme.values_of(_index(scheme, name)))
    used = [np.flatnonzero(mask.any(axis=tuple(n for n in range(3) if n != axis))) for axis in range(3)]
    grid = case.labels.grid
    box = with_margin(grid, tuple((int(each[0]), int(each[-1]) + 1) for each in used), _MARGIN_MM)
    part: Grid = cropped(grid, box)
    where = tuple(slice(low, high) for low, high in box)
    images = {key: Volume(each.array[(slice(None), *where)].copy(), part.affine) for key, each in case.images.items()}
    return Donor(images, Volume(mask[where][None].astype(np.uint8), part.affine), case.name)


def _index(scheme: LabelScheme, name: str) -> int:
    for index, each in enumerate(scheme.structures):
        if folded(each.name) == folded(name):
            return index
    names = ", ".join(each.name for each in scheme.structures)
    raise UsageError(f"The labels of the dataset have no {name!r}, and they are settled. They have: {names}.")


def _with_members(segments: tuple[Segment, ...], scheme: LabelScheme) -> tuple[Segment, ...]:
    """Return the segments, combinations of structures under the name of each of them too."""
    more = [
        Segment(value, each.name, each.color)
        for index, each in enumerate(scheme.structures)
        for value in scheme.values_of(index)[1:]
    ]
    return (*segments, *more)


def _combinations(scheme: LabelScheme, lesion: int) -> dict[int, int]:
    """Return what each value of the label map becomes where a lesion comes to lie on it and overlaps are kept."""
    first = 1 + len(scheme.structures)
    members = {index + 1: frozenset({index}) for index in range(len(scheme.structures))}
    members |= {first + n: frozenset(each) for n, each in enumerate(scheme.combinations)}
    values = {each: value for value, each in members.items()}
    return {value: values[each | {lesion}] for value, each in members.items() if each | {lesion} in values}


def _voxels(record: CaseRecord, name: str) -> int:
    """Return how many voxels a structure has, as the quality table tells; combinations of structures count."""
    structures = record.facts.get("quality", {}).get("structures", ())
    parts = ((str(each["name"]).split(" + "), int(each["voxels"])) for each in structures)
    return sum(voxels for names, voxels in parts if name in map(folded, names))
