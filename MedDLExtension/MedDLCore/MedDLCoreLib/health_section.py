"""The panel's part for what this computer has and lacks."""

import qt
import slicer
from slicer.i18n import tr as _

from MedDLCoreLib.tables import fill

#: Readable on a white and on a dark table.
_STATE_COLORS = {"ok": "#2e7d32", "warning": "#b26a00", "missing": "#c62828"}
_STATE_COLORS_ON_DARK = {"ok": "#81c784", "warning": "#ffb74d", "missing": "#ff8a80"}


class HealthSection:
    """The table of findings with advice below it, and the button that installs what is missing.

    Args:
        panel: the module's widget.
    """

    def __init__(self, panel):
        self._panel, self.ui = panel, panel.ui
        self._findings = []
        header = self.ui.healthTable.horizontalHeader()
        header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(1, qt.QHeaderView.Stretch)
        self.ui.checkButton.connect("clicked(bool)", lambda checked: self._check())
        self.ui.installButton.connect("clicked(bool)", lambda checked: self.install())
        self.ui.copyReportButton.connect("clicked(bool)", lambda checked: self._copyReport())
        self.ui.healthTable.connect("itemSelectionChanged()", self._showAdvice)

    def show(self):
        """Look again."""
        self._findings = self._panel.logic.healthCheck()
        words = {"ok": _("ok"), "warning": _("attention"), "missing": _("missing")}
        rows = [(one.what, one.found, one.needed, words[one.state]) for one in self._findings]
        fill(self.ui.healthTable, rows)
        dark = self.ui.healthTable.palette.color(qt.QPalette.Base).lightness() < 128
        colors = _STATE_COLORS_ON_DARK if dark else _STATE_COLORS
        for row, finding in enumerate(self._findings):
            self.ui.healthTable.item(row, 3).setForeground(qt.QBrush(qt.QColor(colors[finding.state])))
            for column in range(4):
                self.ui.healthTable.item(row, column).setToolTip(finding.advice or finding.found)
        missing = [finding.what for finding in self._findings if finding.state == "missing"]
        if missing:
            text = _("Models cannot run yet. Missing: {names}.").format(names=", ".join(missing))
        else:
            text = _("This computer has all that MedDL needs.")
        self.ui.healthLabel.text = text
        self.ui.installButton.enabled = not self._panel.logic.installationPlan().is_empty
        self._showAdvice()

    def install(self):
        """Install what is missing, if the user agrees."""
        from meddl.errors import MedDLError
        from meddl_slicer import packages

        plan = self._panel.logic.installationPlan()
        if plan.torch and not plan.has_pytorch_extension:
            # Nothing to agree to: the other packages wait for PyTorch, too.
            self._panel.showError(packages.how_to_get_pytorch())
            return
        with slicer.util.tryWithErrorDisplay(_("The installation did not succeed.")):
            try:
                if self.askForInstallation(plan):
                    self._panel.logic.install(plan)
            except MedDLError as error:
                self._panel.jobPanel.addLog(f"{error.message}\n{error.details}")
                self._panel.showError(error.message)
            finally:  # part of it may have been installed
                self._panel.refresh()

    def askForInstallation(self, plan):
        """Show exactly what would be installed and ask. Tests answer for the user."""
        lines = [f"\N{BULLET} {requirement}" for requirement in plan.requirements]
        if plan.torch:
            lines.insert(0, "\N{BULLET} " + _("{torch}, by the PyTorch extension").format(torch=plan.torch))
        text = _(
            "These packages, and those they depend on, will be downloaded from the internet and installed into "
            "Slicer's Python:\n\n{packages}\n\nThis can take several minutes and some gigabytes. Install them now?"
        )
        return slicer.util.confirmOkCancelDisplay(
            text.format(packages="\n".join(lines)), windowTitle=_("Install packages")
        )

    def _check(self):
        from meddl import computer

        computer.gpus.cache_clear()
        with slicer.util.WaitCursor():
            self._panel.refresh()

    def _copyReport(self):
        from meddl_slicer import health

        slicer.app.clipboard().setText(health.report(self._findings))
        self.ui.adviceLabel.text = _("The report is in the clipboard.")

    def _showAdvice(self):
        row = self.ui.healthTable.currentRow()
        chosen = self._findings[row : row + 1] if row >= 0 else self._findings
        self.ui.adviceLabel.text = next((finding.advice for finding in chosen if finding.advice), "")
        self.ui.adviceLabel.visible = bool(self.ui.adviceLabel.text)
