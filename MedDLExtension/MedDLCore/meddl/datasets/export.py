"""Cases in, dataset out: the whole way in one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from meddl.datasets.case import Case
from meddl.datasets.deidentify.key_file import Key, KeyRow, new_key, read_key, write_key
from meddl.datasets.facts import CaseFacts
from meddl.datasets.finishing import whole_dataset_files
from meddl.datasets.label_scheme import LabelScheme, Overlaps
from meddl.datasets.looking import look_at, public_facts
from meddl.datasets.numbering import files_of
from meddl.datasets.options import ExportOptions, key_outside
from meddl.datasets.plan import ExportPlan, PlannedCase
from meddl.datasets.planning import Planning, made_from, plan_export
from meddl.datasets.prepare import prepare_case
from meddl.datasets.writer import DatasetWriter
from meddl.errors import JobCancelled, MedDLError, UnwritableDataset, UsageError
from meddl.jobs.progress import part_of
from meddl.volume import whole_file

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class ExportSummary:
    """What became of an export.

    Attributes:
        root: the dataset's folder.
        done, skipped: names (in the dataset) of cases that were written now, and of those that were there already.
        left_out: why, by the case's own id: cases that the plan has no place for.
        failed: why, by the case's own id: cases that could not be written.
        notes: what the user should know, in sentences.
        complete: all that was planned is in the dataset.
    """

    root: Path
    done: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    complete: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as a job's result carries it."""
        return {**vars(self), "left_out": dict(self.left_out), "failed": dict(self.failed)}


