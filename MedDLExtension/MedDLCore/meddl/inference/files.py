"""Predictions as files: what each task can be written as, checked before the run and written whole or not at all.

The files of one prediction hold no times and nothing random: the same answer gives the same bytes. Times are in the
report.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from meddl.errors import UsageError
from meddl.inference.prediction import (
    ClassificationPrediction,
    DetectionPrediction,
    LandmarkPrediction,
    Prediction,
    ReconstructionPrediction,
    SegmentationPrediction,
)
from meddl.spreadsheet import safe_cell
from meddl.volume import check_writable, whole_file, write_segmentation, write_volume

VOLUME_SUFFIXES = (".nrrd", ".nii.gz", ".nii", ".mha")
SUFFIXES: Mapping[str, tuple[str, ...]] = {
    "segmentation": (".seg.nrrd", *VOLUME_SUFFIXES, ".dcm"),
    "classification": (".json", ".csv"),
    "detection": (".mrk.json", ".json", ".csv"),
    "landmarks": (".mrk.json", ".json", ".csv"),
    "reconstruction": VOLUME_SUFFIXES,
}
"""What the result of each task can be written as; the first is the usual one."""

_SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#"
)
_LPS = np.array([-1.0, -1.0, 1.0])
LASTING = ("task", "model", "options", "parameters", "input", "inputs", "software", "notes", "domain")
"""What of the provenance is the same whenever the same is done again on this computer."""

DicomKind = Literal["BINARY", "LABELMAP"]


def suffix_for(path: Path, task: str) -> str:
    """Return the suffix of ``path`` that the result of ``task`` can be written as.

    Raises:
        UsageError: it has none of them; the message lists them.

    Example:
        >>> suffix_for(Path("head.nii.gz"), "segmentation")
        '.nii.gz'
    """
    suffixes = SUFFIXES.get(task, ())
    found = next((suffix for suffix in suffixes if path.name.lower().endswith(suffix)), None)
    if found is None or path.name.lower() == found:
        raise UsageError(
            f"{path.name} is no name for what a model for {task} gives. Let it end in {' or '.join(suffixes)}."
        )
    return found


def check_output(path: Path, task: str, *, source: Path | None = None, series_uid: str | None = None) -> None:
    """Find out, before long work, whether the result of ``task`` could be written to ``path``.

    Args:
        source: where the input image is from, which a DICOM SEG refers to.

    Raises:
        UsageError: its suffix does not fit the task, or it is .dcm and the input no DICOM.
        VolumeError: its folder does not exist, or it is a folder.
    """
    suffix = suffix_for(path, task)
    check_writable(path, (suffix,))
    if suffix == ".dcm":
        from meddl.volume.dicom_seg import check_dicom_source

        check_dicom_source(source, series_uid)


def write_prediction(
    prediction: Prediction,
    path: Path,
    *,
    source: Path | None = None,
    series_uid: str | None = None,
    dicom_kind: DicomKind = "BINARY",
    created: datetime | None = None,
) -> tuple[Path, ...]:
    """Write a prediction as what the suffix of ``path`` says (see :data:`SUFFIXES`), and its maps beside it.

    Beside a segmentation come ``*_entropy.nrrd`` and ``*_probabilities.nrrd``, beside a reconstruction its
    ``*_difference``, where the prediction has them. Positions in .csv and .json files are RAS millimeters; markups
    (.mrk.json) are LPS, as Slicer writes them, and say so.

    Args:
        source: where the input image is from; needed for .dcm (DICOM SEG), which refers to that series.
        series_uid: which series, where ``source`` holds several.
        dicom_kind: "BINARY", or the smaller "LABELMAP" that older readers do not know.
        created: the time a DICOM SEG gives for itself; default: now.

    Returns:
        The files that were written, the main one first.

    Raises:
        UsageError, VolumeError: as :func:`check_output`, or a file cannot be written.
    """
    path = Path(path)
    suffix = suffix_for(path, prediction.task)
    if isinstance(prediction, SegmentationPrediction):
        return _write_segmentation(prediction, path, suffix, source, series_uid, dicom_kind, created)
    if isinstance(prediction, ReconstructionPrediction):
        write_volume(prediction.image, path, facts=_named(prediction))
        if prediction.difference is None:
            return (path,)
        beside = _beside(path, suffix, f"_difference{suffix}")
        write_volume(prediction.difference, beside, facts=_named(prediction))
        return path, beside
    if suffix == ".mrk.json":
        text = json.dumps(_markups(prediction), indent=1)
    elif suffix == ".json":
        text = json.dumps(_plain(prediction), indent=1)
    else:
        text = _table(prediction)
    with whole_file(path) as file:
        file.write(f"{text.rstrip()}\n".encode())
    return (path,)


def beside(path: Path, task: str) -> tuple[Path, ...]:
    """Return the files that :func:`write_prediction` may write beside ``path``."""
    suffix = suffix_for(path, task)
    if task == "segmentation":
        return tuple(_beside(path, suffix, end) for end in ("_entropy.nrrd", "_probabilities.nrrd"))
    return (_beside(path, suffix, f"_difference{suffix}"),) if task == "reconstruction" else ()


def _write_segmentation(
    prediction: SegmentationPrediction,
    path: Path,
    suffix: str,
    source: Path | None,
    series_uid: str | None,
    kind: DicomKind,
    created: datetime | None,
) -> tuple[Path, ...]:
    if suffix == ".dcm":
        from meddl.volume.dicom_seg import check_dicom_source, write_dicom_seg

        check_dicom_source(source, series_uid)
        assert source is not None
        write_dicom_seg(
            prediction.labels, prediction.segments, path, source=source, series_uid=series_uid, kind=kind,
            maker=_maker(prediction, created),
        )  # fmt: skip
    else:
        write_segmentation(prediction.labels, prediction.segments, path, facts=_named(prediction))
    written = [path]
    entropy = prediction.uncertainty.entropy if prediction.uncertainty else None
    for end, volume in (("_entropy.nrrd", entropy), ("_probabilities.nrrd", prediction.probabilities)):
        if volume is not None:
            written.append(_beside(path, suffix, end))
            write_volume(volume, written[-1], facts=_named(prediction))
    return tuple(written)


def _beside(path: Path, suffix: str, end: str) -> Path:
    return path.with_name(path.name[: -len(suffix)] + end)


def _maker(prediction: SegmentationPrediction, created: datetime | None) -> Any:
    from meddl.volume.dicom_seg import Maker

    model = _model(prediction.provenance)
    software = prediction.provenance.get("software") or {}
    programs = [f"{name} {software[name]}" for name in ("meddl", "torch", "monai") if software.get(name)]
    parameters = {"sha256": str(model.get("sha256", "")), "license": str(model.get("license", ""))}
    return Maker(
        str(model.get("name", "")),
        str(model.get("version", "")),
        {key: value for key, value in parameters.items() if value},
        tuple(programs),
        created,
    )


def _model(provenance: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the model of a run; of an ensemble, its members under one name."""
    model = provenance.get("model") or {}
    return model if isinstance(model, Mapping) else {}


