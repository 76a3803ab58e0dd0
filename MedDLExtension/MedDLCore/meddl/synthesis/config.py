"""What is trained: the settings of a generator, as data."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, TypeAlias

from meddl.errors import UsageError

Kind: TypeAlias = Literal["gan", "rectified_flow", "ddpm"]
KINDS: tuple[Kind, ...] = ("gan", "rectified_flow", "ddpm")
Plane: TypeAlias = Literal["axial", "coronal", "sagittal"]
PLANES: tuple[Plane, ...] = ("axial", "coronal", "sagittal")
Where: TypeAlias = Literal["whole", "labels"]


@dataclass(frozen=True)
class SynthesisConfig:
    """How a generator is made and trained.

    Attributes:
        kind: "gan" (least squares, Mao et al. 2017), "rectified_flow" (Liu et al. 2023) or "ddpm" (Ho et al. 2020).
        conditioned: a label map goes in and a fitting image comes out; else images are made from chance alone.
        size: voxels of an example: two numbers for slices, three for patches; whole multiples of 8.
        spacing_mm: of an example's voxels; 0 takes what lets an example hold a whole slice, or the dataset's median.
        plane: of slices.
        where: patches and slices of the whole image, or around what is labeled.
        channel: of the dataset's images; "" is the first.
        steps: of training.
        batch_size: examples in a step.
        learning_rate: of the generator.
        features: channels of the network's levels, from fine to coarse; () takes what fits ``kind`` and ``size``.
        sampling_steps: of the flow or the diffusion for each image.
        augmented: examples are moved and turned a little while training, labels with them.
        seed: of weights, order and noise.
        sample_every, checkpoint_every: in steps.
    """

    kind: Kind = "rectified_flow"
    conditioned: bool = True
    size: tuple[int, ...] = (64, 64)
    spacing_mm: float = 0.0
    plane: Plane = "axial"
    where: Where = "whole"
    channel: str = ""
    steps: int = 1500
    batch_size: int = 16
    learning_rate: float = 1e-3
    features: tuple[int, ...] = ()
    sampling_steps: int = 12
    augmented: bool = True
    seed: int = 0
    sample_every: int = 250
    checkpoint_every: int = 100

    def __post_init__(self) -> None:
        for name, known in (("kind", KINDS), ("plane", PLANES), ("where", ("whole", "labels"))):
            if getattr(self, name) not in known:
                raise UsageError(f"{name} is {getattr(self, name)!r}. Choose one of: {', '.join(known)}.")
        object.__setattr__(self, "size", tuple(int(each) for each in self.size))
        object.__setattr__(self, "features", tuple(int(each) for each in self.features))
        if len(self.size) not in (2, 3) or any(each < 16 or each % 8 for each in self.size):
            raise UsageError("The size of an example is two numbers (slices) or three (patches), multiples of 8 and "
                             f"at least 16, not {' x '.join(map(str, self.size))}.")  # fmt: skip
        if math.prod(self.size) > _MOST_VOXELS:
            raise UsageError(f"An example of {' x '.join(map(str, self.size))} voxels is too large to learn from. "
                             "Choose a smaller size, or larger voxels.")  # fmt: skip
        for name, (least, most) in _BOUNDS.items():
            if not least <= getattr(self, name) <= most:
                raise UsageError(f"{name} is {getattr(self, name)}. It takes {least} to {most}.")
        if not 0 < self.learning_rate < 1:
            raise UsageError("learning_rate lies between 0 and 1.")
        self._check_features()

    def _check_features(self) -> None:
        levels = len(self.features)
        if levels > _MOST_LEVELS or not all(2 <= each <= _MOST_CHANNELS for each in self.features):
            raise UsageError(f"features are up to {_MOST_LEVELS} numbers of channels, each from 2 to {_MOST_CHANNELS}.")
        pads = self.kind == "gan" and self.conditioned
        if levels and not pads and any(each % (1 << (levels - 1)) for each in self.size):
            raise UsageError(f"With {levels} features an example is halved {levels - 1} times, which its size "
                             f"({' x '.join(map(str, self.size))}) cannot be. Give fewer features.")  # fmt: skip

    @property
    def dimensions(self) -> int:
        """2 for slices, 3 for patches."""
        return len(self.size)

    @property
    def fold(self) -> tuple[int, ...]:
        """Voxels along each axis that are one place to the network: nearly all time goes at the voxels of patches.

        Only to that of a GAN with labels. A flow or a diffusion must tell the noise of each voxel, which takes its
        network far longer to learn from blocks; a GAN without labels is shown no image.
        """
        folds = self.kind == "gan" and self.conditioned and self.dimensions == 3
        return tuple(2 if folds and each >= 2 * _LEAST_FOLDED else 1 for each in self.size)

    @property
    def folded_size(self) -> tuple[int, ...]:
        """How many places the network sees along each axis."""
        return tuple(each // by for each, by in zip(self.size, self.fold, strict=True))

    @property
    def digest(self) -> str:
        """SHA-256 of what the weights depend on but the number of steps: more of them continue a training."""
        said = {name: value for name, value in self.to_dict().items() if name not in _NOT_COUNTED}
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {**asdict(self), "size": list(self.size), "features": list(self.features)}

    @classmethod
    def from_dict(cls, data: Any) -> SynthesisConfig:
        """Return the config that plain data describe; what they leave out is the default.

        Raises:
            UsageError: they describe none; the message says what is wrong.
        """
        if not isinstance(data, Mapping):
            raise UsageError("The settings of a generator are an object of names and values.")
        known = {each.name: each.default for each in fields(cls)}
        for name, value in data.items():
            if name not in known:
                raise UsageError(f"The settings of a generator have no {name!r}. They have: {', '.join(known)}.")
            if not _fits(value, known[name]):
                raise UsageError(f"{name} is {value!r}, which it cannot be. An example: {known[name]!r}.")
        return cls(**data)


_MOST_VOXELS = 1 << 24
_LEAST_FOLDED = 16
"""Places along an axis that the networks can halve four times."""
_BOUNDS: Mapping[str, tuple[int, int]] = {
    "spacing_mm": (0, 1000),
    "steps": (1, 10**9),
    "batch_size": (1, 4096),
    "sampling_steps": (1, 1000),
    "seed": (0, 2**31 - 1),
    "sample_every": (1, 10**9),
    "checkpoint_every": (1, 10**9),
}
_MOST_CHANNELS = 4096
_MOST_LEVELS = 5
_NOT_COUNTED = ("steps", "sample_every", "checkpoint_every", "sampling_steps")


def _fits(value: Any, example: Any) -> bool:
    if isinstance(example, bool):
        return isinstance(value, bool)
    if isinstance(example, tuple):
        return isinstance(value, list | tuple) and all(type(each) is int for each in value)
    if isinstance(example, float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is type(example)
