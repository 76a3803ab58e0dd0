"""What `generate_tab_pictures.py` has a Slicer do: train, make images and a lesion, and keep pictures of its window."""

from __future__ import annotations

import logging
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import qt
import slicer

DATA = Path(os.environ["MEDDL_PICTURES"])
DEMO = os.environ["MEDDL_PICTURES_MODEL"]
STEPS = int(os.environ.get("MEDDL_PICTURES_STEPS", "400"))
SIZE = (1500, 940)
LONGEST_S = 1500


def turn(condition: Callable[[], bool] = lambda: False, seconds: float = LONGEST_S) -> None:
    """Process events until `condition()`, or for so many seconds."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        slicer.app.processEvents()
        time.sleep(0.01)


def keep(name: str) -> None:
    """Keep a picture of the main window, views included."""
    slicer.util.forceRenderAllViews()
    turn(seconds=1.0)
    window = slicer.util.mainWindow()
    if not window.screen().grabWindow(window.winId()).save(str(DATA / f"{name}.png")):
        raise OSError(f"{name} could not be written")


def scroll_to(widget: qt.QWidget) -> None:
    """Show this widget at the top of the module panel."""
    area = widget
    while not isinstance(area, qt.QScrollArea):
        area = area.parentWidget()
    area.verticalScrollBar().setValue(widget.mapTo(area.widget(), qt.QPoint(0, 0)).y())


def draw() -> None:
    window = slicer.util.mainWindow()
    window.resize(*SIZE)
    for name in ("DataProbeCollapsibleWidget",):
        for found in window.findChildren("ctkCollapsibleButton", name):
            found.collapsed = True
    slicer.util.selectModule("MedDLAugmentation")
    turn(seconds=1.0)
    panel = slicer.modules.MedDLAugmentationWidget
    panel.ui.tabWidget.setCurrentIndex(panel.ui.tabWidget.indexOf(panel.ui.generateTab))
    tab, ui = panel.generate, panel.generate.ui
    head = slicer.util.loadVolume(str(DATA / "Head.nrrd"))
    tissues = slicer.util.loadSegmentation(str(DATA / "Tissues.seg.nrrd"))
    tissues.SetReferenceImageGeometryParameterFromVolumeNode(head)
    tissues.GetDisplayNode().SetOpacity2DFill(0.4)
    train(tab, ui)
    lesion(tab, ui, head, tissues)
    images(tab, ui, tissues)


def train(tab, ui) -> None:
    """A training under way."""
    ui.datasetPathLineEdit.currentPath = str(DATA / "heads")
    turn(lambda: tab.dataset.about is not None, 60)
    training = tab.parameters.training
    training.batchSize, training.steps = 8, STEPS
    training.sampleEvery = training.checkpointEvery = max(STEPS // 6, 10)
    ui.nameLineEdit.text, ui.outputPathLineEdit.currentPath = "Heads", str(DATA / "generators")
    ui.trainButton.click()
    turn(lambda: not tab.train.isRunning or tab.train.pictures.training.steps >= 0.9 * STEPS)
    scroll_to(ui.trainButton)
    keep("synthesis_slicer")
    turn(lambda: not tab.train.isRunning)
    ui.plotButton.checked = False
    logging.info(ui.trainStatusLabel.text)


def images(tab, ui, tissues) -> None:
    """Images that fit a label map, beside one another."""
    from MedDLAugmentationLib.generate_parameters import What

    if tab.generator._choices.get(DEMO) is not None:
        tab.parameters.generator = DEMO
    tab.parameters.making.what = What.IMAGES
    tab.parameters.segmentation, tab.parameters.image = tissues, None
    tab.parameters.making.count = 2
    ui.makeButton.click()
    turn(lambda: not tab.isBusy)
    logging.info(ui.workStatusLabel.text)
    made = [node for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
            if node.GetAttribute("MedDL.Synthetic") == "image"]  # fmt: skip
    show_beside(made[-2:])
    scroll_to(ui.generatorFrame)
    keep("synthesis_panel")


def lesion(tab, ui, head, tissues) -> None:
    """A lesion in the white matter."""
    from MedDLAugmentationLib.generate_parameters import What

    ui.trainCollapsibleButton.collapsed, ui.makeCollapsibleButton.collapsed = True, False
    making = tab.parameters.making
    making.what, making.inside, making.contrast = What.LESION, "white matter", -0.3
    making.volume, making.volumeMost, making.seed = 6.0, 8.0, 3
    tab.parameters.image, tab.parameters.segmentation = head, tissues
    ui.makeButton.click()
    turn(lambda: not tab.isBusy)
    logging.info(ui.workStatusLabel.text)
    made = next(node for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
                if node.GetAttribute("MedDL.Synthetic") == "lesion")  # fmt: skip
    content, display = made.GetSegmentation(), made.GetDisplayNode()
    found = content.GetSegmentIdBySegmentName("Lesion")
    display.SetAllSegmentsVisibility(False)
    display.SetSegmentVisibility(found, True)
    display.SetVisibility2DFill(False)
    slicer.modules.markups.logic().JumpSlicesToLocation(*made.GetSegmentCenterRAS(found), True)
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    slicer.app.layoutManager().threeDWidget(0).visible = False
    turn(seconds=1.0)
    keep("synthesis_lesion_panel")
    display.SetVisibility(False)


def show_beside(volumes) -> None:
    """Show one volume in each row of views."""
    for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
        node.GetDisplayNode().SetVisibility(False)
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutThreeOverThreeView)
    turn(seconds=1.0)
    for row, node in zip(("", "+"), volumes, strict=True):
        for view in ("Red", "Green", "Yellow"):
            widget = slicer.app.layoutManager().sliceWidget(view + row)
            widget.sliceLogic().GetSliceCompositeNode().SetBackgroundVolumeID(node.GetID())
    turn(seconds=1.0)
    slicer.util.resetSliceViews()


if __name__ == "__main__":
    failed = 0
    try:
        draw()
    except Exception:
        traceback.print_exc()
        failed = 1
    sys.stdout.flush()
    slicer.util.exit(failed)
