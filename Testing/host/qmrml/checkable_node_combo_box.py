"""`qMRMLCheckableNodeComboBox`: chooses several nodes of the scene."""

from __future__ import annotations

import slicer

from ..ctk.choices import ctkCheckableComboBox
from ..pythonqt.binding import QtCore, QtWidgets
from ..pythonqt.native import native
from .node_combo_box import check_node, qMRMLNodeComboBox

_CHECKED = QtCore.Qt.CheckState.Checked
_UNCHECKED = QtCore.Qt.CheckState.Unchecked


@native
class qMRMLCheckableNodeComboBox(qMRMLNodeComboBox):
    """Nodes with check boxes; adding, removing, editing and renaming are off."""

    checkedNodesChanged = QtCore.Signal()

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        for action in ("addEnabled", "removeEnabled", "editEnabled", "renameEnabled"):
            setattr(self, action, False)
        self._combo.checkedIndexesChanged.connect(lambda: self.checkedNodesChanged.emit())

    def _make_combo(self) -> QtWidgets.QComboBox:
        return ctkCheckableComboBox(self)

    def _nodes(self) -> list[slicer.vtkMRMLNode]:
        return [self.nodeFromIndex(index) for index in range(self.nodeCount())]

    def checkedNodes(self) -> tuple[slicer.vtkMRMLNode, ...]:
        return tuple(node for node in self._nodes() if self.checkState(node) == _CHECKED)

    def uncheckedNodes(self) -> tuple[slicer.vtkMRMLNode, ...]:
        return tuple(node for node in self._nodes() if self.checkState(node) != _CHECKED)

    def allChecked(self) -> bool:
        return self._combo.allChecked()

    def noneChecked(self) -> bool:
        return self._combo.noneChecked()

    def _index_of(self, node: slicer.vtkMRMLNode | None) -> QtCore.QModelIndex | None:
        check_node("checkState(vtkMRMLNode node)", node)
        row = self._combo.findData(node.GetID()) if node is not None else -1
        return self._combo.model().index(row, 0) if row >= 0 else None

    def checkState(self, node: slicer.vtkMRMLNode | None) -> QtCore.Qt.CheckState:
        index = self._index_of(node)
        return _UNCHECKED if index is None else self._combo.checkState(index)

    def setCheckState(self, node: slicer.vtkMRMLNode | None, check: QtCore.Qt.CheckState) -> None:
        index = self._index_of(node)
        if index is not None:
            self._combo.setCheckState(index, check)

    def check(self, node: slicer.vtkMRMLNode) -> None:
        self.setCheckState(node, _CHECKED)

    def uncheck(self, node: slicer.vtkMRMLNode) -> None:
        self.setCheckState(node, _UNCHECKED)
