"""Self-tests of explanations: from Explain to maps in the views, tables, and back with the scene."""

import logging

import slicer


class ExplainTests:
    """The test methods; see self_test.py for what they are made of."""

    def test_mapLiesWhereTheModelLooks(self):
        import numpy as np
        from meddl_slicer import provenance

        widget = self.makeReadyWidget()
        gap = self.explain(widget)
        logging.info(f"Longest gap of the main thread: {gap * 1000:.0f} ms")
        node = widget._parameterNode.map
        self.assertIsNotNone(node, widget.ui.statusLabel.text)
        values, bright = slicer.util.arrayFromVolume(node), self.array > 100
        # The model adds up the brightness of what it calls brain: that is its explanation.
        np.testing.assert_allclose(values[bright], self.array[bright], rtol=1e-4)
        self.assertEqual(float(np.abs(values[~bright]).max()), 0.0)
        self.assertEqual(node.GetAttribute("MedDL.Model"), "Threshold (self-test)")
        self.assertIn("input_x_gradient", str(provenance.read(node)))
        self.assertIn("Done", widget.ui.statusLabel.text)
        self.assertIn("Brain", widget.ui.resultSentenceLabel.text)
        self.assertEqual(node.GetNodeReference("MedDL.source"), self.volume)
        self.assertTrue(widget.ui.applyButton.enabled)

    def test_mapIsTransparentAroundZero(self):
        widget = self.makeReadyWidget()
        self.explain(widget)
        node = widget._parameterNode.map
        table = node.GetDisplayNode().GetColorNode()
        low, high = (node.GetDisplayNode().GetWindowLevelMin(), node.GetDisplayNode().GetWindowLevelMax())
        self.assertAlmostEqual(low, -high, places=3)
        lookup, middle = table.GetLookupTable(), table.GetNumberOfColors() // 2
        self.assertEqual(lookup.GetTableValue(middle)[3], 0.0)
        self.assertEqual(lookup.GetTableValue(0)[3], 1.0)
        widget.ui.thresholdSlider.value = 80
        shown = [lookup.GetTableValue(index)[3] for index in range(table.GetNumberOfColors())]
        self.assertAlmostEqual(sum(shown) / len(shown), 0.2, delta=0.02)
        legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(node)
        self.assertTrue(legend.GetVisibility())
        self.assertIn("Brain", legend.GetTitleText())

    def test_valueAtTheCursor(self):
        widget = self.makeReadyWidget()
        self.explain(widget)
        crosshair = self.makeCrosshair()
        crosshair.SetCursorPositionRAS(self.placeOf(self.volume, (12, 10, 9)))
        self.assertIn(f"{self.array[9, 10, 12]:.3g}", widget.ui.valueLabel.text)
        crosshair.SetCursorPositionRAS((900.0, 900.0, 900.0))
        self.assertIn("Scale", widget.ui.valueLabel.text)

    def test_crosshairExplainsOneVoxel(self):
        import numpy as np

        from MedDLSaliencyLib.parameters import Place

        widget = self.makeReadyWidget()
        widget._parameterNode.place = Place.CROSSHAIR
        place = self.placeOf(self.volume, (3, 4, 5))
        self.makeCrosshair().SetCrosshairRAS(place)
        widget.question.showCrosshair()
        self.assertIn(f"R {place[0]:.1f}", widget.ui.crosshairLabel.text)
        self.explain(widget)
        values = slicer.util.arrayFromVolume(widget._parameterNode.map)
        self.assertEqual([index.tolist() for index in np.nonzero(values)], [[5], [4], [3]])

    def test_regionExplainsThatPart(self):
        import numpy as np

        from MedDLSaliencyLib.parameters import Place

        widget = self.makeReadyWidget()
        roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Region")
        low, high = (self.placeOf(self.volume, index) for index in ((2, 3, 4), (6, 6, 6)))
        matrix = self.volumeAxes()
        roi.SetAndObserveObjectToNodeMatrix(matrix)
        roi.SetCenter([(a + b) / 2 for a, b in zip(low, high, strict=True)])
        roi.SetSize(1.5 * 4.2, 1.5 * 3.2, 2.0 * 2.2)
        widget._parameterNode.place = Place.REGION
        self.assertIn("a region", widget.ui.applyButton.toolTip)
        widget._parameterNode.region = roi
        self.explain(widget)
        values = slicer.util.arrayFromVolume(widget._parameterNode.map)
        expected = np.zeros_like(values, bool)
        expected[4:7, 3:7, 2:7] = True
        np.testing.assert_array_equal(values != 0, expected)
        block = np.zeros_like(expected)
        block[1:3, 2:4, 3:5] = True
        hidden = np.zeros_like(expected)
        hidden[15:17, 2:4, 3:5] = True
        segmentation = self.makeSegmentation(self.volume, {"Here": block, "Not here": hidden})
        segmentation.GetDisplayNode().SetSegmentVisibility("Not here", False)
        widget._parameterNode.region = segmentation
        self.explain(widget)
        values = slicer.util.arrayFromVolume(widget._parameterNode.map)
        np.testing.assert_array_equal(values != 0, block)

    def test_eachTaskCanBeExplained(self):
        import numpy as np

        widget = self.makeReadyWidget(("saliency",))
        volume, place = self.makeSpot("Spot")
        widget.ui.inputSelector.setCurrentNode(volume)
        for task, kind in (("classification", "class"), ("detection", "box"), ("landmarks", "landmark"),
                           ("reconstruction", "image")):  # fmt: skip
            widget._parameterNode.model = self.makeKnownModel(task)
            self.assertEqual(widget.question.kind(), kind)
            self.explain(widget)
            values = slicer.util.arrayFromVolume(widget._parameterNode.map)
            self.assertGreater(float(np.abs(values).max()), 0.0, task)
            if kind in ("box", "landmark"):
                peak = np.array(np.unravel_index(np.abs(values).argmax(), values.shape))[::-1]
                np.testing.assert_allclose(self.placeOf(volume, peak), place, atol=2.1)

    def test_classIsChosenByName(self):
        import numpy as np

        widget = self.makeReadyWidget(("saliency",))
        widget._parameterNode.model = self.makeKnownModel("classification")
        self.assertEqual([widget.ui.targetComboBox.itemText(n) for n in (1, 2)], ["Dark", "Bright"])
        self.assertTrue(widget.ui.placeComboBox.isHidden())
        self.chooseMethods(widget, "input_x_gradient")
        signs = []
        for index in (1, 2):
            widget.ui.targetComboBox.setCurrentIndex(index)
            widget.question._onTarget(index)  # what choosing by hand does
            self.explain(widget)
            signs.append(float(np.sign(slicer.util.arrayFromVolume(widget._parameterNode.map).sum())))
        self.assertEqual(signs, [-1.0, 1.0])
        self.assertEqual(widget.ui.mapComboBox.count, 2)  # another question keeps the former map

    def test_anatomyAndMeasures(self):
        import numpy as np

        widget = self.makeReadyWidget()
        upper = np.zeros(self.array.shape, bool)
        upper[6:13, 5:16, 8:13] = True
        outside = np.zeros_like(upper)
        outside[16:19, 2:8, 2:8] = True
        parameters = widget._parameterNode
        parameters.segmentation = self.makeSegmentation(self.volume, {"Half": upper, "Elsewhere": outside})
        parameters.truth = self.makeSegmentation(self.volume, {"Block": self.array > 100}, "Truth")
        parameters.measures = ["deletion", "pointing_game"]
        parameters.counterfactual = True
        self.explain(widget)
        table = widget.ui.anatomyTable
        rows = {table.item(row, 0).text(): float(table.item(row, 1).text()) for row in range(table.rowCount)}
        inside = self.array[upper].sum() / self.array[self.array > 100].sum()
        self.assertAlmostEqual(rows["Half"], 100 * inside, delta=1.0)
        self.assertEqual(rows["Elsewhere"], 0.0)
        self.assertIn("outside all", rows)
        self.assertIn("%", widget.ui.anatomySentenceLabel.text)
        without = widget.maps.view().counterfactuals
        self.assertEqual(len(without), 2)
        self.assertIn(without[0]["sentence"], widget.ui.anatomySentenceLabel.text)
        measures = widget.ui.measuresTable
        names = [measures.item(row, 0).text() for row in range(measures.rowCount)]
        self.assertEqual(names, ["deletion", "pointing game"])
        self.assertEqual(float(measures.item(1, 1).text()), 1.0)
        self.assertIn("Pointing game", widget.ui.measuresTextLabel.text)
        self.assertFalse(widget.ui.curvesButton.isHidden())
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLPlotChartNode"), 1)

    def test_sameQuestionReplacesTheMap(self):
        widget = self.makeReadyWidget(("input_x_gradient", "saliency"))
        self.explain(widget)
        first = widget._parameterNode.map
        widget.ui.thresholdSlider.value = 40
        self.explain(widget)
        self.assertIs(widget._parameterNode.map, first)
        self.assertEqual(widget.ui.mapComboBox.count, 2)
        self.assertEqual(widget.ui.thresholdSlider.value, 40)
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode"), 3)

    def test_twoMapsBesideEachOther(self):
        widget = self.makeReadyWidget(("input_x_gradient", "saliency"))
        views = self.makeViews()
        self.explain(widget)
        maps = [slicer.mrmlScene.GetNodeByID(widget.ui.mapComboBox.itemData(n)) for n in range(2)]
        first = widget._parameterNode.map
        self.assertEqual({view.GetForegroundVolumeID() for view in views.values()}, {first.GetID()})
        other = next(node for node in maps if node is not first)
        widget._parameterNode.otherMap = other
        self.assertEqual(views["Red"].GetForegroundVolumeID(), first.GetID())
        self.assertEqual(views["Red+"].GetForegroundVolumeID(), other.GetID())
        self.assertEqual(views["Red+"].GetBackgroundVolumeID(), self.volume.GetID())
        widget._parameterNode.otherMap = None
        self.assertEqual(views["Red"].GetForegroundVolumeID(), first.GetID())
        widget._parameterNode.opacity = 0.25
        self.assertEqual(views["Red"].GetForegroundOpacity(), 0.25)
        widget.ui.showMapButton.checked = False
        self.assertFalse(views["Red"].GetForegroundVolumeID())

    def test_topPercentIn3D(self):
        import numpy as np

        widget = self.makeReadyWidget()
        self.explain(widget)
        widget._parameterNode.topPercent = 10.0
        widget.ui.show3DButton.checked = True
        node = widget._parameterNode.map
        logic = slicer.modules.volumerendering.logic()
        display = logic.GetFirstVolumeRenderingDisplayNode(node)
        self.assertTrue(display.GetVisibility())
        opacity = display.GetVolumePropertyNode().GetVolumeProperty().GetScalarOpacity()
        values = slicer.util.arrayFromVolume(node)
        visible = np.array([opacity.GetValue(float(value)) > 0 for value in values[values > 0]])
        self.assertAlmostEqual(float(visible.mean()), 0.10, delta=0.02)
        self.assertEqual(opacity.GetValue(0.0), 0.0)
        legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(display)
        self.assertEqual(display.GetColorNodeID(), node.GetDisplayNode().GetColorNodeID())
        self.assertAlmostEqual(display.GetScalarRange()[1], widget.maps.view().greatest, places=3)
        slicer.util.arrayFromVolume(self.volume)[:] *= 2
        slicer.util.arrayFromVolumeModified(self.volume)
        self.explain(widget)  # the same map with other values: the rendering and its scale go along
        self.assertIs(widget._parameterNode.map, node)
        opacity = display.GetVolumePropertyNode().GetVolumeProperty().GetScalarOpacity()
        values = slicer.util.arrayFromVolume(node)
        visible = np.array([opacity.GetValue(float(value)) > 0 for value in values[values > 0]])
        self.assertAlmostEqual(float(visible.mean()), 0.10, delta=0.02)
        self.assertAlmostEqual(display.GetScalarRange()[1], widget.maps.view().greatest, places=3)
        widget.ui.show3DButton.checked = False
        self.assertFalse(display.GetVisibility())
        rendered = display.GetVolumePropertyNode()
        slicer.mrmlScene.RemoveNode(node)
        self.waitFor(lambda: rendered.GetScene() is None and legend.GetScene() is None)

    def test_resultComesBackWithTheScene(self):
        widget = self.makeReadyWidget()
        widget._parameterNode.segmentation = self.makeSegmentation(self.volume, {"Block": self.array > 100})
        self.explain(widget)
        widget.ui.thresholdSlider.value = 30
        path = str(self.folder / "scene.mrb")
        self.assertTrue(slicer.util.saveScene(path))
        slicer.mrmlScene.Clear()
        self.assertEqual(widget.ui.mapComboBox.count, 0)
        slicer.util.loadScene(path)
        self.assertEqual(widget.ui.mapComboBox.count, 1)
        self.assertEqual(list(widget._parameterNode.methods), ["input_x_gradient"])
        self.assertEqual(widget.ui.thresholdSlider.value, 30)
        self.assertEqual(widget.ui.anatomyTable.item(0, 0).text(), "Block")
        node = widget._parameterNode.map
        table = node.GetDisplayNode().GetColorNode()
        self.assertIs(node.GetNodeReference("MedDL.colors"), table)
        self.assertEqual(table.GetLookupTable().GetTableValue(table.GetNumberOfColors() // 2)[3], 0.0)

    def test_methodThatFailsLeavesTheOthersTheirMaps(self):
        widget = self.makeReadyWidget(("input_x_gradient", "occlusion"))
        widget._parameterNode.options.memory = 1  # too little for any gradient
        self.waitForMethods(widget)
        self.explain(widget)
        self.assertEqual(widget.ui.mapComboBox.count, 1)
        self.assertIn("Occlusion", widget.results.view.title)
        self.assertIn("No map of Input times gradient: ", widget.ui.statusLabel.text)
        self.chooseMethods(widget, "input_x_gradient")
        self.explain(widget)
        self.assertNotIn("Done", widget.ui.statusLabel.text)
        self.assertEqual(widget.ui.mapComboBox.count, 1)

    def test_reportIsWritten(self):
        widget = self.makeReadyWidget(("input_x_gradient", "saliency"))
        widget._parameterNode.segmentation = self.makeSegmentation(self.volume, {"Block": self.array > 100})
        self.explain(widget)
        path = self.folder / "why <1>.html"
        widget.report.askForFile = lambda: str(path)
        widget.ui.reportButton.click()
        self.waitForEnd(widget)
        self.assertIn("written", widget.ui.statusLabel.text)
        page = path.read_text(encoding="utf-8")
        for text in (widget.results.view.title, "Threshold (self-test)", "Block", "Brain"):
            self.assertIn(text.casefold(), page.casefold())
        self.assertNotIn("<script", page)

    def test_answerComesAlong(self):
        widget = self.makeReadyWidget()
        widget._parameterNode.withAnswer = True
        for _run in range(2):
            self.explain(widget)
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode"), 1)
        self.assertTrue(widget._parameterNode.answer.IsA("vtkMRMLSegmentationNode"))

    def test_logicNeedsNoPanel(self):
        from MedDLSaliencyLib.logic import MedDLSaliencyLogic

        logic, model = MedDLSaliencyLogic(), self.makeModel()
        volume, array = self.makeVolume()
        self.makeCrosshair().SetCrosshairRAS(self.placeOf(volume, (12, 10, 9)))
        target = logic.target(model, "Brain", "crosshair", inputVolume=volume)
        node, other = logic.process(volume, model, ["input_x_gradient", "saliency"], target)
        values = slicer.util.arrayFromVolume(node)
        self.assertAlmostEqual(float(values.sum()), float(array[9, 10, 12]), delta=0.1)
        self.assertIsNot(node, other)
