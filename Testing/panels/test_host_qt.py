"""The host's `qt` and `ctk` refuse what PythonQt refuses, and connect as PythonQt connects."""

from __future__ import annotations

import gc
from types import ModuleType

import host
import pytest


@pytest.fixture(scope="module")
def qt() -> ModuleType:
    host.start()
    import qt

    return qt


@pytest.fixture(scope="module")
def ctk(qt: ModuleType) -> ModuleType:
    import ctk

    return ctk


class TestAttributes:
    def test_unknown_attribute_is_refused_for_writing(self, qt: ModuleType) -> None:
        with pytest.raises(AttributeError, match="'txet' does not exist on QLabel and creating new attributes"):
            qt.QLabel("x").txet = "y"

    def test_unknown_attribute_is_refused_for_reading(self, qt: ModuleType) -> None:
        with pytest.raises(AttributeError, match="QLabel has no attribute named 'txet'"):
            _ = qt.QLabel("x").txet

    def test_value_objects_are_closed_too(self, qt: ModuleType) -> None:
        with pytest.raises(AttributeError, match="'note' does not exist on QSize"):
            qt.QSize(1, 2).note = 1

    def test_ctk_widgets_are_closed_too(self, ctk: ModuleType) -> None:
        with pytest.raises(AttributeError, match="'_value2' does not exist on ctkSliderWidget"):
            ctk.ctkSliderWidget()._value2 = 1

    def test_method_of_the_c_side_cannot_be_replaced(self, qt: ModuleType) -> None:
        with pytest.raises(AttributeError, match="Slot 'click' can not be overwritten"):
            qt.QPushButton("x").click = print

    def test_value_of_another_type_is_refused(self, qt: ModuleType) -> None:
        with pytest.raises(AttributeError, match="Property 'enabled' of type 'bool' does not accept"):
            qt.QPushButton("x").enabled = "yes"

    def test_setter_that_is_no_slot_is_not_there(self, ctk: ModuleType) -> None:
        """CTK's and MRML's widgets show Python their properties, slots and invokable methods only."""
        with pytest.raises(AttributeError, match="ctkSliderWidget has no attribute named 'setMaximum'"):
            ctk.ctkSliderWidget().setMaximum(3)

    def test_name_that_neither_ctk_has_raises(self, ctk: ModuleType) -> None:
        with pytest.raises(AttributeError):
            _ = ctk.ctkNoSuchWidget

    def test_python_subclass_takes_attributes(self, qt: ModuleType) -> None:
        class Panel(qt.QWidget):
            def __init__(self) -> None:
                qt.QWidget.__init__(self)
                self.cases = 3

        panel = Panel()

        assert panel.cases == 3
        assert panel.className() == "QWidget"

    def test_widget_made_by_qt_has_the_same_manners(self, qt: ModuleType) -> None:
        table = qt.QTableWidget(2, 2)
        header = table.horizontalHeader()
        header.stretchLastSection = True

        assert header.stretchLastSection is True
        with pytest.raises(AttributeError):
            header.stretchLast = True

    def test_child_is_an_attribute_by_its_name(self, qt: ModuleType) -> None:
        parent = qt.QWidget()
        child = qt.QLabel("x", parent)
        child.name = "title"

        assert parent.title is child

    def test_dead_object_says_so(self, qt: ModuleType) -> None:
        parent = qt.QWidget()
        child = qt.QLabel("x", parent)
        del parent
        gc.collect()

        assert not child
        with pytest.raises(ValueError, match="Trying to read property 'text' from a destroyed QLabel object"):
            _ = child.text

    def test_enum_values_are_numbers(self, qt: ModuleType) -> None:
        label = qt.QLabel("x")
        label.alignment = 4

        assert label.alignment == qt.Qt.AlignHCenter
        assert repr(qt.Qt.Checked) == "2"


