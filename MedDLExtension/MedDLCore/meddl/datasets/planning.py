"""Settling, before anything is written, which case gets which number, which part of the dataset and which labels."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from meddl.datasets.case import Case
from meddl.datasets.facts import CaseFacts
from meddl.datasets.formats.known import make_format
from meddl.datasets.label_scheme import LabelScheme, Overlaps
from meddl.datasets.manifest import Manifest, read_manifest
from meddl.datasets.numbering import Kept, numbered, patient_of
from meddl.datasets.options import ExportOptions
from meddl.datasets.plan import ExportPlan, PlannedCase
from meddl.datasets.writer import check_folder
from meddl.errors import UsageError

if TYPE_CHECKING:
    from meddl.datasets.deidentify.key_file import Key


@dataclass(frozen=True)
class Planning:
    """A plan and what became of the cases that are not in it.

    Attributes:
        plan: of the cases that can be exported, and of those that are in the dataset already.
        root: the dataset's folder.
        left_out: a sentence by case id.
        notes: what the user should know, in sentences.
    """

    plan: ExportPlan
    root: Path
    left_out: Mapping[str, str]
    notes: tuple[str, ...] = ()


def plan_export(
    cases: Sequence[Case],
    facts: Sequence[CaseFacts],
    options: ExportOptions,
    output: Path,
    *,
    scheme: LabelScheme | None = None,
    overlaps: Overlaps = "order",
    key: Key | None = None,
) -> Planning:
    """Return what an export is going to write.

    The same cases give the same plan, in whatever order they come. Cases that are in the dataset already keep their
    numbers and their parts of it; so do their patients' new cases where the patient is known, from cases that are
    collected again or from the key.

    Args:
        facts: of each case, in the same order.
        output: the folder the user chose; formats may make their own in it.
        scheme: of a segmentation; by default that of the dataset that is there, else the one that
            :func:`meddl.datasets.scheme_editing.propose_scheme` makes.
        overlaps: what becomes of structures that overlap, where ``scheme`` does not say.
        key: of the dataset.

    Raises:
        UsageError: the cases do not make a dataset of this format, or do not fit the one that is there.
    """
    from meddl.datasets.one_grid import check_grid_options

    check_grid_options(options.grid)
    if options.deidentify.deface == "template":
        from meddl.datasets.deidentify.deface_template import template_files

        template_files()
    form = make_format(options.format)
    root = Path(output) / form.folder(options)
    check_folder(root)
    before = read_manifest(root)
    kept, left_out = _usable(cases, facts)
    if not kept and (before is None or not before.plan.cases):
        reasons = " ".join(dict.fromkeys(left_out.values()))
        raise UsageError(f"There is no case to export. {reasons}".strip())
    task = _one_task(kept, before)
    kept = _labeled(kept, left_out, task)
    channels = _channels(kept, left_out, before)
    kept = [(case, fact) for case, fact in kept if case.id not in left_out]
    notes: list[str] = []
    if task == "segmentation":
        from meddl.datasets.scheme_table import scheme_notes

        scheme = _scheme(scheme, overlaps, kept, before)
        notes += scheme_notes(scheme, [fact for _, fact in kept])
    else:
        scheme = None
    classes = _classes(kept, before, task)
    planned = numbered(kept, options, before, key, notes, task, scheme)
    if key is not None:
        _check_key(key, planned, kept, before)
    if before is not None and _parts(planned) <= _parts(before.plan.cases):
        options = replace(options, split=before.plan.options.split)  # by which they were divided
    plan = ExportPlan(options, task, channels, _modalities(kept, channels, before), scheme, classes, planned)
    if before is not None:
        _check_same(before.plan, plan)
    if options.deidentify.profile == "basic":
        from meddl.datasets.deidentify.identifier_check import check_plan

        check_plan(plan, [fact for _, fact in kept])
    form.check(plan)
    return Planning(plan, root, left_out, (*notes, *form.neighbors(root, plan)))


def made_from(planned: PlannedCase, facts: CaseFacts, plan: ExportPlan) -> str:
    """Return a SHA-256 of all that a case's files depend on: a case is written again only where it changes."""
    options = plan.options
    parts = {
        "digest": [channel.digest for channel in facts.channels.values()],
        "label": facts.label_digest,
        "options": {**options.to_dict(), "split": None, "description": "", "license": "", "consent": "", "contact": ""},
        "labels": _labels_of(facts, plan.scheme) if plan.scheme else None,
        "classes": plan.classes,
        "case": [planned.name, planned.patient, planned.site, planned.split, planned.fold],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _labels_of(facts: CaseFacts, scheme: LabelScheme) -> list[object]:
    """Return what becomes of a case's structures, with nothing that they were called before: names can be guessed."""
    index = {source: number for number, each in enumerate(scheme.structures) for source in each.sources}
    values = [-1 if each.key in scheme.ignore else index.get(each.key) for each in facts.structures]
    public = [[each.name, each.color, each.terminology] for each in scheme.structures]
    return [public, scheme.overlaps, scheme.combinations, scheme.ignore_value, values]


def _usable(cases: Sequence[Case], facts: Sequence[CaseFacts]) -> tuple[Kept, dict[str, str]]:
    kept: Kept = []
    left_out: dict[str, str] = {}
    for case, fact in zip(cases, facts, strict=True):
        if fact.problems:
            left_out[case.id] = " ".join(fact.problems)
        else:
            kept.append((case, fact))
    return kept, left_out


def _one_task(kept: Kept, before: Manifest | None) -> str:
    tasks = Counter(case.task for case, _ in kept if case.task)
    if before is not None:
        tasks[before.plan.task] += len(kept) + 1
    if not tasks:
        raise UsageError("No case has a label. Add a segmentation, class, boxes, points or target image to them.")
    if len(tasks) > 1:
        told = ", ".join(f"{count} for {task}" for task, count in tasks.most_common())
        raise UsageError(
            f"The cases have labels of different kinds ({told}). A dataset is for one task: export them one by one."
        )
    return next(iter(tasks))


def _labeled(kept: Kept, left_out: dict[str, str], task: str) -> Kept:
    """Leave out images without a label whose patient has labeled ones: they would be in training and test."""
    labeled = {patient_of(case) for case, _ in kept if case.task}
    for case, _ in kept:
        if not case.task and patient_of(case) in labeled:
            left_out[case.id] = "It has no label, while other images of the patient have one."
    return [(case, fact) for case, fact in kept if case.id not in left_out]


def _channels(kept: Kept, left_out: dict[str, str], before: Manifest | None) -> tuple[str, ...]:
    sets = Counter(tuple(case.images) for case, _ in kept)
    if before is not None:
        channels = before.plan.channels
    else:
        most = max(sets.values())
        channels = min(each for each, count in sets.items() if count == most)
        channels = next(tuple(case.images) for case, _ in kept if sorted(case.images) == sorted(channels))
    for case, _ in kept:
        missing = [name for name in channels if name not in case.images]
        extra = [name for name in case.images if name not in channels]
        if missing or extra:
            what = (
                f"It has no image {missing[0]!r}" if missing else f"It has one image more than the others, {extra[0]!r}"
            )
            left_out[case.id] = f"{what}. The images of this dataset are: {', '.join(channels)}."
    return channels


def _scheme(scheme: LabelScheme | None, overlaps: Overlaps, kept: Kept, before: Manifest | None) -> LabelScheme:
    from meddl.datasets.scheme_editing import completed, same_labels
    from meddl.datasets.scheme_proposal import propose_scheme

    facts = [fact for _, fact in kept]
    if before is not None and (there := before.plan.scheme) is not None:
        if scheme is not None and not same_labels(scheme, there):
            raise UsageError(
                "The dataset in this folder has other labels. Cases that are added get the same ones; for other labels "
                "choose an empty folder."
            )
        scheme = completed(there, facts)
        if scheme.ignore_value != there.ignore_value:
            raise UsageError(
                "The new cases have overlaps that none of the dataset had, for which the ignore label would have to "
                "change. Export all cases together into an empty folder."
            )
    else:
        scheme = completed(scheme, facts) if scheme else propose_scheme(facts, overlaps=overlaps)
    if not scheme.structures:
        raise UsageError("No structure is left to export. Keep at least one in the table of labels.")
    return scheme


def _classes(kept: Kept, before: Manifest | None, task: str) -> tuple[str, ...]:
    found: set[str] = set()
    for _, fact in kept:
        found |= {"classification": set(fact.classes), "detection": set(fact.boxes)}.get(task, set())
    known = list(before.plan.classes) if before is not None else []
    if task == "landmarks":  # their order is the order of the model's channels: as the cases have it
        return tuple(dict.fromkeys([*known, *(name for _, fact in kept for name in fact.points)]))
    return (*known, *sorted(found - set(known)))


def _modalities(kept: Kept, channels: Sequence[str], before: Manifest | None) -> dict[str, str]:
    told: dict[str, set[str]] = defaultdict(set)
    for _, fact in kept:
        for name in channels:
            told[name].add(fact.channels[name].modality)
    if before is not None:
        for name in channels:
            told[name].add(before.plan.modality.get(name, ""))
    return {name: next(iter(told[name])) if len(told[name]) == 1 else "" for name in channels}


def _parts(cases: Sequence[PlannedCase]) -> set[tuple[str, str, int | None]]:
    return {(case.name, case.split, case.fold) for case in cases}


def _check_key(key: Key, planned: Sequence[PlannedCase], kept: Kept, before: Manifest | None) -> None:
    """Refuse the key of another dataset, whose rows those of this one would take the place of."""
    rows = {row.name: row for row in key.rows}
    there = {each.name for each in before.plan.cases} if before else set()
    cases = {case.id: case for case, _ in kept}
    for each in planned:
        row, case = rows.get(each.name), cases.get(each.id)
        if row is None or case is None or each.name in there:
            continue
        if row.case != case.id and (row.patient or row.case) != patient_of(case):
            raise UsageError("The key file is that of another dataset: numbers of this one stand for others in it. "
                             "Choose another file for the key.")  # fmt: skip


def _check_same(before: ExportPlan, plan: ExportPlan) -> None:
    """Refuse to add cases to a dataset that was made otherwise."""
    old, new = before.options, plan.options
    differences = {
        "format": old.format != new.format,
        "task": before.task != plan.task,
        "grid": old.grid != new.grid,
        "file ending": old.file_ending != new.file_ending,
        "de-identification": old.deidentify != new.deidentify,
    }
    if different := [name for name, differs in differences.items() if differs]:
        raise UsageError(
            f"The dataset in this folder was made with another {different[0]}. Export with the same options, or choose "
            "an empty folder."
        )