def look_at_all(
    cases: Sequence[Case],
    *,
    progress: Progress = lambda fraction, text: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> tuple[CaseFacts, ...]:
    """Return what looking at each case tells, in their order.

    Raises:
        JobCancelled: on request.
    """
    facts = []
    for number, case in enumerate(cases):
        progress(number / len(cases), f"Looking at case {number + 1} of {len(cases)}")
        if cancelled():
            raise JobCancelled("The export was cancelled.")
        facts.append(look_at(case))
    return tuple(facts)


def plan_cases(
    cases: Sequence[Case],
    output: Path,
    options: ExportOptions,
    *,
    scheme: LabelScheme | None = None,
    overlaps: Overlaps = "order",
    key: Path | None = None,
    progress: Progress = lambda fraction, text: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> tuple[tuple[CaseFacts, ...], Planning]:
    """Look at all cases and plan their export; nothing is written. Arguments and errors of :func:`export_dataset`."""
    known = _known(key)
    facts = look_at_all(cases, progress=progress, cancelled=cancelled)
    planning = plan_export(cases, facts, options, output, scheme=scheme, overlaps=overlaps, key=known)
    key_outside(key, planning.root)
    return facts, planning


def export_dataset(
    cases: Sequence[Case],
    output: Path,
    options: ExportOptions,
    *,
    scheme: LabelScheme | None = None,
    overlaps: Overlaps = "order",
    key: Path | None = None,
    review: Path | None = None,
    progress: Progress = lambda fraction, text: None,
    cancelled: Callable[[], bool] = lambda: False,
    log: Callable[[str], None] = lambda line: None,
) -> ExportSummary:
    """Export cases as a dataset. What is in the folder already and still the same stays; the rest is written.

    A case that cannot be read or written never stops the others. The process may be killed at any time: the dataset is
    whole, and the next call with the same arguments completes it.

    Args:
        output: the folder; some formats make their own in it.
        scheme: names and values of the structures; by default made from what the cases have.
        overlaps: what becomes of structures that overlap, where ``scheme`` does not say.
        key: file that keeps who is who, outside of the dataset; read where it exists. None: nobody can tell afterwards.
        review: folder for pictures of what defacing did, outside of the dataset: faces are on them.

    Raises:
        UsageError: the cases make no dataset of this format, or the folder holds something else.
        UnwritableDataset: the folder cannot be written to.
        JobCancelled: on request; what was written stays.

    Example:
        >>> from meddl.datasets import ExportOptions, collect_cases, export_dataset
        >>> cases = collect_cases(Path("heads.csv"))  # doctest: +SKIP
        >>> export_dataset(cases, Path("trainingsets"), ExportOptions(name="Brain")).complete  # doctest: +SKIP
        True
    """
    facts, planning = plan_cases(
        cases,
        output,
        options,
        scheme=scheme,
        overlaps=overlaps,
        key=key,
        progress=part_of(progress, 0.0, 0.3),
        cancelled=cancelled,
    )
    key_outside(review, planning.root)
    plan, known = planning.plan, _known(key)
    by_id = {case.id: (case, fact) for case, fact in zip(cases, facts, strict=True)}
    wanted = [case for case in plan.cases if case.id]
    done, skipped, failed = [], [], {}
    with DatasetWriter(planning.root, plan) as writer:
        secret = keep_key(key, known, plan, cases, planning.root, writer)
        for number, planned in enumerate(wanted):
            text = f"{planned.name}, {number + 1} of {len(wanted)}"
            step = part_of(progress, 0.3 + 0.68 * number / len(wanted), 0.3 + 0.68 * (number + 1) / len(wanted))
            step(0.0, text)
            if cancelled():
                raise JobCancelled("The export was cancelled. Cases that were finished are in the dataset.")
            case, fact = by_id[planned.id]
            try:
                if write_case(writer, case, fact, planned, secret, review, progress=step, cancelled=cancelled):
                    done.append(planned.name)
                    log(f"{planned.name}: written")
                else:
                    skipped.append(planned.name)
            except (JobCancelled, UsageError, UnwritableDataset):
                raise
            except MedDLError as error:
                failed[case.id] = error.message
                log(f"{planned.name}: left out")
        progress(0.98, "Datasheet and report")
        manifest = writer.finish(whole_dataset_files(writer.manifest))
    progress(1.0, "Exported")
    return ExportSummary(
        planning.root, tuple(done), tuple(skipped), planning.left_out, failed, planning.notes, manifest.complete
    )


def write_case(
    writer: DatasetWriter,
    case: Case,
    facts: CaseFacts,
    planned: PlannedCase,
    secret: bytes,
    review: Path | None = None,
    *,
    progress: Progress = lambda fraction, text: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> bool:
    """Write one case; return False where it is in the dataset already, made from the same."""
    from dataclasses import replace

    from meddl.datasets.loading import load_case

    plan = writer.plan
    origin = made_from(planned, facts, plan)
    if writer.is_done(planned, origin):
        return False
    prepared = prepare_case(load_case(case), planned, plan, secret, progress=progress, cancelled=cancelled)
    public = public_facts(facts, planned, plan.scheme).to_dict()
    prepared = replace(prepared, facts={**prepared.facts, "quality": public})
    progress(0.9, f"Writing {planned.name}")
    writer.write(prepared, origin)
    if review is not None:
        review.mkdir(parents=True, exist_ok=True)
        for name, picture in prepared.pictures.items():
            with whole_file(review / f"{planned.name}_{name}.png") as file:
                file.write(picture)
    return True


def keep_key(
    path: Path | None, known: Key | None, plan: ExportPlan, cases: Sequence[Case], root: Path, writer: DatasetWriter
) -> bytes:
    """Write who is who before the first case is, where the user wants a key; return the dataset's secret."""
    if path is None:
        return known.secret if known else writer.secret()
    by_id = {case.id: case for case in cases}
    rows = []
    for planned in plan.cases:
        if case := by_id.get(planned.id):
            rows.append(KeyRow(planned.name, planned.patient, case.id, case.patient, case.study, files_of(case)))
    key = (known or new_key()).with_rows(rows)
    write_key(key, path, root)
    return key.secret


def _known(key: Path | None) -> Key | None:
    return read_key(key) if key is not None and key.exists() else None


__all__ = ["ExportSummary", "Planning", "export_dataset", "keep_key", "look_at_all", "write_case"]
