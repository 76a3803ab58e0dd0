"""Panel MedDL Inference: run a model on images of the scene."""

import slicer
from MedDLInferenceLib.logic import MedDLInferenceLogic
from MedDLInferenceLib.sample_data import registerSampleData
from MedDLInferenceLib.self_test import MedDLInferenceTest  # noqa: F401  (Slicer looks for it here)
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import *


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


class MedDLInferenceWidget(ScriptedLoadableModuleWidget):
    """The panel. It holds no algorithm: the logic makes runs, the job panel follows them, sections show the rest."""

    def __init__(self, parent=None):
        self.logic = None
        self.jobPanel = None
        self.models = None
        self.scene = None
        self._parameterNode = None
        # Last, since without a parent it calls setup().
        ScriptedLoadableModuleWidget.__init__(self, parent)

    def createLogic(self):
        """Return the logic of this panel; tests give another one."""
        return MedDLInferenceLogic()

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        from meddl_slicer.apply_section import ApplySection
        from meddl_slicer.input_section import InputSection
        from meddl_slicer.job_panel import JobPanel
        from meddl_slicer.model_section import ModelSection
        from meddl_slicer.panel import PanelScene
        from MedDLInferenceLib.batch_section import BatchSection
        from MedDLInferenceLib.ensemble_section import EnsembleSection
        from MedDLInferenceLib.options_section import OptionsSection
        from MedDLInferenceLib.output_section import OutputSection
        from MedDLInferenceLib.result_section import ResultSection

        self.uiWidget = slicer.util.loadUI(self.resourcePath("UI/MedDLInference.ui"))
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
        self.ensemble = EnsembleSection(self.ui, self.models)
        self.apply = ApplySection(self, _texts())
        self.options = OptionsSection(self.ui, self.models, self.ensemble)
        self.inputs = InputSection(self.ui, self.models, self.options.plain, self.chosenModels, self.apply.update)
        self.outputs = OutputSection(self.ui, self.models, self.ensemble, self.apply)
        self.results = ResultSection(self.ui)
        self.batch = BatchSection(self.ui, self.models, self.jobPanel, self.options.plainOfBatch, self.apply.showError)
        self._sections = (self.modelSection, self.ensemble, self.options, self.inputs, self.outputs)

        self.modelSection.lookForPackages()
        self.scene = PanelScene(self, self.logic.getParameterNode, self.ui, self)
        self.scene.start()

    def cleanup(self):
        self.jobPanel.abandon()
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
        self.scene.follow()

    def exit(self):
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
        parameters = self._parameterNode
        if not parameters.inputVolume:
            parameters.inputVolume = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
        if not parameters.model:
            parameters.model = self.models.firstModel()
        self.inputs.suggestImages()

    def onSceneClosing(self):
        self.apply.onSceneClosing()

    def onNodeLeaving(self, node):
        self.apply.onNodeLeaving(node)
        self.logic.removeCompanions(node)

    # What the Apply button asks and tells

    def makeRun(self):
        parameters, model = self._parameterNode, self.models.currentModel()
        return self.logic.makeRun(
            self.inputs.inputs(),
            self.ensemble.models(),
            self.outputs.node(),
            self.options.plain(),
            reference=parameters.referenceVolume if model.task == "reconstruction" else None,
            frames=self.inputs.frames,
        )

    def chosenModels(self):
        return self.ensemble.choices()

    def whatIsMissing(self):
        """Return what keeps Apply from working, each as a few words; empty when all is there."""
        sections = (self.inputs, self.modelSection, self.ensemble, self.options)
        return [words for section in sections for words in section.missing()]

    def onApplied(self, run, result):
        seconds = self.jobPanel.elapsed
        task = self.logic.taskOf(result)
        self.outputs.remember(task, run.output)
        self.inputs.adviseAgain()
        self.updateGUI()
        self.jobPanel.showIdle(_("Done in {seconds} s.").format(seconds=f"{seconds:.1f}"), 1.0)
        self.results.bringIntoView()
        self._logRun(run.output)
        if task == "reconstruction":
            slicer.util.setSliceViewerLayers(background=run.output)
        if task == "segmentation" and self._parameterNode.referenceSegmentation and "labels" in result:
            self._startEvaluation(result, run)

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
            self.apply.showError(error)
            return
        done = self.ui.statusLabel.text

        def finish(job):
            if job.error is not None:
                self.apply.showError(job.error)
            else:
                evaluation.apply(job.result)
                self.jobPanel.showIdle(done, 1.0)
            self.updateGUI()

        self.jobPanel.addLog(_("Comparing with the reference"))
        self.jobPanel.run(evaluation.task, evaluation.params, onFinished=finish)
        self.updateGUI()

    def updateGUI(self):
        """Bring all widgets in line with what is chosen and known."""
        running = self.jobPanel.isRunning
        self.modelSection.showChoices()
        self.ensemble.update(running)
        self.modelSection.update(running, self.chosenModels())
        self.options.update()
        self.inputs.update(running)
        self.outputs.update(running)
        self.apply.update()
        self.batch.update()
        self.outputs.followChoice()
        self.results.show(self.outputs.node())


def _texts():
    from meddl_slicer.apply_section import ApplyTexts

    return ApplyTexts(
        title=_("MedDL Inference"),
        apply=_("Apply"),
        download=_("Download {size} and apply"),
        tip=_("Run the model on the input."),
        busy=_("A run is under way."),
        started=_("Running {model}"),
        notStarted=_("The model could not be started."),
        sceneClosed=_("The scene was closed, so the run was stopped."),
        nodeRemoved=_('"{name}" was removed, so the run was stopped.'),
    )
