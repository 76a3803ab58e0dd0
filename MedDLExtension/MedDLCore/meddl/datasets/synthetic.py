"""Cases that were made from others: they are learned from, never judged by, and stay where their source is."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from meddl.datasets.case import Case, ImageFile
from meddl.datasets.manifest import MANIFEST, Manifest, read_manifest
from meddl.datasets.plan import PlannedCase
from meddl.errors import UsageError

MARK = "_synthetic_"
"""Stands in the name of every case that was made from another, and so in the names of its files."""


def synthetic_case(source: PlannedCase, number: int, recipe: str, mark: str = "") -> PlannedCase:
    """Return the plan of the ``number``-th case made from ``source``.

    Args:
        recipe: tells in what way it is made; with the source's images it is what the case is known by.
        mark: small letters that stand before the number and tell cases made in one way from those made in another.
    """
    digest = hashlib.sha256(f"{source.digest}\0{recipe}\0{number}".encode()).hexdigest()[:32]
    return replace(source, id="", name=f"{source.name}{MARK}{mark}{number:02d}", digest=digest, source=source.name)


def mark_of(case: PlannedCase) -> str:
    """Return the mark that a case made from another was planned with."""
    return case.name.rpartition(MARK)[2].rstrip("0123456789")


def synthetic_problems(manifest: Manifest) -> list[str]:
    """Return what is wrong with the cases that were made from others, in sentences."""
    cases = {case.name: case for case in manifest.plan.cases}
    problems = []
    for case in (each for each in manifest.plan.cases if each.source):
        source = cases.get(case.source)
        if case.split != "train":
            problems.append(f"{case.name} is synthetic and in the {case.split} part: models must not be judged by it.")
        elif source is None:
            problems.append(f"{case.name} is synthetic, and {case.source}, which it was made from, is not there: "
                            "nobody can tell in which part it may be.")  # fmt: skip
        elif source.source:
            problems.append(f"{case.name} is synthetic, and was made from a synthetic case.")
        elif (case.split, case.fold, case.patient) != (source.split, source.fold, source.patient):
            problems.append(f"{case.name} is synthetic, and not in the same part, fold or patient as {source.name}, "
                            "which it was made from.")  # fmt: skip
        elif (record := manifest.records.get(case.name)) is not None:
            made_of = record.facts.get("augmentation", {}).get("source_images_sha256", source.digest)
            if made_of != source.digest:
                problems.append(f"{case.name} was made from images that {source.name} no longer has. Make it anew.")
    return problems


def real_cases(cases: Sequence[PlannedCase]) -> tuple[PlannedCase, ...]:
    """Return those that were not made from others."""
    return tuple(case for case in cases if not case.source)


def without_synthetic(cases: Sequence[Case]) -> tuple[Case, ...]:
    """Return collected cases but for those that a dataset of MedDL's tells to be synthetic; a note says how many.

    Raises:
        UsageError: all of them are.
    """
    known: dict[Path, frozenset[Path]] = {}
    kept = [case for case in cases if not _is_synthetic(case, known)]
    if left_out := len(cases) - len(kept):
        if not kept:
            raise UsageError("All of these cases are synthetic. Datasets are made of real ones: give those.")
        which = "A synthetic case" if left_out == 1 else f"{left_out} synthetic cases"
        note = f"{which} of a dataset: left out, since nobody would know later. Make such cases of the new dataset."
        kept[0] = replace(kept[0], notes=(*kept[0].notes, note))
    return tuple(kept)


def _is_synthetic(case: Case, known: dict[Path, frozenset[Path]]) -> bool:
    paths = [each.path.absolute() for each in case.images.values() if isinstance(each, ImageFile)]
    return any(path in _synthetic_files(path.parent, known) for path in paths)


def _synthetic_files(folder: Path, known: dict[Path, frozenset[Path]]) -> frozenset[Path]:
    """Return the synthetic cases' files, and folders of DICOM files, of the dataset that a folder is in."""
    if folder not in known:
        if (folder / MANIFEST).is_file():
            known[folder] = _told_synthetic(folder)
        else:
            known[folder] = _synthetic_files(folder.parent, known) if folder.parent != folder else frozenset()
    return known[folder]


def _told_synthetic(root: Path) -> frozenset[Path]:
    try:
        manifest = read_manifest(root)
    except UsageError:  # damaged: by their names, then
        return frozenset(root.rglob(f"*{MARK}*"))
    records = [each for each in manifest.records.values() if each.case.source] if manifest is not None else []
    files = {root / path for each in records for path in each.files}
    return frozenset(files | {each.parent for each in files if each.suffix == ".dcm"})
