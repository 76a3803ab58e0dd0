"""The host loads .ui files and scripted modules, and keeps parameters in the scene, as Slicer does."""

from __future__ import annotations

import enum
import typing
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import host
import pytest

UI = """<ui version="4.0"><class>Panel</class>
<widget class="qMRMLWidget" name="Panel"><layout class="QFormLayout" name="form">
 <item row="0" column="1"><widget class="qMRMLNodeComboBox" name="input">
  <property name="nodeTypes"><stringlist><string>vtkMRMLScalarVolumeNode</string></stringlist></property>
  <property name="noneEnabled"><bool>true</bool></property>
  <property name="SlicerParameterName" stdset="0"><string>volume</string></property></widget></item>
 <item row="1" column="1"><widget class="ctkSliderWidget" name="threshold">
  <property name="SlicerParameterName" stdset="0"><string>threshold</string></property></widget></item>
 <item row="2" column="1"><widget class="ctkPathLineEdit" name="folder">
  <property name="filters"><set>ctkPathLineEdit::Dirs|ctkPathLineEdit::Writable</set></property></widget></item>
 <item row="3" column="1"><widget class="QComboBox" name="mode">
  <property name="SlicerParameterName" stdset="0"><string>mode</string></property></widget></item>
 <item row="4" column="1"><widget class="QPushButton" name="apply">
  <property name="text"><string>Apply</string></property></widget></item></layout></widget>
<customwidgets>%s</customwidgets>
<connections><connection><sender>Panel</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>
 <receiver>input</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot></connection></connections></ui>"""
CUSTOM = "<customwidget><class>{}</class><extends>QWidget</extends><header>{}.h</header></customwidget>"
UI %= "".join(CUSTOM.format(c, c) for c in ("qMRMLWidget", "qMRMLNodeComboBox", "ctkSliderWidget", "ctkPathLineEdit"))

MODULE = """
import slicer
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import *
class HostDemo(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Demo")
        parent.categories = ["MedDL"]
class HostDemoWidget(ScriptedLoadableModuleWidget):
    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        self.uiWidget = slicer.util.loadUI(self.resourcePath("UI/HostDemo.ui"))
        self.layout.addWidget(self.uiWidget)
        self.uiWidget.setMRMLScene(slicer.mrmlScene)
        self.ui = slicer.util.childWidgetVariables(self.uiWidget)
        self.logic = HostDemoLogic()
        self.cleaned = False
    def cleanup(self):
        self.cleaned = True
class HostDemoLogic(ScriptedLoadableModuleLogic):
    pass
class HostDemoTest(ScriptedLoadableModuleTest):
    ran = []
    def test_demo(self):
        HostDemoTest.ran.append(self.messageDelay)
"""


class Mode(enum.Enum):
    FAST = 1
    EXACT = 2


@pytest.fixture
def slicer() -> Iterator[ModuleType]:
    slicer = host.start()
    slicer.mrmlScene.Clear(0)
    yield slicer
    slicer.mrmlScene.Clear(0)


@pytest.fixture
def panel(slicer: ModuleType, tmp_path: Path) -> Iterator[Any]:
    panel = load_ui(slicer, tmp_path, UI)
    yield panel
    panel.setMRMLScene(None)


def load_ui(slicer: ModuleType, folder: Path, text: str) -> Any:
    file = folder / "Panel.ui"
    file.write_text(text)
    return slicer.util.loadUI(str(file))


class TestUiFiles:
    def test_scene_reaches_the_selectors(self, slicer: ModuleType, panel: Any) -> None:
        panel.setMRMLScene(slicer.mrmlScene)
        ui = slicer.util.childWidgetVariables(panel)

        assert ui.input.mrmlScene() is slicer.mrmlScene
        assert ui.input.nodeTypes == ("vtkMRMLScalarVolumeNode",)
        assert ui.input.noneEnabled is True

    def test_children_are_no_attributes_of_their_own(self, panel: Any) -> None:
        assert "apply" not in vars(panel)
        assert panel.findChild(type(panel.apply), "apply").text == "Apply"

    def test_flags_of_ctk_widgets_are_read(self, panel: Any) -> None:
        assert panel.folder.filters == 0x21

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (("QPushButton", "QPushButtton"), "widgets the host does not have: QPushButtton"),
            (("mrmlSceneChanged(vtkMRMLScene*)", "sceneChanged(vtkMRMLScene*)"), "does not exist on qMRMLWidget"),
            (("<slot>setMRMLScene", "<slot>setScene"), "slot 'setScene.vtkMRMLScene..' does not exist"),
            (("<receiver>input", "<receiver>output"), "connects 'output', which it does not define"),
        ],
    )
    def test_mistakes_raise(self, slicer: ModuleType, tmp_path: Path, change: tuple[str, str], message: str) -> None:
        with pytest.raises((RuntimeError, AttributeError), match=message):
            load_ui(slicer, tmp_path, UI.replace(*change))


