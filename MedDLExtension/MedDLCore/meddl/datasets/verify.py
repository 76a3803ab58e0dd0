"""Is a dataset what its manifest says, and can those it was made for read it?"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from meddl.datasets.formats.dataset_format import DatasetFormat
from meddl.datasets.formats.known import make_format
from meddl.datasets.manifest import MANIFEST, Manifest, read_manifest
from meddl.datasets.plan import CaseRecord
from meddl.datasets.synthetic import synthetic_problems
from meddl.datasets.writer import WORK, damaged_files
from meddl.errors import JobCancelled, UsageError

logger = logging.getLogger(__name__)

_TOLD = 20


@dataclass(frozen=True)
class Verification:
    """What became of looking a dataset through.

    Attributes:
        format: of the dataset.
        cases, planned: how many are there, and how many shall be.
        patients: how many patients they are of.
        complete: all that was planned is there.
        problems: what is wrong, in sentences; none in a good dataset.
        notes: what is not wrong, but worth knowing.
    """

    format: str
    cases: int
    planned: int
    patients: int
    complete: bool
    problems: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as a job's result carries it."""
        return asdict(self)


def verify_dataset(
    root: Path,
    *,
    progress: Callable[[float, str], None] = lambda fraction, text: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Verification:
    """Look a dataset through: its files against the manifest, its parts, and its format as its consumers read it.

    Raises:
        UsageError: there is no dataset of MedDL, or its manifest cannot be read.
    """
    root = Path(root)
    if not root.is_dir():
        raise UsageError(f"There is no folder {root.name!r}. Give the folder of a dataset.")
    manifest = read_manifest(root)
    if manifest is None:
        inner = [entry.name for entry in sorted(root.iterdir()) if (entry / MANIFEST).is_file()][:1]
        hint = f"Did you mean {root.name}/{inner[0]}?" if inner else "Give the folder of a dataset that MedDL has made."
        raise UsageError(f"{root.name} holds no {MANIFEST}. {hint}")
    done = manifest.done()
    problems: list[str] = []
    intact: list[CaseRecord] = []
    for number, record in enumerate(done):
        if cancelled():
            raise JobCancelled("The check was cancelled.")
        progress(0.7 * number / len(done), f"Checking {record.case.name}")
        damaged = damaged_files(root, record.files)
        problems += [f"{path} {_fate(root, path)}. Export again to mend it." for path in damaged]
        if not damaged:
            intact.append(record)
    problems += _leaks(manifest)
    problems += synthetic_problems(manifest)
    form = make_format(manifest.plan.options.format)
    if manifest.complete:
        index = _index(form, manifest, done)
        problems += [f"{path} {_fate(root, path)}." for path in damaged_files(root, manifest.files)]
        there = [path for path in index if (root / path).is_file()]
        differs = (path for path in there if (root / path).read_bytes() != index[path])
        problems += [f"{path} does not list what the dataset holds." for path in differs]
    progress(0.7, "Reading it as its users will")
    problems += _consumed(form, root, manifest, intact)
    progress(1.0, "Checked")
    return Verification(
        manifest.plan.options.format,
        len(done),
        len(manifest.plan.cases),
        len({record.case.patient for record in done}),
        manifest.complete and len(done) == len(manifest.plan.cases),
        tuple(dict.fromkeys(problems)),
        _notes(root, manifest),
    )


def _index(form: DatasetFormat, manifest: Manifest, records: Sequence[CaseRecord]) -> Mapping[str, bytes]:
    try:
        return form.index(manifest.plan, records)
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}  # reading it as its users do tells why


def _consumed(form: DatasetFormat, root: Path, manifest: Manifest, records: Sequence[CaseRecord]) -> tuple[str, ...]:
    try:
        return form.problems(root, manifest.plan, records)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        logger.debug("the facts of a case: %r", error)
        return (f"{MANIFEST} was changed: what it tells of the cases is not what {form.title} needs.",)


def _leaks(manifest: Manifest) -> list[str]:
    """Return patients, and images, that are in more than one part of the dataset."""
    problems = []
    for what, key in (("patient", lambda case: case.patient), ("image", lambda case: case.digest)):
        parts: dict[str, set[tuple[str, int | None]]] = defaultdict(set)
        names: dict[str, list[str]] = defaultdict(list)
        for case in manifest.plan.cases:
            parts[key(case)].add((case.split, case.fold))
            names[key(case)].append(case.name)
        for each in (each for each in parts if len(parts[each]) > 1):
            problems.append(f"The same {what} is in more than one part of the dataset: {', '.join(names[each])}.")
    return problems


def _notes(root: Path, manifest: Manifest) -> tuple[str, ...]:
    notes = []
    missing = len(manifest.plan.cases) - len(manifest.records)
    if missing or not manifest.complete:
        notes.append(f"The export has not finished: {missing} cases are missing. Start it again to complete it.")
    listed = {MANIFEST, *manifest.files, *(path for record in manifest.records.values() for path in record.files)}
    extra = sorted(
        path
        for file in root.rglob("*")
        if file.is_file() and (path := file.relative_to(root).as_posix()) not in listed and not path.startswith(WORK)
    )
    if extra and manifest.complete:
        told = ", ".join(extra[:_TOLD]) + (", ..." if len(extra) > _TOLD else "")
        notes.append(f"Files that do not belong to the dataset: {told}.")
    return tuple(notes)


def _fate(root: Path, path: str) -> str:
    return "has changed since it was written" if (root / path).is_file() else "is missing"
