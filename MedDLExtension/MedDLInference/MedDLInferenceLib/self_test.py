"""The self-test of the panel, the same in the host and in a real Slicer."""

import logging
import os
import tempfile
from pathlib import Path

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
        from meddl_slicer import packages

        missing = ", ".join(package.requirement for package in packages.missing())
        self.assertFalse(missing, f"Models cannot run in this Python: {missing} missing. Install it in MedDL Setup.")
        only = os.environ.get("MEDDL_ONLY_TEST", "")
        for name in [*vars(TaskTests), *vars(PanelTests), *vars(EnsembleTests)]:
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
        node = slicer.util.addVolumeFromArray(array, name=name)
        turned = vtk.vtkTransform()
        turned.Translate(-30.0, 10.0, 5.0)
        turned.RotateX(20.0)
        turned.Scale(-1.5, -1.5, 2.0)
        node.SetIJKToRASMatrix(turned.GetMatrix())
        node.CreateDefaultDisplayNodes()
        return node

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
