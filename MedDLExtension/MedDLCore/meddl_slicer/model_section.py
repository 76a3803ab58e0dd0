"""The panel's part for the model: choosing and adding one, the packages it takes, and what it runs on."""

from pathlib import Path

import qt
import slicer

from meddl_slicer.i18n import tr as _


class ModelSection:
    """The model selector with its Add menu, the list of devices, and the line that offers missing packages.

    Args:
        ui: the panel's widgets.
        install: called with names of packages to install them.
        onChosen: called when a model was chosen.
        onInstalled: called when packages were installed.
        showError: called with an error for the user.
    """

    def __init__(self, ui, install, onChosen, onInstalled, showError):
        from meddl_slicer.model_selector import ModelSelector

        self.ui = ui
        self._install, self._onChosen, self._onInstalled, self._showError = install, onChosen, onInstalled, showError
        self._parameters = None
        self.selector = ModelSelector(ui.modelComboBox, ui.modelDescription, ui.searchLineEdit)
        self.missingPackages = []
        self._modelPackages = ()
        self._fillDevices()
        self._makeAddMenu()
        ui.modelComboBox.connect("currentIndexChanged(int)", self._onModel)
        ui.deviceComboBox.connect("currentIndexChanged(int)", self._onDevice)
        ui.setupButton.connect("clicked(bool)", self._onSetup)

    def setParameters(self, parameters):
        """Keep what is chosen in this parameter node from now on; None for nowhere."""
        self._parameters = parameters

    def showChoices(self):
        """Show what the parameter node says."""
        if self._parameters:
            self.selector.select(self._parameters.model)
            self._selectDevice(self._parameters.options.device)

    def missing(self):
        """Return what keeps the model from being run, each as a few words."""
        model, found = self.selector.currentModel(), []
        if model is None:
            found.append(_("a model"))
        elif model.problem:
            found.append(_("a model that is on this computer"))
        if self.missingPackages:
            found.append(_("Python packages (open MedDL Setup)"))
        elif self._modelPackages:
            found.append(_("the Python package {names}").format(names=", ".join(self._modelPackages)))
        return found

    def update(self, running, chosen):
        """Bring the widgets in line with the models that are chosen."""
        self._modelPackages = tuple(dict.fromkeys(name for model in chosen for name in model.missingPackages))
        for widget in (self.ui.modelComboBox, self.ui.searchLineEdit, self.ui.addModelButton, self.ui.deviceComboBox):
            widget.enabled = not running
        self.ui.setupFrame.visible = bool(self.missingPackages or self._modelPackages)
        if self.missingPackages:
            names = ", ".join("PyTorch" if name == "torch" else name for name in self.missingPackages[:3])
            more = len(self.missingPackages) - 3
            if more > 0:
                names = _("{names} and {count} more").format(names=names, count=more)
            self.ui.setupLabel.text = _("To run models, Slicer still needs {names}.").format(names=names)
            self.ui.setupButton.text = _("Open MedDL Setup")
        else:
            names = ", ".join(self._modelPackages)
            self.ui.setupLabel.text = _("To run this model, Slicer still needs {names}.").format(names=names)
            self.ui.setupButton.text = _("Install…")

    def lookForPackages(self):
        """Find out what of MedDL's own packages is missing."""
        from meddl_slicer import packages

        self.missingPackages = [package.name for package in packages.missing()]

    def add(self, path):
        """Offer the model at a path from now on; an empty path is that of a dialog that was closed."""
        from meddl.errors import MedDLError

        if not path:
            return
        try:
            with slicer.util.WaitCursor():
                model = self.selector.addOwn(Path(path))
        except MedDLError as error:
            self._showError(error)
            return
        if self._parameters:
            self._parameters.model = model

    def askToInstall(self, names):
        """Ask whether packages may be installed. Tests answer for the user."""
        question = _("This model takes Python packages that are not installed: {names}.\n\nInstall them now?")
        return slicer.util.confirmOkCancelDisplay(question.format(names=", ".join(names)), _("Install packages?"))

    def _selectDevice(self, device):
        index = self.ui.deviceComboBox.findData(device)
        if index < 0:  # a scene from another computer
            self.ui.deviceComboBox.addItem(_("{device} (not on this computer)").format(device=device), device)
            index = self.ui.deviceComboBox.count - 1
        self.ui.deviceComboBox.setCurrentIndex(index)

    def _onModel(self, index):
        model = self.selector.currentModel()
        if self._parameters and model is not None:
            self._parameters.model = model.id
            self._onChosen()

    def _onDevice(self, index):
        if self._parameters:
            self._parameters.options.device = self.ui.deviceComboBox.itemData(index)

    def _onSetup(self):
        if self.missingPackages:
            slicer.util.selectModule("MedDLCore")
        elif self.askToInstall(self._modelPackages):
            with slicer.util.tryWithErrorDisplay(_("The packages could not be installed."), waitCursor=True):
                self._install(self._modelPackages)
            self._onInstalled()

    def _fillDevices(self):
        from meddl import computer

        from meddl_slicer.health import size_text

        self.ui.deviceComboBox.addItem(_("Automatic"), "auto")
        for gpu in computer.gpus():
            memory = f" ({size_text(gpu.memory)})" if gpu.memory else ""
            self.ui.deviceComboBox.addItem(f"{gpu.name}{memory}", gpu.id)
        self.ui.deviceComboBox.addItem(_("Processor (CPU)"), "cpu")

    def _makeAddMenu(self):
        self._menu = qt.QMenu(self.ui.addModelButton)
        self._menu.addAction(_("Model folder…")).connect("triggered()", self._onAddFolder)
        self._menu.addAction(_("Model file…")).connect("triggered()", self._onAddFile)
        self.ui.addModelButton.setMenu(self._menu)

    def _onAddFolder(self):
        title = _("Folder of a MONAI Bundle, or with nnU-Net's results")
        self.add(qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), title))

    def _onAddFile(self):
        title = _("Zip file with a MONAI Bundle, or a TorchScript or ONNX file with its sidecar beside it")
        kinds = _("Models") + " (*.zip *.ts *.pt *.onnx)"
        self.add(qt.QFileDialog.getOpenFileName(slicer.util.mainWindow(), title, "", kinds))
