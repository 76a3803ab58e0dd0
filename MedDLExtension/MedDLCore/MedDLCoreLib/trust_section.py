"""The panel's part for models that the user has agreed to trust."""

import qt
from slicer.i18n import tr as _

from MedDLCoreLib.tables import fill


class TrustSection:
    """The table of consents, and the button that takes one back.

    Args:
        panel: the module's widget.
    """

    def __init__(self, panel):
        self._panel, self.ui = panel, panel.ui
        self._consents = []
        header = self.ui.trustTable.horizontalHeader()
        header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(0, qt.QHeaderView.Stretch)
        self.ui.trustTable.connect("itemSelectionChanged()", self._showConsent)
        self.ui.revokeButton.connect("clicked(bool)", lambda checked: self._revoke())

    def show(self):
        """Look again."""
        self._consents = self._panel.logic.consents()
        rows = [(one.name, one.version, one.recorded[:10], f"{one.digest[:10]}…") for one in self._consents]
        fill(self.ui.trustTable, rows)
        for row, consent in enumerate(self._consents):
            self.ui.trustTable.item(row, 0).setToolTip(_("Agreed through: {origin}").format(origin=consent.origin))
            self.ui.trustTable.item(row, 3).setToolTip(consent.digest)
        self._showConsent()

    def _revoke(self):
        self._panel.logic.revoke(self._consents[self.ui.trustTable.currentRow()].digest)
        self.show()

    def _showConsent(self):
        self.ui.revokeButton.enabled = 0 <= self.ui.trustTable.currentRow() < len(self._consents)
