"""Widgets for segmentations: which segment, a table of segments, "Show 3D"."""

from __future__ import annotations

import slicer

from ..ctk.choices import ctkCheckableComboBox, ctkComboBox
from ..pythonqt.binding import QtCore, QtGui, QtWidgets, is_alive
from ..pythonqt.native import computed, native, stored, wrong_arguments
from .containers import qMRMLWidget
from .node_combo_box import qMRMLNodeComboBox
from .observed import ObservedNode

_SEGMENT_EVENTS = ("SegmentAdded", "SegmentRemoved", "SegmentModified", "SegmentsOrderModified")


def _segment_observer(update: object) -> ObservedNode:
    return ObservedNode(update, [getattr(slicer.vtkSegmentation, name) for name in _SEGMENT_EVENTS])


def _segments(node: slicer.vtkMRMLSegmentationNode | None) -> list[tuple[str, object]]:
    segmentation = node.GetSegmentation() if node is not None else None
    if segmentation is None:
        return []
    return [(segment_id, segmentation.GetSegment(segment_id)) for segment_id in segmentation.GetSegmentIDs()]


@native
class qMRMLSegmentSelectorWidget(qMRMLWidget):
    """A segmentation node and one segment (or several) of it."""

    currentNodeChanged = QtCore.Signal((object,), (bool,))
    currentSegmentChanged = QtCore.Signal(str)
    segmentSelectionChanged = QtCore.Signal("QStringList")
    nodeAboutToBeEdited = QtCore.Signal(object)
    _signals = {
        "currentNodeChanged(vtkMRMLNode*)": "currentNodeChanged(PyObject)",
        "nodeAboutToBeEdited(vtkMRMLNode*)": "nodeAboutToBeEdited(PyObject)",
    }
    _private = ("_nodes", "_segment", "_several", "_message", "_observed", "_current_id", "_selected_ids")

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._current_id, self._selected_ids = "", ()
        self._observed = _segment_observer(self._populate)
        self._nodes = qMRMLNodeComboBox(self)
        self._nodes.nodeTypes = ["vtkMRMLSegmentationNode"]
        self._nodes.addEnabled = self._nodes.removeEnabled = False
        self._segment, self._several = ctkComboBox(self), ctkCheckableComboBox(self)
        self._message = QtWidgets.QLabel(self)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for widget in (self._nodes, self._segment, self._several, self._message):
            layout.addWidget(widget)
        self.mrmlSceneChanged.connect(self._nodes.setMRMLScene)
        self._nodes.connect("currentNodeChanged(vtkMRMLNode*)", self._on_node)
        self._segment.currentIndexChanged.connect(self._on_segment)
        self._several.checkedIndexesChanged.connect(self._on_selection)
        self._populate()

    noneEnabled = computed(
        "noneEnabled", bool, lambda self: self._nodes.noneEnabled, lambda self, on: self._enable_none(on)
    )
    editEnabled = stored("editEnabled", bool, False)
    multiSelection = stored("multiSelection", bool, False, lambda self: self._populate())
    horizontalLayout = stored("horizontalLayout", bool, False)
    selectNodeUponCreation = stored("selectNodeUponCreation", bool, True)
    segmentationNodeSelectorVisible = computed(
        "segmentationNodeSelectorVisible",
        bool,
        lambda self: not self._nodes.isHidden(),
        lambda self, on: self._nodes.setVisible(on),
    )

    def _enable_none(self, enabled: bool) -> None:
        self._nodes.noneEnabled = enabled
        self._populate()

    def currentNode(self) -> slicer.vtkMRMLSegmentationNode | None:
        return self._nodes.currentNode()

    def currentNodeID(self) -> str:
        return self._nodes.currentNodeID

    def setCurrentNode(self, node: slicer.vtkMRMLNode | None) -> None:
        self._nodes.setCurrentNode(node)

    def setCurrentNodeID(self, node_id: str) -> None:
        self._nodes.setCurrentNodeID(node_id)

    def currentSegmentID(self) -> str:
        return "" if self.multiSelection else self._current_id

    def selectedSegmentIDs(self) -> tuple[str, ...]:
        return tuple(self._selected_ids) if self.multiSelection else ()

    def segmentIDs(self) -> tuple[str, ...]:
        return tuple(self._several.itemData(row) for row in range(self._several.count))

    def setCurrentSegmentID(self, segment_id: str) -> None:
        if self.multiSelection:
            return
        row = 0 if not segment_id and self.noneEnabled else self._segment.findData(segment_id)
        if row >= 0:
            self._segment.setCurrentIndex(row)

    def setSelectedSegmentIDs(self, segment_ids: list[str]) -> None:
        if not self.multiSelection:
            return
        wanted = set(segment_ids)
        for row in range(self._several.count):
            state = QtCore.Qt.CheckState.Checked if self._several.itemData(row) in wanted else 0
            self._several.setCheckState(self._several.model().index(row, 0), state)

    def _on_node(self, node: slicer.vtkMRMLNode | None) -> None:
        self._observed.observe(node)
        self._populate()
        self.currentNodeChanged.overload(object).emit(node)
        self.currentNodeChanged.overload(bool).emit(node is not None)

    def _populate(self) -> None:
        if not is_alive(self):
            return
        segments = _segments(self._observed.node)
        for combo in (self._segment, self._several):
            blocked = combo.blockSignals(True)
            combo.clear()
            if combo is self._segment and segments and self.noneEnabled:
                combo.addItem("None", "")
            for segment_id, segment in segments if (combo is self._several) == self.multiSelection else ():
                combo.addItem(segment.GetName(), segment_id)
            combo.blockSignals(blocked)
            combo.setVisible(bool(segments) and (combo is self._several) == self.multiSelection)
        known = self._observed.node is not None
        self._message.setText("" if segments else "No segments in segmentation" if known else "No node is selected")
        self._message.setVisible(not segments)
        if segments and not self.multiSelection:
            blocked = self._segment.blockSignals(True)
            self._segment.setCurrentIndex(self._segment.findData(self._current_id))
            self._segment.blockSignals(blocked)
            if self._segment.currentIndex < 0:
                self._segment.setCurrentIndex(int(self.noneEnabled))
        elif segments:
            self.setSelectedSegmentIDs(list(self._selected_ids))

    def _on_segment(self, row: int) -> None:
        if self._observed.node is not None:
            self._current_id = self._segment.itemData(row) or ""
            self.currentSegmentChanged.emit(self._current_id)

    def _on_selection(self) -> None:
        if self._observed.node is not None:
            self._selected_ids = tuple(self._several.itemData(i.row()) for i in self._several.checkedIndexes())
            self.segmentSelectionChanged.emit(list(self._selected_ids))


