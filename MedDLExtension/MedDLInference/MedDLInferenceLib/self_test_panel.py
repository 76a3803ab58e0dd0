"""Self-tests of the panel: choices, a run from Apply to the result, cancel, errors, trust, the scene."""

import logging
import os
from pathlib import Path

import qt
import slicer
import vtk


class PanelTests:
    """The test methods; see self_test.py for what they are made of."""

    def test_parametersArePartOfTheScene(self):
        widget = self.makeWidget()
        volume, _array = self.makeVolume()
        widget.ui.inputSelector.setCurrentNode(volume)
        widget.ui.deviceComboBox.setCurrentIndex(widget.ui.deviceComboBox.findData("cpu"))
        model = self.selectModel(widget)
        path = str(self.folder / "scene.mrml")
        slicer.mrmlScene.SetURL(path)
        self.assertTrue(slicer.mrmlScene.Commit(path))
        slicer.mrmlScene.Clear()
        self.assertEqual(widget.logic.getParameterNode().options.device, "auto")
        slicer.mrmlScene.SetURL(path)
        slicer.mrmlScene.Import()
        parameters = widget.logic.getParameterNode()
        self.assertEqual((parameters.model, parameters.options.device), (model, "cpu"))
        self.assertEqual(widget.ui.deviceComboBox.currentData, "cpu")
        self.assertEqual(widget.ui.modelComboBox.currentData, model)

    def test_resultComesBackWithTheScene(self):
        widget = self.makeReadyWidget()
        widget.ui.applyButton.click()
        self.waitForEnd(widget)
        path = str(self.folder / "scene.mrb")
        self.assertTrue(slicer.util.saveScene(path))
        slicer.mrmlScene.Clear()
        self.assertEqual(widget.ui.resultTable.rowCount, 0)
        slicer.util.loadScene(path)
        self.assertEqual(widget.ui.inputSelector.currentNode().GetName(), "Head")
        self.assertIsNotNone(widget._parameterNode.outputSegmentation)
        self.assertIs(widget.ui.outputSelector.currentNode(), widget._parameterNode.outputSegmentation)
        self.assertEqual(widget.ui.resultTable.item(0, 0).text(), "Brain")

    def test_otherModelOrImageLeavesTheResultAlone(self):
        widget = self.makeReadyWidget()
        first = self.volume
        classes, spots = self.makeKnownModel("classification"), self.makeKnownModel("detection")
        found = {}
        for model in (classes, spots):
            widget._parameterNode.model = model
            self.assertIsNone(widget._parameterNode.outputTable)
            self.apply(widget)
            found[model] = widget._parameterNode.outputTable
        self.assertIsNot(found[classes], found[spots])
        self.assertEqual(widget.results.result.viewText, "")  # what the classes say is not said of the boxes
        widget._parameterNode.model = classes
        self.assertIs(widget._parameterNode.outputTable, found[classes])
        self.assertIn("%", widget.results.result.viewText)
        self.apply(widget)  # the same once more replaces it
        self.assertIs(widget._parameterNode.outputTable, found[classes])
        other, _array = self.makeVolume("Other head")
        widget.ui.inputSelector.setCurrentNode(other)
        self.assertIsNone(widget._parameterNode.outputTable)
        widget.ui.inputSelector.setCurrentNode(first)
        self.assertIs(widget._parameterNode.outputTable, found[classes])

    def test_inputIsShownOnRequest(self):
        widget = self.makeReadyWidget()
        other, _array = self.makeVolume("Other head")
        widget.ui.inputSelector.setCurrentNode(other)
        self.assertTrue(widget.ui.showInputButton.enabled)
        for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
            composite.SetForegroundVolumeID(widget._parameterNode.inputVolume.GetID())
        widget.ui.showInputButton.click()
        for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
            self.assertEqual(composite.GetBackgroundVolumeID(), other.GetID())
            self.assertFalse(composite.GetForegroundVolumeID())

    def test_resultIsScrolledTo(self):
        widget = self.makeReadyWidget()
        area = qt.QScrollArea()
        area.setWidgetResizable(True)
        area.resize(420, 300)
        area.setWidget(widget.parent)
        area.show()
        try:
            self.apply(widget)
            self.waitFor(lambda: area.verticalScrollBar().value > 0, 10)
        finally:
            widget.parent.hide()
            area.takeWidget()
            area.hide()
            area.deleteLater()

    def test_mapsThatGoLeaveTheViews(self):
        widget = self.makeReadyWidget()
        options = widget._parameterNode.options
        options.probabilities = True
        self.apply(widget)
        widget.ui.overlayComboBox.setCurrentIndex(1)
        shown = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
        if shown:
            self.assertIsNotNone(shown[0].GetForegroundVolumeID())
        options.probabilities = False
        self.apply(widget)
        self.assertTrue(widget.ui.overlayComboBox.isHidden())
        for composite in shown:
            self.assertFalse(composite.GetForegroundVolumeID())
            self.assertEqual(composite.GetForegroundOpacity(), 0.0)

    def test_applyTellsWhatIsMissing(self):
        widget = self.makeWidget()
        self.selectModel(widget)
        self.assertFalse(widget.ui.applyButton.enabled)
        self.assertIn("an input volume", widget.ui.applyButton.toolTip)
        volume, _array = self.makeVolume()
        widget.ui.inputSelector.setCurrentNode(volume)
        self.assertTrue(widget.ui.applyButton.enabled, widget.ui.applyButton.toolTip)
        widget._parameterNode.model = str(self.folder / "moved away")
        self.assertFalse(widget.ui.applyButton.enabled)
        self.assertIn("a model that is on this computer", widget.ui.applyButton.toolTip)

    def test_applyInPanel(self):
        widget = self.makeReadyWidget()
        widget.ui.applyButton.click()
        self.assertFalse(widget.ui.applyButton.enabled)
        self.assertTrue(widget.ui.cancelButton.enabled)
        gap = self.waitForEnd(widget)
        logging.info(f"Longest gap of the main thread: {gap * 1000:.0f} ms")
        node = widget._parameterNode.outputSegmentation
        self.assertIsNotNone(node, widget.ui.statusLabel.text)
        self.assertIs(widget.ui.outputSelector.currentNode(), node)
        self.assertEqual(widget.ui.resultTable.item(0, 0).text(), "Brain")
        self.assertGreater(float(widget.ui.resultTable.item(0, 1).text()), 0)
        self.assertIn("Done", widget.ui.statusLabel.text)
        self.assertTrue(widget.ui.applyButton.enabled)
        widget.ui.show3DButton.click()
        self.assertTrue(node.GetSegmentation().ContainsRepresentation("Closed surface"))
        widget.ui.show3DButton.click()
        self.assertFalse(node.GetSegmentation().ContainsRepresentation("Closed surface"))

    def test_secondRunUsesTheWarmWorker(self):
        widget = self.makeReadyWidget()
        processes = []
        for _run in range(2):
            widget.ui.applyButton.click()
            self.waitForEnd(widget)
            processes.append(widget.logic.runner.worker_pid)
        self.assertIsNotNone(processes[0])
        self.assertEqual(processes[0], processes[1])
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode"), 1)
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLTableNode"), 1)

    def test_modelIsDownloadedAndApplied(self):
        from unittest import mock

        from meddl.jobs import WorkerRunner
        from meddl_slicer.known_model import write_catalog
        from meddl_slicer.pump import worker_python

        (self.folder / "catalog").mkdir()
        model = write_catalog(self.folder / "catalog", 100.0)
        places = {"MEDDL_MODELS_DIR": str(self.folder / "catalog"), "MEDDL_CACHE": str(self.folder / "cache")}
        with mock.patch.dict(os.environ, places), WorkerRunner(worker_python()) as runner:
            widget = self.makeReadyWidget()
            widget.logic = type(widget.logic)(runner)
            widget._parameterNode.model = model
            self.assertIn("Download 1 MB", widget.ui.applyButton.text)
            self.assertIn("not downloaded", widget.ui.modelDescription.text)
            widget.ui.applyButton.click()
            self.waitForEnd(widget)
            self.assertIsNotNone(widget._parameterNode.outputSegmentation, widget.ui.statusLabel.text)
            self.assertEqual(widget.ui.applyButton.text, "Apply")
            self.assertNotIn("not downloaded", widget.ui.modelDescription.text)

    def test_cancel(self):
        widget = self.makeReadyWidget(window=8)
        widget.ui.applyButton.click()
        self.waitFor(lambda: widget.ui.progressBar.value > 0)
        widget.ui.cancelButton.click()
        self.waitForEnd(widget, 20)
        self.assertEqual(widget.ui.statusLabel.text, "Cancelled.")
        self.assertIsNone(widget._parameterNode.outputSegmentation)
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode"), 0)
        self.assertTrue(widget.ui.applyButton.enabled)
        self.selectModel(widget)
        widget.ui.applyButton.click()
        self.waitForEnd(widget)
        self.assertIsNotNone(widget._parameterNode.outputSegmentation)

    def test_failureKeepsTheOldResult(self):
        widget = self.makeReadyWidget()
        widget.ui.applyButton.click()
        self.waitForEnd(widget)
        node = widget._parameterNode.outputSegmentation
        slicer.util.arrayFromVolume(self.volume)[:] = 7  # the same value everywhere: no model takes that
        widget.ui.applyButton.click()
        self.waitForEnd(widget)
        self.assertIn("empty", widget.ui.statusLabel.text)
        self.assertIn("empty", widget.ui.logTextEdit.plainText)
        self.assertEqual(node.GetSegmentation().GetNumberOfSegments(), 1)
        self.assertTrue(widget.ui.applyButton.enabled)

    def test_bentVolumeIsRefusedInOneSentence(self):
        widget = self.makeReadyWidget()
        source, target = vtk.vtkPoints(), vtk.vtkPoints()
        for point in ((0, 0, 0), (50, 0, 0), (0, 50, 0), (0, 0, 50), (50, 50, 50)):
            source.InsertNextPoint(point)
            target.InsertNextPoint(point)
        target.SetPoint(4, 60, 45, 50)
        bent = vtk.vtkThinPlateSplineTransform()
        bent.SetSourceLandmarks(source)
        bent.SetTargetLandmarks(target)
        bent.SetBasisToR()
        transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "Breathing")
        transform.SetAndObserveTransformToParent(bent)
        self.volume.SetAndObserveTransformNodeID(transform.GetID())
        widget.ui.applyButton.click()
        self.assertFalse(widget.jobPanel.isRunning)
        self.assertIn('"Breathing"', widget.ui.statusLabel.text)
        self.assertIn("Harden", widget.ui.statusLabel.text)
        self.assertTrue(widget.ui.applyButton.enabled)

    def test_folderThatIsNoModelIsRefusedInOneSentence(self):
        widget = self.makeWidget()
        widget.modelSection.add(str(self.folder))
        self.assertIn("is not a MONAI Bundle", widget.ui.statusLabel.text)

    def test_modelWithCodeAsksForTrust(self):
        from meddl.models import ModelBundle, TrustStore

        widget = self.makeReadyWidget(code=True)
        asked = []
        widget.apply.askForTrust = lambda error: bool(asked.append(error.reasons))
        widget.ui.applyButton.click()
        self.waitForEnd(widget)
        self.assertEqual(len(asked), 1)
        self.assertIn("needs your consent", widget.ui.statusLabel.text)
        self.assertIsNone(widget._parameterNode.outputSegmentation)
        widget.apply.askForTrust = lambda error: True
        bundle = ModelBundle.open(Path(widget._parameterNode.model))
        try:
            widget.ui.applyButton.click()
            self.waitForEnd(widget)
            self.assertTrue(TrustStore().is_trusted(bundle))
            self.assertIsNotNone(widget._parameterNode.outputSegmentation, widget.ui.statusLabel.text)
        finally:
            TrustStore().revoke(bundle)

    def test_closingTheScene(self):
        widget = self.makeReadyWidget(window=8)
        widget.ui.applyButton.click()
        self.waitFor(lambda: widget.ui.progressBar.value > 0)
        slicer.mrmlScene.Clear()
        self.assertFalse(widget.jobPanel.isRunning)
        self.assertFalse(widget.ui.applyButton.enabled)
        self.assertEqual(widget.ui.progressBar.value, 0)
        self.waitFor(lambda: not widget.logic.runner.active)
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode"), 0)

    def test_removingTheInput(self):
        widget = self.makeReadyWidget(window=8)
        widget.ui.applyButton.click()
        self.waitFor(lambda: widget.ui.progressBar.value > 0)
        slicer.mrmlScene.RemoveNode(self.volume)
        self.assertIn("was removed", widget.ui.statusLabel.text)
        self.waitFor(lambda: not widget.logic.runner.active)
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode"), 0)
        self.assertFalse(widget.ui.applyButton.enabled)

    def test_downloadGoesOnWhenTheSceneIsClosed(self):
        from unittest import mock

        from meddl.jobs import WorkerRunner
        from meddl.models import Catalog
        from meddl_slicer.known_model import write_catalog
        from meddl_slicer.pump import worker_python

        (self.folder / "catalog").mkdir()
        model = write_catalog(self.folder / "catalog", 100.0)
        places = {"MEDDL_MODELS_DIR": str(self.folder / "catalog"), "MEDDL_CACHE": str(self.folder / "cache")}
        with mock.patch.dict(os.environ, places), WorkerRunner(worker_python()) as runner:
            widget = self.makeReadyWidget()
            widget.logic = type(widget.logic)(runner)
            widget._parameterNode.model = model
            widget.ui.applyButton.click()
            slicer.mrmlScene.Clear()
            self.assertTrue(widget.jobPanel.isRunning)
            self.waitForEnd(widget)
            self.assertTrue(Catalog.default().find(model).installed)
            self.assertEqual(widget.ui.statusLabel.text, "The model is ready.")

    def test_removedResultTakesItsTableAlong(self):
        widget = self.makeReadyWidget()
        self.apply(widget)
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLTableNode"), 1)
        slicer.mrmlScene.RemoveNode(widget._parameterNode.outputSegmentation)
        slicer.app.processEvents()
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLTableNode"), 0)
        self.assertTrue(widget.ui.resultsCollapsibleButton.isHidden())

    def test_modelsAreSearched(self):
        from meddl_slicer.model_selector import forget_own_model

        widget = self.makeWidget()
        spots = widget.models.addOwn(Path(self.makeKnownModel("detection")))
        threshold = widget.models.addOwn(Path(self.makeModel()))
        try:
            widget.ui.searchLineEdit.text = "detection self-test"
            shown = [widget.ui.modelComboBox.itemData(index) for index in range(widget.ui.modelComboBox.count)]
            self.assertIn(spots, shown)
            self.assertEqual(widget.models.currentModel().id, threshold)  # what is chosen stays chosen
            widget._parameterNode.model = spots
            widget.ui.searchLineEdit.text = "telepathy"
            self.assertEqual(widget.models.currentModel().id, spots)
            widget.ui.searchLineEdit.text = ""
            self.assertGreaterEqual(widget.ui.modelComboBox.findData(threshold), 0)
            self.assertFalse(widget.ui.outputTableSelector.isHidden())
            self.assertTrue(widget.ui.probabilitiesCheckBox.isHidden())
        finally:
            forget_own_model(spots)
            forget_own_model(threshold)

    def test_modelOutsideItsDomainIsSaidInYellow(self):
        widget = self.makeReadyWidget()
        self.waitFor(lambda: not widget.inputs._adviceTimer.isActive())
        self.assertIn("does not tell for which images", widget.ui.domainLabel.text)  # never silence
        narrow, wide = ({"spacing_mm": {"min": [low] * 3, "max": [6] * 3}} for low in (5, 1))
        widget._parameterNode.model = self.makeKnownModel("segmentation", expected=wide)
        self.waitFor(lambda: not widget.inputs._adviceTimer.isActive())
        self.assertTrue(widget.ui.domainFrame.isHidden(), widget.ui.domainLabel.text)
        widget._parameterNode.model = self.makeKnownModel("segmentation", 1, expected=narrow)
        self.waitFor(lambda: not widget.inputs._adviceTimer.isActive())
        self.assertFalse(widget.ui.domainFrame.isHidden())
        self.assertIn("mm", widget.ui.domainLabel.text)
        self.assertTrue(widget.ui.applyButton.enabled)  # the run is the user's decision

    def test_packagesOfAModelAreOffered(self):
        from unittest import mock

        widget = self.makeReadyWidget()
        with mock.patch("meddl_slicer.packages.missing_of", lambda requirements: ("nnunetv2>=2.5",)):
            widget.updateGUI()
            self.assertIn("the Python package nnunetv2", widget.ui.applyButton.toolTip)
            self.assertFalse(widget.ui.setupFrame.isHidden())
            self.assertIn("nnunetv2", widget.ui.setupLabel.text)
            installed = []
            widget.logic.install = installed.append
            widget.modelSection.askToInstall = lambda names: True
            widget.ui.setupButton.click()
            self.assertEqual(installed, [("nnunetv2>=2.5",)])
        widget.updateGUI()
        self.assertTrue(widget.ui.applyButton.enabled)
        self.assertTrue(widget.ui.setupFrame.isHidden())

    def test_batch(self):
        from meddl_slicer.model_selector import forget_own_model

        widget = self.makeWidget()
        cases = self.folder / "cases"
        cases.mkdir()
        for name in ("first", "second"):
            volume, _array = self.makeVolume(name)
            slicer.util.saveNode(volume, str(cases / f"{name}.nrrd"))
        (cases / "broken.nrrd").write_text("this is no image")
        model = widget.models.addOwn(Path(self.makeModel()))
        try:
            self.assertIn("a list or a folder", widget.ui.batchStartButton.toolTip)
            offered = widget.ui.batchModelsListWidget
            items = [offered.item(row) for row in range(offered.count)]
            next(item for item in items if item.data(qt.Qt.UserRole) == model).setCheckState(qt.Qt.Checked)
            widget.ui.batchCasesPathLineEdit.currentPath = str(cases)
            widget.ui.batchOutputPathLineEdit.currentPath = str(self.folder / "results")
            for expected in ("2 done, 0 were done before, 1 failed.", "0 done, 2 were done before, 1 failed."):
                self.assertTrue(widget.ui.batchStartButton.enabled, widget.ui.batchStartButton.toolTip)
                widget.ui.batchStartButton.click()
                self.waitForEnd(widget)
                self.assertIn(expected, widget.ui.batchSummaryLabel.text, widget.ui.statusLabel.text)
                self.assertIn("broken", widget.ui.batchSummaryLabel.text)
        finally:
            forget_own_model(model)
        summary = slicer.mrmlScene.GetFirstNode("Batch summary", "vtkMRMLTableNode")
        self.assertEqual(summary.GetNumberOfRows(), 3)
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLTableNode"), 1)
