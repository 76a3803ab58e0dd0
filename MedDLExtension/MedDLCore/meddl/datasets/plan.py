"""What an export is going to write: which case gets which number, which part of the dataset and which labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from meddl.datasets.case import Split
from meddl.datasets.label_scheme import LabelScheme
from meddl.datasets.options import ExportOptions


@dataclass(frozen=True)
class PlannedCase:
    """One case of a dataset.

    Attributes:
        id: of the :class:`Case` as it was collected; stays in the session, never written into a dataset.
        name: in the dataset, for instance "case_0007"; unique there.
        patient: in the dataset, for instance "patient_0003".
        site: in the dataset, or "".
        split: which part of the dataset it belongs to.
        fold: in which of the folds it is validated, or None.
        digest: of its images (:attr:`CaseFacts.digest`): by it a second run knows the case again.
        source: name of the case that it was made from, if it is synthetic; else "".
    """

    id: str
    name: str
    patient: str
    site: str
    split: Split
    fold: int | None
    digest: str
    source: str = ""


@dataclass(frozen=True)
class CaseRecord:
    """A case that is in the dataset, whole.

    Attributes:
        case: what was planned for it (without its ``id``).
        made_from: SHA-256 of all that its files depend on: images, label, options.
        files: SHA-256 by path, relative to the dataset, with "/".
        facts: JSON-able; what the format needs for its index, and how the case was prepared.
    """

    case: PlannedCase
    made_from: str
    files: Mapping[str, str]
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class ExportPlan:
    """All that is settled before the first file is written.

    Attributes:
        options: the user's choices.
        task: of all cases: "segmentation", "classification", "detection", "landmarks" or "reconstruction".
        channels: names of the images of each case, in order.
        modality: by channel, where all cases agree; else "".
        scheme: of a segmentation.
        classes: names of classes, of boxes' labels or of points, in order.
        cases: in the order of their names.
    """

    options: ExportOptions
    task: str
    channels: tuple[str, ...]
    modality: Mapping[str, str] = field(default_factory=dict)
    scheme: LabelScheme | None = None
    classes: tuple[str, ...] = ()
    cases: tuple[PlannedCase, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; with the cases' ids, so not for the dataset."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ExportPlan:
        """Return what :meth:`to_dict` described."""
        return cls(
            ExportOptions.from_dict(data["options"]),
            data["task"],
            tuple(data["channels"]),
            dict(data["modality"]),
            LabelScheme.from_dict(data["scheme"]) if data["scheme"] else None,
            tuple(data["classes"]),
            tuple(PlannedCase(**each) for each in data["cases"]),
        )