def _named(prediction: Prediction) -> dict[str, str]:
    """Return who made a file, for its header."""
    model = _model(prediction.provenance)
    software = prediction.provenance.get("software") or {}
    facts = {
        "MedDL.Model": model.get("name"),
        "MedDL.ModelVersion": model.get("version"),
        "MedDL.ModelSha256": model.get("sha256"),
        "MedDL.Version": software.get("meddl"),
    }
    return {key: str(value) for key, value in facts.items() if value}


def _plain(prediction: Prediction) -> dict[str, Any]:
    """Return a prediction without voxels as JSON, its provenance without times."""
    data = prediction.to_dict()
    data["provenance"] = {key: prediction.provenance[key] for key in LASTING if key in prediction.provenance}
    if data.get("uncertainty"):
        data["uncertainty"].pop("entropy", None)
    if prediction.task in ("detection", "landmarks"):
        data["coordinate_system"] = "RAS, mm"
    return data


def _table(prediction: Prediction) -> str:
    rows: list[Sequence[Any]]
    if isinstance(prediction, ClassificationPrediction):
        rows = [("class", "probability", "code")]
        rows += [
            (safe_cell(each.name), repr(float(each.probability)), safe_cell(each.code)) for each in prediction.classes
        ]
    elif isinstance(prediction, LandmarkPrediction):
        rows = [("name", "R (mm)", "A (mm)", "S (mm)", "score")]
        rows += [
            (safe_cell(each.name), *_rounded(each.position), repr(float(each.score))) for each in prediction.points
        ]
    else:
        assert isinstance(prediction, DetectionPrediction)
        axes = [f"axis {n} {way}" for n in (1, 2, 3) for way in "RAS"]
        places = [f"center {way} (mm)" for way in "RAS"] + [f"size {n} (mm)" for n in (1, 2, 3)]
        rows = [("label", "score", *places, *axes)]
        rows += [
            (
                safe_cell(box.label),
                repr(float(box.score)),
                *_rounded(box.center),
                *_rounded(box.size),
                *_rounded(box.axes.T, 6),
            )
            for box in prediction.boxes
        ]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _rounded(values: Any, digits: int = 4) -> list[float]:
    return [round(float(each), digits) + 0.0 for each in np.asarray(values).ravel()]


def _markups(prediction: Prediction) -> dict[str, Any]:
    """Return Slicer's markups: a point list of landmarks, or a box (ROI) for each that was detected."""
    if isinstance(prediction, LandmarkPrediction):
        points = [
            _control_point(number, point.name, point.position, f"score {point.score:.3f}")
            for number, point in enumerate(prediction.points, start=1)
        ]
        return {"@schema": _SCHEMA, "markups": [_markup("Fiducial", "%N", points)]}
    assert isinstance(prediction, DetectionPrediction)
    markups = []
    for box in prediction.boxes:
        name = f"{box.label} {box.score:.2f}"
        axes = np.asarray(box.axes, dtype=np.float64) * _LPS[:, np.newaxis]
        markups.append(
            {
                **_markup("ROI", name, [_control_point(1, name, box.center, f"score {box.score:.3f}")]),
                "roiType": "Box",
                "center": _rounded(np.asarray(box.center) * _LPS, 6),
                "orientation": _rounded(axes, 9),
                "size": _rounded(box.size, 6),
                "insideOut": False,
            }
        )
    return {"@schema": _SCHEMA, "markups": markups}


def _markup(kind: str, label: str, points: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "type": kind,
        "coordinateSystem": "LPS",
        "coordinateUnits": "mm",
        "locked": False,
        "labelFormat": label.replace("%", "%%") if kind == "ROI" else label,
        "lastUsedControlPointNumber": len(points),
        "controlPoints": points,
    }


def _control_point(number: int, label: str, position: Any, description: str) -> dict[str, Any]:
    return {
        "id": str(number),
        "label": label,
        "description": description,
        "associatedNodeID": "",
        "position": _rounded(np.asarray(position) * _LPS, 6),
        "orientation": [-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0],
        "selected": True,
        "locked": False,
        "visibility": True,
        "positionStatus": "defined",
    }
