"""Self-tests of what generators are used for in the tab "Generate": images, lesions, datasets, and judging them."""

import logging

import slicer

from MedDLAugmentationLib.generate_test_parts import GenerateTestParts


class GenerateUseTests(GenerateTestParts):
    """With generators that have hardly learned anything: what matters here is where things go, and what is said."""

    def test_imagesOfALabelMap(self):
        import numpy as np
        from meddl_slicer import nodes, provenance

        tab = self.makeGenerateTab()
        volume, segmentation = self.makeImage()
        tab.parameters.segmentation = segmentation
        self.assertTrue(tab.generator.add(self.makeGenerator()))
        self.assertIn("knows: Ball", tab.ui.matchLabel.text)
        self.assertIn("Corner", tab.ui.matchLabel.text)  # which it takes for background
        tab.ui.countSpinBox.value, tab.ui.makeSeedSpinBox.value = 2, 7
        self.press(tab.ui.makeButton)
        gap = self.waitForWork(tab)
        logging.info(f"Longest gap of the main thread: {gap * 1000:.0f} ms")
        self.assertIn("Images made: 2", tab.ui.madeLabel.text, tab.ui.workStatusLabel.text)
        made = self.syntheticNodes("vtkMRMLScalarVolumeNode")
        labels = self.syntheticNodes("vtkMRMLSegmentationNode")
        self.assertEqual((len(made), len(labels)), (2, 2))
        arrays = [slicer.util.arrayFromVolume(node) for node in made]
        self.assertFalse(np.array_equal(*arrays))
        for node, its in zip(made, labels, strict=True):
            self.assertIn("Synthetic", node.GetName())
            np.testing.assert_allclose(nodes.affine_to_world(node), nodes.affine_to_world(volume), atol=1e-4)
            self.assertEqual(node.GetImageData().GetDimensions(), volume.GetImageData().GetDimensions())
            facts = provenance.read(node)
            self.assertEqual((facts["synthetic"], facts["seed"]), ("image", 7))
            self.assertTrue(node.GetAttribute("MedDL.ModelDigest"))
            self.assertIs(its.GetNodeReference("MedDL.image"), node)
            ball = slicer.util.arrayFromSegmentBinaryLabelmap(its, its.GetSegmentation().GetNthSegmentID(0), node)
            self.assertEqual(int((ball > 0).sum()), self.voxels(segmentation, "Ball", volume))
        folders = {self.folderOf(node) for node in (*made, *labels)}
        self.assertEqual(len(folders), 1)
        self.assertIn("Synthetic", folders.pop())
        self.assertEqual(len(self.syntheticNodes("vtkMRMLScalarVolumeNode")), 2)
        # The same seed makes the same image again.
        tab.ui.countSpinBox.value = 1
        self.press(tab.ui.makeButton)
        self.waitForWork(tab)
        again = slicer.util.arrayFromVolume(self.syntheticNodes("vtkMRMLScalarVolumeNode")[-1])
        np.testing.assert_array_equal(again, arrays[0])
        # What is made from goes: so does the work.
        tab.ui.countSpinBox.value = 50
        self.press(tab.ui.makeButton)
        slicer.mrmlScene.RemoveNode(segmentation)
        self.assertFalse(tab.isBusy)
        self.assertIn("was removed", tab.ui.workStatusLabel.text)
        self.assertEqual(len(self.syntheticNodes("vtkMRMLScalarVolumeNode")), 3)

    def test_imagesOfChance(self):
        tab = self.makeGenerateTab()
        generator = self.makeGenerator(conditioned=False)
        self.assertTrue(tab.generator.add(generator), tab.ui.workStatusLabel.text)
        self.assertNotIn(str(generator), self.ownModels())  # MedDL Inference cannot run it
        self.assertTrue(tab.ui.segmentationSelector.isHidden())
        self.assertIn("without labels", tab.ui.generatorDescription.text)
        self.press(tab.ui.makeButton)
        self.waitForWork(tab)
        (node,) = self.syntheticNodes("vtkMRMLScalarVolumeNode")
        self.assertEqual(node.GetImageData().GetDimensions(), (16, 16, 1))
        self.assertFalse(self.syntheticNodes("vtkMRMLSegmentationNode"))
        self.chooseDataset(tab, self.makeDataset())
        self.assertIn("a generator for label maps", tab.ui.addButton.toolTip)

    def test_closingTheSceneStopsImages(self):
        tab = self.makeGenerateTab()
        tab.generator.add(self.makeGenerator())
        _volume, tab.parameters.segmentation = self.makeImage()
        tab.ui.countSpinBox.value = 50
        self.press(tab.ui.makeButton)
        self.assertTrue(tab.isBusy)
        slicer.mrmlScene.Clear()
        self.assertFalse(tab.isBusy)
        self.assertFalse(self.syntheticNodes("vtkMRMLScalarVolumeNode"))

    def test_lesionInAnImage(self):
        import numpy as np

        from MedDLAugmentationLib.generate_parameters import What

        tab = self.makeGenerateTab()
        tab.parameters.making.what = What.LESION
        self.assertIn("an image", tab.ui.makeButton.toolTip)
        volume, segmentation = self.makeImage()
        tab.parameters.image, tab.parameters.segmentation = volume, segmentation
        tab.ui.insideComboBox.setCurrentIndex(tab.ui.insideComboBox.findData("Ball"))
        tab.make._onInside(tab.ui.insideComboBox.currentIndex)  # what choosing by hand does
        tab.ui.volumeSpinBox.value = tab.ui.volumeMostSpinBox.value = 0.4
        tab.ui.lesionNameLineEdit.text = "Metastasis"
        before = slicer.util.arrayFromVolume(volume).copy()
        self.assertTrue(tab.ui.makeButton.enabled, tab.ui.makeButton.toolTip)
        self.press(tab.ui.makeButton)
        self.waitForWork(tab)
        self.assertTrue(self.syntheticNodes("vtkMRMLScalarVolumeNode"), tab.ui.workStatusLabel.text)
        (node,), (labels,) = (self.syntheticNodes(f"vtkMRML{kind}Node") for kind in ("ScalarVolume", "Segmentation"))
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(volume), before)
        changed = slicer.util.arrayFromVolume(node) != before
        lesion = labels.GetSegmentation().GetSegmentIdBySegmentName("Metastasis")
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(labels, lesion, node) > 0
        self.assertAlmostEqual(mask.sum() * 1.5 * 1.5 * 3.0 / 1000, 0.4, delta=0.15)
        ball = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, "Ball", volume) > 0
        self.assertTrue(ball[mask].all())
        self.assertGreater(changed[mask].mean(), 0.5)
        self.assertEqual(node.GetAttribute("MedDL.Synthetic"), "lesion")
        self.assertFalse(segmentation.GetDisplayNode().GetVisibility())
        self.assertTrue(labels.GetDisplayNode().GetVisibility())
        # Like a real one: shape and texture of the brightest thing there is.
        tab.parameters.example = segmentation
        self.assertTrue(tab.ui.contrastSlider.isHidden())
        self.assertEqual(tab.ui.exampleComboBox.currentText, "Ball")
        self.press(tab.ui.makeButton)
        self.waitForWork(tab)
        other = self.syntheticNodes("vtkMRMLScalarVolumeNode")[-1]
        self.assertIsNot(other, node, tab.ui.workStatusLabel.text)
        self.assertIn("example", other.GetAttribute("MedDL.Provenance"))

    def test_casesOfADataset(self):
        from meddl.datasets.manifest import read_manifest

        tab = self.makeGenerateTab()
        root, generator = self.makeDataset(), self.makeGenerator()
        self.chooseDataset(tab, root)
        tab.generator.add(generator)
        self.assertTrue(tab.ui.addButton.enabled, tab.ui.addButton.toolTip)
        self.press(tab.ui.addButton)
        self.waitForWork(tab)
        self.assertIn("Synthetic cases written: 3", tab.ui.addedLabel.text, tab.ui.workStatusLabel.text)
        self.waitFor(lambda: not tab.dataset.isAsking)
        self.assertIn("Synthetic cases: 3", tab.ui.datasetLabel.text)
        made = [case for case in read_manifest(root).plan.cases if case.source]
        self.assertEqual({case.split for case in made}, {"train"})
        self.press(tab.ui.addButton)
        self.waitForWork(tab)
        self.assertIn("there already: 3", tab.ui.addedLabel.text)

    def test_judging(self):
        tab = self.makeGenerateTab()
        self.chooseDataset(tab, self.makeDataset())
        tab.generator.add(self.makeGenerator())
        self.assertIn("a folder for the report", tab.ui.judgeButton.toolTip)
        tab.ui.reportPathLineEdit.currentPath = str(self.folder / "report")
        judging = tab.parameters.judging
        judging.count, judging.seeds, judging.segmenterSteps = 8, 2, 3
        opened = []
        tab.judge.open = opened.append
        self.press(tab.ui.judgeButton)
        self.waitForWork(tab)
        self.assertIn("Judged in", tab.ui.workStatusLabel.text)
        self.assertGreater(tab.ui.distancesTable.rowCount, 0)
        self.assertGreater(tab.ui.usefulnessTable.rowCount, 0)
        self.assertFalse(tab.ui.pairsLabel.isHidden())
        self.assertTrue(tab.ui.judgeSummaryLabel.text)
        self.press(tab.ui.openReportButton)
        self.assertEqual(opened[0].name, "judgement.md")
        self.assertIn("Ball", opened[0].read_text(encoding="utf-8"))
