"""The table of measured structures says the right numbers and stays with the study."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from bridge.predictions import labels_of, prediction_for
from meddl_slicer import nodes, table


def cells(node) -> list[list]:
    content = node.GetTable()
    return [
        [content.GetValue(row, column).ToString() for column in range(content.GetNumberOfColumns())]
        for row in range(content.GetNumberOfRows())
    ]


def test_table_names_structures_volumes_voxels_and_model(make_volume, sheared):
    volume_node = make_volume(np.zeros((5, 6, 7), np.int16), sheared)
    node = table.volumes_table(prediction_for(nodes.volume_from_node(volume_node)), volume_node)
    rows = cells(node)
    labels = labels_of((5, 6, 7))
    count = int((labels == 4).sum())
    assert [row[0] for row in rows] == ["Brain", "Left kidney: upper; lower", "Nothing found"]
    assert float(rows[1][1]) == pytest.approx(count * abs(np.linalg.det(sheared[:3, :3])) / 1000)
    assert [row[2] for row in rows] == [str(int((labels == label).sum())) for label in (1, 4, 7)]
    assert rows[0][3].endswith("1.2.0")
    assert node.GetTable().GetColumnName(1) == "Volume [ml]"
    assert node.GetName() == "T1 volumes"


def test_second_run_overwrites_the_table(make_volume):
    volume_node = make_volume(np.zeros((5, 6, 7), np.int16))
    prediction = prediction_for(nodes.volume_from_node(volume_node))
    node = table.volumes_table(prediction, volume_node)
    again = table.volumes_table({**prediction, "segments": prediction["segments"][:1]}, volume_node, node)
    assert again is node
    assert len(cells(node)) == 1


def test_table_lies_in_the_study_of_the_volume(scene, make_volume):
    volume_node = make_volume(np.zeros((5, 6, 7), np.int16))
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "Study")
    item = hierarchy.GetItemByDataNode(volume_node) or hierarchy.CreateItem(study, volume_node)
    hierarchy.SetItemParent(item, study)
    node = table.volumes_table(prediction_for(nodes.volume_from_node(volume_node)), volume_node)
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study
    assert node.GetAttribute("MedDL.License") == "MIT"


def test_table_survives_saving_the_scene(scene, make_volume, tmp_path):
    volume_node = make_volume(np.zeros((5, 6, 7), np.int16))
    node = table.volumes_table(prediction_for(nodes.volume_from_node(volume_node)), volume_node)
    before = cells(node)
    assert scene.WriteToMRB(str(tmp_path / "scene.mrb"), None)
    scene.Clear(True)
    assert scene.ReadFromMRB(str(tmp_path / "scene.mrb"), False)
    loaded = scene.GetFirstNodeByClass("vtkMRMLTableNode")
    assert [row[0] for row in cells(loaded)] == [row[0] for row in before]
    assert float(cells(loaded)[0][1]) == pytest.approx(float(before[0][1]))
