"""Sliders for one transform: how often, and how strong."""

import qt
import slicer
from slicer.i18n import tr as _


class SettingsPages:
    """A page of sliders for each kind of transform, made when it is first shown.

    Args:
        layout: where the pages go.
        onChanged: called with the name of what was moved, "probability" or a parameter, and its value.
    """

    def __init__(self, layout, onChanged):
        self._layout = layout
        self._onChanged = onChanged
        self._pages = {}
        self._filling = False
        self._shown = None

    def show(self, step, row):
        """Show the settings of a step, in this row of the plan; None for nothing."""
        name = step.transform if step is not None else None
        isSame, self._shown = self._shown == (row, name), (row, name)
        if name is not None and name not in self._pages:
            self._pages[name] = _Page(name, self._tell)
            self._layout.addWidget(self._pages[name].widget)
        for other, page in self._pages.items():
            page.widget.visible = other == name
        if name is not None:
            self._filling = True
            self._pages[name].fill(step, isSame)
            self._filling = False

    def page(self, name):
        """Return the widgets of a transform's page by what they set."""
        return self._pages[name].widgets

    def _tell(self, name, value):
        if not self._filling:
            self._onChanged(name, value)


class _Page:
    def __init__(self, name, onChanged):
        import ctk
        from meddl.augmentation import TRANSFORMS
        from meddl_slicer.augmentation_plan import parameter_title

        known = TRANSFORMS[name]
        self._parameters = known.parameters
        self.widget = qt.QWidget()
        form = qt.QFormLayout(self.widget)
        form.setRowWrapPolicy(qt.QFormLayout.WrapLongRows)  # in a narrow panel, or with a large font
        form.setContentsMargins(0, 0, 0, 0)
        self.widgets = {}
        often = ctk.ctkSliderWidget()
        often.decimals, often.minimum, often.maximum, often.suffix = 0, 0.0, 100.0, " %"
        often.toolTip = _("In how many of a hundred variants it happens.")
        often.connect("valueChanged(double)", lambda value: onChanged("probability", value / 100))
        form.addRow(_("How often:"), often)
        self.widgets["probability"] = often
        for parameter in self._parameters:
            title = parameter_title(parameter)
            widget = self._choices(parameter, onChanged) if parameter.choices else self._range(parameter, onChanged)
            label = qt.QLabel(f"{title}:")
            label.toolTip = widget.toolTip = parameter.meaning.capitalize()
            form.addRow(label, widget)

    def fill(self, step, isSame):
        """Show the settings of a step; ``isSame``: the one that is shown, whose sliders may be moving."""
        from meddl_slicer.augmentation_plan import slider_range

        often = self.widgets["probability"]
        if round(often.value) != round(100 * step.probability):
            often.value = 100 * step.probability
        for parameter in self._parameters:
            setting, widget = step.settings[parameter.name], self.widgets[parameter.name]
            if parameter.choices:
                for word, box in widget.items():
                    box.checked = word in setting
                continue
            covers = slider_range(parameter, setting)
            shown = (widget.minimumValue, widget.maximumValue)
            if isSame and all(abs(one - other) < covers.step for one, other in zip(shown, setting, strict=True)):
                continue
            widget.decimals, widget.singleStep = covers.decimals, covers.step
            # Wide enough for both, so that no value is cut off in between.
            widget.setRange(min(covers.low, widget.minimum), max(covers.high, widget.maximum))
            widget.setValues(*setting)
            if not isSame:
                widget.setRange(covers.low, covers.high)

    def _range(self, parameter, onChanged):
        import ctk

        widget = ctk.ctkRangeWidget()
        widget.connect(
            "valuesChanged(double,double)", lambda low, high: onChanged(parameter.name, (float(low), float(high)))
        )
        self.widgets[parameter.name] = widget
        return widget

    def _choices(self, parameter, onChanged):
        """Return a row of boxes, one of which at least is checked."""
        holder = qt.QWidget()
        row = qt.QHBoxLayout(holder)
        row.setContentsMargins(0, 0, 0, 0)
        boxes = {}

        def tell(word, checked):
            chosen = tuple(each for each, box in boxes.items() if box.checked)
            if chosen:
                onChanged(parameter.name, chosen)
            else:
                boxes[word].checked = True

        for word in parameter.choices:
            boxes[word] = qt.QCheckBox(_(word))
            boxes[word].connect("toggled(bool)", lambda checked, word=word: tell(word, checked))
            row.addWidget(boxes[word])
        row.addStretch(1)
        self.widgets[parameter.name] = boxes
        return holder


def ask_for_plan(parent, toSave, folder):
    """Ask for the file of a plan; returns its path or "". Tests answer for the user."""
    title, kinds = (_("Save plan"), _("Plans (*.json)")) if toSave else (_("Load plan"), _("Plans (*.json)"))
    if toSave:
        return qt.QFileDialog.getSaveFileName(parent or slicer.util.mainWindow(), title, folder, kinds)
    return qt.QFileDialog.getOpenFileName(parent or slicer.util.mainWindow(), title, folder, kinds)
