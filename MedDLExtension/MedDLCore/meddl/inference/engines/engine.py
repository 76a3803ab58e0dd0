"""The contract of all engines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from meddl.errors import ModelError

if TYPE_CHECKING:
    import torch


class Engine(Protocol):
    """Computes the answer of one network."""

    @property
    def name(self) -> str:
        """As the report tells it, for instance ``torch`` or ``openvino``."""

    @property
    def precision(self) -> str:
        """``float32``, ``bfloat16`` or ``float16``."""

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """Return the answer to ``(B, C, ...)``, on the engine's device."""


def first_output(answer: Any) -> torch.Tensor:
    """Return the first tensor of a network's answer.

    Networks with deep supervision answer a list, some a dictionary: the first is the full-resolution one.

    Raises:
        ModelError: there is no tensor.
    """
    import torch

    while not isinstance(answer, torch.Tensor):
        if isinstance(answer, Mapping) and answer:
            answer = next(iter(answer.values()))
        elif isinstance(answer, list | tuple) and answer:
            answer = answer[0]
        else:
            raise ModelError(f"The network answered with {type(answer).__name__}, which holds no numbers to use.")
    return answer
