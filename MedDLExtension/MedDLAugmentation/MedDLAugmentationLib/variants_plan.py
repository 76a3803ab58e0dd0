"""The panel's part for the plan: presets, a list of transforms with check marks, sliders, files."""

import json
from pathlib import Path

import qt
from slicer.i18n import tr as _

from MedDLAugmentationLib.variants_settings import SettingsPages, ask_for_plan

_PRESET = "mr"  # in a new scene, where nothing tells the modality
_REST_MS = 200
_OF_MODALITY = {"MR": "mr", "CT": "ct", "DX": "xray", "CR": "xray", "RF": "xray", "XA": "xray", "MG": "xray"}


class PlanSection:
    """Edits the plan in the parameter node.

    Attributes:
        edited: the plan with what is switched off, a meddl_slicer.augmentation_plan.EditedPlan.

    Args:
        ui: the tab's widgets.
        onMoved: called while a slider moves; the parameter node learns of it when it rests.
        showError: called with an error for the user.
    """

    def __init__(self, ui, onMoved, showError):
        from meddl.augmentation import PRESETS

        self.ui = ui
        self._onMoved, self._showError = onMoved, showError
        self._parameters = None
        self._text = ""
        self._shown = ()
        self._noMirror = ""
        self._suggested = None
        self.edited = None
        self._store = qt.QTimer()
        self._store.setSingleShot(True)
        self._store.setInterval(_REST_MS)
        self._store.connect("timeout()", self.flush)
        for name, preset in PRESETS.items():
            ui.presetComboBox.addItem(preset["name"], name)
            ui.presetComboBox.setItemData(ui.presetComboBox.count - 1, preset["description"], qt.Qt.ToolTipRole)
        self.pages = SettingsPages(ui.settingsFrame.layout(), self._onSetting)
        ui.presetComboBox.connect("activated(int)", self._onPreset)
        ui.loadPlanButton.connect("clicked(bool)", self._onLoad)
        ui.savePlanButton.connect("clicked(bool)", self._onSave)
        ui.stepsList.connect("itemChanged(QListWidgetItem*)", self._onItem)
        ui.stepsList.connect("currentRowChanged(int)", self._onRow)
        ui.upButton.connect("clicked(bool)", lambda checked: self._move(-1))
        ui.downButton.connect("clicked(bool)", lambda checked: self._move(1))

    def setParameters(self, parameters):
        """Show what is in this parameter node from now on; None for nothing."""
        self._store.stop()
        self._parameters = parameters
        self._text = self._noMirror = ""
        self.read()

    def read(self):
        """Take up a plan that was changed elsewhere, for instance by a scene that was read."""
        from meddl_slicer.augmentation_plan import EditedPlan

        if self._parameters is None or not self._parameters.plan or self._parameters.plan == self._text:
            return
        if self._store.isActive():  # what the user does is newer
            return
        found = EditedPlan.from_text(self._parameters.plan)
        if found is not None:
            self.edited, self._text = found, self._parameters.plan

    def suggest(self, modality):
        """Take the preset of a modality while the user has chosen none: the parameter node has no plan then."""
        from meddl.augmentation import load_plan
        from meddl_slicer.augmentation_plan import EditedPlan

        if self._parameters is None or self._parameters.plan or self._store.isActive():
            return
        name = _OF_MODALITY.get(modality, _PRESET)
        if self._suggested is None or self._suggested[0] != name:
            self._suggested = (name, EditedPlan.of(load_plan(name)))
        self.edited = self._suggested[1]

    def choose(self, source):
        """Take a preset by its name, or a plan from a file.

        Raises:
            meddl.errors.UsageError: the file is no plan.
        """
        from meddl.augmentation import load_plan
        from meddl_slicer.augmentation_plan import EditedPlan

        self._set(EditedPlan.of(load_plan(source)))

    def plan(self):
        """Return the plan; None where nothing may happen."""
        return self.edited.plan() if self.edited is not None else None

    def missing(self):
        """Return what keeps variants from being made, each as a few words."""
        return [] if self.plan() is not None else [_("a transform with a check mark")]

    def tellSides(self, reason):
        """Say why left and right are not exchanged; "" where they are."""
        if reason != self._noMirror:
            self._noMirror = reason
            self._showDescription()

    def update(self, running):
        """Bring the widgets in line with the plan."""
        self.ui.planCollapsibleButton.enabled = self._parameters is not None and not running
        if self.edited is None:
            return
        self._showList()
        self._showRow()
        self._showDescription()
        row = self.ui.stepsList.currentRow
        self.ui.upButton.enabled = row > 0
        self.ui.downButton.enabled = 0 <= row < len(self.edited.rows) - 1

    # What the user does

    def _set(self, edited, isMoving=False):
        if edited is self.edited:
            return
        self.edited = edited
        if isMoving:
            self._store.start()
            self._onMoved()
        else:
            self.flush()

    def flush(self):
        """Write the plan into the parameter node; the tab's update and the preview follow."""
        self._store.stop()
        if self._parameters is not None and self.edited is not None:
            self._text = self.edited.text()
            self._parameters.plan = self._text

    def rest(self):
        """Have what the user did last written, if it is not yet."""
        if self._store.isActive():
            self.flush()

    def _onPreset(self, index):
        self.choose(self.ui.presetComboBox.itemData(index))

    def _onItem(self, item):
        row = self.ui.stepsList.row(item)
        self._set(self.edited.with_row(row, on=item.checkState() == qt.Qt.Checked))
        self.ui.stepsList.setCurrentRow(row)

    def _onRow(self, row):
        self._showRow()

    def _onSetting(self, name, value):
        row = self.ui.stepsList.currentRow
        if self.edited is not None and 0 <= row < len(self.edited.rows):
            isNew = not self.edited.rows[row].on
            self._set(self.edited.with_row(row, **{name: value}, **({"on": True} if isNew else {})), isMoving=True)

    def _move(self, by):
        row = self.ui.stepsList.currentRow
        self._set(self.edited.moved(row, by))
        self.ui.stepsList.setCurrentRow(max(0, min(row + by, len(self.edited.rows) - 1)))

    def _onLoad(self, checked=False):
        path = self.askForPlan(toSave=False)
        if path:
            self._attempt(lambda: self.choose(path))

    def _onSave(self, checked=False):
        path = self.askForPlan(toSave=True)
        if path:
            self._attempt(lambda: self.save(path))

    def save(self, path):
        """Write the plan as JSON.

        Raises:
            meddl.errors.UsageError: nothing may happen, or the file cannot be written.
        """
        from meddl.errors import UsageError

        plan = self.plan()
        if plan is None:
            raise UsageError(_("The plan is empty. Check at least one transform."))
        path = Path(path)
        path = path if path.suffix else path.with_suffix(".json")
        try:
            path.write_text(json.dumps(plan.to_dict(), indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            reason = error.strerror or _("the system refused it")
            raise UsageError(_("{name} cannot be written: {reason}.").format(name=path.name, reason=reason)) from error

    def askForPlan(self, toSave):
        """Ask for a file. Tests answer for the user."""
        return ask_for_plan(self.ui.planCollapsibleButton.window(), toSave, "")

    def _attempt(self, call):
        from meddl.errors import MedDLError

        try:
            call()
        except MedDLError as error:
            self._showError(error)

    # What is shown

    def _showList(self):
        from meddl.augmentation import TRANSFORMS

        lines = tuple((row.step.transform, row.on, round(row.step.probability, 4)) for row in self.edited.rows)
        if lines == self._shown:
            return
        widget, wasBlocked = self.ui.stepsList, self.ui.stepsList.blockSignals(True)
        isSame = [line[0] for line in lines] == [line[0] for line in self._shown]
        former, self._shown = widget.currentRow, lines
        if not isSame:
            widget.clear()
        for number, (name, on, probability) in enumerate(lines):
            item = widget.item(number) if isSame else qt.QListWidgetItem()
            often = _("{percent} %").format(percent=f"{100 * probability:.0f}")
            item.setText(f"{TRANSFORMS[name].title}   {often}" if on else TRANSFORMS[name].title)
            item.setCheckState(qt.Qt.Checked if on else qt.Qt.Unchecked)
            if not isSame:
                item.setFlags(item.flags() | qt.Qt.ItemIsUserCheckable)
                item.setToolTip(_first_sentence(TRANSFORMS[name]))
                widget.addItem(item)
        if not isSame:
            used = next((number for number, line in enumerate(lines) if line[1]), 0)
            widget.setCurrentRow(former if 0 <= former < len(lines) and lines[former][1] else used)
        widget.blockSignals(wasBlocked)

    def _showRow(self):
        from meddl.augmentation import TRANSFORMS

        row = self.ui.stepsList.currentRow
        there = self.edited is not None and 0 <= row < len(self.edited.rows)
        step = self.edited.rows[row].step if there else None
        self.ui.settingsFrame.visible = there
        self.ui.settingsLabel.text = TRANSFORMS[step.transform].title if there else ""
        self.pages.show(step, row)

    def _showDescription(self):
        if self.edited is None:
            return
        told = [_("{name}.").format(name=self.edited.title)]
        told += [] if self.edited.is_changed else [self.edited.description]
        flips = any(row.on and row.step.transform == "flip" and "left-right" in row.step.settings["axis"]
                    for row in self.edited.rows)  # fmt: skip
        if flips and self._noMirror:
            told.append(_("No left-right mirror images: {reason}").format(reason=self._noMirror))
        self.ui.planLabel.text = " ".join(each for each in told if each)
        names = [self.ui.presetComboBox.itemText(index) for index in range(self.ui.presetComboBox.count)]
        self.ui.presetComboBox.setCurrentIndex(names.index(self.edited.name) if self.edited.name in names else -1)


def _first_sentence(transform):
    text = " ".join((type(transform).__doc__ or "").split())
    return text.split(". ")[0].rstrip(".") + "."
