"""`@parameterNodeWrapper`: typed access to the parameters in a parameter node, and their connection to widgets."""

from __future__ import annotations

import weakref

import qt
import slicer
import vtk

from .annotations import split_name, unannotated
from .connectors import GuiConnector, createGuiConnector
from .packs import check_member, parameters_of

SlicerParameterNamePropertyName = "SlicerParameterName"


class _Parameter:
    """One parameter in one node; its value is kept and read again when the node was modified by others."""

    def __init__(self, info, node, prefix):
        self.info, self.node, self.codec = info, node, info.serializer
        self.name = f"{prefix}{info.basename}"
        self._writing = False
        if not self.codec.is_in(node, self.name):
            self.codec.write(node, self.name, info.default.value)
        self._value = self.codec.read(node, self.name)
        this = weakref.ref(self)  # the node must not keep the wrapper alive
        self._tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: this() and this().update())

    def __del__(self):
        if hasattr(self, "_tag"):
            self.node.RemoveObserver(self._tag)

    def update(self):
        if not self._writing:
            self._value = self._stored()

    def _stored(self):
        if not self.codec.is_in(self.node, self.name):
            self.codec.write(self.node, self.name, self.info.default.value)
        return self.codec.read(self.node, self.name)

    def read(self):
        return self._value

    def write(self, value):
        self._writing = True
        try:
            with slicer.util.NodeModify(self.node):  # observers must find the new value already kept
                self.codec.write(self.node, self.name, value)
                self._value = self._stored()
        finally:
            self._writing = False


def parameterNodeWrapper(classtype=None):
    """Class decorator, with or without parentheses."""
    return _make_wrapper if classtype is None else _make_wrapper(classtype)


def isParameterNodeWrapper(classOrObj):
    return getattr(classOrObj, "_is_parameter_node_wrapper", False)


def findChildWidgetForParameter(widget, parameter):
    """The child widget whose SlicerParameterName is the parameter's name, or None."""
    found = (w for w in widget.findChildren(qt.QWidget) if w.property(SlicerParameterNamePropertyName) == parameter)
    return next(found, None)


def _make_wrapper(cls):
    parameters = parameters_of(cls)
    for name in parameters:
        setattr(cls, name, _attribute(name))
    cls.__init__ = _init
    reserved = {name: method for name, method in vars(_Methods).items() if not name.startswith("__")}
    reserved.update(allParameters=parameters, _is_parameter_node_wrapper=True)
    for name, method in reserved.items():
        if hasattr(cls, name):
            raise ValueError(f"Cannot use reserved name '{name}' in a parameterNodeWrapper")
        setattr(cls, name, method)
    cls.dataType = staticmethod(lambda name: _data_type(cls, name))
    return cls


def _attribute(name):
    return property(lambda self: self._parameters[name].read(), lambda self, value: self._parameters[name].write(value))


def _init(self, parameterNode, prefix=None):
    self.parameterNode = parameterNode
    self._connections = {}
    self._next_connection = 0
    self._updating_gui = False
    infos = self.allParameters.items()
    self._parameters = {name: _Parameter(info, parameterNode, prefix or "") for name, info in infos}


def _check_name(wrapper, name):
    top, rest = split_name(name)
    known = wrapper.allParameters
    if top not in known:
        names = "".join(f"\n    {n}," for n in known)
        raise ValueError(f"Cannot find a param with the given name: {top}\n  Found parameters [{names}\n  ]")
    if rest is not None:
        check_member(unannotated(known[top].unalteredType), rest)


def _data_type(cls, name):
    _check_name(cls, name)
    top, rest = split_name(name)
    kind = cls.allParameters[top].unalteredType
    return kind if rest is None else unannotated(kind).dataType(rest)


class _Methods:
    """What every wrapper class gets beside its parameters."""

    def default(self, paramName):
        _check_name(self, paramName)
        return self._parameters[paramName].info.default

    def isCached(self, paramName):
        _check_name(self, paramName)
        return True

    def getValue(self, name):
        _check_name(self, name)
        top, rest = split_name(name)
        value = self._parameters[top].read()
        return value if rest is None else value.getValue(rest)

    def setValue(self, name, value):
        _check_name(self, name)
        top, rest = split_name(name)
        if rest is None:
            self._parameters[top].write(value)
        else:
            self._parameters[top].read().setValue(rest, value)

    def connectGui(self, gui):
        """Connects each widget (child of a widget, or attribute of an object) that names a parameter."""
        is_widget = getattr(gui, "isWidgetType", lambda: False)()
        widgets = gui.findChildren(qt.QWidget) if is_widget else vars(gui).values()
        named = ((widget.property(SlicerParameterNamePropertyName), widget) for widget in widgets)
        return self.connectParametersToGui({name: widget for name, widget in named if name})

    def connectParametersToGui(self, mapping):
        """Connects {parameter name: widget or connector}; returns the tag for `disconnectGui`."""
        for name in mapping:
            _check_name(self, name)
        connectors = {
            name: target if isinstance(target, GuiConnector) else createGuiConnector(target, self.dataType(name))
            for name, target in mapping.items()
        }
        tag = self._next_connection
        self._next_connection += 1
        for name, connector in connectors.items():
            connector.write(self.getValue(name))
            connector.onChanged(_from_gui(self, name, connector))
        observer = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: _to_gui(self))
        self._connections[tag] = (connectors, observer)
        return tag

    def disconnectGui(self, guiTag):
        if guiTag in self._connections:
            connectors, observer = self._connections.pop(guiTag)
            for connector in connectors.values():
                connector.onChanged(None)
            self.RemoveObserver(observer)

    def StartModify(self):
        return self.parameterNode.StartModify()

    def EndModify(self, wasModified):
        return self.parameterNode.EndModify(wasModified)

    def AddObserver(self, event, callback, priority=0.0):
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag):
        return self.parameterNode.RemoveObserver(tag)

    def Modified(self):
        return self.parameterNode.Modified()


def _from_gui(wrapper, name, connector):
    def changed():
        with slicer.util.NodeModify(wrapper):
            if not wrapper._updating_gui:
                wrapper.setValue(name, connector.read())

    return changed


def _to_gui(wrapper):
    if wrapper._updating_gui:
        return
    wrapper._updating_gui = True
    try:
        with slicer.util.NodeModify(wrapper):
            for connectors, _ in list(wrapper._connections.values()):
                for name, connector in connectors.items():
                    connector.write(wrapper.getValue(name))
    finally:
        wrapper._updating_gui = False
