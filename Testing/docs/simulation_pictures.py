"""Makes the pictures of Docs/Simulation.md out of real images: `python Testing/docs/simulation_pictures.py`."""

from __future__ import annotations

import sys
from pathlib import Path

TESTING = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTING.parent / "MedDLExtension" / "MedDLCore"), str(TESTING)]

import numpy as np  # noqa: E402
import realdata  # noqa: E402
from meddl.plotting import new_figure, own_settings, png_of  # noqa: E402
from meddl.simulation import (  # noqa: E402
    LowDose,
    Projection,
    Rician,
    Simulated,
    SimulationOptions,
    Undersampling,
    simulate,
)
from meddl.volume import Segment, Volume, read_volume  # noqa: E402

PICTURES = TESTING.parent / "Docs" / "pictures"
ORGANS = {"Liver": (5, (0.87, 0.51, 0.31)), "Spleen": (1, (0.62, 0.42, 0.75)), "Right kidney": (2, (0.90, 0.80, 0.30)),
          "Left kidney": (3, (0.40, 0.75, 0.40)), "Right hip": (78, (0.35, 0.70, 0.90)),
          "Left hip": (77, (0.90, 0.45, 0.60))}  # fmt: skip
"""Some structures of TotalSegmentator, by the values of its label maps."""
Panel = tuple[str, np.ndarray, tuple[float, float], float]
"""Title, rows and columns, lowest and highest value shown, height of a pixel by its width."""


def main() -> None:
    head = read_volume(realdata.head())
    folder = realdata.totalsegmentator()
    chest = read_volume(folder / "aorta_report" / "example_ct.nii.gz")
    PICTURES.joinpath("simulation_mr.png").write_bytes(_mr(head))
    PICTURES.joinpath("simulation_ct.png").write_bytes(_ct(chest))
    abdomen = read_volume(folder / "example_ct.nii.gz")
    labels = read_volume(folder / "example_seg_fast_force_split.nii.gz")
    PICTURES.joinpath("simulation_xray.png").write_bytes(_xray(abdomen, labels))


def _mr(head: Volume) -> bytes:
    index = head.shape[2] // 2
    slab = Volume(head.array[..., index - 1 : index + 1], head.affine)
    top = (0.0, float(np.percentile(slab.array, 99.7)))
    methods = {
        "4 times faster, random lines": Undersampling(),
        "8 times faster, equispaced": Undersampling((8.0,), (0.04,), "equispaced"),
        "4 times, 8 coils, noise": Undersampling(coils=8, snr=(8.0,)),
        "4 times in 3-D": Undersampling((4.0,), (0.15,), encoding="3d"),
        "Rician noise, SNR 5": Rician((5.0,)),
    }
    panels = [("original", *_axial(slab, 0, top))]
    panels += [(title, *_axial(_made(slab, method).image, 0, top)) for title, method in methods.items()]
    return _drawn(panels, 6)


def _ct(chest: Volume) -> bytes:
    index = chest.shape[2] // 2
    slab = Volume(chest.array[..., index : index + 1], chest.affine)
    window = (-160.0, 240.0)
    methods = {
        "a quarter of the dose": LowDose(0.25),  # type: ignore[arg-type]
        "a fiftieth of the dose": LowDose(0.02),  # type: ignore[arg-type]
        "a fiftieth, made anew (fbp)": LowDose(0.02, image="fbp"),  # type: ignore[arg-type]
    }
    panels = [("original", *_axial(slab, 0, window))]
    panels += [(title, *_axial(_made(slab, method).image, 0, window)) for title, method in methods.items()]
    change = _made(slab, methods["a fiftieth of the dose"]).image.array.astype(np.float32) - slab.array
    panels.append(("what was added, -150 to 150 HU", *_axial(slab.with_array(change), 0, (-150, 150))))
    return _drawn(panels, 5, 13.0)


def _xray(ct: Volume, labels: Volume) -> bytes:
    panels: list[Panel] = []
    segments = [Segment(value, name, color) for name, (value, color) in ORGANS.items()]
    options = SimulationOptions(Projection(views=("AP", "LL", "40/20"), min_path_mm=5, size=(320, 320)))
    for number, title in enumerate(("AP", "LL", "40/20")):
        made = simulate(ct, options, labels, segments, number=number)
        panels.append((title, made.image.array[0, :, :, 0].T, (0, 4095), 1.0))
        panels.append((f"{title}, with labels", _colored(made), (0, 1), 1.0))
    return _drawn(panels, 6, 13.0)


def _colored(made: Simulated) -> np.ndarray:
    assert made.labels is not None
    gray = made.image.array[0, :, :, 0].T / 4095.0
    picture = np.stack([gray] * 3, axis=-1)
    for segment in made.segments:
        mask = made.labels.array[segment.layer, :, :, 0].T > 0
        inner = mask.copy()
        for shift in ((0, 1), (0, -1), (1, 1), (1, -1)):
            inner &= np.roll(mask, shift[1], axis=shift[0])
        picture[mask] = 0.8 * picture[mask] + 0.2 * np.array(segment.color)
        picture[mask & ~inner] = segment.color
    return picture


def _made(volume: Volume, method: object) -> Simulated:
    return simulate(volume, SimulationOptions(method, seed=1))  # type: ignore[arg-type]


def _axial(volume: Volume, index: int, window: tuple[float, float]) -> tuple[np.ndarray, tuple[float, float], float]:
    """As radiologists look at it: the patient's right on the left, the front on top."""
    code, plane = volume.orientation, volume.array[0, :, :, index]
    turned = plane[:: 1 if code[0] == "L" else -1, :: 1 if code[1] == "P" else -1].T
    return turned, window, float(volume.spacing[1] / volume.spacing[0])


def _drawn(panels: list[Panel], columns: int, width: float = 10.5) -> bytes:
    rows = -(-len(panels) // columns)
    aspect = float(np.mean([image.shape[0] * ratio / image.shape[1] for _, image, _, ratio in panels]))
    with own_settings():
        figure = new_figure(width, rows * (width / columns * aspect + 0.3), 100)
        for number, (title, image, window, ratio) in enumerate(panels, 1):
            axes = figure.add_subplot(rows, columns, number)
            axes.imshow(image, cmap="gray", vmin=window[0], vmax=window[1], aspect=ratio)
            axes.set_title(title, fontsize=7.5)
            axes.axis("off")
        figure.tight_layout(pad=0.3, h_pad=0.5)
        return png_of(figure)


if __name__ == "__main__":
    main()
