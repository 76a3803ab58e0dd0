"""Exports of the scene's cases: what is known, planned and written, step by step, and the table kept with the scene."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import slicer.util
from meddl.datasets import ClassLabel, ExportOptions, ImageFile
from meddl.datasets.facts import CaseFacts, ChannelFacts, StructureFacts
from meddl.errors import JobCancelled, UsageError, VolumeError
from meddl.jobs import InlineRunner
from meddl_slicer import export_cases, export_plots, export_storage, export_suggestions
from meddl_slicer.export_cases import CaseRow, SceneLabel
from meddl_slicer.export_run import JobChain, Step, run_all
from meddl_slicer.export_work import ExportWork, KnownCases


@pytest.fixture
def make_case(scene, make_volume):
    """Return a factory of cases: a volume with a bright block that is segmented."""

    def make(name, seed=0, shape=(12, 11, 10)):
        values = np.random.default_rng(seed).normal(0, 20, shape).astype(np.int16)
        mask = np.zeros(shape, np.uint8)
        mask[3:8, 3:7, 2 : 6 + seed % 3] = 1
        affine = np.diag([-1.5, -1.5, 2.0, 1.0])
        affine[:3, 3] = 10, seed, -5
        volume = make_volume(values + 200 * mask, affine, name)
        node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", f"{name} labels")
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        identifier = node.GetSegmentation().AddEmptySegment("Organ", "Organ")
        array = np.ascontiguousarray(mask.transpose(2, 1, 0))
        slicer.util.updateSegmentBinaryLabelmapFromArray(array, node, identifier, volume)
        return volume, node, mask

    return make


def suggested():
    return [row.changed(key=key) for key, row in enumerate(export_suggestions.suggest("segmentation"), 1)]


def known_cases(rows):
    known = KnownCases()
    run_all(InlineRunner(), known.look_steps(rows))
    return known


def test_exported_label_overlays_the_segmentation_voxel_for_voxel(make_case, tmp_path):
    from meddl.volume import read_volume

    masks = {name: make_case(name, seed)[2] for seed, name in enumerate(("A", "B"))}
    rows = suggested()
    known = known_cases(rows)
    work = ExportWork(rows, known, ExportOptions(name="Test"), tmp_path / "out")
    work.plan()
    run_all(InlineRunner(), work.write_steps())

    assert len(work.done) == 2 and not work.failed
    assert work.verification["complete"]
    names = {case.id: case.name for case in work.planning.plan.cases}
    for case, mask in masks.items():
        label = read_volume(work.planning.root / "labelsTr" / f"{names[case]}.nii.gz")
        node = slicer.util.getNode(case)
        from meddl_slicer.nodes import affine_to_world

        places = np.argwhere(label.array[0] > 0) @ label.affine[:3, :3].T + label.affine[:3, 3]
        index = np.linalg.solve(affine_to_world(node)[:3, :3], (places - affine_to_world(node)[:3, 3]).T).T
        found = np.zeros(mask.shape, np.uint8)
        found[tuple(np.round(index).astype(int).T)] = 1
        np.testing.assert_array_equal(found, mask)


def test_what_is_known_holds_until_the_case_changes(make_case):
    volume, segmentation, _mask = make_case("A")
    rows = suggested()
    known = known_cases(rows)
    assert known.look_steps(rows) == []
    assert known.facts(rows[0].changed(name="Other")).id == "Other"

    segmentation.CreateClosedSurfaceRepresentation()
    assert known.facts(rows[0]) is not None, "looking at it in 3D changes no voxel"
    slicer.util.arrayFromVolume(volume)[0, 0, 0] = 7
    slicer.util.arrayFromVolumeModified(volume)
    assert known.facts(rows[0]) is None


def test_case_that_changes_during_the_export_is_left_out(make_case, tmp_path):
    for seed, name in enumerate(("A", "B")):
        make_case(name, seed)
    rows = suggested()
    work = ExportWork(rows, known_cases(rows), ExportOptions(), tmp_path / "out")
    work.plan()
    steps = work.write_steps()
    slicer.util.getNode("B labels").GetSegmentation().GetNthSegment(0).SetName("Other")

    run_all(InlineRunner(), steps)

    assert len(work.done) == 1
    assert "changed while the export was running" in work.failed[rows[1].key]


def test_dry_run_tells_cases_and_writes_nothing(make_case, tmp_path):
    make_case("A")
    rows = suggested()
    work = ExportWork(rows, known_cases(rows), ExportOptions(), tmp_path / "out")
    text = "\n".join(work.lines())
    assert "1 cases of 1 patients" in text and "Nothing was written." in text
    assert not (tmp_path / "out").exists()


def test_key_in_the_dataset_is_refused_before_anything_is_written(make_case, tmp_path):
    make_case("A")
    rows = suggested()
    options = ExportOptions()
    root = ExportWork(rows, known_cases(rows), options, tmp_path).plan().root
    work = ExportWork(rows, known_cases(rows), options, tmp_path, key=root / "key.csv")
    with pytest.raises(UsageError, match="key"):
        work.plan()
    assert not root.exists()


def test_what_the_hierarchy_says_of_a_person_is_not_written(make_case, scene, tmp_path):
    volume, node, _mask = make_case("A")
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "One")
    hierarchy.SetItemAttribute(patient, "DICOM.PatientName", "Mustermann^Erika")
    hierarchy.SetItemUID(patient, "DICOM", "PID-4711")
    hierarchy.CreateItem(patient, volume)
    node.GetSegmentation().GetNthSegment(0).SetName("Liver of Mustermann")
    rows = suggested()
    known = known_cases(rows)
    assert {"Mustermann^Erika", "PID-4711"} <= set(known.facts(rows[0]).seen)
    with pytest.raises(UsageError, match="who its patients are"):
        ExportWork(rows, known, ExportOptions(), tmp_path / "out").plan()


def test_segmentation_without_voxels_is_told_at_the_case(make_case, scene, tmp_path):
    make_case("A")
    volume, node, _mask = make_case("B", 1)
    node.GetSegmentation().RemoveAllSegments()
    rows = suggested()
    work = ExportWork(rows, known_cases(rows), ExportOptions(), tmp_path / "out")
    work.plan()
    run_all(InlineRunner(), work.write_steps())
    assert len(work.done) == 1
    assert "has no segments" in work.failed[next(row.key for row in rows if row.uses(volume))]


class Panel:
    """A job panel that runs each job at once."""

    def __init__(self):
        self.parts, self.isRunning, self.abandoned = [], False, False

    def run(self, task, params, onFinished, part, what):
        self.parts.append((*part, what))
        runner = InlineRunner()
        job = runner.submit(task, params)
        try:
            job.wait()
        except Exception:
            pass
        onFinished(job)

    def abandon(self):
        self.abandoned = True


def step(done, *, fails=None, goes_on=True, make=None):
    def failed(error):
        fails.append(error.message)
        return goes_on

    return Step(
        make or (lambda: ("meddl.jobs.tasks:about", {})), "step", done.append, failed if fails is not None else None
    )


def broken():
    raise VolumeError("This one is broken.")


def test_chain_goes_on_behind_a_case_that_fails():
    panel, done, fails, ends = Panel(), [], [], []
    JobChain(panel).run([step(done), step(done, fails=fails, make=broken), step(done)], ends.append, (0.3, 0.9))
    assert len(done) == 2 and fails == ["This one is broken."] and ends == [None]
    assert [round(part[0], 3) for part in panel.parts] == [0.3, 0.7]
    assert round(panel.parts[-1][1], 3) == 0.9


def test_chain_ends_where_the_others_make_no_sense():
    for goes_on, fails in ((False, []), (True, None)):
        done, ends = [], []
        steps = [step(done, fails=fails, goes_on=goes_on, make=broken), step(done)]
        JobChain(Panel()).run(steps, ends.append)
        assert done == [] and [error.message for error in ends] == ["This one is broken."]


def test_cancelled_chain_ends():
    def cancel():
        raise JobCancelled("Cancelled.")

    done, fails, ends = [], [], []
    JobChain(Panel()).run([step(done, fails=fails, make=cancel), step(done)], ends.append)
    assert done == [] and fails == [] and isinstance(ends[0], JobCancelled)


def test_a_thousand_failures_do_not_pile_up():
    fails, ends = [], []
    JobChain(Panel()).run([step([], fails=fails, make=broken) for _ in range(2000)], ends.append)
    assert len(fails) == 2000 and ends == [None]


def test_abandoned_chain_tells_nobody():
    panel, ends = Panel(), []
    chain = JobChain(panel)
    chain.run([Step(lambda: ("meddl.jobs.tasks:about", {}), "", lambda result: chain.abandon())], ends.append)
    assert ends == [] and panel.abandoned and not chain.isRunning


def test_table_of_cases_comes_back_without_names(make_case, make_volume, tmp_path):
    volume, node, _mask = make_case("A")
    rows = [
        CaseRow(
            "A", {"CT": volume}, SceneLabel("segmentation", (node,)), "Mustermann^Erika", "1.2.3", "Site A", "test"
        ),
        CaseRow("Mustermann 2", {"CT": ImageFile(tmp_path / "b.nii.gz")}, None, "Mustermann^Erika", included=False),
        CaseRow("C", {"CT": ImageFile(tmp_path / "path.nrrd", None, "member")}, ClassLabel(("x",)), "Other"),
        CaseRow("D", {"CT": None}, None),
    ]
    text, nodes = export_storage.to_text(rows)
    assert "Mustermann" not in text and "1.2.3" not in text and "Other" not in text and str(tmp_path) not in text

    back = export_storage.from_text(text, nodes)

    # Cases from files stay with the session: where they lie may name people.
    assert [row.name for row in back] == ["A", "D"]
    assert back[0].patient and back[1].patient == ""
    assert back[0].nodes == (volume, node) and back[0].split == "test" and back[0].site == "Site A"
    assert back[1].images == {"CT": None}


@pytest.mark.parametrize("text", ["", "nonsense", "{}", '{"cases": [{}]}', '{"cases": 3}', "[]"])
def test_scene_that_holds_nonsense_holds_no_cases(scene, text):
    assert export_storage.from_text(text, []) == []


def test_node_that_is_gone_comes_back_as_nothing(make_case):
    volume, node, _mask = make_case("A")
    text, _nodes = export_storage.to_text([CaseRow("A", {"CT": volume}, SceneLabel("segmentation", (node,)))])
    row = export_storage.from_text(text, [None, None])[0]
    assert row.images == {"CT": None} and row.label is None
    assert export_cases.missing(row)


def facts(index):
    channel = ChannelFacts(
        (4, 4, 4), (1.0, 1.0, 9.0 if index == 7 else 2.0), "RAS", "CT", "int16", 0, 9, 5, 1.0, 5.0, 9.0, 0, str(index)
    )
    structures = [StructureFacts("liver", "Liver", "", (1, 0, 0), 10, 50.0 + index, 1, 0)]
    if index % 2:
        structures.append(StructureFacts("cyst", "Cyst", "", (0, 1, 0), 2, 0.5, 1, 0))
    return CaseFacts(f"case {index}", "segmentation", {"CT": channel}, tuple(structures))


@pytest.mark.parametrize("kind", export_plots.KINDS)
def test_plots_show_every_case_and_leave_no_trace(scene, kind):
    before = scene.GetNumberOfNodes()
    plot = export_plots.QualityPlot()
    chart = plot.show(kind, [facts(index) for index in range(8)])

    names = [chart.GetNthPlotSeriesNode(index).GetName() for index in range(chart.GetNumberOfPlotSeriesNodes())]
    table = chart.GetNthPlotSeriesNode(0).GetTableNode()
    assert table.GetNumberOfRows() >= 8
    assert not table.GetSaveWithScene() and not chart.GetSaveWithScene()
    assert {"spacing": "third axis", "volumes": "Cyst", "intensity": "median"}[kind] in names
    assert ("stands out" in names) == (kind == "spacing")
    plot.show(kind, [])
    plot.hide()
    assert scene.GetNumberOfNodes() == before


def test_layout_comes_back_unless_the_user_has_changed_it(scene):
    layout = scene.AddNewNodeByClass("vtkMRMLLayoutNode")
    layout.SetViewArrangement(layout.SlicerLayoutFourUpView)
    plot = export_plots.QualityPlot()
    plot.show("spacing", [facts(1)])
    plot._layout._shown = layout.SlicerLayoutFourUpPlotView  # what showing it does where there are views
    layout.SetViewArrangement(layout.SlicerLayoutFourUpPlotView)
    plot.hide()
    assert layout.GetViewArrangement() == layout.SlicerLayoutFourUpView

    plot.show("spacing", [facts(1)])
    plot._layout._shown = layout.SlicerLayoutFourUpPlotView
    layout.SetViewArrangement(layout.SlicerLayoutOneUp3DView)
    plot.hide()
    assert layout.GetViewArrangement() == layout.SlicerLayoutOneUp3DView
