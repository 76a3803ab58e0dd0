"""The tab's part for variants of many cases: into a dataset that is there, or into a new one."""

from pathlib import Path

import qt
from slicer.i18n import tr as _

_MOST_TOLD = 6


class BatchSection:
    """Offers formats, keeps the folders, and tells what came of it.

    Args:
        ui: the tab's widgets.
    """

    def __init__(self, ui):
        from meddl.datasets.formats.known import FORMATS, make_format

        self.ui = ui
        self._parameters = None
        self._root = None
        for name in FORMATS:
            ui.formatComboBox.addItem(make_format(name).title, name)
        ui.formatComboBox.connect("activated(int)", self._onFormat)
        for line, name in ((ui.sourcePathLineEdit, "source"), (ui.outputPathLineEdit, "output")):
            line.retrieveHistory()
            line.connect("currentPathChanged(QString)", lambda path, name=name: self._onPath(name, path))
            # That it was emptied is told by this signal only.
            line.connect("validInputChanged(bool)", lambda valid, name=name: None if valid else self._onPath(name, ""))
        ui.openButton.connect("clicked(bool)", self._onOpen)

    def setParameters(self, parameters):
        """Show what is in this parameter node from now on; None for nothing."""
        self._parameters = parameters
        self._root = None
        self.ui.batchLabel.text = ""

    def isDataset(self):
        """Tell whether the source is a dataset that MedDL has made."""
        from meddl.datasets.manifest import MANIFEST

        return self._source() is not None and _isFile(self._source() / MANIFEST)

    def missing(self):
        """Return what keeps variants from being made, each as a few words."""
        if self._source() is None:
            return [_("cases")]
        if self.isDataset():
            return []
        found = [] if self._parameters.batch.output.strip() else [_("a folder for the new dataset")]
        return found + ([] if self._parameters.batch.name.strip() else [_("a name for the new dataset")])

    def params(self, plan, seed):
        """Return the parameters of the job, see meddl.augmentation.task.augment."""
        from meddl.datasets import ExportOptions, SplitOptions

        batch = self._parameters.batch
        self.ui.batchLabel.text = ""
        self._root = None
        told = {"source": self._source(), "plan": plan.to_dict(), "count": batch.count, "seed": seed}
        self.ui.sourcePathLineEdit.addCurrentPathToHistory()
        if self.isDataset():
            return told
        self.ui.outputPathLineEdit.addCurrentPathToHistory()
        export = ExportOptions(batch.format, batch.name.strip(), split=SplitOptions(folds=batch.folds))
        return {**told, "output": Path(batch.output), "export": export.to_dict()}

    def tell(self, result):
        """Say what came of it."""
        self._root = Path(result["root"])
        said = [
            _("Variants made: {done}, there already: {skipped}.").format(
                done=len(result["done"]), skipped=len(result["skipped"])
            )
        ]
        export = result["export"]
        lost = {**result["failed"], **(export["failed"] | export["left_out"] if export else {})}
        if lost:
            said.append(_("Left out: {count}.").format(count=len(lost)))
        if result["warnings"]:
            said.append(_("With a warning: {count}.").format(count=len(result["warnings"])))
        lines = [" ".join(said), *result["notes"], *(export["notes"] if export else ())]
        told = [f"{name}: {reason}" for name, reason in lost.items()]
        told += [f"{name}: {' '.join(warnings)}" for name, warnings in result["warnings"].items()]
        lines += told[:_MOST_TOLD]
        if len(told) > _MOST_TOLD:
            lines.append(_("… and {count} more, see the log.").format(count=len(told) - _MOST_TOLD))
        self.ui.batchLabel.text = "\n".join(lines)
        return told

    def update(self, running):
        """Bring the widgets in line with the choices."""
        self.ui.batchCollapsibleButton.enabled = self._parameters is not None
        if self._parameters is None:
            return
        batch = self._parameters.batch
        for line, path in ((self.ui.sourcePathLineEdit, batch.source), (self.ui.outputPathLineEdit, batch.output)):
            line.enabled = not running
            if line.currentPath != path:
                line.currentPath = path
        self.ui.formatComboBox.setCurrentIndex(max(self.ui.formatComboBox.findData(batch.format), 0))
        isNew = self._source() is not None and not self.isDataset()
        for name in ("formatLabel", "formatComboBox", "nameLabel", "nameLineEdit", "foldsLabel", "foldsSpinBox",
                     "outputLabel", "outputPathLineEdit"):  # fmt: skip
            getattr(self.ui, name).visible = isNew
        if self._source() is None:
            said = ""
        elif self.isDataset():
            said = _("A dataset: variants are added to its training cases, in place of those it has of this kind.")
        else:
            said = _("A list or folder: its cases become a dataset, with variants of those to train with.")
        self.ui.sourceNoteLabel.text = said
        self.ui.sourceNoteLabel.visible = bool(said)
        self.ui.batchLabel.visible = bool(self.ui.batchLabel.text)
        self.ui.openButton.enabled = self._root is not None

    def _source(self):
        text = self._parameters.batch.source.strip() if self._parameters is not None else ""
        return Path(text) if text else None

    def _onFormat(self, index):
        self._parameters.batch.format = self.ui.formatComboBox.itemData(index)

    def _onPath(self, name, path):
        if self._parameters is not None and path != getattr(self._parameters.batch, name):
            setattr(self._parameters.batch, name, path)

    def _onOpen(self, checked=False):
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(self._root)))


def _isFile(path):
    try:
        return path.is_file()
    except OSError:  # its name is too long, or nobody may look there
        return False
