"""Makes the picture of lesions in Docs/Synthesis.md: `python Testing/docs/synthesis_lesion_pictures.py`."""

from __future__ import annotations

import sys
from pathlib import Path

TESTING = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTING.parent / "MedDLExtension" / "MedDLCore"), str(TESTING)]

import numpy as np  # noqa: E402
import realdata  # noqa: E402
from meddl.plotting import new_figure, own_settings, png_of  # noqa: E402
from meddl.synthesis.lesions import Inserted, LesionExample, LesionOptions, insert_lesion  # noqa: E402
from meddl.volume import Segment, Volume, read_volume, resample_to  # noqa: E402

PICTURE = TESTING.parent / "Docs" / "pictures" / "synthesis_lesions.png"
HALF_MM = 32.0
"""Half of what a detail shows."""


def main() -> None:
    files = realdata.pyradiomics()
    image = {name: read_volume(files[f"{name}_image"]) for name in ("brain1", "brain2", "lung1", "lung2")}
    mask = {name: read_volume(files[f"{name}_label"]) for name in image}
    example = {name: LesionExample(image[name], mask[name], name) for name in image}
    head, brain = (read_volume(path) for path in realdata.colin27())
    labels = Volume((resample_to(brain, head.grid).array > 0).astype(np.uint8), head.affine)
    names, lung = [Segment(1, "Brain", (0, 0, 1))], [Segment(1, "Lung", (0, 0, 1))]
    rows = [
        ("T1 head (Colin27), shape and voxels of a real tumor", head, labels, names, "brain1",
         LesionOptions("Tumor", "Brain", (8, 12), seed=5)),
        ("T1 head (Colin27), shape by chance, figures of a real tumor", head, labels, names, "brain1",
         LesionOptions("Tumor", "Brain", (6, 9), "random", texture="statistics", seed=8)),
        ("T1 head (Colin27), no real lesion: darker by a quarter of the range", head, labels, names, "",
         LesionOptions("Lesion", "Brain", (5, 8), contrast=-0.25, seed=12)),
        ("MR of another patient, shape and voxels of a real tumor", image["brain2"], None, [], "brain1",
         LesionOptions("Tumor", "", (8, 12), seed=3)),
        ("chest CT, shape and voxels of a real nodule", image["lung2"], _lungs(image["lung2"]), lung, "lung1",
         LesionOptions("Nodule", "Lung", (3, 6), seed=5)),
        ("chest CT, shape by chance, figures of a real nodule", image["lung2"], _lungs(image["lung2"]), lung, "lung1",
         LesionOptions("Nodule", "Lung", (3, 6), "random", texture="statistics", seed=6)),
    ]  # fmt: skip
    shown = [
        (title, volume, insert_lesion(volume, known, segments, options, example=example.get(name)))
        for title, volume, known, segments, name, options in rows
    ]
    PICTURE.write_bytes(_picture(shown))


def _lungs(image: Volume) -> Volume:
    from scipy import ndimage

    air = image.array[0] < -500
    pieces, _ = ndimage.label(air)
    ends = np.concatenate([pieces[0], pieces[-1]]).ravel(), np.concatenate([pieces[:, 0], pieces[:, -1]]).ravel()
    inner = air & ~np.isin(pieces, np.unique(np.concatenate(ends)))
    return Volume(ndimage.binary_opening(inner, iterations=2)[None].astype(np.uint8), image.affine)


def _picture(shown: list[tuple[str, Volume, Inserted]]) -> bytes:
    columns = ("as it was", "with a lesion", "as it was", "with a lesion", "its mask")
    with own_settings():
        figure = new_figure(10.5, 2.25 * len(shown), 110)
        for row, (title, image, made) in enumerate(shown):
            cut = int(np.argmax(made.mask.array[0].sum(axis=(0, 1))))
            middle = np.argwhere(made.mask.array[0, :, :, cut]).mean(axis=0)
            reach = HALF_MM / image.spacing[:2]
            low, high = np.maximum(0, middle - reach).astype(int), (middle + reach).astype(int)
            detail = (slice(low[0], high[0]), slice(low[1], high[1]))
            is_ct = image.array.min() < -500
            window = (-1100, 250) if is_ct else tuple(np.percentile(image.array, (1, 99.7)))
            for column in range(5):
                axes = figure.add_subplot(len(shown), 5, 5 * row + column + 1)
                volume = image if column in (0, 2) else made.image
                part = (slice(None), slice(None)) if column < 2 else detail
                plane, outline = (_as_seen(each, part, cut) for each in (volume, made.mask))
                aspect = image.spacing[1] / image.spacing[0]
                axes.imshow(plane, cmap="gray", vmin=window[0], vmax=window[1], aspect=aspect, interpolation="bicubic")
                if column == 4:
                    axes.contour(outline, [0.5], colors="#ff5a28", linewidths=0.9)
                axes.text(0.02, 0.02, columns[column], transform=axes.transAxes, fontsize=6.5, color="white")
                axes.axis("off")
            figure.text(0.01, 1 - (row + 0.09) / len(shown), title, fontsize=8, va="center")
        figure.subplots_adjust(0.005, 0.005, 0.995, 1 - 0.17 / len(shown), 0.02, 0.17)
        return png_of(figure)


def _as_seen(volume: Volume, part: tuple[slice, slice], cut: int) -> np.ndarray:
    """Return a slice as radiologists look at it: the patient's right on the left, the front on top."""
    plane = volume.array[0, :, :, cut][part].astype(float)
    letters = volume.orientation
    return plane[:: 1 if letters[0] == "L" else -1, :: -1 if letters[1] == "A" else 1].T


if __name__ == "__main__":
    main()
