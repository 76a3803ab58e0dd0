"""CTK's widgets for a number or a range of numbers."""

from __future__ import annotations

from ..pythonqt.binding import QtCore, QtWidgets
from ..pythonqt.native import computed, native, stored

_STEPS = 1000


class _Number(QtWidgets.QWidget):
    """A bounded number, rounded to `decimals`; a spin box and, where wanted, a slider show it."""

    valueChanged = QtCore.Signal(float)
    _private = ("_spin", "_slider", "_value", "_syncing")

    def __init__(self, parent: QtWidgets.QWidget | None, *, maximum: float, slider: bool, spin: bool) -> None:
        super().__init__(parent)
        self._value = 0.0
        self._syncing = False
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._slider = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal, self) if slider else None
        self._spin = QtWidgets.QDoubleSpinBox(self)
        self._spin.setRange(0.0, maximum)
        self._spin.valueChanged.connect(self._assign)
        if self._slider is not None:
            self._slider.setRange(0, _STEPS)
            self._slider.valueChanged.connect(self._on_slider)
            layout.addWidget(self._slider, 1)
        layout.addWidget(self._spin)
        self._spin.setVisible(spin)

    def _on_slider(self, position: int) -> None:
        if not self._syncing:
            self._assign(self.minimum + (self.maximum - self.minimum) * position / _STEPS)

    def _assign(self, value: float) -> None:
        bounded = max(self.minimum, min(self.maximum, float(value)))
        if bounded not in (float("inf"), float("-inf")):
            bounded = round(bounded, self.decimals)
        changed, self._value = bounded != self._value, bounded
        self._show_value()
        if changed:
            self.valueChanged.emit(bounded)

    def _show_value(self) -> None:
        if self._syncing:
            return
        self._syncing = True
        if self._spin.value != self._value:
            self._spin.setValue(self._value)
        span = self.maximum - self.minimum
        if self._slider is not None and 0 < span < float("inf"):
            self._slider.setValue(round((self._value - self.minimum) / span * _STEPS))
        self._syncing = False

    def _set_range(self, low: float, high: float) -> None:
        self._spin.setRange(low, max(low, high))
        self._assign(self._value)

    def _set_decimals(self, decimals: int) -> None:
        self._spin.setDecimals(decimals)
        self._assign(self._value)

    value = computed("value", float, lambda self: self._value, lambda self, value: self._assign(value))
    minimum = computed(
        "minimum",
        float,
        lambda self: self._spin.minimum,
        lambda self, value: self._set_range(value, max(value, self._spin.maximum)),
    )
    maximum = computed(
        "maximum",
        float,
        lambda self: self._spin.maximum,
        lambda self, value: self._set_range(min(value, self._spin.minimum), value),
    )
    singleStep = computed(
        "singleStep", float, lambda self: self._spin.singleStep, lambda self, value: self._spin.setSingleStep(value)
    )

    def setValue(self, value: float) -> None:
        self._assign(float(value))


def _decimals(default: int) -> QtCore.Property:
    return computed("decimals", int, lambda self: self._spin.decimals, lambda self, value: self._set_decimals(value))


@native
class ctkSliderWidget(_Number):
    """A slider with a spin box beside it."""

    valueIsChanging = QtCore.Signal(float)
    decimalsChanged = QtCore.Signal(int)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent, maximum=99.0, slider=True, spin=True)

    decimals = _decimals(2)
    pageStep = stored("pageStep", float, 10.0)
    tickInterval = stored("tickInterval", float, 0.0)
    tracking = stored("tracking", bool, True)
    popupSlider = stored("popupSlider", bool, False)
    invertedAppearance = stored("invertedAppearance", bool, False)
    invertedControls = stored("invertedControls", bool, False)
    prefix = computed("prefix", str, lambda self: self._spin.prefix, lambda self, text: self._spin.setPrefix(text))
    suffix = computed("suffix", str, lambda self: self._spin.suffix, lambda self, text: self._spin.setSuffix(text))
    spinBoxVisible = computed(
        "spinBoxVisible", bool, lambda self: not self._spin.isHidden(), lambda self, on: self._spin.setVisible(on)
    )

    def setDecimals(self, decimals: int) -> None:
        self._set_decimals(decimals)
        self.decimalsChanged.emit(decimals)

    def setSpinBoxVisible(self, visible: bool) -> None:
        self._spin.setVisible(visible)

    def reset(self) -> None:
        self._assign(0.0)


