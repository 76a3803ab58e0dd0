"""What every measure of faithfulness gets: a map, and what it takes to ask network and method again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from meddl.errors import OutOfMemory, is_out_of_memory
from meddl.saliency.methods.method import Method, RawAttribution, Work

if TYPE_CHECKING:
    import torch

    from meddl.saliency.scorer import Scorer


@dataclass(frozen=True, eq=False)
class Examined:
    """A map whose faithfulness is to be measured.

    Attributes:
        scorer: the network and the number of its answer that the map explains.
        image: ``(1, C, i, j, k)`` what the network saw.
        raw: the map of it.
        method: that made the map.
        work: as the method got it.
        truth: ``(i, j, k)`` bool: where the evidence should lie, or None where nobody knows.
    """

    scorer: Scorer
    image: torch.Tensor
    raw: RawAttribution
    method: Method
    work: Work
    truth: torch.Tensor | None = None

    def total(self) -> torch.Tensor:
        """Return the map ``(i, j, k)`` with its channels added up, float32 on the CPU."""
        return self.raw.values.detach().float().cpu().sum(dim=0)

    def score(self, image: torch.Tensor) -> float:
        """Return the number for another image ``(1, C, i, j, k)``.

        Raises:
            OutOfMemory: the memory ran out.
        """
        try:
            return float(self.scorer.score(image)[0])
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise OutOfMemory(
                "There was not enough memory to ask the model again about a changed image. Close other programs or "
                "choose the processor as device.",
                str(error),
            ) from error

    def again(
        self,
        image: torch.Tensor | None = None,
        scorer: Scorer | None = None,
        work: Work | None = None,
        part: tuple[float, float] = (0.0, 1.0),
        text: str = "",
    ) -> torch.Tensor:
        """Return what the method says ``(C, i, j, k)`` of another image, of another network, or both.

        Args:
            part: from where to where it takes the measure's progress, 0 to 1.
            text: what it is for, told with the method's own progress.

        Raises:
            JobCancelled: on request.
        """
        import torch

        told = part[0]

        def progress(fraction: float, said: str) -> None:
            nonlocal told
            told = max(told, part[0] + (part[1] - part[0]) * min(fraction, 1.0))  # some methods begin anew on their way
            self.work.progress(told, f"{text} ({said})" if text and said else text or said)

        self.work.step(told, text)
        there = replace(work or self.work, progress=progress)
        with torch.enable_grad():
            raw = self.method.attribute(scorer or self.scorer, self.image if image is None else image, there)
        return raw.values.detach().float().cpu()
