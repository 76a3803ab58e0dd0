"""The part of the tab that adds synthetic cases to a dataset."""

from slicer.i18n import tr as _

_MOST_TOLD = 5


class AddSection:
    """Writes synthetic cases into the dataset's training part.

    Args:
        tab: the tab.
    """

    def __init__(self, tab):
        from meddl.augmentation import PRESETS

        self._tab = tab
        self.ui = tab.ui
        self.ui.presetComboBox.addItem(_("Label maps as they are"), "")
        for name, preset in PRESETS.items():
            self.ui.presetComboBox.addItem(_("Moved: {name}").format(name=preset["name"]), name)
        self.ui.presetComboBox.connect("activated(int)", self._onPreset)
        self.ui.addButton.connect("clicked(bool)", self.start)
        self._told = ""

    def missing(self):
        """Return what keeps cases from being made, each as a few words."""
        found = self._tab.dataset.missing() + self._tab.generator.missing()
        choice = self._tab.generator.current()
        if choice is not None and not choice.problem and not choice.isConditioned:
            found.append(_("a generator for label maps (cases of a dataset have labels)"))
        return found + self._tab.needs()

    def start(self, *_args):
        """Make and write the cases."""
        self._tab.attempt(self._start)

    def update(self):
        """Bring the widgets in line with the choices."""
        parameters, busy = self._tab.parameters, self._tab.isBusy
        self.ui.addCollapsibleButton.enabled = not busy
        self.ui.presetComboBox.setCurrentIndex(max(self.ui.presetComboBox.findData(parameters.adding.preset), 0))
        tip = _(
            "Write synthetic cases into the training part of the dataset, marked as such. Those that are there already "
            "are skipped, those of other settings replaced."
        )
        self._tab.tip(self.ui.addButton, self.missing(), tip, busy or self._tab.train.isRunning)
        self.ui.addedLabel.text = self._told
        self.ui.addedLabel.visible = bool(self._told)

    def _start(self):
        from meddl.synthesis.task import ADD_SYNTHETIC

        adding = self._tab.parameters.adding
        params = {
            "root": self._tab.dataset.folder,
            "model": self._tab.generator.current().id,
            "count": adding.count,
            "seed": adding.seed,
            "plan": adding.preset,
        }
        self._told = ""
        self._tab.dataset.remember()
        self._tab.jobPanel.addLog(_("Adding synthetic cases to the dataset."))
        self._tab.runJob(ADD_SYNTHETIC, params, self._onFinished, isLong=True)

    def _onFinished(self, job):
        if job.error is not None:
            self._tab.handled(job.error, self.start)
        else:
            self._tell(job.result["summary"])
        self._tab.dataset.look()
        self._tab.update()

    def _tell(self, summary):
        said = _("Synthetic cases written: {done}, there already: {skipped}.").format(
            done=len(summary["done"]), skipped=len(summary["skipped"])
        )
        if summary["failed"]:
            said += " " + _("Left out: {count}.").format(count=len(summary["failed"]))
        told = [f"{name}: {reason}" for name, reason in list(summary["failed"].items())[:_MOST_TOLD]]
        told += [f"{name}: {' '.join(each)}" for name, each in list(summary["warnings"].items())[:_MOST_TOLD]]
        self._told = "\n".join([said, *summary["notes"], *told])
        self._tab.jobPanel.showIdle(_("Done."), 1.0)
        self._tab.jobPanel.addLog(self._told)

    def _onPreset(self, index):
        if self._tab.parameters:
            self._tab.parameters.adding.preset = self.ui.presetComboBox.itemData(index)
