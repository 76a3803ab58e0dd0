"""The self-test of the panel, the same in the host and in a real Slicer."""

import slicer
import vtk
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleTest

from MedDLInferenceLib.self_test_ensemble import EnsembleTests
from MedDLInferenceLib.self_test_panel import PanelTests
from MedDLInferenceLib.self_test_tasks import TaskTests


class MedDLInferenceTest(PanelTests, TaskTests, EnsembleTests, ScriptedLoadableModuleTest):
    """Runs real inference in a real worker process, with tiny models made here whose right answers are known.

    Nothing is downloaded. What needs PyTorch says so and fails when it is missing.
    """

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        from meddl_slicer.self_testing import run_tests

        run_tests(self, (TaskTests, PanelTests, EnsembleTests), "Models cannot run")

    def tearDown(self):
        from meddl_slicer.self_testing import close

        widget, self.widget = getattr(self, "widget", None), None
        if widget is not None:
            close(widget)
        slicer.mrmlScene.Clear()

    # What the tests are made of

    def makeVolume(self, name="Head"):
        """Return an oblique volume node of a bright block in noise, and its (K, J, I) array."""
        import numpy as np

        array = np.random.default_rng(7).normal(50, 10, (40, 36, 44)).astype(np.int16)
        array[8:25, 5:20, 10:40] += 100
        return self.addVolume(array, name), array

    def makeSpot(self, name="Head"):
        """Return an oblique volume with one bright and one dark spot, and their places in the world."""
        import numpy as np

        k, j, i = np.mgrid[0:26, 0:28, 0:30]
        bright, dark = (12, 10, 8), (22, 20, 18)
        array = 50 + 130 * np.exp(-((i - 12) ** 2 + (j - 10) ** 2 + (k - 8) ** 2) / 8.0)
        array -= 40 * np.exp(-((i - 22) ** 2 + (j - 20) ** 2 + (k - 18) ** 2) / 8.0)
        node = self.addVolume(array.astype(np.float32), name)
        matrix = vtk.vtkMatrix4x4()
        node.GetIJKToRASMatrix(matrix)
        return node, *(np.array(matrix.MultiplyPoint((*place, 1)))[:3] for place in (bright, dark))

    def addVolume(self, array, name):
        from meddl_slicer.self_testing import add_oblique_volume

        return add_oblique_volume(array, name)

    def makeModel(self, **options):
        from meddl_slicer.known_model import write_threshold_bundle

        name = "model" + "".join(f"_{key}{value}" for key, value in options.items())
        threshold = options.pop("threshold", 100.0)
        return str(write_threshold_bundle(self.folder / name, threshold, **options))

    def makeKnownModel(self, task, channels=1, **facts):
        from meddl_slicer.known_model import write_known_bundle

        return str(
            write_known_bundle(
                self.folder / f"{task}{channels}{len(list(self.folder.iterdir()))}", task, channels, **facts
            )
        )

    def makeWidget(self):
        # Not the one in the module panel, which may be at work for the user.
        from MedDLInference import MedDLInferenceWidget

        self.widget = MedDLInferenceWidget()
        parameters = self.widget.logic.getParameterNode()
        for name in ("outputSegmentation", "outputTable", "outputPoints", "outputVolume"):
            setattr(parameters, name, None)
        return self.widget

    def makeReadyWidget(self, **options):
        widget = self.makeWidget()
        volume, _array = self.makeVolume()
        widget.ui.inputSelector.setCurrentNode(volume)
        self.selectModel(widget, **options)
        self.volume = volume
        return widget

    def selectModel(self, widget, **options):
        model = self.makeModel(**options)
        widget._parameterNode.model = model
        return model

    def apply(self, widget):
        """Press Apply and wait for the end."""
        self.assertTrue(widget.ui.applyButton.enabled, widget.ui.applyButton.toolTip)
        widget.ui.applyButton.click()
        return self.waitForEnd(widget)

    def waitFor(self, condition, seconds=120.0):
        """Process events until ``condition()``; returns the longest time between two turns of the event loop."""
        from meddl_slicer.self_testing import wait_for

        return wait_for(condition, seconds)

    def waitForEnd(self, widget, seconds=120.0):
        return self.waitFor(lambda: not widget.jobPanel.isRunning, seconds)
