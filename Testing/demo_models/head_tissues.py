"""Real heads with label maps of their tissues: what the demo generators learn from, and whom they are judged by.

The brain is what a brain extraction found; its tissues are three classes of brightness (Otsu's method), as in any
textbook. Nobody has drawn or checked them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache

import numpy as np
import realdata
from meddl.datasets.case import PreparedCase
from meddl.datasets.geometry.foreground import threshold
from meddl.datasets.image_digest import image_digest
from meddl.synthesis import Examples, SynthesisConfig
from meddl.synthesis.cutting import cuts_of, spacing_along, upright
from meddl.synthesis.examples import ExampleSource
from meddl.synthesis.value_range import ValueRange, values_of
from meddl.volume import Segment, Volume, read_volume

from demo_models import images

NAMES = {0: "background", 1: "head", 2: "cerebrospinal fluid", 3: "gray matter", 4: "white matter"}
COLORS = ((0.7, 0.5, 0.4), (0.3, 0.5, 0.9), (0.6, 0.6, 0.6), (0.95, 0.95, 0.85))
SEGMENTS = tuple(Segment(value, NAMES[value], COLORS[value - 1]) for value in range(1, 5))
SPACING_MM = 3.4
LOW, HIGH = 0.0, 500.0
"""T1-weighted values mean nothing by themselves: the brightest tissue of all heads is brought to 500."""

SOURCES: Mapping[str, Callable[[], Volume]] = {
    "Colin27": images.colin27,
    "a mean head": images.mean_head,
    "a tumor patient": images.tumor_1,
}
"""The whole images of those whom the generators learn from."""


def training_heads() -> dict[str, tuple[Volume, Volume]]:
    """Return image and label map of those whom the generators learn from."""
    return {name: _labeled(head(), _brain(name, head())) for name, head in SOURCES.items()}


def training_digests(heads: Mapping[str, tuple[Volume, Volume]]) -> list[str]:
    """Return, for each of the training's heads, what a dataset knows it by.

    That is the SHA-256 of its whole image, as anybody has it who takes it from where it was published, and that of the
    slices with brain in them, as they were learned from; written as a dataset writes a case of two images.
    """
    return sorted(
        "-".join(image_digest(image)[:32] for image in (SOURCES[name](), slices)) for name, (slices, _) in heads.items()
    )


@cache
def held_out_head() -> tuple[Volume, Volume]:
    """Return image and label map of ITK's subject, whom no generator has seen."""
    return _labeled(images.itk_subject(), read_volume(realdata.itk_subject()[1]).array[0] > 0)


def judging_heads() -> dict[str, tuple[Volume, Volume]]:
    """Return image and label map of those whom generators are judged by."""
    tumor = images.tumor_2()
    return {"ITK's subject": held_out_head(), "another tumor patient": _labeled(tumor, _extracted(tumor))}


def slices_of(head: tuple[Volume, Volume], config: SynthesisConfig, count: int = 0) -> Examples:
    """Return axial slices of a head as the generators learn from them; ``count`` of them, spread evenly, or all."""
    image, labels = head
    case = PreparedCase("head", "head", {"T1": image}, labels=labels)
    prepared, prepared_labels = upright(case, "T1", spacing_along(config, SPACING_MM))
    assert prepared_labels is not None
    scaled = ValueRange(LOW, HIGH, True).scaled(prepared.array[0], values_of(image.array[0]))
    cuts = list(cuts_of(scaled, prepared_labels.array[0], config))
    if count:
        cuts = [cuts[int((number + 0.5) * len(cuts) / count)] for number in range(count)]
    return Examples(
        np.stack([cut.image for cut in cuts])[:, None],
        np.stack([cut.labels for cut in cuts if cut.labels is not None]),
        tuple(ExampleSource("head", "head", "validation", cut.place) for cut in cuts),
        dict(NAMES), SPACING_MM, LOW, HIGH, "MR",
    )  # fmt: skip


def joined(parts: Iterator[Examples]) -> Examples:
    """Return the slices of several heads as one set."""
    found = list(parts)
    sources = tuple(
        ExampleSource(f"head {number}", f"head {number}", "train", each.place)
        for number, part in enumerate(found)
        for each in part.sources
    )
    labels = np.concatenate([part.labels for part in found if part.labels is not None])
    return Examples(
        np.concatenate([part.images for part in found]), labels, sources, dict(NAMES), SPACING_MM, LOW, HIGH, "MR"
    )


def _brain(name: str, head: Volume) -> np.ndarray:
    return read_volume(realdata.colin27()[1]).array[0] > 0 if name == "Colin27" else _extracted(head)


def _extracted(head: Volume) -> np.ndarray:
    import brain_model
    from meddl.inference import Predictor

    from demo_models.bundle import CPU

    return Predictor(brain_model.installed(), CPU).predict(head).labels.array[0] > 0


def _labeled(head: Volume, brain: np.ndarray) -> tuple[Volume, Volume]:
    """Return the slices with brain in them, and their label map."""
    from scipy import ndimage
    from skimage.filters import threshold_multiotsu

    values = head.array[0].astype(np.float32)
    level = threshold(values)
    assert level is not None
    skin = ndimage.binary_closing(np.pad(values > level, 8), iterations=6)[8:-8, 8:-8, 8:-8]
    pieces, _ = ndimage.label(skin)
    skin = ndimage.binary_fill_holes(pieces == np.bincount(pieces.reshape(-1))[1:].argmax() + 1)
    labels = skin.astype(np.uint8)
    dark, bright = threshold_multiotsu(values[brain], classes=3, nbins=64)
    labels[brain] = 2 + (values[brain] > dark) + (values[brain] > bright)
    axis = next(n for n, letter in enumerate(head.orientation) if letter in "SI")
    others = tuple(n for n in range(3) if n != axis)
    found = np.flatnonzero(brain.any(axis=others))
    kept: list[slice] = [slice(None)] * 3
    kept[axis] = slice(int(found[0]), int(found[-1]) + 1)
    affine = np.array(head.affine)
    affine[:3, 3] += affine[:3, axis] * found[0]
    a, b, c = kept
    return Volume(head.array[:1, a, b, c], affine, meta={"modality": "MR"}), Volume(labels[None, a, b, c], affine)
