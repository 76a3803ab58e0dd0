"""Self-tests of what comes into the scene: one result of each task, uncertainty, several images, sequences."""

import slicer
import vtk


class TaskTests:
    """The test methods; see self_test.py for what they are made of."""

    def makeTaskWidget(self, task, volume, channels=1):
        widget = self.makeWidget()
        widget.ui.inputSelector.setCurrentNode(volume)
        widget._parameterNode.model = self.makeKnownModel(task, channels)
        return widget

    def nodeNames(self):
        return [node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLNode")]

    def cells(self, table):
        return [
            [table.item(row, column).text() for column in range(table.columnCount)] for row in range(table.rowCount)
        ]

    def test_resultOverlaysMovedVolume(self):
        import numpy as np
        from MedDLInference import MedDLInferenceLogic

        volume, array = self.makeVolume()
        transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
        moved = vtk.vtkTransform()
        moved.Translate(12.0, -7.0, 30.0)
        moved.RotateWXYZ(35.0, 0.2, 0.6, -0.4)
        transform.SetMatrixTransformToParent(moved.GetMatrix())
        volume.SetAndObserveTransformNodeID(transform.GetID())
        reports = []
        node = MedDLInferenceLogic().process(volume, self.makeModel(), onProgress=lambda *args: reports.append(args))
        found = slicer.util.arrayFromSegmentBinaryLabelmap(node, node.GetSegmentation().GetNthSegmentID(0), volume)
        np.testing.assert_array_equal(found > 0, array > 100)
        self.assertIs(node.GetParentTransformNode(), transform)
        self.assertEqual(node.GetSegmentation().GetNthSegment(0).GetName(), "Brain")
        self.assertIn("12738006", node.GetSegmentation().GetNthSegment(0).GetTerminology())
        self.assertEqual(node.GetAttribute("MedDL.License"), "Apache-2.0")
        self.assertTrue(reports)
        table = node.GetNodeReference("MedDL.table").GetTable()
        self.assertAlmostEqual(table.GetValue(0, 1).ToDouble(), (array > 100).sum() * 1.5 * 1.5 * 2 / 1000, places=2)

    def test_classification(self):
        volume, _array = self.makeVolume()
        slicer.util.arrayFromVolume(volume)[:] += 60
        widget = self.makeTaskWidget("classification", volume)
        self.assertFalse(widget.ui.outputTableSelector.isHidden())
        self.assertTrue(widget.ui.outputSelector.isHidden())
        self.apply(widget)
        node = widget._parameterNode.outputTable
        self.assertIsNotNone(node, widget.ui.statusLabel.text)
        cells = self.cells(widget.ui.resultTable)
        self.assertEqual([row[0] for row in cells], ["Bright", "Dark"])
        self.assertGreater(float(cells[0][1]), 0.5)
        self.assertIn("Most probable: Bright", widget.ui.resultSentenceLabel.text)
        self.assertIn("Bright", widget.results.result.viewText)
        widget.ui.viewTextButton.click()
        self.assertFalse(widget.ui.viewTextButton.checked)

    def test_textStaysInTheViewsAndGoes(self):
        from meddl_slicer import view_text

        layout = slicer.app.layoutManager()
        if layout is None:
            return  # no main window, no views
        volume, _array = self.makeVolume()
        widget = self.makeTaskWidget("classification", volume)
        self.apply(widget)
        slicer.util.setSliceViewerLayers(background=volume, fit=True)
        red = layout.sliceWidget("Red")

        def texts():
            renderer = red.sliceView().renderWindow().GetRenderers().GetFirstRenderer()
            props = renderer.GetViewProps()
            found = [props.GetItemAsObject(index) for index in range(props.GetNumberOfItems())]
            return [prop.GetInput() for prop in found if isinstance(prop, vtk.vtkTextActor)]

        shown = view_text.text_of(widget._parameterNode.outputTable)
        self.assertIn(shown, texts())
        for offset in (5, 9):  # at each move of a slice, Slicer writes its own annotations anew
            red.sliceLogic().SetSliceOffset(offset)
            slicer.app.processEvents()
        self.assertIn(shown, texts())
        slicer.mrmlScene.RemoveNode(widget._parameterNode.outputTable)
        slicer.app.processEvents()
        self.assertNotIn(shown, texts())

    def test_detection(self):
        import numpy as np

        volume, bright, _dark = self.makeSpot()
        widget = self.makeTaskWidget("detection", volume)
        self.apply(widget)
        table = widget._parameterNode.outputTable
        self.assertIsNotNone(table, widget.ui.statusLabel.text)
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLMarkupsROINode"), 1)
        roi = table.GetNodeReference("MedDL.boxes")
        center = [0.0] * 3
        roi.GetCenterWorld(center)
        np.testing.assert_allclose(center, bright, atol=0.3)
        np.testing.assert_allclose(roi.GetSize(), (10, 10, 10), atol=0.01)
        self.assertEqual(self.cells(widget.ui.resultTable)[0][0], "Spot")
        widget.ui.resultTable.cellClicked(0, 0)  # goes there; views are moved where there are any
        slicer.mrmlScene.RemoveNode(table)
        slicer.app.processEvents()
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLMarkupsROINode"), 0)

    def test_landmarksAndJump(self):
        import numpy as np

        volume, bright, dark = self.makeSpot()
        widget = self.makeTaskWidget("landmarks", volume)
        self.apply(widget)
        node = widget._parameterNode.outputPoints
        self.assertIsNotNone(node, widget.ui.statusLabel.text)
        self.assertEqual([node.GetNthControlPointLabel(index) for index in range(2)], ["Brightest", "Darkest"])
        for index, place in enumerate((bright, dark)):
            found = [0.0] * 3
            node.GetNthControlPointPositionWorld(index, found)
            np.testing.assert_allclose(found, place, atol=0.5)
        slices = slicer.util.getNodesByClass("vtkMRMLSliceNode")
        widget.ui.resultTable.cellClicked(1, 0)
        for view in slices:
            matrix = slicer.util.arrayFromVTKMatrix(view.GetSliceToRAS())
            self.assertAlmostEqual(float(matrix[:3, 2] @ (matrix[:3, 3] - found)), 0.0, places=1)

    def test_reconstruction(self):
        import numpy as np

        volume, array = self.makeVolume()
        volume.GetDisplayNode().SetAutoWindowLevel(False)
        volume.GetDisplayNode().SetWindowLevelMinMax(0, 160)
        reference = slicer.util.addVolumeFromArray((array * 0.5 + 1).astype(np.float32), name="Reference")
        matrix = vtk.vtkMatrix4x4()
        volume.GetIJKToRASMatrix(matrix)
        reference.SetIJKToRASMatrix(matrix)
        widget = self.makeTaskWidget("reconstruction", volume)
        widget.ui.differenceCheckBox.checked = True
        widget.ui.referenceVolumeSelector.setCurrentNode(reference)
        self.apply(widget)
        node = widget._parameterNode.outputVolume
        self.assertIsNotNone(node, widget.ui.statusLabel.text)
        np.testing.assert_allclose(slicer.util.arrayFromVolume(node), array * 0.5, atol=0.01)
        self.assertEqual(node.GetDisplayNode().GetWindowLevelMax(), 160)
        self.assertEqual([row[0] for row in self.cells(widget.ui.resultTable)], ["PSNR [dB]", "SSIM"])
        difference = node.GetNodeReference("MedDL.difference")
        np.testing.assert_allclose(slicer.util.arrayFromVolume(difference), array * -0.5, atol=0.01)
        self.assertEqual(difference.GetDisplayNode().GetLevel(), 0)
        self.assertEqual(widget.ui.overlayComboBox.count, 2)

    def test_uncertaintyAndProbabilities(self):

        widget = self.makeReadyWidget()
        widget.ui.uncertaintyComboBox.setCurrentIndex(1)
        widget.ui.passesSpinBox.value = 4
        widget.ui.probabilitiesCheckBox.checked = True
        self.apply(widget)
        node = widget._parameterNode.outputSegmentation
        self.assertIsNotNone(node, widget.ui.statusLabel.text)
        entropy = node.GetNodeReference("MedDL.entropy")
        values = slicer.util.arrayFromVolume(entropy)
        self.assertTrue(values.min() >= 0 and values.max() <= 1)
        self.assertEqual(entropy.GetDisplayNode().GetWindow(), 1.0)
        self.assertIsNotNone(slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(entropy))
        probability = slicer.util.arrayFromVolume(node.GetNodeReference("MedDL.probability"))
        bright = slicer.util.arrayFromVolume(self.volume) > 110
        self.assertGreater(float(probability[bright].min()), 0.9)
        headings = [widget.ui.resultTable.horizontalHeaderItem(index).text() for index in range(4)]
        self.assertEqual(headings, ["Structure", "Volume [ml]", "From [ml]", "To [ml]"])
        self.assertTrue(widget.ui.resultSentenceLabel.text)
        widget.ui.overlayComboBox.setCurrentIndex(1)
        for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
            self.assertEqual(composite.GetForegroundVolumeID(), entropy.GetID())
        layout = slicer.app.layoutManager()
        if layout is not None:
            renderers = layout.sliceWidget("Red").sliceView().renderWindow().GetRenderers()
            shown = [prop.GetClassName() for renderer in renderers for prop in renderer.GetViewProps()]
            self.assertIn("vtkSlicerScalarBarActor", shown)
        widget.ui.overlayComboBox.setCurrentIndex(0)

    def test_severalImages(self):
        import numpy as np

        first, array = self.makeVolume("Patient A sequence")
        second, _array = self.makeVolume("Patient B sequence")
        widget = self.makeTaskWidget("segmentation", first, channels=2)
        self.assertIs(widget._parameterNode.inputVolume, first)
        self.assertIs(widget._parameterNode.otherInputs[0], second)  # known by its name
        selector = widget.inputs._selectors[0]
        self.assertIs(selector.currentNode(), second)
        self.assertEqual(widget.inputs._overlapLabels[0].text, "covers 100 % of A")
        matrix = vtk.vtkMatrix4x4()
        second.GetIJKToRASMatrix(matrix)
        near = matrix.GetElement(0, 3)
        matrix.SetElement(0, 3, near + 1000)
        second.SetIJKToRASMatrix(matrix)
        selector.setCurrentNode(None)
        self.assertIn("an image for B", widget.ui.applyButton.toolTip)
        selector.setCurrentNode(second)
        self.assertFalse(widget.ui.applyButton.enabled)
        self.assertIn("B does not overlap with A", widget.ui.applyButton.toolTip)
        matrix.SetElement(0, 3, near)
        second.SetIJKToRASMatrix(matrix)
        selector.setCurrentNode(None)
        selector.setCurrentNode(second)
        self.apply(widget)
        node = widget._parameterNode.outputSegmentation
        self.assertIsNotNone(node, widget.ui.statusLabel.text)
        found = slicer.util.arrayFromSegmentBinaryLabelmap(node, node.GetSegmentation().GetNthSegmentID(0), first)
        np.testing.assert_array_equal(found > 0, 2 * array.astype(int) > 100)

    def test_comparedWithAReference(self):
        widget = self.makeReadyWidget()
        reference = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Expert")
        reference.SetReferenceImageGeometryParameterFromVolumeNode(self.volume)
        reference.CreateDefaultDisplayNodes()
        identifier = reference.GetSegmentation().AddEmptySegment("brain", "Brain")
        truth = (slicer.util.arrayFromVolume(self.volume) > 100).astype("uint8")
        slicer.util.updateSegmentBinaryLabelmapFromArray(truth, reference, identifier, self.volume)
        widget.ui.referenceSegmentationSelector.setCurrentNode(reference)
        self.apply(widget)
        self.waitForEnd(widget)
        cells = self.cells(widget.ui.evaluationTable)
        self.assertEqual(len(cells), 1, widget.ui.statusLabel.text)
        self.assertEqual(cells[0][:2], ["Brain", "1.000"])
        self.assertIn("Done", widget.ui.statusLabel.text)

    def makeSequence(self, count=3):
        """Return a sequence of volumes with a block that grows, shown by a proxy volume, and its arrays."""
        import numpy as np

        sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "Beating")
        sequence.SetIndexName("time")
        sequence.SetIndexUnit("s")
        arrays = []
        for index in range(count):
            array = np.full((12, 14, 16), 20, np.int16)
            array[3:6, 4:8, 2 : 6 + 2 * index] = 200
            node = self.addVolume(array, "frame")
            sequence.SetDataNodeAtValue(node, str(0.5 * index))
            slicer.mrmlScene.RemoveNode(node)
            arrays.append(array)
        from meddl_slicer import sequences

        browser = sequences.show(sequence)
        slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
        return sequence, browser, arrays

    def test_eachFrameOfASequence(self):
        import numpy as np

        _sequence, browser, arrays = self.makeSequence()
        proxy = browser.GetProxyNode(browser.GetMasterSequenceNode())
        widget = self.makeWidget()
        widget.ui.inputSelector.setCurrentNode(proxy)
        self.selectModel(widget)
        self.assertFalse(widget.ui.framesComboBox.isHidden())
        widget.ui.framesComboBox.setCurrentIndex(widget.ui.framesComboBox.findData("each"))
        for _run in range(2):
            self.apply(widget)
            node = widget._parameterNode.outputSegmentation
            self.assertIsNotNone(node, widget.ui.statusLabel.text)
            for index, array in enumerate(arrays):
                browser.SetSelectedItemNumber(index)
                slicer.app.processEvents()
                segment = node.GetSegmentation().GetNthSegmentID(0)
                found = slicer.util.arrayFromSegmentBinaryLabelmap(node, segment, proxy)
                np.testing.assert_array_equal(found > 0, array > 100)
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSequenceNode"), 2)
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode"), 1)
        cells = self.cells(widget.ui.resultTable)
        self.assertEqual([row[0] for row in cells], ["0.0", "0.5", "1.0"])
        widget.ui.resultTable.cellClicked(1, 0)
        self.assertEqual(browser.GetSelectedItemNumber(), 1)

    def test_classesOfEachFrame(self):
        sequence, _browser, _arrays = self.makeSequence()
        widget = self.makeTaskWidget("classification", sequence)
        widget.ui.framesComboBox.setCurrentIndex(widget.ui.framesComboBox.findData("each"))
        self.apply(widget)
        self.assertEqual(widget.ui.resultTable.rowCount, 3, widget.ui.statusLabel.text)
        self.assertEqual(widget.ui.resultTable.item(0, 1).text(), "Dark")

    def test_allFramesAsOneInput(self):
        import numpy as np
        from meddl_slicer.known_model import write_frames_bundle

        sequence, _browser, arrays = self.makeSequence(4)
        widget = self.makeWidget()
        widget.ui.inputSelector.setCurrentNode(sequence)
        self.selectModel(widget)
        widget.ui.framesComboBox.setCurrentIndex(widget.ui.framesComboBox.findData("whole"))
        self.assertEqual(widget.inputs.frames, "one")  # a model of single images
        widget._parameterNode.model = str(write_frames_bundle(self.folder / "frames", 4))
        widget.ui.framesComboBox.setCurrentIndex(widget.ui.framesComboBox.findData("whole"))
        self.assertEqual(widget.inputs.frames, "whole")
        self.apply(widget)
        expected = 1 / (1 + np.exp(-0.1 * (arrays[-1].mean() - arrays[0].mean())))
        cells = self.cells(widget.ui.resultTable)
        self.assertEqual(cells[0][0], "Brighter", widget.ui.statusLabel.text)
        self.assertAlmostEqual(float(cells[0][1]), expected, delta=1e-3)
        for index in range(len(arrays)):  # the other way round
            slicer.util.arrayFromVolume(sequence.GetNthDataNode(index))[:] = arrays[-1 - index]
        self.apply(widget)
        self.assertEqual(self.cells(widget.ui.resultTable)[0][0], "no Brighter", widget.ui.statusLabel.text)

    def test_picture(self):
        import numpy as np

        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "Picture")
        slicer.util.updateVolumeFromArray(node, np.full((1, 20, 24, 3), 200, np.uint8))
        slicer.util.arrayFromVolume(node)[0, :5] = 10
        widget = self.makeTaskWidget("segmentation", node)
        self.assertIs(widget._parameterNode.inputVolume, node)
        self.apply(widget)
        result = widget._parameterNode.outputSegmentation
        self.assertIsNotNone(result, widget.ui.statusLabel.text)
        self.assertEqual(float(widget.ui.resultTable.item(0, 1).text()), round(15 * 24 / 1000, 3))

    def test_lackOfMemoryIsToldStepByStep(self):
        import numpy as np
        from meddl.models import ModelBundle, TrustStore
        from meddl_slicer.known_model import write_greedy_bundle

        widget = self.makeReadyWidget()
        model = write_greedy_bundle(self.folder / "greedy", 100.0, 8 * 16 * 16)
        bundle = ModelBundle.open(model)
        TrustStore().record(bundle, origin="self-test")
        try:
            widget._parameterNode.model = str(model)
            self.apply(widget)
        finally:
            TrustStore().revoke(bundle)
        node = widget._parameterNode.outputSegmentation
        self.assertIsNotNone(node, widget.ui.statusLabel.text)
        found = slicer.util.arrayFromSegmentBinaryLabelmap(node, node.GetSegmentation().GetNthSegmentID(0), self.volume)
        np.testing.assert_array_equal(found > 0, slicer.util.arrayFromVolume(self.volume) > 100)
        log = widget.ui.logTextEdit.plainText
        told = [f"going on with smaller windows ({size} voxels)." for size in _SMALLER]
        places = [log.find(sentence) for sentence in told]
        self.assertTrue(all(place >= 0 for place in places), log)
        self.assertEqual(places, sorted(places))
        self.assertTrue(all(any(text in line for line in widget.results.result.sentences) for text in told))

    def test_failureWhileShowingLeavesTheSceneAsItWas(self):
        from unittest import mock

        widget = self.makeReadyWidget()
        self.apply(widget)
        node = widget._parameterNode.outputSegmentation
        names = self.nodeNames()
        volume = float(widget.ui.resultTable.item(0, 1).text())
        slicer.util.arrayFromVolume(self.volume)[:] += 30
        self.volume.Modified()
        widget._parameterNode.options.probabilities = True
        with mock.patch("meddl_slicer.maps.volume_node", side_effect=RuntimeError("no room")):
            self.apply(widget)
        self.assertIn("no room", widget.ui.statusLabel.text)
        self.assertEqual(
            names, [one.GetName() for one in slicer.util.getNodesByClass("vtkMRMLNode") if one is not None]
        )
        self.assertEqual(float(widget.ui.resultTable.item(0, 1).text()), volume)
        self.assertEqual(node.GetSegmentation().GetNumberOfSegments(), 1)
        self.apply(widget)
        self.assertGreater(float(widget.ui.resultTable.item(0, 1).text()), volume)

    def test_cancelWhileTheResultIsShown(self):
        from unittest import mock

        _sequence, browser, _arrays = self.makeSequence(5)
        widget = self.makeWidget()
        widget.ui.inputSelector.setCurrentNode(browser.GetProxyNode(browser.GetMasterSequenceNode()))
        self.selectModel(widget)
        widget.ui.framesComboBox.setCurrentIndex(widget.ui.framesComboBox.findData("each"))
        before = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")
        with mock.patch("meddl_slicer.stepwise.STEPS_MS", 0.001):
            widget.ui.applyButton.click()
            self.waitFor(lambda: widget.jobPanel._applying is not None)
            slicer.app.processEvents()
            widget.ui.cancelButton.click()
        self.assertFalse(widget.jobPanel.isRunning)
        self.assertEqual(widget.ui.statusLabel.text, "Cancelled.")
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode"), before)
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSequenceNode"), 1)
        self.apply(widget)
        self.assertEqual(widget.ui.resultTable.rowCount, 5, widget.ui.statusLabel.text)


_SMALLER = ("16 x 32 x 32", "16 x 16 x 32", "16 x 16 x 16", "8 x 16 x 16")
