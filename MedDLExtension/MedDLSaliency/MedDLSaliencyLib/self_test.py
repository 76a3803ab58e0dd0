"""The self-test of the panel, the same in the host and in a real Slicer."""

import logging
import os
import tempfile
from pathlib import Path

import slicer
import vtk
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleTest

from MedDLSaliencyLib.self_test_explain import ExplainTests
from MedDLSaliencyLib.self_test_panel import PanelTests


class MedDLSaliencyTest(PanelTests, ExplainTests, ScriptedLoadableModuleTest):
    """Explains tiny models made here, whose right explanation is known, in a real worker process."""

    def setUp(self):
        slicer.mrmlScene.Clear()
        self.makeCrosshair()

    def runTest(self):
        from meddl_slicer import packages

        missing = ", ".join(package.requirement for package in packages.missing())
        self.assertFalse(missing, f"Models cannot run in this Python: {missing} missing. Install it in MedDL Setup.")
        only = os.environ.get("MEDDL_ONLY_TEST", "")
        for name in [*vars(ExplainTests), *vars(PanelTests)]:
            if not name.startswith("test_") or only not in name:
                continue
            with tempfile.TemporaryDirectory(prefix="MedDL-test-") as folder:
                self.folder = Path(folder)
                self.setUp()
                logging.info(f"{type(self).__name__}.{name}")
                try:
                    getattr(self, name)()
                finally:
                    self.tearDown()
                    self.doCleanups()
        self.delayDisplay("All tests passed")

    def tearDown(self):
        widget, self.widget = getattr(self, "widget", None), None
        if widget is not None:
            # It would be cleaned up again when Slicer exits, after it is gone.
            slicer.app.moduleManager().disconnect("moduleAboutToBeUnloaded(QString)", widget._onModuleAboutToBeUnloaded)
            widget.cleanup()
            widget.parent.setMRMLScene(None)
            widget.parent.deleteLater()
        slicer.mrmlScene.Clear()

    # What the tests are made of

    def makeCrosshair(self):
        """Have a crosshair, as there is wherever there are views; return its node."""
        node = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
        if node is None:
            node = slicer.vtkMRMLCrosshairNode()
            node.SetCrosshairName("default")
            node = slicer.mrmlScene.AddNode(node)
        return node

    def makeVolume(self, name="Head"):
        """Return an oblique volume node of a bright block in noise, and its (K, J, I) array."""
        import numpy as np

        array = np.random.default_rng(7).normal(50, 10, (20, 24, 22)).astype(np.float32)
        array[6:13, 5:16, 8:18] += 100
        return self.addVolume(array, name), array

    def makeSpot(self, name="Head"):
        """Return an oblique volume with one bright spot, and its place in the world."""
        import numpy as np

        k, j, i = np.mgrid[0:26, 0:28, 0:30]
        array = 50 + 130 * np.exp(-((i - 12) ** 2 + (j - 10) ** 2 + (k - 8) ** 2) / 8.0)
        node = self.addVolume(array.astype(np.float32), name)
        return node, self.placeOf(node, (12, 10, 8))

    def addVolume(self, array, name):
        node = slicer.util.addVolumeFromArray(array, name=name)
        turned = vtk.vtkTransform()
        turned.Translate(-30.0, 10.0, 5.0)
        turned.RotateX(20.0)
        turned.Scale(-1.5, -1.5, 2.0)
        node.SetIJKToRASMatrix(turned.GetMatrix())
        node.CreateDefaultDisplayNodes()
        return node

    def placeOf(self, node, index):
        """Return where in the world the voxel (i, j, k) of a volume is."""
        matrix = vtk.vtkMatrix4x4()
        node.GetIJKToRASMatrix(matrix)
        return matrix.MultiplyPoint((*index, 1))[:3]

    def volumeAxes(self):
        """Return the matrix that turns a ROI as the volumes here are turned."""
        turned = vtk.vtkTransform()
        turned.RotateX(20.0)
        return turned.GetMatrix()

    def makeViews(self):
        """Have slice views to look at: those of Slicer, or their nodes where there is no main window."""
        from meddl_slicer.explanation_views import LOWER, UPPER

        for name in (*UPPER, *LOWER):
            if slicer.mrmlScene.GetSingletonNode(name, "vtkMRMLSliceCompositeNode") is None:
                node = slicer.vtkMRMLSliceCompositeNode()
                node.SetSingletonTag(name)
                node.SetLayoutName(name)
                slicer.mrmlScene.AddNode(node)
        return {node.GetLayoutName(): node for node in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")}

    def makeSegmentation(self, volume, masks, name="Anatomy"):
        """Return a segmentation node of (K, J, I) masks by name, on the grid of a volume."""
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        node.CreateDefaultDisplayNodes()
        for title, mask in masks.items():
            identifier = node.GetSegmentation().AddEmptySegment(title, title)
            slicer.util.updateSegmentBinaryLabelmapFromArray(mask.astype("uint8"), node, identifier, volume)
        return node

    def makeModel(self, **options):
        from meddl_slicer.known_model import write_threshold_bundle

        return str(write_threshold_bundle(self.folder / f"model{len(list(self.folder.iterdir()))}", 100.0, **options))

    def makeKnownModel(self, task, channels=1, **facts):
        from meddl_slicer.known_model import write_known_bundle

        folder = self.folder / f"{task}{channels}{len(list(self.folder.iterdir()))}"
        return str(write_known_bundle(folder, task, channels, **facts))

    def makeWidget(self):
        # Not the one in the module panel, which may be at work for the user.
        from MedDLSaliency import MedDLSaliencyWidget

        self.widget = MedDLSaliencyWidget()
        self.widget.cursor.start()
        return self.widget

    def makeReadyWidget(self, methods=("input_x_gradient",), **options):
        """Return a panel with a threshold model and an image, ready to explain the block that it finds."""
        widget = self.makeWidget()
        self.volume, self.array = self.makeVolume()
        widget.ui.inputSelector.setCurrentNode(self.volume)
        widget._parameterNode.model = self.makeModel(**options)
        self.chooseMethods(widget, *methods)
        return widget

    def chooseMethods(self, widget, *ids):
        widget._parameterNode.methods = list(ids)

    def explain(self, widget):
        """Press Explain and wait for the end; returns the longest gap of the main thread."""
        self.assertTrue(widget.ui.applyButton.enabled, widget.ui.applyButton.toolTip)
        widget.ui.applyButton.click()
        return self.waitForEnd(widget)

    def waitForMethods(self, widget):
        """Wait until it is known which methods fit the model."""
        self.waitFor(lambda: widget.question._key() in widget.question._known)

    def items(self, widget):
        """Return the lines of a list widget by the ids they stand for."""
        import qt

        rows = [widget.item(row) for row in range(widget.count)]
        return {row.data(qt.Qt.UserRole): row for row in rows}

    def waitFor(self, condition, seconds=120.0):
        """Process events until ``condition()``; returns the longest time between two turns of the event loop."""
        import time

        end, last, gap = time.monotonic() + seconds, time.monotonic(), 0.0
        while not condition():
            slicer.app.processEvents()
            now = time.monotonic()
            gap, last = max(gap, now - last), now
            self.assertLess(now, end, f"This took longer than {seconds} s")
            time.sleep(0.002)
        return gap

    def waitForEnd(self, widget, seconds=120.0):
        return self.waitFor(lambda: not widget.jobPanel.isRunning, seconds)
