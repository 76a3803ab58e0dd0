"""What the self-tests of the tab "Generate" are made of."""

import atexit
import shutil
import tempfile
import time
from pathlib import Path

import qt
import slicer

_kept = {}
"""What tests have in common, by name: making it takes longer than using it."""


class GenerateTestParts:
    """Panels, datasets and images; ``self.folder`` is the test's own."""

    def makeGenerateTab(self):
        """Return the tab of a panel of its own: the one in the module panel may be at work for the user."""
        from meddl_slicer import model_choices, synthesis_models
        from meddl_slicer.pump import runner_for_slicer
        from MedDLAugmentation import MedDLAugmentationWidget

        from MedDLAugmentationLib.logic import MedDLAugmentationLogic

        settings, keys = qt.QSettings(), (model_choices._SETTING, synthesis_models._SETTING)
        kept = {key: settings.value(key, "[]") for key in keys}
        self.addCleanup(lambda: [settings.setValue(key, value) for key, value in kept.items()])
        for key in keys:
            settings.setValue(key, "[]")
        panel = MedDLAugmentationWidget()
        panel.logic = MedDLAugmentationLogic(runner_for_slicer())  # one worker for all, which is warm
        self.addCleanup(self._close, panel)
        tab = panel.generate
        for line in (tab.ui.datasetPathLineEdit, tab.ui.outputPathLineEdit, tab.ui.reportPathLineEdit):
            line.currentPath = ""
        tab.enter()
        return tab

    def makeTrainingTab(self, steps=30):
        """Return the tab, ready to train a tiny generator for label maps."""
        from MedDLAugmentationLib.generate_parameters import Kind

        tab = self.makeGenerateTab()
        self.chooseDataset(tab, self.makeDataset())
        training = tab.parameters.training
        training.kind, training.sliceSize, training.batchSize = Kind.GAN, 16, 4
        training.steps, training.sampleEvery, training.checkpointEvery = steps, 10, 10
        tab.ui.nameLineEdit.text = "Tiny"
        tab.ui.outputPathLineEdit.currentPath = str(self.folder / "generators")
        self.assertTrue(tab.ui.trainButton.enabled, tab.ui.trainButton.toolTip)
        return tab

    def makeDataset(self):
        """Return the folder of a dataset of tiny images of a bright ball, the last of four held out."""
        if "dataset" not in _kept:
            _kept["dataset"] = _export_balls(_folder())
        return Path(shutil.copytree(_kept["dataset"], self.folder / "dataset", dirs_exist_ok=True))

    def makeGenerator(self, conditioned=True):
        """Return the folder of a generator that has learned for two steps."""
        from meddl.synthesis.task import TRAIN_SYNTHESIZER
        from meddl_slicer.pump import runner_for_slicer

        name = "Tiny fitting" if conditioned else "Tiny of chance"
        if name not in _kept:
            config = {"kind": "gan", "conditioned": conditioned, "size": [16, 16], "steps": 2, "batch_size": 2}
            params = {"dataset": self.makeDataset(), "config": config, "output": _folder() / name}
            _kept[name] = runner_for_slicer().submit(TRAIN_SYNTHESIZER, params).wait(120)["bundle"]
        return Path(shutil.copytree(_kept[name], self.folder / name))

    def syntheticNodes(self, kind):
        """Return the nodes of a class that say that they are synthetic."""
        return [node for node in slicer.util.getNodesByClass(kind) if node.GetAttribute("MedDL.Synthetic")]

    def folderOf(self, node):
        """Return the name of the subject hierarchy folder that a node lies in."""
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
        return hierarchy.GetItemName(hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)))

    def voxels(self, segmentation, name, volume):
        identifier = segmentation.GetSegmentation().GetSegmentIdBySegmentName(name)
        return int((slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, identifier, volume) > 0).sum())

    def makeImage(self):
        """Return an oblique image of a ball, and its segmentation."""
        import numpy as np
        import vtk

        mask = _ball((24, 22, 10), (1, -1, 0)).transpose(2, 1, 0)
        image = np.random.default_rng(8).normal(50, 10, mask.shape) + 100 * mask
        volume = slicer.util.addVolumeFromArray(image.astype(np.float32), name="Head")
        turned = vtk.vtkTransform()
        turned.Translate(-20.0, 15.0, 5.0)
        turned.RotateX(15.0)
        turned.Scale(-1.5, -1.5, 3.0)
        volume.SetIJKToRASMatrix(turned.GetMatrix())
        volume.CreateDefaultDisplayNodes()
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Anatomy")
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        node.CreateDefaultDisplayNodes()
        for name, where in (("Ball", mask), ("Corner", np.indices(mask.shape).sum(axis=0) < 5)):
            identifier = node.GetSegmentation().AddEmptySegment(name, name)
            slicer.util.updateSegmentBinaryLabelmapFromArray(where.astype("uint8"), node, identifier, volume)
        return volume, node

    def chooseDataset(self, tab, folder):
        """Enter the folder, and wait until it is known what is in it."""
        tab.ui.datasetPathLineEdit.currentPath = str(folder)
        self.waitFor(lambda: not tab.dataset.isAsking)

    def press(self, button):
        """Press a button that can be pressed."""
        self.assertTrue(button.enabled, button.toolTip)
        button.click()

    def ownModels(self):
        from meddl_slicer.model_choices import own_models

        return own_models()

    def waitForTraining(self, tab):
        return self.waitForThat(lambda: not tab.train.isRunning)

    def waitForWork(self, tab):
        return self.waitForThat(lambda: not tab.isBusy)

    def waitFor(self, condition, seconds=120.0):
        return self.waitForThat(condition, seconds)

    def waitForThat(self, condition, seconds=120.0):
        """Process events until ``condition()``; returns the longest time between two turns of the event loop."""
        end, last, gap = time.monotonic() + seconds, time.monotonic(), 0.0
        while not condition():
            slicer.app.processEvents()
            now = time.monotonic()
            gap, last = max(gap, now - last), now
            self.assertLess(now, end, f"This took longer than {seconds} s")
            time.sleep(0.005)
        return gap

    def _close(self, panel):
        # It would be cleaned up again when Slicer exits, after it is gone.
        slicer.app.moduleManager().disconnect("moduleAboutToBeUnloaded(QString)", panel._onModuleAboutToBeUnloaded)
        panel.cleanup()
        panel.parent.setMRMLScene(None)
        panel.parent.deleteLater()


