"""What a target means for the network that gives the answer: the questions that finding that out asks of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from meddl.inference.prediction import Prediction
from meddl.saliency.target import KINDS, Target
from meddl.saliency.windows import windows_of, with_slices

if TYPE_CHECKING:
    import torch

    from meddl.inference import Predictor
    from meddl.inference.stage import Prepared
    from meddl.models import ModelBundle
    from meddl.saliency.question import Question


def question_of(
    target: Target | None,
    prediction: Prediction,
    bundle: ModelBundle,
    prepared: Prepared,
    predictor: Predictor,
    slice_axis: int | None,
    cancelled: Callable[[], bool],
    progress: Callable[[float, str], None],
) -> Question:
    """Return the number of a network's answer that a target means; the network runs as far as that asks for it.

    Args:
        target: None for what the model is surest of, or has found most of.
        prediction: the model's answer to the whole image.
        prepared: the image as the network gets it.
        predictor: that has the network.
        slice_axis: axis of the prepared image that the network does not see, or None.

    Raises:
        UsageError: the model's answer has no such thing.
        JobCancelled: on request.
    """
    from meddl.saliency.question import ask

    def scores() -> torch.Tensor:
        def tell(done: int, count: int) -> None:
            progress(done / max(count, 1), "Looking for what is to be explained")

        return predictor.stages[-1].scores(prepared, tell, cancelled).array

    return ask(
        target or Target(KINDS[prediction.task]), prediction, bundle, prepared, scores,
        lambda: _channels(prepared, predictor, slice_axis), predictor.origin_of,
    )  # fmt: skip


def _channels(prepared: Prepared, predictor: Predictor, slice_axis: int | None) -> int:
    """Return how many channels the network answers, by asking it about the window in the image's middle."""
    from meddl.saliency.placing import grid_of
    from meddl.saliency.question import first_of
    from meddl.saliency.scorer import Scorer

    stage, shape = predictor.stages[-1], grid_of(prepared).shape
    rule = with_slices(stage.executor.rule)
    middle = np.zeros(shape, dtype=bool)
    middle[tuple(size // 2 for size in shape)] = True
    window = windows_of(rule, shape, middle)[0]
    scorer = Scorer(stage.network, first_of, slice_axis=slice_axis, device=predictor.device)
    padding = (rule.padding_mode, rule.cval) if rule is not None else ()
    return int(first_of(scorer.answer(window.cut(prepared.image, *padding))).shape[1])
