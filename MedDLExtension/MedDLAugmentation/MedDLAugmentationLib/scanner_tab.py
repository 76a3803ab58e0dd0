"""The tab "Scanner": an image as a faster, cheaper or other scanner would have taken it."""

import json
import logging
from types import SimpleNamespace

import qt
import slicer
from slicer.i18n import tr as _

from MedDLAugmentationLib.scanner_settings import ScannerPage, settings

logger = logging.getLogger(__name__)


class ScannerTab:
    """Holds no algorithm: pages show settings, the job panel follows the job, a run brings the result to the scene.

    Attributes:
        jobPanel: follows the job.

    Args:
        page: the tab's widget.
        panel: the module's widget; its logic runs the jobs.
    """

    def __init__(self, page, panel):
        from meddl.simulation.options import METHODS
        from meddl_slicer.job_panel import JobPanel
        from meddl_slicer.panel import PanelScene

        self._panel = panel
        self.ui = slicer.util.childWidgetVariables(page)
        self.parameters = None
        self._run = None
        self._values = {}
        self._pages = {}
        self._text = None
        self._updating = False
        self._ready = False
        widgets = {name: getattr(self.ui, f"scanner{name[0].upper()}{name[1:]}")
                   for name in ("progressBar", "statusLabel", "cancelButton", "logTextEdit")}  # fmt: skip
        self.jobPanel = JobPanel(lambda: panel.logic.runner, SimpleNamespace(**widgets))
        self._lines = settings()
        for name, method in METHODS.items():
            self.ui.kindComboBox.addItem(method.title, name)
            self.ui.kindComboBox.setItemData(self.ui.kindComboBox.count - 1, method.__doc__.strip().split("\n")[0],
                                             qt.Qt.ToolTipRole)  # fmt: skip
        self.ui.kindComboBox.connect("activated(int)", self._onKind)
        self.ui.scannerApplyButton.connect("clicked(bool)", self.onApplyButton)
        self._ready = True
        self.scene = PanelScene(panel, panel.logic.getScannerParameterNode, self.ui, self)
        self.scene.start()

    # What the module's widget calls

    def enter(self):
        """Follow the scene."""
        self.scene.follow()

    def exit(self):
        """Follow nothing while the user is elsewhere."""
        self.scene.pause()

    def cleanup(self):
        """Let go of everything."""
        self.jobPanel.abandon()
        self.scene.stop()

    # What the scene tells

    def onParameters(self, parameters):
        self.parameters = parameters
        self._text = None

    def onParametersChanged(self):
        self.update()

    def onSceneReady(self):
        if not self.parameters.scannerInput:
            from meddl_slicer.provenance import is_synthetic

            volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
            kinds = [node for node in volumes if node.GetClassName() == "vtkMRMLScalarVolumeNode"]
            self.parameters.scannerInput = next((node for node in kinds if not is_synthetic(node)), None)

    def onSceneClosing(self):
        if self._run is not None:
            self.jobPanel.addLog(_("The scene was closed, so the work was stopped."))
            self._run = None
            self.jobPanel.abandon()
        self.jobPanel.showIdle("")

    def onNodeLeaving(self, node):
        if self._run is not None and self._run.uses(node):
            self._run = None
            self.jobPanel.abandon()
            self.jobPanel.showIdle(_('"{name}" was removed, so the work was stopped.').format(name=node.GetName()))
            self.update()

    # Choices

    @property
    def kind(self):
        """Name of the method that is chosen."""
        return self.ui.kindComboBox.itemData(max(self.ui.kindComboBox.currentIndex, 0))

    def page(self, kind):
        """Return the page of a method, made when it is first shown."""
        if kind not in self._pages:
            self._pages[kind] = ScannerPage(self._lines[kind], self._onSetting)
            self.ui.scannerOptionsFrame.layout().addWidget(self._pages[kind].widget)
            self._pages[kind].fill(self._values.get(kind, {}))
        return self._pages[kind]

    def options(self):
        """Return the meddl.simulation.SimulationOptions that are chosen.

        Raises:
            meddl.errors.UsageError: there are none such; the message says why.
        """
        from meddl.simulation import SimulationOptions

        told = {"method": self.kind, **self.page(self.kind).options(), "seed": self.parameters.scannerSeed}
        return SimulationOptions.from_dict(told)

    def _onKind(self, index):
        self.parameters.scannerKind = self.ui.kindComboBox.itemData(index)

    def _onSetting(self):
        self._values[self.kind] = self.page(self.kind).values()
        self._text = json.dumps(self._values)
        self.parameters.scannerOptions = self._text
        self.update()

    # Work

    def onApplyButton(self, checked=False):
        """Simulate."""
        from meddl.errors import MedDLError
        from meddl_slicer.simulation_run import SimulationRun

        with slicer.util.tryWithErrorDisplay(_("The work could not be started.")):
            try:
                image, labels = self.parameters.scannerInput, self.parameters.scannerSegmentation
                self._run = SimulationRun(image, self.options().to_dict(), labels)
                self.jobPanel.addLog(self.ui.kindComboBox.currentText)
                self.jobPanel.run(self._run.task, self._run.params, onFinished=self._onFinished)
            except MedDLError as error:
                self._run = None
                self.showError(error)
        self.update()

    def _onFinished(self, job):
        if job.error is not None:
            self._run = None
            self.showError(job.error)
            self.update()
        else:
            self.jobPanel.applyInSteps(self._run.steps(job.result), self._onApplied)

    def _onApplied(self, error):
        from meddl_slicer import simulation_run

        run, self._run = self._run, None
        if error is not None:
            self.showError(error)
        else:
            seconds = f"{self.jobPanel.elapsed:.1f}"
            names = ", ".join(node.GetName() for pair in run.made for node in pair if node is not None)
            self.jobPanel.showIdle(_("Added in {seconds} s: {names}").format(seconds=seconds, names=names), 1.0)
            self.jobPanel.addLog(self.ui.scannerStatusLabel.text)
            simulation_run.show(run.made[0][0])
        self.update()

    def showError(self, error):
        """Tell the user in one sentence what happened."""
        from meddl.errors import JobCancelled

        said = _("Cancelled.") if isinstance(error, JobCancelled) else getattr(error, "message", "") or str(error)
        self.jobPanel.showIdle(said)
        self.jobPanel.addLog(said)
        logger.debug("%s", getattr(error, "details", ""))

    # What the tab shows

    def update(self):
        """Bring all widgets in line with what is chosen."""
        if self._updating or not self._ready:
            return
        self._updating = True
        try:
            running = self.jobPanel.isRunning
            self.ui.scannerCollapsibleButton.enabled = self.parameters is not None and not running
            missing = list(self._panel.missing())
            if self.parameters is not None:
                self._showSettings()
                missing += self._missing()
            self.ui.scannerApplyButton.enabled = self.parameters is not None and not running and not missing
            self.ui.scannerApplyButton.toolTip = (
                _("Still needed: {missing}.").format(missing=", ".join(missing))
                if missing
                else _("Make the image as this scanner would have taken it, beside the image.")
            )
        finally:
            self._updating = False

    def _showSettings(self):
        if self.parameters.scannerOptions != self._text:
            self._text = self.parameters.scannerOptions
            self._values = _read(self._text)
            for kind, page in self._pages.items():
                page.fill(self._values.get(kind, {}))
        index = max(self.ui.kindComboBox.findData(self.parameters.scannerKind), 0)
        self.ui.kindComboBox.setCurrentIndex(index)
        page = self.page(self.kind)
        for each in self._pages.values():
            each.widget.visible = each is page
        isProjection = self.kind == "projection"
        self.ui.scannerSegmentationSelector.visible = self.ui.scannerSegmentationSelectorLabel.visible = isProjection
        if self.kind == "low_dose":
            page.widgets["filter"].enabled = page.widgets["image"].currentIndex == 1
        elif self.kind == "undersampling":
            page.widgets["phase_axis"].enabled = page.widgets["encoding"].currentIndex == 0
        elif isProjection:
            page.widgets["source_mm"].enabled = page.widgets["beam"].currentIndex == 0

    def _missing(self):
        from meddl.errors import UsageError

        found = [] if self.parameters.scannerInput is not None else [_("an image")]
        try:
            self.options()
            said = ""
        except UsageError as error:
            said = error.message
            found.append(_("settings that go together"))
        self.ui.kindNoteLabel.text = said
        self.ui.kindNoteLabel.visible = bool(said)
        return found


def _read(text):
    """Return settings by method, as a scene keeps them; nothing where it keeps something else."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return (
        {kind: values for kind, values in found.items() if isinstance(values, dict)} if isinstance(found, dict) else {}
    )
