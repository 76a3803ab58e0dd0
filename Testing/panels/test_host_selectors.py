"""The host's MRML selectors follow the scene as Slicer's do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import host
import pytest

VOLUME = "vtkMRMLScalarVolumeNode"


@pytest.fixture
def slicer() -> Iterator[ModuleType]:
    slicer = host.start()
    slicer.mrmlScene.Clear(0)
    yield slicer
    slicer.mrmlScene.Clear(0)


@pytest.fixture
def selector(slicer: ModuleType) -> Iterator[Callable[..., Any]]:
    made = []

    def make(**properties: object) -> Any:
        selector = slicer.qMRMLNodeComboBox()
        selector.nodeTypes = [VOLUME]
        for name, value in properties.items():
            setattr(selector, name, value)
        selector.setMRMLScene(slicer.mrmlScene)
        made.append(selector)
        return selector

    yield make
    for selector in made:
        selector.setMRMLScene(None)


def add(slicer: ModuleType, name: str, node_class: str = VOLUME) -> Any:
    return slicer.mrmlScene.AddNewNodeByClass(node_class, name)


def texts(selector: Any) -> list[str]:
    import qt

    box = selector.findChild(qt.QComboBox)
    return [box.itemText(row) for row in range(box.count)]


def test_nodes_of_a_scene_being_read_are_offered_at_its_end(slicer: ModuleType, selector: Callable[..., Any]) -> None:
    box = selector(noneEnabled=True)
    slicer.mrmlScene.StartState(slicer.vtkMRMLScene.ImportState)
    node = add(slicer, "read")
    box.setCurrentNode(node)
    assert (box.nodeCount(), box.currentNode()) == (0, None)
    slicer.mrmlScene.EndState(slicer.vtkMRMLScene.ImportState)
    assert [box.nodeFromIndex(i) for i in range(box.nodeCount())] == [node]


def test_nodes_come_and_go_with_the_scene(slicer: ModuleType, selector: Callable[..., Any]) -> None:
    box = selector(noneEnabled=True)
    first, second = add(slicer, "first"), add(slicer, "second")
    add(slicer, "table", "vtkMRMLTableNode")
    assert [box.nodeFromIndex(i) for i in range(box.nodeCount())] == [first, second]

    slicer.mrmlScene.RemoveNode(first)
    assert [box.nodeFromIndex(i) for i in range(box.nodeCount())] == [second]

    slicer.mrmlScene.Clear(0)
    assert box.nodeCount() == 0
    assert box.currentNode() is None


def test_renamed_node_shows_its_new_name(slicer: ModuleType, selector: Callable[..., Any]) -> None:
    box = selector()
    add(slicer, "before").SetName("after")

    assert "after" in texts(box)
    assert "before" not in texts(box)


def test_entries_are_none_then_nodes_then_actions(slicer: ModuleType, selector: Callable[..., Any]) -> None:
    add(slicer, "head")
    box = selector(noneEnabled=True, renameEnabled=True)

    kinds = ["None", "head", "", "Rename current Volume", "Create new Volume", "Create new Volume as..."]
    assert texts(box) == [*kinds, "Delete current Volume"]


def test_new_node_becomes_current_only_where_nothing_else_can_be_chosen(
    slicer: ModuleType, selector: Callable[..., Any]
) -> None:
    with_actions = selector()
    plain = selector(addEnabled=False, removeEnabled=False)
    node = add(slicer, "head")

    assert with_actions.currentNode() is None
    assert plain.currentNode() is node


def test_removed_current_node_is_told(slicer: ModuleType, selector: Callable[..., Any]) -> None:
    box = selector(noneEnabled=True)
    node = add(slicer, "head")
    box.setCurrentNode(node)
    told: list[object] = []
    box.connect("currentNodeChanged(vtkMRMLNode*)", told.append)
    slicer.mrmlScene.RemoveNode(node)

    assert told == [None]
    assert box.currentNodeID == ""


def test_change_is_told_in_three_ways(slicer: ModuleType, selector: Callable[..., Any]) -> None:
    box, told = selector(), []
    node = add(slicer, "head")
    box.connect("currentNodeChanged(vtkMRMLNode*)", told.append)
    box.connect("currentNodeChanged(bool)", told.append)
    box.connect("currentNodeIDChanged(QString)", told.append)
    box.setCurrentNodeID(node.GetID())

    assert told == [node, True, node.GetID()]


def test_node_chosen_before_the_scene_is_set_is_kept(slicer: ModuleType) -> None:
    node = add(slicer, "head")
    box = slicer.qMRMLNodeComboBox()
    box.nodeTypes, box.noneEnabled = [VOLUME], True
    box.setCurrentNode(node)
    box.setMRMLScene(slicer.mrmlScene)

    assert box.currentNode() is node
    box.setMRMLScene(None)
    assert not box.enabled


def test_hidden_and_unwanted_nodes_are_left_out(slicer: ModuleType, selector: Callable[..., Any]) -> None:
    box = selector(showChildNodeTypes=False)
    box.addAttribute(VOLUME, "MedDL.Role", "input")
    wanted = add(slicer, "wanted")
    wanted.SetAttribute("MedDL.Role", "input")
    add(slicer, "without attribute")
    add(slicer, "labels", "vtkMRMLLabelMapVolumeNode").SetAttribute("MedDL.Role", "input")
    hidden = add(slicer, "hidden")
    hidden.SetAttribute("MedDL.Role", "input")
    hidden.SetHideFromEditors(True)
    hidden.Modified()

    assert [box.nodeFromIndex(i) for i in range(box.nodeCount())] == [wanted]


def test_add_node_takes_the_base_name(slicer: ModuleType, selector: Callable[..., Any]) -> None:
    box = selector(baseName="Result")

    assert [box.addNode().GetName(), box.addNode().GetName()] == ["Result", "Result_1"]
    assert box.currentNode().GetName() == "Result_1"


@pytest.mark.parametrize("wrong", [5, object()])
def test_what_is_no_node_is_refused(slicer: ModuleType, selector: Callable[..., Any], wrong: object) -> None:
    with pytest.raises(ValueError, match=r"Called setCurrentNode\(vtkMRMLNode node\) with wrong arguments"):
        selector().setCurrentNode(wrong)


def test_scene_must_be_a_scene(slicer: ModuleType) -> None:
    with pytest.raises(ValueError, match="wrong arguments"):
        slicer.qMRMLNodeComboBox().setMRMLScene("scene")


def test_signal_of_another_object_type_is_unknown(slicer: ModuleType, selector: Callable[..., Any]) -> None:
    with pytest.raises(RuntimeError, match="does not exist on qMRMLNodeComboBox"):
        selector().connect("currentNodeChanged(vtkMRMLScene*)", print)


def test_checked_nodes(slicer: ModuleType) -> None:
    import qt

    box, told = slicer.qMRMLCheckableNodeComboBox(), []
    box.nodeTypes = [VOLUME]
    box.setMRMLScene(slicer.mrmlScene)
    first, second = add(slicer, "first"), add(slicer, "second")
    box.connect("checkedNodesChanged()", lambda: told.append(1))
    box.setCheckState(second, qt.Qt.Checked)

    assert list(box.checkedNodes()) == [second]
    assert list(box.uncheckedNodes()) == [first]
    assert told == [1]
    box.setMRMLScene(None)


def test_segment_selector_follows_the_segments(slicer: ModuleType) -> None:
    node = add(slicer, "organs", "vtkMRMLSegmentationNode")
    liver = node.GetSegmentation().AddEmptySegment("", "liver")
    box, told = slicer.qMRMLSegmentSelectorWidget(), []
    box.connect("currentSegmentChanged(QString)", told.append)
    box.setMRMLScene(slicer.mrmlScene)
    box.setCurrentNode(node)
    assert box.currentSegmentID() == liver

    spleen = node.GetSegmentation().AddEmptySegment("", "spleen")
    box.setCurrentSegmentID(spleen)
    node.GetSegmentation().RemoveSegment(spleen)

    assert box.currentSegmentID() == liver
    assert told[-2:] == [spleen, liver]
    box.setMRMLScene(None)


def test_table_view_shows_the_table(slicer: ModuleType) -> None:
    import vtk

    node = add(slicer, "volumes", "vtkMRMLTableNode")
    column = vtk.vtkStringArray()
    column.SetName("Segment")
    column.InsertNextValue("brain")
    node.AddColumn(column)
    view = slicer.qMRMLTableView()
    view.setMRMLScene(slicer.mrmlScene)
    view.setMRMLTableNode(node)
    assert view.model().index(0, 0).data() == "brain"

    column.SetValue(0, "skull")
    node.Modified()

    assert view.model().index(0, 0).data() == "skull"
    with pytest.raises(ValueError, match="wrong arguments"):
        view.setMRMLTableNode(add(slicer, "v"))
