"""Lesions in healthy images: a shape, a place, a texture and a blended border, with the mask that belongs to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meddl.augmentation.adding import VariantSummary, add_made_cases
from meddl.synthesis.lesion_options import SHAPES, TEXTURES, Donor, LesionExample, LesionOptions, ShapeKind, Texture
from meddl.volume import Segment, Volume

if TYPE_CHECKING:
    from meddl.synthesis.synthesizer import Synthesizer

__all__ = [
    "SHAPES",
    "TEXTURES",
    "Inserted",
    "LesionExample",
    "LesionOptions",
    "ShapeKind",
    "Texture",
    "add_lesions",
    "insert_lesion",
]

Progress = Callable[[float, str], None]


@dataclass(frozen=True, eq=False)
class Inserted:
    """An image with lesions that nobody had.

    Attributes:
        image: as given, but in and right around the lesions.
        labels: ``(L, I, J, K)`` on the image's grid, with the lesions, one layer where there were none.
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
    from meddl.synthesis.lesion_insertion import insert_lesions

    donor = Donor({"image": example.image}, example.mask, example.name) if example is not None else None
    made = insert_lesions(
        {"image": image}, labels, segments, options or LesionOptions(), donor, synthesizer, key, progress, cancelled
    )
    return Inserted(made.images["image"], made.labels, made.segments, made.mask, made.facts)


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

    Shapes and textures are taken from lesions of other training cases of the same fold (its own where there is no
    other): what is learned from while a fold is validated holds nothing of it.

    Args:
        variants: copies of each training case.

    Raises:
        UsageError: there is no whole dataset, or its labels have no such structure.
        UnwritableDataset: the folder cannot be written to.
        JobCancelled: on request; what was written stays.
    """
    from meddl.synthesis.lesion_cases import LesionCaseMaker

    maker = LesionCaseMaker(options, variants, synthesizer)
    return add_made_cases(Path(root), maker, progress=progress, cancelled=cancelled, log=log)
