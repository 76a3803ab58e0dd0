"""Self-tests of the panel's choices: cases, labels, what is missing, the scene."""

import qt
import slicer


class PanelTests:
    """The test methods; see self_test.py for what they are made of."""

    def test_casesOfTheScene(self):
        volumes = self.makeCases(3)
        widget = self.makeWidget()
        widget.cases.addFromScene()
        headings, cells = self.headings(widget.ui.casesTable), self.cells(widget.ui.casesTable)
        self.assertEqual(headings[4:6], ["image", "Label"])
        self.assertEqual([row[0] for row in cells], ["CT 1", "CT 2", "CT 3"])
        self.assertIn("Patient^1", cells[0][1])
        self.assertEqual([row[5] for row in cells], ["Labels 1", "Labels 2", "Labels 3"])
        self.assertIn("3 of 3 cases", widget.ui.casesSummaryLabel.text)
        widget.cases.addFromScene()
        self.assertEqual(widget.ui.casesTable.rowCount, 3)
        self.waitFor(lambda: len(widget.session.known.pictures) == 3, 10)
        self.assertFalse(widget.ui.casesTable.item(2, 0).icon().isNull())
        slicer.mrmlScene.RemoveNode(volumes[1])
        self.assertEqual(widget.ui.casesTable.item(1, 4).text(), "(removed)")
        self.assertIn("still in the scene", widget.ui.casesTable.item(1, 6).text())

    def test_secondReaderCanBeChecked(self):
        volume = self.makeCases(1)[0]
        other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Second reader")
        other.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        other.GetSegmentation().AddEmptySegment("Tumor", "Tumor")
        widget = self.makeWidget()
        widget.cases.addFromScene()
        self.assertEqual([row.included for row in widget.session.rows], [True, False])
        item = widget.ui.casesTable.item(1, 0)
        self.assertIsNotNone(item.data(qt.Qt.CheckStateRole))  # there is a box to check
        item.setCheckState(qt.Qt.Checked)
        self.assertTrue(widget.session.rows[1].included)

    def test_emptiedPathsAreNoPaths(self):
        widget = self.makeReadyWidget(1)
        widget.ui.keyPathLineEdit.currentPath = str(self.folder / "key.csv")
        self.assertIsNotNone(widget.session.key)
        widget.ui.keyPathLineEdit.currentPath = ""
        self.assertIsNone(widget.session.key)
        self.assertTrue(widget.ui.exportButton.enabled, widget.ui.exportButton.toolTip)
        widget.ui.folderPathLineEdit.currentPath = ""
        self.assertIn("a folder", widget.ui.exportButton.toolTip)

    def test_picturesFollowTheLabels(self):
        from MedDLExportLib.parameters import Task

        self.makeCases(1)
        widget = self.makeWidget()
        widget.cases.addFromScene()
        pictures = widget.session.known.pictures
        self.waitFor(lambda: len(pictures) == 1, 10)
        ((key, before),) = pictures.items()
        widget._parameterNode.task = Task.DETECTION
        widget.cases.relabel()  # there are no boxes: the image alone
        self.waitFor(lambda: len(widget.session.known.pictures) == 1, 10)
        self.assertFalse((widget.session.known.pictures[key] == before).all())

    def test_nothingToExport(self):
        widget = self.makeWidget()
        widget.cases.addFromScene()
        self.assertIn("no images", widget.ui.statusLabel.text)
        for button in (widget.ui.exportButton, widget.ui.dryRunButton):
            self.assertFalse(button.enabled)
            self.assertIn("a case with a check mark", button.toolTip)
            self.assertIn("a folder", button.toolTip)
        self.assertFalse(widget.ui.checkButton.enabled)
        self.assertTrue(widget.ui.selectedFrame.isHidden())

    def test_editingCases(self):
        self.makeCases(3)
        widget = self.makeWidget()
        widget.cases.addFromScene()
        table = widget.ui.casesTable
        table.item(0, 0).setText("First")
        table.item(1, 0).setText("First")  # taken: stays as it was
        self.assertEqual([row.name for row in widget.session.rows], ["First", "CT 2", "CT 3"])
        self.assertEqual(table.item(1, 0).text(), "CT 2")
        table.selectAll()
        table.item(1, 2).setText("Hospital B")
        self.assertEqual([row.site for row in widget.session.rows], ["Hospital B"] * 3)
        table.item(0, 0).setCheckState(qt.Qt.Unchecked)
        self.assertEqual([row.included for row in widget.session.rows], [False] * 3)
        table.clearSelection()
        table.item(2, 0).setCheckState(qt.Qt.Checked)
        self.assertEqual([row.included for row in widget.session.rows], [False, False, True])
        table.selectRow(1)
        self.assertEqual(widget.ui.selectedLabel.text, "CT 2")
        self.assertEqual(widget.ui.labelSelector.currentNode().GetName(), "Labels 2")
        widget.ui.splitComboBox.setCurrentIndex(widget.ui.splitComboBox.findData("test"))
        widget.cases.editor._onSplit(widget.ui.splitComboBox.currentIndex)
        self.assertEqual(table.item(1, 3).text(), "Test")
        widget.ui.labelSelector.setCurrentNode(None)
        self.assertEqual(table.item(1, 5).text(), "")
        widget.ui.removeCasesButton.click()
        self.assertEqual([row.name for row in widget.session.rows], ["First", "CT 3"])

    def test_channels(self):
        volumes = self.makeCases(2)
        widget = self.makeWidget()
        widget.cases.addFromScene()
        widget.ui.channelsLineEdit.text = "CT, PET"
        widget.cases._onChannels()
        self.assertEqual(self.headings(widget.ui.casesTable)[4:6], ["CT", "PET"])
        self.assertIn("an image for each channel", widget.ui.casesTable.item(0, 7).text())
        widget.ui.casesTable.selectRow(0)
        widget.cases.editor._selectors["PET"].setCurrentNode(volumes[1])
        self.assertEqual(widget.ui.casesTable.item(0, 5).text(), "CT 2")
        widget.ui.channelsLineEdit.text = "CT"
        widget.cases._onChannels()
        self.assertEqual(list(widget.session.rows[0].images), ["CT"])

    def test_classesAndBoxes(self):
        volumes = self.makeCases(2)
        widget = self.makeWidget()
        parameters = widget._parameterNode
        parameters.task = type(parameters.task).CLASSIFICATION
        widget.cases.addFromScene()
        table = widget.ui.casesTable
        table.item(0, 5).setText("Healthy")
        self.assertEqual(widget.session.rows[0].task, "classification")
        table.selectRow(1)
        self.assertFalse(widget.ui.classLineEdit.isHidden())
        widget.cases.removeSelected()
        table.selectAll()
        widget.cases.removeSelected()
        roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Nodule")
        bounds = [0.0] * 6
        volumes[1].GetRASBounds(bounds)
        roi.SetCenter(*(sum(bounds[2 * axis : 2 * axis + 2]) / 2 for axis in range(3)))
        roi.SetSize(5, 5, 5)
        parameters.task = type(parameters.task).SEGMENTATION
        widget.cases.addFromScene()
        self.assertEqual([row.task for row in widget.session.rows], ["segmentation"] * 2)
        parameters.task = type(parameters.task).DETECTION
        self.assertIn("cases whose labels are for the task", widget.ui.exportButton.toolTip)
        widget.cases.relabel()  # what choosing by hand does
        self.assertIn("Nodule", [table.item(row, 5).text() for row in range(table.rowCount)])

    def test_parametersArePartOfTheSceneWithoutNames(self):
        widget = self.makeReadyWidget(2)
        table = widget.ui.casesTable
        table.item(0, 1).setText("Erika Mustermann")
        table.item(1, 1).setText("Erika Mustermann")
        table.item(0, 2).setText("Hospital A")
        widget.ui.keyPathLineEdit.currentPath = str(self.folder / "hidden_key.csv")
        widget._parameterNode.dataset.name = "Livers"
        path = self.folder / "scene.mrml"
        slicer.mrmlScene.SetURL(str(path))
        self.assertTrue(slicer.mrmlScene.Commit(str(path)))
        text = path.read_text()
        for secret in ("Mustermann", "hidden_key"):
            self.assertNotIn(secret, text)
        self.assertTrue(slicer.util.saveScene(str(self.folder / "scene.mrb")))
        slicer.mrmlScene.Clear()
        self.assertEqual(table.rowCount, 0)
        self.assertEqual(widget._parameterNode.dataset.name, "Dataset")
        slicer.util.loadScene(str(self.folder / "scene.mrb"))
        self.assertEqual(widget._parameterNode.dataset.name, "Livers")
        rows = widget.session.rows
        self.assertEqual([row.name for row in rows], ["CT 1", "CT 2"])
        self.assertEqual([row.site for row in rows], ["Hospital A", ""])
        self.assertEqual([node.GetName() for node in rows[0].nodes], ["CT 1", "Labels 1"])
        self.assertTrue(all(node.GetScene() is slicer.mrmlScene for row in rows for node in row.nodes))

    def test_fiftyCases(self):
        import time

        self.makeCases(50)
        widget = self.makeWidget()
        before = time.process_time()  # of this process: the machine may have other things to do
        widget.cases.addFromScene()
        self.assertLess(time.process_time() - before, 10)
        self.assertEqual(widget.ui.casesTable.rowCount, 50)
        longest = 0.0
        while len(widget.session.known.pictures) < 50:
            before = time.process_time()
            widget.cases._drawNext()  # what the timer does
            longest = max(longest, time.process_time() - before)
        self.assertLess(longest, 0.5)

    def test_optionsShowWhatGoesWithThem(self):
        from MedDLExportLib.parameters import Crop, Deface

        widget = self.makeReadyWidget(2)
        parameters = widget._parameterNode
        for name in ("geometry", "split", "deidentify"):
            getattr(widget.ui, f"{name}CollapsibleButton").collapsed = False
        self.assertTrue(widget.ui.cropROISelector.isHidden())
        parameters.grid.crop = Crop.ROI
        self.assertFalse(widget.ui.cropROISelector.isHidden())
        self.assertIn("a region", widget.ui.exportButton.toolTip)
        parameters.grid.crop = Crop.NONE
        parameters.grid.resample = True
        self.assertTrue(widget.ui.spacingISpinBox.enabled)
        self.assertTrue(widget.ui.reviewPathLineEdit.isHidden())
        parameters.deidentify.deface = Deface.BRAIN
        self.assertFalse(widget.ui.reviewPathLineEdit.isHidden())
        parameters.split.validation, parameters.split.test = 60, 40
        self.assertIn("patients to train with", widget.ui.exportButton.toolTip)
        self.chooseFormat(widget, "classification")
        self.assertIn("a format that holds such labels", widget.ui.exportButton.toolTip)
        self.assertTrue(widget.ui.numberSpinBox.isHidden())

    def test_keyInsideTheDatasetIsRefused(self):
        widget = self.makeReadyWidget(1)
        widget.ui.keyPathLineEdit.currentPath = str(widget.session.datasetFolder() / "key.csv")
        self.assertIn("a key file outside of the dataset", widget.ui.exportButton.toolTip)
