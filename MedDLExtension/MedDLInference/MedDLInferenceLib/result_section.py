"""The panel's part for the result: table, sentence, overlay, surfaces, text in the views, comparison."""

import qt
import slicer
from slicer.i18n import tr as _

_LAYOUT_MS = 50
_MARGIN = 8


class ResultSection:
    """Shows one result, read from its nodes. Clicking on a row goes to what it is about.

    Args:
        ui: the panel's widgets.
    """

    def __init__(self, ui):
        self.ui = ui
        self.result = None
        self._shownText = ""
        ui.resultTable.connect("cellClicked(int,int)", self._onRow)
        ui.show3DButton.connect("toggled(bool)", self._onShow3D)
        ui.viewTextButton.connect("toggled(bool)", self._onViewText)
        ui.chartButton.connect("clicked(bool)", self._onChart)
        ui.overlayComboBox.connect("currentIndexChanged(int)", self._onOverlay)
        ui.viewTextButton.checked = True
        self._layoutTimer = _timer(self.fit)
        self._scrollTimer = _timer(self._scroll)

    def cleanup(self):
        """Take away what was put into the views."""
        self.show(None)
        self._layoutTimer.stop()
        self._scrollTimer.stop()

    def bringIntoView(self):
        """Scroll the module panel to the result, as soon as this is laid out: on a small screen it lies below."""
        self._scrollTimer.start(2 * _LAYOUT_MS)

    def fit(self):
        """Give the tables the room they need, now that they know their width."""
        from meddl_slicer import table_widget

        for table in (self.ui.resultTable, self.ui.evaluationTable):
            table_widget.fit(table)

    def _scroll(self):
        area = self.ui.resultsCollapsibleButton
        while area is not None and not isinstance(area, qt.QScrollArea):
            area = area.parentWidget()
        if area is not None and self.result is not None:
            area.ensureWidgetVisible(self.ui.resultsCollapsibleButton, 0, _MARGIN)

    def show(self, node):
        """Show the result whose main node this is; None, or a node that no run has written, for nothing."""
        from meddl_slicer import results, table, table_widget

        self.result = result = results.result_of(node)
        self.ui.resultsCollapsibleButton.visible = result is not None
        rows = result.rows if result is not None else ()
        headings = result.headings if result is not None else ()
        table_widget.fill(self.ui.resultTable, headings, rows)
        evaluation = result.evaluation if result is not None else None
        self.ui.evaluationLabel.visible = self.ui.evaluationTable.visible = evaluation is not None
        if evaluation is not None:
            titles, cells = table.values(evaluation)
            table_widget.fill(
                self.ui.evaluationTable, titles, [[results.text_of(value) for value in row] for row in cells]
            )
        self.ui.resultModelLabel.text = result.title if result is not None else ""
        self.ui.resultSentenceLabel.text = "\n".join(result.sentences) if result is not None else ""
        self.ui.resultSentenceLabel.visible = bool(self.ui.resultSentenceLabel.text)
        self._showOverlays()
        self._showButtons()
        self._showText()
        self._layoutTimer.start(_LAYOUT_MS)

    def _showButtons(self):
        from meddl_slicer import segmentation

        node = self.result.node if self.result is not None else None
        isSegmentation = isinstance(node, slicer.vtkMRMLSegmentationNode)
        button = self.ui.show3DButton
        button.visible = button.enabled = isSegmentation
        wasBlocked = button.blockSignals(True)
        button.checked = isSegmentation and segmentation.is_shown_in_3d(node)
        button.blockSignals(wasBlocked)
        self.ui.viewTextButton.visible = self.result is not None and bool(self.result.viewText)
        self.ui.chartButton.visible = self.result is not None and self.result.chart is not None

    def _showOverlays(self):
        combo = self.ui.overlayComboBox
        volumes = self.result.maps if self.result is not None else ()
        self.ui.overlayLabel.visible = combo.visible = bool(volumes)
        wanted = [_("None"), *(volume.GetName() for volume in volumes)]
        ids = ["", *(volume.GetID() for volume in volumes)]
        if ids == [combo.itemData(index) for index in range(combo.count)]:
            return
        selected = combo.currentData
        wasBlocked = combo.blockSignals(True)
        combo.clear()
        for name, identifier in zip(wanted, ids, strict=True):
            combo.addItem(name, identifier)
        combo.setCurrentIndex(max(combo.findData(selected), 0))
        combo.blockSignals(wasBlocked)

    def _showText(self):
        from meddl_slicer import view_text

        text = self.result.viewText if self.result is not None and self.ui.viewTextButton.checked else ""
        if text != self._shownText:
            self._shownText = text
            view_text.show(text)

    def _onRow(self, row, column):
        from meddl_slicer import results

        if self.result is not None:
            results.show_row(self.result, row)

    def _onShow3D(self, checked):
        from meddl_slicer import segmentation

        node = self.result.node if self.result is not None else None
        if isinstance(node, slicer.vtkMRMLSegmentationNode) and checked != segmentation.is_shown_in_3d(node):
            with slicer.util.tryWithErrorDisplay(_("The surfaces could not be made."), waitCursor=True):
                segmentation.show_in_3d(node, checked)

    def _onViewText(self, checked):
        self._showText()

    def _onChart(self):
        from meddl_slicer import results

        if self.result is not None and self.result.chart is not None:
            results.show_chart(self.result.chart)

    def _onOverlay(self, index):
        from meddl_slicer import results

        identifier = self.ui.overlayComboBox.itemData(index)
        results.show_map(slicer.mrmlScene.GetNodeByID(identifier) if identifier else None)


def _timer(onTimeout):
    timer = qt.QTimer()
    timer.setSingleShot(True)
    timer.connect("timeout()", onTimeout)
    return timer
