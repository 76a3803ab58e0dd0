"""Test-time augmentation: the same image flipped and shifted, and the way back of what the network answers.

After Wang G, Li W, Aertsen M, et al. Aleatoric uncertainty estimation with test-time augmentation for medical image
segmentation with convolutional neural networks. Neurocomputing 338 (2019) 34-45. Only flips along voxel axes and shifts
by whole voxels are used, since these need no interpolation: the way back is exact.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from meddl.errors import ModelError, UsageError
from meddl.models.metadata_values import own_part

if TYPE_CHECKING:
    import torch

    from meddl.models import ModelBundle

    Array = TypeVar("Array", np.ndarray, torch.Tensor)

MAX_SHIFT = 4
"""Voxels. Larger ones would show the network less of the image, and no other sampling of it."""
_SHARE_TO_SHIFT = 8
"""An axis is shifted by at most this part of its length."""
_SIDED = re.compile(r"(?<![a-z])(left|right|[lr](?=[ _-]))(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True)
class AugmentedPass:
    """One way to show an image, and the way back: flipped along axes, then moved by whole voxels.

    What moves out of the image is lost, what moves in repeats the edge. :attr:`seen` is the box of voxels that the
    network saw; what :meth:`inverse` returns outside it repeats the scores at the box's edge.

    Attributes:
        shape: the image's number of voxels along each spatial axis.
        flips: which axes (from 0) are turned round.
        shift: voxels towards higher indices, one number per axis.
    """

    shape: tuple[int, ...]
    flips: tuple[int, ...] = ()
    shift: tuple[int, ...] = ()

    def apply(self, image: Array) -> Array:
        """Return ``(C, i, j, k)`` as the network is to see it: a torch tensor (also MONAI's) or a numpy array."""
        return self._taken(image, back=False)

    def inverse(self, scores: Array) -> Array:
        """Return scores ``(C, i, j, k)`` of the image that :meth:`apply` made, with each voxel where it belongs."""
        return self._taken(scores, back=True)

    @property
    def seen(self) -> tuple[slice, ...]:
        """The box, in the original image's voxels, that was not moved out of the image."""
        box = []
        for axis, (size, shift) in enumerate(zip(self.shape, self._shifts, strict=True)):
            low, high = max(0, -shift), min(size, size - shift)  # in the flipped image
            box.append(slice(size - high, size - low) if axis in self.flips else slice(low, high))
        return tuple(box)

    @property
    def _shifts(self) -> tuple[int, ...]:
        return self.shift or (0,) * len(self.shape)

    def _taken(self, array: Any, *, back: bool) -> Any:
        if tuple(array.shape[1:]) != self.shape:
            raise UsageError(f"An array of shape {tuple(array.shape)} does not fit an image of {self.shape} voxels.")
        for axis, (size, shift) in enumerate(zip(self.shape, self._shifts, strict=True)):
            flipped = axis in self.flips
            if not flipped and not shift:
                continue
            here = np.arange(size)
            if back:
                index = np.clip((size - 1 - here if flipped else here) + shift, 0, size - 1)
            else:
                index = np.clip(here - shift, 0, size - 1)
                index = size - 1 - index if flipped else index
            array = _take(array, index, axis + 1)
        return array


class TestTimeAugmentation:
    """The ways to show one image: as it is, every combination of flips, then combinations of flips and small shifts.

    The first pass is always the image as it is. The same arguments give the same passes.

    Args:
        spatial_shape: the prepared image's voxels along each spatial axis.
        passes: how many are wanted. There are fewer where the image is so small that no more differ.
        seed: of the shifts.
        flip_axes: along which axes to flip; all by default. See :func:`flip_axes_for`.

    Example:
        >>> passes = TestTimeAugmentation((64, 64, 20), passes=3, seed=0, flip_axes=[0])
        >>> [(each.flips, any(each.shift)) for each in passes]
        [((), False), ((0,), False), ((), True)]
        >>> passes.text
        'flipped and shifted images'
    """

    def __init__(
        self,
        spatial_shape: Iterable[int],
        passes: int,
        seed: int,
        *,
        flip_axes: Iterable[int] | None = None,
    ) -> None:
        shape = tuple(int(size) for size in spatial_shape)
        axes = range(len(shape)) if flip_axes is None else sorted(set(flip_axes))
        if any(not 0 <= axis < len(shape) for axis in axes):
            raise UsageError(f"An image of {len(shape)} spatial axes cannot be flipped along all of {list(axes)}.")
        self._passes = tuple(_distinct(shape, passes, seed, [axis for axis in axes if shape[axis] > 1]))

    def __len__(self) -> int:
        return len(self._passes)

    def __iter__(self) -> Iterator[AugmentedPass]:
        return iter(self._passes)

    def __getitem__(self, index: int) -> AugmentedPass:
        return self._passes[index]

    @property
    def text(self) -> str:
        """What was done to the images, for a sentence."""
        words = []
        if any(each.flips for each in self._passes):
            words.append("flipped")
        if any(any(each.shift) for each in self._passes):
            words.append("shifted")
        return f"{' and '.join(words) or 'unchanged'} images"


def _distinct(shape: tuple[int, ...], passes: int, seed: int, axes: list[int]) -> Iterator[AugmentedPass]:
    flips = [each for count in range(len(axes) + 1) for each in itertools.combinations(axes, count)]
    for each in flips[:passes]:
        yield AugmentedPass(shape, each)
    reach = [min(MAX_SHIFT, size // _SHARE_TO_SHIFT) for size in shape]
    random = np.random.default_rng(seed)
    given: set[tuple[Any, ...]] = set()
    possible = len(flips) * (int(np.prod([2 * each + 1 for each in reach])) - 1)
    while len(given) < min(possible, passes - len(flips)):
        turn = flips[len(given) % len(flips)]
        shift = tuple(int(random.integers(-each, each + 1)) for each in reach)
        if any(shift) and (turn, shift) not in given:
            given.add((turn, shift))
            yield AugmentedPass(shape, turn, shift)


@dataclass(frozen=True)
class FlipAxes:
    """Along which voxel axes an image may be flipped, and why these."""

    axes: tuple[int, ...]
    reason: str


def flip_axes_for(bundle: ModelBundle, affine: np.ndarray, spatial_dims: int = 3) -> FlipAxes:
    """Return the flips that a model can be asked about: those it knows from its training.

    A network that never saw a head upside down is not unsure about heads, it is out of its depth. The axes are, in this
    order: ``meddl.uncertainty.flip_axes`` of the metadata; those that the bundle's training config flips
    (``RandFlip``); else the left-right axis alone, along which bodies are nearly symmetric. Where a model tells
    left structures from right ones, that axis is always left out: flipping would exchange them.

    Args:
        bundle: the model.
        affine: 4x4, the prepared image's voxel index to RAS mm.
        spatial_dims: of the network; 2 for single slices.
    """
    sideways = int(np.argmax(np.abs(affine[0, :3]) / np.linalg.norm(affine[:3, :3], axis=0)))
    own = own_part(bundle.metadata, "uncertainty").get("flip_axes")
    if isinstance(own, list):
        axes, reason = {axis for axis in own if type(axis) is int}, "the model's description names them"
    elif trained := _trained_flips(bundle, spatial_dims):
        axes, reason = trained, "the model was trained with them"
    else:
        axes, reason = {sideways}, "bodies are nearly symmetric from left to right"
    axes = {axis for axis in axes if 0 <= axis < spatial_dims}
    if sideways in axes and any(_SIDED.search(segment.name) for segment in bundle.segments):
        axes, reason = axes - {sideways}, f"{reason}; not from left to right, which the model tells apart"
    return FlipAxes(tuple(sorted(axes)), reason)


def _trained_flips(bundle: ModelBundle, spatial_dims: int) -> set[int]:
    """Return the axes that the training config flips; nothing in it is evaluated."""
    try:
        found: list[Any] = [bundle.config("train")]
    except ModelError:
        return set()
    axes: set[int] = set()
    while found:
        part = found.pop()
        if isinstance(part, dict):
            found.extend(part.values())
            name = str(part.get("_target_", "")).rpartition(".")[2].removesuffix("d").removesuffix("Dict")
            if name == "RandAxisFlip" or (name == "RandFlip" and part.get("spatial_axis") is None):
                axes.update(range(spatial_dims))
            elif name == "RandFlip":
                named = part["spatial_axis"]
                axes.update(axis for axis in (named if isinstance(named, list) else [named]) if type(axis) is int)
        elif isinstance(part, list):
            found.extend(part)
    return {axis % spatial_dims for axis in axes if -spatial_dims <= axis < spatial_dims}


def _take(array: Any, index: np.ndarray, axis: int) -> Any:
    if isinstance(array, np.ndarray):
        return np.take(array, index, axis)
    import torch

    return array.index_select(axis, torch.from_numpy(index).to(array.device))
