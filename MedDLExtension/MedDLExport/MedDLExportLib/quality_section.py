"""The panel's part that looks at cases before anything is written: the quality table and its plots."""

import qt
import slicer
from slicer.i18n import tr as _

from MedDLExportLib import tables

_ROW_HEIGHT = 24
_MOST_ROWS = 8
_MARK = "#b26a00"  # readable on light and on dark


class QualitySection:
    """Check button, table and plots.

    Args:
        ui: the panel's widgets.
        session: the cases and what is known of them.
        jobPanel: shows how the check went.
        showError: called with an error for the user.
    """

    def __init__(self, ui, session, jobPanel, showError):
        from meddl_slicer.export_plots import KINDS, QualityPlot, title

        self.ui = ui
        self._session = session
        self._jobPanel = jobPanel
        self._showError = showError
        self._facts = []
        self._rows = []
        self._plot = QualityPlot()
        for kind in KINDS:
            ui.plotComboBox.addItem(title(kind), kind)
        ui.checkButton.connect("clicked(bool)", self.check)
        ui.plotButton.connect("toggled(bool)", self._onPlot)
        ui.plotComboBox.connect("currentIndexChanged(int)", lambda index: self._onPlot(self.ui.plotButton.checked))
        ui.qualityTable.connect("cellClicked(int,int)", self._onRow)
        self._layoutTimer = tables.oneShot(self.fit)

    def cleanup(self):
        """Take the plot away."""
        self._layoutTimer.stop()
        self.hidePlot()

    def hidePlot(self):
        """Take the plot out of the scene and bring the former layout back."""
        self._plot.hide()
        wasBlocked = self.ui.plotButton.blockSignals(True)
        self.ui.plotButton.checked = False
        self.ui.plotButton.blockSignals(wasBlocked)

    def fit(self):
        """Bring the table to the width of the panel."""
        tables.fit(self.ui.qualityTable, _ROW_HEIGHT, _MOST_ROWS, max(self.ui.qualityTable.columnCount - 1, 0), 200)

    def check(self, *_args):
        """Look at the cases that have not been looked at yet."""
        self._session.check(self._onChecked)

    def update(self, running):
        """Bring the widgets in line with what is known."""
        session = self._session
        chosen = session.chosen()
        self.ui.checkButton.enabled = bool(chosen) and not running and not session.missingPackages
        if running:
            tip = _("Something is under way.")
        elif not chosen:
            tip = _("Still needed: {missing}.").format(missing=_("a case with a check mark"))
        else:
            tip = _(
                "Look at size, spacing, values and structures of all cases; those that have not changed are skipped."
            )
        self.ui.checkButton.toolTip = tip
        self._facts = session.facts()
        self._show()
        for widget in (self.ui.plotButton, self.ui.plotComboBox):
            widget.enabled = bool(self._facts)
        self.ui.plotButton.toolTip = (
            _("Show the plot in the layout; press again to go back to the former layout.")
            if self._facts
            else _("Check the cases first.")
        )
        if not self._facts:
            self.hidePlot()

    def _show(self):
        from meddl.datasets import quality

        rows = quality.quality_rows(self._facts) if self._facts else []
        headings = list(dict.fromkeys(name for row in rows for name in row))
        headings = [name for name in headings if any(row.get(name, "") != "" for row in rows)]
        if len(self._session.channels()) < 2 and "image" in headings:
            headings.remove("image")
        table = self.ui.qualityTable
        table.visible = bool(rows)
        tables.setCells(table, headings, [[_text(row.get(name, "")) for name in headings] for row in rows])
        self._rows = rows
        for line, row in enumerate(rows):
            remarks = str(row.get("remarks", ""))
            for column in {0, len(headings) - 1}:  # the remarks may lie outside of a narrow panel
                mark = qt.QBrush(qt.QColor(_MARK)) if remarks else None
                table.item(line, column).setData(qt.Qt.ForegroundRole, mark)
            if remarks:
                table.item(line, 0).setToolTip(remarks)
        self.ui.qualityLabel.text = self._sentence(quality)
        self.ui.qualityLabel.visible = bool(self.ui.qualityLabel.text)
        self._layoutTimer.start()

    def _sentence(self, quality):
        count, total = len(self._facts), len(self._session.chosen())
        if not count:
            return _("Not checked yet: an export checks the cases by itself.") if total else ""
        said = []
        if count < total:
            said.append(_("{count} of {total} cases were checked.").format(count=count, total=total))
        remarks = quality.remarks(self._facts)
        marked = sum(bool(sentences) for sentences in remarks.values())
        if marked:
            said.append(
                _("Look at {marked} of {count} cases: click on those in color.").format(marked=marked, count=count)
            )
        else:
            said.append(_("Nothing unusual was found in {count} cases.").format(count=count))
        groups = quality.duplicates(self._facts)
        if groups:
            said.append(
                _("Images that are there more than once: {count}; all of one stay in one part.").format(
                    count=len(groups)
                )
            )
        return " ".join([*said, *quality.mixtures(self._facts)])

    def _onChecked(self, error):
        if error is not None:
            self._showError(error)
        else:
            self._jobPanel.showIdle(_("The cases were checked."), 1.0)
        self._session.changed()

    def _onPlot(self, checked):
        if not checked:
            self._plot.hide()
            return
        if self._facts:
            with slicer.util.tryWithErrorDisplay(_("The plot could not be shown.")):
                self._plot.show(self.ui.plotComboBox.currentData, self._facts)

    def _onRow(self, row, column):
        from meddl_slicer.export_views import show_case

        clicked = self._rows[row] if row < len(self._rows) else {}
        self.ui.qualityLabel.text = str(clicked.get("remarks", "")) or _("Nothing unusual was found.")
        self.ui.qualityLabel.visible = True
        found = next((each for each in self._session.rows if each.name == clicked.get("case")), None)
        if found is not None:
            show_case(found)


def _text(value):
    return f"{value:.4g}" if isinstance(value, float) else str(value)
