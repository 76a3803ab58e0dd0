"""What every method of attribution gets, and what it gives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from meddl.errors import JobCancelled
from meddl.saliency.options import ExplainOptions

if TYPE_CHECKING:
    import torch

    from meddl.saliency.scorer import Scorer


@dataclass(frozen=True, eq=False)
class Work:
    """How a method is to do its work.

    Attributes:
        options: the user's choices.
        spacing_mm: edges of a voxel of the image that the network sees, along its three axes.
        baseline: ``(1, C, i, j, k)`` what "nothing is there" looks like, for methods that need it.
        regions: ``(i, j, k)`` integers: supervoxels or structures that are taken away one by one (ablation), or None.
        progress: called with 0 to 1 and a line of text.
        cancelled: asked often.
    """

    options: ExplainOptions
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    baseline: torch.Tensor | None = None
    regions: torch.Tensor | None = None
    progress: Callable[[float, str], None] = lambda fraction, text: None
    cancelled: Callable[[], bool] = lambda: False

    def step(self, fraction: float, text: str) -> None:
        """Tell the progress, and stop if the user wants it.

        Raises:
            JobCancelled: on request.
        """
        self.check()
        self.progress(fraction, text)

    def check(self) -> None:
        """Stop if the user wants it.

        Raises:
            JobCancelled: on request.
        """
        if self.cancelled():
            raise JobCancelled("The explanation was cancelled.")


@dataclass(frozen=True, eq=False)
class RawAttribution:
    """What a method says, on the grid that the network sees.

    Attributes:
        values: ``(C, i, j, k)`` float32 on the CPU, one channel per input channel, or one for all of them (CAM,
            occlusion); finite. CAM maps are interpolated to the image's grid.
        facts: JSON-able, see :attr:`meddl.saliency.Attribution.facts`.
        notes: sentences for the user.
    """

    values: torch.Tensor
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Method(ABC):
    """One method of attribution.

    Attributes:
        id: as the command line calls it.
        title: for people.
        source: the paper, as a short citation with DOI or arXiv number.
        signed: it tells what speaks against the answer, too.
        uses_gradients: it needs a network that gradients pass through (PyTorch, no ONNX, no OpenVINO).
    """

    id: ClassVar[str]
    title: ClassVar[str]
    source: ClassVar[str]
    signed: ClassVar[bool] = True
    uses_gradients: ClassVar[bool] = True

    def unfit(self, scorer: Scorer, image: torch.Tensor | None) -> str:
        """Return why the method cannot work on this network, in a sentence; "" if it can.

        Args:
            image: ``(1, C, i, j, k)`` that is to be explained, or None as long as there is none.
        """
        return ""

    @abstractmethod
    def attribute(self, scorer: Scorer, image: torch.Tensor, work: Work) -> RawAttribution:
        """Return how much each voxel of ``image`` ``(1, C, i, j, k)`` had to do with ``scorer(image)``.

        Raises:
            JobCancelled: on request.
            OutOfMemory: whatever was tried.
        """
