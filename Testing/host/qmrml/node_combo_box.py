"""`qMRMLNodeComboBox`: chooses a node of the scene, and follows the scene.

The entries live in a real combo box, in Slicer's order (None, the nodes, the actions), because what
becomes current when nodes come and go is Qt's own behavior on exactly these entries.
"""

from __future__ import annotations

import slicer

from ..ctk.choices import ctkComboBox
from ..pythonqt.binding import QtCore, QtWidgets, is_alive
from ..pythonqt.native import computed, native, stored, wrong_arguments
from .scene_nodes import SceneNodes

_ID_ROLE = QtCore.Qt.ItemDataRole.UserRole


def check_node(signature: str, node: object) -> None:
    if node is not None and not isinstance(node, slicer.vtkMRMLNode):
        raise wrong_arguments(signature, node)


def check_scene(signature: str, scene: object) -> None:
    if scene is not None and not isinstance(scene, slicer.vtkMRMLScene):
        raise wrong_arguments(signature, scene)


def _follower(name: str, kind: type, key: str) -> QtCore.Property:
    """A property that tells which nodes are offered."""

    def write(self: object, value: object) -> None:
        setattr(self._followed, key, tuple(value) if kind is list else value)
        self._refresh()

    return computed(name, kind, lambda self: getattr(self._followed, key), write)


def _action(name: str, default: bool) -> QtCore.Property:
    return stored(name, bool, default, lambda self: self._update_actions())


