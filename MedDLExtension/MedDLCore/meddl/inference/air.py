"""Windows that hold only air are not worth a forward pass, if the network's answer to air is always the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from meddl.inference.strongest import strongest

if TYPE_CHECKING:
    import torch

    from meddl.inference.sliding_window import Start

TOLERANCE = 0.01
"""How far the answers to two windows of air may differ, as a share of the largest score."""

Cut = Callable[["Start"], "torch.Tensor"]
Ask = Callable[["list[torch.Tensor]"], "list[torch.Tensor]"]


class AirWindows:
    """Answers windows of air without the network.

    A window is air when all its values are at or below ``below``. Where all its voxels are one number, the network's
    own answer to the first such window is the answer to all: nothing changes. Where they differ (noise), the answer to
    a window of the least value stands in, but only after the network's answer to a real one was compared with it: they
    must agree within :data:`TOLERANCE`, and the same channel must win everywhere by more than they differ.

    Args:
        below: the threshold; None: no window is air.

    Attributes:
        skipped: windows that were answered without the network.
        sentence: what the report says when there were windows of air that could not be skipped.
    """

    def __init__(self, below: float | None) -> None:
        self._below = below
        self._constant: dict[float, torch.Tensor] = {}
        self._noisy: torch.Tensor | None = None
        self._refused = False
        self.skipped = 0
        self.sentence = ""

    def answers(self, starts: list[Start], cut: Cut, predict: Callable[[list[Start]], list[torch.Tensor]],
                ask: Ask) -> Iterator[tuple[Start, torch.Tensor]]:  # fmt: skip
        """Yield the windows of a batch with their answers ``(C, ...)``, which may be shared and must not be changed.

        Args:
            starts: of the windows.
            cut: gives a window ``(C, ...)``.
            predict: asks the network about windows of the image.
            ask: asks it about any window.
        """
        asked = [start for start in starts if not self._is_air(cut(start))]
        answers = dict(zip(asked, predict(asked), strict=True)) if asked else {}
        for start in starts:
            yield start, answers.pop(start) if start in answers else self._answer(start, cut, predict, ask)

    def _is_air(self, window: torch.Tensor) -> bool:
        return self._below is not None and bool(window.max() <= self._below)

    def _answer(self, start: Start, cut: Cut, predict: Callable[[list[Start]], list[torch.Tensor]],
                ask: Ask) -> torch.Tensor:  # fmt: skip
        import torch

        window = cut(start)
        low, high = float(window.min()), float(window.max())
        if low == high:
            if low in self._constant:
                self.skipped += 1
            else:
                self._constant[low] = predict([start])[0]
            return self._constant[low]
        if self._noisy is not None:
            self.skipped += 1
            return self._noisy
        answer = predict([start])[0]
        if not self._refused:
            pure = self._constant[low] if low in self._constant else ask([torch.full_like(window, low)])[0]
            if same_answer(pure, answer):
                self._noisy = pure
            else:
                self._refused = True
                self.sentence = "Windows of air were not skipped: this network's answer to air is not always the same."
        return answer


def same_answer(pure: torch.Tensor, real: torch.Tensor) -> bool:
    """Say whether the answer to pure air may stand in for that to real air, both ``(C, ...)``."""
    pure, real = pure.float(), real.float()
    differ = float((pure - real).abs().max())
    if differ > TOLERANCE * float(pure.abs().max()):
        return False
    if (bool((pure > 0).all()) or bool((pure < 0).all())) and float(pure.abs().min()) > 2 * differ:
        return True
    if pure.shape[0] == 1:
        return False
    wins = strongest(pure)[0]
    first = int(wins.flatten()[0])
    others = [channel for channel in range(pure.shape[0]) if channel != first]
    return bool((wins == first).all()) and float((pure[first] - pure[others].amax(dim=0)).min()) > 2 * differ
