"""CTK's combo boxes and path selectors."""

from __future__ import annotations

from ..pythonqt.binding import QtCore, QtGui, QtWidgets
from ..pythonqt.native import computed, native, stored

_CHECK_ROLE = QtCore.Qt.ItemDataRole.CheckStateRole


@native
class ctkComboBox(QtWidgets.QComboBox):
    """A combo box with a text for "nothing chosen" and an elided current text."""

    defaultText = stored("defaultText", str, "", lambda self: self.update())
    forceDefault = stored("forceDefault", bool, False)
    elideMode = stored("elideMode", int, int(QtCore.Qt.TextElideMode.ElideNone))
    scrollWheelEffect = stored("scrollWheelEffect", int, 1)
    NeverScroll, AlwaysScroll, ScrollWithFocus, ScrollWithNoVScrollBar = range(4)

    def paintEvent(self, _event: QtGui.QPaintEvent) -> None:
        # Qt's own placeholder would keep the first item from becoming current by itself.
        option = QtWidgets.QStyleOptionComboBox()
        self.initStyleOption(option)
        if self.currentIndex < 0 or self.forceDefault:
            option.currentText = self.defaultText
        painter = QtWidgets.QStylePainter(self)
        painter.drawComplexControl(QtWidgets.QStyle.ComplexControl.CC_ComboBox, option)
        painter.drawControl(QtWidgets.QStyle.ControlElement.CE_ComboBoxLabel, option)
        painter.end()


@native
class ctkCheckableComboBox(QtWidgets.QComboBox):
    """A combo box whose items have check boxes."""

    checkedIndexesChanged = QtCore.Signal()

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self.model().rowsInserted.connect(self._make_checkable)
        self.model().dataChanged.connect(self._on_data_changed)

    def _make_checkable(self, _parent: QtCore.QModelIndex, first: int, last: int) -> None:
        blocked = self.model().blockSignals(True)
        for row in range(first, last + 1):
            item = self.model().item(row)
            item.setFlags(item.flags() | QtCore.Qt.ItemFlag.ItemIsUserCheckable)
            item.setData(QtCore.Qt.CheckState.Unchecked, _CHECK_ROLE)
        self.model().blockSignals(blocked)

    def _on_data_changed(self, _first: QtCore.QModelIndex, _last: QtCore.QModelIndex, roles: list[int]) -> None:
        if not roles or int(_CHECK_ROLE) in [int(r) for r in roles]:
            self.checkedIndexesChanged.emit()

    def _indexes(self) -> list[QtCore.QModelIndex]:
        return [self.model().index(row, 0) for row in range(self.count)]

    def checkableModel(self) -> QtCore.QAbstractItemModel:
        return self.model()

    def checkedIndexes(self) -> tuple[QtCore.QModelIndex, ...]:
        return tuple(i for i in self._indexes() if self.checkState(i) == QtCore.Qt.CheckState.Checked)

    def allChecked(self) -> bool:
        return len(self.checkedIndexes()) == self.count

    def noneChecked(self) -> bool:
        return not self.checkedIndexes()

    def checkState(self, index: QtCore.QModelIndex) -> QtCore.Qt.CheckState:
        return QtCore.Qt.CheckState(int(index.data(_CHECK_ROLE) or 0))

    def setCheckState(self, index: QtCore.QModelIndex, check: QtCore.Qt.CheckState) -> None:
        self.model().setData(index, QtCore.Qt.CheckState(int(check)), _CHECK_ROLE)


@native
class ctkPathLineEdit(QtWidgets.QWidget):
    """A line for the path of a file or folder, with a history and a browse button."""

    Dirs, Files, Drives, NoSymLinks, AllEntries = 0x001, 0x002, 0x004, 0x008, 0x007
    Readable, Writable, Executable = 0x010, 0x020, 0x040
    Modified, Hidden, System, AllDirs, CaseSensitive = 0x080, 0x100, 0x200, 0x400, 0x800
    NoDot, NoDotDot, NoDotAndDotDot, NoFilter = 0x2000, 0x4000, 0x6000, -1
    ShowDirsOnly, DontResolveSymlinks, DontConfirmOverwrite, DontUseSheet = 0x01, 0x02, 0x04, 0x08
    DontUseNativeDialog, ReadOnly, HideNameFilterDetails = 0x10, 0x20, 0x40
    AdjustToContents, AdjustToContentsOnFirstShow, AdjustToMinimumContentsLength = range(3)

    validInputChanged = QtCore.Signal(bool)
    currentPathChanged = QtCore.Signal(str)
    _private = ("_line", "_combo", "_browse", "_valid")

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._valid = False
        self._combo = ctkComboBox(self)
        self._combo.editable = True
        self._combo.setInsertPolicy(QtWidgets.QComboBox.InsertPolicy.NoInsert)
        self._combo.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Fixed)
        self._line = self._combo.lineEdit()
        self._browse = QtWidgets.QToolButton(self)
        self._browse.setText("...")
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self._combo)
        layout.addWidget(self._browse)
        self._line.textChanged.connect(self._on_text)
        self._browse.clicked.connect(lambda: self.browse())

    def _on_text(self, text: str) -> None:
        # Valid is what the validator of the name filters takes: without filters, any text but the empty one.
        valid, before = bool(text), self._valid
        self._valid = valid
        if valid:
            self.currentPathChanged.emit(text)
        if valid != before:
            self.validInputChanged.emit(valid)

    label = stored("label", str, "")
    filters = stored("filters", int, 0x6057)
    options = stored("options", int, 0)
    settingKey = stored("settingKey", str, "")
    sizeAdjustPolicy = stored("sizeAdjustPolicy", int, 2)
    minimumContentsLength = stored("minimumContentsLength", int, 0)
    nameFilters = stored("nameFilters", list, ())
    showBrowseButton = stored(
        "showBrowseButton", bool, True, lambda self: self._browse.setVisible(self.showBrowseButton)
    )
    showHistoryButton = stored("showHistoryButton", bool, True)
    currentPath = computed(
        "currentPath", str, lambda self: self._line.text, lambda self, value: self.setCurrentPath(value)
    )

    def comboBox(self) -> QtWidgets.QComboBox:
        return self._combo

    def setCurrentPath(self, path: str) -> None:
        self._line.setText(path)

    def browse(self) -> None:
        raise RuntimeError("ctkPathLineEdit.browse() was called, and nobody is there to answer the dialog")

    def addCurrentPathToHistory(self) -> None:
        """Puts the current path first in the list that is kept in the settings under `settingKey`."""
        path = self.currentPath
        if not path:
            return
        settings, key = QtCore.QSettings(), self.settingKey or "default"
        kept = settings.value(f"ctkPathLineEdit/{key}") or []
        kept = [kept] if isinstance(kept, str) else list(kept)
        settings.setValue(f"ctkPathLineEdit/{key}", [path, *(k for k in kept if k != path)][:10])
        if self._combo.findText(path) < 0:
            self._combo.insertItem(0, path)
            self._combo.setEditText(path)

    def retrieveHistory(self) -> None:
        kept = QtCore.QSettings().value(f"ctkPathLineEdit/{self.settingKey or 'default'}") or []
        for path in reversed([kept] if isinstance(kept, str) else list(kept)):
            if self._combo.findText(path) < 0:
                self._combo.insertItem(0, path)


@native
class ctkDirectoryButton(QtWidgets.QWidget):
    """A button that shows a folder and asks for another one."""

    directoryChanged = QtCore.Signal(str)
    directorySelected = QtCore.Signal(str)
    _private = ("_button", "_directory")

    def __init__(self, *args: object) -> None:
        text = args[0] if args and isinstance(args[0], str) else "."
        super().__init__(*(a for a in args if not isinstance(a, str)))
        self._directory = QtCore.QDir(text).absolutePath()
        self._button = QtWidgets.QPushButton(self._directory, self)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._button)

    def _set_directory(self, path: str) -> None:
        absolute = QtCore.QDir(path).absolutePath()
        if absolute != self._directory:
            self._directory = absolute
            self._button.setText(self.text or absolute)
            self.directorySelected.emit(absolute)
            self.directoryChanged.emit(absolute)

    directory = computed("directory", str, lambda self: self._directory, _set_directory)
    caption = stored("caption", str, "")
    text = stored("text", str, "", lambda self: self._button.setText(self.text))
    options = stored("options", int, 1)

    def browse(self) -> None:
        raise RuntimeError("ctkDirectoryButton.browse() was called, and nobody is there to answer the dialog")


@native
class ctkFittedTextBrowser(QtWidgets.QTextBrowser):
    """A text browser as tall as its text."""

    collapsibleText = QtCore.Property(
        str, lambda self: self.toHtml(), lambda self, value: QtGui.QTextDocument.setHtml(self.document, value)
    )