def make_parameters(slicer: ModuleType) -> Any:
    wrapping = slicer.parameterNodeWrapper

    class Parameters:
        pass

    Parameters.__annotations__ = {
        "volume": slicer.vtkMRMLScalarVolumeNode,
        "either": slicer.vtkMRMLScalarVolumeNode | slicer.vtkMRMLSegmentationNode | None,
        "threshold": typing.Annotated[float, wrapping.WithinRange(0, 1), wrapping.Default(0.25)],
        "mode": Mode,
        "names": list[str],
        "sizes": dict[str, tuple[int, int]],
    }
    logic = slicer.ScriptedLoadableModule.ScriptedLoadableModuleLogic()
    return wrapping.parameterNodeWrapper(Parameters)(logic.getParameterNode())


class TestParameterNodes:
    def test_panel_and_parameters_follow_one_another(self, slicer: ModuleType, panel: Any) -> None:
        panel.setMRMLScene(slicer.mrmlScene)
        parameters = make_parameters(slicer)
        tag = parameters.connectGui(panel)
        assert (panel.threshold.value, panel.threshold.maximum, panel.mode.currentText) == (0.25, 1.0, "FAST")

        panel.mode.currentIndex = 1
        parameters.threshold = 0.5
        assert (parameters.mode, panel.threshold.value) == (Mode.EXACT, 0.5)

        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "head")
        panel.input.setCurrentNode(node)
        assert parameters.volume is node
        slicer.mrmlScene.RemoveNode(node)
        assert parameters.volume is None

        parameters.disconnectGui(tag)
        panel.mode.currentIndex = 0
        assert parameters.mode is Mode.EXACT

    def test_refused_value_leaves_the_old_one(self, slicer: ModuleType) -> None:
        parameters = make_parameters(slicer)
        parameters.names = ["a"]
        with pytest.raises(ValueError, match="within range"):
            parameters.threshold = 2.0
        with pytest.raises(TypeError):
            parameters.names = ["b", 3]

        assert (parameters.threshold, list(parameters.names)) == (0.25, ["a"])

    def test_containers_save_themselves(self, slicer: ModuleType) -> None:
        parameters = make_parameters(slicer)
        parameters.names.append("liver")
        parameters.sizes["liver"] = (3, 4)

        assert make_parameters(slicer).sizes == {"liver": (3, 4)}
        assert parameters.parameterNode.GetParameter("names.0") == "liver"
        assert parameters.parameterNode.GetParameter("sizes.0.1.1") == "4"

    def test_union_takes_either_class(self, slicer: ModuleType) -> None:
        parameters = make_parameters(slicer)
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
        parameters.either = node

        assert parameters.either is node
        with pytest.raises(TypeError):
            parameters.either = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode")

    @pytest.mark.parametrize("suffix", ["mrml", "mrb"])
    def test_parameters_travel_with_the_scene(self, slicer: ModuleType, tmp_path: Path, suffix: str) -> None:
        parameters = make_parameters(slicer)
        parameters.mode = Mode.EXACT
        assert slicer.util.saveScene(str(tmp_path / f"scene.{suffix}"))
        slicer.mrmlScene.Clear(0)
        slicer.util.loadScene(str(tmp_path / f"scene.{suffix}"))

        assert make_parameters(slicer).mode is Mode.EXACT

    def test_type_without_a_way_into_the_node_is_refused(self, slicer: ModuleType) -> None:
        class Wrong:
            pass

        Wrong.__annotations__ = {"anything": complex}
        with pytest.raises(Exception, match="Unable to create serializer"):
            slicer.parameterNodeWrapper.parameterNodeWrapper(Wrong)

    def test_widget_that_cannot_show_a_type_is_refused(self, slicer: ModuleType) -> None:
        import qt

        with pytest.raises(RuntimeError, match="Unable to create GUI connector"):
            make_parameters(slicer).connectParametersToGui({"mode": qt.QSpinBox()})


