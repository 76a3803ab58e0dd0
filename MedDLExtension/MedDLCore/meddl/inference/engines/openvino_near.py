"""OpenVINO for images that differ from one image in a box only, as those of occlusion do."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from meddl.inference.engines.first_convolution import AnswersNear, changed_box
from meddl.inference.engines.side_by_side import Requests

if TYPE_CHECKING:
    import numpy as np
    import torch

    from meddl.inference.engines.first_convolution import FirstConvolution


class NearEngine:
    """Computes the first convolutions only where an image differs from a first one, and then all that follows.

    The answers are those of the whole network up to rounding, whatever the images; but those that differ from the base
    everywhere take a little longer than without it.

    Args:
        base: ``(1, C, ...)`` the image that others are like.
        firsts: the convolutions that were cut off.
        rest: what :func:`meddl.inference.engines.openvino_cut.cut_first_convolutions` has left of the network.
        compiled: compiles an ``openvino.Model`` for so many streams.
        streams: that run side by side at the most.
    """

    name = "openvino"
    precision = "float32"

    def __init__(
        self,
        base: torch.Tensor,
        firsts: list[FirstConvolution],
        rest: Any,
        compiled: Callable[[Any, int], Any],
        streams: int,
    ) -> None:
        self._base = base.detach().float().cpu().numpy().copy()
        self._answers = [AnswersNear(each, self._base, lambda model: compiled(model, 1), streams) for each in firsts]
        self._takes_image = len(rest.inputs) > sum(1 + each.moments for each in firsts)
        self._requests = Requests(compiled(rest, streams), streams, self._feed)

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        return self._requests.answers(batch.detach().float().cpu().contiguous().numpy())

    def is_for(self, image: torch.Tensor) -> bool:
        """Say whether ``(1, C, ...)`` is the image that others are like."""
        import numpy as np

        return np.array_equal(self._base, image.detach().float().cpu().numpy())

    def _feed(self, number: int, image: np.ndarray) -> list[np.ndarray]:
        box = changed_box(self._base, image)
        given = [array for each in self._answers for array in each.to(image, box, number)]
        return [*given, image] if self._takes_image else given
