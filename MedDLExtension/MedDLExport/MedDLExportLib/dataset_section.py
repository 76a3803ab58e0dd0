"""The panel's part for the dataset: format, number, kind of files, folder."""

from pathlib import Path

from slicer.i18n import tr as _


class DatasetSection:
    """Offers formats and keeps the folder in the parameter node.

    Args:
        ui: the panel's widgets.
        session: holds the parameter node.
    """

    def __init__(self, ui, session):
        from meddl.datasets.formats.known import FORMATS, make_format

        self.ui = ui
        self._session = session
        self._formats = {name: make_format(name) for name in FORMATS}
        for name, form in self._formats.items():
            ui.formatComboBox.addItem(form.title, name)
        ui.formatComboBox.connect("activated(int)", self._onFormat)
        ui.endingComboBox.connect("activated(int)", self._onEnding)
        ui.folderPathLineEdit.retrieveHistory()
        ui.folderPathLineEdit.connect("currentPathChanged(QString)", self._onFolder)
        # That it was emptied is told by this signal only.
        ui.folderPathLineEdit.connect("validInputChanged(bool)", lambda valid: None if valid else self._onFolder(""))
        ui.numberSpinBox.setKeyboardTracking(False)

    def update(self, running):
        """Bring the widgets in line with the choices."""
        parameters = self._session.parameters
        self.ui.datasetCollapsibleButton.enabled = parameters is not None and not running
        if parameters is None:
            return
        form = self._form(parameters)
        self.ui.formatComboBox.setCurrentIndex(max(self.ui.formatComboBox.findData(parameters.dataset.format), 0))
        endings = list(form.endings)
        if [self.ui.endingComboBox.itemData(index) for index in range(self.ui.endingComboBox.count)] != endings:
            self.ui.endingComboBox.clear()
            for ending in endings:
                self.ui.endingComboBox.addItem(ending, ending)
        self.ui.endingComboBox.setCurrentIndex(max(self.ui.endingComboBox.findData(parameters.dataset.ending), 0))
        self._visible(len(endings) > 1, self.ui.endingLabel, self.ui.endingComboBox)
        self._visible(self._isNumbered(form, parameters), self.ui.numberLabel, self.ui.numberSpinBox)
        if self.ui.folderPathLineEdit.currentPath != parameters.folder:
            self.ui.folderPathLineEdit.currentPath = parameters.folder

    def missing(self):
        """Return what keeps a dataset from being written, each as a few words."""
        parameters = self._session.parameters
        if parameters is None:
            return [_("a scene")]
        found = []
        form = self._form(parameters)
        if self._session.task not in form.tasks:
            suited = ", ".join(each.title for each in self._formats.values() if self._session.task in each.tasks)
            found.append(_("a format that holds such labels ({formats})").format(formats=suited))
        if not parameters.folder.strip():
            found.append(_("a folder"))
        elif self._session.key is not None and self._isInside(self._session.key):
            found.append(_("a key file outside of the dataset"))
        if parameters.split.validation + parameters.split.test >= 100:
            found.append(_("patients to train with (see Split)"))
        if parameters.grid.crop.value == "roi" and parameters.cropROI is None:
            found.append(_("a region to crop to (see Geometry)"))
        return found

    def remember(self):
        """Offer the folder the next time, too."""
        self.ui.folderPathLineEdit.addCurrentPathToHistory()

    def _isInside(self, path):
        return path.resolve().is_relative_to(self._session.datasetFolder().resolve())

    def _form(self, parameters):
        return self._formats.get(parameters.dataset.format) or next(iter(self._formats.values()))

    def _isNumbered(self, form, parameters):
        """Tell whether the format makes a number part of the dataset's folder."""
        from dataclasses import replace

        from MedDLExportLib.parameters import options_of

        options = options_of(parameters)
        return form.folder(options) != form.folder(replace(options, number=options.number % 999 + 1))

    def _onFormat(self, index):
        with self._session.atOnce():
            self._session.parameters.dataset.format = self.ui.formatComboBox.itemData(index)
            self._session.parameters.dataset.ending = ""

    def _onEnding(self, index):
        usual = index == 0
        self._session.parameters.dataset.ending = "" if usual else self.ui.endingComboBox.itemData(index)

    def _onFolder(self, path):
        if self._session.parameters is not None and path != self._session.parameters.folder:
            self._session.parameters.folder = str(Path(path)) if path.strip() else ""

    def _visible(self, visible, *widgets):
        for widget in widgets:
            widget.visible = visible
