"""Self-tests of the tab "Variants"."""

import json
from pathlib import Path

import slicer
import vtk

from MedDLAugmentationLib.generate_test_parts import GenerateTestParts

_SMOOTH_S = 0.4  # so long the main thread may be kept from its events, on a computer that does other things, too


class VariantsTestParts(GenerateTestParts):
    """Panels and images with sides."""

    def makeVariantsTab(self, withImage=True, **options):
        """Return the tab of a panel of its own; with an image of two kidneys, when its preview is drawn."""
        if withImage:
            self.volume, self.labels = self.makeKidneys(**options)
        tab = self.makePanel().variants
        if withImage:
            tab.parameters.segmentation = self.labels
            self.waitForPreview(tab)
        return tab

    def makePanel(self):
        """Return a panel of its own: the one in the module panel may be at work for the user."""
        tab = self.makeGenerateTab()
        tab.exit()
        panel = tab._panel
        panel.variants.enter()
        panel.scanner.enter()
        return panel

    def makeKidneys(self, offset=0.0, sides=("Right kidney", "Left kidney")):
        """Return an oblique CT-like volume below a transform, and the segmentation of its kidneys."""
        import numpy as np

        mask = {}
        for name, start in zip(sides, (4, 18), strict=False):
            mask[name] = np.zeros((16, 24, 30), bool)
            mask[name][4:12, 8:16, start : start + 8] = True
        array = np.random.default_rng(4).normal(-20, 15, (16, 24, 30))
        array[:, :3] = -1000  # a CT has air
        array[np.any([*mask.values()], axis=0)] += 200
        volume = slicer.util.addVolumeFromArray(array.astype(np.int16), name="Abdomen")
        turned = vtk.vtkTransform()
        turned.Translate(40.0, 10.0 + offset, 5.0)
        turned.RotateX(10.0)
        turned.Scale(-2.0, -2.0, 3.0)
        volume.SetIJKToRASMatrix(turned.GetMatrix())
        volume.CreateDefaultDisplayNodes()
        moved = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Moved")
        shift = vtk.vtkTransform()
        shift.Translate(3.0, -4.0, 5.0)
        moved.SetMatrixTransformToParent(shift.GetMatrix())
        labels = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Kidneys")
        labels.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        labels.CreateDefaultDisplayNodes()
        for name, where in mask.items():
            key = labels.GetSegmentation().AddEmptySegment(name, name, (0.9, 0.5, 0.05 * len(name)))
            slicer.util.updateSegmentBinaryLabelmapFromArray(where.astype("uint8"), labels, key, volume)
        for node in (volume, labels):
            node.SetAndObserveTransformNodeID(moved.GetID())
        return volume, labels

    def waitForPreview(self, tab):
        """Wait until the preview is drawn; returns the longest time between two turns of the event loop."""
        return self.waitForThat(lambda: bool(tab.preview.samples) and tab.preview.isSettled)

    def settings(self, tab, transform):
        """Choose the line of a transform and return the widgets of its settings."""
        names = [row.step.transform for row in tab.plan.edited.rows]
        tab.ui.stepsList.setCurrentRow(names.index(transform))
        return tab.plan.pages.page(transform)

    def voxelsOf(self, tab, number=0):
        return next(iter(tab.preview.samples[number]["images"].values())).array

    def asked(self, tab):
        """Have the parameters of all jobs that are submitted from now on listed; returns the list."""
        runner, found = tab._panel.logic.runner, []
        submit = runner.submit

        def listed(task, params, **callbacks):
            found.append(params)
            return submit(task, params, **callbacks)

        runner.submit = listed
        self.addCleanup(lambda: runner.__dict__.pop("submit", None))
        return found


