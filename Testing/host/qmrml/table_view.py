"""`qMRMLTableView`: shows a table node."""

from __future__ import annotations

import slicer
import vtk

from ..pythonqt.binding import QtCore, QtGui, QtWidgets, is_alive
from ..pythonqt.native import native, stored, wrong_arguments
from .node_combo_box import check_scene
from .observed import ObservedNode


@native
class qMRMLTableView(QtWidgets.QTableView):
    """The columns and rows of a vtkMRMLTableNode, following its changes."""

    mrmlSceneChanged = QtCore.Signal(object)
    selectionChanged = QtCore.Signal()
    _signals = {"mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged(PyObject)"}
    _private = ("_scene", "_observed", "_rows")

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene = None
        self._rows = QtGui.QStandardItemModel(self)
        self._observed = ObservedNode(self._populate, [vtk.vtkCommand.ModifiedEvent])
        self.setModel(self._rows)
        self.horizontalHeader().setStretchLastSection(True)

    transposed = stored("transposed", bool, False, lambda self: self._populate())
    firstRowLocked = stored("firstRowLocked", bool, False)
    firstColumnLocked = stored("firstColumnLocked", bool, False)

    def setFirstRowLocked(self, locked: bool) -> None:
        self.firstRowLocked = locked

    def setFirstColumnLocked(self, locked: bool) -> None:
        self.firstColumnLocked = locked

    def setTransposed(self, transposed: bool) -> None:
        self.transposed = transposed

    def mrmlScene(self) -> slicer.vtkMRMLScene | None:
        return self._scene

    def setMRMLScene(self, scene: slicer.vtkMRMLScene | None) -> None:
        check_scene("setMRMLScene(vtkMRMLScene scene)", scene)
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)

    def mrmlTableNode(self) -> slicer.vtkMRMLTableNode | None:
        return self._observed.node

    def setMRMLTableNode(self, node: slicer.vtkMRMLTableNode | None) -> None:
        if node is not None and not isinstance(node, slicer.vtkMRMLTableNode):
            raise wrong_arguments("setMRMLTableNode(vtkMRMLTableNode node)", node)
        self._observed.observe(node)
        self._populate()

    def _populate(self) -> None:
        if not is_alive(self):
            return
        self._rows.clear()
        node = self._observed.node
        if node is None:
            return
        columns, rows = node.GetNumberOfColumns(), node.GetNumberOfRows()
        names = [node.GetColumnName(column) for column in range(columns)]
        cells = [[node.GetCellText(row, column) for column in range(columns)] for row in range(rows)]
        if self.transposed:
            self._rows.setVerticalHeaderLabels(names)
            cells = [list(line) for line in zip(*cells, strict=True)]
        else:
            self._rows.setHorizontalHeaderLabels(names)
        for row, line in enumerate(cells):
            for column, text in enumerate(line):
                self._rows.setItem(row, column, QtGui.QStandardItem(text))
