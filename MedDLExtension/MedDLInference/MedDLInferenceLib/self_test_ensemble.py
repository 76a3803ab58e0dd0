"""Self-tests of the panel: several models in one run, averaged."""

from pathlib import Path

import qt
import slicer


class EnsembleTests:
    """The test methods; see self_test.py for what they are made of."""

    def test_severalModelsAreAveraged(self):
        import numpy as np

        widget, models = self.makeEnsembleWidget(60.0, 100.0, 140.0)
        widget.ui.ensembleCheckBox.click()
        self.assertIn("a second model to average with", widget.ui.applyButton.toolTip)
        self.assertTrue(widget.ui.uncertaintyComboBox.isHidden())  # they tell it by how far they differ
        self.choose(widget, models[1:])
        self.apply(widget)
        node = widget._parameterNode.outputSegmentation
        self.assertIsNotNone(node, widget.ui.statusLabel.text)
        # Of three steps, the middle one decides. Values are whole numbers: none lies on a threshold.
        voxels = slicer.util.arrayFromVolume(self.volume)
        labels = slicer.util.arrayFromSegmentBinaryLabelmap(
            node, node.GetSegmentation().GetSegmentIdBySegmentName("Brain"), self.volume
        )
        clear = np.abs(voxels - 100) > 5
        self.assertTrue(((labels > 0) == (voxels > 100))[clear].all())
        result = widget.results.result
        self.assertIn("From [ml]", result.headings)
        low, high = (float(result.rows[0][result.headings.index(name)]) for name in ("From [ml]", "To [ml]"))
        counts = [float((voxels > threshold).sum()) * 4.5e-3 for threshold in (140, 60)]
        self.assertAlmostEqual(low, counts[0], delta=0.02 * counts[0])
        self.assertAlmostEqual(high, counts[1], delta=0.02 * counts[1])
        self.assertTrue(any("Over 3 models" in text for text in result.sentences), result.sentences)
        self.assertEqual(result.title, "Threshold (self-test) (3 models) 0.1.0")
        entropy = slicer.util.arrayFromVolume(result.maps[0])
        between = (voxels > 70) & (voxels < 90)  # one of three says yes
        self.assertAlmostEqual(float(np.median(entropy[between])), 0.918, delta=0.01)
        self.assertLess(float(np.median(entropy[voxels > 160])), 0.01)
        widget.ui.ensembleCheckBox.click()  # the model alone has no result yet, and leaves that of all alone
        self.assertIsNone(widget._parameterNode.outputSegmentation)
        self.apply(widget)
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode"), 2)
        self.assertEqual(widget.results.result.maps, ())
        widget.ui.ensembleCheckBox.click()
        self.assertIs(widget._parameterNode.outputSegmentation, node)

    def test_severalModelsArePartOfTheScene(self):
        widget, models = self.makeEnsembleWidget(60.0, 140.0)
        widget.ui.ensembleCheckBox.click()
        self.choose(widget, models[1:])
        path = str(self.folder / "scene.mrml")
        slicer.mrmlScene.SetURL(path)
        self.assertTrue(slicer.mrmlScene.Commit(path))
        slicer.mrmlScene.Clear()
        self.assertFalse(widget.ensemble.isOn)
        slicer.mrmlScene.SetURL(path)
        slicer.mrmlScene.Import()
        self.assertTrue(widget.ui.ensembleCheckBox.checked)
        self.assertEqual(widget.ensemble.models(), models)
        widget._parameterNode.otherModels = [str(self.folder / "moved away")]
        self.assertIn("models that can be averaged", widget.ui.applyButton.toolTip)
        self.assertIn("cannot be found", widget.ui.ensembleLabel.text)

    def test_modelsThatDoNotFitAreRefusedBeforeTheRun(self):
        widget, models = self.makeEnsembleWidget(60.0, 140.0)
        sum_of_two = self.own(widget, self.makeKnownModel("segmentation", 2))
        widget._parameterNode.model = models[0]
        widget.ui.ensembleCheckBox.click()
        self.choose(widget, [models[1], sum_of_two])
        self.assertFalse(widget.ui.applyButton.enabled)
        self.assertIn("models that can be averaged", widget.ui.applyButton.toolTip)
        self.assertFalse(widget.ui.ensembleLabel.isHidden())
        self.assertIn("the one takes 1 image, the other 2 images", widget.ui.ensembleLabel.text)
        self.choose(widget, [models[1]])
        self.assertTrue(widget.ui.applyButton.enabled, widget.ui.applyButton.toolTip)
        self.assertTrue(widget.ui.ensembleLabel.isHidden())
        widget._parameterNode.model = self.own(widget, self.makeKnownModel("detection"))
        self.assertTrue(widget.ui.ensembleFrame.isHidden())
        self.assertFalse(widget.ensemble.isOn)

    def test_classesOfSeveralModelsAreAveraged(self):
        widget = self.makeReadyWidget()
        models = [self.own(widget, self.makeKnownModel("classification")) for _count in range(2)]
        widget._parameterNode.model = models[0]
        widget.ui.ensembleCheckBox.click()
        self.choose(widget, models[1:])
        self.apply(widget)
        result = widget.results.result
        self.assertIsNotNone(result, widget.ui.statusLabel.text)
        self.assertTrue(any("Over 2 models" in text for text in result.sentences), result.sentences)
        self.assertEqual(len(result.rows), 2)

    def test_eachModelOfAnEnsembleAsksForTrust(self):
        from meddl.models import ModelBundle, TrustStore

        widget = self.makeReadyWidget()
        models = [self.own(widget, self.makeModel(code=True, threshold=value)) for value in (60.0, 140.0)]
        widget._parameterNode.model = models[0]
        widget.ui.ensembleCheckBox.click()
        self.choose(widget, models[1:])
        asked = []
        widget.apply.askForTrust = lambda error: not asked.append(error.reasons)
        try:
            self.apply(widget)
            self.waitFor(lambda: not widget.jobPanel.isRunning)
            self.assertEqual(len(asked), 2)
            self.assertIsNotNone(widget._parameterNode.outputSegmentation, widget.ui.statusLabel.text)
        finally:
            for model in models:
                TrustStore().revoke(ModelBundle.open(Path(model)))

    def test_batchOfSeveralModelsAveraged(self):
        widget, models = self.makeEnsembleWidget(60.0, 140.0)
        sum_of_two = self.own(widget, self.makeKnownModel("segmentation", 2))
        cases = self.folder / "cases"
        cases.mkdir()
        slicer.util.saveNode(self.volume, str(cases / "first.nrrd"))
        widget.ui.batchCasesPathLineEdit.currentPath = str(cases)
        widget.ui.batchOutputPathLineEdit.currentPath = str(self.folder / "results")
        self.assertFalse(widget.ui.batchEnsembleCheckBox.enabled)
        self.checkRows(widget.ui.batchModelsListWidget, [*models, sum_of_two])
        widget.ui.batchEnsembleCheckBox.click()
        self.assertFalse(widget.ui.batchStartButton.enabled)
        self.assertIn("the one takes 1 image", widget.ui.batchSummaryLabel.text)
        self.checkRows(widget.ui.batchModelsListWidget, models)
        self.assertTrue(widget.ui.batchStartButton.enabled, widget.ui.batchStartButton.toolTip)
        self.assertTrue(widget.ui.batchSummaryLabel.isHidden())
        widget.ui.batchStartButton.click()
        self.waitForEnd(widget)
        self.assertIn("1 done", widget.ui.batchSummaryLabel.text, widget.ui.statusLabel.text)
        self.assertTrue((self.folder / "results" / "ensemble" / "first.seg.nrrd").is_file())

    def test_mirroringAndFoldsAreForModelsThatHaveThem(self):
        widget = self.makeReadyWidget()
        self.assertTrue(widget.ui.mirrorCheckBox.isHidden())
        widget._parameterNode.options.mirror = True
        self.assertFalse(widget.options.plain()["mirror"])  # a box that is not shown does nothing
        threshold = widget._parameterNode.model
        widget._parameterNode.model = self.makeFolds(3)
        self.assertFalse(widget.ui.mirrorCheckBox.isHidden())
        self.assertTrue(widget.options.plain()["mirror"])
        labels = [widget.ui.uncertaintyComboBox.itemText(at) for at in range(widget.ui.uncertaintyComboBox.count)]
        widget.ui.uncertaintyComboBox.setCurrentIndex(labels.index("Folds of the model (nnU-Net)"))
        self.assertEqual(widget.options.plain()["uncertainty"], "folds")
        self.assertNotIn("folds", widget.ui.applyButton.toolTip)
        for model in (threshold, self.makeFolds(1)):
            widget._parameterNode.model = model
            self.assertIn("the model has no folds", widget.ui.applyButton.toolTip)
            self.assertFalse(widget.ui.applyButton.enabled)

    # What they are made of

    def makeFolds(self, count):
        """Return where the description of an nnU-Net with so many folds is; its networks are empty files."""
        import json

        folder = self.folder / f"folds{count}" / "nnUNetTrainer__nnUNetPlans__3d_fullres"
        for fold in range(count):
            (folder / f"fold_{fold}").mkdir(parents=True)
            (folder / f"fold_{fold}" / "checkpoint_final.pth").write_bytes(b"")
        dataset = {"channel_names": {"0": "T1"}, "labels": {"background": 0, "Brain": 1}, "file_ending": ".nii.gz"}
        plans = {
            "dataset_name": "Dataset001_Brains",
            "plans_name": "nnUNetPlans",
            "configurations": {"3d_fullres": {"patch_size": [8, 8, 8], "spacing": [1.0, 1.0, 1.0]}},
        }
        (folder / "dataset.json").write_text(json.dumps(dataset), encoding="utf-8")
        (folder / "plans.json").write_text(json.dumps(plans), encoding="utf-8")
        return str(folder)

    def makeEnsembleWidget(self, *thresholds):
        """Return a panel with a volume, its first model chosen, and the ids of models with these thresholds."""
        widget = self.makeReadyWidget()
        models = [self.own(widget, self.makeModel(threshold=threshold)) for threshold in thresholds]
        widget._parameterNode.model = models[0]
        return widget, models

    def own(self, widget, path):
        """Add a model of one's own until the test is over; returns its id."""
        from meddl_slicer.model_selector import forget_own_model

        model = widget.models.addOwn(Path(path))
        self.addCleanup(forget_own_model, model)
        return model

    def choose(self, widget, models):
        self.checkRows(widget.ui.ensembleListWidget, models)

    def checkRows(self, listWidget, models):
        for row in range(listWidget.count):  # each change may fill the list anew
            item = listWidget.item(row)
            wanted = qt.Qt.Checked if item.data(qt.Qt.UserRole) in models else qt.Qt.Unchecked
            if item.checkState() != wanted:
                item.setCheckState(wanted)
