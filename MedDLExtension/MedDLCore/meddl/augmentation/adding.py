"""Cases made from others as new cases of a dataset: into the training part only, marked, and the same on every run."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from meddl.augmentation.prepared_sample import quality_of
from meddl.datasets.case import Case, PreparedCase
from meddl.datasets.label_scheme import LabelScheme, Overlaps
from meddl.datasets.manifest import Manifest
from meddl.datasets.options import ExportOptions
from meddl.datasets.plan import CaseRecord, ExportPlan, PlannedCase
from meddl.datasets.synthetic import mark_of, real_cases, synthetic_case
from meddl.datasets.writer import DatasetWriter
from meddl.errors import JobCancelled, MedDLError, UnwritableDataset, UsageError

if TYPE_CHECKING:
    from meddl.augmentation.reading_back import Sources
    from meddl.datasets.export import ExportSummary

Progress = Callable[[float, str], None]

FACTS = "augmentation"
"""Under this name the manifest tells how a case was made from another."""


@dataclass(frozen=True)
class VariantSummary:
    """What became of making cases from others.

    Attributes:
        root: the dataset's folder.
        done, skipped: names of cases that were made now, and of those that were there already.
        failed: why, by name: cases that could not be made.
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


@dataclass(frozen=True, eq=False)
class Made:
    """A case made from another.

    Attributes:
        case: with what was made; name, part of the dataset and facts need not be told.
        facts: how it was made, JSON-able.
        warnings: what the user should look at, in sentences.
    """

    case: PreparedCase
    facts: Mapping[str, Any]
    warnings: tuple[str, ...] = ()


class Maker(ABC):
    """One way of making cases from others. Cases that other ways have made stay in the dataset."""

    mark: ClassVar[str] = ""
    """Small letters in the names of its cases that tell them from those of others."""
    what: ClassVar[str] = "variants"
    cancelled_text: ClassVar[str] = "The augmentation was cancelled. Variants that were finished are in the dataset."

    count: int
    """Cases made from each training case."""

    @property
    @abstractmethod
    def recipe(self) -> str:
        """What all its cases have in common: with another one they are made anew."""

    @abstractmethod
    def make(
        self,
        source: PreparedCase,
        planned: PlannedCase,
        plan: ExportPlan,
        record: CaseRecord,
        progress: Progress,
        cancelled: Callable[[], bool],
    ) -> Made:
        """Return the case ``planned`` made from ``source``, whose record is given."""

    def check(self, plan: ExportPlan) -> tuple[str, ...]:
        """Return notes for the user on a dataset that cases are to be made for.

        Raises:
            UsageError: none can be made for it; the message says why.
        """
        return ()

    def begin(self, manifest: Manifest, sources: Sources) -> None:  # noqa: B027 - most need to know nothing
        """Get to know the dataset before the first case is made; nothing is read yet."""

    def depends_on(self, planned: PlannedCase) -> str:
        """Return what a case depends on apart from its source and the recipe."""
        return ""


def with_made_cases(plan: ExportPlan, maker: Maker) -> ExportPlan:
    """Return an export's plan with what is made of its training cases, in place of what this way had made before.

    Raises:
        UsageError: no case is in the training part, or the format would validate with what is made.
    """
    real = real_cases(plan.cases)
    sources = [case for case in real if case.split == "train"]
    if not sources:
        raise UsageError(f"No case is in the training part of the dataset, and only of those {maker.what} are made.")
    if (
        plan.options.format == "nnunet"
        and all(c.fold is None for c in real)
        and all(c.split != "validation" for c in real)
    ):
        raise UsageError("nnU-Net would divide a dataset without folds by itself, and validate with variants of "
                         "what it has learned from. Export with folds or a validation part.")  # fmt: skip
    others = [case for case in plan.cases if case.source and mark_of(case) != maker.mark]
    made = [synthetic_case(case, n, maker.recipe, maker.mark) for case in sources for n in range(1, maker.count + 1)]
    taken = {case.name for case in (*real, *others)}
    if torn := next((case.name for case in made if case.name in taken), None):
        raise UsageError(f"A case of the dataset is called {torn} already, as its variant would be. Rename the case.")
    return replace(plan, cases=tuple(sorted([*real, *others, *made], key=lambda case: case.name)))


def export_with_made_cases(
    cases: Sequence[Case],
    output: Path,
    export: ExportOptions,
    maker: Maker,
    *,
    scheme: LabelScheme | None = None,
    overlaps: Overlaps = "order",
    key: Path | None = None,
    review: Path | None = None,
    progress: Progress = lambda fraction, text: None,
    cancelled: Callable[[], bool] = lambda: False,
    log: Callable[[str], None] = lambda line: None,
) -> tuple[ExportSummary, VariantSummary]:
    """Export cases as a dataset, with what is made of those of its training part.

    Arguments as of :func:`meddl.datasets.export_dataset`.
    The process may be killed at any time: the next call with the same arguments completes it, to the same bytes.

    Raises:
        UsageError: the cases make no dataset of this format, or nothing can be made for it.
        UnwritableDataset: the folder cannot be written to.
        JobCancelled: on request; what was written stays.
    """
    from meddl.augmentation.reading_back import CollectedSources
    from meddl.datasets.export import export_dataset, plan_cases
    from meddl.jobs.progress import part_of

    _, planning = plan_cases(
        cases, output, export, scheme=scheme, overlaps=overlaps, key=key, progress=part_of(progress, 0.0, 0.1),
        cancelled=cancelled,
    )  # fmt: skip
    maker.check(with_made_cases(planning.plan, maker))  # refuses before anything is written
    summary = export_dataset(
        cases, output, export, scheme=scheme, overlaps=overlaps, key=key, review=review,
        progress=part_of(progress, 0.1, 0.4), cancelled=cancelled, log=log,
    )  # fmt: skip
    sources = CollectedSources(planning.plan, cases)
    step = part_of(progress, 0.4, 1.0)
    return summary, add_made_cases(summary.root, maker, sources, progress=step, cancelled=cancelled, log=log)


