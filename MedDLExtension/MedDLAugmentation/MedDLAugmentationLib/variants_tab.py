"""The tab "Variants": what another patient, position or scanner might have made of an image, with its labels."""

import logging

import qt
import slicer
from slicer.i18n import tr as _

logger = logging.getLogger(__name__)

_AIR_HU = -500  # what no other modality has, and all CT that has some air


class VariantsTab:
    """Holds no algorithm: sections show, the preview and the job panel follow jobs, runs bring results to the scene.

    Attributes:
        jobPanel: follows whole variants and batches; previews follow themselves.

    Args:
        page: the tab's widget.
        panel: the module's widget; its logic runs the jobs.
    """

    def __init__(self, page, panel):
        from meddl_slicer.job_panel import JobPanel
        from meddl_slicer.panel import PanelScene

        from MedDLAugmentationLib.variants_batch import BatchSection
        from MedDLAugmentationLib.variants_plan import PlanSection
        from MedDLAugmentationLib.variants_preview import PreviewSection

        self._panel, self._page = panel, page
        self.ui = slicer.util.childWidgetVariables(page)
        self.parameters = None
        self._case = None
        self._run = None
        self._previewed = None
        self._updating = False
        self._ready = False
        self.jobPanel = JobPanel(self._runner, self.ui)
        self.plan = PlanSection(self.ui, self._onSliderMoved, self.showError)
        self.preview = PreviewSection(self.ui, self._runner, self.case, self.plan.plan, self._isFree, self._onPreviewed)
        self.batch = BatchSection(self.ui)
        self.ui.otherSelector.connect("checkedNodesChanged()", self._onOthers)
        self.ui.addButton.connect("clicked(bool)", self.onAddButton)
        self.ui.otherButton.connect("clicked(bool)", self._onOtherSamples)
        self.ui.batchButton.connect("clicked(bool)", self.onBatchButton)
        for name in ("planCollapsibleButton", "batchCollapsibleButton"):
            # What is shown or hidden in a folded section comes out as it was when it was folded.
            getattr(self.ui, name).connect("contentsCollapsed(bool)", lambda folded: folded or self.update())
        self._ready = True
        self.scene = PanelScene(panel, self._scenesParameters, self.ui, self)
        self.scene.start()

    # What the module's widget calls

    def enter(self):
        """Follow the scene, and draw the preview."""
        self.scene.follow()
        self.preview.start()

    def exit(self):
        """Follow nothing while the user is elsewhere; a batch goes on."""
        self.preview.stop()
        self.plan.rest()
        self.scene.pause()

    def cleanup(self):
        """Let go of everything."""
        self.preview.stop()
        self.jobPanel.abandon()
        self.scene.stop()

    # What the scene tells

    def onParameters(self, parameters):
        self.parameters = parameters
        self._case = self._previewed = None
        for section in (self.plan, self.preview, self.batch):
            section.setParameters(parameters)

    def onParametersChanged(self):
        self.plan.suggest(self._modality())
        self.plan.read()
        self.update()
        self._requestIfOther()

    def onSceneReady(self):
        if not self.parameters.inputVolume:
            self.parameters.inputVolume = self._firstImage()

    def onSceneClosing(self):
        if self._run is not None:
            self.jobPanel.addLog(_("The scene was closed, so the work was stopped."))
            self._run = None
            self.jobPanel.abandon()
        elif not self.jobPanel.isRunning:  # "Added" was said of nodes that leave; a batch is none of the scene
            self.jobPanel.showIdle("")

    def onNodeLeaving(self, node):
        if self._case is not None and self._case.uses(node):
            self.preview.clear()
        if self._run is None and self._case is None:
            return
        # The selectors may have told already that it leaves.
        if self._run is not None and self._run.case.uses(node):
            self._run = None
            self.jobPanel.abandon()
            self.jobPanel.showIdle(_('"{name}" was removed, so the work was stopped.').format(name=node.GetName()))
            self.update()

    # Choices

    def case(self):
        """Return what is chosen as a meddl_slicer.augmentation_case.SceneCase; None where no image is."""
        from meddl_slicer.augmentation_case import SceneCase

        chosen = self._images()
        segmentation = self.parameters.segmentation if self.parameters is not None else None
        isSame = self._case is not None and [*self._case.images.values()] == chosen
        if not chosen:
            self._case = None
        elif not isSame or self._case.segmentation is not segmentation:
            self._case = SceneCase(chosen, segmentation)
        return self._case

    def _images(self):
        first = self.parameters.inputVolume if self.parameters is not None else None
        if first is None or first.GetImageData() is None or first.GetImageData().GetNumberOfPoints() == 0:
            return []
        others = [node for node in self.parameters.otherInputs if node is not None and node is not first]
        return [first, *(node for node in others if node.GetImageData() is not None)]

    def _firstImage(self):
        """Return the first volume that is an image and no variant of one, or None."""
        from meddl_slicer.provenance import is_synthetic

        volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        kinds = ("vtkMRMLScalarVolumeNode", "vtkMRMLVectorVolumeNode")
        return next((node for node in volumes if node.GetClassName() in kinds and not is_synthetic(node)), None)

    def _modality(self):
        from meddl_slicer import study

        first = self.parameters.inputVolume if self.parameters is not None else None
        if first is None:
            return ""
        image, modality = first.GetImageData(), study.image_facts(first).get("modality", "")
        isCT = image is not None and image.GetScalarRange()[0] <= _AIR_HU
        return modality or ("CT" if isCT else "")

    def _onOthers(self):
        if self.parameters is not None and not self._updating:
            checked = list(self.ui.otherSelector.checkedNodes())
            if checked != list(self.parameters.otherInputs):
                self.parameters.otherInputs = checked

    def _onSliderMoved(self):
        self.plan.update(self.jobPanel.isRunning)
        self._requestIfOther()

    def _onOtherSamples(self, checked=False):
        self.parameters.seed = (self.parameters.seed + 1) % (self.ui.seedSpinBox.maximum + 1)

    def _requestIfOther(self):
        """Have the preview drawn if something that it shows is another one."""
        if self.parameters is None:
            return
        case, plan = self.case(), self.plan.plan()
        shown = (case, plan, self.parameters.seed, self.parameters.view)
        looks = (self.parameters.channel, self.parameters.outlines, self.parameters.difference)
        former, self._previewed = self._previewed, (shown, looks)
        if former is None or former[0][0] is not case or former[0][3] != shown[3]:
            self.preview.follow(case)
        if former is None or former[0] != shown:
            self.preview.request()
        elif former[1] != looks:
            self.preview.redraw()

    def _isFree(self):
        return not self.jobPanel.isRunning and self._panel.isShown(self._page)

    def _onPreviewed(self, result):
        self.plan.tellSides(result["one_sided"])
        self._updateButtons()

    # Work

    def onAddButton(self, checked=False):
        """Make the whole variant of the sample that is chosen."""
        from meddl_slicer.augmentation_run import VariantRun

        case, draw = self.case(), self.preview.draw()
        name = _("variant {number}").format(number=self.preview.selected + 1)
        self._run = VariantRun(case, {"draw": draw}, name)
        self._make(withVoxels=self.preview.sentKey != case.key)

    def _make(self, withVoxels):
        def finish(job):
            if job.error is not None:
                self._ended(job.error)
            elif job.result["missing"]:
                self._make(withVoxels=True)
            else:
                self.jobPanel.applyInSteps(self._run.steps(job.result), lambda error: self._onApplied(job, error))

        self._attempt(lambda: self.jobPanel.run(self._run.task, self._run.params(withVoxels), onFinished=finish))
        self.update()

    def _onApplied(self, job, error):
        run = self._run
        self._ended(error)
        if error is None:
            names = ", ".join(node.GetName() for node in [*run.images, run.segmentation] if node is not None)
            self.jobPanel.showIdle(_("Added, not shown yet: {names}").format(names=names), 1.0)
            self.jobPanel.addLog(self.ui.statusLabel.text)
            for note in job.result["notes"]:
                self.jobPanel.addLog(note)

    def _ended(self, error):
        self._run = None
        if error is not None:
            self.showError(error)
        self.update()
        self.preview.request()

    def onBatchButton(self, checked=False):
        """Make variants of many cases."""
        from meddl.augmentation.task import AUGMENT_DATASET

        def finish(job):
            if job.error is not None:
                self.showError(job.error)
            else:
                for line in self.batch.tell(job.result):
                    self.jobPanel.addLog(line)
                self.jobPanel.showIdle(_("Variants made."), 1.0)
            self.update()
            self.preview.request()

        self.jobPanel.addLog(_("Making variants of many cases."))
        self._attempt(
            lambda: self.jobPanel.run(
                AUGMENT_DATASET, self.batch.params(self.plan.plan(), self.parameters.seed), onFinished=finish
            )
        )
        self.update()

    def _attempt(self, call):
        from meddl.errors import MedDLError

        with slicer.util.tryWithErrorDisplay(_("The work could not be started.")):
            try:
                call()
            except MedDLError as error:
                self._run = None
                self.showError(error)

    def showError(self, error):
        """Tell the user in one sentence what happened."""
        from meddl.errors import JobCancelled

        said = getattr(error, "message", "") or str(error)
        if isinstance(error, JobCancelled):
            said = _("Cancelled. What is finished stays.")
        self.jobPanel.showIdle(said)
        # What may name files, or what identifies somebody, is not for the log.
        self.jobPanel.addLog(said if isinstance(error, JobCancelled) else _("Not possible; the line above says why."))
        logger.debug("%s", getattr(error, "details", ""))

    # What the tab shows

    def update(self):
        """Bring all widgets in line with what is chosen and known."""
        if self._updating or not self._ready:
            return
        self._updating = True
        try:
            running = self.jobPanel.isRunning
            self.ui.inputsCollapsibleButton.enabled = self.parameters is not None and not running
            self.ui.previewCollapsibleButton.enabled = self.parameters is not None
            self._showOthers()
            self.plan.update(running)
            self.batch.update(running)
            self._updateButtons()
        finally:
            self._updating = False

    def _showOthers(self):
        if self.parameters is None:
            return
        first, chosen = self.parameters.inputVolume, list(self.parameters.otherInputs)
        volumes = [
            node
            for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
            if node.GetClassName() == "vtkMRMLScalarVolumeNode" and not node.GetHideFromEditors()
        ]
        for node in volumes:
            self.ui.otherSelector.setCheckState(node, qt.Qt.Checked if node in chosen else qt.Qt.Unchecked)
        several = len(volumes) > (1 if first in volumes else 0)
        self.ui.otherSelector.visible = self.ui.otherSelectorLabel.visible = several

    def _updateButtons(self):
        running = self.jobPanel.isRunning
        missing = list(self._panel.missing())
        self._show(
            self.ui.addButton,
            missing + self.plan.missing() + ([] if self.preview.draw() is not None else [_("a preview")]),
            _("Make the whole image of the sample that is chosen, with its labels, beside the image."),
        )
        self._show(
            self.ui.batchButton,
            missing + self.plan.missing() + self.batch.missing(),
            _("Make variants of all training cases. Those that are there already are skipped."),
        )
        self.ui.otherButton.enabled = self.parameters is not None and not running
        for button in (self.ui.addButton, self.ui.batchButton):
            button.enabled = button.enabled and not running

    def _show(self, button, missing, tip):
        button.enabled = self.parameters is not None and not missing
        button.toolTip = _("Still needed: {missing}.").format(missing=", ".join(missing)) if missing else tip

    def _runner(self):
        return self._panel.logic.runner

    def _scenesParameters(self):
        return self._panel.logic.getParameterNode()
