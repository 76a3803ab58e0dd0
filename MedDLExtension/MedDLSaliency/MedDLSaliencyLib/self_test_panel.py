"""Self-tests of the panel: choices, what goes with what, cancel, errors, trust, the scene."""

import qt
import slicer
import vtk


class PanelTests:
    """The test methods; see self_test.py for what they are made of."""

    def test_explainTellsWhatIsMissing(self):
        widget = self.makeWidget()
        widget._parameterNode.model = self.makeModel()
        self.assertFalse(widget.ui.applyButton.enabled)
        self.assertIn("an input volume", widget.ui.applyButton.toolTip)
        volume, _array = self.makeVolume()
        widget.ui.inputSelector.setCurrentNode(volume)
        self.assertTrue(widget.ui.applyButton.enabled, widget.ui.applyButton.toolTip)
        self.chooseMethods(widget)
        self.assertIn("a method with a check mark", widget.ui.applyButton.toolTip)
        self.items(widget.ui.methodsListWidget)["saliency"].setCheckState(qt.Qt.Checked)
        self.assertEqual(list(widget._parameterNode.methods), ["saliency"])
        self.assertTrue(widget.ui.applyButton.enabled)
        widget.ui.baselineComboBox.setCurrentIndex(3)
        self.assertIn("a reference image", widget.ui.applyButton.toolTip)

    def test_methodsThatDoNotFitSayWhy(self):
        widget = self.makeReadyWidget()
        self.waitForMethods(widget)
        items = self.items(widget.ui.methodsListWidget)
        unfit = [choice for choice in widget.question._choices() if choice.unfit]
        for choice in unfit:
            self.assertEqual(items[choice.id].toolTip(), choice.unfit)
            self.assertFalse(bool(items[choice.id].flags() & qt.Qt.ItemIsUserCheckable))
        self.assertIn("input_x_gradient", widget.question.methods())
        self.assertTrue(widget.ui.methodsNoteLabel.isHidden(), widget.ui.methodsNoteLabel.text)
        if unfit:  # one that is chosen for another model is left out, and stays chosen
            self.chooseMethods(widget, unfit[0].id)
            self.assertFalse(widget.ui.applyButton.enabled)
            items = self.items(widget.ui.methodsListWidget)
            items["saliency"].setCheckState(qt.Qt.Checked)
            self.assertEqual(widget.question.methods(), ["saliency"])
            self.assertIn(unfit[0].id, widget._parameterNode.methods)

    def test_measuresThatNeedAReference(self):
        widget = self.makeReadyWidget()
        items = self.items(widget.ui.measuresListWidget)
        self.assertFalse(bool(items["pointing_game"].flags() & qt.Qt.ItemIsUserCheckable))
        widget._parameterNode.measures = ["pointing_game", "deletion"]
        self.assertEqual(widget.question.measures(), ["deletion"])
        widget._parameterNode.truth = self.makeSegmentation(self.volume, {"Block": self.array > 100})
        self.assertEqual(widget.question.measures(), ["deletion", "pointing_game"])

    def test_placeIsOfferedWhereItMeansSomething(self):
        from MedDLSaliencyLib.parameters import Place

        widget = self.makeReadyWidget()
        self.assertFalse(widget.ui.placeComboBox.isHidden())
        self.assertTrue(widget.ui.regionSelector.isHidden())
        widget._parameterNode.place = Place.REGION
        self.assertFalse(widget.ui.regionSelector.isHidden())
        widget._parameterNode.model = self.makeKnownModel("classification")
        self.assertTrue(widget.ui.placeComboBox.isHidden())
        self.assertTrue(widget.ui.regionSelector.isHidden())
        self.assertTrue(widget.ui.applyButton.enabled, widget.ui.applyButton.toolTip)

    def test_cancel(self):
        widget = self.makeReadyWidget(("integrated_gradients",), window=8)
        widget._parameterNode.options.steps = 1000
        widget.ui.applyButton.click()
        self.assertFalse(widget.ui.applyButton.enabled)
        self.waitFor(lambda: widget.ui.progressBar.value > 100)
        widget.ui.cancelButton.click()
        self.waitForEnd(widget, 20)
        self.assertEqual(widget.ui.statusLabel.text, "Cancelled.")
        self.assertIsNone(widget._parameterNode.map)
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode"), 1)
        self.assertTrue(widget.ui.applyButton.enabled)

    def test_failureKeepsTheOldMap(self):
        widget = self.makeReadyWidget()
        self.explain(widget)
        node, nodes = widget._parameterNode.map, slicer.mrmlScene.GetNumberOfNodes()
        slicer.util.arrayFromVolume(self.volume)[:] = 7  # the same value everywhere: no model takes that
        self.explain(widget)
        self.assertIn("empty", widget.ui.statusLabel.text)
        self.assertIs(widget._parameterNode.map, node)
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), nodes)

    def test_bentVolumeIsRefusedInOneSentence(self):
        widget = self.makeReadyWidget()
        source, target = vtk.vtkPoints(), vtk.vtkPoints()
        for point in ((0, 0, 0), (50, 0, 0), (0, 50, 0), (0, 0, 50), (50, 50, 50)):
            source.InsertNextPoint(point)
            target.InsertNextPoint([x + 3 * (x == 50) for x in point])
        bent = vtk.vtkThinPlateSplineTransform()
        bent.SetSourceLandmarks(source)
        bent.SetTargetLandmarks(target)
        transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "Breathing")
        transform.SetAndObserveTransformToParent(bent)
        self.volume.SetAndObserveTransformNodeID(transform.GetID())
        widget.ui.applyButton.click()
        self.assertIn("Breathing", widget.ui.statusLabel.text)
        self.assertFalse(widget.jobPanel.isRunning)

    def test_modelWithCodeAsksForTrust(self):
        widget = self.makeReadyWidget(code=True)
        asked = []
        widget.apply.askForTrust = lambda error: bool(asked.append(error.reasons))
        self.explain(widget)
        self.assertEqual(len(asked), 1)
        self.assertIn("consent", widget.ui.statusLabel.text)
        self.assertIsNone(widget._parameterNode.map)

    def test_removedImageStopsTheRun(self):
        widget = self.makeReadyWidget(("integrated_gradients",), window=8)
        widget._parameterNode.options.steps = 1000
        widget.ui.applyButton.click()
        slicer.mrmlScene.RemoveNode(self.volume)
        self.assertFalse(widget.jobPanel.isRunning)
        self.assertIn("was removed", widget.ui.statusLabel.text)

    def test_removedMapTakesItsPartsAlong(self):
        widget = self.makeReadyWidget()
        widget._parameterNode.segmentation = self.makeSegmentation(self.volume, {"Block": self.array > 100})
        before = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLTableNode")
        self.explain(widget)
        colors = widget._parameterNode.map.GetNodeReference("MedDL.colors")
        slicer.mrmlScene.RemoveNode(widget._parameterNode.map)
        self.waitFor(lambda: colors.GetScene() is None)
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLTableNode"), before)
        self.assertEqual(widget.ui.mapComboBox.count, 0)
        self.assertTrue(widget.ui.resultsCollapsibleButton.isHidden())
