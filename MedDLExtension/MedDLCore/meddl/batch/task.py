"""The jobs of a batch: one case, and all cases one after the other; in this process or in a worker."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meddl.batch.inputs import in_channel_order, read_images
from meddl.batch.records import attempt, file_digests, fingerprint, is_finished, read_record, write_record
from meddl.jobs import JobContext

if TYPE_CHECKING:
    from meddl.inference import Prediction

RUN_CASE = "meddl.batch.task:run_case"
RUN_BATCH = "meddl.batch.task:run_batch"


def run_case(params: dict[str, Any], context: JobContext) -> dict[str, Any]:
    """Run a model, or an ensemble, on one case, and write its files and at last its record.

    Args:
        params: ``inputs`` (path by channel), ``series_uid``, ``reference`` (path or None), ``models`` (one, or several
            as an ensemble), ``options``, ``folder`` and ``name`` of the result, its ``suffix``, ``dicom_kind``,
            ``created`` (ISO time for DICOM), ``trust_file``, and ``device`` if not the one of the options.
        context: progress, cancel, and the cache that keeps the loaded model for the next case.

    Returns:
        The record; its ``status`` is "done", or "skipped" when it was finished before.
    """
    from meddl.inference import prediction_from_dict
    from meddl.inference.files import write_prediction
    from meddl.inference.task import run_inference
    from meddl.models import resolve_model

    start = time.perf_counter()
    folder, name = Path(params["folder"]), str(params["name"])
    bundles = [resolve_model(str(model)) for model in params["models"]]
    context.progress(0.0, "Looking at the images")
    paths = in_channel_order(bundles[0], {key: Path(path) for key, path in params["inputs"].items()})
    reference = Path(params["reference"]) if params.get("reference") else None
    made_from = {
        "inputs": [fingerprint(path) for path in paths],
        "series_uid": params.get("series_uid"),
        "reference": fingerprint(reference) if reference else None,
        "models": [bundle.digest for bundle in bundles],
        "options": dict(params["options"]),
        "suffix": str(params["suffix"]),
        "dicom_kind": params.get("dicom_kind", "BINARY"),
    }
    record = read_record(folder, name)
    if record is not None and is_finished(record, made_from, folder):
        return {**record, "status": "skipped"}
    context.raise_if_cancelled()
    with attempt(folder, name):
        context.progress(0.02, "Reading the images")
        run = {
            "model": [str(model) for model in params["models"]] if len(bundles) > 1 else str(params["models"][0]),
            "options": dict(params["options"]),
            "device": params.get("device"),
            "trust_file": params.get("trust_file"),
            "cases": params.get("of", 1),
            **read_images(bundles[0], paths, params.get("series_uid")),
        }
        if reference is not None and bundles[0].task == "reconstruction":
            from meddl.volume import read_volume

            run["reference"] = read_volume(reference)
        prediction = prediction_from_dict(run_inference(run, _part(context, 0.03, 0.97)))
        context.raise_if_cancelled()
        context.progress(0.98, "Writing the result")
        files = write_prediction(
            prediction,
            folder / f"{name}{params['suffix']}",
            source=paths[0],
            series_uid=params.get("series_uid"),
            dicom_kind=params.get("dicom_kind", "BINARY"),
            created=datetime.fromisoformat(params["created"]) if params.get("created") else None,
        )
        row = {key: _number(value) for key, value in prediction.row().items()}
        if reference is not None and prediction.task == "segmentation":
            table = folder / f"{name}_qa.csv"
            row.update(_compared(prediction, reference, table))
            files = (*files, table)
        provenance = dict(prediction.provenance)
        facts = {
            "status": "done",
            "case": str(params["case"]),
            "made_from": made_from,
            "files": file_digests(files),
            "row": row,
            "warnings": [str(each) for each in provenance.get("domain", ())],
            "notes": [str(each) for each in provenance.get("notes", ())],
            "seconds": round(time.perf_counter() - start, 3),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "provenance": provenance,
        }
        write_record(folder, name, facts)
    return facts


def run_batch(params: dict[str, Any], context: JobContext) -> dict[str, Any]:
    """Run a batch in this process, one case after the other, with the models kept loaded.

    Args:
        params: ``cases`` (list or folder), ``models``, ``output`` (folder), and if wanted ``ensemble``, ``options``,
            ``suffix``, ``dicom_kind`` and ``trust_file``.
        context: progress over all cases; the log has one line per case.

    Returns:
        ``rows`` (the summary's), ``counts`` by status, ``done``, ``skipped`` and ``failed`` (numbers of cases),
        ``errors`` (``case`` and ``message`` of each that failed), ``summary`` (path of the CSV file), ``stopped`` (why
        it ended early, or "") and ``cancelled``.
    """
    from meddl.batch.plan import plan_batch
    from meddl.batch.run import run_batch as run
    from meddl.batch.seats import InProcess
    from meddl.inference import RunOptions

    context.progress(0.0, "Looking for cases")
    plan = plan_batch(
        Path(params["cases"]),
        [str(model) for model in params["models"]],
        Path(params["output"]),
        ensemble=bool(params.get("ensemble")),
        options=RunOptions.from_dict(dict(params.get("options") or {})),
        suffix=str(params.get("suffix") or ""),
        dicom_kind=params.get("dicom_kind") or "BINARY",
        trust_file=Path(params["trust_file"]) if params.get("trust_file") else None,
    )
    summary = run(
        plan,
        seats=InProcess(context),
        progress=context.progress,
        cancelled=context.cancelled,
        log=context.log,
    )
    return summary.to_dict()


def _part(context: JobContext, start: float, end: float) -> JobContext:
    """Return a context whose whole is a part of this one's."""
    return JobContext(
        on_progress=lambda fraction, text: context.progress(start + (end - start) * fraction, text),
        on_log=context.log,
        is_cancelled=context.cancelled,
        cache=context.cache,
    )


def _compared(prediction: Prediction, reference: Path, table: Path) -> dict[str, Any]:
    """Return the agreement with a reference segmentation for the summary, and write it to ``table``."""
    from meddl.evaluation import compare_segmentations
    from meddl.inference import SegmentationPrediction
    from meddl.volume import read_segmentation

    assert isinstance(prediction, SegmentationPrediction)
    labels, segments = read_segmentation(reference)
    agreement = compare_segmentations(prediction.labels, labels, prediction.segments, segments)
    agreement.write_csv(table)
    facts: dict[str, Any] = {}
    for each in agreement.rows:
        facts[f"{each.name} (Dice)"], facts[f"{each.name} (HD95 mm)"] = _number(each.dice), _number(each.hd95_mm)
    return facts


def _number(value: Any) -> Any:
    """Return a value for JSON and CSV; what is no number is empty."""
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float):
        return round(value, 6) if value == value and abs(value) != float("inf") else ""
    return value
