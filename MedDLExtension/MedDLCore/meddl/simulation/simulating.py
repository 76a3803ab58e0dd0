"""One image in, one image out: the face of all simulations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from meddl.errors import UsageError
from meddl.inference.prediction import Box, Landmark
from meddl.randomness import Stream
from meddl.simulation.options import LowDose, Projection, SimulationOptions, Undersampling
from meddl.simulation.projection import projected
from meddl.simulation.simulated import Simulated
from meddl.volume import Segment, Volume

_ALGORITHM = 1
"""Another number where the same options give other voxels."""


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
    if not 0 <= number < options.count:
        raise UsageError(f"These options make {options.count} image{'s' * (options.count > 1)}, numbered from 0 on: "
                         f"there is no number {number}.")  # fmt: skip
    seed = options.seed if seed is None else seed
    method = options.method
    stream = Stream("simulation", _ALGORITHM, seed, key, method.method, number)
    facts: dict[str, Any] = {"options": options.to_dict(), "seed": seed, "number": number, "algorithm": _ALGORITHM}
    if isinstance(method, Projection):
        view = method.views[number % len(method.views)]
        shot = projected(volume, method, view, stream, labels, segments, points, boxes, progress, cancelled)
        return replace(shot, facts={**facts, "drawn": dict(shot.facts)})
    if isinstance(method, Undersampling):
        from meddl.simulation.mri import undersampled

        array, drawn = undersampled(volume, method, stream, progress, cancelled)
    elif isinstance(method, LowDose):
        from meddl.simulation.low_dose_ct import low_dose

        array, drawn = low_dose(volume, method, stream, progress, cancelled)
    else:
        from meddl.simulation.noise import noisy

        array, drawn = noisy(volume, method, stream, cancelled)
    image = replace(volume, array=array)
    facts["drawn"] = drawn
    return Simulated(image, volume, labels, tuple(segments), tuple(points), tuple(boxes), facts=facts)
