"""What a generator learns from and is judged by: slices or patches of a dataset's real cases."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from meddl.datasets.case import Split


@dataclass(frozen=True)
class ExampleSource:
    """Where an example is from.

    Attributes:
        case, patient: in the dataset.
        split: which part of the dataset the case is in.
        place: voxel index of the slice, or of the patch's first corner, on the prepared image.
    """

    case: str
    patient: str
    split: Split
    place: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Examples:
    """Slices or patches on one voxel size, in one order of axes (R, A, S), with one range of values.

    Attributes:
        images: ``(N, 1, *size)`` float32 in -1..1.
        labels: ``(N, *size)`` uint8 with the values of :attr:`names`, or None where the dataset has none.
        sources: one for each example.
        names: of the labels' values; 0 is the background and stands among them.
        spacing_mm: of the voxels.
        low, high: the image's values at -1 and at 1.
        modality: as DICOM names it, or "".
    """

    images: np.ndarray
    labels: np.ndarray | None
    sources: tuple[ExampleSource, ...]
    names: dict[int, str]
    spacing_mm: float
    low: float
    high: float
    modality: str = ""

    def __len__(self) -> int:
        return len(self.sources)

    @property
    def patients(self) -> int:
        """How many people they are from."""
        return len({each.patient for each in self.sources})
