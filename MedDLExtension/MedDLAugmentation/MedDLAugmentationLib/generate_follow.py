"""What is seen of a training: its losses, in a plot view and as a line, and the newest samples."""

import slicer
from slicer.i18n import tr as _

from MedDLAugmentationLib.generate_pictures import FittedPicture


class TrainingPictures:
    """Follows a training by what it writes into its folder.

    Attributes:
        training: what is followed, or None.
        plot: the losses in Slicer's plot view.

    Args:
        ui: the tab's widgets.
        isRunning: tells whether the training is under way.
    """

    def __init__(self, ui, isRunning):
        from meddl_slicer.synthesis_plot import LossPlot

        self.ui = ui
        self._isRunning = isRunning
        self.plot = LossPlot()
        self.training = None
        self._mayPlot = True
        self._picture = FittedPicture(ui.samplesLabel)
        ui.plotButton.connect("toggled(bool)", self._onPlot)

    def begin(self, training):
        """Follow a training that begins, and show its losses, unless the user has put a plot away before."""
        self.training = training
        training.look()
        if self._mayPlot:
            self._press(True)
            self._showPlot()

    def follow(self, training):
        """Show what came of the training in a folder; nothing, where it has no losses yet."""
        if training.steps:
            self.training = training
            self._showLosses()
            self._showSamples()
        elif self.training is not None:  # of another one than is going to be trained
            self.training = None
            self.ui.lossLabel.text = ""
            self._picture.show(None)

    def look(self, once=False):
        """Show what has come since the last look, while there is a training; ``once``: whether there is one or not."""
        self._picture.fit()
        if self.training is None or not (self._isRunning() or once):
            return
        if self.training.look():
            self._showLosses()
        self._showSamples()

    def onSceneClosing(self):
        """Take the plot away, and leave the layout alone."""
        self.plot.forget()
        self._press(False)

    def update(self):
        """Bring the widgets in line with what there is."""
        running = self._isRunning()
        isThere = running or (self.training is not None and self.training.steps > 0)
        self.ui.plotButton.enabled = isThere or self.ui.plotButton.checked  # a plot that is shown can be put away
        self.ui.samplesLabel.visible = self._picture.isShown
        self.ui.samplesTextLabel.visible = self._picture.isShown
        self.ui.lossLabel.visible = bool(self.ui.lossLabel.text) and not running

    def _onPlot(self, checked):
        self._mayPlot = checked
        if checked:
            self._showPlot()
        else:
            self.plot.hide()

    def _showPlot(self):
        if self.training is not None:
            with slicer.util.tryWithErrorDisplay(_("The plot could not be shown.")):
                self.plot.show(self._title(), self.training.losses())

    def _showLosses(self):
        told = ", ".join(f"{name} {value:.4g}" for name, value in self.training.latest().items())
        self.ui.lossLabel.text = _("Step {step}: {losses}").format(step=self.training.steps, losses=told)
        self.ui.lossLabel.visible = not self._isRunning()  # else the status line says it, too
        self.plot.update(self._title(), self.training.losses())
        self.ui.plotButton.enabled = True

    def _showSamples(self):
        self._picture.show(self.training.newest_samples())
        isThere = self._picture.isShown
        self.ui.samplesLabel.visible = self.ui.samplesTextLabel.visible = isThere
        if isThere:
            step = self._picture.path.stem.rpartition("_")[2].lstrip("0") or "0"
            self.ui.samplesTextLabel.text = _("After {step} steps, from above: {rows}").format(
                step=step, rows=self._rows()
            )

    def _rows(self):
        config = self.training.config()
        if config is not None and config.conditioned:
            return _("label maps, real images, synthetic images that fit the label maps")
        return _("real images, synthetic images")

    def _title(self):
        return _("Training {name}").format(name=self.training.root.name)

    def _press(self, pressed):
        wasBlocked = self.ui.plotButton.blockSignals(True)
        self.ui.plotButton.checked = pressed
        self.ui.plotButton.blockSignals(wasBlocked)
