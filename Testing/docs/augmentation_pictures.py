"""Makes the pictures of Docs/Augmentation.md out of real images: `python Testing/docs/augmentation_pictures.py`."""

from __future__ import annotations

import sys
from pathlib import Path

TESTING = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTING.parent / "MedDLExtension" / "MedDLCore"), str(TESTING)]

import numpy as np  # noqa: E402
import realdata  # noqa: E402
from meddl.augmentation import (  # noqa: E402
    TRANSFORMS,
    AugmentationPlan,
    Sample,
    Sides,
    load_plan,
    replay,
    slice_grid,
    source_slice,
)
from meddl.augmentation.draw import draw  # noqa: E402
from meddl.plotting import new_figure, own_settings, png_of  # noqa: E402
from meddl.volume import Volume, read_volume  # noqa: E402

PICTURES = TESTING.parent / "Docs" / "pictures"
SIDES = Sides(({2: 3, 3: 2, 8: 9, 9: 8},))
"""Right and left kidney and adrenal gland in the labels of TotalSegmentator."""
STRONG = {
    "affine": {"rotation_degrees": [9, 12], "scale": 1.1},
    "elastic": {"amplitude_mm": 9, "spacing_mm": 40},
    "noise": {"strength": 0.08, "kind": "rician"},
    "gain": {"factor": 1.5},
    "contrast": {"gamma": 1.8},
    "bias_field": {"strength": 0.8},
    "blur": {"sigma_mm": 2.0},
    "cutout": {"number": 3},
    "low_resolution": {"factor": 3},
    "anisotropy": {"factor": 6, "axis": "front-back"},
    "gibbs": {"share": 0.75},
    "ghosting": {"strength": 1.0, "axis": "front-back", "number": 4},
    "motion": {"axis": "front-back", "moves": 4, "rotation_degrees": [-6, 6], "shift_mm": [-5, 5]},
    "spike": {"strength": 0.25},
}


def main() -> None:
    head = read_volume(realdata.head())
    folder = realdata.totalsegmentator()
    scan, organs = read_volume(folder / "example_ct_sm.nii.gz"), read_volume(folder / "example_seg.nii.gz")
    PICTURES.joinpath("augmentation_transforms.png").write_bytes(_transforms(Sample({"T1": head})))
    PICTURES.joinpath("augmentation_ct.png").write_bytes(
        _samples(Sample({"CT": scan}, Volume(organs.array, scan.affine), sides=SIDES), "ct", (-160, 240))
    )


def _transforms(sample: Sample) -> bytes:
    grid = slice_grid(sample.grid, 2, sample.grid.shape[2] // 2)
    shown = [("source", source_slice(sample, grid))]
    for name, known in TRANSFORMS.items():
        plan = AugmentationPlan.from_dict({"name": "", "transforms": [{"transform": name, **STRONG.get(name, {})}]})
        shown.append((known.title, replay(sample, draw(plan, sample, 3), grid)))
    top = float(np.percentile(shown[0][1].images["T1"].array, 99.8))
    return _grid(shown, "T1", (0.0, top), 6)


def _samples(sample: Sample, preset: str, window: tuple[float, float]) -> bytes:
    grid = slice_grid(sample.grid, 2, sample.grid.shape[2] // 2)
    shown = [("source", source_slice(sample, grid))]
    plan = load_plan(preset)
    for seed in range(1, 8):
        drawn = draw(plan, sample, seed)
        words = ", ".join(TRANSFORMS[step.transform].title.lower() for step in drawn.steps) or "nothing"
        shown.append((words, replay(sample, drawn, grid)))
    return _grid(shown, "CT", window, 4)


def _grid(shown: list[tuple[str, Sample]], channel: str, window: tuple[float, float], columns: int) -> bytes:
    import textwrap

    rows = -(-len(shown) // columns)
    with own_settings():
        figure = new_figure(2.0 * columns, 2.25 * rows, 110)
        for number, (title, sample) in enumerate(shown, 1):
            axes = figure.add_subplot(rows, columns, number)
            image, spacing = sample.images[channel], sample.grid.spacing
            turned = {axis: letter for axis, letter in enumerate(image.orientation)}
            plane = image.array[0, :, :, 0]
            labels = sample.labels.array[0, :, :, 0] if sample.labels is not None else None
            planes = [plane] if labels is None else [plane, labels]
            # As radiologists look at it: the patient's right on the left, the front on top.
            planes = [each[:: 1 if turned[0] == "L" else -1, :: -1 if turned[1] == "A" else 1].T for each in planes]
            aspect = spacing[1] / spacing[0]
            axes.imshow(planes[0], cmap="gray", vmin=window[0], vmax=window[1], aspect=aspect)
            if labels is not None:
                shown_labels = np.ma.masked_equal(planes[1], 0)
                axes.imshow(
                    shown_labels, cmap="prism", alpha=0.35, aspect=aspect, interpolation="nearest", vmin=1, vmax=60
                )
            axes.set_title("\n".join(textwrap.wrap(title, 34)), fontsize=6.5)
            axes.axis("off")
        figure.tight_layout(pad=0.4)
        return png_of(figure)


if __name__ == "__main__":
    main()
