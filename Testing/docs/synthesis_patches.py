"""Makes the picture of an image out of patches: `python Testing/docs/synthesis_patches.py [FOLDER]`.

Trains a GAN with labels on patches of three heads and makes a whole image, by command line, for the label map of
another person. It takes a quarter of an hour of processor time; with FOLDER it goes on where it was stopped.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

TESTING = Path(__file__).resolve().parents[1]
CORE = TESTING.parent / "MedDLExtension" / "MedDLCore"
sys.path[:0] = [str(CORE), str(TESTING), str(TESTING / "docs")]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from demo_models import head_tissues  # noqa: E402
from drawing import run, show  # noqa: E402
from meddl.datasets.manifest import read_manifest  # noqa: E402
from meddl.plotting import new_figure, own_settings, png_of  # noqa: E402
from meddl.synthesis import SynthesisConfig  # noqa: E402
from meddl.synthesis.training import train  # noqa: E402
from meddl.volume import Volume, read_volume, resample_to  # noqa: E402
from synthesis_judging import export_heads  # noqa: E402

logger = logging.getLogger(__name__)
PICTURE = TESTING.parent / "Docs" / "pictures" / "synthesis_patches.png"
CONFIG = SynthesisConfig(
    "gan", size=(32, 32, 32), spacing_mm=head_tissues.SPACING_MM, batch_size=4, steps=600, sample_every=100
)
SEED = 1
PLANES = ("sagittal", "coronal", "axial")


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    dataset = folder / "heads" if (folder / "heads").is_dir() else export_heads(folder)
    before = time.process_time()
    trained = train(dataset, CONFIG, folder / "model", device="cpu", log=logger.info)
    logger.info("%.0f s of processor time in this call", time.process_time() - before)
    name = _held_out(dataset)
    labels = dataset / "labels" / f"{name}.nii.gz"
    shutil.rmtree(folder / "made", ignore_errors=True)
    command = ["synth", "sample", "--model", trained.bundle, "--segmentation", labels, "--seed", SEED]
    words = [sys.executable, "-P", "-m", "meddl", *map(str, command), "--output", str(folder / "made")]
    subprocess.run(words, check=True, env={**os.environ, "PYTHONPATH": str(CORE), "OMP_NUM_THREADS": "1"})
    made = folder / "made" / "synthetic_001.nrrd"
    shown = [read_volume(path) for path in (labels, dataset / "images" / f"{name}.nii.gz", made)]
    with own_settings():
        PICTURE.write_bytes(_picture([_upright(each, shown[0]) for each in shown]))


def _held_out(dataset: Path) -> str:
    """Return the name of ITK's subject: of those who are held out, the one with the thinner slices."""
    manifest = read_manifest(dataset)
    assert manifest is not None
    held = [case.name for case in manifest.plan.cases if case.split != "train"]
    return min(held, key=lambda name: max(read_volume(dataset / "images" / f"{name}.nii.gz").spacing))


def _upright(volume: Volume, like: Volume) -> np.ndarray:
    """Return ``(I, J, K)`` along R, A, S in voxels of 2 mm."""
    from meddl.datasets.geometry.target_grid import oriented, spaced, straightened

    grid = spaced(straightened(oriented(like.grid, "RAS")), (2.0, 2.0, 2.0))
    kind = "nearest" if volume.array.dtype.kind in "iu" and volume.array.max() < 9 else "linear"
    return resample_to(volume, grid, interpolation=kind).array[0]


def _picture(shown: list[np.ndarray]) -> bytes:
    labels, real, made = shown
    colors = np.array([(0.0, 0.0, 0.0), *head_tissues.COLORS])
    inside = labels > 0
    figure = new_figure(9.0, 8.4, dpi=100)
    axes = figure.subplots(3, 3)
    figure.subplots_adjust(left=0.04, right=0.995, bottom=0.005, top=0.96, wspace=0.03, hspace=0.03)
    for axis, (row, plane) in enumerate(zip(axes, PLANES, strict=True)):
        found = np.flatnonzero(inside.any(axis=tuple(each for each in range(3) if each != axis)))
        at = int(found[0] + 0.55 * (found[-1] - found[0]))
        for place, image in zip(row, (colors[labels.astype(int)], real, made), strict=True):
            cut = np.swapaxes(image.take(at, axis), 0, 1)[::-1]
            cut = cut if plane == "sagittal" else cut[:, ::-1]
            top = float(np.percentile(image[inside], 99.5)) if image.ndim == 3 else None
            show(place, cut, vmin=0 if top else None, vmax=top)
        row[0].set_ylabel(plane)
    for place, title in zip(axes[0], ("label map", "real", "made of patches"), strict=True):
        place.set_title(title, fontsize=10)
    return png_of(figure)


if __name__ == "__main__":
    run(main)
