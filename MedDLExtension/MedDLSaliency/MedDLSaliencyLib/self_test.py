"""The self-test of the panel, the same in the host and in a real Slicer."""

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
        from meddl_slicer.self_testing import run_tests

        run_tests(self, (ExplainTests, PanelTests), "Models cannot run")

    def tearDown(self):
        from meddl_slicer.self_testing import close

        widget, self.widget = getattr(self, "widget", None), None
        if widget is not None:
            close(widget)
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
        from meddl_slicer.self_testing import add_oblique_volume

        return add_oblique_volume(array, name)

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
        from meddl_slicer.self_testing import add_segmentation

        return add_segmentation(volume, masks, name)

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
        from meddl_slicer.self_testing import wait_for

        return wait_for(condition, seconds)

    def waitForEnd(self, widget, seconds=120.0):
        return self.waitFor(lambda: not widget.jobPanel.isRunning, seconds)
