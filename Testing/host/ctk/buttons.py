"""CTK's buttons and boxes: collapsible sections, checkable buttons, message box, color button."""

from __future__ import annotations

from ..pythonqt.binding import QtCore, QtGui, QtWidgets
from ..pythonqt.native import computed, native, stored

_ALIGN_CENTER = int(QtCore.Qt.AlignmentFlag.AlignCenter)
_ALIGN_LEFT = int(QtCore.Qt.AlignmentFlag.AlignLeft | QtCore.Qt.AlignmentFlag.AlignVCenter)


@native
class ctkCollapsibleButton(QtWidgets.QAbstractButton):
    """A section with a title bar that hides its contents."""

    contentsCollapsed = QtCore.Signal(bool)
    _private = ("_hidden_children",)

    def __init__(self, *args: object) -> None:
        text = args[0] if args and isinstance(args[0], str) else ""
        super().__init__(*(a for a in args if not isinstance(a, str)))
        self._hidden_children = []
        self.checkable = True
        self.checked = True
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Minimum, QtWidgets.QSizePolicy.Policy.Preferred)
        self.setText(text)
        self.toggled.connect(self._on_toggled)
        self._update_margins()

    collapsed = computed(
        "collapsed", bool, lambda self: not self.checked, lambda self, value: self.setChecked(not value)
    )
    flat = stored("flat", bool, False)
    collapsedHeight = stored("collapsedHeight", int, 10)
    contentsFrameShape = stored("contentsFrameShape", int, 0)
    contentsFrameShadow = stored("contentsFrameShadow", int, 16)
    contentsLineWidth = stored("contentsLineWidth", int, 1)
    contentsMidLineWidth = stored("contentsMidLineWidth", int, 0)
    buttonTextAlignment = stored("buttonTextAlignment", int, _ALIGN_LEFT)
    indicatorAlignment = stored("indicatorAlignment", int, _ALIGN_LEFT)

    def _on_toggled(self, expanded: bool) -> None:
        if expanded:
            for child in self._hidden_children:
                child.show()
            self._hidden_children = []
        else:
            self._hidden_children = [c for c in self._content() if not c.isHidden()]
            for child in self._hidden_children:
                child.hide()
        self.updateGeometry()
        self.contentsCollapsed.emit(not expanded)

    def _content(self) -> list[QtWidgets.QWidget]:
        return [c for c in self.children() if isinstance(c, QtWidgets.QWidget) and not c.isWindow()]

    def showEvent(self, event: QtGui.QShowEvent) -> None:
        # What was put in while collapsed. (Not in childEvent: then the child is not constructed yet, and PySide6 would
        # take it for a plain QWidget from then on.)
        if self.collapsed:
            late = [c for c in self._content() if not c.isHidden()]
            self._hidden_children = [*self._hidden_children, *late]
            for child in late:
                child.hide()
        super().showEvent(event)

    def _bar_height(self) -> int:
        return self.fontMetrics().height() + 10

    def _update_margins(self) -> None:
        self.setContentsMargins(0, self._bar_height(), 0, 0)

    def sizeHint(self) -> QtCore.QSize:
        width = self.fontMetrics().horizontalAdvance(self.text) + 40
        height = self._bar_height()
        if self.layout() is not None and not self.collapsed:
            inner = self.layout().totalSizeHint()
            width, height = max(width, inner.width()), max(height, inner.height())
        return QtCore.QSize(width, height)

    minimumSizeHint = sizeHint

    def hitButton(self, pos: QtCore.QPoint) -> bool:
        return pos.y() <= self._bar_height()

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter = QtGui.QPainter(self)
        palette = self.palette
        bar = QtCore.QRect(0, 0, self.width, self._bar_height())
        if not self.flat:
            painter.setPen(palette.color(QtGui.QPalette.ColorRole.Mid))
            painter.setBrush(palette.brush(QtGui.QPalette.ColorRole.Button))
            painter.drawRoundedRect(bar.adjusted(0, 0, -1, -1), 3, 3)
        option = QtWidgets.QStyleOption()
        option.initFrom(self)
        option.rect = QtCore.QRect(6, (bar.height() - 12) // 2, 12, 12)
        primitive = QtWidgets.QStyle.PrimitiveElement
        arrow = primitive.PE_IndicatorArrowUp if self.checked else primitive.PE_IndicatorArrowDown
        self.style().drawPrimitive(arrow, option, painter, self)
        painter.setPen(palette.color(QtGui.QPalette.ColorRole.ButtonText))
        painter.drawText(bar.adjusted(24, 0, -4, 0), self.buttonTextAlignment, self.text)
        painter.end()


@native
class ctkCollapsibleGroupBox(QtWidgets.QGroupBox):
    """A group box that folds."""

    _private = ("_hidden_children",)

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self._hidden_children = []
        self.checkable = True
        self.checked = True
        self.toggled.connect(self._on_toggled)

    collapsed = computed(
        "collapsed", bool, lambda self: not self.checked, lambda self, value: self.setChecked(not value)
    )
    collapsedHeight = stored("collapsedHeight", int, 14)

    def _on_toggled(self, expanded: bool) -> None:
        if not expanded:
            self._hidden_children = [
                c for c in self.children() if isinstance(c, QtWidgets.QWidget) and not c.isHidden()
            ]
        for child in self._hidden_children:
            child.setVisible(expanded)


@native
class ctkPushButton(QtWidgets.QPushButton):
    """A push button whose text and icon can be aligned."""

    buttonTextAlignment = stored("buttonTextAlignment", int, _ALIGN_CENTER)
    iconAlignment = stored("iconAlignment", int, _ALIGN_LEFT)


@native
class ctkCheckablePushButton(ctkPushButton):
    """A push button with a check box in it."""

    checkBoxToggled = QtCore.Signal(bool)
    indicatorAlignment = stored("indicatorAlignment", int, _ALIGN_LEFT)
    checkBoxControlsButton = stored("checkBoxControlsButton", bool, True)
    checkBoxControlsButtonToggleState = stored("checkBoxControlsButtonToggleState", bool, True)
    checkBoxUserCheckable = stored("checkBoxUserCheckable", bool, True)


@native
class ctkCheckBox(QtWidgets.QCheckBox):
    """A check box that may show its own indicator icon."""


@native
class ctkMessageBox(QtWidgets.QMessageBox):
    """A message box with "Don't show this message again"."""

    dontShowAgain = stored("dontShowAgain", bool, False)
    dontShowAgainVisible = stored("dontShowAgainVisible", bool, False)
    dontShowAgainSettingsKey = stored("dontShowAgainSettingsKey", str, "")


@native
class ctkColorPickerButton(QtWidgets.QPushButton):
    """Shows a color and lets the user choose another one."""

    colorChanged = QtCore.Signal(QtGui.QColor)
    colorNameChanged = QtCore.Signal(str)
    _private = ("_color",)

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self._color = QtGui.QColor(0, 0, 0)

    def setColor(self, color: QtGui.QColor) -> None:
        if color != self._color:
            self._color = QtGui.QColor(color)
            self.colorChanged.emit(self._color)
            self.update()

    color = computed("color", "QColor", lambda self: self._color, lambda self, value: self.setColor(value))
    displayColorName = stored("displayColorName", bool, True)
    colorName = stored("colorName", str, "")