class TestSignals:
    def test_unknown_signal_raises(self, qt: ModuleType) -> None:
        with pytest.raises(RuntimeError, match=r"signal 'clicked\(int\)' does not exist on QPushButton"):
            qt.QPushButton("x").connect("clicked(int)", print)

    def test_signal_without_its_default_argument(self, qt: ModuleType) -> None:
        button, hits = qt.QPushButton("x"), []
        button.connect("clicked()", lambda *args: hits.append(args))
        button.click()

        assert hits == [()]

    def test_slot_gets_as_many_arguments_as_it_takes(self, qt: ModuleType) -> None:
        box, hits = qt.QSpinBox(), []
        box.connect("valueChanged(int)", lambda: hits.append("none"))
        box.valueChanged.connect(lambda value: hits.append(value))
        box.value = 4

        assert hits == ["none", 4]

    def test_disconnected_slot_is_not_called(self, qt: ModuleType) -> None:
        box, hits = qt.QSpinBox(), []
        box.valueChanged.connect(hits.append)

        assert box.valueChanged.disconnect(hits.append)
        box.value = 4

        assert hits == []
        assert not box.disconnect("valueChanged(int)", hits.append)

    def test_bound_method_stays_connected(self, qt: ModuleType) -> None:
        class Listener:
            heard = 0

            def hear(self) -> None:
                Listener.heard += 1

        button = qt.QPushButton("x")
        button.connect("clicked()", Listener().hear)
        gc.collect()
        button.click()

        assert Listener.heard == 1

    def test_error_in_a_slot_is_reported_and_goes_no_further(
        self, qt: ModuleType, capsys: pytest.CaptureFixture[str]
    ) -> None:
        button = qt.QPushButton("x")
        button.connect("clicked()", lambda: 1 / 0)
        button.click()

        assert "ZeroDivisionError" in capsys.readouterr().err

    def test_signal_declared_in_python(self, qt: ModuleType) -> None:
        class Counter(qt.QObject):
            counted = qt.Signal(int)

        counter, hits = Counter(), []

        assert counter.counted.connect(hits.append) is True
        counter.counted.emit(3)
        assert hits == [3]

    def test_timer_fires(self, qt: ModuleType) -> None:
        import slicer

        hits: list[int] = []
        qt.QTimer.singleShot(0, lambda: hits.append(1))
        slicer.app.processEvents()

        assert hits == [1]


class TestCtkWidgets:
    def test_collapsed_section_hides_what_is_put_in_later(self, qt: ModuleType, ctk: ModuleType) -> None:
        section = ctk.ctkCollapsibleButton()
        section.collapsed = True
        label = qt.QLabel("x")
        qt.QVBoxLayout(section).addWidget(label)
        section.show()

        assert not label.visible
        section.collapsed = False
        assert label.visible

    def test_slider_stays_in_its_range_and_tells_changes_once(self, ctk: ModuleType) -> None:
        slider, hits = ctk.ctkSliderWidget(), []
        slider.minimum, slider.maximum, slider.decimals = 0, 1, 3
        slider.connect("valueChanged(double)", hits.append)
        slider.value = 0.1234
        slider.value = 7

        assert slider.value == 1.0
        assert hits == [0.123, 1.0]

    def test_path_is_told_as_it_changes(self, ctk: ModuleType) -> None:
        line, hits = ctk.ctkPathLineEdit(), []
        line.connect("currentPathChanged(QString)", hits.append)
        line.currentPath = "/data/case"

        assert hits == ["/data/case"]

    def test_asking_for_a_file_raises_since_nobody_answers(self, qt: ModuleType) -> None:
        with pytest.raises(RuntimeError, match="nobody is there to answer"):
            qt.QFileDialog.getOpenFileName(None, "Open", "", "*.nrrd")


def test_many_calls_do_not_use_up_none(qt: ModuleType) -> None:
    """PySide6 6.12 on Python 3.11 would end the interpreter here."""
    import sys

    label = qt.QLabel("x")
    for _ in range(200_000):
        label.setText("y")

    assert sys.getrefcount(None) > 3000
