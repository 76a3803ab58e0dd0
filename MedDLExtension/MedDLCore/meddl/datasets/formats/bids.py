"""BIDS for MR: the images as a raw dataset, the labels as derivatives of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from meddl.datasets import markdown
from meddl.datasets.case import PreparedCase
from meddl.datasets.label_scheme import LabelScheme
from meddl.datasets.plan import CaseRecord, ExportPlan
from meddl.errors import UsageError, VolumeError
from meddl.spreadsheet import safe_cell
from meddl.volume import whole_file, write_volume

from .bids_names import contrast_of, label_of
from .dataset_format import DatasetFormat
from .label_maps import IGNORE, case_problems, check_case, check_names, value_names
from .list_files import json_bytes, read_json, read_table

LABELS = "derivatives/labels"

_VERSION = "1.10.0"
_KEY = "bids"
_NONE = "n/a"
_GRAY = (0.5, 0.5, 0.5)
_COLUMNS = {
    "participant_id": {"Description": "The patient, by a number that only this dataset knows."},
    "split": {
        "Description": "The part of the dataset that all images of the patient belong to.",
        "Levels": {"train": "to learn from", "validation": "to choose models by", "test": "to judge them by"},
    },
    "fold": {"Description": "In which fold of a cross-validation the patient is validated, from 0."},
    "site": {"Description": "Where the images were made."},
}
_IGNORED = ("dataset.meddl.json", "datasheet.md", "/report", ".meddl")
"""What MedDL writes beside the dataset, and BIDS knows nothing of."""


class BidsFormat(DatasetFormat):
    """``sub-0001/ses-0001/anat/sub-0001_ses-0001_T1w.nii.gz``, and ``_dseg.nii.gz`` likewise in ``derivatives/labels``.

    Each case is a session of its own. The names of channels tell the MR contrast: "T1", "T2", "FLAIR", "PD",
    "T1 contrast" and the like are understood, and BIDS's own ("ce-gadolinium_T1w", "acq-fast_T2w") are taken as they
    are. BIDS has no place for CT.
    """

    name: ClassVar[str] = "bids"
    title: ClassVar[str] = "BIDS"
    tasks: ClassVar[tuple[str, ...]] = ("segmentation",)
    endings: ClassVar[tuple[str, ...]] = (".nii.gz",)

    def check(self, plan: ExportPlan) -> None:
        """Find out whether BIDS has names for the images."""
        super().check(plan)
        check_names(plan.scheme, self.title)
        for channel in plan.channels:
            _check_modality(plan.modality.get(channel, ""), f"The channel {channel!r}")
        contrasts = {channel: contrast_of(channel) for channel in plan.channels}
        for channel, contrast in contrasts.items():
            if contrast is None:
                raise UsageError(
                    f"BIDS names images by their MR contrast, which the name of the channel {channel!r} does not tell. "
                    "Rename it, for instance to T1w, T2w, FLAIR, PDw, T2starw or ce-gadolinium_T1w."
                )
        for contrast, count in Counter(contrasts.values()).items():
            if count > 1:
                raise UsageError(f"{count} channels are {contrast} in BIDS. Rename them, for instance to "
                                 f"acq-first_{contrast} and acq-second_{contrast}.")  # fmt: skip

    def write_case(self, case: PreparedCase, plan: ExportPlan, folder: Path) -> dict[str, Any]:
        """Write images and labels with what is to be said of each."""
        check_case(case, self.title)
        for channel, volume in case.images.items():
            _check_modality(case.modality.get(channel, ""), case.name)
            if volume.channels > 1:
                raise VolumeError(f"{case.name} has {volume.channels} values per voxel, where BIDS holds one.")
        subject, session = f"sub-{label_of(case.patient, 'patient')}", f"ses-{label_of(case.name, 'case')}"
        place, stem = f"{subject}/{session}/anat", f"{subject}_{session}"
        (folder / place).mkdir(parents=True, exist_ok=True)
        images = []
        for channel, volume in case.images.items():
            path = f"{place}/{stem}_{contrast_of(channel)}"
            write_volume(volume, folder / f"{path}.nii.gz")
            images.append(f"{path}.nii.gz")
            if methods := _deidentified(plan):
                _put(folder / f"{path}.json", json_bytes({"DeidentificationMethod": methods}))
        facts: dict[str, Any] = {"subject": subject, "session": session, "images": images}
        if case.labels is not None and plan.scheme is not None:
            path = f"{LABELS}/{place}/{stem}_dseg"
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            write_volume(case.labels, folder / f"{path}.nii.gz")
            said: dict[str, Any] = {"Sources": [f"bids:raw:{each}" for each in images], **_codes(plan.scheme)}
            _put(folder / f"{path}.json", json_bytes(said))
            _put(folder / f"{path}.tsv", _lookup_table(plan.scheme))
            facts["labels"] = f"{path}.nii.gz"
        return {_KEY: facts}

    def index(self, plan: ExportPlan, records: Sequence[CaseRecord]) -> Mapping[str, bytes]:
        """Return what BIDS wants to be told of the dataset and of its participants."""
        import meddl

        options = plan.options
        made_by = [{"Name": "MedDL", "Version": meddl.__version__}]
        raw: dict[str, Any] = {
            "Name": options.name,
            "BIDSVersion": _VERSION,
            "DatasetType": "raw",
            **({"License": options.license} if options.license else {}),
            "GeneratedBy": made_by,
        }
        derived = {**raw, "Name": f"{options.name}: labels", "DatasetType": "derivative"}
        derived |= {"DatasetLinks": {"raw": "../.."}}
        rows = [["participant_id", "split", "fold", "site"]]
        for subject in dict.fromkeys(record.facts[_KEY]["subject"] for record in records):
            cases = [record.case for record in records if record.facts[_KEY]["subject"] == subject]
            folds = sorted({str(case.fold) for case in cases if case.fold is not None})
            sites = sorted({case.site for case in cases if case.site})
            parts = [",".join(sorted({case.split for case in cases})), ",".join(folds), ",".join(sites)]
            rows.append([subject, *(part or _NONE for part in parts)])
        return {
            "dataset_description.json": json_bytes(raw),
            f"{LABELS}/dataset_description.json": json_bytes(derived),
            "participants.tsv": _tab_separated(rows),
            "participants.json": json_bytes(_COLUMNS),
            "README.md": _readme(plan),
            ".bidsignore": "".join(f"{each}\n" for each in _IGNORED).encode(),
        }

    def problems(self, root: Path, plan: ExportPlan, records: Sequence[CaseRecord]) -> tuple[str, ...]:
        """Read all images, labels and tables back."""
        found: list[str] = []
        for record in records:
            told = record.facts[_KEY]
            found += case_problems(root, dict.fromkeys(told["images"], 1), told.get("labels"), plan.scheme)
            if "labels" in told and plan.scheme is not None:
                found += _table_problems(root, told["labels"].removesuffix(".nii.gz") + ".tsv", plan.scheme)
        for path in ("dataset_description.json", f"{LABELS}/dataset_description.json"):
            try:
                said = read_json(root, path)
            except ValueError as error:
                found.append(str(error))
                continue
            if not isinstance(said, dict) or not said.get("Name") or not said.get("BIDSVersion"):
                found.append(f"{path} does not tell the dataset's name and the version of BIDS.")
        try:
            rows = {row.get("participant_id"): row for row in read_table(root, "participants.tsv", delimiter="\t")}
        except ValueError as error:
            return (*found, str(error))
        for record in records:
            subject = record.facts[_KEY]["subject"]
            if subject not in rows or record.case.split not in (rows[subject].get("split") or "").split(","):
                found.append(f"participants.tsv does not tell that {subject} is in the part {record.case.split!r}.")
        return tuple(dict.fromkeys(found))


def _check_modality(modality: str, who: str) -> None:
    if modality not in ("", "MR"):
        raise UsageError(f"{who} is of the modality {modality}, which BIDS has no place for: it is for MR here. "
                         "Choose another format.")  # fmt: skip


def _deidentified(plan: ExportPlan) -> list[str]:
    """Return how the images lost their patients."""
    chosen = plan.options.deidentify
    methods = [] if chosen.profile == "none" else ["Made by MedDL from voxels; nothing of another header is in it"]
    return [*methods, *(["Defaced by MedDL"] if chosen.deface != "none" else [])]


def _lookup_table(scheme: LabelScheme) -> bytes:
    colors = [each.color for each in scheme.structures]
    colors += [_mixed([colors[n] for n in members]) for members in scheme.combinations]
    rows = [["index", "name", "color"]]
    for value, name in value_names(scheme).items():
        if value:
            color = colors[value - 1] if value <= len(colors) else _GRAY
            rows.append([str(value), name, "#" + "".join(f"{round(255 * part):02X}" for part in color)])
    return _tab_separated(rows)


def _mixed(colors: Sequence[tuple[float, float, float]]) -> tuple[float, float, float]:
    red, green, blue = (sum(parts) / len(colors) for parts in zip(*colors, strict=True))
    return red, green, blue


def _codes(scheme: LabelScheme) -> dict[str, Any]:
    """Return the codes of structures, by name; BIDS leaves room for what it has no word for."""
    from meddl.volume.terminology import parse_terminology

    codes = {}
    for each in scheme.structures:
        if each.terminology:
            kind = parse_terminology(each.terminology).type
            codes[each.name] = {"CodeValue": kind.value, "CodingScheme": kind.scheme, "CodeMeaning": kind.meaning}
    return {"StructureCodes": codes} if codes else {}


def _table_problems(root: Path, path: str, scheme: LabelScheme) -> list[str]:
    try:
        rows = read_table(root, path, delimiter="\t")
    except ValueError as error:
        return [str(error)]
    wanted = {str(value): _cell(name) for value, name in value_names(scheme).items() if value}
    if {row.get("index"): row.get("name") for row in rows} != wanted:
        return [f"{path} does not name the labels of the dataset."]
    return []


def _readme(plan: ExportPlan) -> bytes:
    options = plan.options
    lines = [f"# {markdown.inline(options.name)}", ""]
    lines += [markdown.quote(options.description), ""] if options.description.strip() else []
    lines += [
        "MR images as a raw BIDS dataset, one session per case; `participants.tsv` tells which part of the dataset (to "
        "learn from, to choose by, to judge by) and which fold a patient belongs to.",
        "",
        f"`{LABELS}` holds the reference labels of the images as discrete segmentations, each with a table of what its "
        "values mean" + (f"; where it says {IGNORE!r}, nobody knows." if plan.scheme and plan.scheme.ignore else "."),
        "",
        *([f"License: {markdown.inline(options.license)}", ""] if options.license else []),
        "Made by MedDL; `dataset.meddl.json` tells how, `datasheet.md` what for.",
        "",
    ]
    return "\n".join(lines).encode("utf-8")


def _tab_separated(rows: Sequence[Sequence[str]]) -> bytes:
    return "".join("\t".join(map(_cell, row)) + "\n" for row in rows).encode("utf-8")


def _cell(text: str) -> str:
    """Return a cell of a table without quotes: BIDS knows none."""
    return str(safe_cell(" ".join(text.replace('"', "'").split()))) or _NONE


def _put(path: Path, content: bytes) -> None:
    with whole_file(path) as file:
        file.write(content)