@native
class ctkDoubleSpinBox(_Number):
    """A spin box for real numbers."""

    decimalsChanged = QtCore.Signal(int)
    editingFinished = QtCore.Signal()
    FixedDecimals, DecimalsByShortcuts, DecimalsByKey, DecimalsByValue = 0, 1, 2, 4
    InsertDecimals, ReplaceDecimals, DecimalsAsMax, DecimalsAsMin = 8, 16, 32, 64

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent, maximum=99.99, slider=False, spin=True)
        self._spin.editingFinished.connect(lambda: self.editingFinished.emit())

    decimals = _decimals(2)
    decimalsOption = stored("decimalsOption", int, 1 | 8)
    frame = stored("frame", bool, True)
    readOnly = computed("readOnly", bool, lambda self: self._spin.readOnly, lambda self, on: self._spin.setReadOnly(on))
    prefix = computed("prefix", str, lambda self: self._spin.prefix, lambda self, text: self._spin.setPrefix(text))
    suffix = computed("suffix", str, lambda self: self._spin.suffix, lambda self, text: self._spin.setSuffix(text))
    cleanText = computed("cleanText", str, lambda self: self._spin.cleanText)

    def setValueIfDifferent(self, value: float) -> None:
        self._assign(value)

    def stepUp(self) -> None:
        self._spin.stepUp()

    def stepDown(self) -> None:
        self._spin.stepDown()

    def setDecimals(self, decimals: int) -> None:
        self._set_decimals(decimals)
        self.decimalsChanged.emit(decimals)


@native
class ctkDoubleSlider(_Number):
    """A slider for real numbers."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent, maximum=99.0, slider=True, spin=False)
        self._spin.setDecimals(6)

    # Not a property of the real slider: only what `_Number` rounds by.
    @property
    def decimals(self) -> int:
        return 6

    pageStep = stored("pageStep", float, 10.0)
    tracking = stored("tracking", bool, True)


class _Range(QtWidgets.QWidget):
    """Two numbers within bounds, the lower never above the upper."""

    valuesChanged = QtCore.Signal(float, float)
    minimumValueChanged = QtCore.Signal(float)
    maximumValueChanged = QtCore.Signal(float)
    rangeChanged = QtCore.Signal(float, float)
    _private = ("_bounds", "_values", "_low", "_high")

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._bounds = (0.0, 99.0)
        self._values = (0.0, 99.0)
        self._low = QtWidgets.QDoubleSpinBox(self)
        self._high = QtWidgets.QDoubleSpinBox(self)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for box in (self._low, self._high):
            box.setRange(*self._bounds)
            layout.addWidget(box)
        self._high.setValue(99.0)
        self._low.valueChanged.connect(lambda value: self.setValues(value, max(value, self._values[1])))
        self._high.valueChanged.connect(lambda value: self.setValues(min(value, self._values[0]), value))

    def setRange(self, low: float, high: float) -> None:
        self._bounds = (float(low), float(max(low, high)))
        for box in (self._low, self._high):
            box.setRange(*self._bounds)
        self.rangeChanged.emit(*self._bounds)
        self.setValues(*self._values)

    def setValues(self, low: float, high: float) -> None:
        low, high = sorted(max(self._bounds[0], min(self._bounds[1], float(v))) for v in (low, high))
        old, self._values = self._values, (low, high)
        self._low.setValue(low)
        self._high.setValue(high)
        if low != old[0]:
            self.minimumValueChanged.emit(low)
        if high != old[1]:
            self.maximumValueChanged.emit(high)
        if (low, high) != old:
            self.valuesChanged.emit(low, high)

    def setMinimumValue(self, value: float) -> None:
        self.setValues(value, max(value, self._values[1]))

    def setMaximumValue(self, value: float) -> None:
        self.setValues(min(value, self._values[0]), value)

    minimum = computed(
        "minimum", float, lambda self: self._bounds[0], lambda self, v: self.setRange(v, max(v, self._bounds[1]))
    )
    maximum = computed(
        "maximum", float, lambda self: self._bounds[1], lambda self, v: self.setRange(min(v, self._bounds[0]), v)
    )
    minimumValue = computed(
        "minimumValue", float, lambda self: self._values[0], lambda self, v: self.setMinimumValue(v)
    )
    maximumValue = computed(
        "maximumValue", float, lambda self: self._values[1], lambda self, v: self.setMaximumValue(v)
    )
    singleStep = stored("singleStep", float, 1.0)


@native
class ctkRangeWidget(_Range):
    """Two spin boxes for the ends of a range."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)

    decimals = computed(
        "decimals",
        int,
        lambda self: self._low.decimals,
        lambda self, value: (self._low.setDecimals(value), self._high.setDecimals(value)),
    )

    def setDecimals(self, decimals: int) -> None:
        self.decimals = decimals


@native
class ctkDoubleRangeSlider(_Range):
    """A slider with two handles."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
