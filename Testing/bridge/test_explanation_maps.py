"""Maps of attribution in a real MRML scene: where they lie, how they look, what is written beside them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import slicer
import slicer.util
from bridge.predictions import PROVENANCE
from meddl.saliency.attribution import AnatomyShare, Attribution, Measure
from meddl_slicer import (
    explanation_maps,
    explanation_report,
    explanation_tables,
    explanation_views,
    nodes,
    provenance,
    table,
)
from meddl_slicer.explanation_run import ExplanationRun

CURVE = ((0.0, 1.0), (0.5, 0.25), (1.0, 0.0))


@pytest.fixture
def image(make_volume, make_transform, sheared, rotation):
    """An image in an awkward frame, below a transform."""
    array = np.arange(7 * 6 * 5, dtype=np.float32).reshape(7, 6, 5)
    node = make_volume(array, sheared)
    node.SetAndObserveTransformNodeID(make_transform(rotation).GetID())
    node.CreateDefaultDisplayNodes()
    return node


def attribution(image, method="integrated_gradients", **changed):
    """A map with no symmetry, negative in one corner and 0 in another."""
    volume = nodes.volume_from_node(image)
    values = volume.array.astype(np.float32) - 100
    values[0, :2, :2] = 0
    facts = {"method": method, "map": volume.with_array(values), "target": "class one", "score": 2.5,
             "provenance": PROVENANCE, "facts": {"baseline": "blur"}, "notes": ("Read me.",)}  # fmt: skip
    return Attribution(**{**facts, **changed})


def test_map_lies_on_its_image_voxel_for_voxel(image):
    made = attribution(image)

    node = explanation_maps.apply_map(made, image)

    np.testing.assert_allclose(nodes.affine_to_world(node), nodes.affine_to_world(image), atol=1e-6)
    np.testing.assert_array_equal(nodes.volume_from_node(node).array, made.map.array)
    assert node.GetTransformNodeID() == image.GetTransformNodeID()
    for index in ((0, 0, 0), (6, 2, 4), (3, 5, 1)):
        place = (nodes.affine_to_world(image) @ [*index, 1.0])[:3]
        assert explanation_views.value_at(node, tuple(place)) == pytest.approx(float(made.map.array[(0, *index)]))
    assert explanation_views.value_at(node, (900.0, 0.0, 0.0)) is None


def test_what_is_known_of_a_map_stands_on_its_node(image):
    measure = Measure("deletion", 0.2, 0.5, "good", "It falls.", CURVE)
    made = attribution(image, measures=(measure,), anatomy=(AnatomyShare("Liver", 0.6, 0.1, 3.0, 12.0),))

    view = explanation_maps.map_of(explanation_maps.apply_map(made, image))

    assert (view.method, view.target, view.score, view.signed) == ("integrated_gradients", "class one", 2.5, True)
    assert view.notes == ("Read me.",) and view.facts == {"baseline": "blur"}
    assert view.measures[0]["sentence"] == "It falls."
    again = Attribution.from_dict(explanation_report.attribution_of(view))
    assert again.measures == made.measures and again.anatomy == made.anatomy
    np.testing.assert_array_equal(again.map.array, made.map.array)
    assert explanation_maps.map_of(image) is None


@pytest.mark.parametrize(("signed", "threshold", "hidden"), [(True, 0.0, 2), (True, 0.5, 128), (False, 0.25, 64)])
def test_colors_are_transparent_around_zero(image, signed, threshold, hidden):
    made = attribution(image, signed=signed)
    node = explanation_maps.apply_map(made, image)

    explanation_maps.set_threshold(node, threshold)

    display = node.GetDisplayNode()
    lookup = display.GetColorNode().GetLookupTable()
    opacity = [lookup.GetTableValue(index)[3] for index in range(lookup.GetNumberOfTableValues())]
    assert set(opacity) == {0.0, 1.0}
    assert abs(opacity.count(0.0) - hidden) <= 2
    assert opacity[-1] == 1.0 and opacity[128 if signed else 0] == 0.0
    assert display.GetWindowLevelMin() == pytest.approx(-display.GetWindowLevelMax() if signed else 0.0)
    assert explanation_maps.threshold_of(node) == pytest.approx(threshold)


def test_scale_leaves_out_single_voxels_and_zeros(image):
    values = np.zeros((1, 40, 40, 40), np.float32)
    values[0, :20] = 1.0
    values[0, 0, 0, 0] = 1000.0

    assert explanation_maps.scale_of(values) == pytest.approx(1.0)
    assert explanation_maps.scale_of(np.zeros((1, 3, 3, 3), np.float32)) == 1.0


def test_legend_tells_method_and_target(image):
    node = explanation_maps.apply_map(attribution(image), image)

    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(node)
    assert legend.GetVisibility()
    assert legend.GetTitleText().splitlines()[-1] == "class one"


def test_tables_tell_shares_and_measures(image):
    shares = (AnatomyShare("Liver", 0.62, 0.1, 3.0, 12.0), AnatomyShare("outside all", 0.38, 0.9, 0.5, 90.0))
    measures = (Measure("deletion", 0.2, 0.5, "good", "It falls.", CURVE), Measure("overlap", 0.4, None, "", "Some."))
    made = attribution(image, anatomy=shares, measures=measures)
    node = explanation_maps.apply_map(made, image)

    explanation_tables.apply_tables(node, image, made.to_dict())

    written = node.GetNodeReference(explanation_tables.ANATOMY_ROLE)
    headings, rows = table.values(written)
    assert headings == ["Structure", "For [%]", "Against [%]", "Density", "Volume [ml]"]
    assert rows[0] == ["Liver", pytest.approx(62.0), pytest.approx(10.0), 3.0, 12.0]
    assert "Liver" in written.GetAttribute(table.SENTENCE)
    _headings, rows = table.values(node.GetNodeReference(explanation_tables.MEASURES_ROLE))
    assert [row[0] for row in rows] == ["deletion", "overlap"]
    assert np.isnan(rows[1][2])
    chart = explanation_tables.chart_of(node)
    series = chart.GetNthPlotSeriesNode(0)
    content = series.GetTableNode().GetTable()
    drawn = [content.GetColumnByName(name) for name in (series.GetXColumnName(), series.GetYColumnName())]
    assert tuple(zip(*([array.GetValue(n) for n in range(3)] for array in drawn), strict=True)) == CURVE

    unsigned = attribution(image, anatomy=shares, signed=False)
    explanation_tables.apply_tables(node, image, unsigned.to_dict())

    headings, _rows = table.values(node.GetNodeReference(explanation_tables.ANATOMY_ROLE))
    assert "Against [%]" not in headings
    assert node.GetNodeReference(explanation_tables.MEASURES_ROLE) is None
    assert explanation_tables.chart_of(node) is None


def test_curves_of_other_axes_have_a_plot_of_their_own(image):
    names = ("deletion", "randomization", "insertion")
    made = attribution(image, measures=tuple(Measure(name, 0.2, None, "", "So.", CURVE) for name in names))
    node = explanation_maps.apply_map(made, image)

    explanation_tables.apply_tables(node, image, made.to_dict())

    chart = explanation_tables.chart_of(node)
    charts = slicer.util.getNodesByClass("vtkMRMLPlotChartNode")
    drawn = {one.GetXAxisTitle(): [one.GetNthPlotSeriesNode(n).GetYColumnName()
             for n in range(one.GetNumberOfPlotSeriesNodes())] for one in charts}  # fmt: skip
    assert drawn == {
        "Share of the voxels, those with most evidence first": ["deletion", "insertion"],
        "Share of the layers with random weights": ["randomization"],
    }
    assert chart.GetYAxisTitle() == "Share of the score"


def test_a_measure_without_a_figure_is_a_gap_in_the_table(image):
    made = attribution(image, measures=(Measure("randomization", None, None, "", "It could not be tried."),))
    node = explanation_maps.apply_map(made, image)

    explanation_tables.apply_tables(node, image, made.to_dict())

    _headings, rows = table.values(node.GetNodeReference(explanation_tables.MEASURES_ROLE))
    assert rows[0][0] == "randomization" and np.isnan(rows[0][1])


@pytest.mark.parametrize("change", ["{", "[]", '{"method": "x"}', None])
def test_a_map_whose_facts_cannot_be_read_is_an_ordinary_volume(image, change):
    node = explanation_maps.apply_map(attribution(image), image)
    if change is None:  # of a later version, which tells more
        said = json.loads(node.GetAttribute(explanation_maps.EXPLANATION))
        node.SetAttribute(explanation_maps.EXPLANATION, json.dumps({**said, "more": 1}))
        assert explanation_maps.map_of(node).target == "class one"
        return
    node.SetAttribute(explanation_maps.EXPLANATION, change)
    assert explanation_maps.map_of(node) is None
    assert explanation_maps.maps_of(image) == []


def test_second_row_comes_back_after_another_layout(image, scene, monkeypatch):
    monkeypatch.setattr(explanation_views, "_process_events", lambda: None)
    layout = scene.AddNewNodeByClass("vtkMRMLLayoutNode")
    layout.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    views = [explanation_maps.map_of(explanation_maps.apply_map(attribution(image, method), image))
             for method in ("saliency", "occlusion")]  # fmt: skip
    sides = explanation_views.SideBySide()
    sides.show(*views, 0.5)
    layout.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUp3DView)  # by the user
    assert not sides.isOn

    sides.show(*reversed(views), 0.5)

    assert sides.isOn
    sides.hide()
    assert layout.GetViewArrangement() == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView


@pytest.mark.parametrize("broken", ["{", "[]", '"x"', ""])
def test_where_it_comes_from_may_be_unreadable(image, broken):
    node = explanation_maps.apply_map(attribution(image), image)
    assert provenance.read(node)["model"]

    node.SetAttribute("MedDL.Provenance", broken)

    assert provenance.read(node) is None
    again = explanation_maps.former_of(attribution(image), image, [])
    assert again is None and explanation_report.attribution_of(explanation_maps.map_of(node))["provenance"] == {}


def test_same_question_writes_into_the_former_map(image, make_volume, scene):
    run = ExplanationRun(image, "any", ["integrated_gradients"])
    result = {"attributions": [attribution(image).to_dict()], "agreement": []}
    first = run.apply(result)[0]

    again = run.apply({"attributions": [attribution(image, score=9.0).to_dict()], "agreement": []})[0]
    other = run.apply({"attributions": [attribution(image, target="class two").to_dict()], "agreement": []})[0]

    assert again is first and explanation_maps.map_of(first).score == 9.0
    assert other is not first
    assert [view.node for view in explanation_maps.maps_of(image)] == [other, first]
    views = explanation_report.same_question(explanation_maps.map_of(first))
    assert [view.node for view in views] == [first]


def test_failure_leaves_the_scene_as_it_was(image, scene, monkeypatch):
    run = ExplanationRun(image, "any", ["integrated_gradients", "occlusion"])
    first = run.apply({"attributions": [attribution(image).to_dict()]})[0]
    said, count = first.GetAttribute(explanation_maps.EXPLANATION), scene.GetNumberOfNodes()
    written = []

    def fail(*_args):
        if written:
            raise RuntimeError("no more")
        written.append(True)

    monkeypatch.setattr(explanation_tables, "apply_tables", fail)
    brighter = attribution(image)
    brighter = attribution(image, map=brighter.map.with_array(brighter.map.array * 10))
    broken = [brighter.to_dict(), attribution(image, "occlusion").to_dict()]
    with pytest.raises(RuntimeError, match="no more"):
        run.apply({"attributions": broken})

    assert scene.GetNumberOfNodes() == count
    assert first.GetAttribute(explanation_maps.EXPLANATION) == said
    assert first.GetDisplayNode().GetWindowLevelMax() == pytest.approx(explanation_maps.map_of(first).greatest)


def test_removed_image_discards_the_explanation(image, scene):
    from meddl.errors import VolumeError

    run = ExplanationRun(image, "any", ["integrated_gradients"])
    result = {"attributions": [attribution(image).to_dict()]}
    scene.RemoveNode(image)
    count = scene.GetNumberOfNodes()

    with pytest.raises(VolumeError, match="removed"):
        run.apply(result)

    assert scene.GetNumberOfNodes() == count


def test_map_comes_back_with_the_scene(image, scene, tmp_path):
    made = attribution(image, anatomy=(AnatomyShare("Liver", 0.6, 0.1, 3.0, 12.0),))
    node = explanation_maps.apply_map(made, image)
    explanation_tables.apply_tables(node, image, made.to_dict())
    explanation_maps.set_threshold(node, 0.5)
    assert scene.WriteToMRB(str(tmp_path / "scene.mrb"))
    scene.Clear(False)

    assert scene.ReadFromMRB(str(tmp_path / "scene.mrb"), False)

    view = explanation_maps.maps_of(None)[0]
    assert (view.target, view.score, explanation_maps.threshold_of(view.node)) == ("class one", 2.5, 0.5)
    lookup = view.node.GetDisplayNode().GetColorNode().GetLookupTable()
    opacity = [lookup.GetTableValue(index)[3] for index in range(256)]
    assert abs(opacity.count(0.0) - 128) <= 2
    assert view.node.GetNodeReference(explanation_maps.SOURCE_ROLE).GetName() == "T1"
    assert explanation_maps.companions(view.node)
