"""The panel's part for how the model is run: only what means something for the model is shown."""

import qt
from slicer.i18n import tr as _

from MedDLInferenceLib.parameters import Uncertainty, options_dict


class OptionsSection:
    """Uncertainty, mirroring and what else comes of a run. The widgets are connected to the parameter node.

    Args:
        ui: the panel's widgets.
        models: the ModelSelector.
        ensemble: the EnsembleSection.
    """

    def __init__(self, ui, models, ensemble):
        self.ui = ui
        self._models, self._ensemble = models, ensemble
        self._parameters = None

    def setParameters(self, parameters):
        """Follow this parameter node from now on; None for none."""
        self._parameters = parameters

    def plain(self):
        """Return the options of a run as plain data."""
        options = options_dict(self._parameters.options, self._ensemble.isOn)
        # The box that is ticked may be hidden, since the model knows no mirroring.
        options["mirror"] = options["mirror"] and self._canMirror()
        return options

    def plainOfBatch(self):
        """Return the options of a batch, whose models are others, as plain data."""
        return options_dict(self._parameters.options)

    def missing(self):
        """Return what keeps the options from being used, each as a few words."""
        if not self._parameters or self._models.currentModel() is None or self._hasFolds():
            return []
        if self.plain()["uncertainty"] != "folds":
            return []
        return [_("another way to estimate the uncertainty (the model has no folds)")]

    def update(self):
        """Show only the rows that mean something for the model."""
        model = self._models.currentModel()
        task = model.task if model is not None else ""
        self.ui.probabilitiesCheckBox.visible = task == "segmentation"
        self.ui.differenceCheckBox.visible = task == "reconstruction"
        # Several models tell how far they differ anyway.
        canDoubt = task in ("segmentation", "classification") and not self._ensemble.isOn
        for name in ("uncertaintyLabel", "uncertaintyComboBox", "passesLabel", "passesSpinBox"):
            getattr(self.ui, name).visible = canDoubt
        self.ui.mirrorCheckBox.visible = self._canMirror()
        folds = [choice.value for choice in Uncertainty].index(Uncertainty.FOLDS.value)
        mayBeChosen = None if self._hasFolds() else 0
        self.ui.uncertaintyComboBox.setItemData(folds, mayBeChosen, qt.Qt.UserRole - 1)

    def _canMirror(self):
        return any(model.canMirror for model in self._ensemble.choices())

    def _hasFolds(self):
        model = self._models.currentModel()
        return model is not None and model.folds > 1
