"""Lesions in healthy images: a shape, a place, a texture and a blended border, with the mask that belongs to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from meddl.augmentation.variants import VariantSummary
from meddl.volume import Segment, Volume

if TYPE_CHECKING:
    from meddl.synthesis.synthesizer import Synthesizer

Progress = Callable[[float, str], None]
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
        texture: "generator" (a conditioned one that knows the structure), "example" (the voxels of a real lesion),
            "statistics" (noise as grainy and as bright as a real lesion, or as ``contrast`` says), "auto": the first of
            them that there is.
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
class Inserted:
    """An image with lesions that nobody had.

    Attributes:
        image: as given, but in and right around the lesions.
        labels: ``(1, I, J, K)`` on the image's grid, with the lesions.
        segments: what the labels mean.
        mask: ``(1, I, J, K)`` uint8: the new lesions alone.
        facts: JSON-able: place, volume, what shape and texture were taken from, seed.
    """

    image: Volume
    labels: Volume
    segments: tuple[Segment, ...]
    mask: Volume
    facts: Mapping[str, Any] = field(default_factory=dict)


def insert_lesion(
    image: Volume,
    labels: Volume | None,
    segments: Sequence[Segment] = (),
    options: LesionOptions | None = None,
    *,
    example: LesionExample | None = None,
    synthesizer: Synthesizer | None = None,
    key: str = "",
    progress: Progress = lambda fraction, text: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Inserted:
    """Return an image with lesions in it; away from them it keeps every bit.

    Args:
        image: ``(1, I, J, K)``.
        labels: ``(L, I, J, K)`` on the image's grid, or None: nothing is labeled.
        segments: what the labels mean.
        example: a real lesion.
        synthesizer: a conditioned generator that knows the lesion's structure.
        key: tells insertions of one seed apart, for instance "case_0007/2".

    Raises:
        UsageError: the structure to lie in is not there or too small, or what the texture is to come from is missing.
        JobCancelled: on request.
    """
    raise NotImplementedError


def add_lesions(
    root: Path,
    options: LesionOptions,
    *,
    variants: int = 1,
    synthesizer: Synthesizer | None = None,
    progress: Progress = lambda fraction, text: None,
    cancelled: Callable[[], bool] = lambda: False,
    log: Callable[[str], None] = lambda line: None,
) -> VariantSummary:
    """Add copies of a dataset's training cases with new lesions; those with lesions that it had are replaced.

    Shapes and textures are taken from lesions of other training cases, never from a case that a fold validates apart
    from the one it would be learned with.

    Args:
        variants: copies of each training case.

    Raises:
        UsageError: there is no whole dataset, or its labels have no such structure.
        UnwritableDataset: the folder cannot be written to.
        JobCancelled: on request; what was written stays.
    """
    raise NotImplementedError
