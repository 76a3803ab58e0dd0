"""The generator that makes the images: choosing and adding one."""

from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _


class GeneratorSection:
    """Keeps the list of generators, and says what the chosen one makes.

    Args:
        ui: the tab's widgets.
        onChanged: called when another one is chosen.
        showError: called with an error for the user.
    """

    def __init__(self, ui, onChanged, showError):
        self.ui = ui
        self._onChanged, self._showError = onChanged, showError
        self._choices = {}
        self._parameters = None
        ui.generatorComboBox.connect("activated(int)", self._onChosen)
        self._menu = qt.QMenu(ui.addGeneratorButton)
        self._menu.addAction(_("Generator's folder…")).connect("triggered()", self._onAddFolder)
        self._menu.addAction(_("Generator's zip file…")).connect("triggered()", self._onAddFile)
        ui.addGeneratorButton.setMenu(self._menu)
        self.refresh()

    def refresh(self):
        """Look again at what is there."""
        from meddl_slicer.synthesis_models import available_generators

        self._choices = {choice.id: choice for choice in available_generators()}

    def firstGenerator(self):
        """Return the id of the first one, or "" when there is none."""
        return next(iter(self._choices), "")

    def choices(self):
        """Return all of them."""
        return list(self._choices.values())

    def current(self):
        """Return the chosen one, or None."""
        return self._choices.get(self.ui.generatorComboBox.currentData)

    def missing(self):
        """Return what keeps the generator from being used, each as a few words."""
        choice = self.current()
        if choice is None:
            return [_("a generator (train one, or add one)")]
        if choice.problem:
            return [_("a generator that can be used")]
        return [] if choice.installed else [_("a generator that is on this computer")]

    def add(self, path, isOurs=False):
        """Offer the generator at a path from now on, and choose it; returns whether it is one."""
        from meddl.errors import MedDLError
        from meddl_slicer.synthesis_models import remember_generator

        if not path:
            return False
        try:
            with slicer.util.WaitCursor():
                choice = remember_generator(Path(path), isOurs)
        except MedDLError as error:
            self._showError(error)
            return False
        self._choices[choice.id] = choice
        if self._parameters:
            self._parameters.generator = choice.id
        self._onChanged()
        return True

    def setParameters(self, parameters):
        """Show what is chosen in this parameter node from now on."""
        self._parameters = parameters

    def update(self):
        """Bring the list in line with what is there and chosen."""
        from meddl_slicer.synthesis_models import description_html, own_generator

        combo, chosen = self.ui.generatorComboBox, self._parameters.generator if self._parameters else ""
        if chosen and chosen not in self._choices:  # of another computer, or gone
            self._choices[chosen] = own_generator(chosen)
        wanted = [(choice.name, key) for key, choice in self._choices.items()]
        if wanted != [(combo.itemText(index), combo.itemData(index)) for index in range(combo.count)]:
            combo.clear()
            for name, key in wanted:
                combo.addItem(name, key)
        combo.setCurrentIndex(combo.findData(chosen) if chosen else -1)
        choice = self.current()
        text = description_html(choice) if choice is not None else ""
        self.ui.generatorDescription.text = text or _("There is no generator yet: train one, or add one.")

    def _onChosen(self, index):
        if self._parameters:
            self._parameters.generator = self.ui.generatorComboBox.itemData(index)

    def _onAddFolder(self):
        self.add(qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), _("Folder of a generator")))

    def _onAddFile(self):
        kinds = _("Generators") + " (*.zip)"
        self.add(qt.QFileDialog.getOpenFileName(slicer.util.mainWindow(), _("Zip file of a generator"), "", kinds))
