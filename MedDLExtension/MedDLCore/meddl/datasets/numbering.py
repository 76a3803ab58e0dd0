"""Numbers for cases, patients and sites, and the parts of the dataset they go to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from meddl.batch.naming import safe_names
from meddl.datasets.case import Case, Split
from meddl.datasets.facts import CaseFacts
from meddl.datasets.label_scheme import LabelScheme
from meddl.datasets.manifest import Manifest
from meddl.datasets.options import ExportOptions
from meddl.datasets.plan import PlannedCase

if TYPE_CHECKING:
    from meddl.datasets.deidentify.key_file import Key

Kept = list[tuple[Case, CaseFacts]]


def numbered(
    kept: Kept,
    options: ExportOptions,
    before: Manifest | None,
    key: Key | None,
    notes: list[str],
    task: str,
    scheme: LabelScheme | None,
) -> tuple[PlannedCase, ...]:
    """Return the cases under their numbers, with those that are in the dataset already, in the order of the names.

    Args:
        kept: cases that can be exported, each with its facts.
        before: the dataset that is there, or None.
        key: of that dataset: it knows patients again.
        notes: what the user should know is added to it.
    """
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
    _add_names(patients, (patient_of(case) for case, _ in kept), "patient", is_public, [each.patient for each in old])
    _add_names(sites, (case.site for case, _ in kept if case.site), "site", is_public, [each.site for each in old])
    parts = _splits(kept, options, old, known, patients, sites, task, scheme, notes)
    planned = [each for left in there.values() for each in left]
    for case, fact in kept:
        split, fold = parts[case.id]
        name = known[case.id].name if case.id in known else names[case.id]
        site = sites.get(case.site, "")
        planned.append(PlannedCase(case.id, name, patients[patient_of(case)], site, split, fold, fact.digest))
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


def patient_of(case: Case) -> str:
    """Return what tells a case's patient from others: without one, each case is a patient of its own."""
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
        patient, site = patients[patient_of(case)], sites.get(case.site, "")
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
