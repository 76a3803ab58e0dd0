"""The panel's part for files that were downloaded."""

import qt
import slicer
from slicer.i18n import tr as _


class CacheSection:
    """Where downloaded files are and how much they take, and the button that deletes them.

    Args:
        panel: the module's widget.
    """

    def __init__(self, panel):
        self._panel, self.ui = panel, panel.ui
        self.ui.openCacheButton.connect("clicked(bool)", lambda checked: self._open())
        self.ui.deleteCacheButton.connect("clicked(bool)", lambda checked: self._delete())

    def show(self):
        """Look again."""
        text = _("{size} in {folder}").format(
            size=self._panel.logic.cacheSize(), folder=self._panel.logic.cacheFolder()
        )
        self.ui.cacheLabel.text = text
        self.ui.cacheLabel.toolTip = text  # a long path does not fit a narrow panel

    def _open(self):
        folder = self._panel.logic.cacheFolder()
        folder.mkdir(parents=True, exist_ok=True)
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(folder)))

    def _delete(self):
        if self._panel.confirm(_("Delete all downloaded models and packages? They can be downloaded again.")):
            with slicer.util.tryWithErrorDisplay(_("Not everything could be deleted."), waitCursor=True):
                self._panel.logic.deleteCache()
            self._panel.refresh()
