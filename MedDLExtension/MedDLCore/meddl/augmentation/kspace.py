"""What goes wrong while k-space is measured line by line: ghosts, motion, spikes. MONAI has only the last of them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from meddl.augmentation.parameters import Parameter, Setting
from meddl.augmentation.resampling import moved_image
from meddl.augmentation.transform import AXES, Drawn, IntensityTransform, Patch, axis_along, numbers, words
from meddl.augmentation.world_map import LinearMap, Movement
from meddl.randomness import Stream
from meddl.volume import Grid, Volume

_AXIS = Parameter("axis", AXES, choices=AXES, meaning="phase-encoding directions to choose from")


class Ghosting(IntensityTransform):
    """Ghosts of the patient along the phase-encoding axis, from breath or pulse: every n-th line of k-space differs.

    Axel et al. 1986, Respiratory effects in two-dimensional Fourier transform MR imaging, Radiology 160:795. The lines
    round the center keep their strength, so that contrast and the place of the anatomy stay.
    """

    name = "ghosting"
    title = "Ghosting"
    parameters = (
        Parameter("number", (3, 8), (2, 30), "", "of ghosts", whole=True),
        Parameter("strength", (0.3, 0.8), (0.0, 2.0), "", "how much the lines differ"),
        _AXIS,
    )

    def draw(self, settings: Mapping[str, Setting], stream: Stream, grid: Grid) -> Drawn | None:
        """Return number, strength and axis; None for an axis of few voxels."""
        axis = axis_along(grid, stream.choice(words(settings["axis"])))
        number, strength = stream.whole(numbers(settings["number"])), stream.between(numbers(settings["strength"]))
        return None if grid.shape[axis] < 8 else {"number": number, "strength": strength, "axis": axis}

    def apply(self, patch: Patch, drawn: Drawn) -> np.ndarray:
        """Return the image with ghosts; one slice across the axis (a preview) stays as it is."""
        axis = 1 + int(drawn["axis"])
        count = patch.array.shape[axis]
        if count < 8:
            return patch.array.copy()
        import scipy.fft

        lines = np.arange(count) - count // 2
        weight = np.ones(count, np.float32)
        weight[lines % int(drawn["number"]) == 0] = 1 - float(drawn["strength"])
        weight[np.abs(lines) <= max(1, count // 50)] = 1
        weight = np.fft.ifftshift(weight).reshape([-1 if n == axis else 1 for n in range(4)])
        spectrum = scipy.fft.fft(patch.array - np.float32(patch.low), axis=axis)
        return _magnitude(scipy.fft.ifft(spectrum * weight, axis=axis), patch)


class Motion(IntensityTransform):
    """The patient moves while k-space is measured: parts of it are of the patient in other poses.

    Shaw et al. 2019, MRI k-space motion artefact augmentation, MIDL. The part with the center of k-space, which tells
    where the anatomy is seen, is of the pose that the labels show.
    """

    name = "motion"
    title = "Motion"
    parameters = (
        Parameter("moves", (1, 3), (1, 10), "", "how often the patient moves", whole=True),
        Parameter("rotation_degrees", (-3.0, 3.0), (-45, 45), "degrees", "about each axis, each time"),
        Parameter("shift_mm", (-3.0, 3.0), (-50, 50), "mm", "along each axis, each time"),
        _AXIS,
    )

    def draw(self, settings: Mapping[str, Setting], stream: Stream, grid: Grid) -> Drawn | None:
        """Return the axis, and the poses with the share of the lines, from -0.5 to 0.5, where each begins and ends."""
        axis = axis_along(grid, stream.choice(words(settings["axis"])))
        if grid.shape[axis] < 8:
            return None
        times = sorted(stream.uniform(0.05, 0.95) - 0.5 for _ in range(stream.whole(numbers(settings["moves"]))))
        poses = []
        for first, last in zip([-0.5, *times], [*times, 0.5], strict=True):
            degrees = [stream.between(numbers(settings["rotation_degrees"])) for _ in range(3)]
            shift = [stream.between(numbers(settings["shift_mm"])) for _ in range(3)]
            if first <= 0.0 < last:
                continue  # the center of k-space
            poses.append({"from": first, "to": last, "matrix": _pose(grid, degrees, shift).tolist()})
        return {"axis": axis, "poses": poses}

    def apply(self, patch: Patch, drawn: Drawn) -> np.ndarray:
        """Return the blurred, ghosted image; one slice across the axis (a preview) stays as it is."""
        axis = 1 + int(drawn["axis"])
        count = patch.array.shape[axis]
        if count < 8:
            return patch.array.copy()
        import scipy.fft

        image = Volume(patch.array - np.float32(patch.low), patch.grid.affine)
        lines = np.fft.fftfreq(count)
        spectrum = scipy.fft.fft(image.array, axis=axis)
        for pose in drawn["poses"]:
            measured = (lines >= float(pose["from"])) & (lines < float(pose["to"]))
            if not measured.any():
                continue
            movement = Movement([LinearMap(np.asarray(pose["matrix"], np.float64))])
            moved = scipy.fft.fft(moved_image(image, movement, patch.grid, 0.0).array, axis=axis)
            index = tuple(measured if n == axis else slice(None) for n in range(4))
            spectrum[index] = moved[index]
        return _magnitude(scipy.fft.ifft(spectrum, axis=axis), patch)


class Spike(IntensityTransform):
    """Stripes over the whole image (herringbone), from a spark while a point of k-space was measured.

    Zhuo and Gullapalli 2006, MR artifacts, safety, and quality control, RadioGraphics 26:275. A spike is a plane wave
    in the image, so that no Fourier transform is needed.
    """

    name = "spike"
    title = "Spike (herringbone)"
    parameters = (
        Parameter("number", (1, 1), (1, 10), "", "of spikes", whole=True),
        Parameter("strength", (0.05, 0.2), (0.0, 2.0), "", "of the stripes as a share of the contrast"),
    )

    def draw(self, settings: Mapping[str, Setting], stream: Stream, grid: Grid) -> Drawn | None:
        """Return the waves: cycles per voxel along each axis, phase and strength."""
        waves = []
        for _ in range(stream.whole(numbers(settings["number"]))):
            cycles = [stream.uniform(0.05, 0.45) * stream.choice((-1, 1)) if n > 1 else 0.0 for n in grid.shape]
            strength = stream.between(numbers(settings["strength"]))
            waves.append({"cycles": cycles, "phase": stream.uniform(0, 2 * math.pi), "strength": strength})
        return {"waves": waves}

    def apply(self, patch: Patch, drawn: Drawn) -> np.ndarray:
        """Return the striped image."""
        total = (patch.array - np.float32(patch.low)).astype(np.complex64)
        for wave in drawn["waves"]:
            parts = [
                np.exp(2j * np.pi * float(cycles) * patch.axis(axis)).astype(np.complex64)
                for axis, cycles in enumerate(wave["cycles"])
            ]
            level = np.complex64(wave["strength"] * patch.contrast * np.exp(1j * float(wave["phase"])))
            total += (level * parts[0])[:, np.newaxis, np.newaxis] * (parts[1][:, np.newaxis] * parts[2])
        return _magnitude(total, patch)


def _magnitude(values: np.ndarray, patch: Patch) -> np.ndarray:
    """Return the magnitude image; what was below the dark end before keeps its sign."""
    magnitude = np.abs(values).astype(np.float32)
    low = np.float32(patch.low)
    result: np.ndarray = np.where(patch.array < low, np.real(values).astype(np.float32), magnitude) + low
    return result


def _pose(grid: Grid, degrees: list[float], shift: list[float]) -> np.ndarray:
    from meddl.augmentation.spatial import rotation

    flat = [axis for axis, count in enumerate(grid.shape) if count == 1]
    axes = np.linalg.qr(grid.affine[:3, :3])[0] if flat else np.eye(3)
    turn = np.eye(3)
    for axis, angle in enumerate(degrees):
        turn = rotation(axis, 0.0 if flat and axis not in flat else math.radians(angle)) @ turn
    move = np.array([0.0 if axis in flat else each for axis, each in enumerate(shift)])
    middle = grid.affine[:3, :3] @ ((np.array(grid.shape) - 1) / 2) + grid.affine[:3, 3]
    matrix = np.eye(4)
    matrix[:3, :3] = axes @ turn @ axes.T
    matrix[:3, 3] = middle - matrix[:3, :3] @ middle + axes @ move
    return matrix
