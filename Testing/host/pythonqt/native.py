"""Marks the host's own widgets as C++ classes, so that they are as closed to new attributes as the real ones.

A native class lists in `_private` the attributes its implementation keeps, and in `_signals` the signals that
carry MRML objects: Slicer's signature -> the signature Qt knows it by here (`PyObject` in place of the VTK pointer).
"""

from __future__ import annotations

from collections.abc import Callable

from .binding import QtCore
from .conversion import to_property

QT_TYPES = {bool: "bool", int: "int", float: "double", str: "QString", list: "QStringList"}


def native(cls: type) -> type:
    """Class decorator: from now on the class answers as a wrapped C++ class."""
    from .signals import add_signals

    add_signals(cls)
    cls._native = True
    return cls


def is_native(cls: type) -> bool:
    return cls.__module__.startswith(("PySide6.", "Shiboken")) or "_native" in vars(cls)


def native_class(cls: type) -> type:
    """The C++ class that a Python class is or derives from."""
    return next(base for base in cls.__mro__ if is_native(base))


def is_private(cls: type, name: str) -> bool:
    return any(name in vars(base).get("_private", ()) for base in cls.__mro__)


def qt_signature(cls: type, signature: str) -> str:
    """The name by which the meta-object knows a signal that Slicer would call `signature`."""
    for base in cls.__mro__:
        if signature in vars(base).get("_signals", {}):
            return vars(base)["_signals"][signature]
    return "" if "PyObject" in signature and is_native(cls) else signature


def stored(name: str, kind: type, default: object, changed: Callable[[object], None] | None = None) -> QtCore.Property:
    """A Q_PROPERTY that just keeps its value; `changed(self)` is called after it took a new one."""
    key = f"_{name}"
    type_name = QT_TYPES[kind]

    def read(self: object) -> object:
        value = self.__dict__.get(key, default)
        return tuple(value) if kind is list else value  # PythonQt makes a tuple of a QStringList

    def write(self: object, value: object) -> None:
        value = to_property(name, type_name, value)
        if value != read(self):
            self.__dict__[key] = value
            if changed is not None:
                changed(self)

    return QtCore.Property(type_name, read, write)


def computed(
    name: str, kind: type | str, read: Callable[[object], object], write: Callable[[object, object], None] | None = None
) -> QtCore.Property:
    """A Q_PROPERTY with its own reader and writer; the writer gets a value of the right type."""
    type_name = kind if isinstance(kind, str) else QT_TYPES[kind]
    if write is None:
        return QtCore.Property(type_name, read)
    return QtCore.Property(type_name, read, lambda self, value: write(self, to_property(name, type_name, value)))


def wrong_arguments(signature: str, *values: object) -> ValueError:
    """What PythonQt raises where a slot does not take the given arguments."""
    return ValueError(f"Called {signature} with wrong arguments: {values}")
