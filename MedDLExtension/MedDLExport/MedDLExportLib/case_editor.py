"""What can be changed of the selected cases: images by channel, the label, the part of the dataset."""

import qt
import slicer
from slicer.i18n import tr as _

from MedDLExportLib.case_table import splitText


class CaseEditor:
    """The frame below the table of cases.

    Args:
        ui: the panel's widgets.
        onEdited: called with (keys of rows, dictionary of new values).
    """

    def __init__(self, ui, onEdited):
        self.ui = ui
        self._onEdited = onEdited
        self._keys = []
        self._row = None
        self._task = ""
        self._filling = False
        self._selectors = {}
        for split in ("", "train", "validation", "test"):
            ui.splitComboBox.addItem(splitText(split) or _("By the split below"), split)
        ui.splitComboBox.connect("activated(int)", self._onSplit)
        ui.classLineEdit.connect("editingFinished()", self._onClass)
        ui.labelSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._onLabel)
        ui.markupsSelector.connect("checkedNodesChanged()", self._onMarkups)

    def cleanup(self):
        """Let go of the scene."""
        for selector in self._selectors.values():
            selector.setMRMLScene(None)

    def show(self, rows, task, enabled):
        """Show what these rows, the selected ones, are made of."""
        from meddl_slicer.export_cases import SceneLabel, label_name

        self._filling = True
        try:
            self._keys = [row.key for row in rows]
            self._row = row = rows[0] if len(rows) == 1 else None
            self._task = task
            self.ui.selectedFrame.visible = bool(rows)
            self.ui.selectedFrame.enabled = enabled
            self.ui.selectedLabel.text = (
                row.name if row is not None else _("{count} cases are selected.").format(count=len(rows))
            )
            self._showChannels(row)
            isNode = row is not None and (row.label is None or isinstance(row.label, SceneLabel))
            one, many = task in ("segmentation", "reconstruction"), task in ("detection", "landmarks")
            self._visible(one and isNode, self.ui.labelSelectorLabel, self.ui.labelSelector)
            self._visible(many and isNode, self.ui.markupsSelectorLabel, self.ui.markupsSelector)
            self._visible(task == "classification" and bool(rows), self.ui.classLabel, self.ui.classLineEdit)
            if task == "classification" and rows:
                texts = {label_name(each) for each in rows if each.task == task}
                self.ui.classLineEdit.text = texts.pop() if len(texts) == 1 else ""
            if isNode and one:
                self.ui.labelSelectorLabel.text = _labelHeading(task)
                self._setTypes(self.ui.labelSelector, task)
                self.ui.labelSelector.setCurrentNode(row.label.nodes[0] if row.label and row.label.nodes else None)
            if isNode and many:
                self.ui.markupsSelectorLabel.text = _labelHeading(task)
                self._setTypes(self.ui.markupsSelector, task)
                self._check(row.label.nodes if row.label else ())
            splits = {each.split for each in rows}
            split = splits.pop() if len(splits) == 1 else ""
            self.ui.splitComboBox.setCurrentIndex(max(self.ui.splitComboBox.findData(split), 0))
        finally:
            self._filling = False

    def _showChannels(self, row):
        """Have a selector for each channel of one case that is made of nodes."""
        channels = {
            channel: image
            for channel, image in (row.images.items() if row is not None else ())
            if image is None or isinstance(image, slicer.vtkMRMLNode)
        }
        layout = self.ui.channelsFrame.layout()
        if list(channels) != list(self._selectors):
            self.cleanup()
            while layout.rowCount():
                layout.removeRow(0)
            self._selectors = {channel: self._selector(channel, layout) for channel in channels}
        self.ui.channelsFrame.visible = bool(channels)
        for channel, node in channels.items():
            self._selectors[channel].setCurrentNode(node if node is not None and node.GetScene() else None)

    def _selector(self, channel, layout):
        selector = slicer.qMRMLNodeComboBox()
        selector.nodeTypes = ["vtkMRMLScalarVolumeNode", "vtkMRMLVectorVolumeNode"]
        selector.showChildNodeTypes = False
        selector.setSizePolicy(qt.QSizePolicy.Ignored, qt.QSizePolicy.Fixed)  # a long name makes no panel wide
        selector.addEnabled = selector.removeEnabled = False
        selector.noneEnabled = True
        selector.noneDisplay = _("Select a volume")
        selector.toolTip = _("The image for {channel}.").format(channel=channel)
        selector.setMRMLScene(slicer.mrmlScene)
        selector.connect("currentNodeChanged(vtkMRMLNode*)", lambda node, name=channel: self._onImage(name, node))
        layout.addRow(f"{channel}:", selector)
        return selector

    def _setTypes(self, selector, task):
        from meddl_slicer.export_labels import LABEL_CLASSES

        types = list(LABEL_CLASSES[task])
        if list(selector.nodeTypes) != types:
            selector.nodeTypes = types

    def _check(self, nodes):
        selector = self.ui.markupsSelector
        for index in range(selector.nodeCount()):
            node = selector.nodeFromIndex(index)
            chosen = any(node is one for one in nodes)
            selector.setCheckState(node, qt.Qt.Checked if chosen else qt.Qt.Unchecked)

    def _visible(self, visible, *widgets):
        for widget in widgets:
            widget.visible = visible

    def _onImage(self, channel, node):
        if not self._filling and self._row is not None:
            self._onEdited(self._keys, {"images": {**self._row.images, channel: node}})

    def _onLabel(self, node):
        from meddl_slicer.export_cases import SceneLabel

        if not self._filling and self._row is not None:
            self._onEdited(self._keys, {"label": SceneLabel(self._task, (node,)) if node is not None else None})

    def _onMarkups(self):
        from meddl_slicer.export_cases import SceneLabel

        if not self._filling and self._row is not None:
            nodes = tuple(self.ui.markupsSelector.checkedNodes())
            self._onEdited(self._keys, {"label": SceneLabel(self._task, nodes) if nodes else None})

    def _onClass(self):
        if not self._filling and self._keys and self.ui.classLineEdit.modified:
            self.ui.classLineEdit.modified = False
            self._onEdited(self._keys, {"classes": self.ui.classLineEdit.text})

    def _onSplit(self, index):
        if not self._filling and self._keys:
            self._onEdited(self._keys, {"split": self.ui.splitComboBox.itemData(index)})


def _labelHeading(task):
    return {
        "segmentation": _("Segmentation:"),
        "reconstruction": _("Target:"),
        "detection": _("Boxes:"),
        "landmarks": _("Points:"),
    }[task]
