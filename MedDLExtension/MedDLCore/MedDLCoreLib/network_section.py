"""The panel's part for proxy, mirrors and further catalogs."""


class NetworkSection:
    """The lines for the network, and the button that stores them.

    Args:
        panel: the module's widget.
    """

    def __init__(self, panel):
        self._panel, self.ui = panel, panel.ui
        self.ui.saveNetworkButton.connect("clicked(bool)", lambda checked: self._save())

    def show(self, problems):
        """Show what is stored, and what of the catalogs could not be read."""
        from meddl.errors import MedDLError

        try:
            settings = self._panel.logic.network()
        except MedDLError:
            settings = None  # why is among the problems
        if settings is not None:
            self.ui.proxyLineEdit.text = settings.shown_proxy
            self.ui.mirrorsTextEdit.plainText = "\n".join(f"{start}={goal}" for start, goal in settings.mirrors.items())
            self.ui.catalogsTextEdit.plainText = "\n".join(settings.catalogs)
        self.ui.networkLabel.text = "\n".join(problems)
        self.ui.networkLabel.visible = bool(self.ui.networkLabel.text)

    def _save(self):
        from meddl.errors import MedDLError

        ui = self.ui
        try:
            self._panel.logic.saveNetwork(
                ui.proxyLineEdit.text.strip(),
                _lines(ui.mirrorsTextEdit.plainText),
                _lines(ui.catalogsTextEdit.plainText),
            )
        except MedDLError as error:
            self._panel.showError(error.message)
            return
        self._panel.refresh()


def _lines(text):
    return [line.strip() for line in text.splitlines() if line.strip()]
