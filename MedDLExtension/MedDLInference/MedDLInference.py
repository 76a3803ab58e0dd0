"""Panel MedDL Inference: run a segmentation model on a volume of the scene."""

import logging
import os
import tempfile
from pathlib import Path

import qt
import slicer
import vtk
from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import parameterNodeWrapper
from slicer.ScriptedLoadableModule import *
from slicer.util import VTKObservationMixin

logger = logging.getLogger(__name__)


class MedDLInference(ScriptedLoadableModule):
    """What Slicer's module list shows."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("MedDL Inference")
        self.parent.categories = ["MedDL", translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = ["MedDLCore"]
        self.parent.contributors = ["MedDL contributors"]
        self.parent.helpText = _(
            "Runs a pre-trained deep learning model on a volume and shows what it finds as a segmentation, with "
            "volumes in milliliters. Choose a volume and a model, press Apply. The model runs in a process of its own: "
            "Slicer stays usable, and the run can be cancelled at any time. No image leaves this computer. Models are "
            "for research; each one tells what it was made for."
        )
        self.parent.acknowledgementText = _(
            "Models are MONAI Bundles (https://monai.io). Each model's authors and license are shown with it and are "
            "stored with its results."
        )
        slicer.app.connect("startupCompleted()", registerSampleData)


def registerSampleData():
    """Offer the T1 head of the pydeface package in the Sample Data module."""
    import SampleData

    icons = Path(__file__).parent / "Resources" / "Icons"
    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="MedDL",
        sampleName="MedDL T1 head",
        uris="https://github.com/poldracklab/pydeface",  # where it comes from; the downloader below fetches it
        fileNames="mean_reg2mean.nii.gz",
        nodeNames="MedDL T1 head",
        thumbnailFileName=str(icons / "MedDLT1Head.png"),
        customDownloader=downloadSampleHead,
    )


def downloadSampleHead(source=None):
    """Fetch the mean T1 head (MIT license, with skull) and return it as a volume node.

    It is published only inside the Python package pydeface, which is downloaded, verified and not installed.
    """
    from meddl.models import cache_dir
    from meddl.models.package_source import download_package, extract_members

    folder = cache_dir() / "samples"
    image = folder / "mean_reg2mean.nii.gz"
    with slicer.util.tryWithErrorDisplay(_("The sample image could not be loaded."), waitCursor=True):
        if not image.is_file():
            wheel = download_package(
                "pydeface==2.1.0",
                "957aac1daaedd437a4191d450c4b2829e052351e33272b79ae978c9703edc99e",
                folder,
                progress=lambda fraction, text: slicer.app.processEvents(),
            )
            extract_members(wheel, {"pydeface/data/mean_reg2mean.nii.gz": image})
        node = slicer.util.loadVolume(str(image), {"name": "MedDL T1 head"})
        slicer.util.setSliceViewerLayers(background=node, fit=True)
        return node


@parameterNodeWrapper
class MedDLInferenceParameterNode:
    """What the user has chosen; saved with the scene.

    inputVolume - The image to segment.
    model - Catalog name of the model, or the folder of a MONAI Bundle.
    device - "auto", "cpu", "mps" or "cuda:N".
    outputSegmentation - Where the result goes; a new segmentation if there is none.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    model: str = ""
    device: str = "auto"
    outputSegmentation: vtkMRMLSegmentationNode


class MedDLInferenceWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel. It holds no algorithm: the logic makes runs, the job panel follows them."""

    def __init__(self, parent=None):
        self.logic = None
        self.jobPanel = None
        self.models = None
        self._run = None
        self._missingPackages = []
        self._parameterNode = None
        self._parameterNodeGuiTag = None
        # Last, since without a parent it calls setup(). It initializes VTKObservationMixin, too.
        ScriptedLoadableModuleWidget.__init__(self, parent)

    def createLogic(self):
        """Return the logic of this panel; tests give another one."""
        return MedDLInferenceLogic()

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        from meddl_slicer.job_panel import JobPanel
        from meddl_slicer.model_selector import ModelSelector

        self.uiWidget = slicer.util.loadUI(self.resourcePath("UI/MedDLInference.ui"))
        self.layout.addWidget(self.uiWidget)
        self.ui = slicer.util.childWidgetVariables(self.uiWidget)
        self.uiWidget.setMRMLScene(slicer.mrmlScene)

        self.logic = self.createLogic()
        self.jobPanel = JobPanel(lambda: self.logic.runner, self.ui)
        self.models = ModelSelector(self.ui.modelComboBox, self.ui.modelDescription)
        self._fillDevices()
        self._makeAddModelMenu()
        self.ui.resultTable.horizontalHeader().setSectionResizeMode(0, qt.QHeaderView.Stretch)

        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartImportEvent, self.onSceneStartImport)
        # After the selectors, which learn only then which nodes have come.
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndImport, priority=-1.0)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.NodeAboutToBeRemovedEvent, self.onNodeAboutToBeRemoved)
        self.ui.modelComboBox.connect("currentIndexChanged(int)", self.onModelSelected)
        self.ui.deviceComboBox.connect("currentIndexChanged(int)", self.onDeviceSelected)
        self.ui.applyButton.connect("clicked(bool)", self.onApplyButton)
        self.ui.show3DButton.connect("toggled(bool)", self.onShow3D)
        self.ui.setupButton.connect("clicked(bool)", self.onSetupButton)

        self._lookForPackages()
        self.initializeParameterNode()

    def cleanup(self):
        self.jobPanel.abandon()
        self.setParameterNode(None)
        self.removeObservers()
        # A selector that still observes the scene when the application exits can crash it.
        self.uiWidget.setMRMLScene(None)

    def enter(self):
        self._lookForPackages()
        if not self._missingPackages:
            self.logic.warmUp()
        self.models.refresh()
        self.initializeParameterNode()

    def exit(self):
        self._stopObserving()

    # Scene

    def onSceneStartClose(self, caller, event):
        if self.jobPanel.isRunning:
            self.jobPanel.addLog(_("The scene was closed, so the run was stopped."))
        self._run = None
        self.jobPanel.abandon()
        self.setParameterNode(None)
        self._showResult()

    def onSceneEndClose(self, caller, event):
        # Outside of Slicer's module panel (in a test) there is no such property.
        if getattr(self.parent, "isEntered", True):
            self.initializeParameterNode()

    def onSceneStartImport(self, caller, event):
        # While a scene is read, the selectors do not know its nodes yet and would empty what is read.
        self._stopObserving()

    def onSceneEndImport(self, caller, event):
        self.onSceneEndClose(caller, event)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeAboutToBeRemoved(self, caller, event, node):
        if self._run is not None and node is self._run.inputVolume:
            name = node.GetName()
            self._run = None
            self.jobPanel.abandon()
            self.jobPanel.showIdle(_('"{name}" was removed, so the run was stopped.').format(name=name))
            self.jobPanel.addLog(self.ui.statusLabel.text)
            self._updateGUI()

    def initializeParameterNode(self):
        """Observe the scene's parameter node, and choose what can be chosen for the user."""
        self.setParameterNode(self.logic.getParameterNode())
        if not self._parameterNode.inputVolume:
            first = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
            if first:
                self._parameterNode.inputVolume = first
        if not self._parameterNode.model:
            self._parameterNode.model = self.models.firstModel()

    def setParameterNode(self, inputParameterNode):
        """Observe this parameter node and show what is in it; None to show that there is none."""
        self._stopObserving()
        self._parameterNode = inputParameterNode
        if self._parameterNode:
            self._parameterNodeGuiTag = self._parameterNode.connectGui(self.ui)
            self.addObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._updateGUI)
        self._updateGUI()

    def _stopObserving(self):
        if self._parameterNodeGuiTag is not None:  # else the panel was left, which has done this already
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self._parameterNodeGuiTag = None
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._updateGUI)

    # Choices

    def onModelSelected(self, index):
        if self._parameterNode and self.models.currentModel() is not None:
            self._parameterNode.model = self.models.currentModel().id

    def onDeviceSelected(self, index):
        if self._parameterNode:
            self._parameterNode.device = self.ui.deviceComboBox.itemData(index)

    def onAddModelFolder(self):
        title = _("Folder of a MONAI Bundle")
        self._addModel(qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), title))

    def onAddModelZip(self):
        title = _("Zip file with a MONAI Bundle")
        self._addModel(qt.QFileDialog.getOpenFileName(slicer.util.mainWindow(), title, "", "*.zip"))

    def _addModel(self, path):
        from meddl.errors import MedDLError

        if not path:
            return
        try:
            with slicer.util.WaitCursor():
                model = self.models.addOwn(Path(path))
        except MedDLError as error:
            self._showError(error)
            return
        if self._parameterNode:
            self._parameterNode.model = model

    def onSetupButton(self):
        slicer.util.selectModule("MedDLCore")

    # Running

    def onApplyButton(self):
        model = self.models.currentModel()
        if model.installed:
            self._startRun()
        else:
            self._startDownload(model)
        self._updateGUI()

    def _startDownload(self, model):
        self.jobPanel.addLog(_("Downloading {model}").format(model=model.name))
        self.jobPanel.run(*self.logic.download(model.id), onFinished=self._onDownloaded)

    def _onDownloaded(self, job):
        self.models.refresh()
        if job.error is not None:
            self._showError(job.error)
        elif self._whatIsMissing():  # the input was removed while the model was downloaded
            self.jobPanel.showIdle(_("The model is ready."))
        else:
            self._startRun()
        self._updateGUI()

    def _startRun(self):
        from meddl.errors import MedDLError

        parameters = self._parameterNode
        with slicer.util.tryWithErrorDisplay(_("The model could not be started.")):
            try:
                self._run = self.logic.makeRun(
                    parameters.inputVolume, parameters.model, parameters.outputSegmentation, parameters.device
                )
                self.jobPanel.addLog(_("Running {model}").format(model=self.models.currentModel().name))
                self.jobPanel.run(self._run.task, self._run.params, onFinished=self._onRunFinished)
            except MedDLError as error:
                self._run = None
                self._showError(error)

    def _onRunFinished(self, job):
        run, self._run = self._run, None
        try:
            if job.error is not None:
                raise job.error
            run.apply(job.result)
        except Exception as error:
            self._updateGUI()
            self._showError(error, run)
            return
        seconds = self.jobPanel.elapsed
        self._parameterNode.outputSegmentation = run.outputSegmentation
        self._updateGUI()
        self.jobPanel.showIdle(_("Done in {seconds} s.").format(seconds=f"{seconds:.1f}"), 1.0)
        provenance = job.result["provenance"]
        for note in provenance.get("notes", []):
            self.jobPanel.addLog(note)
        times = ", ".join(f"{step} {seconds:.1f} s" for step, seconds in provenance.get("times_s", {}).items())
        device = run.outputSegmentation.GetAttribute("MedDL.Device")
        self.jobPanel.addLog(_("Ran on {device}: {times}").format(device=device, times=times))
        self.jobPanel.addLog(self.ui.statusLabel.text)

    def _showError(self, error, run=None):
        """Tell the user in one sentence what happened and keep the details in the log."""
        from meddl.errors import JobCancelled, UntrustedModelError

        message = getattr(error, "message", "") or str(error)
        self.jobPanel.showIdle(message)
        self.jobPanel.addLog(message)
        self.jobPanel.addLog(getattr(error, "details", "") or "")
        if isinstance(error, JobCancelled):
            self.jobPanel.showIdle(_("Cancelled."))
        elif isinstance(error, UntrustedModelError) and run is not None:
            if self.askForTrust(error):
                with slicer.util.tryWithErrorDisplay(_("The consent could not be stored.")):
                    self.logic.trust(run.model)
                self._startRun()
                self._updateGUI()
            else:
                self.jobPanel.showIdle(_("The model was not run, since it needs your consent to run its own code."))
        else:
            logger.debug("run failed", exc_info=error)
            slicer.util.errorDisplay(message, windowTitle=_("MedDL Inference"))

    def askForTrust(self, error):
        """Ask whether a model may run the code it brings; the reasons are shown. Tests answer for the user."""
        text = _(
            "This model brings program code of its own, which could do anything on this computer that you can do.\n\n"
            "Run it only if you trust where it comes from. Your consent is stored with the model's fingerprint and "
            "asked for again when the model changes; it can be revoked in MedDL Setup.\n\n"
            "What needs your consent:\n{reasons}"
        )
        shown = [f"\N{BULLET} {reason}" for reason in error.reasons[:5]]
        if len(error.reasons) > len(shown):
            shown.append(_("and {count} more").format(count=len(error.reasons) - len(shown)))
        return slicer.util.confirmOkCancelDisplay(
            text.format(reasons="\n".join(shown)),
            windowTitle=_("Trust this model?"),
            detailedText="\n".join(error.reasons),
        )

    def onShow3D(self, checked):
        from meddl_slicer import segmentation

        node = self._parameterNode.outputSegmentation if self._parameterNode else None
        if node is not None and checked != segmentation.is_shown_in_3d(node):
            with slicer.util.tryWithErrorDisplay(_("The surfaces could not be made."), waitCursor=True):
                segmentation.show_in_3d(node, checked)

    # What the panel shows

    def _whatIsMissing(self):
        """Return what keeps Apply from working, each as a few words; empty when all is there."""
        missing = []
        model = self.models.currentModel()
        if not self._parameterNode or not self._parameterNode.inputVolume:
            missing.append(_("an input volume"))
        if model is None:
            missing.append(_("a model"))
        elif model.problem:
            missing.append(_("a model that is on this computer"))
        if self._missingPackages:
            missing.append(_("Python packages (open MedDL Setup)"))
        return missing

    def _updateGUI(self, caller=None, event=None):
        parameters = self._parameterNode
        if parameters:
            self.models.select(parameters.model)
            self._selectDevice(parameters.device)
        running = self.jobPanel.isRunning
        missing = self._whatIsMissing()
        model = self.models.currentModel()
        if running:
            tip = _("A run is under way.")
        elif missing:
            tip = _("Still needed: {missing}.").format(missing=", ".join(missing))
        else:
            tip = _("Run the model on the input volume.")
        download = model is not None and not model.installed and not model.problem
        self.ui.applyButton.text = (
            _("Download {size} and apply").format(size=model.sizeText) if download else _("Apply")
        )
        self.ui.applyButton.toolTip = tip
        self.ui.applyButton.enabled = not running and not missing
        for widget in (
            self.ui.inputSelector,
            self.ui.modelComboBox,
            self.ui.addModelButton,
            self.ui.outputSelector,
            self.ui.deviceComboBox,
        ):
            widget.enabled = not running
        self.ui.setupFrame.visible = bool(self._missingPackages)
        self._showResult()

    def _showResult(self):
        from meddl_slicer import segmentation
        from meddl_slicer.segmentation_run import resultRows

        node = self._parameterNode.outputSegmentation if self._parameterNode else None
        rows, title = resultRows(node)
        table = self.ui.resultTable
        table.setRowCount(len(rows))
        for index, (name, milliliters) in enumerate(rows):
            number = qt.QTableWidgetItem(f"{milliliters:.1f}")
            number.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
            table.setItem(index, 0, qt.QTableWidgetItem(name))
            table.setItem(index, 1, number)
        # As high as it needs to be, up to a dozen rows.
        table.setFixedHeight(table.horizontalHeader().height + 24 * min(max(len(rows), 1), 12) + 2 * table.frameWidth)
        self.ui.resultsCollapsibleButton.visible = bool(rows)
        self.ui.resultModelLabel.text = title
        self.ui.show3DButton.enabled = node is not None
        wasBlocked = self.ui.show3DButton.blockSignals(True)
        self.ui.show3DButton.checked = segmentation.is_shown_in_3d(node)
        self.ui.show3DButton.blockSignals(wasBlocked)

    def _lookForPackages(self):
        from meddl_slicer import packages

        self._missingPackages = [package.name for package in packages.missing()]
        names = ", ".join("PyTorch" if name == "torch" else name for name in self._missingPackages[:3])
        more = len(self._missingPackages) - 3
        if more > 0:
            names = _("{names} and {count} more").format(names=names, count=more)
        self.ui.setupLabel.text = _("To run models, Slicer still needs {names}.").format(names=names)

    def _fillDevices(self):
        from meddl import computer
        from meddl_slicer.health import size_text

        self.ui.deviceComboBox.addItem(_("Automatic"), "auto")
        for gpu in computer.gpus():
            memory = f" ({size_text(gpu.memory)})" if gpu.memory else ""
            self.ui.deviceComboBox.addItem(f"{gpu.name}{memory}", gpu.id)
        self.ui.deviceComboBox.addItem(_("Processor (CPU)"), "cpu")

    def _selectDevice(self, device):
        index = self.ui.deviceComboBox.findData(device)
        if index < 0:  # a scene from another computer
            self.ui.deviceComboBox.addItem(_("{device} (not on this computer)").format(device=device), device)
            index = self.ui.deviceComboBox.count - 1
        self.ui.deviceComboBox.setCurrentIndex(index)

    def _makeAddModelMenu(self):
        self._addModelMenu = qt.QMenu(self.ui.addModelButton)
        self._addModelMenu.addAction(_("Model folder…")).connect("triggered()", self.onAddModelFolder)
        self._addModelMenu.addAction(_("Zip file…")).connect("triggered()", self.onAddModelZip)
        self.ui.addModelButton.setMenu(self._addModelMenu)


