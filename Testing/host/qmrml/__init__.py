"""The MRML widgets that Slicer puts into `slicer`: only those that the panels use."""

from __future__ import annotations

import slicer

from ..pythonqt import ui_loader
from . import checkable_node_combo_box, containers, node_combo_box, segment_widgets, table_view

WIDGETS: tuple[type, ...] = tuple(
    value
    for module in (containers, node_combo_box, checkable_node_combo_box, segment_widgets, table_view)
    for name, value in vars(module).items()
    if name.startswith("qMRML") and value.__module__ == module.__name__
)


def install() -> None:
    """Puts the widgets into `slicer` and makes .ui files know them."""
    for widget in WIDGETS:
        setattr(slicer, widget.__name__, widget)
    ui_loader.register(*WIDGETS)
