"""MR images of which only a part of k-space was measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from meddl.errors import JobCancelled, VolumeError
from meddl.randomness import Stream, normal_field
from meddl.simulation.checks import axis_along, check_magnitude
from meddl.simulation.noise import between, signal_of
from meddl.simulation.options import ACROSS, Axis, Undersampling
from meddl.volume import Volume

_PHASE_AXIS: Mapping[str, Axis] = {"axial": "front-back", "coronal": "left-right", "sagittal": "front-back"}
_WAVES = 6


def undersampled(
    volume: Volume,
    options: Undersampling,
    stream: Stream,
    progress: Callable[[float, str], None] = lambda fraction, text: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the magnitude ``(1, I, J, K)`` float32 of what was measured with zeros for the rest, and what was drawn.

    The masks are MONAI's (``monai.apps.reconstruction``), which are those of fastMRI: Zbontar et al. 2018, fastMRI: An
    open dataset and benchmarks for accelerated MRI, arXiv:1811.08839. All slices of an image have one mask. A magnitude
    image tells nothing of the phase of the transverse magnetization, so a smooth one is made up: without, k-space would
    be symmetric, and half of it would tell the other. What was lost as the magnitude was taken, and the original's own
    noise, do not come back.

    Raises:
        VolumeError: it is no magnitude image, or has too few voxels for the mask.
    """
    check_magnitude(volume, options.title)
    grid = volume.grid
    across = axis_along(grid, ACROSS[options.plane])
    if options.encoding == "2d":
        encoded = [axis_along(grid, options.phase_axis or _PHASE_AXIS[options.plane])]
    else:
        encoded = [axis for axis in range(3) if axis != across]
    choice = min(len(options.acceleration) - 1, int(stream.uniform() * len(options.acceleration)))
    speed, center = options.acceleration[choice], options.center_fraction[choice]
    lines = {axis: _lines(volume.shape[axis], speed ** (1 / len(encoded)), center, options.mask,
                          stream.child("mask", axis)) for axis in encoded}  # fmt: skip
    sigma, facts = 0.0, dict[str, Any]()
    if options.snr:
        snr, signal = between(options.snr, stream), signal_of(volume)
        sigma = signal / snr
        facts = {"snr": snr, "signal": signal, "sigma": sigma}
    waves = _waves(stream.child("phase"), grid.shape) if options.phase else []
    coils = _Coils(options.coils, grid.shape, stream.child("coils"))
    made = np.empty(volume.shape, np.float32)
    count = volume.shape[across]
    for index in range(count):
        if cancelled():
            raise JobCancelled("The simulation was cancelled.")
        progress(index / count, "Undersampling")
        place = tuple(slice(index, index + 1) if axis == across else slice(None) for axis in range(3))
        made[place] = _measured(volume, place, lines, waves, coils, sigma, stream.child("noise", index))
    measured = {axis: np.flatnonzero(each).tolist() for axis, each in lines.items()}
    total = math.prod(volume.shape[axis] for axis in encoded) / math.prod(map(len, measured.values()))
    facts |= {
        "acceleration": speed,
        "center_fraction": center,
        "measured_acceleration": total,
        "phase_waves": waves,
        "masks": [{"axis": axis, "lines": volume.shape[axis], "measured": measured[axis]} for axis in encoded],
    }
    return made[np.newaxis], facts


def _lines(count: int, speed: float, center: float, kind: str, stream: Stream) -> np.ndarray:
    """Return which of the lines of k-space, the middle one being ``count // 2``, are measured."""
    from monai.apps.reconstruction.transforms.array import EquispacedKspaceMask, RandomKspaceMask

    middle = round(count * center)
    if count < 16 or not 1 <= middle < count / speed:
        raise VolumeError(f"An acceleration of {speed:.3g} with a center fraction of {center:g} cannot be drawn from "
                          f"{count} lines of k-space. Choose less acceleration, or a larger image.")  # fmt: skip
    drawing = RandomKspaceMask if kind == "random" else EquispacedKspaceMask
    mask: Any = drawing([center], [speed], is_complex=True)
    # numpy keeps the numbers of this old generator as they are, in all versions.
    mask.set_random_state(seed=int(stream.token()[:8], 16))
    mask(np.zeros((1, 1, count, 2), np.float32))
    found: np.ndarray = mask.mask.numpy().ravel() > 0
    return found


