"""The picture of the panel MedDL Augmentation in `Docs/`: variants of a real CT with its labels.

python Testing/demo/augmentation_panel_picture.py FOLDER
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "Testing"), *map(str, (REPOSITORY / "MedDLExtension").glob("MedDL*"))]

from demo import task_pictures  # noqa: E402  (it sets what Qt and VTK must know before they start)

WIDTH = 480
GAP = 6
LONGEST_S = 300
LARGEST_BYTES = 320_000
_STRUCTURES = 12


def draw(path: Path) -> None:
    """Use the panel and write the picture."""
    import host
    import realdata

    slicer = host.start(testing=True)
    for module in ("MedDLCore", "MedDLAugmentation"):
        host.load_module(REPOSITORY / "MedDLExtension" / module / f"{module}.py")
    folder = realdata.totalsegmentator()
    volume = slicer.util.loadVolume(str(folder / "example_ct.nii.gz"), {"name": "Abdomen"})
    volume.GetDisplayNode().SetAutoWindowLevel(False)
    volume.GetDisplayNode().SetWindowLevelMinMax(-160, 240)
    segmentation = _segmentation(slicer, volume, folder / "example_seg_fast_force_split.nii.gz")
    panel = slicer.util.getModuleWidget("MedDLAugmentation")
    panel.parent.resize(WIDTH, 1200)
    panel.parent.show()
    panel.enter()
    tab = panel.variants
    tab.parameters.inputVolume, tab.parameters.segmentation = volume, segmentation
    tab.plan.choose("ct")
    tab.ui.stepsList.setCurrentRow(1)
    tab.parameters.seed = 2
    try:
        _turn(slicer, lambda: bool(tab.preview.samples) and tab.preview.isSettled)
        tab.preview.select(1)
        _grab(slicer, panel, path)
    finally:
        from meddl_slicer.pump import close_shared_runner

        panel.cleanup()
        panel.parent.setMRMLScene(None)
        close_shared_runner()


def _segmentation(slicer: Any, volume: Any, path: Path) -> Any:
    """Return the largest organs as a segmentation node."""
    import colorsys

    import numpy as np
    from meddl.volume import read_volume
    from meddl_slicer.segmentation import apply_segmentation

    labels = read_volume(path)
    sizes = np.bincount(labels.array.astype(int).reshape(-1))
    present = [int(value) for value in np.argsort(-sizes[1:])[:_STRUCTURES] + 1]
    segments = [
        {"label": value, "name": f"Structure {value}", "color": colorsys.hsv_to_rgb((n * 0.618) % 1, 0.75, 1.0),
         "terminology": "", "layer": 0} for n, value in enumerate(present)
    ]  # fmt: skip
    answer = {"labels": labels.with_array(labels.array.astype(np.uint8)), "segments": segments, "provenance": {}}
    node = apply_segmentation(answer, volume)
    node.SetName("Organs")
    return node


def _grab(slicer: Any, panel: Any, path: Path) -> None:
    from PIL import Image

    ui = panel.variants.ui
    ui.logCollapsibleButton.visible = False
    for _ in range(3):  # wrapped texts tell their height only once they know their width
        panel.parent.resize(WIDTH, max(panel.parent.sizeHint.height(), 900))
        slicer.app.processEvents()
    panel.variants.preview.redraw()
    slicer.app.processEvents()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "panel.png"
        panel.parent.grab().save(str(file))
        button = ui.batchCollapsibleButton
        below = button.mapTo(panel.parent, button.rect.bottomLeft()).y() + GAP
        with Image.open(file) as image:
            task_pictures.save_small(image.convert("RGB").crop((0, 0, image.width, below)), path, LARGEST_BYTES)


def _turn(slicer: Any, condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LONGEST_S
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("The panel took too long")
        slicer.app.processEvents()
        time.sleep(0.01)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    draw(folder / "augmentation_panel.png")
