"""Panel MedDL Inference: run a model on images of the scene."""

import logging

import qt
import slicer
import vtk
from MedDLInferenceLib.logic import MedDLInferenceLogic
from MedDLInferenceLib.parameters import OUTPUTS, Uncertainty, options_dict
from MedDLInferenceLib.sample_data import registerSampleData
from MedDLInferenceLib.self_test import MedDLInferenceTest  # noqa: F401  (Slicer looks for it here)
from slicer.i18n import tr as _
from slicer.i18n import translate
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
            "Runs a pre-trained deep learning model on images and shows what it finds: structures with their volumes, "
            "classes with probabilities, boxes, landmarks, or a better image. Choose a model and an image, press "
            "Apply. The model runs in a process of its own: Slicer stays usable, and the run can be cancelled at any "
            "time. No image leaves this computer. Models are for research; each one tells what it was made for."
        )
        self.parent.acknowledgementText = _(
            "Models are MONAI Bundles (https://monai.io). Each model's authors and license are shown with it and are "
            "stored with its results."
        )
        slicer.app.connect("startupCompleted()", registerSampleData)


class MedDLInferenceWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel. It holds no algorithm: the logic makes runs, the job panel follows them, sections show the rest."""

    def __init__(self, parent=None):
        self.logic = None
        self.jobPanel = None
        self.models = None
        self._run = None
        self._choice = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None
        # Last, since without a parent it calls setup(). It initializes VTKObservationMixin, too.
        ScriptedLoadableModuleWidget.__init__(self, parent)

    def createLogic(self):
        """Return the logic of this panel; tests give another one."""
        return MedDLInferenceLogic()

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        from meddl_slicer.input_section import InputSection
        from meddl_slicer.job_panel import JobPanel
        from meddl_slicer.model_section import ModelSection
        from MedDLInferenceLib.batch_section import BatchSection
        from MedDLInferenceLib.ensemble_section import EnsembleSection
        from MedDLInferenceLib.result_section import ResultSection

        self.uiWidget = slicer.util.loadUI(self.resourcePath("UI/MedDLInference.ui"))
        self.layout.addWidget(self.uiWidget)
        self.ui = slicer.util.childWidgetVariables(self.uiWidget)
        self.uiWidget.setMRMLScene(slicer.mrmlScene)

        self.logic = self.createLogic()
        self.jobPanel = JobPanel(lambda: self.logic.runner, self.ui)
        self.modelSection = ModelSection(
            self.ui, lambda names: self.logic.install(names), self._onModelAdded, self._updateGUI, self._showError
        )
        self.models = self.modelSection.selector
        self.ensemble = EnsembleSection(self.ui, self.models)
        self.inputs = InputSection(self.ui, self.models, self._options, self.ensemble.choices, self._updateApply)
        self.results = ResultSection(self.ui)
        self.batch = BatchSection(
            self.ui, self.jobPanel, lambda: options_dict(self._parameterNode.options), self._showError
        )

        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartImportEvent, self.onSceneStartImport)
        # After the selectors, which learn only then which nodes have come.
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndImport, priority=-1.0)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.NodeAboutToBeRemovedEvent, self.onNodeAboutToBeRemoved)
        self.ui.modelComboBox.connect("currentIndexChanged(int)", self.onModelSelected)
        self.ui.deviceComboBox.connect("currentIndexChanged(int)", self.onDeviceSelected)
        self.ui.applyButton.connect("clicked(bool)", self.onApplyButton)

        self.modelSection.lookForPackages()
        self.batch.setModels(self.models.choices())
        self.initializeParameterNode()

    def cleanup(self):
        self.jobPanel.abandon()
        self.setParameterNode(None)
        self.inputs.cleanup()
        self.results.cleanup()
        self.removeObservers()
        # A selector that still observes the scene when the application exits can crash it.
        self.uiWidget.setMRMLScene(None)

    def enter(self):
        self.modelSection.lookForPackages()
        if not self.modelSection.missingPackages:
            self.logic.warmUp()
        self.models.refresh()
        self.batch.setModels(self.models.choices())
        self.initializeParameterNode()

    def exit(self):
        self._stopObserving()

    # Scene

    def onSceneStartClose(self, caller, event):
        if self._run is not None:
            self.jobPanel.addLog(_("The scene was closed, so the run was stopped."))
            self._run = None
            self.jobPanel.abandon()
        elif not self.jobPanel.isRunning:  # "Done" was said of a result that leaves
            self.jobPanel.showIdle("")
        self.setParameterNode(None)
        self.results.show(None)

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
        if slicer.mrmlScene.IsClosing():
            return
        if self._run is not None and self._run.uses(node):
            name = node.GetName()
            self._run = None
            self.jobPanel.abandon()
            self.jobPanel.showIdle(_('"{name}" was removed, so the run was stopped.').format(name=name))
            self.jobPanel.addLog(self.ui.statusLabel.text)
            self._updateGUI()
        self.logic.removeCompanions(node)

    def initializeParameterNode(self):
        """Observe the scene's parameter node, and choose what can be chosen for the user."""
        self.setParameterNode(self.logic.getParameterNode())
        if not self._parameterNode.inputVolume:
            first = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
            if first:
                self._parameterNode.inputVolume = first
        if not self._parameterNode.model:
            self._parameterNode.model = self.models.firstModel()
        self.inputs.suggestImages()

    def setParameterNode(self, inputParameterNode):
        """Observe this parameter node and show what is in it; None to show that there is none."""
        self._stopObserving()
        self._choice = None
        self._parameterNode = inputParameterNode
        self.ensemble.setParameters(inputParameterNode)
        self.inputs.setParameters(inputParameterNode)
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
            self.inputs.suggestImages()

    def onDeviceSelected(self, index):
        if self._parameterNode:
            self._parameterNode.options.device = self.ui.deviceComboBox.itemData(index)

    def _onModelAdded(self, model):
        self.batch.setModels(self.models.choices())
        if self._parameterNode:
            self._parameterNode.model = model

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
        self.batch.setModels(self.models.choices())
        if job.error is not None:
            self._showError(job.error)
        elif self._whatIsMissing():  # the input was removed while the model was downloaded
            self.jobPanel.showIdle(_("The model is ready."))
        else:
            self._startRun()
        self._updateGUI()

    def _startRun(self):
        from meddl.errors import MedDLError

        parameters, model = self._parameterNode, self.models.currentModel()
        with slicer.util.tryWithErrorDisplay(_("The model could not be started.")):
            try:
                self._run = self.logic.makeRun(
                    self.inputs.inputs(),
                    self.ensemble.models(),
                    getattr(parameters, OUTPUTS[model.task]) if model.task in OUTPUTS else None,
                    self._options(),
                    reference=parameters.referenceVolume if model.task == "reconstruction" else None,
                    frames=self.inputs.frames,
                )
                names = ", ".join(choice.name for choice in self.ensemble.choices())
                self.jobPanel.addLog(_("Running {model}").format(model=names))
                self.jobPanel.run(self._run.task, self._run.params, onFinished=self._onRunFinished)
            except MedDLError as error:
                self._run = None
                self._showError(error)

    def _onRunFinished(self, job):
        if job.error is not None:
            run, self._run = self._run, None
            self._updateGUI()
            self._showError(job.error, run)
        else:
            self.jobPanel.applyInSteps(self._run.steps(job.result), lambda error: self._onApplied(job, error))

    def _onApplied(self, job, error):
        run, self._run = self._run, None
        if error is not None:
            self._updateGUI()
            self._showError(error, run)
            return
        seconds = self.jobPanel.elapsed
        task = self.logic.taskOf(job.result)
        setattr(self._parameterNode, OUTPUTS[task], run.output)
        self.inputs.adviseAgain()
        self._updateGUI()
        self.jobPanel.showIdle(_("Done in {seconds} s.").format(seconds=f"{seconds:.1f}"), 1.0)
        self.results.bringIntoView()
        self._logRun(run.output)
        if task == "reconstruction":
            slicer.util.setSliceViewerLayers(background=run.output)
        if task == "segmentation" and self._parameterNode.referenceSegmentation and "labels" in job.result:
            self._startEvaluation(job.result, run)

    def _logRun(self, output):
        from meddl_slicer import provenance

        facts = provenance.read(output) or {}
        execution = facts.get("execution") or {}
        for note in facts.get("notes", []):
            self.jobPanel.addLog(str(note))
        times = ", ".join(f"{step} {seconds:.1f} s" for step, seconds in facts.get("times_s", {}).items())
        where = [output.GetAttribute("MedDL.Device"), execution.get("engine"), execution.get("precision")]
        device = ", ".join(str(text) for text in where if text)
        self.jobPanel.addLog(_("Ran on {device}: {times}").format(device=device, times=times))
        self.jobPanel.addLog(self.ui.statusLabel.text)

    def _startEvaluation(self, result, run):
        from meddl.errors import MedDLError

        try:
            evaluation = self.logic.makeEvaluation(result, run, self._parameterNode.referenceSegmentation)
        except MedDLError as error:
            self._showError(error)
            return
        done = self.ui.statusLabel.text

        def finish(job):
            if job.error is not None:
                self._showError(job.error)
            else:
                evaluation.apply(job.result)
                self.jobPanel.showIdle(done, 1.0)
            self._updateGUI()

        self.jobPanel.addLog(_("Comparing with the reference"))
        self.jobPanel.run(evaluation.task, evaluation.params, onFinished=finish)
        self._updateGUI()

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
        """Ask whether a model may run the code it brings. Tests answer for the user."""
        from meddl_slicer import consent

        return consent.ask(error)

    # What the panel shows

    def _options(self):
        options = options_dict(self._parameterNode.options, self.ensemble.isOn)
        # The box that is ticked may be hidden, since the model knows no mirroring.
        options["mirror"] = options["mirror"] and self._canMirror()
        return options

    def _canMirror(self):
        return any(model.canMirror for model in self.ensemble.choices())

    def _whatIsMissing(self):
        """Return what keeps Apply from working, each as a few words; empty when all is there."""
        found = self.inputs.missing() + self.modelSection.missing() + self.ensemble.missing()
        model = self.models.currentModel()
        if self._parameterNode and model is not None and self._options()["uncertainty"] == "folds" and model.folds < 2:
            found.append(_("another way to estimate the uncertainty (the model has no folds)"))
        return found

    def _updateGUI(self, caller=None, event=None):
        parameters = self._parameterNode
        if parameters:
            self.models.select(parameters.model)
            self.modelSection.selectDevice(parameters.options.device)
        running = self.jobPanel.isRunning
        model = self.models.currentModel()
        self.ensemble.update(running)
        self.modelSection.update(running, self.ensemble.choices())
        self._showTask(model.task if model is not None else "")
        self.inputs.update(running)
        for name in _OUTPUT_ROWS:
            getattr(self.ui, f"{name}Selector").enabled = not running
        self._updateApply()
        self.batch.update()
        self._followChoice(model)
        output = getattr(parameters, OUTPUTS[model.task], None) if parameters and model and model.task else None
        self.results.show(output)

    def _followChoice(self, model):
        """When another model or image is chosen, show its result; the next run must not replace one of others."""
        from meddl_slicer import provenance, runs

        parameters = self._parameterNode
        if not parameters or model is None or model.task not in OUTPUTS or self._run is not None:
            return
        source = parameters.inputVolume
        chosen = (model.id, *self.ensemble.others())
        former, self._choice = self._choice, (chosen, source.GetID() if source else "")
        if former in (None, self._choice):
            return
        title = provenance.title_of([choice.bundle for choice in self.ensemble.choices()])
        now = getattr(parameters, OUTPUTS[model.task])
        if now is not None and (provenance.read(now) is None or runs.is_result_of(now, model.task, title, source)):
            return
        wanted = runs.latest_result(model.task, title, source)
        if wanted is not now:
            setattr(parameters, OUTPUTS[model.task], wanted)

    def _updateApply(self):
        running = self.jobPanel.isRunning
        missing = self._whatIsMissing()
        model = self.models.currentModel()
        if running:
            tip = _("A run is under way.")
        elif missing:
            tip = _("Still needed: {missing}.").format(missing=", ".join(missing))
        else:
            tip = _("Run the model on the input.")
        download = model is not None and not model.installed and not model.problem
        self.ui.applyButton.text = (
            _("Download {size} and apply").format(size=model.sizeText) if download else _("Apply")
        )
        self.ui.applyButton.toolTip = tip
        self.ui.applyButton.enabled = not running and not missing

    def _showTask(self, task):
        """Show only the rows that mean something for the task."""
        for name, tasks in _OUTPUT_ROWS.items():
            shown = task in tasks or (not task and name == "output")
            for widget in (getattr(self.ui, f"{name}Selector"), getattr(self.ui, f"{name}SelectorLabel")):
                widget.visible = shown
        self.ui.probabilitiesCheckBox.visible = task == "segmentation"
        self.ui.differenceCheckBox.visible = task == "reconstruction"
        # Several models tell how far they differ anyway.
        canDoubt = task in ("segmentation", "classification") and not self.ensemble.isOn
        for widget in (
            self.ui.uncertaintyLabel,
            self.ui.uncertaintyComboBox,
            self.ui.passesLabel,
            self.ui.passesSpinBox,
        ):
            widget.visible = canDoubt
        self.ui.mirrorCheckBox.visible = self._canMirror()
        folds = [choice.value for choice in Uncertainty].index(Uncertainty.FOLDS.value)
        hasFolds = self.models.currentModel() is not None and self.models.currentModel().folds > 1
        self.ui.uncertaintyComboBox.setItemData(folds, None if hasFolds else 0, qt.Qt.UserRole - 1)  # may be chosen


_OUTPUT_ROWS = {
    "output": ("segmentation",),
    "outputTable": ("classification", "detection"),
    "outputPoints": ("landmarks",),
    "outputVolume": ("reconstruction",),
    "referenceSegmentation": ("segmentation",),
    "referenceVolume": ("reconstruction",),
}
"""Selector of the panel (without "Selector") -> the tasks it means something for."""
