"""The panel's part for the preview: six samples of the slice that a view shows, drawn anew while sliders move."""

import time

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from MedDLAugmentationLib.variants_samples import Asked, SampleCells, Shown, at_length

_COUNT = 6
_ALL = tuple(range(_COUNT))
_COARSE, _QUICK, _FINE = 64, 128, 256  # voxels along an edge
_FINE_AFTER_MS = 250
_FAST_S = 0.25
_WAIT_MS = 1500
_LOOK_MS = 400


class PreviewSection(VTKObservationMixin):
    """Asks the worker for samples and draws them. The newest wish counts; voxels are sent once.

    Attributes:
        selected: number of the sample that was clicked on.
        seconds: from the last change to its pictures.

    Args:
        ui: the tab's widgets.
        getRunner: returns who runs the jobs.
        getCase: returns the meddl_slicer.augmentation_case.SceneCase, or None.
        getPlan: returns the plan, or None.
        isFree: tells whether the user looks at it, and the worker has nothing else to do for this panel.
        onResult: called with each result, as meddl.augmentation.task.preview_variants tells it.
    """

    def __init__(self, ui, getRunner, getCase, getPlan, isFree, onResult):
        from meddl_slicer.latest import LatestJob

        VTKObservationMixin.__init__(self)
        self.ui = ui
        self._getCase, self._getPlan, self._isFree, self._onResult = getCase, getPlan, isFree, onResult
        self._latest = LatestJob(getRunner, self._onDone)
        self._parameters = None
        self._isOn = False
        self.selected = 0
        self.seconds = 0.0
        self._asked = 0.0
        self._forget()
        self._soon = self._timer(0, self._ask)
        self._fine = self._timer(_FINE_AFTER_MS, lambda: self._refine(0))
        self._look = self._timer(_LOOK_MS, self.request)  # nodes tell several times of one change
        self._wait = self._timer(_WAIT_MS, self._tellWaiting)
        self._quick, self._fineSeconds = _QUICK, 0.0
        self._cells = SampleCells(ui, _COUNT, self.select)
        ui.viewComboBox.connect("activated(int)", self._onView)
        ui.channelComboBox.connect("activated(int)", self._onChannel)
        ui.previewCollapsibleButton.connect("contentsCollapsed(bool)", lambda folded: self.request())
        self.clear()

    def _timer(self, milliseconds, call):
        timer = qt.QTimer()
        timer.setSingleShot(True)
        timer.setInterval(milliseconds)
        timer.connect("timeout()", call)
        return timer

    def _forget(self):
        self._sent = ""  # key of the case that the worker has
        self._shown = []  # of each sample
        self._segments = []

    # What the tab calls

    def start(self):
        """Follow the scene from now on."""
        self._isOn = True
        self.request()

    def stop(self):
        """Follow nothing, and ask for nothing."""
        self._isOn = False
        for timer in (self._soon, self._fine, self._look, self._wait):
            timer.stop()
        self._latest.drop()
        self.removeObservers()

    def setParameters(self, parameters):
        """Show what is in this parameter node from now on; None for nothing."""
        self._parameters = parameters
        if parameters is None:
            self.clear()

    def clear(self, text=""):
        """Show no samples, but a sentence."""
        self._latest.drop()
        self._fine.stop()
        self._wait.stop()
        self._forget()
        self._cells.hide()
        self.ui.previewLabel.text = text

    def request(self):
        """Draw samples as soon as possible; what was asked for before and is not drawn yet is dropped."""
        if self._isOn and not self._soon.isActive():
            self._asked = time.monotonic()
            self._soon.start()

    def select(self, number):
        """Choose a sample."""
        self.selected = number
        self._cells.select(number)
        self._tellSelected()

    def draw(self):
        """Return what happened to the sample that is chosen, as a job takes it; None where there is none."""
        return self._shown[self.selected].sample["draw"] if self._shown else None

    @property
    def samples(self):
        """What is shown, as meddl.augmentation.task.preview_variants tells it."""
        return [each.sample for each in self._shown]

    @property
    def isSettled(self):
        """Whether nothing more will be drawn until something changes."""
        waiting = any(timer.isActive() for timer in (self._soon, self._fine, self._look))
        return not waiting and not self._latest.isRunning

    @property
    def sentKey(self):
        """The key of the case that the worker has been sent; "" for none."""
        return self._sent

    def follow(self, case):
        """Observe the nodes that the preview shows, and offer views and channels."""
        from meddl_slicer import augmentation_slices

        self.removeObservers()
        names = list(augmentation_slices.views())
        self._offer(self.ui.viewComboBox, names, self._parameters.view if self._parameters else "")
        channels = list(case.images) if case is not None else []
        self._offer(self.ui.channelComboBox, channels, self._parameters.channel if self._parameters else "")
        self.ui.channelComboBox.visible = len(channels) > 1
        self.ui.viewLabel.visible = self.ui.viewComboBox.visible = bool(names)
        view = self._view()
        if view is not None:
            self.addObserver(view, vtk.vtkCommand.ModifiedEvent, self._onViewMoved)
        if case is None:
            return
        for node in case.images.values():
            for event in (vtk.vtkCommand.ModifiedEvent, slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent,
                          slicer.vtkMRMLTransformableNode.TransformModifiedEvent):  # fmt: skip
                self.addObserver(node, event, self._onNode)
            self.addObserver(node, slicer.vtkMRMLDisplayableNode.DisplayModifiedEvent, self._onLook)
        if case.segmentation is not None:
            self.addObserver(case.segmentation, slicer.vtkMRMLTransformableNode.TransformModifiedEvent, self._onNode)
            segmentation = case.segmentation.GetSegmentation()
            for event in (segmentation.SourceRepresentationModified, segmentation.SegmentAdded,
                          segmentation.SegmentRemoved, segmentation.SegmentModified):  # fmt: skip
                self.addObserver(segmentation, event, self._onNode)

    def redraw(self):
        """Draw the samples that are there once more, for instance with other colors."""
        self._show(range(len(self._shown)))

    # What happens

    def _onView(self, index):
        if self._parameters is not None:
            self._parameters.view = self.ui.viewComboBox.itemText(index)

    def _onChannel(self, index):
        if self._parameters is not None:
            self._parameters.channel = self.ui.channelComboBox.itemText(index)

    def _onViewMoved(self, caller, event):
        from meddl.errors import MedDLError

        case = self._getCase()
        try:
            isOther = case is not None and (not self._shown or self._sliceChoice(case) != self._shown[0].asked.choice)
        except MedDLError:  # said already when the preview was asked for
            return
        if isOther:
            self.request()

    def _onNode(self, caller, event):
        if self._isOn:
            self._look.start()

    def _onLook(self, caller, event):
        self.redraw()

    # Asking

    def _ask(self):
        if not self._isOn or self._parameters is None or not self._isFree():
            return
        if self.ui.previewCollapsibleButton.collapsed:
            return
        case, plan = self._getCase(), self._getPlan()
        if case is None or plan is None:
            self.clear(_("Choose an image.") if case is None else _("Check what may happen."))
            return
        self._fine.stop()
        self._wait.start()
        self._latest.ask(lambda: self._job(case, plan, _ALL, self._quick))

    def _refine(self, number):
        """Draw one sample after the other in full, while nobody wants anything else."""
        case, plan = self._getCase(), self._getPlan()
        busy = self._latest.isRunning or self._soon.isActive() or not self._isFree()
        if not self._isOn or busy or case is None or plan is None:
            return
        self._fineSeconds = 0.0 if number == 0 else self._fineSeconds
        self._latest.ask(lambda: self._job(case, plan, (number,), _FINE))

    def _job(self, case, plan, numbers, greatest):
        """Return the job, when its turn has come."""
        from meddl.augmentation.task import PREVIEW_VARIANTS
        from meddl_slicer.latest import Wanted

        key, choice = case.key, self._sliceChoice(case)
        params = {"case": key, "plan": plan.to_dict(), "seed": self._parameters.seed, "numbers": list(numbers)}
        params |= {"axis": choice.axis, "index": choice.index, "greatest": greatest}
        isNew = key != self._sent
        if isNew:
            params["sample"] = case.sample()
            self._sent = key
        return Wanted(PREVIEW_VARIANTS, params, Asked(choice, numbers, greatest, time.monotonic(), isNew))

    def _sliceChoice(self, case):
        from meddl.volume import Grid
        from meddl_slicer import augmentation_slices, nodes

        image = case.image
        grid = Grid(image.GetImageData().GetDimensions(), nodes.affine_to_world(image))
        return augmentation_slices.slice_in_view(grid, self._view())

    def _view(self):
        from meddl_slicer import augmentation_slices

        return augmentation_slices.views().get(self._parameters.view if self._parameters else "")

    def _onDone(self, asked, result, error):
        if not self._latest.isRunning:
            self._wait.stop()
        if error is not None:
            self.clear(getattr(error, "message", "") or str(error))
        elif self._parameters is None or not self._isOn:
            return
        elif result["missing"]:  # the worker is another one by now
            self._sent = ""
            self._ask()
        else:
            self._take(asked, result)

    def _take(self, asked, result):
        seconds = time.monotonic() - asked.since
        if not self._shown:
            self._shown = [None] * _COUNT
        for number, sample in zip(asked.numbers, result["samples"], strict=True):
            self._shown[number] = Shown(sample, result["source"], asked)
        self._segments = result["segments"]
        self._show(asked.numbers)
        if len(asked.numbers) == _COUNT:
            self._taken(asked, seconds)
        else:
            self._fineSeconds += seconds
            if asked.numbers[0] + 1 < _COUNT:
                self._refine(asked.numbers[0] + 1)
            elif self._fineSeconds < _FAST_S:  # this computer need not draw twice
                self._quick = _FINE
        self._onResult(result)

    def _taken(self, asked, seconds):
        """All samples are drawn: if it was for a slider that moves, and it rests now, draw them better."""
        if not self._latest.isRunning:
            self.seconds = time.monotonic() - self._asked
        if asked.greatest < _FINE:
            self._fine.start()
        if asked.isNew:  # the image was sent with it: that tells nothing of the next time
            return
        if seconds > 2 * _FAST_S:
            self._quick = _QUICK if asked.greatest > _QUICK else _COARSE
        elif asked.greatest < _QUICK and seconds < _FAST_S:
            self._quick = _QUICK

    def _tellWaiting(self):
        if self._latest.isRunning:
            self.ui.previewLabel.text = _("Working… The worker may have other work to finish first.")

    # Showing

    def _show(self, numbers):
        for number in numbers:
            self._cells.show(number, self._shown[number], self._segments, self._parameters, self._getCase())
        if self._shown:
            self._cells.select(self.selected)
        self._tellSelected()

    def _tellSelected(self):
        if not self._shown:
            return
        sample, choice = self._shown[self.selected].sample, self._shown[self.selected].asked.choice
        lines = [_("Sample {number}: {what}").format(number=self.selected + 1, what=at_length(sample))]
        if choice.isTilted:
            lines.append(_("The view is oblique: this is the slice of voxels nearest to it."))
        self.ui.previewLabel.text = "\n".join(lines)

    def _offer(self, combo, names, wanted):
        if [combo.itemText(index) for index in range(combo.count)] != names:
            combo.clear()
            for name in names:
                combo.addItem(name)
        combo.setCurrentIndex(max(combo.findText(wanted), 0) if names else -1)
