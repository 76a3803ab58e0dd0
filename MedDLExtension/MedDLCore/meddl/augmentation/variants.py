"""Variants of cases as new cases of a dataset: into the training part only, marked, and the same on every run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meddl.augmentation.applying import replay
from meddl.augmentation.draw import Draw, draw
from meddl.augmentation.guard import Realism, compare
from meddl.augmentation.plan import AugmentationPlan
from meddl.augmentation.sample import Sample, range_of
from meddl.augmentation.sides import sides_of_scheme, with_names
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
from meddl.datasets.options import ExportOptions
from meddl.datasets.plan import ExportPlan, PlannedCase
from meddl.datasets.synthetic import real_cases, synthetic_case
from meddl.datasets.writer import DatasetWriter
from meddl.errors import JobCancelled, MedDLError, UnwritableDataset, UsageError
from meddl.volume import Segment

if TYPE_CHECKING:
    from meddl.augmentation.reading_back import Sources
    from meddl.datasets.export import ExportSummary

_ALGORITHM = 1
"""Another number where the same draw gives other voxels: variants of older versions are then made anew."""

Progress = Callable[[float, str], None]


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


@dataclass(frozen=True)
class VariantSummary:
    """What became of making variants.

    Attributes:
        root: the dataset's folder.
        done, skipped: names of variants that were made now, and of those that were there already.
        failed: why, by name: variants that could not be made.
        warnings: what the realism guard says, by name.
        notes: what the user should know, in sentences.
        complete: all that was planned is in the dataset.
    """

    root: Path
    done: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    warnings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    complete: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as a job's result carries it."""
        warnings = {name: list(each) for name, each in self.warnings.items()}
        return {**vars(self), "failed": dict(self.failed), "warnings": warnings}


def with_variants(plan: ExportPlan, options: VariantOptions) -> ExportPlan:
    """Return an export's plan with the variants of its training cases, in place of those it had.

    Raises:
        UsageError: no case is in the training part, or the format would validate with variants.
    """
    real = real_cases(plan.cases)
    sources = [case for case in real if case.split == "train"]
    if not sources:
        raise UsageError("No case is in the training part of the dataset, and only of those variants are made.")
    if (
        plan.options.format == "nnunet"
        and all(c.fold is None for c in real)
        and all(c.split != "validation" for c in real)
    ):
        raise UsageError("nnU-Net would divide a dataset without folds by itself, and validate with variants of "
                         "what it has learned from. Export with folds or a validation part.")  # fmt: skip
    made = [synthetic_case(case, n, options.recipe) for case in sources for n in range(1, options.count + 1)]
    taken = {case.name for case in real}
    if torn := next((case.name for case in made if case.name in taken), None):
        raise UsageError(f"A case of the dataset is called {torn} already, as its variant would be. Rename the case.")
    return replace(plan, cases=tuple(sorted([*real, *made], key=lambda case: case.name)))


def augment_cases(
    cases: Sequence[Case],
    output: Path,
    export: ExportOptions,
    options: VariantOptions,
    *,
    key: Path | None = None,
    progress: Progress = lambda fraction, text: None,
    cancelled: Callable[[], bool] = lambda: False,
    log: Callable[[str], None] = lambda line: None,
) -> tuple[ExportSummary, VariantSummary]:
    """Export cases as a dataset, with variants of those of its training part.

    The process may be killed at any time: the next call with the same arguments completes it, to the same bytes.

    Raises:
        UsageError: the cases make no dataset of this format.
        UnwritableDataset: the folder cannot be written to.
        JobCancelled: on request; what was written stays.
    """
    from meddl.augmentation.reading_back import CollectedSources
    from meddl.datasets.export import export_dataset, plan_cases
    from meddl.jobs.progress import part_of

    _, planning = plan_cases(cases, output, export, key=key, progress=part_of(progress, 0.0, 0.1), cancelled=cancelled)
    with_variants(planning.plan, options)  # refuses before anything is written
    summary = export_dataset(
        cases, output, export, key=key, progress=part_of(progress, 0.1, 0.4), cancelled=cancelled, log=log
    )
    sources = CollectedSources(planning.plan, cases)
    made = _add(summary.root, options, sources, part_of(progress, 0.4, 1.0), cancelled, log)
    return summary, made


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
    return _add(Path(root), options, None, progress, cancelled, log)


