"""Panel MedDL Saliency: why did the model say so, in the slice views, with proof of how far to believe it."""

import logging

import slicer
import vtk
from MedDLSaliencyLib.logic import MedDLSaliencyLogic
from MedDLSaliencyLib.self_test import MedDLSaliencyTest  # noqa: F401  (Slicer looks for it here)
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import *
from slicer.util import VTKObservationMixin

logger = logging.getLogger(__name__)

_METHODS = ["integrated_gradients"]  # checked in a new scene


class MedDLSaliency(ScriptedLoadableModule):
    """What Slicer's module list shows."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("MedDL Saliency")
        self.parent.categories = ["MedDL", translate("qSlicerAbstractCoreModule", "Quantification")]
        self.parent.dependencies = ["MedDLCore"]
        self.parent.contributors = ["MedDL contributors"]
        self.parent.helpText = _(
            "Shows what in an image made a deep learning model answer as it did: maps over the slices, with a scale, "
            "how much of the evidence lies in which structure, and how far the maps can be believed. A map that looks "
            "right may still say nothing about the model: that is why each can be put to the test here. The model runs "
            "in a process of its own; no image leaves this computer. For research."
        )
        self.parent.acknowledgementText = _(
            "Methods are those of Captum (https://captum.ai) and MONAI (https://monai.io). Each method's paper stands "
            "in its tooltip."
        )


class MedDLSaliencyWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel. It holds no algorithm: the logic makes runs, the job panel follows them, sections show the rest."""

    def __init__(self, parent=None):
        self.logic = None
        self.jobPanel = None
        self.models = None
        self._run = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None
        self._updating = False
        # Last, since without a parent it calls setup(). It initializes VTKObservationMixin, too.
        ScriptedLoadableModuleWidget.__init__(self, parent)

    def createLogic(self):
        """Return the logic of this panel; tests give another one."""
        return MedDLSaliencyLogic()

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        from meddl_slicer.explanation_views import CursorWatch
        from meddl_slicer.input_section import InputSection
        from meddl_slicer.job_panel import JobPanel
        from meddl_slicer.model_section import ModelSection
        from MedDLSaliencyLib.map_section import MapSection
        from MedDLSaliencyLib.question_section import QuestionSection
        from MedDLSaliencyLib.report_section import ReportSection
        from MedDLSaliencyLib.result_section import ResultSection

        self.uiWidget = slicer.util.loadUI(self.resourcePath("UI/MedDLSaliency.ui"))
        self.layout.addWidget(self.uiWidget)
        self.ui = slicer.util.childWidgetVariables(self.uiWidget)
        self.uiWidget.setMRMLScene(slicer.mrmlScene)

        self.logic = self.createLogic()
        self.jobPanel = JobPanel(lambda: self.logic.runner, self.ui)
        self.modelSection = ModelSection(
            self.ui, lambda names: self.logic.install(names), self._onModelAdded, self._updateGUI, self._showError
        )
        self.models = self.modelSection.selector
        self.inputs = InputSection(self.ui, self.models, None, self._chosenModels, self._updateApply)
        self.question = QuestionSection(self.ui, self.models, lambda: self.logic.runner, self._updateGUI)
        self.maps = MapSection(self.ui, self._updateGUI)
        self.results = ResultSection(self.ui, self._segmentation)
        self.report = ReportSection(
            self.ui, self.jobPanel, self.maps.view, self._segmentation, self._updateGUI, self._showError
        )
        self.cursor = CursorWatch(self._onCursor)

        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(scene, scene.StartImportEvent, self.onSceneStartImport)
        # After the selectors, which learn only then which nodes have come.
        self.addObserver(scene, scene.EndImportEvent, self.onSceneEndClose, priority=-1.0)
        self.addObserver(scene, scene.NodeAboutToBeRemovedEvent, self.onNodeAboutToBeRemoved)
        self.ui.modelComboBox.connect("currentIndexChanged(int)", self.onModelSelected)
        self.ui.deviceComboBox.connect("currentIndexChanged(int)", self.onDeviceSelected)
        self.ui.applyButton.connect("clicked(bool)", self.onApplyButton)

        self.modelSection.lookForPackages()
        self.initializeParameterNode()

    def cleanup(self):
        self.jobPanel.abandon()
        self.cursor.stop()
        self.maps.cleanup()
        self.question.cleanup()
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
        self.cursor.start()
        self.initializeParameterNode()

    def exit(self):
        self.cursor.stop()
        self._stopObserving()

    # Scene

    def onSceneStartClose(self, caller, event):
        if self._run is not None:
            self.jobPanel.addLog(_("The scene was closed, so the explanation was stopped."))
            self._run = None
            self.jobPanel.abandon()
        elif not self.jobPanel.isRunning:  # "Done" was said of a result that leaves
            self.jobPanel.showIdle("")
        self.maps.hide()
        self.report.forget()
        self.setParameterNode(None)

    def onSceneEndClose(self, caller, event):
        # Outside of Slicer's module panel (in a test) there is no such property.
        if getattr(self.parent, "isEntered", True):
            self.cursor.start()
            self.initializeParameterNode()

    def onSceneStartImport(self, caller, event):
        # While a scene is read, the selectors do not know its nodes yet and would empty what is read.
        self._stopObserving()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeAboutToBeRemoved(self, caller, event, node):
        if slicer.mrmlScene.IsClosing():
            return
        if self._run is not None and self._run.uses(node):
            name = node.GetName()
            self._run = None
            self.jobPanel.abandon()
            self.jobPanel.showIdle(_('"{name}" was removed, so the explanation was stopped.').format(name=name))
            self.jobPanel.addLog(self.ui.statusLabel.text)
            self._updateGUI()
        self.logic.removeCompanions(node)

    def initializeParameterNode(self):
        """Observe the scene's parameter node, and choose what can be chosen for the user."""
        self.setParameterNode(self.logic.getParameterNode())
        parameters = self._parameterNode
        if not parameters.inputVolume:
            parameters.inputVolume = self._firstImage()
        if not parameters.model:
            parameters.methods = _METHODS
            parameters.model = self.models.firstModel()
        self.inputs.suggestImages()

    def setParameterNode(self, inputParameterNode):
        """Observe this parameter node and show what is in it; None to show that there is none."""
        self._stopObserving()
        self._parameterNode = inputParameterNode
        for section in (self.inputs, self.question, self.maps):
            section.setParameters(inputParameterNode)
        if self._parameterNode:
            self._parameterNodeGuiTag = self._parameterNode.connectGui(self.ui)
            self.addObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._updateGUI)
        self._updateGUI()

    def _stopObserving(self):
        if self._parameterNodeGuiTag is not None:  # else the panel was left, which has done this already
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self._parameterNodeGuiTag = None
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._updateGUI)

    def _firstImage(self):
        """Return the first volume that is no map, or None."""
        from meddl_slicer.explanation_maps import map_of

        volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        return next((node for node in volumes if map_of(node) is None), None)

    def _segmentation(self):
        return self._parameterNode.segmentation if self._parameterNode else None

    # Choices

    def onModelSelected(self, index):
        if self._parameterNode and self.models.currentModel() is not None:
            self._parameterNode.model = self.models.currentModel().id
            self.inputs.suggestImages()

    def onDeviceSelected(self, index):
        if self._parameterNode:
            self._parameterNode.options.device = self.ui.deviceComboBox.itemData(index)

    def _onModelAdded(self, model):
        if self._parameterNode:
            self._parameterNode.model = model

    def _chosenModels(self):
        model = self.models.currentModel()
        return [model] if model is not None else []

    def _onCursor(self, place):
        self.maps.showValue(place)
        self.question.showCrosshair()

    # Running

    def onApplyButton(self, checked=False):
        model = self.models.currentModel()
        if model.installed:
            self._startRun()
        else:
            self.jobPanel.addLog(_("Downloading {model}").format(model=model.name))
            self.jobPanel.run(*self.logic.download(model.id), onFinished=self._onDownloaded)
        self._updateGUI()

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

        parameters, model = self._parameterNode, self.models.currentModel()
        with slicer.util.tryWithErrorDisplay(_("The explanation could not be started.")):
            try:
                self._run = self.logic.makeRun(
                    self.inputs.inputs(),
                    model.id,
                    self.question.methods(),
                    self.question.target(parameters.inputVolume),
                    self.question.options(),
                    reference=parameters.reference if parameters.options.baseline.value == "reference" else None,
                    segmentation=parameters.segmentation,
                    truth=parameters.truth,
                    measures=self.question.measures(),
                    counterfactual=parameters.counterfactual,
                    with_answer=parameters.withAnswer,
                    answer=parameters.answer,
                )
                self.jobPanel.addLog(_("Explaining {model}").format(model=model.name))
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
            steps = self._run.steps(job.result)
            self.jobPanel.applyInSteps(steps, lambda error: self._onApplied(job, error))

    def _onApplied(self, job, error):
        run, self._run = self._run, None
        if error is not None:
            self._updateGUI()
            self._showError(error, run)
            return
        seconds = self.jobPanel.elapsed
        parameters = self._parameterNode
        parameters.answer = run.answer
        parameters.map = run.maps[0]
        if parameters.otherMap is not None and parameters.otherMap not in run.maps:
            parameters.otherMap = None
        self.report.remember(run.maps, job.result["prediction"])
        self.question.askAgain()
        self.maps.setParameters(parameters)  # the same nodes may show other maps now
        self._updateGUI()
        self.maps.show()
        self.maps.renderAgain()
        self.jobPanel.showIdle(self._done(seconds, run.leftOut), 1.0)
        self.jobPanel.addLog(self.ui.statusLabel.text)
        self.results.bringIntoView()

    def _done(self, seconds, leftOut):
        from meddl_slicer.explanation_maps import title_of

        said = [_("Done in {seconds} s.").format(seconds=f"{seconds:.1f}")]
        said += [
            _("No map of {method}: {reason}").format(method=title_of(id), reason=why) for id, why in leftOut.items()
        ]
        return " ".join(said)

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
            logger.debug("explanation failed", exc_info=error)
            slicer.util.errorDisplay(message, windowTitle=_("MedDL Saliency"))

    def askForTrust(self, error):
        """Ask whether a model may run the code it brings. Tests answer for the user."""
        from meddl_slicer import consent

        return consent.ask(error)

    # What the panel shows

    def _whatIsMissing(self):
        """Return what keeps Explain from working, each as a few words; empty when all is there."""
        return self.inputs.missing() + self.modelSection.missing() + self.question.missing()

    def _updateGUI(self, caller=None, event=None):
        if self._updating or self.models is None:
            return
        self._updating = True
        try:
            parameters = self._parameterNode
            if parameters:
                self.models.select(parameters.model)
                self.modelSection.selectDevice(parameters.options.device)
            running = self.jobPanel.isRunning
            self.modelSection.update(running, self._chosenModels())
            self.inputs.update(running)
            self.question.update(running)
            self.maps.update()
            self.results.show(self.maps.view(), self.ui.mapComboBox.count > 0)
            self.report.update(running)
            self._updateApply()
        finally:
            self._updating = False

    def _updateApply(self):
        running = self.jobPanel.isRunning
        missing = self._whatIsMissing()
        model = self.models.currentModel()
        if running:
            tip = _("Something is under way.")
        elif missing:
            tip = _("Still needed: {missing}.").format(missing=", ".join(missing))
        else:
            tip = _("Run the model, and find out why it answers so.")
        download = model is not None and not model.installed and not model.problem
        self.ui.applyButton.text = (
            _("Download {size} and explain").format(size=model.sizeText) if download else _("Explain")
        )
        self.ui.applyButton.toolTip = tip
        self.ui.applyButton.enabled = not running and not missing