def _folder():
    """Return a folder for what tests have in common."""
    if "folder" not in _kept:
        _kept["folder"] = Path(tempfile.mkdtemp(prefix="MedDL-test-kept-"))
        atexit.register(shutil.rmtree, _kept["folder"], ignore_errors=True)
    return _kept["folder"]


def _export_balls(folder, cases=4):
    import numpy as np
    from meddl.datasets import Case, ExportOptions, SegmentationLabel, SplitOptions, export_dataset
    from meddl.volume import Segment, Volume

    rng, made = np.random.default_rng(3), []
    for number in range(cases):
        ball = _ball((20, 20, 10), rng.uniform(-2, 2, 3))
        image = (rng.normal(50, 10, ball.shape) + 100 * ball).astype(np.int16)
        place = np.diag([1.5, 1.5, 3.0, 1.0])
        label = SegmentationLabel(Volume(ball[None].astype(np.uint8), place), (Segment(1, "Ball", (0.9, 0.6, 0.2)),))
        made.append(Case(f"Doe {number}", {"T1": Volume(image[None], place)}, label, f"patient {number}"))
    split = SplitOptions(validation=1 / cases, test=0.0, folds=0)
    return export_dataset(made, folder / "dataset", ExportOptions("monai", "Heads", split=split)).root


def _ball(shape, shift=(0, 0, 0), radius=5.0):
    """Return a (I, J, K) mask; the radius is in voxels of the first axis, slices are twice as thick."""
    import numpy as np

    grid = np.indices(shape).astype(float)
    middle = (np.array(shape) - 1) / 2 + np.array(shift) * (1, 1, 0.5)
    away = (grid - middle[:, None, None, None]) * np.array((1, 1, 2.0))[:, None, None, None]
    return (away**2).sum(axis=0) < radius**2
