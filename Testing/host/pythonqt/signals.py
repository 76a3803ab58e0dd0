"""Connecting as PythonQt does: ``obj.connect("clicked(bool)", f)``, ``obj.clicked.connect(f)``; both answer True.

A slot gets as many of the signal's arguments as its parameters take, and an exception in a slot is
reported but does not travel into Qt. Unlike PythonQt, which prints a line and answers False, a signal that does not
exist raises: in a panel it is always a mistake.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType, MethodType

from .binding import QObject, QtCore, address, is_alive
from .native import native_class, qt_signature

_connect = QObject.connect
_disconnect = QObject.disconnect


@dataclass(frozen=True)
class _Connection:
    signature: str
    slot: Callable[..., object]
    handle: QtCore.QMetaObject.Connection


_connections: dict[int, list[_Connection]] = {}


class QtSignal:
    """Class attribute standing for all overloads of one signal; the first one declared is the one used by name."""

    def __init__(self, name: str, signal: QtCore.Signal) -> None:
        self.name = name
        self.signal = signal

    def __get__(self, obj: QObject | None, owner: type | None = None) -> object:
        return self if obj is None else BoundSignal(obj, self)

    def __set__(self, obj: QObject, value: object) -> None:
        if type(value) is QtCore.SignalInstance:  # PySide6 keeps what it bound for an emit
            return
        raise AttributeError(f"Signal '{self.name}' can not be overwritten on {type(obj).__name__} object")


class BoundSignal:
    """A signal of one object: connect, disconnect, emit; calling it emits too."""

    def __init__(self, obj: QObject, signal: QtSignal) -> None:
        self._obj = obj
        self._signal = signal

    def _signature(self) -> str:
        return first_signature(self._obj, self._signal.name)

    def connect(self, slot: Callable[..., object]) -> bool:
        return connect_callable(self._obj, self._signature(), slot)

    def disconnect(self, slot: Callable[..., object] | None = None) -> bool:
        return disconnect_callable(self._obj, self._signature(), slot)

    def overload(self, kind: type) -> QtCore.SignalInstance:
        """PySide6's own signal for one argument type; for the host's widgets, which emit several overloads."""
        return self._signal.signal.__get__(self._obj, type(self._obj))[kind]

    def emit(self, *args: object) -> None:
        self._signal.signal.__get__(self._obj, type(self._obj)).emit(*args)

    __call__ = emit

    def __repr__(self) -> str:
        return f"<qt signal {self._signal.name} of {type(self._obj).__name__} instance at {id(self._obj):#x}>"


def first_signature(obj: QObject, name: str) -> str:
    """Signature of the first overload of a signal, as the meta-object knows it."""
    meta = obj.metaObject()
    for index in range(meta.methodCount()):
        method = meta.method(index)
        if method.methodType() == QtCore.QMetaMethod.MethodType.Signal and method.name().data().decode() == name:
            return method.methodSignature().data().decode()
    raise AttributeError(f"{type(obj).__name__} has no signal named '{name}'")


def resolve(obj: QObject, signal: str) -> str:
    """The meta-object's name of a signal given by its C++ signature.

    Raises:
        RuntimeError: no such signal.
    """
    cls = native_class(type(obj))
    if not is_alive(obj):
        raise ValueError(f"Trying to call 'connect' on a destroyed {cls.__name__} object")
    text = signal if isinstance(signal, str) else bytes(signal).decode()
    normalized = QtCore.QMetaObject.normalizedSignature(text.lstrip("0123456789")).data().decode()
    known = qt_signature(type(obj), normalized)
    if not known or obj.metaObject().indexOfSignal(known) < 0:
        raise RuntimeError(f"QObject::connect() signal '{text}' does not exist on {cls.__name__}")
    return known


def connect_callable(obj: QObject, signature: str, slot: Callable[..., object]) -> bool:
    if not callable(slot):
        raise TypeError(f"A slot must be callable, is {slot!r}")
    records = _connections.get(address(obj))
    if records is None:
        key = address(obj)
        records = _connections.setdefault(key, [])
        _connect(obj, "2destroyed()", lambda: _connections.pop(key, None))
    records.append(_Connection(signature, slot, _connect(obj, f"2{signature}", _wrap(slot))))
    return True


def disconnect_callable(obj: QObject, signature: str, slot: Callable[..., object] | None) -> bool:
    """Ends one connection to `slot`, or all of the signal's where `slot` is None; tells whether there was one."""
    records = _connections.get(address(obj), [])
    found = [r for r in records if r.signature == signature and (slot is None or r.slot == slot)]
    for record in found if slot is None else found[:1]:
        _disconnect(record.handle)
        records.remove(record)
    return bool(found)


def connect(self: QObject, signal: str, *receiver: object) -> bool:
    """``obj.connect(signal, callable)`` or ``obj.connect(signal, receiver, "slot(type)")``."""
    if isinstance(signal, QObject):  # PySide6's own code calls timer.connect(timer, signal, callable)
        return connect(signal, *receiver)
    signature = resolve(self, signal)
    if len(receiver) == 1:
        return connect_callable(self, signature, receiver[0])
    return connect_callable(self, signature, slot_of(*receiver[:2]))


def disconnect(self: QObject, signal: str, *receiver: object) -> bool:
    signature = resolve(self, signal)
    if len(receiver) > 1:
        return disconnect_callable(self, signature, slot_of(*receiver[:2]))
    return disconnect_callable(self, signature, receiver[0] if receiver else None)


def slot_of(receiver: QObject, slot: str) -> Callable[..., object]:
    """The method that a slot's C++ signature names.

    Raises:
        RuntimeError: the receiver has no such slot.
    """
    name, _, rest = slot.lstrip("0123456789").partition("(")
    method = getattr(receiver, name, None)
    if isinstance(method, BoundSignal):
        return method.emit
    if not callable(method):
        raise RuntimeError(f"QObject::connect() slot '{slot}' does not exist on {type(receiver).__name__}")
    if rest.strip() == ")":
        return lambda: method()
    return method


def _wrap(slot: Callable[..., object]) -> Callable[..., None]:
    limit = _parameter_count(slot)

    def deliver(*args: object) -> None:
        try:
            slot(*args[:limit])
        except Exception:
            sys.excepthook(*sys.exc_info())

    return deliver


def _parameter_count(slot: Callable[..., object]) -> int | None:
    """How many arguments PythonQt would pass: it looks into Python functions and methods only; None is all."""
    function = slot.__func__ if isinstance(slot, MethodType) else slot
    if not isinstance(function, FunctionType) or function.__code__.co_flags & inspect.CO_VARARGS:
        return None
    return function.__code__.co_argcount - int(isinstance(slot, MethodType))


def add_signals(cls: type) -> None:
    for name, member in list(vars(cls).items()):
        if type(member) is QtCore.Signal:  # not isinstance: PySide6's own check loses a reference to False each time
            setattr(cls, name, QtSignal(name, member))


def make_python_signals_answer() -> None:
    """Signals declared in Python code (``qt.Signal``) answer True from connect as well."""
    original = QtCore.SignalInstance.connect

    def connect_instance(self: QtCore.SignalInstance, slot: Callable[..., object]) -> bool:
        original(self, slot)
        return True

    QtCore.SignalInstance.connect = connect_instance
