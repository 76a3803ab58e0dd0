"""The table of cases: thumbnails, check marks, and what can be changed in place."""

import qt
from slicer.i18n import tr as _

from MedDLExportLib import tables

_ICON = 48
_ROW_HEIGHT = 52
_MOST_ROWS = 6
_CASE, _PATIENT, _SITE, _SPLIT, _FIRST_CHANNEL = range(5)
_RED = "#e53935"  # readable on light and on dark


class CaseTable:
    """Shows rows of cases, and tells which the user changes and selects.

    Args:
        table: the table widget.
        onEdited: called with (keys of rows, dictionary of new values).
        onSelected: called when other rows are selected.
    """

    def __init__(self, table, onEdited, onSelected):
        self.table = table
        self._onEdited = onEdited
        self._rows = []
        self._filling = False
        self._icons = {}
        table.setIconSize(qt.QSize(_ICON, _ICON))
        table.connect("itemChanged(QTableWidgetItem*)", self._onItemChanged)
        table.connect("itemSelectionChanged()", lambda: None if self._filling else onSelected())
        table.horizontalHeader().setMinimumSectionSize(30)
        self._layoutTimer = tables.oneShot(self.fit)

    def cleanup(self):
        """Stop what would come later."""
        self._layoutTimer.stop()

    def show(self, rows, channels, pictures, problems, task):
        """Show these rows.

        Args:
            channels: names of the channels, one column each.
            pictures: thumbnails (H, W, 3) by key of the row.
            problems: what is wrong with a row, in words, by its key.
            task: what a model shall learn; classes are typed into the table.
        """
        from meddl_slicer.export_cases import label_name

        self._filling = True
        try:
            before = [row.key for row in self._rows]
            self._rows = list(rows)
            if before[: len(rows)] != [row.key for row in rows][: len(before)]:
                self.table.clearSelection()
            headings = [_("Case"), _("Patient"), _("Site"), _("Part"), *channels, _("Label"), _("Notes")]
            cells = [
                [
                    row.name,
                    row.patient,
                    row.site,
                    splitText(row.split),
                    *(_imageText(row, channel) for channel in channels),
                    label_name(row),
                    " ".join((*filter(None, [problems.get(row.key, "")]), *row.notes)),
                ]
                for row in rows
            ]
            tables.setCells(self.table, headings, cells, [self._icon(row, pictures) for row in rows])
            for line, row in enumerate(rows):
                self._dress(line, row, bool(problems.get(row.key)), _FIRST_CHANNEL + len(channels), task)
        finally:
            self._filling = False
        self._layoutTimer.start()

    def showPicture(self, key, picture):
        """Show the thumbnail of a row that is shown already."""
        line = next((line for line, row in enumerate(self._rows) if row.key == key), None)
        if line is not None:
            self._filling = True
            try:
                self.table.item(line, _CASE).setIcon(self._icon(self._rows[line], {key: picture}))
            finally:
                self._filling = False
            self._layoutTimer.start()

    def selectedKeys(self):
        """Return the keys of the rows that are selected."""
        return [self._rows[line].key for line in tables.selectedRows(self.table) if line < len(self._rows)]

    def fit(self):
        """Bring the table to the width of the panel."""
        tables.fit(self.table, _ROW_HEIGHT, _MOST_ROWS, stretched=max(self.table.columnCount - 1, 0), widest=210)

    def _dress(self, line, row, isWrong, labelColumn, task):
        first = self.table.item(line, _CASE)
        first.setFlags(first.flags() | qt.Qt.ItemIsUserCheckable)
        state = qt.Qt.Checked if row.included else qt.Qt.Unchecked
        # An item that was never checked nor unchecked shows no box at all.
        if first.data(qt.Qt.CheckStateRole) is None or first.checkState() != state:
            first.setCheckState(state)
        isClass = task == "classification"
        for column in range(self.table.columnCount):
            item = self.table.item(line, column)
            tables.setEditable(item, column in (_CASE, _PATIENT, _SITE) or (column == labelColumn and isClass))
        notes = self.table.item(line, labelColumn + 1)
        for item in (first, notes):  # the notes may lie outside of a narrow panel
            item.setData(qt.Qt.ForegroundRole, qt.QBrush(qt.QColor(_RED)) if isWrong else None)
        first.setToolTip("\n".join(text for text in (row.name, notes.text()) if text))

    def _icon(self, row, pictures):
        picture = pictures.get(row.key)
        if picture is None:
            return None
        known = self._icons.get(row.key)
        if known is None or known[0] is not picture:
            self._icons[row.key] = known = (picture, _iconOf(picture))
        return known[1]

    def _onItemChanged(self, item):
        if self._filling or item.row() >= len(self._rows):
            return
        row, column = self._rows[item.row()], item.column()
        selected = self.selectedKeys()
        keys = selected if row.key in selected else [row.key]
        if column == _CASE:
            included = item.checkState() == qt.Qt.Checked
            if included != row.included:
                self._onEdited(keys, {"included": included})
            else:
                self._onEdited([row.key], {"name": item.text()})
        elif column == _PATIENT:
            self._onEdited(keys, {"patient": item.text().strip()})
        elif column == _SITE:
            self._onEdited(keys, {"site": item.text().strip()})
        else:
            self._onEdited(keys, {"classes": item.text()})


def splitText(split):
    """Return how a part of the dataset is called."""
    return {"train": _("Training"), "validation": _("Validation"), "test": _("Test")}.get(split, "")


def _imageText(row, channel):
    from meddl_slicer.export_cases import image_name

    return image_name(row.images[channel]) if channel in row.images else ""


def _iconOf(picture):
    from meddl_slicer.thumbnails import png

    pixmap = qt.QPixmap()
    pixmap.loadFromData(qt.QByteArray(png(picture)))
    return qt.QIcon(pixmap)
