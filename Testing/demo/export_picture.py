"""The picture of the panel MedDL Export in `Docs/`: cases of several hospitals in the scene, checked, and a dry run.

python Testing/demo/export_picture.py FILE
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [
    *(str(REPOSITORY / "Testing" / name) for name in ("", "core")),
    *map(str, (REPOSITORY / "MedDLExtension").glob("MedDL*")),
]
if sys.platform.startswith("linux"):
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

WIDTH = 500
GAP = 8
LONGEST_S = 300
CASES = ("Abdomen CT", "Abdomen MR", "Meier brain", "Novak brain", "Lung", "Lung 2", "Spine CT", "Spine MR")


def load_scene(slicer: Any, folder: Path) -> None:
    """Load the cases with their segmentations, filed by patient and study as DICOM files are."""
    import training_cases

    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    with training_cases.write_list(folder).open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["case"] in CASES]
    for number, row in enumerate(rows):
        volume = slicer.util.loadVolume(str(folder / row["image"]), {"name": row["case"]})
        segmentation = slicer.util.loadSegmentation(str(folder / row["segmentation"]))
        segmentation.SetName(f"{row['case']} structures")
        segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), row["patient"])
        hierarchy.SetItemUID(patient, "DICOM", f"{number + 1000}")
        study = hierarchy.CreateStudyItem(patient, "Study")
        hierarchy.SetItemUID(study, "DICOM", f"1.2.{number}")
        for node in (volume, segmentation):
            hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node), study)


def draw(path: Path) -> None:
    """Use the panel as a person does, and save how it looks then."""
    import host
    from PIL import Image

    slicer = host.start(testing=True)
    for module in ("MedDLCore", "MedDLExport"):
        host.load_module(REPOSITORY / "MedDLExtension" / module / f"{module}.py")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        load_scene(slicer, folder)
        widget = slicer.util.getModuleWidget("MedDLExport")
        widget.parent.show()
        widget.enter()
        _use(slicer, widget)
        page = _columns(slicer, widget)
        widget.cleanup()
        widget.parent.setMRMLScene(None)
    page.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(path, optimize=True)


def _use(slicer: Any, widget: Any) -> None:
    ui, session = widget.ui, widget.session
    widget.cases.addFromScene()
    for row, site in zip(session.rows, ("Basel",) * 2 + ("Maastricht",) * 4 + ("Munich",) * 2, strict=True):
        session.edit([row.key], site=site)
    ui.nameLineEdit.setText("Organs")
    ui.folderPathLineEdit.currentPath = str(Path("/data/training"))  # nothing is written
    widget._parameterNode.split.test = 20
    widget._parameterNode.dataset.license = "CC BY 4.0"
    _wait(slicer, lambda: len(session.known.pictures) == len(session.rows))
    ui.dryRunButton.click()
    _wait(slicer, lambda: not (widget.jobPanel.isRunning or session.isRunning))
    ui.casesTable.selectRow(0)
    for name in ("geometry", "split", "deidentify"):
        getattr(ui, f"{name}CollapsibleButton").collapsed = False


def _wait(slicer: Any, condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LONGEST_S
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("The panel took too long")
        slicer.app.processEvents()
        time.sleep(0.01)


def _columns(slicer: Any, widget: Any) -> Any:
    """Return the panel in two columns: what is above and what is below the geometry."""
    from PIL import Image

    panel, ui = widget.parent, widget.ui
    for _ in range(3):  # wrapped texts tell their height only once they know their width
        panel.resize(WIDTH, max(panel.sizeHint.height(), panel.layout().totalHeightForWidth(WIDTH)))
        slicer.app.processEvents()
        for part in (widget.cases.table, widget.quality, widget.labels):
            part.fit()
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "panel.png")
        panel.grab().save(file)
        with Image.open(file) as image:
            whole = image.convert("RGB").copy()
    cut = ui.geometryCollapsibleButton.mapTo(panel, ui.geometryCollapsibleButton.rect.topLeft()).y() - 4
    end = ui.logCollapsibleButton.mapTo(panel, ui.logCollapsibleButton.rect.topLeft()).y()
    parts = [whole.crop((0, 0, WIDTH, cut)), whole.crop((0, cut, WIDTH, end))]
    page = Image.new("RGB", (2 * WIDTH + GAP, max(part.height for part in parts)), whole.getpixel((2, 2)))
    for index, part in enumerate(parts):
        page.paste(part, (index * (WIDTH + GAP), 0))
    return page


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path)
    draw(parser.parse_args().file)
