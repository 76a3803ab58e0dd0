"""The tab "Generate": networks that learn to make images, what they make, and how far it can be used."""

from types import SimpleNamespace

import slicer
from slicer.i18n import tr as _

from MedDLAugmentationLib.generate_parameters import PREFIX, GenerateParameterNode

_FOLDED = ("train", "make", "add", "judge")


class GenerateTab:
    """Holds no algorithm: sections make jobs, job panels follow them, nodes and folders take what comes of it.

    A training, a judgement and cases added to a dataset go from folder to folder: they go on when the scene is closed.
    What is made for the scene does not.

    Attributes:
        jobPanel: follows all jobs but trainings, which ``train.jobPanel`` does.

    Args:
        page: the tab's widget, with a layout.
        panel: the module's widget; its logic runs the jobs.
    """

    def __init__(self, page, panel):
        from meddl_slicer.job_panel import JobPanel
        from meddl_slicer.panel import PanelScene

        from MedDLAugmentationLib.generate_add import AddSection
        from MedDLAugmentationLib.generate_dataset import DatasetSection
        from MedDLAugmentationLib.generate_judge import JudgeSection
        from MedDLAugmentationLib.generate_make import MakeSection
        from MedDLAugmentationLib.generate_model import GeneratorSection
        from MedDLAugmentationLib.generate_train import TrainSection

        self._panel = panel
        self.parameters = None
        self.missingPackages = []
        self._updating = False
        self._isLong = False
        self._ready = False
        self.uiWidget = slicer.util.loadUI(panel.resourcePath("UI/MedDLAugmentationGenerate.ui"))
        page.layout().addWidget(self.uiWidget)
        self.ui = slicer.util.childWidgetVariables(self.uiWidget)
        self.uiWidget.setMRMLScene(slicer.mrmlScene)

        ui = self.ui
        widgets = SimpleNamespace(
            progressBar=ui.workProgressBar,
            statusLabel=ui.workStatusLabel,
            cancelButton=ui.workCancelButton,
            logTextEdit=ui.workLogTextEdit,
        )
        self.jobPanel = JobPanel(self._runner, widgets)
        self.dataset = DatasetSection(ui, lambda: panel.logic.runner, self.update)
        self.generator = GeneratorSection(ui, self.update, self.showError)
        self.train = TrainSection(self, self.dataset, self.generator)
        self.make = MakeSection(self)
        self.add = AddSection(self)
        self.judge = JudgeSection(self)
        self._sections = (self.generator, self.train, self.make, self.add, self.judge)
        ui.generateSetupButton.connect("clicked(bool)", lambda checked: slicer.util.selectModule("MedDLCore"))
        for name in _FOLDED:
            # What is shown or hidden in a folded section comes out as it was when it was folded.
            getattr(ui, f"{name}CollapsibleButton").connect("contentsCollapsed(bool)", self._onFolded)
        self._lookForPackages()
        self._ready = True
        self.scene = PanelScene(panel, self._scenesParameters, ui, self)
        self.scene.start()

    # What the module's widget calls

    def enter(self):
        """Take up what may have changed elsewhere."""
        self._lookForPackages()
        self.generator.refresh()
        self.dataset.look()
        self.train.enter()
        self.scene.follow()

    def exit(self):
        """Observe nothing; what is under way goes on."""
        self.scene.pause()
        self.train.exit()

    def cleanup(self):
        """Stop all work and let go of the scene."""
        self.jobPanel.abandon()
        self.train.cleanup()
        self.dataset.cleanup()
        self.judge.cleanup()
        self.scene.stop()
        self.uiWidget.setMRMLScene(None)

    # What the scene calls

    def onParameters(self, parameters):
        self.parameters = parameters
        self.generator.setParameters(parameters)

    def onParametersChanged(self):
        self.update()

    def onSceneReady(self):
        """Choose what can be chosen for the user."""
        self.train.onSceneReady()
        if self.parameters and not self.parameters.generator:
            self.parameters.generator = self.generator.firstGenerator()

    def onSceneClosing(self):
        if self.make.run is not None:
            self.make.run = None
            self.jobPanel.abandon()
            self.jobPanel.addLog(_("The scene was closed, so no image was made."))
        self.make.forget()
        self.train.onSceneClosing()

    def onNodeLeaving(self, node):
        if self.make.run is not None and self.make.run.uses(node):
            self.make.run = None
            self.jobPanel.abandon()
            self.jobPanel.showIdle(_('"{name}" was removed, so no image was made.').format(name=node.GetName()))
            self.jobPanel.addLog(self.ui.workStatusLabel.text)
            self.update()

    # What sections call

    @property
    def isBusy(self):
        """Whether one of the jobs that are no training is under way."""
        return self.jobPanel.isRunning

    def runJob(self, task, params, onFinished, isLong=False):
        """Submit a job; a long one goes to the worker of trainings, so that models can be run meanwhile."""
        self._isLong = isLong
        job = self.jobPanel.run(task, params, onFinished)
        self.update()
        return job

    def trainingRunner(self):
        """Return who runs what takes minutes to hours: a test's own runner, or a worker for that alone."""
        from meddl_slicer.synthesis_runner import long_runner

        return self._panel.logic.runner if getattr(self._panel.logic, "_runner", None) is not None else long_runner()

    def showError(self, error, jobPanel=None):
        """Tell the user in one sentence what happened and keep the details in the log."""
        from meddl.errors import JobCancelled

        jobPanel = jobPanel or self.jobPanel
        isCancelled = isinstance(error, JobCancelled)
        message = _("Cancelled.") if isCancelled else getattr(error, "message", "") or str(error)
        jobPanel.showIdle(message)
        jobPanel.addLog(message)
        if not isCancelled:
            jobPanel.addLog(getattr(error, "details", "") or "")

    def attempt(self, call, jobPanel=None):
        """Call, and show what goes wrong."""
        from meddl.errors import MedDLError

        with slicer.util.tryWithErrorDisplay(_("This could not be started.")):
            try:
                call()
            except MedDLError as error:
                self.showError(error, jobPanel)
        self.update()

    def askForTrust(self, error):
        """Ask whether a generator may run the code it brings. Tests answer for the user."""
        from meddl_slicer import consent

        return consent.ask(error)

    def handled(self, error, again):
        """Show an error; where it asks for consent to a generator's own code, ask, and call ``again`` on a yes."""
        from meddl.errors import UntrustedModelError

        if isinstance(error, UntrustedModelError) and self.parameters and self.askForTrust(error):
            from meddl_slicer import consent

            with slicer.util.tryWithErrorDisplay(_("The consent could not be stored.")):
                consent.record(self.parameters.generator, origin="MedDL Augmentation panel")
                again()
            return
        self.showError(error)

    def tip(self, button, missing, text, running=False):
        """Enable a button if nothing is missing; its tooltip says why not."""
        if running:
            said = _("Something is under way.")
        elif missing:
            said = _("Still needed: {missing}.").format(missing=", ".join(missing))
        else:
            said = text
        button.toolTip = said
        button.enabled = not missing and not running

    def needs(self):
        """Return what keeps all jobs from being started, each as a few words."""
        return [_("Python packages (open MedDL Setup)")] if self.missingPackages else []

    def update(self, *_args):
        """Bring all widgets in line with what is chosen and known."""
        if self._updating or not self._ready:
            return
        self._updating = True
        try:
            self.uiWidget.enabled = self.parameters is not None
            self.ui.workCancelButton.visible = self.isBusy
            if self.parameters is not None:
                for section in self._sections:
                    section.update()
        finally:
            self._updating = False

    def _runner(self):
        return self.trainingRunner() if self._isLong else self._panel.logic.runner

    def _scenesParameters(self):
        return GenerateParameterNode(self._panel.logic.getParameterNode().parameterNode, PREFIX)

    def _onFolded(self, folded):
        self.update()

    def _lookForPackages(self):
        """Find out what of MedDL's own packages is missing."""
        from meddl_slicer import packages

        self.missingPackages = [package.name for package in packages.missing()]
        self.ui.generateSetupFrame.visible = bool(self.missingPackages)
        names = ", ".join("PyTorch" if name == "torch" else name for name in self.missingPackages)
        self.ui.generateSetupLabel.text = _("To train and use generators, Slicer still needs {names}.").format(
            names=names
        )