def _waves(stream: Stream, shape: tuple[int, int, int]) -> list[dict[str, Any]]:
    """Return a smooth phase: waves with less than two cycles over the image, and their heights in radians."""
    waves = []
    for _ in range(_WAVES):
        cycles = [stream.uniform(-1.5, 1.5) if count > 1 else 0.0 for count in shape]
        waves.append({"cycles": cycles, "phase": stream.uniform(0, 2 * math.pi), "height": stream.uniform(0.2, 0.8)})
    return waves


def _measured(
    volume: Volume,
    place: tuple[slice, ...],
    lines: Mapping[int, np.ndarray],
    waves: list[dict[str, Any]],
    coils: _Coils,
    sigma: float,
    stream: Stream,
) -> np.ndarray:
    """Return the magnitude of a slice ``(I, J, K)``, one of which is 1, as it was measured."""
    import scipy.fft

    values = np.maximum(volume.array[0][place], 0).astype(np.float32)
    places = [np.arange(count, dtype=np.float32)[part] / count for count, part in zip(volume.shape, place, strict=True)]
    signal = values * np.exp(1j * _sum_of(waves, places)) if waves else values.astype(np.complex64)
    mask = np.ones((1, 1, 1), bool)
    for axis, chosen in lines.items():
        mask = mask & np.fft.ifftshift(chosen).reshape([-1 if each == axis else 1 for each in range(3)])
    total = np.zeros(values.shape, np.float32)
    for number, sensitivity in enumerate(coils.sensitivities(places)):
        seen = (signal * sensitivity).astype(np.complex64)
        if sigma:
            parts = normal_field(stream.child(number).token(), (2, *values.shape)) * np.float32(sigma)
            seen = seen + (parts[0] + 1j * parts[1])
        # Only the axes along which lines are left out matter; noise is the same in k-space and in the image.
        spectrum = scipy.fft.fftn(seen, axes=tuple(lines), workers=1)
        total += np.abs(scipy.fft.ifftn(spectrum * mask, axes=tuple(lines), workers=1)) ** 2
    magnitude: np.ndarray = np.sqrt(total)
    return magnitude


def _sum_of(waves: list[dict[str, Any]], places: list[np.ndarray]) -> np.ndarray:
    total = np.zeros([each.size for each in places], np.float32)
    for wave in waves:
        along = [2 * np.pi * cycles * at for cycles, at in zip(wave["cycles"], places, strict=True)]
        angle = along[0][:, np.newaxis, np.newaxis] + along[1][:, np.newaxis] + along[2] + wave["phase"]
        total += np.float32(wave["height"]) * np.sin(angle).astype(np.float32)
    return total


class _Coils:
    """Receiver coils round the image, each seeing what is near it best; together they see all voxels alike."""

    def __init__(self, count: int, shape: tuple[int, int, int], stream: Stream) -> None:
        self._phases = [_waves(stream.child("phase", number), shape)[:2] for number in range(count)]
        turn = stream.uniform(0, 2 * math.pi)
        # On a circle across the shortest axis.
        flat = int(np.argmin(shape))
        wide = [axis for axis in range(3) if axis != flat]
        self._centers = []
        for number in range(count):
            center, angle = [0.5, 0.5, 0.5], turn + 2 * math.pi * number / count
            center[wide[0]] += 0.6 * math.cos(angle)
            center[wide[1]] += 0.6 * math.sin(angle)
            self._centers.append(center)

    def sensitivities(self, places: list[np.ndarray]) -> list[np.ndarray | np.complex64]:
        """Return the complex sensitivity of each at places (shares 0 to 1 of the image along each axis)."""
        if len(self._centers) == 1:
            return [np.complex64(1)]
        heights = [_height(center, places) for center in self._centers]
        norm = np.sqrt(np.sum([height**2 for height in heights], axis=0))
        return [
            height / norm * np.exp(1j * _sum_of(waves, places))
            for height, waves in zip(heights, self._phases, strict=True)
        ]


def _height(center: list[float], places: list[np.ndarray]) -> np.ndarray:
    squares = [((at - np.float32(middle)) / np.float32(0.5)) ** 2 for at, middle in zip(places, center, strict=True)]
    height: np.ndarray = np.exp(-(squares[0][:, np.newaxis, np.newaxis] + squares[1][:, np.newaxis] + squares[2]) / 2)
    return height
