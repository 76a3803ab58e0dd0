"""PythonQt's manners for wrapped objects: closed to new attributes, dynamic properties readable, dead ones say so."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from types import BuiltinMethodType, MethodType

from .binding import QObject, QtCore, QtWidgets, address, classes, is_alive, shiboken6
from .native import is_native, is_private, native_class
from .properties import add_properties
from .signals import add_signals, connect, disconnect

_property = QObject.property
_set_property = QObject.setProperty
_children = QObject.children
_dynamic_names = QObject.dynamicPropertyNames
_loading_ui = False
# PySide6 answers these names itself, before a look into the class.
_OVER_PYSIDE = {"connect": connect, "disconnect": disconnect}
_TUPLE_RETURNS = {
    "children", "findChildren", "actions", "selectedItems", "selectedIndexes", "selectedRows",
}  # fmt: skip


@contextmanager
def loading_ui():
    """While PySide6's loader runs it sets each child as an attribute of the top-level widget: let that pass, unset."""
    global _loading_ui
    _loading_ui = True
    try:
        yield
    finally:
        _loading_ui = False


def apply() -> None:
    """Gives every wrapped class its manners. Done once per process; the classes themselves are changed, so that
    objects made by Qt itself (headers, items, what a .ui file holds) have them too."""
    for cls in classes():
        if issubclass(cls, QObject):
            add_properties(cls)
            add_signals(cls)
            _return_tuples(cls)
            if "__getattribute__" in vars(cls) or cls is QObject:
                cls.__getattribute__ = _getattribute_of(cls)
        if "__setattr__" in vars(cls) or cls.__base__ in (object, shiboken6.Object):
            cls.__setattr__ = _write_attribute
        cls.__repr__ = _repr
    shiboken6.Object.__getattr__ = _missing_value_attribute
    QObject.__getattr__ = _missing_attribute
    QObject.__bool__ = is_alive
    QObject.connect = connect
    QObject.disconnect = disconnect
    QObject.className = lambda self: native_class(type(self)).__name__
    QObject.inherits = lambda self, name: any(c.__name__ == name for c in type(self).__mro__ if is_native(c))
    QObject.delete = lambda self: shiboken6.delete(self)
    QObject.dynamicPropertyNames = lambda self: tuple(_dynamic_names(self))
    QObject.name = vars(QObject)["objectName"]
    QtWidgets.QFileDialog.getOpenFileName = _FileQuestion("getOpenFileName")
    QtWidgets.QFileDialog.getSaveFileName = _FileQuestion("getSaveFileName")
    QtWidgets.QFileDialog.getExistingDirectory = _FileQuestion("getExistingDirectory")


def _getattribute_of(cls: type) -> Callable[[QObject, str], object]:
    original = cls.__getattribute__

    def read(self: QObject, name: str) -> object:
        value = original(self, name)
        if name in _OVER_PYSIDE and type(value) is BuiltinMethodType:
            return MethodType(_OVER_PYSIDE[name], self)
        if type(value) is BuiltinMethodType and not is_alive(self):
            return _destroyed_slot(native_class(type(self)).__name__, name)
        return value

    return read


def _destroyed_slot(class_name: str, name: str) -> Callable[..., object]:
    def call(*_args: object) -> object:
        raise ValueError(f"Trying to call '{name}' on a destroyed {class_name} object")

    return call


def _missing_attribute(self: QObject, name: str) -> object:
    if not name.startswith("__") and is_alive(self):
        value = _property(self, name)
        if value is not None:
            return value
        for child in _children(self):
            if child.objectName == name:
                return child
    raise AttributeError(f"{native_class(type(self)).__name__} has no attribute named '{name}'")


def _missing_value_attribute(self: object, name: str) -> object:
    raise AttributeError(f"{native_class(type(self)).__name__} has no attribute named '{name}'")


def _write_attribute(self: object, name: str, value: object) -> None:
    kind = type(self)
    owner = next((c for c in kind.__mro__ if name in vars(c)), None)
    member = vars(owner)[name] if owner is not None else None
    if isinstance(member, QtCore.Property):
        if member.fset is None:
            raise AttributeError(f"Property '{name}' of {kind.__name__} object is not writable")
        member.fset(self, value)
    elif hasattr(type(member), "__set__") and owner is not object:
        type(member).__set__(member, self, value)
    elif is_private(kind, name):
        object.__setattr__(self, name, value)
    elif owner is not None and owner is not object and is_native(owner):
        what = "Slot" if callable(member) else "EnumValue"
        raise AttributeError(f"{what} '{name}' can not be overwritten on {kind.__name__} object")
    elif _has_dynamic_property(self, name):
        _set_property(self, name, value)
    elif not is_native(kind):
        object.__setattr__(self, name, value)
    elif not (_loading_ui and isinstance(value, QObject)):
        raise AttributeError(
            f"'{name}' does not exist on {kind.__name__} and creating new attributes on C++ objects is not allowed"
        )


def _has_dynamic_property(obj: object, name: str) -> bool:
    return isinstance(obj, QObject) and is_alive(obj) and _property(obj, name) is not None


def _return_tuples(cls: type) -> None:
    """PythonQt turns Qt's lists of objects into tuples."""
    for name in _TUPLE_RETURNS & set(vars(cls)):
        original = getattr(cls, name)
        if callable(original):
            setattr(cls, name, _tupled(original))


def _tupled(original: Callable[..., list]) -> Callable[..., tuple]:
    def call(self: object, *args: object) -> tuple:
        return tuple(original(self, *args))

    return call


def _repr(self: object) -> str:
    kind, base = type(self), native_class(type(self))
    if isinstance(self, QtCore.QByteArray):
        return f"QByteArray ({self.data().decode(errors='replace')}, at: {address(self):#x})"
    if isinstance(self, QtWidgets.QWidget):
        text = f"{base.__name__}({address(self):#x}) "
        return text if kind is base else f"{kind.__name__} ({text}, at: {address(self):#x})"
    if isinstance(self, QObject):
        return f"{kind.__name__} ({base.__name__} at: {address(self):#x})"
    return f"{kind.__name__} (C++ object at: {address(self):#x})"


class _FileQuestion:
    """A file dialog's static function: there is nobody to answer it here, so asking is an error."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, *_args: object) -> str:
        raise RuntimeError(f"QFileDialog.{self._name} was called, and nobody is there to answer it")

    def __repr__(self) -> str:
        return f"<unbound qt slot static_QFileDialog_{self._name} of QFileDialog type>"
