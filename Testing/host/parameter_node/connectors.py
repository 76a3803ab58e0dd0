"""Binds a parameter to a widget: which widget shows which type, how it is read, written and heard."""

from __future__ import annotations

import enum
import logging
import types
import typing
from abc import ABC, abstractmethod

import ctk
import qt
import slicer

from .annotations import (
    Choice,
    Decimals,
    Default,
    Maximum,
    Minimum,
    RangeBounds,
    SingleStep,
    WithinRange,
    first_of,
    split_annotations,
    unannotated,
)  # fmt: skip
from .codecs import PATHS
from .float_range import FloatRange

_INFINITY = float("inf")


class GuiConnector(ABC):
    """One widget for one parameter. `signal` is the widget's signal of a change, or empty if it has none."""

    signal = ""

    def __init__(self, widget, datatype):
        self._widget = widget
        self._type, self._annotations = split_annotations(datatype)
        self._callback = None
        self.prepare()

    def prepare(self):  # noqa: B027  (most widgets need nothing)
        """Sets the widget up for the type's annotations."""

    def widget(self):
        return self._widget

    def onChanged(self, callback):
        had_callback, self._callback = self._callback is not None, callback
        if self.signal and (callback is not None) != had_callback:
            signal = getattr(self._widget, self.signal)
            (signal.disconnect if callback is None else signal.connect)(self.changed)

    def changed(self):
        if self._callback:
            self._callback()

    def _annotation(self, kind):
        return first_of(self._annotations, kind)

    def _set_step(self):
        step = self._annotation(SingleStep)
        if step is not None:
            self._widget.singleStep = step.value

    def _bounds(self):
        """(minimum, maximum) by the annotations; None where there is no bound."""
        both, low, high = (self._annotation(kind) for kind in (WithinRange, Minimum, Maximum))
        if both is not None:
            return both.minimum, both.maximum
        return (low.minimum if low is not None else None), (high.maximum if high is not None else None)

    @abstractmethod
    def read(self):
        raise NotImplementedError

    @abstractmethod
    def write(self, value):
        raise NotImplementedError


class _Property(GuiConnector):
    """The parameter is a property of the widget."""

    name = ""

    def read(self):
        return getattr(self._widget, self.name)

    def write(self, value):
        setattr(self._widget, self.name, value)


class CheckBox(_Property):
    signal, name = "stateChanged", "checked"


class CheckableButton(_Property):
    signal, name = "toggled", "checked"

    def prepare(self):
        if not self._widget.checkable:
            logging.warning(f"Making push button checkable for conversion to bool: button {self._widget}")
            self._widget.checkable = True


class WholeNumber(_Property):
    signal, name = "valueChanged", "value"

    def prepare(self):
        self._set_step()
        low, high = self._bounds()
        if isinstance(self._widget, qt.QSlider) and (low is None or high is None):
            raise RuntimeError("Cannot have a connection to QSlider where the int type is unbounded.")
        self._widget.setRange(-(2**31) if low is None else low, 2**31 - 1 if high is None else high)


class RealNumber(_Property):
    signal, name = "valueChanged", "value"

    def prepare(self):
        decimals = self._annotation(Decimals)
        if type(self._widget) is not ctk.ctkDoubleSlider and (self._type is int or decimals is not None):
            self._widget.decimals = 0 if self._type is int else decimals.value
        self._set_step()
        low, high = self._bounds()
        if type(self._widget) in (ctk.ctkSliderWidget, slicer.qMRMLSliderWidget) and (low is None or high is None):
            raise RuntimeError("Cannot have a connection to ctkSliderWidget where the float types is unbounded.")
        self._widget.minimum = -_INFINITY if low is None else low
        self._widget.maximum = _INFINITY if high is None else high

    def read(self):
        return self._type(self._widget.value)

    def write(self, value):
        self._widget.value = self._type(value)


class _Entries(GuiConnector):
    """A combo box with one entry for each possible value."""

    signal = "currentIndexChanged"

    def _fill(self, values, labels):
        self._values = list(values)
        self._widget.clear()
        for label in labels:
            self._widget.addItem(label)

    def read(self):
        return self._values[self._widget.currentIndex]

    def write(self, value):
        if value not in self._values:
            raise ValueError(f"Unable to find value {value} in choices {self._values}")
        self._widget.currentIndex = self._values.index(value)


class Choices(_Entries):
    def prepare(self):
        choice = self._annotation(Choice)
        if choice is None:
            raise RuntimeError("ComboBoxToStringableConnector requires the Choice annotation to be used.")
        self._fill(choice.choices, [str(c) for c in choice.choices])


