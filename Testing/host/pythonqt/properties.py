"""Qt properties as Python attributes: ``button.text`` reads, ``button.text = "x"`` writes, ``button.text()`` fails."""

from __future__ import annotations

import enum

from .binding import QObject, is_alive
from .conversion import refusal, to_property
from .native import native_class

_read_property = QObject.property
_write_property = QObject.setProperty


class QtProperty:
    """Data descriptor over one Q_PROPERTY of one PySide6 class."""

    def __init__(self, owner: type, name: str, type_name: str, *, writable: bool, is_enum: bool) -> None:
        self.name = name
        self.type_name = type_name
        self.writable = writable
        self.is_enum = is_enum
        capital = name[0].upper() + name[1:]
        self._method = _original(owner, name)
        self._getter = self._method or _original(owner, f"is{capital}")
        self._setter = _original(owner, f"set{capital}")

    def __get__(self, obj: QObject | None, owner: type | None = None) -> object:
        if obj is None:  # from the class one gets the method: qt.QTimer.singleShot, qt.QWidget.sizeHint(self)
            return self._method if self._method is None else _bound(self._method, None, owner)
        if not is_alive(obj):
            cls = native_class(type(obj)).__name__
            raise ValueError(f"Trying to read property '{self.name}' from a destroyed {cls} object")
        value = self._read(obj)
        return tuple(value) if self.type_name == "QStringList" else value

    def _read(self, obj: QObject) -> object:
        if self._getter is not None:
            try:
                return _bound(self._getter, obj)()
            except TypeError:  # the method of that name wants arguments: it is not the property's reader
                self._getter = None
        return _read_property(obj, self.name)

    def __set__(self, obj: QObject, value: object) -> None:
        if not is_alive(obj):
            cls = native_class(type(obj)).__name__
            raise AttributeError(f"Trying to set property '{self.name}' on a destroyed {cls} object")
        if not self.writable:
            raise AttributeError(f"Property '{self.name}' of {type(obj).__name__} object is not writable")
        if self.is_enum:
            self._set_enum(obj, value)
            return
        value = to_property(self.name, self.type_name, value)
        if self._setter is not None:
            try:
                _bound(self._setter, obj)(value)
            except TypeError:
                raise refusal(self.name, self.type_name, value) from None
        elif not _write_property(obj, self.name, value):
            raise refusal(self.name, self.type_name, value)

    def _set_enum(self, obj: QObject, value: object) -> None:
        current = self.__get__(obj)
        if isinstance(current, enum.Enum) and isinstance(value, int):
            value = type(current)(value)
        if not isinstance(value, (int, str)) or not _write_property(obj, self.name, value):
            raise refusal(self.name, self.type_name, value)


def _bound(method: object, obj: QObject | None, owner: type | None = None) -> object:
    """`method` as taken from a class's dictionary, bound; Qt's static functions stay as they are."""
    return method.__get__(obj, owner or type(obj)) if hasattr(method, "__get__") else method


def _original(owner: type, name: str) -> object:
    """PySide6's own method of that name, found under our descriptors."""
    for base in owner.__mro__:
        member = vars(base).get(name)
        if isinstance(member, QtProperty):
            return member._getter if name == member.name else None
        if member is not None:
            return member if callable(member) else None
    return None


def add_properties(cls: type) -> None:
    """Replaces the accessors of `cls` by attributes, also where a derived class brings its own accessor again."""
    meta = cls.staticMetaObject
    for index in range(meta.propertyCount()):
        prop = meta.property(index)
        name = prop.name()
        if index >= meta.propertyOffset() or name in vars(cls):
            descriptor = QtProperty(
                cls, name, prop.typeName(), writable=prop.isWritable(), is_enum=prop.isEnumType() or prop.isFlagType()
            )
            setattr(cls, name, descriptor)
