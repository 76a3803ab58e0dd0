"""The job that fetches a catalog model. Runs in the worker, where there is no Slicer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meddl.jobs import JobContext

ADD_MODEL = "meddl_slicer.download_task:add_model"


def add_model(params: dict[str, Any], context: JobContext) -> dict[str, Any]:
    """Download, verify and unpack the model ``params["model"]`` (its id in the catalog).

    Returns:
        ``{"path": folder of the bundle}``.
    """
    from meddl.models import Catalog

    bundle = Catalog.default().add(params["model"], progress=context.progress, cancelled=context.cancelled)
    return {"path": bundle.path}
