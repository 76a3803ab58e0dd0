"""The module `ctk`: the CTK widgets that the panels and Slicer's own Python code use.

Only what the real classes give to Python is there: their properties, public slots, invokable methods and signals.
"""

from __future__ import annotations

import sys
from types import ModuleType

from ..pythonqt import ui_loader
from . import buttons, choices, numbers

WIDGETS: tuple[type, ...] = tuple(
    value
    for module in (buttons, choices, numbers)
    for name, value in vars(module).items()
    if name.startswith("ctk") and value.__module__ == module.__name__
)


def install() -> ModuleType:
    """Makes `import ctk` work and .ui files know the widgets."""
    ctk = ModuleType("ctk")
    for widget in WIDGETS:
        setattr(ctk, widget.__name__, widget)
    ui_loader.register(*WIDGETS)
    sys.modules["ctk"] = ctk
    return ctk
