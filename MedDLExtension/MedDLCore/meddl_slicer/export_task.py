"""The job that looks at a case of an export. Runs in the worker, where there is no Slicer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meddl.jobs import JobContext

LOOK = "meddl_slicer.export_task:look"


def look(params: dict[str, Any], context: JobContext) -> dict[str, Any]:
    """Look at a case, and draw its thumbnail on request: the panel reads no files.

    Args:
        params: ``case`` as :meth:`meddl.datasets.case.Case.to_dict` tells it, and ``picture``, whether to draw.

    Returns:
        ``facts`` as :meth:`meddl.datasets.facts.CaseFacts.to_dict` tells them, and ``picture``, ``(S, S, 3)`` uint8 or
        None.
    """
    from meddl.datasets.case import Case
    from meddl.datasets.looking import look_at

    context.progress(0.0, "Looking at the images")
    case = Case.from_dict(params["case"])
    facts = look_at(case)
    context.raise_if_cancelled()
    picture = _picture(case) if params.get("picture") and not facts.problems else None
    return {"facts": facts.to_dict(), "picture": picture}


def _picture(case: Any) -> Any:
    """Return the thumbnail of a case that could be read, so that it can be read once more."""
    from meddl.datasets.loading import load_case

    from meddl_slicer.thumbnails import thumbnail

    loaded = load_case(case)
    layers = [(loaded.labels, loaded.segments)] if loaded.labels is not None else []
    return thumbnail(next(iter(loaded.images.values())), layers)