@native
class qMRMLSegmentsTableView(qMRMLWidget):
    """A table of the segments of one segmentation: color, name, opacity."""

    segmentAboutToBeModified = QtCore.Signal(str)
    _private = ("_table", "_observed")

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._observed = _segment_observer(self._populate)
        self._table = QtWidgets.QTableWidget(0, 2, self)
        self._table.setHorizontalHeaderLabels(["Color", "Name"])
        self._table.horizontalHeader().setStretchLastSection(True)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._table)

    headerVisible = stored("headerVisible", bool, True)
    visibilityColumnVisible = stored("visibilityColumnVisible", bool, True)
    colorColumnVisible = stored("colorColumnVisible", bool, True)
    opacityColumnVisible = stored("opacityColumnVisible", bool, True)
    statusColumnVisible = stored("statusColumnVisible", bool, False)
    readOnly = stored("readOnly", bool, False)
    filterBarVisible = stored("filterBarVisible", bool, False)
    textFilter = stored("textFilter", str, "")
    selectionMode = stored("selectionMode", int, 3)
    segmentCount = computed("segmentCount", int, lambda self: self._table.rowCount)

    def segmentationNode(self) -> slicer.vtkMRMLSegmentationNode | None:
        return self._observed.node

    def setSegmentationNode(self, node: slicer.vtkMRMLNode | None) -> None:
        if node is not None and not isinstance(node, slicer.vtkMRMLSegmentationNode):
            raise wrong_arguments("setSegmentationNode(vtkMRMLNode node)", node)
        self._observed.observe(node)
        self._populate()

    def displayedSegmentIDs(self) -> tuple[str, ...]:
        return tuple(segment_id for segment_id, _ in _segments(self._observed.node))

    def selectedSegmentIDs(self) -> tuple[str, ...]:
        rows = sorted({index.row() for index in self._table.selectedIndexes()})
        return tuple(self.segmentIDForRow(row) for row in rows)

    def setSelectedSegmentIDs(self, segment_ids: list[str]) -> None:
        self._table.clearSelection()
        for segment_id in segment_ids:
            self._table.selectRow(self.rowForSegmentID(segment_id))

    def clearSelection(self) -> None:
        self._table.clearSelection()

    def rowForSegmentID(self, segment_id: str) -> int:
        ids = self.displayedSegmentIDs()
        return ids.index(segment_id) if segment_id in ids else -1

    def segmentIDForRow(self, row: int) -> str:
        ids = self.displayedSegmentIDs()
        return ids[row] if 0 <= row < len(ids) else ""

    def _populate(self) -> None:
        if not is_alive(self):
            return
        segments = _segments(self._observed.node)
        self._table.setRowCount(len(segments))
        for row, (_, segment) in enumerate(segments):
            color = QtWidgets.QTableWidgetItem()
            color.setBackground(QtGui.QBrush(QtGui.QColor.fromRgbF(*segment.GetColor())))
            self._table.setItem(row, 0, color)
            self._table.setItem(row, 1, QtWidgets.QTableWidgetItem(segment.GetName()))


@native
class ctkMenuButton(QtWidgets.QPushButton):
    """A push button with a menu beside it."""


@native
class qMRMLSegmentationShow3DButton(ctkMenuButton):
    """Makes the closed surface of a segmentation, and shows or removes it."""

    _private = ("_observed", "_updating")

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._observed = _segment_observer(self._update)
        self._updating = False
        self.setText("Show 3D")
        self.checkable = True
        self.enabled = False
        self.toggled.connect(self._on_toggled)

    locked = stored("locked", bool, False)

    def setLocked(self, locked: bool) -> None:
        self.locked = locked

    def segmentationNode(self) -> slicer.vtkMRMLSegmentationNode | None:
        return self._observed.node

    def setSegmentationNode(self, node: slicer.vtkMRMLSegmentationNode | None) -> None:
        if node is not None and not isinstance(node, slicer.vtkMRMLSegmentationNode):
            raise wrong_arguments("setSegmentationNode(vtkMRMLSegmentationNode node)", node)
        self._observed.observe(node)
        self._update()

    def _update(self) -> None:
        if not is_alive(self):
            return
        node = self._observed.node
        self._updating = True
        self.enabled = node is not None
        name = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
        self.checked = node is not None and node.GetSegmentation().ContainsRepresentation(name)
        self._updating = False

    def _on_toggled(self, on: bool) -> None:
        node = self._observed.node
        if self._updating or node is None or self.locked:
            return
        if on:
            node.CreateClosedSurfaceRepresentation()
        else:
            node.RemoveClosedSurfaceRepresentation()
        if node.GetDisplayNode() is not None:
            node.GetDisplayNode().SetVisibility3D(on)
