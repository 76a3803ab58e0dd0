"""Requests of OpenVINO that run side by side: as many as that gains by."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import torch

GAIN = 1.2
"""What twice as many must be quicker by, together, to be worth the processor time. Two threads of one core are not."""

BATCHES = 4
"""Of each number of windows, after which their medians are compared: something else may run beside one or the other."""


class Width:
    """How many windows run at once. It starts with ``most`` and is halved as long as that costs little.

    Whether two processors are two cores or two threads of one, a virtual machine does not tell; the work itself does,
    on the way: its first batches run ``most`` at once, the next ones half as many.

    Attributes:
        most: windows at once; it may fall.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._seconds: dict[int, list[float]] = {}

    @property
    def settled(self) -> bool:
        return self.most == 1 or len(self._of(self.most // 2)) >= BATCHES

    def next(self) -> int:
        """Return how many windows of the next batch to run at once."""
        return self.most if self.settled or len(self._of(self.most)) < BATCHES else self.most // 2

    def took(self, width: int, windows: int, seconds: float) -> None:
        """Note how long a batch took with so many at once. One of few windows tells nothing."""
        if self.settled or windows < 2 * self.most:
            return
        self._of(width).append(seconds / windows)
        half = self.most // 2
        if self.settled and median(self._of(half)) <= GAIN * median(self._of(self.most)):
            self.most = half

    def _of(self, width: int) -> list[float]:
        return self._seconds.setdefault(width, [])


class Requests:
    """Runs a compiled model on window after window.

    Args:
        compiled: by OpenVINO, of one window.
        streams: that it was compiled for.
        feed: from a request's number and a window ``(1, C, ...)`` to the model's inputs, in their order. It is not
            called again for this number before the answer is there. None: the window is the only input.
    """

    def __init__(
        self, compiled: Any, streams: int, feed: Callable[[int, np.ndarray], list[np.ndarray]] | None = None
    ) -> None:
        self._requests = [compiled.create_infer_request() for _ in range(streams)]
        self._feed = feed or (lambda number, window: [window])
        self.width = Width(streams)

    def answers(self, windows: np.ndarray) -> torch.Tensor:
        """Return the answers ``(B, C, ...)`` to windows ``(B, C, ...)`` that lie in memory as their axes do."""
        import torch

        begun, width, count = time.perf_counter(), self.width.next(), len(windows)
        answers: np.ndarray | None = None
        # While some run, the next one is made ready.
        for index in range(count + width):
            request, done = self._requests[index % width], index - width
            if done >= 0:
                request.wait()
                # OpenVINO writes its next answer to the same memory.
                answers = self._with(answers, done, request.get_output_tensor(0).data, count)
            if index < count:
                fed = self._feed(index % width, windows[index : index + 1])
                request.start_async(dict(enumerate(fed)), share_inputs=True)
        self.width.took(width, count, time.perf_counter() - begun)
        return torch.from_numpy(answers)

    @staticmethod
    def _with(answers: np.ndarray | None, index: int, answer: np.ndarray, count: int) -> np.ndarray:
        """Return answers with one more of them; they are made with the first."""
        import numpy as np

        if answers is None:
            answers = np.empty((count, *answer.shape[1:]), answer.dtype)
        answers[index] = answer[0]
        return answers
