"""Tables of the panel."""

import qt


def fill(table, rows):
    """Show ``rows`` of texts in a table, and keep the selected row."""
    row = table.currentRow()
    table.setRowCount(len(rows))
    for index, texts in enumerate(rows):
        for column, text in enumerate(texts):
            table.setItem(index, column, qt.QTableWidgetItem(text))
    if 0 <= row < len(rows):
        table.selectRow(row)
