"""Tables of texts in a panel: filled, and as large as they need to be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import qt

from meddl_slicer.model_choices import tool_tip

_ROW_HEIGHT = 24
_MOST_ROWS = 12


def fill(table: Any, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write headings and rows into a table widget, as high as it needs to be, up to a dozen rows."""
    table.visible = bool(headings)
    if table.columnCount != len(headings):
        table.setColumnCount(len(headings))
    table.setHorizontalHeaderLabels(list(headings))
    table.setRowCount(len(rows))
    for line, row in enumerate(rows):
        for column, text in enumerate(row):
            item = qt.QTableWidgetItem(text)
            item.setToolTip(tool_tip(text))
            if column and _is_number(text):
                item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
            table.setItem(line, column, item)
    _set_height(table, with_bar=table.horizontalScrollBar().visible)


def fit(table: Any) -> None:
    """Fill the table's width; where it is too narrow for all columns, have a bar to scroll with, below the rows.

    To be called once the table is laid out and knows its width.
    """
    header = table.horizontalHeader()
    if not table.columnCount:
        return
    header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
    is_wide = header.length() > table.viewport().width
    if not is_wide:
        header.setSectionResizeMode(0, qt.QHeaderView.Stretch)
    _set_height(table, with_bar=is_wide)


def _set_height(table: Any, with_bar: bool) -> None:
    shown = min(max(table.rowCount, 1), _MOST_ROWS)
    bar = table.horizontalScrollBar().sizeHint.height() if with_bar else 0
    table.setFixedHeight(table.horizontalHeader().height + _ROW_HEIGHT * shown + bar + 2 * table.frameWidth)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
