"""Self-tests of what the panel does with cases: checking, labels, dry run, export, cancel, verifying."""

import logging

import slicer


class ExportTests:
    """The test methods; see self_test.py for what they are made of."""

    def test_checkAndLabels(self):
        widget = self.makeReadyWidget(3)
        self.press(widget, widget.ui.checkButton)
        self.assertEqual(widget.ui.qualityTable.rowCount, 3, widget.ui.statusLabel.text)
        table = widget.ui.labelsTable
        self.assertEqual(sorted(table.item(row, 1).text() for row in range(2)), ["Core", "Organ"])
        first, second = (table.item(row, 1).text() for row in range(2))
        table.selectRow(0)
        self.assertFalse(widget.ui.labelUpButton.enabled)
        widget.ui.labelDownButton.click()
        self.assertEqual([table.item(row, 1).text() for row in range(2)], [second, first])
        table.item(0, 1).setText("Renamed")
        self.assertEqual(widget.session.scheme.structures[0].name, "Renamed")
        table.selectRow(1)
        widget.ui.labelDropButton.click()
        self.assertEqual(table.item(1, 0).text(), "out")
        table.selectRow(1)
        self.assertEqual(widget.ui.labelDropButton.text, "Take in")
        widget.ui.labelDropButton.click()
        table.selectAll()
        widget.ui.labelMergeButton.click()
        self.assertEqual(table.rowCount, 1)
        widget.labels.save(str(self.folder / "labels.json"))
        widget.session.setScheme(None)
        self.assertEqual(table.rowCount, 2)
        widget.labels.load(str(self.folder / "labels.json"))
        self.assertEqual(table.rowCount, 1)

    def test_dryRunWritesNothing(self):
        widget = self.makeReadyWidget(2)
        self.press(widget, widget.ui.dryRunButton)
        text = widget.ui.resultTextEdit.plainText
        self.assertIn("2 cases of 2 patients", text, widget.ui.statusLabel.text)
        self.assertIn("Nothing was written.", text)
        self.assertFalse((self.folder / "dataset").exists())

    def test_exportAndVerify(self):
        import json

        import numpy as np

        widget = self.makeReadyWidget(3)
        key = self.folder / "key.csv"
        widget.ui.keyPathLineEdit.currentPath = str(key)
        gap = self.press(widget, widget.ui.exportButton)
        self.assertIn("Cases written: 3", widget.ui.resultLabel.text, widget.ui.statusLabel.text)
        self.assertIn("It is complete", widget.ui.resultLabel.text, widget.ui.resultTextEdit.plainText)
        logging.info(f"Longest gap of the main thread: {gap * 1000:.0f} ms")
        root = widget.session.datasetFolder()
        self.assertEqual(json.loads((root / "dataset.json").read_text())["numTraining"], 3)
        self.assertIn("Patient^1", key.read_text(encoding="utf-8-sig"))
        for path in root.rglob("*"):
            self.assertNotIn("Patient^", str(path))
            if path.suffix in (".json", ".md", ".csv"):
                self.assertNotIn("Patient^", path.read_text())
        self.assertNotIn("Patient^", widget.ui.logTextEdit.plainText)

        first = next(iter(sorted((root / "labelsTr").iterdir())))
        exported = slicer.util.arrayFromVolume(slicer.util.loadVolume(str(first)))
        self.assertEqual(sorted(np.unique(exported)), [0, 1, 2])
        slicer.mrmlScene.RemoveNode(slicer.util.getNode(f"{first.name.split('.')[0]}*"))

        self.press(widget, widget.ui.exportButton)
        self.assertIn("Cases written: 0, there already: 3", widget.ui.resultLabel.text)
        self.press(widget, widget.ui.verifyButton)
        self.assertIn("It is complete", widget.ui.resultLabel.text)
        first.write_bytes(b"damaged")
        self.press(widget, widget.ui.verifyButton)
        self.assertIn("wrong with it", widget.ui.resultLabel.text)
        self.press(widget, widget.ui.exportButton)
        self.assertIn("Cases written: 1, there already: 2", widget.ui.resultLabel.text)

    def test_cancelLeavesAWholeDataset(self):
        widget = self.makeReadyWidget(6)
        widget.ui.exportButton.click()
        self.assertFalse(widget.ui.exportButton.enabled)
        self.assertFalse(widget.ui.casesTable.enabled)
        self.waitForStatus(widget, "Case 2 of 6")
        widget.ui.cancelButton.click()
        self.waitForEnd(widget)
        self.assertIn("Cancelled", widget.ui.statusLabel.text)
        self.assertTrue(widget.ui.exportButton.enabled, widget.ui.exportButton.toolTip)
        self.press(widget, widget.ui.exportButton)
        self.assertIn("It is complete", widget.ui.resultLabel.text, widget.ui.statusLabel.text)

    def test_closingTheSceneStopsTheExport(self):
        widget = self.makeReadyWidget(5)
        widget.ui.exportButton.click()
        self.waitForStatus(widget, "Case 1 of 5")
        slicer.mrmlScene.Clear()
        self.assertFalse(widget.session.isRunning)
        self.assertEqual(widget.ui.casesTable.rowCount, 0)
        self.waitFor(lambda: not widget.jobPanel.isRunning, 10)
        self.assertTrue(widget.ui.resultLabel.isHidden())

    def test_removedCaseIsLeftOutAndTheOthersAreWritten(self):
        widget = self.makeReadyWidget(3)
        self.press(widget, widget.ui.checkButton)
        slicer.mrmlScene.RemoveNode(slicer.util.getNode("CT 2"))
        self.press(widget, widget.ui.exportButton)
        self.assertIn("Cases written: 2", widget.ui.resultLabel.text, widget.ui.statusLabel.text)
        self.assertIn("Left out: 1", widget.ui.resultLabel.text)
        self.assertIn("still in the scene", widget.ui.casesTable.item(1, 6).text())

    def test_plotAndTheWayBack(self):
        widget = self.makeReadyWidget(3)
        self.assertFalse(widget.ui.plotButton.enabled)
        self.press(widget, widget.ui.checkButton)
        layout = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
        before = layout.GetViewArrangement() if layout is not None else None
        for kind in ("spacing", "volumes", "intensity"):
            widget.ui.plotComboBox.setCurrentIndex(widget.ui.plotComboBox.findData(kind))
            widget.ui.plotButton.checked = True
            charts = slicer.util.getNodesByClass("vtkMRMLPlotChartNode")
            self.assertEqual(len(charts), 1)
            self.assertGreater(charts[0].GetNumberOfPlotSeriesNodes(), 1)
        widget.ui.plotButton.click()
        self.assertEqual(slicer.util.getNodesByClass("vtkMRMLPlotChartNode"), [])
        self.assertEqual(layout.GetViewArrangement() if layout is not None else None, before)

    def test_filesOfAFolder(self):
        self.makeCases(2)
        source = self.folder / "source"
        source.mkdir()
        for index in (1, 2):
            slicer.util.saveNode(slicer.util.getNode(f"CT {index}"), str(source / f"head{index}.nii.gz"))
            slicer.util.saveNode(slicer.util.getNode(f"Labels {index}"), str(source / f"head{index}.seg.nrrd"))
        slicer.mrmlScene.Clear()
        widget = self.makeWidget()
        widget.cases.addFiles(str(source))
        self.waitForEnd(widget)
        self.assertEqual(widget.ui.casesTable.rowCount, 2, widget.ui.statusLabel.text)
        widget.ui.folderPathLineEdit.currentPath = str(self.folder / "dataset")
        self.press(widget, widget.ui.exportButton)
        self.assertIn("Cases written: 2", widget.ui.resultLabel.text, widget.ui.statusLabel.text)
        self.assertEqual(len(widget.session.known.pictures), 2)

    def test_boxesPointsClassesAndTargets(self):
        from MedDLExportLib.parameters import Task

        volumes = self.makeCases(2)
        for volume in volumes:
            bounds = [0.0] * 6
            volume.GetRASBounds(bounds)
            center = [sum(bounds[2 * axis : 2 * axis + 2]) / 2 for axis in range(3)]
            roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Nodule")
            roi.SetCenter(*center)
            roi.SetSize(5, 6, 7)
            points = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "Points")
            points.AddControlPoint(*center, "Middle")
            twin = slicer.modules.volumes.logic().CloneVolume(slicer.mrmlScene, volume, f"{volume.GetName()} better")
            for node in (roi, points, twin):
                self.fileUnder(node, "", volume.GetName()[-1])
        widget = self.makeWidget()
        widget.ui.folderPathLineEdit.currentPath = str(self.folder / "dataset")
        for task, form in (
            (Task.DETECTION, "coco"),
            (Task.LANDMARKS, "monai"),
            (Task.CLASSIFICATION, "classification"),
            (Task.RECONSTRUCTION, "monai"),
        ):
            widget.session.remove([row.key for row in widget.session.rows])
            widget._parameterNode.task = task
            self.chooseFormat(widget, form)
            widget.ui.folderPathLineEdit.currentPath = str(self.folder / task.value)
            widget.cases.addFromScene()
            better = [row.key for row in widget.session.rows if row.name.endswith("better")]
            widget.session.remove(better)
            if task is Task.CLASSIFICATION:
                for line in range(2):
                    widget.ui.casesTable.item(line, 5).setText(f"Kind {line}")
            self.press(widget, widget.ui.exportButton)
            self.assertIn("Cases written: 2", widget.ui.resultLabel.text, f"{task}: {widget.ui.statusLabel.text}")
            self.assertIn("It is complete", widget.ui.resultLabel.text, widget.ui.resultTextEdit.plainText)

    def test_everyFormatOfSegmentations(self):
        from meddl.datasets.formats.known import FORMATS, make_format

        widget = self.makeReadyWidget(2)
        widget.ui.channelsLineEdit.text = "T1w"  # BIDS knows images by their contrast
        widget.cases._onChannels()
        for form in FORMATS:
            if "segmentation" in make_format(form).tasks:
                self.chooseFormat(widget, form)
                widget.ui.folderPathLineEdit.currentPath = str(self.folder / form)
                self.press(widget, widget.ui.exportButton)
                self.assertIn(
                    "Cases written: 2", widget.ui.resultLabel.text, f"{form}: {widget.ui.statusLabel.text}"
                )
                self.assertIn("It is complete", widget.ui.resultLabel.text, widget.ui.resultTextEdit.plainText)

    def test_logicWithoutAPanel(self):
        from meddl.datasets import ExportOptions
        from MedDLExport import MedDLExportLogic

        self.makeCases(2)
        logic = MedDLExportLogic()
        work = logic.process(logic.suggest(), self.folder / "dataset", ExportOptions(name="Test"))
        self.assertEqual((len(work.done), work.failed), (2, {}))
        self.assertTrue(work.verification["complete"])
