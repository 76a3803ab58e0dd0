"""What lesions are put where, and what they are taken from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from meddl.errors import UsageError
from meddl.volume import Volume

Texture: TypeAlias = Literal["auto", "generator", "example", "statistics"]
TEXTURES: tuple[Texture, ...] = ("auto", "generator", "example", "statistics")
ShapeKind: TypeAlias = Literal["auto", "random", "example"]
SHAPES: tuple[ShapeKind, ...] = ("auto", "random", "example")


@dataclass(frozen=True)
class LesionOptions:
    """What lesions are put where.

    Attributes:
        name: of the lesion's structure: one that the labels have, or a new one (not in a dataset, whose labels are
            settled).
        inside: structure that the lesion lies in; "" for anywhere in the body.
        volume_ml: smallest and greatest volume.
        shape: "random" (a smooth blob), "example" (the mask of a real one, turned and scaled), "auto": an example's
            where there is one.
        irregularity: of a random shape, 0 (ball) to 1.
        texture: "generator" (a conditioned one that knows the structure), "example" (the voxels of a real lesion, whose
            shape it then has too), "statistics" (noise as grainy and as bright as a real lesion, or as ``contrast``
            says), "auto": the first of them that there is.
        contrast: without an example: how much brighter the lesion is than what it lies in, as a share of the image's
            range (percentiles 0.5 to 99.5); negative is darker.
        border_mm: width over which the lesion passes into its surroundings.
        count: lesions per image.
        seed: of what is left to chance.
    """

    name: str = "Lesion"
    inside: str = ""
    volume_ml: tuple[float, float] = (1.0, 10.0)
    shape: ShapeKind = "auto"
    irregularity: float = 0.5
    texture: Texture = "auto"
    contrast: float = 0.2
    border_mm: float = 2.0
    count: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "volume_ml", tuple(float(each) for each in self.volume_ml))
        for name, known in (("shape", SHAPES), ("texture", TEXTURES)):
            if getattr(self, name) not in known:
                raise UsageError(f"{name} is {getattr(self, name)!r}. Choose one of: {', '.join(known)}.")
        if len(self.volume_ml) != 2 or not 0 < self.volume_ml[0] <= self.volume_ml[1] < 10_000:
            raise UsageError("The volume of lesions is a smallest and a greatest one in ml, for instance 1 to 10.")
        if not 0 <= self.irregularity <= 1 or not -2 <= self.contrast <= 2 or not 0 <= self.border_mm <= 50:
            raise UsageError("irregularity lies between 0 and 1, contrast between -2 and 2, border_mm between 0 and "
                             "50 mm.")  # fmt: skip
        if not all(map(math.isfinite, (self.irregularity, self.contrast, self.border_mm))):
            raise UsageError("irregularity, contrast and border_mm are numbers.")
        if not 1 <= self.count <= 99:
            raise UsageError(f"{self.count} lesions were asked for. Choose 1 to 99.")
        if not self.name.strip():
            raise UsageError("The lesion's structure needs a name.")
        if self.texture == "example" and self.shape == "random":
            raise UsageError("The voxels of a real lesion have its shape: choose the shape of an example too.")

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {**asdict(self), "volume_ml": list(self.volume_ml)}


@dataclass(frozen=True, eq=False)
class LesionExample:
    """A real lesion that shape and texture are taken from.

    Attributes:
        image: ``(1, I, J, K)`` of the same kind as the image that it is put into.
        mask: ``(1, I, J, K)`` the lesion, on the image's grid.
        name: what it is from, for the facts ("case_0003").
    """

    image: Volume
    mask: Volume
    name: str = ""


@dataclass(frozen=True, eq=False)
class Donor:
    """A real lesion in all images of its case; like :class:`LesionExample`."""

    images: Mapping[str, Volume]
    mask: Volume
    name: str = ""

    def __post_init__(self) -> None:
        if not self.mask.array.any():
            raise UsageError("The example has no lesion: its mask is empty.")
        for image in self.images.values():
            if not image.grid.same_as(self.mask.grid):
                raise UsageError("The example's image and mask are not on one grid.")