class TestModules:
    @pytest.fixture
    def module(self, slicer: ModuleType, tmp_path: Path) -> Any:
        manager = slicer.app.moduleManager().factoryManager()
        if not manager.isLoaded("HostDemo"):
            folder = tmp_path / "HostDemo"
            (folder / "Resources" / "UI").mkdir(parents=True)
            (folder / "Resources" / "UI" / "HostDemo.ui").write_text(UI)
            (folder / "HostDemo.py").write_text(MODULE)
            host.load_module(folder / "HostDemo.py")
        return manager.loadedModule("HostDemo")

    def test_module_is_known_by_its_name(self, slicer: ModuleType, module: Any) -> None:
        assert slicer.modules.hostdemo is module
        assert (module.title, module.categories) == ("Demo", ("MedDL",))
        assert slicer.util.getModule("HostDemo") is module
        with pytest.raises(AttributeError):
            module.tittle = "x"

    def test_panel_is_made_once_and_gets_the_scene(self, slicer: ModuleType, module: Any) -> None:
        widget = slicer.util.getModuleWidget("HostDemo")

        assert slicer.util.getModuleWidget("HostDemo") is widget
        assert slicer.modules.HostDemoWidget is widget
        assert widget.ui.input.mrmlScene() is slicer.mrmlScene
        assert slicer.util.getModuleLogic("HostDemo") is widget.logic

    def test_self_test_runs(self, slicer: ModuleType, module: Any) -> None:
        import HostDemo

        slicer.selfTests["HostDemo"](msec=7)

        assert HostDemo.HostDemoTest.ran[-1] == 7

    def test_panel_can_be_drawn(self, slicer: ModuleType, module: Any) -> None:
        """Text comes out as dark pixels: there is a font."""
        import qt

        label = qt.QLabel("Brain")
        label.resize(200, 60)
        picture = label.grab().toImage()

        pixels = [picture.pixelColor(x, y).lightness() for x in range(picture.width()) for y in range(picture.height())]
        assert sum(lightness < 100 for lightness in pixels) > 30
        assert not slicer.util.getModuleWidget("HostDemo").parent.grab().isNull()

    def test_compiled_module_has_a_logic_and_no_panel(self, slicer: ModuleType) -> None:
        assert slicer.util.getModuleLogic("Volumes").GetClassName() == "vtkSlicerVolumesLogic"
        with pytest.raises(RuntimeError, match="the host does not have it"):
            slicer.util.getModuleWidget("Volumes")

    def test_unknown_module_raises(self, slicer: ModuleType) -> None:
        with pytest.raises(RuntimeError, match="Could not find module with name 'Nowhere'"):
            slicer.util.getModule("Nowhere")


class TestApplication:
    def test_sample_is_fetched_from_a_file(self, slicer: ModuleType, tmp_path: Path) -> None:
        import numpy as np
        import SampleData

        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "made")
        slicer.util.updateVolumeFromArray(node, np.arange(24, dtype=np.int16).reshape(2, 3, 4))
        assert slicer.util.saveNode(node, str(tmp_path / "made.nrrd"))
        SampleData.SampleDataLogic.registerCustomSampleDataSource(
            category="MedDL", sampleName="HostSample", uris=(tmp_path / "made.nrrd").as_uri(), fileNames="s.nrrd",
            nodeNames="sample",
        )  # fmt: skip
        loaded = SampleData.downloadSample("HostSample")

        assert loaded.GetName() == "sample"
        assert slicer.util.arrayFromVolume(loaded).sum() == 276

    def test_nodes_enter_the_subject_hierarchy(self, slicer: ModuleType) -> None:
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "head")
        assert hierarchy.GetItemByDataNode(node)

        slicer.mrmlScene.RemoveNode(node)
        assert hierarchy.GetNumberOfItems() == 0

    def test_subject_hierarchy_travels_with_the_scene(self, slicer: ModuleType, tmp_path: Path) -> None:
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
        study = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "study")
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "head")
        hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node), study)
        assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
        slicer.mrmlScene.Clear(0)
        slicer.util.loadScene(str(tmp_path / "scene.mrb"))

        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
        item = hierarchy.GetItemByDataNode(slicer.mrmlScene.GetFirstNodeByName("head"))
        assert hierarchy.GetItemName(hierarchy.GetItemParent(item)) == "study"

    def test_python_slicer_is_on_the_path(self, slicer: ModuleType) -> None:
        import shutil
        import subprocess

        found = shutil.which("PythonSlicer")

        assert subprocess.run([found, "-c", "print(6 * 7)"], capture_output=True, text=True).stdout.strip() == "42"

    def test_installing_is_refused(self, slicer: ModuleType) -> None:
        with pytest.raises(RuntimeError, match="the host installs nothing"):
            slicer.util.pip_install("nosuchpackage")
