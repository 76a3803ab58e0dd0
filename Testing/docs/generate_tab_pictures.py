"""Writes the pictures of training and using generators in `Docs`, in a real Slicer with its main window.

    xvfb-run -a python Testing/docs/generate_tab_pictures.py SLICER Docs/pictures        (with a display: no xvfb-run)

The dataset is that of the demo generators (`demo_models.head_tissues`): three heads to learn from, one held out. What
the panel trains here is a smaller one, for the picture of a training under way; the images come from the demo generator
that this repository holds, of the label map of the head that was held out.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
MODULES = ("MedDLCore", "MedDLAugmentation")
IN_SLICER = Path(__file__).with_name("generate_tab_in_slicer.py")
DEMO = "demo_head_flow"
LARGEST_BYTES = 400_000
LONGEST_S = 1800


def write_dataset(folder: Path) -> None:
    """Write the dataset `heads` and the head that was held out, as image and segmentation."""
    from demo_models import head_tissues
    from meddl.datasets import Case, ExportOptions, SegmentationLabel, SplitOptions, export_dataset
    from meddl.volume import write_segmentation, write_volume

    heads = {**head_tissues.training_heads(), "ITK's subject": head_tissues.held_out_head()}
    cases = [
        Case(name, {"T1": image}, SegmentationLabel(labels, head_tissues.SEGMENTS), name,
             split="validation" if name == "ITK's subject" else "train")
        for name, (image, labels) in heads.items()
    ]  # fmt: skip
    export_dataset(cases, folder / "heads", ExportOptions("monai", "Heads", split=SplitOptions(folds=0)))
    image, labels = heads["ITK's subject"]
    write_volume(image, folder / "Head.nrrd")
    write_segmentation(labels, head_tissues.SEGMENTS, folder / "Tissues.seg.nrrd")


def save_small(source: Path, target: Path) -> None:
    """Write a screenshot as a PNG of few colors, which flat surfaces of a program and gray images can do with."""
    from PIL import Image

    with Image.open(source) as image:
        picture = image.convert("RGB").quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    picture.save(target, optimize=True)
    if target.stat().st_size > LARGEST_BYTES:
        raise RuntimeError(f"{target.name} has {target.stat().st_size} bytes: too many for the repository")


def main(slicer: Path, folder: Path, data: Path) -> int:
    if not (data / "heads" / "dataset.meddl.json").is_file():
        write_dataset(data)
    paths = [str(REPOSITORY / "MedDLExtension" / name) for name in MODULES]
    environment = {**os.environ, "MEDDL_PICTURES": str(data), "MEDDL_PICTURES_MODEL": DEMO}
    command = [str(slicer), "--no-splash", "--testing", "--additional-module-paths", *paths]
    done = subprocess.run(
        [*command, "--python-script", str(IN_SLICER)], env=environment, timeout=LONGEST_S, check=False
    )
    if done.returncode:
        return done.returncode
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("synthesis_slicer.png", "synthesis_panel.png", "synthesis_lesion_panel.png"):
        save_small(data / name, folder / name)
    return 0


if __name__ == "__main__":
    sys.path[:0] = [str(REPOSITORY / "Testing"), str(REPOSITORY / "MedDLExtension" / "MedDLCore")]
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("slicer", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, help="where dataset and generator are kept; a new folder by default")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as new:
        sys.exit(main(arguments.slicer, arguments.folder, arguments.data or Path(new)))
