"""``dataset.meddl.json``: what a dataset holds, how it was made and how far it is. Nobody's name stands in it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from meddl.datasets.case import SPLITS
from meddl.datasets.label_scheme import LabelScheme
from meddl.datasets.options import ExportOptions
from meddl.datasets.plan import CaseRecord, ExportPlan, PlannedCase
from meddl.errors import UsageError

MANIFEST = "dataset.meddl.json"
_VERSION = 1
_LARGEST = 1 << 28
_PACKAGES = ("numpy", "SimpleITK", "nibabel", "highdicom", "pydicom", "dicom-anonymizer")


@dataclass(frozen=True)
class Manifest:
    """A dataset as its manifest tells it.

    Attributes:
        plan: of the export; its cases have no ``id``, which is known in the session only.
        records: of the cases that are there, by name.
        complete: all planned cases are there, and everything beside them.
        files: SHA-256 by path of what belongs to no case: index, datasheet, report.
        made_with: version by package.
    """

    plan: ExportPlan
    records: Mapping[str, CaseRecord] = field(default_factory=dict)
    complete: bool = False
    files: Mapping[str, str] = field(default_factory=dict)
    made_with: Mapping[str, str] = field(default_factory=dict)

    def done(self) -> tuple[CaseRecord, ...]:
        """Return the records of the cases that are there, in the order of the plan."""
        return tuple(self.records[case.name] for case in self.plan.cases if case.name in self.records)

    def with_record(self, record: CaseRecord) -> Manifest:
        """Return the manifest with one more case done."""
        return replace(self, records={**self.records, record.case.name: record})

    def without_record(self, name: str) -> Manifest:
        """Return the manifest with one case less."""
        return replace(self, records={key: value for key, value in self.records.items() if key != name}, complete=False)

    def to_bytes(self) -> bytes:
        """Return the file, with a line for each case: the same manifest gives the same bytes."""
        data = self._to_dict()
        # It is written after each case: indenting all of them would take longer than their images where there are many.
        cases = ",\n".join(f"  {json.dumps(case, ensure_ascii=False)}" for case in data.pop("cases"))
        head = json.dumps(data, indent=1, ensure_ascii=False).removesuffix("\n}")
        return f'{head},\n "cases": [\n{cases}\n ]\n}}\n'.encode()

    def _to_dict(self) -> dict[str, Any]:
        plan, options = self.plan, self.plan.options.to_dict()
        texts = {name: options.pop(name) for name in ("name", "description", "license", "consent", "contact")}
        cases = []
        for case in plan.cases:
            entry: dict[str, Any] = {
                "name": case.name,
                "patient": case.patient,
                "site": case.site,
                "split": case.split,
                "fold": case.fold,
                "images_sha256": case.digest,
                **({"synthetic_of": case.source} if case.source else {}),
            }
            if record := self.records.get(case.name):
                files = dict(sorted(record.files.items()))
                entry |= {"made_from_sha256": record.made_from, "files": files, "facts": record.facts}
            cases.append(entry)
        return {
            "meddl_dataset": _VERSION,
            **texts,
            "task": plan.task,
            "channels": [{"name": name, "modality": plan.modality.get(name, "")} for name in plan.channels],
            # What was dropped is no part of the dataset, and its names come from the cases.
            "labels": replace(plan.scheme, dropped=()).to_dict() if plan.scheme else None,
            "classes": list(plan.classes),
            "options": options,
            "made_with": dict(self.made_with),
            "complete": self.complete,
            "files": dict(sorted(self.files.items())),
            "cases": cases,
        }


def read_manifest(root: Path) -> Manifest | None:
    """Return the manifest of the dataset in ``root``, or None where there is none.

    Raises:
        UsageError: there is one that cannot be read.
    """
    path = root / MANIFEST
    try:
        if not path.exists():
            return None
        if not path.is_file() or path.stat().st_size > _LARGEST:
            raise ValueError("too large, or a pipe")
        return _from_dict(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise UsageError(f"{MANIFEST} cannot be read: {error.strerror or 'the system refused it'}.") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(
            f"{MANIFEST} is damaged, or was made by another version of MedDL. "
            "Bring it back from a copy, or export into an empty folder."
        ) from error


def _from_dict(data: Mapping[str, Any]) -> Manifest:
    if data["meddl_dataset"] != _VERSION:
        raise ValueError("another version")
    texts = {name: str(data[name]) for name in ("name", "description", "license", "consent", "contact")}
    cases, records = [], {}
    for entry in data["cases"]:
        case = PlannedCase(
            "", _plain(entry["name"]), _plain(entry["patient"]), entry["site"] and _plain(entry["site"]),
            entry["split"], entry["fold"], str(entry["images_sha256"]),
            entry.get("synthetic_of", "") and _plain(entry["synthetic_of"]),
        )  # fmt: skip
        if case.split not in SPLITS or not isinstance(case.fold, int | None):
            raise ValueError("no part of a dataset")
        cases.append(case)
        if "files" in entry:
            files = {inside(path): str(digest) for path, digest in entry["files"].items()}
            records[case.name] = CaseRecord(case, str(entry["made_from_sha256"]), files, dict(entry["facts"]))
    if len({case.name for case in cases}) < len(cases):
        raise ValueError("two cases of one name")
    plan = ExportPlan(
        ExportOptions.from_dict({**data["options"], **texts}),
        str(data["task"]),
        tuple(str(channel["name"]) for channel in data["channels"]),
        {str(channel["name"]): str(channel["modality"]) for channel in data["channels"]},
        LabelScheme.from_dict(data["labels"]) if data["labels"] else None,
        tuple(map(str, data["classes"])),
        tuple(cases),
    )
    files = {inside(path): str(digest) for path, digest in data["files"].items()}
    return Manifest(plan, records, bool(data["complete"]), files, dict(data["made_with"]))


def inside(path: str) -> str:
    """Return ``path`` if it stays within the dataset, else raise ValueError: a manifest may come from anywhere."""
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts or "\\" in path or ":" in path or not parts.parts:
        raise ValueError("a path that leaves the dataset")
    return str(parts)


def _plain(name: str) -> str:
    """Return the name of a case, patient or site, if files can be called so: it becomes part of their paths."""
    if not name.isprintable() or name.startswith(".") or inside(name) != name or "/" in name:
        raise ValueError("a name that leaves the dataset")
    return name


def tool_versions(names: Sequence[str] = _PACKAGES) -> dict[str, str]:
    """Return the versions of MedDL and of what it writes datasets with."""
    from importlib.metadata import PackageNotFoundError, version

    import meddl

    versions = {"meddl": meddl.__version__}
    for name in names:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions
