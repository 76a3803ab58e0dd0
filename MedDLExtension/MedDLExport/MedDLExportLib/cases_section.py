"""The panel's part for cases: adding them from the scene and from files, the table, and what is said of them."""

from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from MedDLExportLib import tables
from MedDLExportLib.case_editor import CaseEditor
from MedDLExportLib.case_table import CaseTable

_DRAW_MS = 1


class CasesSection:
    """The table of cases with its buttons.

    Args:
        ui: the panel's widgets.
        session: the cases and what is known of them.
        jobPanel: follows the job that reads folders and lists.
        showError: called with an error for the user.
    """

    def __init__(self, ui, session, jobPanel, showError):
        self.ui = ui
        self._session = session
        self._jobPanel = jobPanel
        self._showError = showError
        self.table = CaseTable(ui.casesTable, self._onEdited, self._onSelected)
        self.editor = CaseEditor(ui, self._onEdited)
        self._drawTimer = tables.oneShot(self._drawNext, _DRAW_MS)
        self._undrawable = {}  # rows by key: another image may be drawable
        self._makeMenus()
        ui.taskComboBox.connect("activated(int)", lambda index: self.relabel())
        ui.removeCasesButton.connect("clicked(bool)", self.removeSelected)
        ui.channelsLineEdit.connect("editingFinished()", self._onChannels)

    def cleanup(self):
        """Let go of the scene, and stop what would come later."""
        self._drawTimer.stop()
        self.table.cleanup()
        self.editor.cleanup()

    def update(self, running):
        """Bring the widgets in line with the cases."""
        session = self._session
        channels = session.channels()
        self.table.show(session.rows, channels, session.known.pictures, session.problems(), session.task)
        self.ui.channelsLineEdit.text = ", ".join(channels)
        self._visible(bool(channels), self.ui.channelsLabel, self.ui.channelsLineEdit)
        self.ui.casesSummaryLabel.text = self._summary()
        for widget in (
            self.ui.taskComboBox,
            self.ui.addSceneButton,
            self.ui.addFilesButton,
            self.ui.casesTable,
            self.ui.channelsLineEdit,
            self.ui.patternLineEdit,
        ):
            widget.enabled = not running and session.parameters is not None
        self._onSelected()
        self._drawTimer.start()

    def addFromScene(self, together=False):
        """Add what the scene seems to hold, without what is there already."""
        from meddl_slicer import export_suggestions

        task = self._session.task
        with slicer.util.tryWithErrorDisplay(_("The scene could not be looked through."), waitCursor=True):
            found = export_suggestions.suggest(task, together)
            new = [row for row in found if not export_suggestions.is_known(row, self._session.rows)]
            self._session.add(new)
            if new:
                said = _("{count} cases were added.").format(count=len(new))
            elif found:
                said = _("All cases of the scene are in the table already.")
            else:
                said = _("The scene holds no images that could be cases. Load some, or add files.")
            self._jobPanel.showIdle(said)

    def addFiles(self, source):
        """Add the cases of a folder, a list or a saved scene; an empty path is that of a dialog that was closed."""
        from meddl.datasets.task import COLLECT

        if not source:
            return
        params = {"source": Path(source), "pattern": self.ui.patternLineEdit.text.strip()}
        self._jobPanel.run(COLLECT, params, onFinished=self._onCollected)
        self._session.changed()

    def relabel(self):
        """Give the cases of the scene labels for the task that is chosen, as the scene suggests them."""
        from meddl_slicer import export_suggestions

        with slicer.util.tryWithErrorDisplay(_("The scene could not be looked through."), waitCursor=True):
            found = export_suggestions.relabeled(self._session.rows, self._session.task)
            if found != self._session.rows:
                self._session.replace(found)

    def removeSelected(self, *_args):
        """Take the selected cases out of the table."""
        keys = self.table.selectedKeys()
        self.ui.casesTable.clearSelection()
        self._session.remove(keys)

    def _onCollected(self, job):
        from meddl.datasets.case import Case
        from meddl_slicer.export_cases import row_of

        if job.error is not None:
            self._session.changed()
            self._showError(job.error)
            return
        rows = [row_of(Case.from_dict(data)) for data in job.result["cases"]]
        self._session.add(rows)
        self._jobPanel.showIdle(_("{count} cases were added.").format(count=len(rows)))

    def _onEdited(self, keys, values):
        from meddl_slicer.export_cases import class_label

        if "classes" in values:
            values = {"label": class_label(values["classes"])}
        self._session.edit(keys, **values)

    def _onSelected(self):
        running = self._jobPanel.isRunning or self._session.isRunning
        chosen = [self._session.row(key) for key in self.table.selectedKeys()]
        self.ui.removeCasesButton.enabled = bool(chosen) and not running
        self.ui.removeCasesButton.toolTip = (
            _("Take the selected cases out of this table. Nothing is deleted.")
            if chosen
            else _("Select cases in the table first.")
        )
        self.editor.show([row for row in chosen if row is not None], self._session.task, not running)

    def _onChannels(self):
        names = [name.strip() for name in self.ui.channelsLineEdit.text.split(",") if name.strip()]
        if names and names != self._session.channels():
            self._session.renameChannels(names)

    # Thumbnails: one per turn of the event loop, so that fifty cases do not hold up the panel

    def _drawNext(self):
        from meddl_slicer.export_thumbnails import thumbnail_of

        session = self._session
        for row in session.rows:
            if row.key in session.known.pictures or self._undrawable.get(row.key) is row:
                continue
            picture = thumbnail_of(row)
            if picture is None:
                self._undrawable[row.key] = row
                continue
            session.known.pictures[row.key] = picture
            self.table.showPicture(row.key, picture)
            self._drawTimer.start()
            return

    def _summary(self):
        rows = self._session.rows
        if not rows:
            return _("No cases yet. Add them from the scene or from files.")
        chosen = [row for row in rows if row.included]
        patients = len({row.patient or f"\0{row.key}" for row in chosen})
        text = _("{count} of {all} cases are exported, of {patients} patients.").format(
            count=len(chosen), all=len(rows), patients=patients
        )
        unknown = sum(not row.patient for row in chosen)
        if unknown and len(chosen) > 1:
            text += " " + _(
                "Nobody has said whose {count} of them are: each is taken for a patient of its own."
            ).format(count=unknown)
        return text

    def _makeMenus(self):
        self._sceneMenu = qt.QMenu(self.ui.addSceneButton)
        one = self._sceneMenu.addAction(_("Each image is a case"))
        one.connect("triggered()", lambda: self.addFromScene(False))
        several = self._sceneMenu.addAction(_("All images of a study are one case"))
        several.connect("triggered()", lambda: self.addFromScene(True))
        self.ui.addSceneButton.setMenu(self._sceneMenu)
        self._filesMenu = qt.QMenu(self.ui.addFilesButton)
        for text, choose in (
            (_("Folder of images or scenes…"), self._chooseFolder),
            (_("Folder of DICOM files…"), self._chooseFolder),
            (_("List (CSV)…"), lambda: self._chooseFile(_("Lists") + " (*.csv)")),
            (_("Saved scene (MRB)…"), lambda: self._chooseFile(_("Scenes") + " (*.mrb)")),
        ):
            self._filesMenu.addAction(text).connect("triggered()", choose)
        self.ui.addFilesButton.setMenu(self._filesMenu)

    def _chooseFolder(self):
        title = _("Folder with cases")
        self.addFiles(qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), title))

    def _chooseFile(self, kinds):
        self.addFiles(qt.QFileDialog.getOpenFileName(slicer.util.mainWindow(), _("Cases"), "", kinds))

    def _visible(self, visible, *widgets):
        for widget in widgets:
            widget.visible = visible
