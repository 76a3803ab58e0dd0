"""Panel MedDL Saliency: why did the model say so, in the slice views, with proof of how far to believe it."""

import slicer
from MedDLSaliencyLib.logic import MedDLSaliencyLogic
from MedDLSaliencyLib.self_test import MedDLSaliencyTest  # noqa: F401  (Slicer looks for it here)
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import *

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


class MedDLSaliencyWidget(ScriptedLoadableModuleWidget):
    """The panel. It holds no algorithm: the logic makes runs, the job panel follows them, sections show the rest."""

    def __init__(self, parent=None):
        self.logic = None
        self.jobPanel = None
        self.models = None
        self.scene = None
        self._parameterNode = None
        self._updating = False
        # Last, since without a parent it calls setup().
        ScriptedLoadableModuleWidget.__init__(self, parent)

    def createLogic(self):
        """Return the logic of this panel; tests give another one."""
        return MedDLSaliencyLogic()

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        from meddl_slicer.apply_section import ApplySection
        from meddl_slicer.explanation_views import CursorWatch
        from meddl_slicer.input_section import InputSection
        from meddl_slicer.job_panel import JobPanel
        from meddl_slicer.model_section import ModelSection
        from meddl_slicer.panel import PanelScene
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
            self.ui,
            install=lambda names: self.logic.install(names),
            onChosen=lambda: self.inputs.suggestImages(),
            onInstalled=self.updateGUI,
            showError=lambda error: self.apply.showError(error),
        )
        self.models = self.modelSection.selector
        self.apply = ApplySection(self, _texts())
        self.inputs = InputSection(self.ui, self.models, None, self.chosenModels, self.apply.update)
        self.question = QuestionSection(self.ui, self.models, lambda: self.logic.runner, self.updateGUI)
        self.maps = MapSection(self.ui, self.updateGUI)
        self.results = ResultSection(self.ui, self._segmentation)
        self.report = ReportSection(
            self.ui, self.jobPanel, self.maps.view, self._segmentation, self.updateGUI, self.apply.showError
        )
        self.cursor = CursorWatch(self._onCursor)
        self._sections = (self.modelSection, self.inputs, self.question, self.maps)

        self.modelSection.lookForPackages()
        self.scene = PanelScene(self, self.logic.getParameterNode, self.ui, self)
        self.scene.start()

    def cleanup(self):
        self.jobPanel.abandon()
        self.cursor.stop()
        self.maps.cleanup()
        self.question.cleanup()
        self.scene.stop()
        self.inputs.cleanup()
        self.results.cleanup()
        # A selector that still observes the scene when the application exits can crash it.
        self.uiWidget.setMRMLScene(None)

    def enter(self):
        self.modelSection.lookForPackages()
        if not self.modelSection.missingPackages:
            self.logic.warmUp()
        self.models.refresh()
        self.cursor.start()
        self.scene.follow()

    def exit(self):
        self.cursor.stop()
        self.scene.pause()

    # What PanelScene tells

    def onParameters(self, parameters):
        self._parameterNode = parameters
        for section in self._sections:
            section.setParameters(parameters)

    def onParametersChanged(self):
        self.updateGUI()

    def onSceneReady(self):
        """Choose what can be chosen for the user."""
        if self.scene.isShown:
            self.cursor.start()
        parameters = self._parameterNode
        if not parameters.inputVolume:
            parameters.inputVolume = self._firstImage()
        if not parameters.model:
            parameters.methods = _METHODS
            parameters.model = self.models.firstModel()
        self.inputs.suggestImages()

    def onSceneClosing(self):
        self.apply.onSceneClosing()
        self.maps.hide()
        self.report.forget()

    def onNodeLeaving(self, node):
        self.apply.onNodeLeaving(node)
        self.logic.removeCompanions(node)

    def _firstImage(self):
        """Return the first volume that is no map, or None."""
        from meddl_slicer.explanation_maps import map_of

        volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        return next((node for node in volumes if map_of(node) is None), None)

    def _segmentation(self):
        return self._parameterNode.segmentation if self._parameterNode else None

    def _onCursor(self, place):
        self.maps.showValue(place)
        self.question.showCrosshair()

    # What the Apply button asks and tells

    def makeRun(self):
        parameters = self._parameterNode
        return self.logic.makeRun(
            self.inputs.inputs(),
            self.models.currentModel().id,
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

    def chosenModels(self):
        model = self.models.currentModel()
        return [model] if model is not None else []

    def whatIsMissing(self):
        """Return what keeps Explain from working, each as a few words; empty when all is there."""
        return self.inputs.missing() + self.modelSection.missing() + self.question.missing()

    def onApplied(self, run, result):
        seconds = self.jobPanel.elapsed
        parameters = self._parameterNode
        parameters.answer = run.answer
        parameters.map = run.maps[0]
        if parameters.otherMap is not None and parameters.otherMap not in run.maps:
            parameters.otherMap = None
        self.report.remember(run.maps, result["prediction"])
        self.question.askAgain()
        self.maps.setParameters(parameters)  # the same nodes may show other maps now
        self.updateGUI()
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

    def updateGUI(self):
        """Bring all widgets in line with what is chosen and known."""
        if self._updating or self.models is None:
            return
        self._updating = True
        try:
            running = self.jobPanel.isRunning
            self.modelSection.showChoices()
            self.modelSection.update(running, self.chosenModels())
            self.inputs.update(running)
            self.question.update(running)
            self.maps.update()
            self.results.show(self.maps.view(), self.ui.mapComboBox.count > 0)
            self.report.update(running)
            self.apply.update()
        finally:
            self._updating = False


def _texts():
    from meddl_slicer.apply_section import ApplyTexts

    return ApplyTexts(
        title=_("MedDL Saliency"),
        apply=_("Explain"),
        download=_("Download {size} and explain"),
        tip=_("Run the model, and find out why it answers so."),
        busy=_("Something is under way."),
        started=_("Explaining {model}"),
        notStarted=_("The explanation could not be started."),
        sceneClosed=_("The scene was closed, so the explanation was stopped."),
        nodeRemoved=_('"{name}" was removed, so the explanation was stopped.'),
    )