class VariantsTests(VariantsTestParts):
    """What users do in the tab, and what may happen meanwhile."""

    def test_previewFollowsSlidersAndVoxelsAreSentOnce(self):
        tab = self.makeVariantsTab()
        self.assertEqual(len(tab.preview.samples), 6)
        self.assertTrue(tab.ui.sample6Button.visible or tab.ui.sample6Button.icon.availableSizes())
        asked = self.asked(tab)
        widgets = self.settings(tab, "affine")
        gap = 0.0
        for step in range(40):
            widgets["shift_mm"].setValues(-1.0 - step / 4, 1.0 + step / 4)
            gap = max(gap, self._turn())
        gap = max(gap, self.waitForPreview(tab))
        shifts = [params["plan"]["transforms"][1]["shift_mm"] for params in asked]
        self.assertLess(gap, _SMOOTH_S)
        self.assertEqual(shifts[-1], [-10.75, 10.75])
        self.assertLess(len([params for params in asked if len(params["numbers"]) == 6]), 40)
        self.assertFalse([params for params in asked if "sample" in params])
        self.waitForThat(lambda: "10.75" in tab.parameters.plan)  # stored a moment after the slider has stopped
        self.assertEqual(json.loads(tab.parameters.plan)["rows"][1]["shift_mm"], [-10.75, 10.75])

    def test_previewFollowsVoxelsAndViews(self):
        tab = self.makeVariantsTab()
        before = self.voxelsOf(tab)
        slicer.util.arrayFromVolume(self.volume)[:] += 100
        slicer.util.arrayFromVolumeModified(self.volume)
        self.waitForThat(lambda: self.voxelsOf(tab).mean() > before.mean() + 50)
        view = self.makeView("Green")
        tab.preview.follow(tab.case())
        tab.parameters.view = "Green"
        self.waitForThat(lambda: self.voxelsOf(tab).shape[2] == 1)
        first = self.voxelsOf(tab)
        view.SetSliceOffset(view.GetSliceOffset() - 12)
        self.waitForThat(lambda: self.voxelsOf(tab).shape != first.shape or (self.voxelsOf(tab) != first).any())
        self.waitForPreview(tab)

    def test_variantIsAddedBesideItsSource(self):
        import numpy as np

        tab = self.makeVariantsTab()
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
        folder = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "Study")
        for node in (self.volume, self.labels):
            hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node), folder)
        tab.preview.select(2)
        asked = self.asked(tab)
        tab.ui.addButton.click()
        gap = self.waitForThat(lambda: not tab.jobPanel.isRunning)
        self.assertLess(gap, _SMOOTH_S)
        self.assertFalse([params for params in asked if "sample" in params])
        volume, labels = (slicer.util.getNode(f"{name} variant 3") for name in ("Abdomen", "Kidneys"))
        for node in (volume, labels):
            self.assertEqual(self.folderOf(node), "Study")
            self.assertEqual(node.GetTransformNodeID(), self.volume.GetTransformNodeID())
            self.assertEqual(node.GetAttribute("MedDL.Synthetic"), "augmentation")
        self.assertEqual(labels.GetSegmentation().GetNthSegment(0).GetName(), "Right kidney")
        self.assertIn("Added", tab.ui.statusLabel.text)
        # The same without a panel, from the record on the node and from plan and seed.
        found = slicer.util.arrayFromVolume(volume).copy()
        made = tab._panel.logic.process(self.volume, self.labels, plan=tab.plan.plan(), count=3, seed=0)
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(made[2][0][0]), found)

    def test_sidesAreExchangedOrTheMirrorIsLeftOut(self):
        tab = self.makeVariantsTab()
        self.assertNotIn("mirror images", tab.ui.planLabel.text)
        self.labels.GetSegmentation().RemoveSegment("Left kidney")
        self.waitForThat(lambda: "Right kidney has a side" in tab.ui.planLabel.text)
        self.waitForPreview(tab)

    def test_vanishedStructuresAreTold(self):
        tab = self.makeVariantsTab()
        widgets = self.settings(tab, "affine")
        widgets["probability"].value = 100
        widgets["shift_mm"].setValues(75, 80)
        self.waitForPreview(tab)
        self.waitForThat(lambda: "gone" in tab.ui.sample1Label.text)
        self.assertIn("has vanished", tab.ui.sample1Button.toolTip)

    def test_planIsKeptLoadedAndSaved(self):
        tab = self.makeVariantsTab(withImage=False)
        tab.plan.choose("ct")
        self.assertEqual(tab.ui.presetComboBox.currentText, "CT")
        path = self.folder / "plan.json"
        tab.plan.askForPlan = lambda toSave: str(path)
        self.settings(tab, "noise")["strength"].setValues(0.01, 0.09)
        tab.ui.savePlanButton.click()
        tab.plan.choose("mr")
        tab.ui.loadPlanButton.click()
        steps = {step.transform: step for step in tab.plan.plan().steps}
        self.assertEqual(steps["noise"].settings["strength"], (0.01, 0.09))
        self.assertNotIn("ghosting", steps)
        path.write_text('{"transforms": [{"transform": "magic"}]}')
        tab.ui.loadPlanButton.click()
        self.assertIn("magic", tab.ui.statusLabel.text)
        scene = str(self.folder / "scene.mrml")
        slicer.util.saveScene(scene)
        slicer.mrmlScene.Clear()
        tab.plan.choose("position")
        slicer.util.loadScene(scene)
        self.assertEqual({step.transform for step in tab.plan.plan().steps}, set(steps))

    def test_presetFollowsTheImageUntilOneIsChosen(self):
        tab = self.makeVariantsTab(withImage=False)
        self.assertEqual(tab.ui.presetComboBox.currentText, "MR")
        volume, _labels = self.makeKidneys()
        self.waitForThat(lambda: tab.ui.presetComboBox.currentText == "CT")
        self.assertFalse(tab.parameters.plan)
        tab.plan.choose("position")
        tab.parameters.inputVolume = None
        tab.parameters.inputVolume = volume
        self._turn()
        self.assertEqual(tab.plan.edited.name, tab.ui.presetComboBox.currentText)
        self.assertNotEqual(tab.ui.presetComboBox.currentText, "CT")

    def test_emptyPlanAndEmptySceneAreToldInWords(self):
        import qt

        tab = self.makeVariantsTab(withImage=False)
        self.waitForThat(lambda: "Choose an image" in tab.ui.previewLabel.text)
        self.assertFalse(tab.ui.addButton.enabled)
        volume, _labels = self.makeKidneys()
        self.waitForPreview(tab)  # an image that is loaded while nothing is chosen is taken
        self.assertEqual(tab.parameters.inputVolume.GetID(), volume.GetID())
        self.assertTrue(tab.ui.addButton.enabled)
        for row in range(tab.ui.stepsList.count):
            tab.ui.stepsList.item(row).setCheckState(qt.Qt.Unchecked)
        self.waitForThat(lambda: "Check what may happen" in tab.ui.previewLabel.text)
        self.assertIn("a transform", tab.ui.addButton.toolTip)

    def test_nodesAndScenesMayLeaveMeanwhile(self):
        tab = self.makeVariantsTab()
        tab.parameters.seed = 7
        self._turn()
        slicer.mrmlScene.RemoveNode(self.volume)
        self.waitForThat(lambda: tab.parameters.inputVolume is None and not tab.preview.samples)
        self.volume, self.labels = self.makeKidneys()
        tab.parameters.inputVolume, tab.parameters.segmentation = self.volume, self.labels
        self.waitForPreview(tab)
        tab.parameters.seed = 8
        self._turn()
        slicer.mrmlScene.Clear()
        self.waitForThat(lambda: "Choose an image" in tab.ui.previewLabel.text)
        self.volume, self.labels = self.makeKidneys()
        tab.parameters.inputVolume = self.volume
        self.waitForPreview(tab)
        tab.ui.addButton.click()
        slicer.mrmlScene.RemoveNode(self.volume)
        self.assertFalse(tab.jobPanel.isRunning)
        self.assertIn("was removed", tab.ui.statusLabel.text)
        self.assertFalse(self.syntheticNodes("vtkMRMLScalarVolumeNode"))

    def test_anotherWorkerIsSentTheImageAgain(self):
        from meddl_slicer.pump import close_shared_runner, runner_for_slicer

        tab = self.makeVariantsTab()
        close_shared_runner()
        tab._panel.logic._runner = runner_for_slicer()
        tab.parameters.seed = 3
        self.waitForPreview(tab)
        self.assertEqual(tab.preview.samples[0]["draw"]["seed"], 3)

    def test_picturesOfOneSliceAndSeveralImages(self):
        import numpy as np

        tab = self.makeVariantsTab(withImage=False)
        color = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "Photo")
        slicer.util.updateVolumeFromArray(color, np.random.default_rng(0).integers(0, 255, (1, 20, 30, 3), np.uint8))
        tab.parameters.inputVolume = color
        self.waitForPreview(tab)
        self.assertEqual(self.voxelsOf(tab).shape, (3, 30, 20, 1))
        first, labels = self.makeKidneys()
        second, _labels = self.makeKidneys(offset=6.0)
        second.SetName("Other")
        tab.parameters.inputVolume, tab.parameters.segmentation = first, labels
        tab.ui.otherSelector.setCheckState(second, 2)
        self.waitForThat(lambda: tab.preview.samples and len(tab.preview.samples[0]["images"]) == 2)
        self.waitForPreview(tab)
        tab.parameters.channel = "Other"
        tab.parameters.difference = True
        self._turn()
        tab.ui.addButton.click()
        self.waitForThat(lambda: not tab.jobPanel.isRunning)
        names = {node.GetName() for node in self.syntheticNodes("vtkMRMLScalarVolumeNode")}
        self.assertEqual(names, {"Abdomen variant 1", "Other variant 1"})

    def test_manyCasesBecomeADatasetAndGetMore(self):
        tab = self.makeVariantsTab(withImage=False)
        for line in (tab.ui.sourcePathLineEdit, tab.ui.outputPathLineEdit):
            line.currentPath = ""
        self.assertIn("cases", tab.ui.batchButton.toolTip)
        tab.ui.sourcePathLineEdit.currentPath = str(self.makeDataset())
        self.assertIn("A dataset", tab.ui.sourceNoteLabel.text)
        tab.plan.choose("position")
        tab.parameters.batch.count = 1
        self.assertTrue(tab.ui.batchButton.enabled, tab.ui.batchButton.toolTip)
        tab.ui.batchButton.click()
        self.waitForThat(lambda: not tab.jobPanel.isRunning)
        self.assertIn("Variants made: 3", tab.ui.batchLabel.text)
        manifest = json.loads((Path(tab.parameters.batch.source) / "dataset.meddl.json").read_text())
        self.assertEqual(len([case for case in manifest["cases"] if case.get("synthetic_of")]), 3)

    # What these tests are made of

    def makeView(self, name):
        """Return a slice view's node: Slicer's own where there is a main window."""
        node = slicer.mrmlScene.GetSingletonNode(name, "vtkMRMLSliceNode")
        if node is None:
            slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(slicer.mrmlScene)
            node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceNode", name)
            node.SetLayoutName(name)
            node.SetOrientationToCoronal()
        return node

    def _turn(self):
        import time

        start = time.monotonic()
        slicer.app.processEvents()
        return time.monotonic() - start