def _add(
    root: Path,
    options: VariantOptions,
    sources: Sources | None,
    progress: Progress,
    cancelled: Callable[[], bool],
    log: Callable[[str], None],
) -> VariantSummary:
    from meddl.augmentation.reading_back import sources_in
    from meddl.datasets.finishing import whole_dataset_files
    from meddl.datasets.manifest import read_manifest

    manifest = read_manifest(root) if root.is_dir() else None
    if manifest is None:
        raise UsageError(f"{root.name} holds no dataset that MedDL has made. Export one first.")
    plan = with_variants(manifest.plan, options)
    # What could not be exported has no variants either.
    written = set(manifest.records)
    plan = replace(plan, cases=tuple(case for case in plan.cases if not case.source or case.source in written))
    wanted = [case for case in plan.cases if case.source]
    sources = sources or sources_in(root, manifest, {case.source for case in wanted})
    done, skipped, failed, warnings = [], [], {}, {}
    with DatasetWriter(root, plan) as writer:
        for number, planned in enumerate(wanted):
            progress(number / len(wanted), f"{planned.name}, {number + 1} of {len(wanted)}")
            if cancelled():
                raise JobCancelled("The augmentation was cancelled. Variants that were finished are in the dataset.")
            record = manifest.records[planned.source]
            origin = _made_from(planned, record.made_from, options)
            if writer.is_done(planned, origin):
                skipped.append(planned.name)
                told = writer.manifest.records[planned.name].facts.get("augmentation", {}).get("realism", {})
                found = tuple(map(str, told.get("warnings", ())))
            else:
                try:
                    source = sources.prepared(planned.source)
                    made, found = make_variant(source, planned, plan, options, record.case.digest, cancelled)
                    writer.write(made, origin)
                except (JobCancelled, UsageError, UnwritableDataset):
                    raise
                except MedDLError as error:
                    failed[planned.name] = error.message
                    log(f"{planned.name}: left out")
                    continue
                done.append(planned.name)
                log(f"{planned.name}: written")
            if found:
                warnings[planned.name] = found
        finished = writer.finish(whole_dataset_files(writer.manifest))
    progress(1.0, "Augmented")
    return VariantSummary(root, tuple(done), tuple(skipped), failed, warnings, _notes(plan), finished.complete)


def make_variant(
    source: PreparedCase,
    planned: PlannedCase,
    plan: ExportPlan,
    options: VariantOptions,
    source_digest: str,
    cancelled: Callable[[], bool] = lambda: False,
) -> tuple[PreparedCase, tuple[str, ...]]:
    """Return a variant of a case as it goes into a dataset, and what the realism guard says."""
    sample = sample_of(source, plan)
    segments = segments_of(plan)
    drawn, made, realism = _drawn(sample, segments, planned, options, cancelled)
    prepared = replace(
        source,
        name=planned.name,
        patient=planned.patient,
        site=planned.site,
        split=planned.split,
        fold=planned.fold,
        images=made.images,
        labels=made.labels,
        classes=made.classes,
        boxes=made.boxes,
        points=made.points,
        target=made.target,
        dicom={},
        pictures={},
        # Whoever knows the source's images may know what UIDs were made up for its variant: nobody's are behind them.
        secret=source.secret or hashlib.sha256(source_digest.encode()).digest(),
    )
    facts = {
        "quality": _quality(prepared, plan),
        "augmentation": {
            "of": planned.source,
            "source_images_sha256": source_digest,
            "draw": drawn.to_dict(),
            "realism": realism.to_dict(),
        },
    }
    return replace(prepared, facts=facts), (*drawn.notes, *realism.warnings)


def sample_of(case: PreparedCase, plan: ExportPlan) -> Sample:
    """Return what is augmented of a case, with what its labels become in a mirror."""
    from meddl.augmentation.sides import Sides

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
        realism = compare(sample, made, segments)
        if realism.is_usable:
            break
    return drawn, made, realism


def _made_from(planned: PlannedCase, source: str, options: VariantOptions) -> str:
    parts = [options.recipe, source, planned.name, planned.patient, planned.site, planned.split, planned.fold]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _quality(case: PreparedCase, plan: ExportPlan) -> dict[str, Any]:
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


def _notes(plan: ExportPlan) -> tuple[str, ...]:
    if any(case.source and case.fold is not None for case in plan.cases) and plan.options.format != "nnunet":
        return ("The dataset has folds. Learn from a variant only where its fold is not the one that is validated.",)
    return ()