class MedDLInferenceLogic(ScriptedLoadableModuleLogic):
    """Runs models on volume nodes; needs no panel.

    Example::

        logic = MedDLInferenceLogic()
        segmentation = logic.process(volumeNode, "brain_extraction")

    Args:
        runner: who runs the jobs; the session's shared worker when None.
    """

    def __init__(self, runner=None):
        ScriptedLoadableModuleLogic.__init__(self)
        self._runner = runner
        self._pump = None

    @property
    def runner(self):
        """Who runs the jobs."""
        if self._runner is None:
            from meddl_slicer.pump import runner_for_slicer

            return runner_for_slicer()
        return self._runner

    def getParameterNode(self):
        return MedDLInferenceParameterNode(super().getParameterNode())

    def makeRun(self, inputVolume, model, outputSegmentation=None, device="auto"):
        """Return a :class:`meddl_slicer.segmentation_run.SegmentationRun`, ready to be submitted.

        Raises:
            meddl.errors.VolumeError: the volume cannot be used; the message says why.
        """
        from meddl_slicer.segmentation_run import SegmentationRun

        return SegmentationRun(inputVolume, model, outputSegmentation, device)

    def process(self, inputVolume, model, outputSegmentation=None, device="auto", onProgress=None):
        """Segment a volume and return the segmentation node. Waits for the result, without processing events.

        Args:
            inputVolume: vtkMRMLScalarVolumeNode.
            model: catalog name, or the folder or zip file of a MONAI Bundle.
            outputSegmentation: replaced on success; a new node when None.
            device: "auto", "cpu", "mps" or "cuda:N".
            onProgress: called with the fraction of the work done and one line of text.

        Raises:
            meddl.errors.MedDLError: with a sentence for the user; the scene is unchanged.
        """
        run = self.makeRun(inputVolume, model, outputSegmentation, device)
        return run.apply(self.runner.submit(run.task, run.params, on_progress=onProgress).wait())

    def start(self, inputVolume, model, outputSegmentation=None, device="auto", onProgress=None, onFinished=None):
        """Do as :meth:`process` but return at once, with the :class:`meddl.jobs.Job`; events must be processed.

        Args:
            onFinished: called with (segmentation node, None) or (None, error).
        """
        from meddl_slicer.pump import JobPump

        run = self.makeRun(inputVolume, model, outputSegmentation, device)

        def finish(job):
            try:
                if job.error is not None:
                    raise job.error
                outcome = run.apply(job.result), None
            except Exception as error:
                outcome = None, error
            if onFinished is not None:
                onFinished(*outcome)

        job = self.runner.submit(run.task, run.params, on_progress=onProgress, on_done=finish)
        if self._pump is None or self._pump.runner is not self.runner:
            self._pump = JobPump(self.runner)
        self._pump.start()
        return job

    def warmUp(self):
        """Start the worker process, so that the first run does not wait for it to load PyTorch."""
        prestart = getattr(self.runner, "prestart", None)  # a runner in this process has nothing to start
        if prestart is not None:
            prestart(["torch", "monai.transforms"])

    def download(self, model):
        """Return task and params of the job that fetches a catalog model."""
        from meddl_slicer.download_task import ADD_MODEL

        return ADD_MODEL, {"model": model}

    def trust(self, model):
        """Store the user's consent to a model as it is now."""
        from meddl.models import TrustStore, resolve_model

        TrustStore().record(resolve_model(model), origin="MedDL Inference panel")


