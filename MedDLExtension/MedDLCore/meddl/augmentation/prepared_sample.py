"""A dataset's case as a sample to augment, and what its manifest tells about one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from meddl.augmentation.sample import Sample
from meddl.augmentation.sides import Sides, sides_of_scheme, with_names
from meddl.datasets.case import (
    BoxesLabel,
    Case,
    ClassLabel,
    Label,
    LandmarksLabel,
    LoadedCase,
    PreparedCase,
    SegmentationLabel,
    TargetLabel,
)
from meddl.datasets.plan import ExportPlan
from meddl.volume import Segment


def sample_of(case: PreparedCase, plan: ExportPlan) -> Sample:
    """Return what is augmented of a case, with what its labels become in a mirror."""
    sides = sides_of_scheme(plan.scheme) if plan.scheme is not None else Sides()
    used = (*case.classes, *(box.label for box in case.boxes or ()), *(point.name for point in case.points or ()))
    sides = with_names(sides, used, plan.classes)
    return Sample(case.images, case.labels, case.boxes, case.points, case.classes, case.target, sides)


def segments_of(plan: ExportPlan) -> tuple[Segment, ...]:
    """Return what the values of a dataset's label maps mean."""
    from meddl.datasets.formats.label_maps import value_names

    if plan.scheme is None:
        return ()
    return tuple(Segment(value, name, (0.5, 0.5, 0.5)) for value, name in value_names(plan.scheme).items() if value)


def quality_of(case: PreparedCase, plan: ExportPlan) -> dict[str, Any]:
    """Return the line of the quality table, as other cases of the dataset have one."""
    from meddl.datasets.inspection import inspect_case

    label: Label | None = None
    segments = segments_of(plan)
    if case.labels is not None:
        label = SegmentationLabel(case.labels, segments)
    elif case.target is not None:
        label = TargetLabel(case.target)
    elif case.boxes is not None:
        label = BoxesLabel(case.boxes)
    elif case.points is not None:
        label = LandmarksLabel(case.points)
    elif case.classes:
        label = ClassLabel(case.classes)
    images = {
        name: replace(image, meta={"modality": case.modality.get(name, "")}) for name, image in case.images.items()
    }
    loaded = LoadedCase(Case(case.name, images, label), images, case.labels, segments, case.target)
    facts = replace(inspect_case(loaded), combinations={}, seen=(), problems=(), warnings=())
    return facts.to_dict()
