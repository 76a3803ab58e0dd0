"""Settling, before anything is written, which case gets which number, which part of the dataset and which labels."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from meddl.batch.naming import safe_names
from meddl.datasets.case import Case, Split
from meddl.datasets.facts import CaseFacts
from meddl.datasets.formats.known import make_format
from meddl.datasets.label_scheme import LabelScheme, Overlaps
from meddl.datasets.manifest import Manifest, read_manifest
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
    form = make_format(options.format)
    root = Path(output) / form.folder(options)
    check_folder(root)
    before = read_manifest(root)
    kept, left_out = _usable(cases, facts)
    if not kept and (before is None or not before.plan.cases):
        reasons = "; ".join(dict.fromkeys(left_out.values()))
        raise UsageError(f"There is no case to export. {reasons}".strip())
    task = _one_task(kept, before)
    kept = _labeled(kept, left_out, task)
    channels = _channels(kept, left_out, before)
    kept = [(case, fact) for case, fact in kept if case.id not in left_out]
    notes: list[str] = []
    if task == "segmentation":
        scheme = _scheme(scheme, overlaps, kept, before)
    else:
        scheme = None
    classes = _classes(kept, before, task)
    planned = _numbered(kept, options, before, key, notes, task, scheme)
    plan = ExportPlan(options, task, channels, _modalities(kept, channels, before), scheme, classes, planned)
    if before is not None:
        _check_same(before.plan, plan)
    if options.deidentify.profile == "basic":
        from meddl.datasets.deidentify.identifier_check import check_plan

        check_plan(plan, [fact for _, fact in kept])
    form.check(plan)
    return Planning(plan, root, left_out, tuple(notes))


def made_from(planned: PlannedCase, facts: CaseFacts, plan: ExportPlan) -> str:
    """Return a SHA-256 of all that a case's files depend on: a case is written again only where it changes."""
    options = plan.options
    parts = {
        "digest": [channel.digest for channel in facts.channels.values()],
        "label": facts.label_digest,
        "options": {**options.to_dict(), "split": None, "description": "", "license": "", "consent": "", "contact": ""},
        "labels": {**plan.scheme.to_dict(), "dropped": None} if plan.scheme else None,
        "classes": plan.classes,
        "case": [planned.name, planned.patient, planned.site, planned.split, planned.fold],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


Kept = list[tuple[Case, CaseFacts]]


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
    labeled = {_patient(case) for case, _ in kept if case.task}
    for case, _ in kept:
        if not case.task and _patient(case) in labeled:
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
    from meddl.datasets.scheme_editing import completed
    from meddl.datasets.scheme_proposal import propose_scheme

    facts = [fact for _, fact in kept]
    if before is not None and (there := before.plan.scheme) is not None:
        if scheme is not None and (scheme.structures, scheme.ignore) != (there.structures, there.ignore):
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


def _numbered(
    kept: Kept,
    options: ExportOptions,
    before: Manifest | None,
    key: Key | None,
    notes: list[str],
    task: str,
    scheme: LabelScheme | None,
) -> tuple[PlannedCase, ...]:
    # In the order of the images' digests: it says nothing of names, and is the same on every run.
    kept = sorted(kept, key=lambda pair: (pair[1].digest, pair[0].id))
    there: dict[str, list[PlannedCase]] = defaultdict(list)
    for each in before.plan.cases if before else ():
        there[each.digest].append(each)
    known = {case.id: there[fact.digest].pop(0) for case, fact in kept if there.get(fact.digest)}
    if before is not None and before.plan.cases and not known and key is None:
        notes.append(
            "None of the patients can be compared with those in the dataset, since there is no key file. "
            "Make sure that no patient is in both."
        )
    is_public = options.deidentify.profile == "basic"
    patients = {case.patient or case.id: known[case.id].patient for case, _ in kept if case.id in known}
    sites = {case.site: known[case.id].site for case, _ in kept if case.id in known and case.site}
    if key is not None:
        patients |= {row.patient or row.case: row.dataset_patient for row in key.rows}
    old = _there(before) if before else {}
    names = _names(
        [case.id for case, _ in kept if case.id not in known], "case", is_public, [each.name for each in old]
    )
    _add_names(patients, (_patient(case) for case, _ in kept), "patient", is_public, [each.patient for each in old])
    _add_names(sites, (case.site for case, _ in kept if case.site), "site", is_public, [each.site for each in old])
    parts = _splits(kept, options, old, known, patients, sites, task, scheme, notes)
    planned = [each for left in there.values() for each in left]
    for case, fact in kept:
        split, fold = parts[case.id]
        name = known[case.id].name if case.id in known else names[case.id]
        site = sites.get(case.site, "")
        planned.append(PlannedCase(case.id, name, patients[_patient(case)], site, split, fold, fact.digest))
    return tuple(sorted(planned, key=lambda each: each.name))


def _names(ids: Sequence[str], word: str, is_public: bool, taken: Sequence[str]) -> dict[str, str]:
    if not is_public:
        safe = [name.replace(" ", "_") for name in safe_names([*taken, *ids])][len(taken) :]
        return dict(zip(ids, safe, strict=True))
    first = 1 + max((int(name.rpartition("_")[2]) for name in taken if name.rpartition("_")[2].isdigit()), default=0)
    return {each: f"{word}_{number:04d}" for number, each in enumerate(ids, first)}


def _add_names(names: dict[str, str], wanted: Iterable[str], word: str, is_public: bool, taken: Sequence[str]) -> None:
    new = [each for each in dict.fromkeys(wanted) if each not in names]
    names.update(_names(new, word, is_public, [*taken, *names.values()]))


def _patient(case: Case) -> str:
    return case.patient or case.id


def _splits(
    kept: Kept,
    options: ExportOptions,
    old: Mapping[PlannedCase, tuple[str, ...]],
    known: Mapping[str, PlannedCase],
    patients: Mapping[str, str],
    sites: Mapping[str, str],
    task: str,
    scheme: LabelScheme | None,
    notes: list[str],
) -> dict[str, tuple[Split, int | None]]:
    from meddl.datasets.splitting import SplitItem, assign_splits, split_notes

    strata = _strata(task, scheme)
    items, fixed = [], {}
    for case, fact in kept:
        patient, site = patients[_patient(case)], sites.get(case.site, "")
        items.append(SplitItem(case.id, patient, site, strata(fact), fact.digest, counts=bool(case.task)))
        if case.id in known:
            fixed[case.id] = (known[case.id].split, known[case.id].fold)
        elif case.split:
            fixed[case.id] = (case.split, None)
        elif not case.task:
            fixed[case.id] = ("test", None)
    numbers = {each.name for each in known.values()}
    for each, labels in old.items():  # cases that were not collected again hold their patients where they are
        if each.name not in numbers:
            items.append(SplitItem(f"\0{each.name}", each.patient, each.site, labels, each.digest))
            fixed[f"\0{each.name}"] = (each.split, each.fold)
    parts = assign_splits(items, options.split, fixed)
    notes += split_notes(items, options.split, parts)
    return parts


def _there(before: Manifest) -> dict[PlannedCase, tuple[str, ...]]:
    """Return the cases of a dataset, each with what is labeled in it."""
    labels = {}
    for case in before.plan.cases:
        record = before.records.get(case.name)
        quality = record.facts.get("quality", {}) if record else {}
        structures = (str(each["name"]) for each in quality.get("structures", ()) if each["voxels"])
        labels[case] = tuple(sorted({*structures, *quality.get("classes", ()), *quality.get("boxes", ())}))
    return labels


def _strata(task: str, scheme: LabelScheme | None) -> Callable[[CaseFacts], tuple[str, ...]]:
    if task == "segmentation" and scheme is not None:
        names = {source: each.name for each in scheme.structures for source in each.sources}
        return lambda fact: tuple(sorted({names[s.key] for s in fact.structures if s.voxels and s.key in names}))
    return lambda fact: tuple(sorted({*fact.classes, *fact.boxes}))


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
