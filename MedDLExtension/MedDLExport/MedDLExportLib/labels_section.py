"""The panel's part for labels: the table of structures, what to do with them, and what becomes of overlaps."""

from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from MedDLExportLib import tables

_ROW_HEIGHT = 24
_MOST_ROWS = 10
_VALUE, _NAME, _CASES, _VOLUME, _SOURCES, _NOTES = range(6)


class LabelsSection:
    """The table of labels and its buttons.

    Args:
        ui: the panel's widgets.
        session: the cases and the labels.
        showError: called with an error for the user.
    """

    def __init__(self, ui, session, showError):
        self.ui = ui
        self._session = session
        self._showError = showError
        self._rows = ()
        self._shown = None
        self._scheme = None
        self._filling = False
        self._fixed = False
        for text, value in (
            (_("Earlier structures cover later ones"), "order"),
            (_("Kept, as regions"), "regions"),
        ):
            ui.overlapsComboBox.addItem(text, value)
        ui.overlapsComboBox.connect("activated(int)", self._onOverlaps)
        ui.labelsTable.connect("itemChanged(QTableWidgetItem*)", self._onItemChanged)
        ui.labelsTable.connect("itemSelectionChanged()", self._showButtons)
        ui.labelUpButton.connect("clicked(bool)", lambda checked: self._move(-1))
        ui.labelDownButton.connect("clicked(bool)", lambda checked: self._move(1))
        ui.labelMergeButton.connect("clicked(bool)", lambda checked: self._merge())
        ui.labelDropButton.connect("clicked(bool)", lambda checked: self._drop())
        ui.labelIgnoreButton.connect("clicked(bool)", lambda checked: self._ignore())
        self._menu = qt.QMenu(ui.labelMoreButton)
        self._menu.addAction(_("Save to a file…")).connect("triggered()", self._onSave)
        self._menu.addAction(_("Load from a file…")).connect("triggered()", self._onLoad)
        self._menu.addAction(_("Back to what the cases propose")).connect(
            "triggered()", lambda: session.setScheme(None)
        )
        ui.labelMoreButton.setMenu(self._menu)
        self._layoutTimer = tables.oneShot(self.fit)

    def cleanup(self):
        """Stop what would come later."""
        self._layoutTimer.stop()

    def fit(self):
        """Bring the table to the width of the panel."""
        tables.fit(self.ui.labelsTable, _ROW_HEIGHT, _MOST_ROWS, _NAME, 200)

    def update(self, running):
        """Bring the widgets in line with the labels."""
        from meddl.datasets.scheme_table import scheme_rows
        from meddl.errors import MedDLError

        self.ui.labelsCollapsibleButton.visible = self._session.task == "segmentation"
        self._fixed = running or self._session.existingScheme() is not None
        try:
            self._scheme = self._session.currentScheme()
            note = ""
        except MedDLError as error:
            self._scheme, note = None, error.message
        facts = [one for one in self._session.facts() if one.structures]
        if self._shown != (self._scheme, facts):
            self._rows = scheme_rows(self._scheme, facts) if self._scheme is not None else ()
            self._shown = (self._scheme, facts)
        self._show(facts)
        self.ui.labelsNoteLabel.text = note or self._note(facts)
        self.ui.labelsNoteLabel.visible = bool(self.ui.labelsNoteLabel.text)
        self._showButtons()

    def _show(self, facts):
        table = self.ui.labelsTable
        self._filling = True
        try:
            table.visible = bool(self._rows)
            headings = [_("Value"), _("Structure"), _("Cases"), _("Volume [ml]"), _("From"), _("Notes")]
            cells = [
                [
                    ", ".join(map(str, row.values)) or {"dropped": _("out"), "unmapped": _("out")}.get(row.kind, ""),
                    row.name,
                    f"{row.cases} / {len(facts)}",
                    f"{row.volume_ml:.4g}" if row.volume_ml else "",
                    ", ".join(row.names or row.sources),
                    _remarks(row),
                ]
                for row in self._rows
            ]
            tables.setCells(table, headings, cells)
            for line, row in enumerate(self._rows):
                for column in range(len(headings)):
                    item = table.item(line, column)
                    tables.setEditable(item, column == _NAME and row.kind == "structure" and not self._fixed)
                    font = item.font()
                    font.setItalic(row.kind != "structure")
                    item.setFont(font)
                table.item(line, _NAME).setIcon(_swatch(row.color) if row.kind == "structure" else qt.QIcon())
            if self._scheme is not None:
                self.ui.overlapsComboBox.setCurrentIndex(self.ui.overlapsComboBox.findData(self._scheme.overlaps))
        finally:
            self._filling = False
        self._layoutTimer.start()

    def _note(self, facts):
        if self._scheme is None:
            return _("The labels are shown when the cases were checked.")
        if self._session.existingScheme() is not None:
            return _(
                "These are the labels of the dataset that is in the folder already: cases that are added get the same. "
                "For other labels choose another folder."
            )
        overlapping = sum(bool(one.combinations) for one in facts)
        partly = [row.name for row in self._rows if row.kind == "structure" and row.missing_in]
        said = []
        if overlapping:
            said.append(_("Structures overlap in {count} cases.").format(count=overlapping))
        if partly:
            names = ", ".join(partly[:5])
            if len(partly) > 5:
                names = _("{names} and {count} more").format(names=names, count=len(partly) - 5)
            said.append(_("Not in all cases: {names}.").format(names=names))
        return " ".join(said)

    def _showButtons(self):
        if self._filling:
            return
        rows = self._selected()
        isStructure = bool(rows) and all(row.kind == "structure" for row in rows)
        structures = [row for row in self._rows if row.kind == "structure"]
        ready = not self._fixed
        one = rows[0] if len(rows) == 1 and isStructure else None
        self.ui.labelUpButton.enabled = ready and one is not None and one.index > 0
        self.ui.labelDownButton.enabled = ready and one is not None and one.index < len(structures) - 1
        canSplit = one is not None and len(one.sources) > 1
        self.ui.labelMergeButton.enabled = ready and isStructure and (len(rows) > 1 or canSplit)
        self.ui.labelMergeButton.text = _("Separate") if canSplit else _("Merge")
        isOut = bool(rows) and not any(row.kind == "structure" for row in rows)
        self.ui.labelDropButton.text = _("Take in") if isOut else _("Leave out")
        self.ui.labelDropButton.enabled = ready and (isOut or isStructure)
        self.ui.labelIgnoreButton.enabled = ready and bool(rows) and not any(row.kind == "ignore" for row in rows)
        for widget in (self.ui.labelMoreButton, self.ui.overlapsComboBox):
            widget.enabled = ready and self._scheme is not None

    def _selected(self):
        return [self._rows[line] for line in tables.selectedRows(self.ui.labelsTable) if line < len(self._rows)]

    # Changes

    def _change(self, make):
        """Take over the scheme that ``make(scheme, facts)`` returns."""
        from meddl.errors import MedDLError

        facts = [one for one in self._session.facts() if one.structures]
        try:
            self._session.setScheme(make(self._scheme, facts))
        except MedDLError as error:
            self._showError(error)
            self._session.changed()

    def _onItemChanged(self, item):
        from meddl.datasets import scheme_editing

        if not self._filling and item.column() == _NAME and item.row() < len(self._rows):
            index, name = self._rows[item.row()].index, item.text()
            self._change(lambda scheme, facts: scheme_editing.renamed(scheme, index, name))

    def _move(self, step):
        from meddl.datasets import scheme_editing

        index = self._selected()[0].index
        self._change(lambda scheme, facts: scheme_editing.moved(scheme, index, index + step))
        self.ui.labelsTable.selectRow(index + step)

    def _merge(self):
        from meddl.datasets import scheme_editing

        indices = [row.index for row in self._selected()]
        if len(indices) == 1:
            self._change(lambda scheme, facts: scheme_editing.separated(scheme, indices[0], facts))
        else:
            self._change(lambda scheme, facts: scheme_editing.merged(scheme, indices))
        self.ui.labelsTable.clearSelection()

    def _drop(self):
        from meddl.datasets import scheme_editing

        rows = self._selected()

        def change(scheme, facts):
            if rows[0].kind != "structure":
                return scheme_editing.restored(scheme, [key for row in rows for key in row.sources], facts)
            for row in sorted(rows, key=lambda each: -each.index):
                scheme = scheme_editing.dropped(scheme, row.index)
            return scheme

        self._change(change)
        self.ui.labelsTable.clearSelection()

    def _ignore(self):
        from meddl.datasets import scheme_editing

        keys = [key for row in self._selected() for key in row.sources]
        self._change(lambda scheme, facts: scheme_editing.with_ignore(scheme, [*scheme.ignore, *keys]))
        self.ui.labelsTable.clearSelection()

    def _onOverlaps(self, index):
        from meddl.datasets import scheme_editing

        overlaps = self.ui.overlapsComboBox.itemData(index)
        self._change(lambda scheme, facts: scheme_editing.with_overlaps(scheme, overlaps, facts))

    # Files

    def save(self, path):
        """Write the labels to a file; an empty path is that of a dialog that was closed."""
        from meddl.datasets.scheme_editing import write_scheme
        from meddl.errors import MedDLError

        if path:
            try:
                write_scheme(self._scheme, Path(path))
            except MedDLError as error:
                self._showError(error)

    def load(self, path):
        """Take the labels of a file."""
        from meddl.datasets.scheme_editing import completed, read_scheme

        if path:
            self._change(lambda scheme, facts: completed(read_scheme(Path(path)), facts))

    def _onSave(self):
        kinds = _("Labels") + " (*.json)"
        self.save(qt.QFileDialog.getSaveFileName(slicer.util.mainWindow(), _("Labels"), "labels.json", kinds))

    def _onLoad(self):
        kinds = _("Labels") + " (*.json)"
        self.load(qt.QFileDialog.getOpenFileName(slicer.util.mainWindow(), _("Labels"), "", kinds))


def _remarks(row):
    said = list(row.notes)
    if row.missing_in and row.kind == "structure":
        said.append(_("Missing in {count} cases.").format(count=len(row.missing_in)))
    if row.empty_in:
        said.append(_("Empty in {count} cases.").format(count=len(row.empty_in)))
    if row.debris_in:
        said.append(_("Single voxels lie about in {count} cases.").format(count=len(row.debris_in)))
    return " ".join(said)


def _swatch(color):
    pixmap = qt.QPixmap(12, 12)
    pixmap.fill(qt.QColor(*(round(255 * part) for part in color)))
    return qt.QIcon(pixmap)
