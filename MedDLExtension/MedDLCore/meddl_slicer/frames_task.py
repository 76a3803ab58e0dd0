"""The job that runs a model on each frame of a sequence. Runs in the worker, where there is no Slicer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meddl.jobs import JobContext

RUN_EACH_FRAME = "meddl_slicer.frames_task:run_each_frame"


def run_each_frame(params: dict[str, Any], context: JobContext) -> dict[str, Any]:
    """Run the inference job once per frame.

    Args:
        params: as of :func:`meddl.inference.task.run_inference`, with ``"images"`` in place of the images: for each
            frame the list of its volumes, one per channel.

    Returns:
        ``{"frames": [prediction of each frame]}``.
    """
    from meddl.inference.task import run_inference

    images = params["images"]
    common = {name: value for name, value in params.items() if name != "images"}
    found = []
    for index, volumes in enumerate(images):
        context.raise_if_cancelled()
        found.append(run_inference({**common, "volumes": volumes}, _FrameContext(context, index, len(images))))
    return {"frames": found}


class _FrameContext:
    """A job's context for the share of one frame."""

    def __init__(self, context: JobContext, index: int, count: int) -> None:
        self._context, self._index, self._count = context, index, count

    def progress(self, fraction: float, text: str) -> None:
        what = f"Frame {self._index + 1} of {self._count}: {text}" if text else ""
        self._context.progress((self._index + fraction) / self._count, what)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)
