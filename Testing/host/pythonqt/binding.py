"""Imports PySide6 the one way the host needs it (headless, enums that are numbers) and lists its classes.

PythonQt's enum values behave as plain integers (``int(qt.QMessageBox.Yes)``, ``repr`` is the number), which PySide6
only offers when asked before its first import.
"""

from __future__ import annotations

import enum
import inspect
import os
import sys
from collections.abc import Iterator
from types import ModuleType

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
_ENUMS_ARE_INTEGERS = "2"
if "PySide6.QtCore" in sys.modules and os.environ.get("PYSIDE6_OPTION_PYTHON_ENUM") != _ENUMS_ARE_INTEGERS:
    raise RuntimeError(
        "Start the host before anything else imports PySide6: its enums must be made integers at import."
    )
os.environ["PYSIDE6_OPTION_PYTHON_ENUM"] = _ENUMS_ARE_INTEGERS

import shiboken6  # noqa: E402
from PySide6 import QtCore, QtGui, QtNetwork, QtUiTools, QtWidgets  # noqa: E402

MODULES: tuple[ModuleType, ...] = (QtCore, QtGui, QtWidgets, QtNetwork, QtUiTools)
QObject = QtCore.QObject
# What PySide6 shows beside Qt's own names, and PythonQt does not.
_NOT_QT = {"annotations", "Shiboken", "ClassInfo", "QEnum", "QFlag", "NullSlot", "SignalInstance", "MetaFunction"}


def is_alive(obj: QObject) -> bool:
    """Whether the C++ object behind `obj` still exists."""
    return shiboken6.isValid(obj)


def address(obj: object) -> int:
    """Address of the C++ object, or 0 for a destroyed one."""
    return shiboken6.getCppPointer(obj)[0] if shiboken6.isValid(obj) else 0


def public_names(module: ModuleType) -> dict[str, object]:
    """Qt's public names in one PySide6 module."""
    names = (n for n in dir(module) if not n.startswith("_") and n not in _NOT_QT)  # dir: the classes are made lazily
    return {name: getattr(module, name) for name in names}


def classes() -> Iterator[type]:
    """Every wrapped Qt class, bases before derived ones, each once."""
    found: dict[type, None] = {}
    for module in MODULES:
        for value in public_names(module).values():
            if inspect.isclass(value) and issubclass(value, shiboken6.Object):
                for base in reversed(value.__mro__[:-1]):
                    found.setdefault(base)
    yield from found


def make_enums_plain() -> None:
    """Enum values print as the number that they are."""
    for module in MODULES:
        values = list(public_names(module).values())
        members = [m for v in values if inspect.isclass(v) for m in list(vars(v).values())]
        for kind in (*values, *members):
            if inspect.isclass(kind) and issubclass(kind, enum.Enum) and issubclass(kind, int):
                kind.__repr__ = int.__repr__
                kind.__str__ = int.__repr__
