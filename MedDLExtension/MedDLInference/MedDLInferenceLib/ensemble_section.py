"""The panel's part for several models in one run: which ones, and why some do not fit."""

import qt
from slicer.i18n import tr as _


class EnsembleSection:
    """Offers the models of the same task beside the chosen one; their answers are averaged.

    Args:
        ui: the panel's widgets.
        models: the ModelSelector.
    """

    def __init__(self, ui, models):
        self.ui = ui
        self._models = models
        self._parameters = None
        self._offered = None
        self.refusal = ""
        ui.ensembleListWidget.connect("itemChanged(QListWidgetItem*)", self._onItem)

    def setParameters(self, parameters):
        """Show what is in this parameter node from now on; None for nothing."""
        self._parameters = parameters
        self._offered = None

    @property
    def isOn(self):
        """Whether several models are to be run as one."""
        model = self._models.currentModel()
        return bool(self._parameters and self._parameters.ensemble and model is not None and _isJoined(model.task))

    def others(self):
        """Return the ids of the further models."""
        model = self._models.currentModel()
        if not self.isOn:
            return []
        return [one for one in dict.fromkeys(self._parameters.otherModels) if one and one != model.id]

    def models(self):
        """Return what a run takes: the id of the model, or those of all."""
        model = self._models.currentModel()
        return [model.id, *self.others()] if self.others() else model.id

    def choices(self):
        """Return all chosen models that are known here, the first one first."""
        model = self._models.currentModel()
        known = {choice.id: choice for choice in self._models.choices()}
        return ([model] if model is not None else []) + [known[one] for one in self.others() if one in known]

    def missing(self):
        """Return what keeps the models from being run together, each as a few words."""
        if not self.isOn:
            return []
        if not self.others():
            return [_("a second model to average with")]
        return [_("models that can be averaged")] if self.refusal else []

    def update(self, running):
        """Bring the widgets in line with the models."""
        model = self._models.currentModel()
        candidates = self._candidates()
        self.ui.ensembleFrame.visible = bool(candidates) or self.isOn
        self.ui.ensembleListWidget.visible = self.isOn
        self.ui.ensembleFrame.enabled = not running
        self.refusal = self._whyNot(model) if self.isOn else ""
        self.ui.ensembleLabel.text = self.refusal
        self.ui.ensembleLabel.visible = bool(self.refusal)
        if self.isOn:
            self._offer(model, candidates)

    def _candidates(self):
        model = self._models.currentModel()
        if model is None or not _isJoined(model.task):
            return []
        return [
            choice
            for choice in self._models.choices()
            if choice.task == model.task and choice.id != model.id and choice.installed and not choice.problem
        ]

    def _offer(self, model, candidates):
        """Fill the list; models that do not fit say why in their tool tip."""
        from meddl_slicer.model_choices import tool_tip

        checked = self.others()
        offered = (model.id, tuple(choice.id for choice in candidates), tuple(checked))
        if offered == self._offered:
            return
        self._offered = offered
        widget = self.ui.ensembleListWidget
        wasBlocked = widget.blockSignals(True)
        widget.clear()
        for choice in sorted(candidates, key=lambda choice: bool(_misfit([model, choice]))):
            item = qt.QListWidgetItem(choice.name)
            item.setFlags(item.flags() | qt.Qt.ItemIsUserCheckable)
            item.setData(qt.Qt.UserRole, choice.id)
            item.setCheckState(qt.Qt.Checked if choice.id in checked else qt.Qt.Unchecked)
            why = _misfit([model, choice])
            item.setToolTip(tool_tip(why or choice.name))
            if why:
                item.setForeground(qt.QBrush(qt.QColor("gray")))
            widget.addItem(item)
        widget.blockSignals(wasBlocked)

    def _whyNot(self, model):
        if not self.others():
            return ""
        chosen = self.choices()
        absent = len(self.others()) + 1 - len(chosen)
        if absent:
            return _("{count} of the models to average with cannot be found on this computer.").format(count=absent)
        notHere = [choice.name for choice in chosen if choice.problem or not choice.installed]
        if notHere:
            return _("To be averaged, models must be on this computer; {names} must be downloaded first.").format(
                names=", ".join(notHere)
            )
        return _misfit(chosen)

    def _onItem(self, item):
        if not self._parameters:
            return
        widget = self.ui.ensembleListWidget
        rows = [widget.item(row) for row in range(widget.count)]
        # Those that this computer does not know stay chosen until the user sees to them: they are no rows here.
        self._parameters.otherModels = [row.data(qt.Qt.UserRole) for row in rows if row.checkState() == qt.Qt.Checked]


def _isJoined(task):
    from meddl.inference.joining import JOINED_TASKS

    return task in JOINED_TASKS


def _misfit(choices):
    """Return why models cannot be averaged, or ""."""
    from meddl.errors import MedDLError
    from meddl.inference.joining import check_joined

    try:
        check_joined([choice.bundle for choice in choices])
    except MedDLError as error:
        return error.message
    return ""
