"""Variants of cases as new cases of a dataset: what a plan makes of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from meddl.augmentation.adding import (
    Made,
    Maker,
    Progress,
    VariantSummary,
    add_made_cases,
    export_with_made_cases,
    with_made_cases,
)
from meddl.augmentation.applying import replay
from meddl.augmentation.draw import Draw, draw
from meddl.augmentation.guard import Realism, compare
from meddl.augmentation.plan import AugmentationPlan
from meddl.augmentation.prepared_sample import sample_of, segments_of
from meddl.augmentation.sample import Sample, range_of
from meddl.datasets.case import Case, PreparedCase
from meddl.datasets.label_scheme import LabelScheme, Overlaps
from meddl.datasets.options import ExportOptions
from meddl.datasets.plan import CaseRecord, ExportPlan, PlannedCase
from meddl.errors import UsageError
from meddl.volume import Segment

if TYPE_CHECKING:
    from meddl.datasets.export import ExportSummary

__all__ = ["VariantOptions", "VariantSummary", "augment_cases", "augment_dataset", "with_variants"]

_ALGORITHM = 2
"""Another number where the same draw gives other voxels: variants of older versions are then made anew."""


@dataclass(frozen=True)
class VariantOptions:
    """How many variants of each training case, and of what kind.

    Attributes:
        plan: what may happen.
        count: variants per case.
        seed: of what is left to chance.
        attempts: a variant in which a structure has vanished, or a point or box has left the image, is drawn anew so
            often; the last one stays, with a warning.
    """

    plan: AugmentationPlan
    count: int = 1
    seed: int = 0
    attempts: int = 5

    def __post_init__(self) -> None:
        if not 1 <= self.count <= 99:
            raise UsageError(f"{self.count} variants of each case were asked for. Choose 1 to 99.")
        if self.attempts < 1:
            raise UsageError("A variant needs at least one attempt.")

    @property
    def recipe(self) -> str:
        """What all variants have in common."""
        return json.dumps([_ALGORITHM, self.plan.digest, self.seed, self.attempts])


class VariantMaker(Maker):
    """Makes variants as a plan tells."""

    def __init__(self, options: VariantOptions) -> None:
        self._options = options
        self.count = options.count

    @property
    def recipe(self) -> str:
        """What all variants have in common."""
        return self._options.recipe

    def make(
        self,
        source: PreparedCase,
        planned: PlannedCase,
        plan: ExportPlan,
        record: CaseRecord,
        progress: Progress,
        cancelled: Callable[[], bool],
    ) -> Made:
        """Return a variant, and what the realism guard says."""
        sample = sample_of(source, plan)
        drawn, made, realism = _drawn(sample, segments_of(plan), planned, self._options, cancelled)
        case = replace(
            source,
            images=made.images,
            labels=made.labels,
            classes=made.classes,
            boxes=made.boxes,
            points=made.points,
            target=made.target,
        )
        return Made(case, {"draw": drawn.to_dict(), "realism": realism.to_dict()}, (*drawn.notes, *realism.warnings))


def with_variants(plan: ExportPlan, options: VariantOptions) -> ExportPlan:
    """Return an export's plan with the variants of its training cases, in place of those it had.

    Raises:
        UsageError: no case is in the training part, or the format would validate with variants.
    """
    return with_made_cases(plan, VariantMaker(options))


def augment_cases(
    cases: Sequence[Case],
    output: Path,
    export: ExportOptions,
    options: VariantOptions,
    *,
    scheme: LabelScheme | None = None,
    overlaps: Overlaps = "order",
    key: Path | None = None,
    review: Path | None = None,
    progress: Progress = lambda fraction, text: None,
    cancelled: Callable[[], bool] = lambda: False,
    log: Callable[[str], None] = lambda line: None,
) -> tuple[ExportSummary, VariantSummary]:
    """Export cases as a dataset, with variants of those of its training part.

    Arguments as of :func:`meddl.datasets.export_dataset`.
    The process may be killed at any time: the next call with the same arguments completes it, to the same bytes.

    Raises:
        UsageError: the cases make no dataset of this format.
        UnwritableDataset: the folder cannot be written to.
        JobCancelled: on request; what was written stays.
    """
    maker = VariantMaker(options)
    return export_with_made_cases(
        cases, output, export, maker, scheme=scheme, overlaps=overlaps, key=key, review=review, progress=progress,
        cancelled=cancelled, log=log,
    )  # fmt: skip


def augment_dataset(
    root: Path,
    options: VariantOptions,
    *,
    progress: Progress = lambda fraction, text: None,
    cancelled: Callable[[], bool] = lambda: False,
    log: Callable[[str], None] = lambda line: None,
) -> VariantSummary:
    """Add variants of the training cases to a dataset that MedDL has exported; variants it had are replaced.

    Raises:
        UsageError: there is no whole dataset, or its cases cannot be read back.
        UnwritableDataset: the folder cannot be written to.
        JobCancelled: on request; what was written stays.
    """
    return add_made_cases(Path(root), VariantMaker(options), progress=progress, cancelled=cancelled, log=log)


def _drawn(
    sample: Sample,
    segments: Sequence[Segment],
    planned: PlannedCase,
    options: VariantOptions,
    cancelled: Callable[[], bool],
) -> tuple[Draw, Sample, Realism]:
    ranges = {name: range_of(image) for name, image in sample.images.items()}
    for attempt in range(options.attempts):
        drawn = draw(options.plan, sample, options.seed, f"{planned.name}/{attempt}", ranges)
        made = replay(sample, drawn, cancelled=cancelled)
        realism = compare(sample, made, segments, exchanged=drawn.exchanges_sides)
        if realism.is_usable:
            break
    return drawn, made, realism
