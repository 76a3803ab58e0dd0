"""What every transform is: numbers drawn from ranges, and a deterministic twin that applies what was drawn."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np

from meddl.augmentation.parameters import Parameter, Setting
from meddl.augmentation.world_map import WorldMap
from meddl.randomness import Stream
from meddl.volume import Grid

Drawn: TypeAlias = Mapping[str, Any]
"""What was drawn for one transform: JSON-able, and all that its twin needs."""


class Transform(ABC):
    """One thing that happens to an image.

    Attributes:
        name: in plans.
        title: for people.
        parameters: what can be set.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    parameters: ClassVar[tuple[Parameter, ...]] = ()

    def inverse(self, drawn: Drawn) -> Drawn | None:
        """Return what undoes it, for the same transform; None where nothing does."""
        return None


class SpatialTransform(Transform):
    """Content moves in the world; the grid stays where it is, so that the result overlays its source."""

    @abstractmethod
    def draw(self, settings: Mapping[str, Setting], stream: Stream, grid: Grid) -> Drawn | None:
        """Return what happens this time to a sample on ``grid``, or None where nothing can."""

    @abstractmethod
    def world_map(self, drawn: Drawn) -> WorldMap:
        """Return the movement."""

    def exchanges_sides(self, drawn: Drawn) -> bool:
        """Say whether left and right change places."""
        return False


@dataclass(frozen=True, eq=False)
class Patch:
    """An image, or a slice of it, with what is known about the whole.

    Attributes:
        array: float32 ``(C, I, J, K)``.
        grid: its own.
        whole: the grid of the image that it is all of, or a slice of.
        low, high: what is dark and what is bright in the image as it was before anything happened to it.
    """

    array: np.ndarray
    grid: Grid
    whole: Grid
    low: float
    high: float

    @property
    def contrast(self) -> float:
        """From dark to bright."""
        return self.high - self.low

    def axis(self, number: int) -> np.ndarray:
        """Return the index in the whole image of each plane along an axis."""
        index = np.linalg.inv(self.whole.affine) @ self.grid.affine
        return np.asarray(index[number, 3] + index[number, number] * np.arange(self.grid.shape[number]))


class IntensityTransform(Transform):
    """What the scanner does to the values; each channel draws for itself."""

    @abstractmethod
    def draw(self, settings: Mapping[str, Setting], stream: Stream, grid: Grid) -> Drawn | None:
        """Return what happens this time to an image on ``grid``, or None where nothing can."""

    @abstractmethod
    def apply(self, patch: Patch, drawn: Drawn) -> np.ndarray:
        """Return the values (float32) after it; those of ``patch`` stay as they are."""


class SharedTransform(IntensityTransform):
    """One that happens to all channels alike."""


def numbers(setting: Setting) -> tuple[float, float]:
    """Return a range."""
    low, high = setting
    return float(low), float(high)


def words(setting: Setting) -> tuple[str, ...]:
    """Return choices."""
    return tuple(str(each) for each in setting)


AXES = ("left-right", "front-back", "up-down")
"""World axes R, A and S, as people call them."""


def axis_along(grid: Grid, word: str) -> int:
    """Return the voxel axis that runs nearest to a direction of the patient."""
    pair = ("RL", "AP", "SI")[AXES.index(word)]
    return next(axis for axis, letter in enumerate(grid.orientation) if letter in pair)
