"""Self-tests of the tab "Generate": tiny generators, trained in a real worker process on tiny datasets made here."""

import logging

import slicer

from MedDLAugmentationLib.generate_test_parts import GenerateTestParts


class GenerateTests(GenerateTestParts):
    """Training: what is missing, how it goes, cancel, continue, closing the scene."""

    def test_generateTellsWhatIsMissing(self):
        tab = self.makeGenerateTab()
        self.assertFalse(tab.ui.trainButton.enabled)
        self.assertIn("the folder of a dataset", tab.ui.trainButton.toolTip)
        self.assertFalse(tab.ui.judgeButton.enabled)
        self.chooseDataset(tab, self.folder)
        self.assertIn("no dataset that MedDL has exported", tab.ui.datasetLabel.text)
        self.assertFalse(tab.ui.trainButton.enabled)
        self.chooseDataset(tab, self.makeDataset())
        self.assertIn("Heads: 3 training cases of 3 patients, 1 held out.", tab.ui.datasetLabel.text)
        self.assertIn("Ball", tab.ui.datasetLabel.text)
        self.assertIn("a name", tab.ui.trainButton.toolTip)
        tab.ui.nameLineEdit.text = "Tiny"
        tab.ui.outputPathLineEdit.currentPath = str(self.folder / "generators")
        self.assertTrue(tab.ui.trainButton.enabled, tab.ui.trainButton.toolTip)
        (self.folder / "generators" / "Tiny").mkdir(parents=True)
        (self.folder / "generators" / "Tiny" / "letter.txt").write_text("mine")
        tab.enter()
        self.assertIn("something else", tab.ui.outputNoteLabel.text)
        self.assertFalse(tab.ui.trainButton.enabled)
        tab.parameters.training.sliceSize = 21
        self.assertIn("24 x 24", tab.ui.sizeTextLabel.text)
        self.assertTrue(tab.ui.patchSizeSpinBox.isHidden())

    def test_trainingShowsHowItGoes(self):
        tab = self.makeTrainingTab(steps=100)  # the panel looks once a second
        self.press(tab.ui.trainButton)
        self.assertFalse(tab.ui.trainButton.enabled)
        self.assertTrue(tab.ui.trainCancelButton.enabled)
        self.assertTrue(tab.ui.plotButton.checked)
        gap = self.waitFor(lambda: tab.train.pictures.training.steps >= 10)
        chart = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLPlotChartNode")
        series = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLPlotSeriesNode")
        self.assertEqual(chart.GetNthPlotSeriesNodeID(0), series.GetID())
        table, before = series.GetTableNode(), series.GetTableNode().GetNumberOfRows()
        self.assertIn("Step", tab.ui.trainStatusLabel.text)
        gap = max(gap, self.waitForTraining(tab))
        logging.info(f"Longest gap of the main thread: {gap * 1000:.0f} ms")
        self.assertIn("Trained: 100 steps", tab.ui.trainStatusLabel.text)
        self.assertGreater(table.GetNumberOfRows(), before)
        self.assertFalse(tab.ui.samplesLabel.isHidden())
        self.assertIn("After 100 steps", tab.ui.samplesTextLabel.text)
        bundle = self.folder / "generators" / "Tiny"
        self.assertEqual(tab.parameters.generator, str(bundle))
        self.assertIn("Ball", tab.ui.generatorDescription.text)
        self.assertIn(str(bundle), self.ownModels())  # MedDL Inference can run it
        self.assertFalse(chart.GetSaveWithScene())
        tab.ui.plotButton.checked = False
        self.assertIsNone(slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLPlotChartNode"))
        # More steps go on from here; other settings do not.
        self.assertEqual(tab.ui.trainButton.text, "Continue")
        tab.parameters.training.steps = 110
        self.press(tab.ui.trainButton)
        self.assertFalse(tab.ui.plotButton.checked)  # who has put the plot away does not want it back
        self.waitForTraining(tab)
        self.assertIn("Trained: 110 steps", tab.ui.trainStatusLabel.text)
        tab.parameters.training.seed = 5
        self.assertIn("with other settings", tab.ui.outputNoteLabel.text)
        self.assertFalse(tab.ui.trainButton.enabled)
        self.press(tab.ui.takeOverButton)
        self.assertEqual(tab.parameters.training.seed, 0)
        self.assertTrue(tab.ui.trainButton.enabled, tab.ui.trainButton.toolTip)
        slicer.mrmlScene.Clear()
        self.assertTrue(tab.ui.plotButton.enabled)  # the losses can still be looked at
        tab.ui.plotButton.checked = True
        self.assertIsNotNone(slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLPlotChartNode"))
        tab.ui.plotButton.checked = False

    def test_cancelKeepsTheLastCheckpoint(self):
        tab = self.makeTrainingTab(steps=100000)
        self.press(tab.ui.trainButton)
        self.waitFor(lambda: tab.train.pictures.training.hasBundle and tab.train.pictures.training.steps >= 20)
        slicer.mrmlScene.Clear()  # the training goes on: it takes nothing from the scene
        self.assertTrue(tab.train.isRunning)
        self.assertFalse(tab.ui.plotButton.checked)
        steps = tab.train.pictures.training.steps
        self.waitFor(lambda: tab.train.pictures.training.steps > steps)
        self.press(tab.ui.trainCancelButton)
        self.waitForTraining(tab)
        self.assertIn("Cancelled after", tab.ui.trainStatusLabel.text)
        self.assertIn("can be used", tab.ui.trainStatusLabel.text)
        self.assertEqual(tab.ui.nameLineEdit.text, "Tiny")  # the new scene was told of it
        self.assertEqual(tab.ui.trainButton.text, "Continue", tab.ui.outputNoteLabel.text)
        self.assertEqual(tab.generator.current().id, str(self.folder / "generators" / "Tiny"))

    def test_choicesComeBackWithTheScene(self):
        from MedDLAugmentationLib.generate_parameters import Kind

        tab = self.makeGenerateTab()
        tab.parameters.training.kind = Kind.GAN
        tab.parameters.making.lesionName = "Metastasis"
        tab.ui.stepsSpinBox.value = 77
        tab.ui.datasetPathLineEdit.currentPath = str(self.folder)
        path = str(self.folder / "scene.mrb")
        self.assertTrue(slicer.util.saveScene(path))
        slicer.mrmlScene.Clear()
        self.assertEqual(tab.ui.stepsSpinBox.value, 1500)
        slicer.util.loadScene(path)
        self.assertEqual(tab.ui.stepsSpinBox.value, 77)
        self.assertEqual(tab.ui.lesionNameLineEdit.text, "Metastasis")
        self.assertIs(tab.parameters.training.kind, Kind.GAN)
        self.assertIn("one step", tab.ui.kindCostLabel.text)
        node = tab.parameters.parameterNode
        values = [node.GetParameter(name) for name in node.GetParameterNames()]
        self.assertFalse([value for value in values if str(self.folder) in value])  # folders may name people