class EnumChoices(_Entries):
    def prepare(self):
        label = getattr(self._type, "label", lambda value: value.name)
        selected = self._widget.currentIndex
        self._fill(self._type, [label(value) for value in self._type])
        self._widget.currentIndex = selected if selected >= 0 else len(self._values) - 1


class Line(_Property):
    signal, name = "textChanged", "text"

    def write(self, value):
        if value != self._widget.text:  # writing moves the cursor
            self._widget.text = value


class Label(_Property):
    name = "text"


class Text(GuiConnector):
    signal = "textChanged"

    def read(self):
        return self._widget.toPlainText()

    def write(self, value):
        self._widget.setPlainText(value)


class Range(GuiConnector):
    signal = "valuesChanged"

    def prepare(self):
        decimals, bounds = self._annotation(Decimals), self._annotation(RangeBounds)
        if decimals is not None and type(self._widget) is not ctk.ctkDoubleRangeSlider:
            self._widget.decimals = decimals.value
        self._set_step()
        if bounds is None:
            raise RuntimeError(
                "Cannot have a connection to a range widget where the float is unbounded. Add a RangeBounds annotation."
            )
        if self._annotation(Default) is None and not bounds.minimum <= 0 <= bounds.maximum:
            raise RuntimeError(
                "When providing RangeBounds that does not cover the value 0 "
                "you also need to provide a Default() value to initialize the GUI"
            )
        self._widget.setRange(bounds.minimum, bounds.maximum)

    def read(self):
        return self._type(self._widget.minimumValue, self._widget.maximumValue)

    def write(self, value):
        self._widget.setValues(value.minimum, value.maximum)


class PathLine(GuiConnector):
    signal, name = "currentPathChanged", "currentPath"

    def read(self):
        return self._type(getattr(self._widget, self.name))

    def write(self, value):
        setattr(self._widget, self.name, str(value))


class DirectoryButton(PathLine):
    signal, name = "directoryChanged", "directory"


class NodeSelector(GuiConnector):
    signal = "currentNodeChanged"

    def prepare(self):
        self._widget.nodeTypes = _node_classes(self._type)

    def read(self):
        return self._widget.currentNode()

    def write(self, value):
        self._widget.setCurrentNode(value)


def _members(kind):
    union = typing.get_origin(kind) in (typing.Union, types.UnionType)
    return [unannotated(m) for m in typing.get_args(kind)] if union else [kind]


def _is_node(kind):
    return isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode)


def _are_nodes(kind):
    members = [member for member in _members(kind) if member is not type(None)]
    return bool(members) and all(_is_node(member) for member in members)


def _node_classes(kind):
    return tuple(member().GetClassName() for member in _members(kind) if _is_node(member))


def _connector_class(widget, kind):
    """The connector for this very class of widget: in Slicer a derived widget class is not recognized either."""
    shown = type(widget)
    real = (
        qt.QDoubleSpinBox, ctk.ctkSliderWidget, slicer.qMRMLSliderWidget, ctk.ctkDoubleSlider, ctk.ctkDoubleSpinBox,
        slicer.qMRMLSpinBox,
    )  # fmt: skip
    combo = shown in (qt.QComboBox, ctk.ctkComboBox)
    table = (
        (CheckBox, kind is bool and shown in (qt.QCheckBox, ctk.ctkCheckBox)),
        (CheckableButton, kind is bool and shown in (qt.QPushButton, ctk.ctkCheckablePushButton)),
        (WholeNumber, kind is int and shown in (qt.QSlider, qt.QSpinBox)),
        (RealNumber, kind in (int, float) and shown in real),
        (Choices, combo and kind in (int, float, str, bool)),
        (EnumChoices, combo and isinstance(kind, type) and issubclass(kind, enum.Enum)),
        (Line, kind is str and shown is qt.QLineEdit),
        (Label, kind is str and shown is qt.QLabel),
        (Text, kind is str and shown is qt.QTextEdit),
        (Range, kind is FloatRange and shown in _range_widgets()),
        (PathLine, kind in PATHS and shown is ctk.ctkPathLineEdit),
        (DirectoryButton, kind in PATHS and shown is ctk.ctkDirectoryButton),
        (NodeSelector, shown is slicer.qMRMLNodeComboBox and _are_nodes(kind)),
    )
    return next((connector for connector, fits in table if fits), None)


def _range_widgets():
    return ctk.ctkRangeWidget, ctk.ctkDoubleRangeSlider, slicer.qMRMLRangeWidget


def createGuiConnector(widget, datatype):
    """The connector of a widget for a (possibly annotated) type.

    Raises:
        RuntimeError: this widget cannot show that type.
    """
    connector = _connector_class(widget, unannotated(datatype))
    if connector is None:
        raise RuntimeError(
            f"Unable to create GUI connector from datatype '{datatype}' to widget type '{type(widget)}'."
        )
    return connector(widget, datatype)