class MedDLInferenceTest(ScriptedLoadableModuleTest):
    """Runs real inference in a real worker process, with a tiny model made here whose right answer is known.

    Nothing is downloaded. What needs PyTorch says so and fails when it is missing.
    """

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        from meddl_slicer import packages

        missing = ", ".join(package.requirement for package in packages.missing())
        self.assertFalse(missing, f"Models cannot run in this Python: {missing} missing. Install it in MedDL Setup.")
        for test in (
            self.test_resultOverlaysMovedVolume,
            self.test_parametersArePartOfTheScene,
            self.test_resultComesBackWithTheScene,
            self.test_applyTellsWhatIsMissing,
            self.test_applyInPanel,
            self.test_secondRunUsesTheWarmWorker,
            self.test_modelIsDownloadedAndApplied,
            self.test_cancel,
            self.test_failureKeepsTheOldResult,
            self.test_bentVolumeIsRefusedInOneSentence,
            self.test_folderThatIsNoModelIsRefusedInOneSentence,
            self.test_modelWithCodeAsksForTrust,
            self.test_closingTheScene,
            self.test_removingTheInput,
        ):
            with tempfile.TemporaryDirectory(prefix="MedDL-test-") as folder:
                self.folder = Path(folder)
                self.setUp()
                logging.info(f"{type(self).__name__}.{test.__name__}")
                try:
                    test()
                finally:
                    self.tearDown()
        self.delayDisplay("All tests passed")

    def tearDown(self):
        widget, self.widget = getattr(self, "widget", None), None
        if widget is not None:
            # It would be cleaned up again when Slicer exits, after it is gone.
            slicer.app.moduleManager().disconnect("moduleAboutToBeUnloaded(QString)", widget._onModuleAboutToBeUnloaded)
            widget.cleanup()
            widget.parent.setMRMLScene(None)
            widget.parent.deleteLater()
        slicer.mrmlScene.Clear()

    # The logic

    def test_resultOverlaysMovedVolume(self):
        import numpy as np

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
        table = node.GetNodeReference("MedDL.volumes").GetTable()
        self.assertAlmostEqual(table.GetValue(0, 1).ToDouble(), (array > 100).sum() * 1.5 * 1.5 * 2 / 1000, places=2)

    # The panel

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
        self.assertEqual(widget.logic.getParameterNode().device, "auto")
        slicer.mrmlScene.SetURL(path)
        slicer.mrmlScene.Import()
        parameters = widget.logic.getParameterNode()
        self.assertEqual((parameters.model, parameters.device), (model, "cpu"))
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
            widget.logic = MedDLInferenceLogic(runner)
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
        widget._addModel(str(self.folder))
        self.assertIn("is not a MONAI Bundle", widget.ui.statusLabel.text)

    def test_modelWithCodeAsksForTrust(self):
        from meddl.models import ModelBundle, TrustStore

        widget = self.makeReadyWidget(code=True)
        asked = []
        widget.askForTrust = lambda error: bool(asked.append(error.reasons))
        widget.ui.applyButton.click()
        self.waitForEnd(widget)
        self.assertEqual(len(asked), 1)
        self.assertIn("needs your consent", widget.ui.statusLabel.text)
        self.assertIsNone(widget._parameterNode.outputSegmentation)
        widget.askForTrust = lambda error: True
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

    # What the tests are made of

    def makeVolume(self):
        """Return an oblique volume node of a bright block in noise, and its (K, J, I) array."""
        import numpy as np

        array = np.random.default_rng(7).normal(50, 10, (40, 36, 44)).astype(np.int16)
        array[8:25, 5:20, 10:40] += 100
        node = slicer.util.addVolumeFromArray(array, name="Head")
        turned = vtk.vtkTransform()
        turned.Translate(-30.0, 10.0, 5.0)
        turned.RotateX(20.0)
        turned.Scale(-1.5, -1.5, 2.0)
        node.SetIJKToRASMatrix(turned.GetMatrix())
        return node, array

    def makeModel(self, **options):
        from meddl_slicer.known_model import write_threshold_bundle

        name = "model" + "".join(f"_{key}{value}" for key, value in options.items())
        return str(write_threshold_bundle(self.folder / name, 100.0, **options))

    def makeWidget(self):
        # Not the one in the module panel, which may be at work for the user.
        self.widget = MedDLInferenceWidget()
        self.widget.logic.getParameterNode().outputSegmentation = None
        return self.widget

    def makeReadyWidget(self, **options):
        widget = self.makeWidget()
        volume, _array = self.makeVolume()
        widget.ui.inputSelector.setCurrentNode(volume)
        self.selectModel(widget, **options)
        self.volume = volume
        return widget

    def selectModel(self, widget, **options):
        model = self.makeModel(**options)
        widget._parameterNode.model = model
        return model

    def waitFor(self, condition, seconds=120.0):
        """Process events until ``condition()``; returns the longest time between two turns of the event loop."""
        import time

        end, last, gap = time.monotonic() + seconds, time.monotonic(), 0.0
        while not condition():
            slicer.app.processEvents()
            now = time.monotonic()
            gap, last = max(gap, now - last), now
            self.assertLess(now, end, f"This took longer than {seconds} s")
            time.sleep(0.002)
        return gap

    def waitForEnd(self, widget, seconds=120.0):
        return self.waitFor(lambda: not widget.jobPanel.isRunning, seconds)
