"""The modules `qt` and `PythonQt` over PySide6, with PythonQt's manners.

`install()` changes PySide6's classes in place and registers the modules; it is done once per process.
"""

from __future__ import annotations

import sys
from types import ModuleType

from . import binding, objects, signals
from .ui_loader import QUiLoader

# PythonQt has the widgets in its QtGui, and Slicer's `qt` holds everything at one level.
_PYTHONQT_ROOMS = {
    "QtCore": (binding.QtCore,),
    "QtGui": (binding.QtGui, binding.QtWidgets),
    "QtNetwork": (binding.QtNetwork,),
    "QtUiTools": (binding.QtUiTools,),
}


def install() -> ModuleType:
    """Makes `import qt` and `import PythonQt` work and returns `qt`."""
    if "qt" in sys.modules:
        return sys.modules["qt"]
    binding.make_enums_plain()
    signals.make_python_signals_answer()
    objects.apply()
    qt = ModuleType("qt")
    python_qt = ModuleType("PythonQt")
    for room, sources in _PYTHONQT_ROOMS.items():
        module = ModuleType(f"PythonQt.{room}")
        for source in sources:
            vars(module).update(binding.public_names(source))
        if room == "QtUiTools":
            module.QUiLoader = QUiLoader
        setattr(python_qt, room, module)
        vars(qt).update({k: v for k, v in vars(module).items() if not k.startswith("__")})
        sys.modules[module.__name__] = module
    sys.modules["PythonQt"] = python_qt
    sys.modules["qt"] = qt
    return qt
