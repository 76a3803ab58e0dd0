"""The panel's parts for geometry, split and de-identification: which choice needs which other one."""

from pathlib import Path

from slicer.i18n import tr as _


class OptionsSection:
    """Shows what goes with what.

    Args:
        ui: the panel's widgets.
        session: the cases.
    """

    def __init__(self, ui, session):
        self.ui = ui
        self._session = session
        ui.referenceComboBox.connect("activated(int)", self._onReference)
        for line, onPath in ((ui.keyPathLineEdit, self._onKey), (ui.reviewPathLineEdit, self._onReview)):
            line.connect("currentPathChanged(QString)", onPath)
            # That it was emptied is told by this signal only.
            line.connect("validInputChanged(bool)", lambda valid, call=onPath: None if valid else call(""))

    def update(self, running):
        """Bring the widgets in line with the choices."""
        parameters = self._session.parameters
        if parameters is None:
            return
        grid, hide = parameters.grid, parameters.deidentify
        self._showReference(parameters)
        for widget in (self.ui.spacingISpinBox, self.ui.spacingJSpinBox, self.ui.spacingKSpinBox):
            widget.enabled = grid.resample
        crop = grid.crop.value
        self._visible(crop == "roi", self.ui.cropROILabel, self.ui.cropROISelector)
        self._visible(crop != "none", self.ui.marginLabel, self.ui.marginSpinBox)
        isBasic = hide.profile.value == "basic"
        for widget in (
            self.ui.shiftDatesCheckBox,
            self.ui.cleanDescriptorsCheckBox,
            self.ui.keepSafePrivateCheckBox,
        ):
            widget.enabled = isBasic and not running
        self._visible(hide.deface.value != "none", self.ui.reviewLabel, self.ui.reviewPathLineEdit)
        self.ui.splitLabelText.text = self._parts(parameters.split)
        for name in ("geometry", "split", "deidentify"):
            getattr(self.ui, f"{name}CollapsibleButton").enabled = not running

    def _showReference(self, parameters):
        combo, channels = self.ui.referenceComboBox, self._session.channels()
        wanted = [(_("The first channel"), ""), *((channel, channel) for channel in channels[1:])]
        if [value for _text, value in wanted] != [combo.itemData(index) for index in range(combo.count)]:
            combo.clear()
            for text, value in wanted:
                combo.addItem(text, value)
        combo.setCurrentIndex(max(combo.findData(parameters.reference), 0))
        self._visible(len(wanted) > 1, self.ui.referenceLabel, combo)

    def _parts(self, split):
        training = 100 - split.validation - split.test
        if training <= 0:
            return _("Nothing is left to train with: validation and test take all patients.")
        parts = [_("{percent} % of the patients to train with").format(percent=training)]
        if split.folds > 1:
            parts.append(_("in {folds} folds").format(folds=split.folds))
        if split.validation:
            parts.append(_("{percent} % to tune by").format(percent=split.validation))
        if split.test:
            parts.append(_("{percent} % to judge by").format(percent=split.test))
        return ", ".join(parts) + ". " + _("All images of a patient go to one part.")

    def _onReference(self, index):
        self._session.parameters.reference = self.ui.referenceComboBox.itemData(index)

    def _onKey(self, path):
        self._session.key = Path(path) if path.strip() else None
        self._session.changed()

    def _onReview(self, path):
        self._session.review = Path(path) if path.strip() else None

    def _visible(self, visible, *widgets):
        for widget in widgets:
            widget.visible = visible
