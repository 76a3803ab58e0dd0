"""The values of the core: an image in the patient's space and the name of a label."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np

from meddl.errors import VolumeError

from .geometry import Grid, checked_affine, orientation_code, spacing_of


@dataclass(frozen=True, eq=False)
class Volume:
    """A voxel array with its place in the patient.

    Attributes:
        array: ``(C, I, J, K)`` bool, integers or floats of up to 64 bits, in any memory order; it is not
            copied unless its byte order is a foreign one.
        affine: 4x4 float64 (read-only), voxel index ``(i, j, k)`` to RAS mm. Need not be orthogonal.
        name: a short name for people, never a patient's.
        meta: facts about the image that identify nobody, for instance ``{"modality": "CT"}``.

    Raises:
        VolumeError: the array has no four axes, is empty or not made of real numbers, or the affine does not place it
            (see :func:`meddl.volume.geometry.checked_affine`).

    Example:
        >>> head = Volume(np.zeros((1, 64, 64, 20)), np.diag([-0.5, -0.5, 3.0, 1.0]))
        >>> head.orientation, head.spacing.tolist(), round(head.voxel_volume_ml, 6)
        ('LPS', [0.5, 0.5, 3.0], 0.00075)
    """

    array: np.ndarray
    affine: np.ndarray
    name: str = ""
    meta: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        array = np.asarray(self.array)
        if array.dtype.kind == "c":
            raise VolumeError("The image holds complex numbers. Save its magnitude or another real part of it instead.")
        if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
            raise VolumeError(f"The image must hold real numbers of 64 bits or less, not values of type {array.dtype}.")
        if array.ndim != 4:
            raise VolumeError(
                f"The image must be an array of channels and three space axes (C, I, J, K), not of {array.ndim} axes."
            )
        if array.size == 0:
            raise VolumeError(f"The image is empty: its shape is {' x '.join(map(str, array.shape))}.")
        if not array.dtype.isnative:  # torch and others refuse foreign byte orders
            array = array.astype(array.dtype.newbyteorder("="))
        object.__setattr__(self, "array", array)
        object.__setattr__(self, "affine", checked_affine(self.affine))
        object.__setattr__(self, "meta", MappingProxyType(dict(self.meta)))

    def __getstate__(self) -> dict[str, object]:
        return {"array": self.array, "affine": self.affine, "name": self.name, "meta": dict(self.meta)}

    def __setstate__(self, state: Mapping[str, object]) -> None:
        for key, value in state.items():
            object.__setattr__(self, key, value)
        self.__post_init__()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along I, J, K."""
        return self.array.shape[1:]

    @property
    def channels(self) -> int:
        """Number of values per voxel."""
        return int(self.array.shape[0])

    @property
    def grid(self) -> Grid:
        """Where the voxels are."""
        return Grid(self.shape, self.affine)

    @property
    def spacing(self) -> np.ndarray:
        """Lengths (3,) in mm of a voxel's edges along I, J, K."""
        return spacing_of(self.affine)

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of one voxel in milliliters, also right where the axes are oblique to each other."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    @property
    def orientation(self) -> str:
        """Anatomical direction that I, J, K nearest point to, for instance ``"RAS"`` or ``"PIR"``."""
        return orientation_code(self.affine)

    def with_array(self, array: np.ndarray) -> Volume:
        """Return a volume of ``array`` at the same place.

        Raises:
            VolumeError: ``array`` has another number of voxels along I, J or K; channels may differ.
        """
        if array.ndim != 4 or tuple(array.shape[1:]) != self.shape:
            raise VolumeError(f"An array of shape {array.shape} does not fit a volume of {self.shape} voxels.")
        return replace(self, array=array)


@dataclass(frozen=True)
class Segment:
    """What one label of a label map stands for.

    Attributes:
        label: its value in the label map, at least 1.
        name: shown to the user.
        color: red, green, blue in 0..1.
        terminology: Slicer's serialized terminology entry, or "" for none.
        layer: index of the channel that holds it, where structures overlap and one label map is not enough.
    """

    label: int
    name: str
    color: tuple[float, float, float]
    terminology: str = ""
    layer: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.layer, bool) or int(self.layer) != self.layer or self.layer < 0:
            raise VolumeError(f"A segment's layer must be a whole number from 0 on, not {self.layer!r}.")
        if isinstance(self.label, bool) or int(self.label) != self.label or self.label < 1:
            raise VolumeError(f"A segment's label must be a whole number from 1 on, not {self.label!r}.")
        color = tuple(float(c) for c in self.color)
        if len(color) != 3 or not all(0.0 <= c <= 1.0 for c in color):
            raise VolumeError(f"A segment's color must be three numbers from 0 to 1, not {self.color!r}.")
        object.__setattr__(self, "label", int(self.label))
        object.__setattr__(self, "layer", int(self.layer))
        object.__setattr__(self, "name", str(self.name))
        object.__setattr__(self, "color", color)
