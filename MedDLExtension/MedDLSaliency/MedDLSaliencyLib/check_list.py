"""A list of choices with check marks, some of which cannot be chosen and say why."""

from dataclasses import dataclass

import qt


@dataclass(frozen=True)
class Choice:
    """One line: its id, its text, what its tooltip says, and why it cannot be chosen, if so."""

    id: str
    text: str
    tip: str = ""
    refusal: str = ""


class CheckList:
    """Keeps a list widget in line with choices.

    Args:
        widget: the QListWidget.
        onChanged: called with the ids that have a check mark when the user has changed one.
    """

    def __init__(self, widget, onChanged):
        self._widget = widget
        self._onChanged = onChanged
        self._shown = None
        widget.connect("itemChanged(QListWidgetItem*)", self._onItem)

    def show(self, choices, checked):
        """Show these choices, with a check mark on those whose ids are in ``checked``."""
        wanted = (tuple(choices), tuple(sorted(checked)))
        if wanted == self._shown:
            return
        self._shown = wanted
        wasBlocked = self._widget.blockSignals(True)
        self._widget.clear()
        for choice in choices:
            item = qt.QListWidgetItem(choice.text)
            item.setData(qt.Qt.UserRole, choice.id)
            item.setToolTip(choice.refusal or choice.tip)
            item.setFlags(item.flags() | qt.Qt.ItemIsUserCheckable)
            isChecked = choice.id in checked and not choice.refusal
            item.setCheckState(qt.Qt.Checked if isChecked else qt.Qt.Unchecked)
            if choice.refusal:
                # Not disabled: Qt shows no tooltips of disabled lines.
                item.setFlags(item.flags() & ~qt.Qt.ItemIsUserCheckable)
                item.setForeground(qt.QBrush(qt.QColor("gray")))
            self._widget.addItem(item)
        self._widget.blockSignals(wasBlocked)

    def _onItem(self, item):
        rows = [self._widget.item(row) for row in range(self._widget.count)]
        shown = {row.data(qt.Qt.UserRole) for row in rows}
        checked = [row.data(qt.Qt.UserRole) for row in rows if row.checkState() == qt.Qt.Checked]
        # Those that cannot be chosen now, and those that this version does not know, stay chosen for another time.
        refused = {choice.id for choice in self._shown[0] if choice.refusal}
        kept = [id for id in self._shown[1] if id not in shown or id in refused]
        self._shown = (self._shown[0], tuple(sorted([*checked, *kept])))
        self._onChanged([*checked, *kept])
