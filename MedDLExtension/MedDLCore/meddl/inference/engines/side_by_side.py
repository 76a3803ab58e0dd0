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

ROUNDS = 5
"""Of each number of windows, after which their medians are compared: something else may run beside one or the other."""


class Width:
    """How many windows run at once. It starts with ``most`` and is halved as long as that costs little.

    Whether two processors are two cores or two threads of one, a virtual machine does not tell; the work itself does,
    on the way: its first rounds are of ``most`` windows and of half as many in turn.

    Attributes:
        most: windows at once; it may fall.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._seconds: dict[int, list[float]] = {}

    @property
    def settled(self) -> bool:
        return self.most == 1 or all(len(self._of(each)) >= ROUNDS for each in (self.most, self.most // 2))

    def next(self) -> int:
        """Return how many windows to run in the next round."""
        half = self.most // 2
        return self.most if self.settled or len(self._of(self.most)) <= len(self._of(half)) else half

    def took(self, windows: int, seconds: float) -> None:
        """Note how long a round of so many took."""
        if self.settled:
            return
        self._of(windows).append(seconds / windows)  # the last ones of a batch may be of another number
        half = self.most // 2
        if self.settled and median(self._of(half)) <= GAIN * median(self._of(self.most)):
            self.most = half

    def _of(self, windows: int) -> list[float]:
        return self._seconds.setdefault(windows, [])


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
        import numpy as np
        import torch

        answers, done = np.empty((0,), np.float32), 0
        while done < len(windows):
            begun, busy = time.perf_counter(), self._requests[: self.width.next()][: len(windows) - done]
            for number, request in enumerate(busy):
                window = windows[done + number :][:1]
                request.start_async(dict(enumerate(self._feed(number, window))), share_inputs=True)
            for request in busy:
                request.wait()
                # OpenVINO writes its next answer to the same memory.
                answer = request.get_output_tensor(0).data
                if not done:
                    answers = np.empty((len(windows), *answer.shape[1:]), answer.dtype)
                answers[done] = answer[0]
                done += 1
            self.width.took(len(busy), time.perf_counter() - begun)
        return torch.from_numpy(answers)
