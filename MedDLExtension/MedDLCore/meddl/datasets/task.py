"""Jobs of an export, as a panel runs them in a worker: case by case, so that memory holds one; or all in one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from meddl.datasets.case import Case
from meddl.datasets.facts import CaseFacts
from meddl.datasets.options import ExportOptions
from meddl.datasets.plan import ExportPlan
from meddl.jobs import JobContext

COLLECT = "meddl.datasets.task:collect"
INSPECT_CASE = "meddl.datasets.task:inspect_case"
WRITE_CASE = "meddl.datasets.task:write_case"
FINISH = "meddl.datasets.task:finish"
EXPORT = "meddl.datasets.task:export"
VERIFY = "meddl.datasets.task:verify"


def collect(params: dict[str, Any], context: JobContext) -> dict[str, Any]:
    """Return the cases of a list or folder: ``cases``, each as :meth:`Case.to_dict` tells it.

    Args:
        params: ``source`` (path), and if wanted ``pattern`` and ``exclude`` (folders to leave out).
    """
    from meddl.datasets.collect import collect_cases

    context.progress(0.0, "Looking for cases")
    exclude = [Path(each) for each in params.get("exclude") or ()]
    cases = collect_cases(Path(params["source"]), pattern=str(params.get("pattern", "")), exclude=exclude)
    return {"cases": [case.to_dict() for case in cases]}


def inspect_case(params: dict[str, Any], context: JobContext) -> dict[str, Any]:
    """Return ``facts`` of the ``case`` in ``params``, as :meth:`CaseFacts.to_dict` tells them."""
    from meddl.datasets.looking import look_at

    context.progress(0.0, "Looking at the images")
    return {"facts": look_at(Case.from_dict(params["case"])).to_dict()}


def write_case(params: dict[str, Any], context: JobContext) -> dict[str, Any]:
    """Write one case into the dataset.

    Args:
        params: ``case``, its ``facts``, the ``plan``, the dataset's folder ``root``, and if wanted ``key`` (file) and
            ``review`` (folder). With a key, its row is added.

    Returns:
        ``status``: "done", or "skipped" where it was there already; ``name`` in the dataset.
    """
    from meddl.datasets.deidentify.key_file import read_key
    from meddl.datasets.export import keep_key
    from meddl.datasets.export import write_case as write
    from meddl.datasets.writer import DatasetWriter
    from meddl.errors import UsageError

    case, facts = Case.from_dict(params["case"]), CaseFacts.from_dict(params["facts"])
    plan, root = ExportPlan.from_dict(params["plan"]), Path(params["root"])
    key = Path(params["key"]) if params.get("key") else None
    planned = next((each for each in plan.cases if each.id == case.id), None)
    if planned is None:
        raise UsageError("The plan of this export has no such case. Check the cases again.")
    with DatasetWriter(root, plan) as writer:
        known = read_key(key) if key is not None and key.exists() else None
        secret = keep_key(key, known, plan, [case], root, writer)
        review = Path(params["review"]) if params.get("review") else None
        written = write(
            writer, case, facts, planned, secret, review, progress=context.progress, cancelled=context.cancelled
        )
    return {"status": "done" if written else "skipped", "name": planned.name}


def finish(params: dict[str, Any], context: JobContext) -> dict[str, Any]:
    """Write datasheet and report of the dataset in ``root``, made by ``plan``; return its ``verification``."""
    from meddl.datasets.finishing import whole_dataset_files
    from meddl.datasets.verify import verify_dataset
    from meddl.datasets.writer import DatasetWriter

    root = Path(params["root"])
    context.progress(0.0, "Datasheet and report")
    with DatasetWriter(root, ExportPlan.from_dict(params["plan"])) as writer:
        writer.finish(whole_dataset_files(writer.manifest))
    checked = verify_dataset(root, progress=context.progress, cancelled=context.cancelled)
    return {"verification": checked.to_dict()}


def export(params: dict[str, Any], context: JobContext) -> dict[str, Any]:
    """Export cases in one job.

    Args:
        params: ``cases`` or ``source`` (and ``pattern``), ``output``, ``options``, and if wanted ``scheme``, ``key``
            and ``review``.

    Returns:
        What :meth:`ExportSummary.to_dict` tells.
    """
    from meddl.datasets.collect import collect_cases
    from meddl.datasets.export import export_dataset
    from meddl.datasets.label_scheme import LabelScheme

    if "cases" in params:
        cases = [Case.from_dict(each) for each in params["cases"]]
    else:
        pattern = str(params.get("pattern", ""))
        cases = list(collect_cases(Path(params["source"]), pattern=pattern, exclude=[Path(params["output"])]))
    summary = export_dataset(
        cases,
        Path(params["output"]),
        ExportOptions.from_dict(params["options"]),
        scheme=LabelScheme.from_dict(params["scheme"]) if params.get("scheme") else None,
        key=Path(params["key"]) if params.get("key") else None,
        review=Path(params["review"]) if params.get("review") else None,
        progress=context.progress,
        cancelled=context.cancelled,
        log=context.log,
    )
    return summary.to_dict()


def verify(params: dict[str, Any], context: JobContext) -> dict[str, Any]:
    """Return the ``verification`` of the dataset in ``root``."""
    from meddl.datasets.verify import verify_dataset

    checked = verify_dataset(Path(params["root"]), progress=context.progress, cancelled=context.cancelled)
    return {"verification": checked.to_dict()}
