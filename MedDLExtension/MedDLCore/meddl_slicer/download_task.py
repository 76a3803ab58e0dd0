"""The jobs that bring models to this computer, and from it to others. Run in the worker, where there is no Slicer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meddl.jobs import JobContext

ADD_MODEL = "meddl_slicer.download_task:add_model"
PACK_MODELS = "meddl_slicer.download_task:pack_models"
UNPACK_MODELS = "meddl_slicer.download_task:unpack_models"


def add_model(params: dict[str, Any], context: JobContext) -> dict[str, Any]:
    """Put the catalog model with the id ``params["model"]`` on this computer, verified.

    It is downloaded, or taken from the folder or file ``params["place"]`` if there is one.

    Returns:
        ``{"path": folder of the bundle}``.
    """
    from meddl.models import Catalog

    place = Path(params["place"]) if params.get("place") else None
    bundle = Catalog.default().add(params["model"], progress=context.progress, cancelled=context.cancelled, place=place)
    return {"path": bundle.path}


def pack_models(params: dict[str, Any], context: JobContext) -> dict[str, Any]:
    """Write the models ``params["models"]`` into the pack ``params["file"]`` and verify it.

    Returns:
        ``{"sha256": of the pack}``.
    """
    from meddl.models import Catalog, pack

    sha256 = pack.write_pack(
        Catalog.default(), params["models"], Path(params["file"]), context.progress, context.cancelled
    )
    return {"sha256": sha256}


def unpack_models(params: dict[str, Any], context: JobContext) -> dict[str, Any]:
    """Install all models of the pack ``params["file"]``.

    Returns:
        ``{"models": their names, "new": how many were not there already}``.
    """
    from meddl.models import Catalog, pack

    models = pack.unpack(Catalog.default(), Path(params["file"]), context.progress, context.cancelled)
    return {"models": [model.name for model in models], "new": sum(model.new for model in models)}