@native
class qMRMLNodeComboBox(QtWidgets.QWidget):
    """Chooses a node of the scene by its class."""

    currentNodeChanged = QtCore.Signal((object,), (bool,))
    currentNodeIDChanged = QtCore.Signal(str)
    nodeActivated = QtCore.Signal(object)
    nodeAdded = QtCore.Signal(object)
    nodeAddedByUser = QtCore.Signal(object)
    nodeAddedByUserAction = QtCore.Signal(object)
    nodeAboutToBeRemoved = QtCore.Signal(object)
    nodeAboutToBeEdited = QtCore.Signal(object)
    currentNodeRenamed = QtCore.Signal(str)
    _signals = {
        f"{name}(vtkMRMLNode*)": f"{name}(PyObject)"
        for name in (
            "currentNodeChanged", "nodeActivated", "nodeAdded", "nodeAddedByUser", "nodeAddedByUserAction",
            "nodeAboutToBeRemoved", "nodeAboutToBeEdited",
        )
    }  # fmt: skip
    _private = (
        "_combo", "_followed", "_base_names", "_labels", "_default_attributes", "_requested", "_switching",
        "_menu_actions", "_action_rows",
    )  # fmt: skip

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._followed = SceneNodes(self._refresh)
        self._base_names, self._labels, self._default_attributes = {}, {}, {}
        self._requested, self._switching, self._action_rows = None, False, 0
        self._menu_actions = []
        self._combo = self._make_combo()
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._combo)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Preferred, QtWidgets.QSizePolicy.Policy.Fixed)
        self._combo.currentIndexChanged.connect(self._on_index)
        self._combo.activated.connect(self._on_activated)
        self._update_default_text()
        self.enabled = False

    def _make_combo(self) -> QtWidgets.QComboBox:
        combo = ctkComboBox(self)
        combo.elideMode = int(QtCore.Qt.TextElideMode.ElideMiddle)
        return combo

    # --- properties

    def _set_node_types(self, types: list[str]) -> None:
        self._followed.node_types = tuple(t for t in types if t)
        self._refresh()
        self._update_default_text()
        self._update_actions()

    nodeTypes = computed("nodeTypes", list, lambda self: self._followed.node_types, _set_node_types)
    showHidden = _follower("showHidden", bool, "show_hidden")
    showChildNodeTypes = _follower("showChildNodeTypes", bool, "show_child_types")
    hideChildNodeTypes = _follower("hideChildNodeTypes", list, "hidden_child_types")
    noneEnabled = stored("noneEnabled", bool, False, lambda self: self._update_none())
    noneDisplay = stored("noneDisplay", str, "None", lambda self: self._update_none_text())
    addEnabled = _action("addEnabled", True)
    removeEnabled = _action("removeEnabled", True)
    editEnabled = _action("editEnabled", False)
    renameEnabled = _action("renameEnabled", False)
    selectNodeUponCreation = stored("selectNodeUponCreation", bool, True)
    interactionNodeSingletonTag = stored("interactionNodeSingletonTag", str, "")
    sizeAdjustPolicy = stored("sizeAdjustPolicy", int, 1)

    def _get_base_name(self) -> str:
        return self._base_names.get(self.nodeTypes[0], "") if self.nodeTypes else ""

    def _set_base_name(self, name: str) -> None:
        self._base_names.update(dict.fromkeys(self.nodeTypes, name))

    baseName = computed("baseName", str, _get_base_name, _set_base_name)
    currentNodeID = computed(
        "currentNodeID", str, lambda self: self._current_id(), lambda self, value: self.setCurrentNodeID(value)
    )

    # --- what Slicer gives to Python

    def mrmlScene(self) -> slicer.vtkMRMLScene | None:
        return self._followed.scene

    def setMRMLScene(self, scene: slicer.vtkMRMLScene | None) -> None:
        check_scene("setMRMLScene(vtkMRMLScene scene)", scene)
        if scene is self._followed.scene:
            return
        old_id, had_nodes = self._current_id(), self.nodeCount() > 0
        self._switching = True
        self._combo.clear()
        self._action_rows = 0
        self._followed.follow(scene)
        if scene is not None:
            self._fill()
            self._combo.setCurrentIndex(-1)
        self._switching = False
        wanted = old_id if had_nodes else self._requested or self._first_shown_id()
        self._requested = None
        self.setCurrentNodeID(wanted)
        if scene is not None and self._combo.currentIndex < 0:
            self._emit_current(None)  # a new scene is always told, also where nothing can be chosen
        self._update_default_text()
        self.enabled = scene is not None

    def currentNode(self) -> slicer.vtkMRMLNode | None:
        return self._node_at(self._combo.currentIndex)

    def setCurrentNode(self, node: slicer.vtkMRMLNode | str | None) -> None:
        if isinstance(node, str):
            self.setCurrentNodeID(node)
            return
        check_node("setCurrentNode(vtkMRMLNode node)", node)
        self.setCurrentNodeID((node.GetID() or "") if node is not None else "")

    def setCurrentNodeID(self, node_id: str | None) -> None:
        if self._followed.scene is None:
            self._requested = node_id
        row = self._combo.findData(node_id) if node_id else -1
        self._combo.setCurrentIndex(row if row >= 0 else (0 if self._none_rows() else -1))

    def setCurrentNodeIndex(self, index: int) -> None:
        index = -1 if index >= self.nodeCount() else index
        self._combo.setCurrentIndex(index + self._none_rows())

    def nodeCount(self) -> int:
        return self._combo.count - self._none_rows() - self._action_rows if self.mrmlScene() is not None else 0

    def nodeFromIndex(self, index: int) -> slicer.vtkMRMLNode | None:
        return self._node_at(index + self._none_rows())

    def addAttribute(self, node_type: str, name: str, value: object = None) -> None:
        self._default_attributes[name] = "" if value is None else str(value)
        self._followed.attributes[(node_type, name)] = value
        self._refresh()

    def removeAttribute(self, node_type: str, name: str) -> None:
        self._default_attributes.pop(name, None)
        self._followed.attributes.pop((node_type, name), None)
        self._refresh()

    def setNodeTypeLabel(self, label: str, node_type: str) -> None:
        self._labels[node_type] = label
        self._update_default_text()
        self._update_actions()

    def nodeTypeLabel(self, node_type: str) -> str:
        label = self._labels.get(node_type, "")
        if not label and self.mrmlScene() is not None:
            label = self.mrmlScene().GetTypeDisplayNameByClassName(node_type)
        return label or "node"

    def addMenuAction(self, action: object) -> None:
        self._menu_actions.append(action)
        self._update_actions()

    def addNode(self, node_type: str | None = None) -> slicer.vtkMRMLNode | None:
        """Makes a node of the given (or the first) node type, adds it to the scene and selects it."""
        node_type = node_type or next(iter(self.nodeTypes), "")
        scene = self.mrmlScene()
        if scene is None or node_type not in self.nodeTypes:
            return None
        node = scene.CreateNodeByClass(node_type)
        if node is None:
            return None
        node.UnRegister(None)
        base_name = self._base_names.get(node_type, "")
        if not base_name and not node.GetName():
            base_name = node.GetDefaultNodeNamePrefix()
        if base_name:
            node.SetName(scene.GetUniqueNameByString(base_name))
        for name, value in self._default_attributes.items():
            node.SetAttribute(name, value)
        node = scene.AddNode(node)
        if self.selectNodeUponCreation:
            self.setCurrentNode(node)
        self.nodeAddedByUser.emit(node)
        return node

    def removeCurrentNode(self) -> None:
        self.mrmlScene().RemoveNode(self.currentNode())

    def editCurrentNode(self) -> None:
        self.nodeAboutToBeEdited.emit(self.currentNode())

    def renameCurrentNode(self) -> None:
        raise RuntimeError("qMRMLNodeComboBox.renameCurrentNode() was called, and nobody is there to answer the dialog")

    # --- the entries

    def _none_rows(self) -> int:
        return int(self.noneEnabled and self.mrmlScene() is not None)

    def _node_at(self, row: int) -> slicer.vtkMRMLNode | None:
        node_id = self._combo.itemData(row, _ID_ROLE) if row >= 0 else None
        return self.mrmlScene().GetNodeByID(node_id) if node_id and self.mrmlScene() is not None else None

    def _current_id(self) -> str:
        node = self.currentNode()
        return node.GetID() if node is not None else ""

    def _first_shown_id(self) -> str:
        return "" if self._none_rows() else self._combo.itemData(0, _ID_ROLE) or ""

    def _fill(self) -> None:
        if self.noneEnabled:
            self._combo.addItem(self.noneDisplay, "")
        for node in self._followed.nodes():
            self._combo.addItem(node.GetName() or "", node.GetID())
        self._update_actions()

    def _update_none(self) -> None:
        if self.mrmlScene() is None:
            return
        if self.noneEnabled:
            self._combo.insertItem(0, self.noneDisplay, "")
        else:
            self._combo.removeItem(0)

    def _update_none_text(self) -> None:
        if self._none_rows():
            self._combo.setItemText(0, self.noneDisplay)

    def _update_actions(self) -> None:
        if self.mrmlScene() is None:
            return
        index, blocked = self._combo.currentIndex, self._combo.blockSignals(True)
        for _ in range(self._action_rows):
            self._combo.removeItem(self._combo.count - 1)
        texts = self._action_texts()
        if texts:
            self._combo.insertSeparator(self._combo.count)
            self._combo.addItems(texts)
        self._action_rows = len(texts) + int(bool(texts))
        self._combo.setCurrentIndex(index)
        self._combo.blockSignals(blocked)

    def _action_texts(self) -> list[str]:
        label = self.nodeTypeLabel(self.nodeTypes[0] if len(self.nodeTypes) == 1 else "")
        texts = [f"Rename current {label}"] if self.renameEnabled else []
        texts += [f"Edit current {label}"] if self.editEnabled else []
        for node_type in self.nodeTypes if self.addEnabled else ():
            name = self.nodeTypeLabel(node_type)
            texts += [f"Create new {name}"] + ([f"Create new {name} as..."] if self.renameEnabled else [])
        texts += [f"Delete current {label}"] if self.removeEnabled else []
        return texts + [action.text for action in self._menu_actions]

    def _update_default_text(self) -> None:
        if isinstance(self._combo, ctkComboBox):
            self._combo.defaultText = f"Select a {self.nodeTypeLabel(next(iter(self.nodeTypes), ''))}"

    def _refresh(self) -> None:
        """Brings the entries in line with the scene, entry by entry, so that the choice is kept."""
        if not is_alive(self) or self.mrmlScene() is None or self._switching:
            return
        wanted = self._followed.nodes()
        ids = [node.GetID() for node in wanted]
        first = self._none_rows()
        for row in reversed(range(first, first + self.nodeCount())):
            node_id = self._combo.itemData(row, _ID_ROLE)
            if node_id not in ids:
                self.nodeAboutToBeRemoved.emit(self.mrmlScene().GetNodeByID(node_id))
                self._combo.removeItem(row)
        for row, node in enumerate(wanted, start=first):
            if self._combo.itemData(row, _ID_ROLE) != node.GetID():
                self._combo.insertItem(row, node.GetName() or "", node.GetID())
                self.nodeAdded.emit(node)
            elif self._combo.itemText(row) != (node.GetName() or ""):
                self._combo.setItemText(row, node.GetName() or "")

    def _on_index(self, row: int) -> None:
        if self._switching:
            return
        node = self._node_at(row)
        if node is None and row != (0 if self.noneEnabled else -1):
            last = self.nodeFromIndex(self.nodeCount() - 1)
            if last is not None:
                self.setCurrentNode(last)
                return
            if row != -1:
                self._combo.setCurrentIndex(0 if self._none_rows() else -1)
                return
        self._emit_current(node)

    def _emit_current(self, node: slicer.vtkMRMLNode | None) -> None:
        self.currentNodeChanged.overload(object).emit(node)
        self.currentNodeChanged.overload(bool).emit(node is not None)
        self.currentNodeIDChanged.emit(node.GetID() if node is not None else "")

    def _on_activated(self, row: int) -> None:
        node = self._node_at(row)
        if node is not None or (self.noneEnabled and row == 0):
            self.nodeActivated.emit(node)
