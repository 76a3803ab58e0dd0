"""The panel's part for what is explained, how, and what is to be found out about the explanation."""

import qt
from slicer.i18n import tr as _

from MedDLSaliencyLib.check_list import CheckList, Choice
from MedDLSaliencyLib.parameters import Baseline, Place, options_dict

_PROBE_MS = 400
_FIRST = {
    "class": _("The class that it is surest of"),
    "structure": _("The structure that it has found most of"),
    "box": _("The box that it is surest of"),
    "landmark": _("The first landmark"),
    "image": _("The image that it makes"),
}


class QuestionSection:
    """Target, methods and measures.

    Args:
        ui: the panel's widgets.
        models: the ModelSelector.
        getRunner: returns who is asked which methods fit the model.
        onChanged: called when what can be run may have changed.
    """

    def __init__(self, ui, models, getRunner, onChanged):
        from meddl_slicer.explanation_methods import MethodProbe

        self.ui = ui
        self._models = models
        self._onChanged = onChanged
        self._parameters = None
        self._probe = MethodProbe(getRunner, self._onMethods)
        self._known = {}
        self._askedFor = None
        self._probeTimer = qt.QTimer()
        self._probeTimer.setSingleShot(True)
        self._probeTimer.connect("timeout()", self._ask)
        self._methods = CheckList(ui.methodsListWidget, self._onMethodsChecked)
        self._measures = CheckList(ui.measuresListWidget, self._onMeasuresChecked)
        ui.targetComboBox.connect("activated(int)", self._onTarget)

    def cleanup(self):
        """Await nothing any more."""
        self._probeTimer.stop()
        self._probe.forget()
        self._parameters = None

    def setParameters(self, parameters):
        """Show what is in this parameter node from now on; None for nothing."""
        self._parameters = parameters

    def askAgain(self):
        """Ask once more which methods fit, if nobody could tell before: a model may have found trust meanwhile."""
        if self._key() not in self._known:
            self._askedFor = None

    # What is asked

    def kind(self):
        """Return what there is to explain of the model: "class", "structure", ...; "" for nothing."""
        from meddl_slicer.explanation_target import kind_of

        model = self._models.currentModel()
        return kind_of(model.task) if model is not None else ""

    def target(self, inputVolume):
        """Return what is to be explained, as the job takes it.

        Raises:
            meddl.errors.VolumeError: the region cannot be used.
        """
        from meddl_slicer.explanation_target import target_of

        parameters = self._parameters
        known = self._names()
        name = parameters.target if parameters.target in known else ""
        return target_of(self.kind(), name, parameters.place.value, parameters.region, inputVolume)

    def methods(self):
        """Return the ids of the methods with a check mark that can work on the model."""
        chosen = self._parameters.methods
        return [choice.id for choice in self._choices() if choice.id in chosen and not choice.unfit]

    def measures(self):
        """Return the ids of the measures with a check mark that can be taken."""
        from meddl.saliency.faithfulness.known import ABOUT

        chosen, hasTruth = self._parameters.measures, self._parameters.truth is not None
        return [name for name, about in ABOUT.items() if name in chosen and (hasTruth or not about.needs_reference)]

    def options(self):
        """Return the options as plain data."""
        return options_dict(self._parameters.options)

    def missing(self):
        """Return what keeps an explanation from being started, each as a few words."""
        from meddl_slicer.explanation_target import WITH_PLACE

        parameters = self._parameters
        if not parameters:
            return []
        found = []
        if self._refusal():
            found.append(_("a model whose answers can be explained"))
        elif not self.methods():
            found.append(_("a method with a check mark"))
        if self.kind() in WITH_PLACE and parameters.place is Place.REGION and parameters.region is None:
            found.append(_("a region"))
        if parameters.options.baseline is Baseline.REFERENCE and parameters.reference is None:
            found.append(_("a reference image for the baseline (in Advanced)"))
        return found

    # What is shown

    def update(self, running):
        """Bring the widgets in line with the model and the choices."""
        parameters = self._parameters
        for name in ("question", "checks", "advanced"):
            getattr(self.ui, f"{name}CollapsibleButton").enabled = not running
        if not parameters:
            return
        self._showTargets(parameters)
        self._showPlace(parameters)
        self._showMethods(parameters)
        self._showMeasures(parameters)
        self.ui.counterfactualCheckBox.enabled = parameters.segmentation is not None
        isOther = parameters.options.baseline is Baseline.REFERENCE
        self.ui.referenceLabel.visible = self.ui.referenceSelector.visible = isOther
        if not running:
            self._probeTimer.start(_PROBE_MS)

    def showCrosshair(self):
        """Tell where the crosshair is."""
        from meddl_slicer.explanation_target import WITH_PLACE, crosshair, inside

        parameters, label = self._parameters, self.ui.crosshairLabel
        label.visible = bool(parameters) and self.kind() in WITH_PLACE and parameters.place is Place.CROSSHAIR
        if label.isHidden():
            return
        place = crosshair()
        said = _("R {0:.1f}, A {1:.1f}, S {2:.1f} mm. To move it, hold Shift and move the mouse over the image.")
        text = said.format(*place)
        volume = parameters.inputVolume
        if volume is not None and volume.GetImageData() is not None and not inside(place, volume):
            text += " " + _("It is outside of the image.")
        label.text = text

    def _names(self):
        from meddl_slicer.explanation_target import names_of

        model = self._models.currentModel()
        return names_of(model.bundle) if model is not None else ()

    def _showTargets(self, parameters):
        combo, kind = self.ui.targetComboBox, self.kind()
        wanted = [(_FIRST.get(kind, ""), ""), *((name, name) for name in self._names())]
        if kind == "landmark" and len(wanted) > 1:
            wanted = wanted[1:]
        shown = [(combo.itemText(index), combo.itemData(index)) for index in range(combo.count)]
        if wanted != shown:
            combo.clear()
            for text, value in wanted:
                combo.addItem(text, value)
        combo.setCurrentIndex(max(combo.findData(parameters.target), 0))
        combo.enabled = len(wanted) > 1

    def _showPlace(self, parameters):
        from meddl_slicer.explanation_target import WITH_PLACE

        kind = self.kind()
        hasPlace = kind in WITH_PLACE
        self.ui.placeLabel.visible = self.ui.placeComboBox.visible = hasPlace
        texts = {
            "box": (_("In the whole image"), _("Nearest to the crosshair"), _("Nearest to a region")),
            "image": (_("All of it"), _("At the crosshair"), _("In a region")),
        }
        for index, text in enumerate(texts.get(kind, [place.label() for place in Place])):
            if self.ui.placeComboBox.itemText(index) != text:
                self.ui.placeComboBox.setItemText(index, text)
        isRegion = hasPlace and parameters.place is Place.REGION
        self.ui.regionLabel.visible = self.ui.regionSelector.visible = isRegion
        self.showCrosshair()

    def _showMethods(self, parameters):
        choices = [Choice(one.id, one.title, one.source, one.unfit) for one in self._choices()]
        self._methods.show(choices, list(parameters.methods))
        note = self._refusal()
        if not note and self._probe.isAsking:
            note = _("Looking which methods fit this model…")
        note = note or self._time()
        self.ui.methodsNoteLabel.text = note
        self.ui.methodsNoteLabel.visible = bool(note)

    def _time(self):
        """Return how long the explanation may take, in words; "" where nothing is known of an earlier one."""
        from meddl.errors import UsageError
        from meddl.saliency.estimate import about, estimate
        from meddl.saliency.options import ExplainOptions

        model = self._models.currentModel()
        if model is None or model.bundle is None:
            return ""
        try:
            options = ExplainOptions.from_dict(self.options())
        except UsageError:  # told when it is started
            return ""
        time = about(estimate(model.bundle, self.methods(), self.measures(), options))
        return _("Takes {time}, going by the last explanation of this model.").format(time=time) if time else ""

    def _showMeasures(self, parameters):
        from meddl.saliency.faithfulness.known import ABOUT

        needed = _("Choose above where the evidence should lie.")
        choices = [
            Choice(
                name,
                about.title,
                f"{about.question}\n{about.source}",
                needed if about.needs_reference and parameters.truth is None else "",
            )
            for name, about in ABOUT.items()
        ]
        self._measures.show(choices, list(parameters.measures))

    def _refusal(self):
        """Return why the model's answers cannot be explained at all, or ""."""
        from meddl.saliency.explain import unexplainable

        model = self._models.currentModel()
        if model is None or model.bundle is None or model.problem:
            return ""
        return unexplainable(model.bundle)

    # Methods

    def _choices(self):
        from meddl_slicer.explanation_methods import known_methods

        return self._known.get(self._key()) or known_methods()

    def _key(self):
        model = self._models.currentModel()
        if model is None or model.bundle is None:
            return None
        return model.id, model.bundle.digest, self._parameters.options.device if self._parameters else ""

    def _ask(self):
        """Ask which methods fit, once for each model that is here and may be loaded."""
        from meddl_slicer import packages

        model, key = self._models.currentModel(), self._key()
        if not self._parameters or key is None or key in self._known or key == self._askedFor:
            return
        if not model.installed or model.problem or self._refusal() or model.missingPackages or packages.missing():
            return
        self._askedFor = key
        self._probe.ask(model.id, self._parameters.options.device)
        self._showMethods(self._parameters)

    def _onMethods(self, model, choices):
        current = self._models.currentModel()
        if choices is not None and current is not None and current.id == model:
            self._known[self._key()] = choices
        if self._parameters:
            self._onChanged()

    def _onTarget(self, index):
        if self._parameters:
            self._parameters.target = self.ui.targetComboBox.itemData(index)

    def _onMethodsChecked(self, ids):
        if self._parameters:
            self._parameters.methods = ids

    def _onMeasuresChecked(self, ids):
        if self._parameters:
            self._parameters.measures = ids
