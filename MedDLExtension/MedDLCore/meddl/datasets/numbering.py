"""Numbers for cases, patients and sites, and the parts of the dataset they go to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from meddl.batch.naming import safe_names
from meddl.datasets.case import Case, ImageFile, Split
from meddl.datasets.facts import CaseFacts
from meddl.datasets.label_scheme import LabelScheme
from meddl.datasets.manifest import Manifest
from meddl.datasets.options import ExportOptions
from meddl.datasets.plan import CaseRecord, PlannedCase

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
    known = _known(kept, before, key)
    old = before.plan.cases if before else ()
    found = {each.name for each in known.values()}
    left = [each for each in old if each.name not in found]
    # What was planned once, never written and is not here now (a damaged case, say) would never come.
    planned = [each for each in left if each.name in _records(before)]
    if gone := sum(not each.source for each in left) - sum(not each.source for each in planned):
        notes.append(f"{gone} case{'s' * (gone > 1)} that an earlier run planned but did not write "
                     f"{'are' if gone > 1 else 'is'} not among these: the dataset is made without.")  # fmt: skip
    if others := sum(not each.source for each in planned):
        stay = "s are not among these and stay" if others > 1 else " is not among these and stays"
        notes.append(f"{others} case{stay} in the dataset. To have one without, export the others into an empty "
                     "folder.")  # fmt: skip
    if others and len(known) < len(kept) and key is None:
        notes.append(
            "Without a key file the patients of new cases cannot be compared with theirs. "
            "Make sure that no patient is in both."
        )
    is_public = options.deidentify.profile == "basic"
    patients = {case.patient or case.id: known[case.id].patient for case, _ in kept if case.id in known}
    sites = {case.site: known[case.id].site for case, _ in kept if case.id in known and case.site}
    if key is not None:
        patients |= {row.patient or row.case: row.dataset_patient for row in key.rows}
    names = _names(
        [case.id for case, _ in kept if case.id not in known], "case", is_public, [each.name for each in old]
    )
    _add_names(patients, (patient_of(case) for case, _ in kept), "patient", is_public, [each.patient for each in old])
    _add_names(sites, (case.site for case, _ in kept if case.site), "site", is_public, [each.site for each in old])
    parts = _splits(kept, options, before, known, patients, sites, task, scheme, notes)
    notes += _kept_parts(kept, known)
    for case, fact in kept:
        split, fold = parts[case.id]
        name = known[case.id].name if case.id in known else names[case.id]
        site = sites.get(case.site, "")
        planned.append(PlannedCase(case.id, name, patients[patient_of(case)], site, split, fold, fact.digest))
    return tuple(sorted(planned, key=lambda each: each.name))


def _known(kept: Kept, before: Manifest | None, key: Key | None) -> dict[str, PlannedCase]:
    """Return the cases that are in the dataset already, by the ids they have now: known by their images.

    Where several have the same images (one image, labeled by two people), the key tells which is which, else the label.
    With a key a case is known, too, whose files have changed.
    """
    there: dict[str, list[PlannedCase]] = defaultdict(list)
    for each in before.plan.cases if before else ():
        there[each.digest].append(each)
    labels = {name: record.facts.get("quality", {}).get("label_digest") for name, record in _records(before).items()}
    rows = {row.case: row for row in key.rows} if key is not None else {}
    known: dict[str, PlannedCase] = {}
    for is_same in (
        lambda case, fact, each: case.id in rows and rows[case.id].name == each.name,
        lambda case, fact, each: labels.get(each.name) == fact.label_digest,
        lambda case, fact, each: True,
    ):
        for case, fact in kept:
            same = (each for each in there.get(fact.digest, ()) if is_same(case, fact, each))
            if case.id not in known and (one := next(same, None)) is not None:
                known[case.id] = one
                there[fact.digest].remove(one)
    left = {each.name: each for same in there.values() for each in same}
    for case, _ in kept:
        row = rows.get(case.id)
        # The name alone is not enough: another list may have given it to somebody else.
        if row is not None and case.id not in known and row.name in left and row.files == files_of(case) != ():
            known[case.id] = left.pop(row.name)
    return known


def files_of(case: Case) -> tuple[str, ...]:
    """Return the files that a case's images come from."""
    return tuple(str(each.path) for each in case.images.values() if isinstance(each, ImageFile))


def _records(before: Manifest | None) -> Mapping[str, CaseRecord]:
    return before.records if before is not None else {}


def _kept_parts(kept: Kept, known: Mapping[str, PlannedCase]) -> list[str]:
    """Return what is to be said where cases have other parts in the dataset than the user wants them in now."""
    torn = sum(case.id in known and bool(case.split) and case.split != known[case.id].split for case, _ in kept)
    if not torn:
        return []
    return [f"{torn} case{'s' * (torn > 1)} that {'are' if torn > 1 else 'is'} in the dataset already "
            "stay in the part they have there, not the one asked for. For other parts choose an empty "
            "folder."]  # fmt: skip


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
    before: Manifest | None,
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
    for each, labels in _there(
        before
    ).items():  # cases that were not collected again hold their patients where they are
        if each.name not in numbers:
            items.append(SplitItem(f"\0{each.name}", each.patient, each.site, labels, each.digest))
            fixed[f"\0{each.name}"] = (each.split, each.fold)
    parts = assign_splits(items, options.split, fixed)
    if before is not None and before.plan.options.split != options.split:
        notes.append(
            "The cases that are in the dataset already keep their parts; only new ones are divided as is asked for "
            "now. To divide all of them anew choose an empty folder."
        )
    if before is None or len(known) < len(kept):
        notes += split_notes(items, options.split, parts)
    return parts


def _there(before: Manifest | None) -> dict[PlannedCase, tuple[str, ...]]:
    """Return the cases that are in a dataset, each with what is labeled in it."""
    labels = {}
    records = _records(before)
    real = (each for each in (before.plan.cases if before else ()) if not each.source)
    for case in (each for each in real if each.name in records):
        quality = records[case.name].facts.get("quality", {})
        structures = (str(each["name"]) for each in quality.get("structures", ()) if each["voxels"])
        labels[case] = tuple(sorted({*structures, *quality.get("classes", ()), *quality.get("boxes", ())}))
    return labels


def _strata(task: str, scheme: LabelScheme | None) -> Callable[[CaseFacts], tuple[str, ...]]:
    if task == "segmentation" and scheme is not None:
        names = {source: each.name for each in scheme.structures for source in each.sources}
        return lambda fact: tuple(sorted({names[s.key] for s in fact.structures if s.voxels and s.key in names}))
    return lambda fact: tuple(sorted({*fact.classes, *fact.boxes}))
