"""The part of the tab that trains: settings, start, cancel, continue, and how it goes."""

from pathlib import Path
from types import SimpleNamespace

import qt
from slicer.i18n import tr as _

from MedDLAugmentationLib.generate_follow import TrainingPictures
from MedDLAugmentationLib.generate_parameters import Shape, config_of, size_of, take_over

_LOOK_MS = 1000
_SLOW_EDGE = {2: 128, 3: 48}
"""From this size on, a training on a processor takes hours."""


class TrainSection:
    """Trains in a worker of its own, and follows it by what it writes into its folder.

    Args:
        tab: the tab.
        dataset: what is learned from.
        generator: gets what was trained.
    """

    def __init__(self, tab, dataset, generator):
        from meddl_slicer.job_panel import JobPanel

        self._tab, self._dataset, self._generator = tab, dataset, generator
        self.ui = ui = tab.ui
        widgets = SimpleNamespace(
            progressBar=ui.trainProgressBar,
            statusLabel=ui.trainStatusLabel,
            cancelButton=ui.trainCancelButton,
            logTextEdit=ui.workLogTextEdit,
        )
        self.jobPanel = JobPanel(tab.trainingRunner, widgets)
        self.pictures = TrainingPictures(ui, lambda: self.isRunning)
        self._started = None
        self._there = self._config = None
        self._isTaken = False
        self._timer = qt.QTimer()
        self._timer.setInterval(_LOOK_MS)
        self._timer.connect("timeout()", self.pictures.look)
        line = ui.outputPathLineEdit
        line.retrieveHistory()
        line.connect("currentPathChanged(QString)", lambda path: self._onFolder())
        line.connect("validInputChanged(bool)", lambda valid: self._onFolder())
        ui.nameLineEdit.connect("textChanged(QString)", lambda text: self._onFolder())
        ui.channelComboBox.connect("activated(int)", self._onChannel)
        ui.trainButton.connect("clicked(bool)", self.start)
        ui.takeOverButton.connect("clicked(bool)", self.takeOver)
        self._onFolder()

    @property
    def isRunning(self):
        """Whether a training is under way."""
        return self.jobPanel.isRunning

    @property
    def folder(self):
        """Where the generator goes, or None."""
        from meddl.batch.naming import safe_name

        text = self.ui.outputPathLineEdit.currentPath.strip()
        name = self.ui.nameLineEdit.text.strip()
        return Path(text) / safe_name(name) if text and name else None

    def enter(self):
        """Look what has come meanwhile."""
        self._timer.start()
        self._onFolder()

    def exit(self):
        """Look only while there is a training: the user may be in another module."""
        if not self.isRunning:
            self._timer.stop()

    def cleanup(self):
        """Stop the training, and take the plot away."""
        self._timer.stop()
        self.jobPanel.abandon()
        self.pictures.plot.hide()

    def onSceneReady(self):
        """Tell a scene that was opened meanwhile what is trained: its settings are shown, and cannot be changed."""
        if self.isRunning and self._tab.parameters and self._started is not None:
            name, config, minutes = self._started
            training = self._tab.parameters.training
            training.name, training.steps, training.minutes = name, config.steps, minutes
            take_over(training, config)

    def onSceneClosing(self):
        """Take the plot away; the training goes on."""
        self.pictures.onSceneClosing()

    def missing(self):
        """Return what keeps a training from being started, each as a few words."""
        parameters = self._tab.parameters
        if not parameters:
            return []
        found = self._dataset.missing()
        about = self._dataset.about
        if about is not None and parameters.training.conditioned and not about["structures"]:
            found.append(_("a dataset with segmentations (or images from chance alone)"))
        if not self.ui.nameLineEdit.text.strip():
            found.append(_("a name"))
        if not self.ui.outputPathLineEdit.currentPath.strip():
            found.append(_("a folder"))
        if self._refusal():
            found.append(_("another name, or the settings of the training that is there"))
        return found + self._tab.needs()

    def start(self, *_args):
        """Start the training, or go on with the one that is in the folder."""
        self._tab.attempt(self._start, self.jobPanel)

    def takeOver(self, *_args):
        """Choose the settings of the training that is in the folder."""
        if self._config is not None and self._tab.parameters:
            take_over(self._tab.parameters.training, self._config)
        self._tab.update()

    def update(self):
        """Bring the widgets in line with the choices."""
        training, running = self._tab.parameters.training, self.isRunning
        self.ui.trainSettings.enabled = not running
        self.ui.kindCostLabel.text = training.kind.cost()
        self.ui.kindComboBox.toolTip = training.kind.cost()
        isSlices = training.shape is Shape.SLICES
        self.ui.planeComboBox.visible = self.ui.sliceSizeSpinBox.visible = isSlices
        self.ui.patchSizeSpinBox.visible = not isSlices
        size = size_of(training)
        slow = size[0] > _SLOW_EDGE[len(size)]
        self.ui.sizeTextLabel.text = " x ".join(map(str, size)) + (_(": hours on a processor") if slow else "")
        self._showChannels(training)
        self._showPlace()
        continues = self._config is not None and not self._refusal()
        self.ui.trainButton.text = _("Continue") if continues else _("Start")
        tip = (
            _("Go on with the training that is in the folder, until {steps} steps are done.").format(
                steps=training.steps
            )
            if continues
            else _("Train on the dataset's training part. You can go on working meanwhile.")
        )
        if self._tab.isBusy and self._tab._isLong:
            self._tab.tip(self.ui.trainButton, [], tip, running=True)
        else:
            self._tab.tip(self.ui.trainButton, self.missing(), tip, running)
        self.pictures.update()

    # Running

    def _start(self):
        from meddl.synthesis.task import TRAIN_SYNTHESIZER
        from meddl_slicer.synthesis_training import TrainingView

        training, folder = self._tab.parameters.training, self.folder
        config = config_of(training)
        self._started = (training.name, config, training.minutes)
        params = {
            "dataset": self._dataset.folder,
            "config": config.to_dict(),
            "output": folder,
            "name": training.name.strip(),
            "minutes": training.minutes,
        }
        self._dataset.remember()
        self.ui.outputPathLineEdit.addCurrentPathToHistory()
        self.jobPanel.addLog(_("Training {name}").format(name=training.name.strip()))
        self.jobPanel.run(TRAIN_SYNTHESIZER, params, onFinished=self._onFinished)
        self._timer.start()
        self.pictures.begin(TrainingView(folder))
        self._tab.update()

    def _onFinished(self, job):
        from meddl.errors import JobCancelled

        seconds = self.jobPanel.elapsed
        self.pictures.look(once=True)
        training = self.pictures.training
        added = training.hasBundle and self._generator.add(training.root, isOurs=True)
        if job.error is not None:
            self._tab.showError(job.error, self.jobPanel)
            if isinstance(job.error, JobCancelled):
                said = _("Cancelled after {steps} steps.").format(steps=training.steps)
                if added:
                    said += " " + _("What it had learned at its last checkpoint can be used, and continued.")
                self.jobPanel.showIdle(said)
        else:
            steps = job.result["steps"]
            said = _("Trained: {steps} steps. It took {minutes:.1f} minutes.").format(steps=steps, minutes=seconds / 60)
            if job.result["ended"] == "minutes":
                said = _("The time is up after {steps} steps. Continue to go on.").format(steps=steps)
            said += " " + _("The generator is chosen below.") if added else ""
            self.jobPanel.showIdle(said, 1.0)
            self.jobPanel.addLog("\n".join([said, *job.result["notes"]]))
        self._onFolder()

    # What is in the folder already

    def _onFolder(self):
        from meddl_slicer.synthesis_training import TrainingView

        if self.isRunning:
            return
        folder = self.folder
        self._there, self._config, self._isTaken = None, None, False
        if folder is not None:
            self._there = TrainingView(folder)
            self._config = self._there.config()
            self._isTaken = self._config is None and self._there.is_taken()
            self._there.look()
            # Without a name, for instance after the scene was closed, what was trained last can still be seen.
            self.pictures.follow(self._there)
        self._tab.update()

    def _refusal(self):
        """Return why what is in the folder cannot be gone on with, or ""."""
        if self.isRunning:
            return ""
        if self._isTaken:
            return _("There is something else in a folder of this name already.")
        if self._config is not None and self._config.digest != config_of(self._tab.parameters.training).digest:
            return _("A training of this name is there already, with other settings.")
        return ""

    def _showPlace(self):
        there, refusal = self._there, self._refusal()
        text = refusal
        if not refusal and there is not None and there.steps and not self.isRunning:
            text = _("A training of this name has come to step {step}.").format(step=there.steps)
        self.ui.outputNoteLabel.text = text
        self.ui.outputNoteLabel.visible = bool(text)
        self.ui.takeOverButton.visible = bool(refusal) and self._config is not None

    def _showChannels(self, training):
        about, combo = self._dataset.about, self.ui.channelComboBox
        names = about["channels"] if about is not None else []
        if names != [combo.itemText(index) for index in range(combo.count)]:
            combo.clear()
            combo.addItems(names)
        combo.setCurrentIndex(max(combo.findText(training.channel), 0) if names else -1)
        self.ui.channelLabel.visible = combo.visible = len(names) > 1

    def _onChannel(self, index):
        if self._tab.parameters:
            self._tab.parameters.training.channel = self.ui.channelComboBox.itemText(index) if index else ""
