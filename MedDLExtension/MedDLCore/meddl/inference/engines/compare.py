"""Whether a faster engine gives the answer that torch gives in float32."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from meddl.inference.strongest import strongest

if TYPE_CHECKING:
    import torch

FLOAT32_ERROR = 1e-3
FLOAT32_AGREEMENT = 0.9999
HALF_ERROR = 0.05
HALF_AGREEMENT = 0.999


@dataclass(frozen=True)
class Agreement:
    """How near two answers are.

    Attributes:
        error: in float32 comparisons the largest, else the root mean square difference, as a share of the largest
            (or root mean square) value of the reference.
        voxels: the share of voxels at which the same channel is the largest; 1 for a single channel.
        accepted: whether that is near enough for the precision.
    """

    error: float
    voxels: float
    accepted: bool


def agreement(reference: torch.Tensor, answer: torch.Tensor, precision: str) -> Agreement:
    """Compare two answers ``(B, C, ...)``.

    In float32 an engine must agree in every value to a thousandth of the largest one, and in the winning channel at
    9999 of 10000 voxels; in half precision to a twentieth in the mean square and at 999 of 1000 voxels.
    """
    import torch

    if reference.shape != answer.shape:
        return Agreement(float("inf"), 0.0, False)
    expected, given = reference.float().cpu(), answer.float().cpu()
    if not torch.isfinite(given).all():
        return Agreement(float("inf"), 0.0, False)
    difference = given - expected
    if precision == "float32":
        error = float(difference.abs().max() / expected.abs().max().clamp_min(1e-12))
        limit, least = FLOAT32_ERROR, FLOAT32_AGREEMENT
    else:
        error = float(difference.square().mean().sqrt() / expected.square().mean().sqrt().clamp_min(1e-12))
        limit, least = HALF_ERROR, HALF_AGREEMENT
    voxels = 1.0
    if expected.ndim > 2 and expected.shape[1] > 1:
        voxels = float((strongest(expected, 1)[0] == strongest(given, 1)[0]).float().mean())
    return Agreement(error, voxels, error <= limit and voxels >= least)
