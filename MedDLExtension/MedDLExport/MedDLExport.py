"""Panel MedDL Export: from segmented cases to a dataset that trains."""

import logging

import slicer
import vtk
from MedDLExportLib.logic import MedDLExportLogic
from MedDLExportLib.self_test import MedDLExportTest  # noqa: F401  (Slicer looks for it here)
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import *

logger = logging.getLogger(__name__)

_FOR_MODELS = ("monai", "einops", "scikit-image", "safetensors")  # no dataset takes them
_CHECK = 0.3  # part of an export's time that looking at the cases takes


class MedDLExport(ScriptedLoadableModule):
    """What Slicer's module list shows."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("MedDL Export")
        self.parent.categories = ["MedDL", translate("qSlicerAbstractCoreModule", "Informatics")]
        self.parent.dependencies = ["MedDLCore"]
        self.parent.contributors = ["MedDL contributors"]
        self.parent.helpText = _(
            "Makes a training dataset of segmented cases, from the scene or from files: for nnU-Net, the Medical "
            "Segmentation Decathlon, MONAI, BIDS, COCO or DICOM. Images and labels are brought to one grid, labels are "
            "brought in line over all cases, patients are shared out to training, validation and test, and names are "
            "taken away. Nothing leaves this computer."
        )
        self.parent.acknowledgementText = _(
            "De-identification follows DICOM PS3.15 Annex E. Look at the result yourself before you hand it on."
        )


class MedDLExportWidget(ScriptedLoadableModuleWidget):
    """The panel. It holds no algorithm: the session knows the cases, the job panel follows jobs, sections show them."""

    def __init__(self, parent=None):
        self.logic = None
        self.jobPanel = None
        self.session = None
        self.scene = None
        self._parameterNode = None
        self._isNew = True
        self._updating = False
        self._missingPackages = []
        # Last, since without a parent it calls setup().
        ScriptedLoadableModuleWidget.__init__(self, parent)

    def createLogic(self):
        """Return the logic of this panel; tests give another one."""
        return MedDLExportLogic()

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        from meddl_slicer.job_panel import JobPanel
        from meddl_slicer.panel import PanelScene
        from MedDLExportLib.cases_section import CasesSection
        from MedDLExportLib.dataset_section import DatasetSection
        from MedDLExportLib.export_session import ExportSession
        from MedDLExportLib.labels_section import LabelsSection
        from MedDLExportLib.options_section import OptionsSection
        from MedDLExportLib.quality_section import QualitySection
        from MedDLExportLib.result_section import ResultSection

        self.uiWidget = slicer.util.loadUI(self.resourcePath("UI/MedDLExport.ui"))
        self.layout.addWidget(self.uiWidget)
        self.ui = slicer.util.childWidgetVariables(self.uiWidget)
        self.uiWidget.setMRMLScene(slicer.mrmlScene)

        self.logic = self.createLogic()
        self.jobPanel = JobPanel(lambda: self.logic.runner, self.ui)
        self.session = ExportSession(self.jobPanel, self._updateGUI)
        self.cases = CasesSection(self.ui, self.session, self.jobPanel, self._showError)
        self.quality = QualitySection(self.ui, self.session, self.jobPanel, self._showError)
        self.labels = LabelsSection(self.ui, self.session, self._showError)
        self.options = OptionsSection(self.ui, self.session)
        self.dataset = DatasetSection(self.ui, self.session)
        self.results = ResultSection(self.ui, self.session, self.jobPanel, self._showError)
        self._sections = (self.cases, self.quality, self.labels, self.options, self.dataset, self.results)
        self._optionSections = (self.options, self.dataset, self.results)

        for name in ("geometry", "split", "deidentify"):
            # What is shown or hidden in a folded section comes out as it was when it was folded.
            getattr(self.ui, f"{name}CollapsibleButton").connect("contentsCollapsed(bool)", self._onFolded)
        self.ui.setupButton.connect("clicked(bool)", lambda checked: slicer.util.selectModule("MedDLCore"))
        self.ui.dryRunButton.connect("clicked(bool)", self.onDryRunButton)
        self.ui.exportButton.connect("clicked(bool)", self.onExportButton)
        self._lookForPackages()
        self.scene = PanelScene(self, self.logic.getParameterNode, self.ui, self)
        self.scene.addObserver(slicer.mrmlScene, slicer.mrmlScene.NodeRemovedEvent, self._onNodeRemoved)
        self.scene.start()

    def cleanup(self):
        self.session.chain.abandon()
        self.scene.stop()
        self.cases.cleanup()
        self.quality.cleanup()
        self.labels.cleanup()
        # A selector that still observes the scene when the application exits can crash it.
        self.uiWidget.setMRMLScene(None)

    def enter(self):
        self._lookForPackages()
        if not self._missingPackages:
            self.logic.warmUp()
        self.scene.follow()

    def exit(self):
        self.scene.pause()

    # What PanelScene tells

    def onParameters(self, parameters):
        self._parameterNode = parameters
        self._isNew = True
        self.session.setParameters(parameters)

    def onParametersChanged(self):
        isNew, self._isNew = self._isNew, False
        if isNew:
            self._updateGUI()
        elif not self.session.isStoring:
            self._updateGUI(onlyOptions=not self.session.read())

    def onSceneReady(self):
        """Choose nothing for the user."""

    def onNodeLeaving(self, node):
        """Wait until it is gone, see _onNodeRemoved."""

    def onSceneClosing(self):
        if self.session.isRunning or self.jobPanel.isRunning:
            self.jobPanel.addLog(_("The scene was closed, so the work was stopped. What was written stays."))
            self.session.chain.abandon()
        self.jobPanel.showIdle("")
        self.quality.hidePlot()
        self.results.clear()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeRemoved(self, _caller, _event, node):
        if not slicer.mrmlScene.IsClosing() and self.session.uses(node):
            self._updateGUI()

    def _onFolded(self, collapsed):
        if not collapsed:
            self._updateGUI()

    # Work

    def onDryRunButton(self, checked=False):
        self._start(self._dryRun)

    def onExportButton(self, checked=False):
        self.dataset.remember()
        self.jobPanel.addLog(_("Export started."))
        self._start(self._write)

    def _start(self, then):
        """Look at cases that are not known yet, plan, and go on with ``then(work)``."""
        self.results.clear()

        def goOn(error):
            if error is not None:
                self._showError(error)
            else:
                self._attempt(lambda: then(self._planned()))
            self._updateGUI()

        self._attempt(lambda: self.session.check(goOn, (0.0, _CHECK)))

    def _planned(self):
        work = self.session.makeWork()
        with slicer.util.WaitCursor():
            work.plan()
        return work

    def _dryRun(self, work):
        self.results.show(_("This would be written:"), work.lines())
        self.jobPanel.showIdle(_("Nothing was written."))
        self.session.tell(work)

    def _write(self, work):
        def finish(error):
            if error is not None:
                self._showError(error)
            else:
                self.jobPanel.showIdle(_("Exported."), 1.0)
            self.results.tell(work)
            self.jobPanel.addLog(self.ui.resultLabel.text)
            self.session.tell(work)

        self.session.write(work, finish, (_CHECK, 1.0))

    def _attempt(self, call):
        from meddl.errors import MedDLError

        with slicer.util.tryWithErrorDisplay(_("The export could not go on.")):
            try:
                call()
            except MedDLError as error:
                self._showError(error)

    def _showError(self, error):
        """Tell the user in one sentence what happened."""
        from meddl.errors import JobCancelled, OutOfMemory, UnwritableDataset

        if isinstance(error, JobCancelled):
            said = _("Cancelled. What is finished stays.")
        else:
            said = getattr(error, "message", "") or str(error)
        self.jobPanel.showIdle(said)
        # Refusals and unforeseen errors may name files or what identifies somebody, which is not for the log.
        harmless = isinstance(error, JobCancelled | OutOfMemory | UnwritableDataset)
        self.jobPanel.addLog(said if harmless else _("Not possible so; the line below the buttons says why."))
        logger.debug("%s", getattr(error, "details", ""))

    def _lookForPackages(self):
        """Find out which of the packages that datasets take are missing."""
        from meddl_slicer import packages

        needed = [package for package in packages.packages() if package.name not in _FOR_MODELS]
        self._missingPackages = self.session.missingPackages = [one.name for one in needed if not one.usable]
        self.ui.setupFrame.visible = bool(self._missingPackages)
        names = ", ".join(self._missingPackages)
        self.ui.setupLabel.text = _("To check and write cases, Slicer still needs {names}.").format(names=names)

    def _whatIsMissing(self):
        """Return what keeps the export from working, each as a few words; empty when all is there."""
        from meddl_slicer.export_cases import missing

        chosen = self.session.chosen()
        found = []
        if not chosen:
            found.append(_("a case with a check mark"))
        elif all(row.label is None for row in chosen):
            found.append(_("a label for at least one case"))
        elif all(missing(row) for row in chosen):
            found.append(_("all images of at least one case"))
        elif any(row.task not in ("", self.session.task) for row in chosen):
            found.append(_("cases whose labels are for the task that is chosen"))
        if self._missingPackages:
            found.append(_("Python packages (open MedDL Setup)"))
        return found + self.dataset.missing()

    def _updateGUI(self, onlyOptions=False):
        """Bring all widgets in line with what is chosen and known; ``onlyOptions``: cases and labels are the same."""
        if self._updating or self.session is None:
            return
        self._updating = True
        try:
            running = self.jobPanel.isRunning or self.session.isRunning
            for section in self._optionSections if onlyOptions else self._sections:
                section.update(running)
            missing = self._whatIsMissing()
            if running:
                tip = _("Something is under way.")
            elif missing:
                tip = _("Still needed: {missing}.").format(missing=", ".join(missing))
            else:
                tip = ""
            self.ui.exportButton.toolTip = tip or _("Write the dataset. Cases that are there already are skipped.")
            self.ui.dryRunButton.toolTip = tip or _("Tell what would be written, and write nothing.")
            for button in (self.ui.exportButton, self.ui.dryRunButton):
                button.enabled = not running and not missing
        finally:
            self._updating = False
