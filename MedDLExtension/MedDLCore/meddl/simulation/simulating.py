"""One image in, one image out: the face of all simulations."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from meddl.inference.prediction import Box, Landmark
from meddl.simulation.options import SimulationOptions
from meddl.simulation.simulated import Simulated
from meddl.volume import Segment, Volume


def simulate(
    volume: Volume,
    options: SimulationOptions,
    labels: Volume | None = None,
    segments: Sequence[Segment] = (),
    seed: int | None = None,
    key: str = "",
    *,
    number: int = 0,
    points: Sequence[Landmark] = (),
    boxes: Sequence[Box] = (),
    progress: Callable[[float, str], None] = lambda fraction, text: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Simulated:
    """Return an image as another acquisition would have shown it. The same arguments give the same bytes.

    Args:
        volume: ``(1, I, J, K)``: a magnitude image of at least two slices' worth of voxels, or a CT in HU.
        labels: ``(L, I, J, K)``, on any grid.
        segments: what they mean; () names them by their values.
        seed: of what is left to chance; None for that of ``options``.
        key: tells images apart that are made with one seed, for instance a case's name.
        number: which of :attr:`SimulationOptions.count` images: of projections, views run first.
        points, boxes: RAS mm.

    Raises:
        VolumeError: the method is not made for such an image.
        UsageError: there is no such number.
        JobCancelled: on request.

    Example:
        >>> import numpy as np
        >>> from meddl.simulation import LowDose, SimulationOptions, simulate
        >>> water = Volume(np.zeros((1, 32, 32, 1), np.int16), np.eye(4), meta={"modality": "CT"})
        >>> made = simulate(water, SimulationOptions(LowDose(dose=0.1, views=60), seed=3))
        >>> made.image.shape, made.target is water
        ((32, 32, 1), True)
    """
    raise NotImplementedError
