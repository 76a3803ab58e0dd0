"""Transforms of values: noise, gain, contrast, coil shading, blur, sharpness, erased boxes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np

from meddl.augmentation.parameters import Parameter, Setting
from meddl.augmentation.transform import Drawn, IntensityTransform, Patch, SharedTransform, numbers, words
from meddl.randomness import Stream, normal_field
from meddl.volume import Grid


class Noise(IntensityTransform):
    """Thermal noise, as strong as a share of the image's contrast.

    "rician" is what a magnitude image of a single MR coil has (Gudbjartsson and Patz 1995, The Rician distribution of
    noisy MRI data, MRM 34:910), above the level of its dark end; "gaussian" is that of bright MR, and of CT with its
    grain: there neighboring voxels err alike, as far as the reconstruction smooths.
    """

    name = "noise"
    title = "Noise"
    parameters = (
        Parameter("strength", (0.01, 0.05), (0.0, 1.0), "", "standard deviation as a share of the contrast"),
        Parameter("kind", ("gaussian",), choices=("gaussian", "rician"), meaning="how values are distributed"),
        Parameter("grain_mm", (0.0, 0.0), (0.0, 20.0), "mm", "how far neighbors err alike (standard deviation)"),
    )

    def draw(self, settings: Mapping[str, Setting], stream: Stream, grid: Grid) -> Drawn | None:
        """Return strength, kind, grain and the name of the field."""
        return {
            "strength": stream.between(numbers(settings["strength"])),
            "kind": stream.choice(words(settings["kind"])),
            "grain_mm": stream.between(numbers(settings["grain_mm"])),
            "token": stream.token(),
        }

    def apply(self, patch: Patch, drawn: Drawn) -> np.ndarray:
        """Return the noisy image."""
        token, grain = str(drawn["token"]), float(drawn["grain_mm"])
        level = np.float32(drawn["strength"] * patch.contrast)
        real = _grainy(normal_field(token, patch.array.shape), grain / patch.grid.spacing) * level
        if drawn["kind"] == "gaussian":
            return patch.array + real
        signal = patch.array - np.float32(patch.low)
        other = _grainy(normal_field(token[::-1], patch.array.shape), grain / patch.grid.spacing) * level
        # Below zero there is no magnitude; what an image has there (filled corners, say) keeps its sign.
        noisy = np.sqrt((np.abs(signal) + real) ** 2 + other**2)
        result: np.ndarray = np.where(signal < 0, -noisy, noisy) + np.float32(patch.low)
        return result


class Gain(IntensityTransform):
    """Another receiver gain or exposure: values times a factor above the dark end, and shifted."""

    name = "gain"
    title = "Brightness"
    parameters = (
        Parameter("factor", (0.8, 1.25), (0.05, 20.0), "", "times the values above the dark end"),
        Parameter("shift", (0.0, 0.0), (-1.0, 1.0), "", "as a share of the contrast"),
    )

    def draw(self, settings: Mapping[str, Setting], stream: Stream, grid: Grid) -> Drawn | None:
        """Return factor and shift."""
        factor = stream.between([math.log(each) for each in numbers(settings["factor"])])
        return {"factor": math.exp(factor), "shift": stream.between(numbers(settings["shift"]))}

    def apply(self, patch: Patch, drawn: Drawn) -> np.ndarray:
        """Return the brighter or darker image."""
        factor, shift = float(drawn["factor"]), float(drawn["shift"]) * patch.contrast
        return patch.array * np.float32(factor) + np.float32(patch.low * (1 - factor) + shift)

    def inverse(self, drawn: Drawn) -> Drawn:
        """Return what takes it back."""
        return {"factor": 1 / drawn["factor"], "shift": -drawn["shift"] / drawn["factor"]}


class Contrast(IntensityTransform):
    """Another contrast between tissues: values from dark to bright to the power of gamma, their order kept."""

    name = "contrast"
    title = "Contrast (gamma)"
    parameters = (Parameter("gamma", (0.7, 1.5), (0.1, 10.0), "", "1 changes nothing, more darkens"),)

    def draw(self, settings: Mapping[str, Setting], stream: Stream, grid: Grid) -> Drawn | None:
        """Return gamma."""
        return {"gamma": math.exp(stream.between([math.log(each) for each in numbers(settings["gamma"])]))}

    def apply(self, patch: Patch, drawn: Drawn) -> np.ndarray:
        """Return the image with another contrast; below the dark end and above the bright one the curve goes on."""
        share = (patch.array - np.float32(patch.low)) / np.float32(patch.contrast)
        curve = np.copysign(np.abs(share) ** np.float32(drawn["gamma"]), share)
        return curve * np.float32(patch.contrast) + np.float32(patch.low)

    def inverse(self, drawn: Drawn) -> Drawn:
        """Return what takes it back."""
        return {"gamma": 1 / drawn["gamma"]}


class BiasField(IntensityTransform):
    """Uneven sensitivity of the receiving coil: values times exp of a smooth polynomial.

    Van Leemput et al. 1999, Automated model-based bias field correction of MR images of the brain, IEEE TMI 18:885;
    here in Legendre's polynomials, whose terms do not depend on one another.
    """

    name = "bias_field"
    title = "Bias field"
    parameters = (
        Parameter("strength", (0.1, 0.4), (0.0, 2.0), "", "of each term: 0.3 is about 30 percent at the rim"),
        Parameter("order", (3, 3), (1, 5), "", "of the polynomial", whole=True),
    )

    def draw(self, settings: Mapping[str, Setting], stream: Stream, grid: Grid) -> Drawn | None:
        """Return the terms as ``[i, j, k, coefficient]``."""
        order, strength = stream.whole(numbers(settings["order"])), stream.between(numbers(settings["strength"]))
        terms = [each for each in product(range(order + 1), repeat=3) if 0 < sum(each) <= order]
        return {"terms": [[*term, strength / sum(term) * stream.uniform(-1.0, 1.0)] for term in terms]}

    def apply(self, patch: Patch, drawn: Drawn) -> np.ndarray:
        """Return the shaded image."""
        size = 1 + max(max(int(n) for n in term[:3]) for term in drawn["terms"])
        table = np.zeros((size, size, size), np.float32)
        for i, j, k, value in drawn["terms"]:
            table[int(i), int(j), int(k)] = value
        field: np.ndarray = table
        for axis in range(3):
            field = np.moveaxis(np.tensordot(_legendre(patch, axis, size), field, axes=(1, axis)), 0, axis)
        low = np.float32(patch.low)
        result: np.ndarray = (patch.array - low) * np.exp(field) + low
        return result

    def inverse(self, drawn: Drawn) -> Drawn:
        """Return the shading that takes it back."""
        return {"terms": [[i, j, k, -value] for i, j, k, value in drawn["terms"]]}


class Blur(IntensityTransform):
    """A softer kernel, or a patient out of focus: a Gaussian.

    Not MONAI's ``GaussianSmooth``: that one takes what lies outside of the image for 0, which is water in a CT, so that
    the air at the borders turns bright.
    """

    name = "blur"
    title = "Blur"
    parameters = (Parameter("sigma_mm", (0.5, 1.5), (0.0, 20.0), "mm", "standard deviation along each axis"),)

    def draw(self, settings: Mapping[str, Setting], stream: Stream, grid: Grid) -> Drawn | None:
        """Return the width."""
        return {"sigma_mm": stream.between(numbers(settings["sigma_mm"]))}

    def apply(self, patch: Patch, drawn: Drawn) -> np.ndarray:
        """Return the softer image."""
        sigma = _in_voxels(float(drawn["sigma_mm"]), patch)
        return patch.array.copy() if sigma is None else _smoothed(patch.array, sigma)


class Sharpen(IntensityTransform):
    """A sharper reconstruction kernel: unsharp masking by a Gaussian."""

    name = "sharpen"
    title = "Sharper kernel"
    parameters = (
        Parameter("sigma_mm", (0.7, 1.5), (0.1, 20.0), "mm", "width of what is sharpened"),
        Parameter("amount", (0.5, 2.0), (0.0, 30.0), "", "how much of the fine detail is added"),
    )

    def draw(self, settings: Mapping[str, Setting], stream: Stream, grid: Grid) -> Drawn | None:
        """Return width and amount."""
        return {name: stream.between(numbers(settings[name])) for name in ("sigma_mm", "amount")}

    def apply(self, patch: Patch, drawn: Drawn) -> np.ndarray:
        """Return the sharper image."""
        sigma = _in_voxels(float(drawn["sigma_mm"]), patch)
        if sigma is None:
            return patch.array.copy()
        return patch.array + np.float32(drawn["amount"]) * (patch.array - _smoothed(patch.array, sigma))


class Cutout(SharedTransform):
    """Boxes of the image are erased, so that a model does not lean on one detail; labels stay.

    DeVries and Taylor 2017, Improved regularization of convolutional neural networks with cutout, arXiv:1708.04552.
    """

    name = "cutout"
    title = "Erased boxes"
    parameters = (
        Parameter("number", (1, 3), (0, 50), "", "of boxes", whole=True),
        Parameter("size", (0.05, 0.2), (0.0, 0.9), "", "of a box as a share of the image, along each axis"),
        Parameter("fill", ("dark",), choices=("dark", "middle", "noise"), meaning="what stands in the box"),
    )

    def draw(self, settings: Mapping[str, Setting], stream: Stream, grid: Grid) -> Drawn | None:
        """Return the boxes: first and last plane along each axis."""
        boxes = []
        for _ in range(stream.whole(numbers(settings["number"]))):
            box: list[list[int]] = []
            for count in grid.shape:
                length = max(1, min(count, round(stream.between(numbers(settings["size"])) * count)))
                start = stream.whole((0, count - length))
                box.append([start, start + length - 1])
            boxes.append(box)
        return {"boxes": boxes, "fill": stream.choice(words(settings["fill"])), "token": stream.token()}

    def apply(self, patch: Patch, drawn: Drawn) -> np.ndarray:
        """Return the image with holes."""
        array = patch.array.copy()
        for box in drawn["boxes"]:
            planes = [
                np.flatnonzero((at > first - 0.5) & (at < last + 0.5))
                for at, (first, last) in ((patch.axis(axis), ends) for axis, ends in enumerate(box))
            ]
            array[np.ix_(np.arange(len(array)), *planes)] = self._filling(patch, drawn, tuple(map(len, planes)))
        return array

    @staticmethod
    def _filling(patch: Patch, drawn: Drawn, shape: tuple[int, ...]) -> Any:
        if drawn["fill"] == "noise":
            field = normal_field(str(drawn["token"]), (len(patch.array), *shape))
            return field * np.float32(patch.contrast / 4) + np.float32((patch.low + patch.high) / 2)
        return patch.low if drawn["fill"] == "dark" else (patch.low + patch.high) / 2


def _in_voxels(width: float, patch: Patch) -> list[float] | None:
    sigma = [
        width / edge if count > 1 else 0.0 for edge, count in zip(patch.grid.spacing, patch.grid.shape, strict=True)
    ]
    return sigma if max(sigma) > 0.05 else None


def _smoothed(array: np.ndarray, sigma: list[float]) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    # Beyond the border stands what stands at it.
    smooth: np.ndarray = gaussian_filter(array, (0.0, *sigma), output=np.float32, mode="nearest")
    return smooth


def _grainy(field: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Return noise that is alike within ``sigma`` voxels, of the same strength."""
    from scipy.ndimage import gaussian_filter

    if not (sigma > 0.1).any():
        return field
    wide = [0.0 if count == 1 else float(each) for each, count in zip(sigma, field.shape[1:], strict=True)]
    grainy = gaussian_filter(field, (0.0, *wide), mode="wrap")
    return grainy / np.float32(max(float(grainy.std()), 1e-6))


def _legendre(patch: Patch, axis: int, count: int) -> np.ndarray:
    """Return Legendre's polynomials (planes x count) over the whole image, from -1 to 1."""
    half = max((patch.whole.shape[axis] - 1) / 2, 0.5)
    at = (patch.axis(axis) - (patch.whole.shape[axis] - 1) / 2) / half
    values: np.ndarray = np.polynomial.legendre.legvander(at, count - 1)
    return values.astype(np.float32)
