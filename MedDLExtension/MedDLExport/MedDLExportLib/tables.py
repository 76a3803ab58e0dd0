"""How tables of the panel are filled and fitted into the module panel's width."""

import qt


def setCells(table, headings, rows, icons=None):
    """Write headings and rows of text into a table widget; what is there already stays, with its selection.

    Args:
        icons: an icon, or None, for the first cell of each row.
    """
    if table.columnCount != len(headings):
        table.setColumnCount(len(headings))
    table.setHorizontalHeaderLabels(list(headings))
    if table.rowCount != len(rows):
        table.setRowCount(len(rows))
    for line, row in enumerate(rows):
        for column, text in enumerate(row):
            item = itemAt(table, line, column)
            if item.text() != text:
                item.setText(text)
            item.setToolTip(text)
            if column and _isNumber(text):
                item.setTextAlignment(int(qt.Qt.AlignRight) | int(qt.Qt.AlignVCenter))
        if icons is not None:
            table.item(line, 0).setIcon(icons[line] or qt.QIcon())


def itemAt(table, row, column):
    """Return the item of a cell, a new one if there is none."""
    item = table.item(row, column)
    if item is None:
        item = qt.QTableWidgetItem("")
        table.setItem(row, column, item)
    return item


def setEditable(item, editable):
    """Let the user change a cell, or not."""
    flags = item.flags()
    item.setFlags(flags | qt.Qt.ItemIsEditable if editable else flags & ~qt.Qt.ItemIsEditable)


def fit(table, rowHeight, mostRows, stretched=0, widest=220):
    """Give columns the room they need and the table the height of its rows, up to ``mostRows``.

    Where the panel is too narrow for all columns there is a bar to scroll with.

    Args:
        stretched: the column that takes what is left.
        widest: no other column is wider than this; the rest of its text is in the tooltip.
    """
    header = table.horizontalHeader()
    if not table.columnCount:
        return
    header.setSectionResizeMode(qt.QHeaderView.Interactive)
    table.resizeColumnsToContents()
    for column in range(table.columnCount):
        if header.sectionSize(column) > widest:
            header.resizeSection(column, widest)
    room = table.viewport().width
    isWide = header.length() > room
    if not isWide:
        header.setSectionResizeMode(stretched, qt.QHeaderView.Stretch)
    shown = min(max(table.rowCount, 1), mostRows)
    bar = table.horizontalScrollBar().sizeHint.height() if isWide else 0
    table.setFixedHeight(header.height + rowHeight * shown + bar + 2 * table.frameWidth)


def selectedRows(table):
    """Return the numbers of the selected rows, in order."""
    return sorted({item.row() for item in table.selectedItems()})


def oneShot(onTimeout, milliseconds=50):
    """Return a timer that calls once, a moment after its last start."""
    timer = qt.QTimer()
    timer.setSingleShot(True)
    timer.setInterval(milliseconds)
    timer.connect("timeout()", onTimeout)
    return timer


def _isNumber(text):
    try:
        float(text)
    except ValueError:
        return False
    return True
