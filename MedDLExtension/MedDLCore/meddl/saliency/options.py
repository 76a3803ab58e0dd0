"""How an explanation is computed: the user's choices, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from meddl.errors import UsageError

BASELINES = ("blur", "mean", "zero", "reference")
_RANGES = (
    ("steps", 2, 1000), ("samples", 1, 1000), ("noise", 0, 10), ("memory_mb", 0, 1 << 24), ("block_mm", 0, 1000),
    ("finest_mm", 0, 1000), ("seed", 0, (1 << 32) - 1),
)  # fmt: skip


@dataclass(frozen=True)
class ExplainOptions:
    """Settings of all methods; each takes those that it has.

    Attributes:
        device: as of :class:`meddl.inference.RunOptions`.
        steps: of a path from the baseline to the image (integrated gradients), or draws (GradientSHAP).
        samples: noisy copies (SmoothGrad).
        noise: their standard deviation as a share of the image's range.
        baseline: what "nothing is there" looks like: "blur", "mean", "zero", or "reference" (an image that is given).
        layer: of CAM methods, by its name in the network; "" for the one that is chosen automatically.
        block_mm: edge of the blocks that occlusion covers at first; 0 for a size that fits the image.
        finest_mm: edge of the smallest blocks; 0 for a fourth of ``block_mm``.
        memory_mb: budget for what is held at once beside the network; 0 for what is free.
        seed: of what is left to chance.
    """

    device: str = "auto"
    steps: int = 20
    samples: int = 10
    noise: float = 0.1
    baseline: Literal["blur", "mean", "zero", "reference"] = "blur"
    layer: str = ""
    block_mm: float = 0.0
    finest_mm: float = 0.0
    memory_mb: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.baseline not in BASELINES:
            raise UsageError(f"There is no baseline {self.baseline!r}. Choose one of: {', '.join(BASELINES)}.")
        for name, low, high in _RANGES:
            if not low <= getattr(self, name) <= high:
                raise UsageError(f"{name} must be from {low} to {high}, not {getattr(self, name)}.")

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ExplainOptions:
        """Return what :meth:`to_dict` described.

        Raises:
            UsageError: it names a choice that there is none of.
        """
        try:
            return cls(**data)
        except TypeError as error:
            raise UsageError(f"These are no options of an explanation: {error}.") from error