def add_made_cases(
    root: Path,
    maker: Maker,
    sources: Sources | None = None,
    *,
    progress: Progress = lambda fraction, text: None,
    cancelled: Callable[[], bool] = lambda: False,
    log: Callable[[str], None] = lambda line: None,
) -> VariantSummary:
    """Add cases made from its training cases to a dataset that MedDL has exported.

    Args:
        sources: the cases as they went into the dataset; read back from its files by default.

    Raises:
        UsageError: there is no whole dataset, its cases cannot be read back, or nothing can be made for it.
        UnwritableDataset: the folder cannot be written to.
        JobCancelled: on request; what was written stays.
    """
    from meddl.augmentation.reading_back import sources_in
    from meddl.datasets.finishing import whole_dataset_files
    from meddl.datasets.manifest import read_manifest
    from meddl.jobs.progress import part_of

    manifest = read_manifest(root) if root.is_dir() else None
    if manifest is None:
        raise UsageError(f"{root.name} holds no dataset that MedDL has made. Export one first.")
    plan = _possible(with_made_cases(manifest.plan, maker), manifest, maker)
    notes = maker.check(plan)
    wanted = [case for case in plan.cases if case.source and mark_of(case) == maker.mark]
    sources = sources or sources_in(root, manifest, {case.source for case in wanted})
    maker.begin(manifest, sources)
    done, skipped, failed, warnings = [], [], {}, {}
    with DatasetWriter(root, plan) as writer:
        for number, planned in enumerate(wanted):
            step = part_of(progress, number / len(wanted), (number + 1) / len(wanted))
            step(0.0, f"{planned.name}, {number + 1} of {len(wanted)}")
            if cancelled():
                raise JobCancelled(maker.cancelled_text)
            record = manifest.records[planned.source]
            origin = _made_from(planned, record.made_from, maker)
            if writer.is_done(planned, origin):
                skipped.append(planned.name)
                told = writer.manifest.records[planned.name].facts.get(FACTS, {})
                found = tuple(map(str, told.get("warnings") or told.get("realism", {}).get("warnings", ())))
            else:
                try:
                    source = sources.prepared(planned.source)
                    made = maker.make(source, planned, plan, record, step, cancelled)
                    writer.write(_prepared(made, planned, plan, record), origin)
                except (JobCancelled, UsageError, UnwritableDataset):
                    raise
                except MedDLError as error:
                    failed[planned.name] = error.message
                    log(f"{planned.name}: left out")
                    continue
                done.append(planned.name)
                found = made.warnings
                log(f"{planned.name}: written")
            if found:
                warnings[planned.name] = found
        finished = writer.finish(whole_dataset_files(writer.manifest))
    progress(1.0, "Augmented")
    notes = (*notes, *_notes(plan))
    return VariantSummary(root, tuple(done), tuple(skipped), failed, warnings, notes, finished.complete)


def _possible(plan: ExportPlan, manifest: Manifest, maker: Maker) -> ExportPlan:
    """Leave out cases whose source could not be exported, and those that another maker has planned and not made."""
    written = set(manifest.records)

    def is_possible(case: PlannedCase) -> bool:
        return case.source in written and (mark_of(case) == maker.mark or case.name in written)

    return replace(plan, cases=tuple(case for case in plan.cases if not case.source or is_possible(case)))


def _prepared(made: Made, planned: PlannedCase, plan: ExportPlan, record: CaseRecord) -> PreparedCase:
    """Return a made case under the name, patient and part that it is planned to have."""
    case = replace(
        made.case,
        name=planned.name,
        patient=planned.patient,
        site=planned.site,
        split=planned.split,
        fold=planned.fold,
        dicom={},
        pictures={},
        # Whoever knows the source's images may know what UIDs were made up for its variant: nobody's are behind them.
        secret=made.case.secret or hashlib.sha256(record.case.digest.encode()).digest(),
    )
    how = {"of": planned.source, "source_images_sha256": record.case.digest, **made.facts}
    return replace(case, facts={"quality": quality_of(case, plan), FACTS: how})


def _made_from(planned: PlannedCase, source: str, maker: Maker) -> str:
    parts = [maker.recipe, source, planned.name, planned.patient, planned.site, planned.split, planned.fold]
    if more := maker.depends_on(planned):
        parts.append(more)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _notes(plan: ExportPlan) -> tuple[str, ...]:
    if any(case.source and case.fold is not None for case in plan.cases) and plan.options.format != "nnunet":
        return ("The dataset has folds. Learn from a variant only where its fold is not the one that is validated.",)
    return ()
