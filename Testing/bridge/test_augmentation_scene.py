"""Variants and simulated scans in a real MRML scene: what is sent, where they lie, what stands on them."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import slicer.util
from meddl.augmentation import Draw, Sample, load_plan, replay, sides_of_segments
from meddl.errors import VolumeError
from meddl.jobs import InlineRunner
from meddl.volume import Grid, Segment
from meddl_slicer import augmentation_pictures as pictures
from meddl_slicer import nodes
from meddl_slicer.augmentation_case import SceneCase
from meddl_slicer.augmentation_plan import EditedPlan, parameter_title, slider_range
from meddl_slicer.augmentation_run import VariantRun, draw_of
from meddl_slicer.augmentation_slices import slice_in_view
from meddl_slicer.export_suggestions import suggest
from meddl_slicer.provenance import is_synthetic
from meddl_slicer.simulation_run import SimulationRun

SIDES = ("Left kidney", "Right kidney")


@pytest.fixture
def image(make_volume, make_transform, sheared, rotation):
    """An image in an awkward frame, below a transform."""
    array = np.random.default_rng(3).normal(100, 10, (20, 18, 12)).astype(np.int16)
    array[3:8, 5:12, 3:9] += 100
    array[13:18, 5:12, 3:9] += 100
    node = make_volume(array, sheared)
    node.SetAndObserveTransformNodeID(make_transform(rotation).GetID())
    node.CreateDefaultDisplayNodes()
    return node


@pytest.fixture
def kidneys(image):
    """Two segments, each in a layer of its own, below the image's transform."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Kidneys")
    node.SetReferenceImageGeometryParameterFromVolumeNode(image)
    node.SetAndObserveTransformNodeID(image.GetTransformNodeID())
    node.CreateDefaultDisplayNodes()
    for name, start in zip(SIDES, (3, 13), strict=True):
        mask = np.zeros((12, 18, 20), np.uint8)
        mask[3:9, 5:12, start : start + 5] = 1
        key = node.GetSegmentation().AddEmptySegment(name, name, (0.2, 0.4, start / 20))
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, key, image)
    return node


def made(run):
    return run.apply(InlineRunner().submit(run.task, run.params()).wait())


class TestCase:
    def test_its_key_tells_changes_of_voxels_place_and_names(self, image, kidneys):
        case = SceneCase([image], kidneys)
        keys = [case.key]
        assert case.key == keys[0]

        slicer.util.arrayFromVolume(image)[0, 0, 0] += 1
        slicer.util.arrayFromVolumeModified(image)
        keys.append(case.key)
        image.SetAndObserveTransformNodeID(None)
        keys.append(case.key)
        kidneys.GetSegmentation().GetNthSegment(0).SetName("Kidney")
        keys.append(case.key)

        assert len(set(keys)) == 4

    def test_nothing_is_copied_of_one_layer(self, image, kidneys):
        kidneys.GetSegmentation().CollapseBinaryLabelmaps(False)

        sample = SceneCase([image], kidneys).sample()

        layer = kidneys.GetSegmentation().GetLayerDataObject(0, "Binary labelmap")
        from meddl_slicer.export_labels import _array

        assert np.shares_memory(sample["labels"].array, _array(layer))
        assert np.shares_memory(sample["images"]["T1"].array, slicer.util.arrayFromVolume(image))

    def test_what_left_the_scene_is_refused(self, image, kidneys):
        case = SceneCase([image], kidneys)
        slicer.mrmlScene.RemoveNode(kidneys)

        with pytest.raises(VolumeError, match="removed"):
            case.sample()

    def test_images_of_one_name_are_told_apart(self, make_volume):
        two = [make_volume(np.zeros((3, 3, 3), np.float32), name="T1") for _ in range(2)]
        two[1].SetName("T1")

        assert list(SceneCase(two).images) == ["T1", "T1 (2)"]


class TestVariant:
    def test_lies_beside_its_source_and_says_what_it_is(self, image, kidneys):
        what = {"plan": load_plan("mr").to_dict(), "seed": 5, "number": 1}
        run = VariantRun(SceneCase([image], kidneys), what, "variant 2")

        (node,) = made(run)

        assert (node.GetName(), run.segmentation.GetName()) == ("T1 variant 2", "Kidneys variant 2")
        np.testing.assert_allclose(nodes.affine_to_world(node), nodes.affine_to_world(image), atol=1e-9)
        assert node.GetTransformNodeID() == run.segmentation.GetTransformNodeID() == image.GetTransformNodeID()
        assert is_synthetic(node)
        assert is_synthetic(run.segmentation)
        assert not is_synthetic(image)
        assert node.GetNodeReference("MedDL.source") is image
        segmentation = run.segmentation.GetSegmentation()
        assert [segmentation.GetNthSegment(n).GetName() for n in range(2)] == list(SIDES)
        assert segmentation.GetNthSegment(1).GetColor() == pytest.approx((0.2, 0.4, 13 / 20))

    def test_its_record_makes_it_again(self, image, kidneys):
        what = {"plan": load_plan("mr").to_dict(), "seed": 5, "number": 1}
        run = VariantRun(SceneCase([image], kidneys), what, "variant")
        (node,) = made(run)
        labels = np.zeros((1, 20, 18, 12), np.uint8)
        labels[0, 3:8, 5:12, 3:9], labels[0, 13:18, 5:12, 3:9] = 1, 2
        source = nodes.volume_from_node(image)
        segments = [Segment(n, name, (0, 0, 0)) for n, name in enumerate(SIDES, 1)]
        sample = Sample({"T1": source}, source.with_array(labels), sides=sides_of_segments(segments))

        again = replay(sample, Draw.from_dict(draw_of(node)))

        np.testing.assert_array_equal(again.images["T1"].array, nodes.volume_from_node(node).array)
        for value, name in enumerate(SIDES, 1):
            key = run.segmentation.GetSegmentation().GetSegmentIdBySegmentName(name)
            found = slicer.util.arrayFromSegmentBinaryLabelmap(run.segmentation, key, node).transpose(2, 1, 0) > 0
            np.testing.assert_array_equal(found, again.labels.array[0] == value)

    def test_a_mirror_exchanges_the_names_of_the_sides(self, image, kidneys):
        plan = {"transforms": [{"transform": "flip", "axis": "left-right"}]}
        run = VariantRun(SceneCase([image], kidneys), {"plan": plan, "seed": 0, "number": 0}, "mirrored")

        (node,) = made(run)

        mask = nodes.volume_from_node(node).array[0] > 150
        left = run.segmentation.GetSegmentation().GetSegmentIdBySegmentName("Left kidney")
        found = slicer.util.arrayFromSegmentBinaryLabelmap(run.segmentation, left, node).transpose(2, 1, 0) > 0
        assert found[mask].sum() > 100
        assert found[:10].any()  # the frame is mirrored, and "left" stays where it was

    def test_is_no_case_to_export_unless_the_user_wants_it(self, image, kidneys):
        made(VariantRun(SceneCase([image], kidneys), {"plan": load_plan("mr").to_dict(), "seed": 5, "number": 1}, "v"))

        rows = {row.name: row for row in suggest("segmentation")}

        assert rows["T1"].included
        assert not rows["T1 v"].included
        assert "synthetic" in rows["T1 v"].notes[-1]

    def test_nothing_is_left_of_one_that_cannot_be_shown(self, image, kidneys, monkeypatch):
        run = VariantRun(SceneCase([image], kidneys), {"plan": load_plan("mr").to_dict(), "seed": 0, "number": 0}, "v")
        result = InlineRunner().submit(run.task, run.params()).wait()
        before = slicer.mrmlScene.GetNumberOfNodes()
        slicer.mrmlScene.RemoveNode(kidneys)

        with pytest.raises(VolumeError, match="removed"):
            run.apply(result)
        assert slicer.mrmlScene.GetNumberOfNodes() < before


@pytest.fixture
def view(scene):
    """A slice view that knows its orientations."""
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene)
    return scene.AddNewNodeByClass("vtkMRMLSliceNode")


class TestSlices:
    @pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
    def test_the_picture_is_turned_as_the_view_shows_it(self, view, order):
        """An axial view has the patient's right on the left, and the front on top."""
        view.SetOrientationToAxial()
        affine = np.eye(4)
        affine[:3, :3] = np.diag([1.0, -1.0, 1.0])[:, order]
        array = np.zeros((1, 5, 6, 7))
        grid = Grid((5, 6, 7), affine)
        world = np.stack(np.meshgrid(*map(np.arange, (5, 6, 7)), indexing="ij"), -1) @ affine[:3, :3].T
        array[0] = world[..., 0] + 100 * world[..., 1]
        view.SetSliceOffset(2.0)

        choice = slice_in_view(grid, view)

        assert choice.index == 2
        part = array[(slice(None), *(slice(2, 3) if axis == choice.axis else slice(None) for axis in range(3)))]
        picture = choice.laid_out(part)[0]
        assert (np.diff(picture, axis=1) == -1).all()  # R falls to the right
        assert (np.diff(picture, axis=0) == -100).all()  # A falls downwards

    def test_a_tilted_view_is_told_and_beyond_the_image_the_last_slice_counts(self, view, sheared):
        view.SetOrientationToSagittal()
        view.SetSliceOffset(1e4)

        choice = slice_in_view(Grid((5, 6, 7), sheared), view)

        assert choice.axis == 0
        assert choice.index in (0, 4)
        assert choice.isTilted

    def test_a_picture_is_seen_from_any_side(self, view):
        view.SetOrientationToCoronal()

        assert slice_in_view(Grid((5, 6, 1), np.eye(4)), view).axis == 2


class TestPictures:
    def test_gray_values_and_colors(self):
        assert pictures.gray_picture(np.array([[[0.0, 50.0, 200.0]]]), (0.0, 100.0))[0, :, 0].tolist() == [0, 127, 255]
        assert pictures.gray_picture(np.array([[[9]], [[8]], [[7]]], np.uint8), (0, 255)).tolist() == [[[9, 8, 7]]]

    def test_outlines_lie_on_the_border_of_what_is_labeled(self):
        picture, labels = np.zeros((6, 6, 3), np.uint8), np.zeros((1, 6, 6), np.uint8)
        labels[0, 1:5, 1:5] = 3

        pictures.draw_outlines(picture, labels, [(0, 3, (1.0, 0.0, 0.0))])

        assert picture[1, 1].tolist() == [255, 0, 0]
        assert not picture[0].any()
        assert not picture[2:4, 2:4].any()

    def test_where_borders_meet_the_first_segment_lies_on_top(self):
        picture, labels = np.zeros((4, 4, 3), np.uint8), np.zeros((2, 4, 4), np.uint8)
        labels[0, 1:3, 1:3], labels[1, 1:3, 2:4] = 1, 2

        pictures.draw_outlines(picture, labels, [(1, 2, (0.0, 0.0, 1.0)), (0, 1, (1.0, 0.0, 0.0)), (2, 1, (1, 1, 1))])

        assert picture[1].tolist() == [[0, 0, 0], [255, 0, 0], [0, 0, 255], [0, 0, 255]]

    def test_differences_are_warm_where_brighter(self):
        source = np.zeros((1, 1, 3))
        shown = pictures.difference_picture(np.array([[[50.0, 0.0, -50.0]]]), source, (0.0, 100.0))

        assert shown[0, 0].tolist() == [255, 150, 60]
        assert not shown[0, 1].any()
        assert shown[0, 2, 2] == 255

    def test_qt_reads_it_without_decompressing(self):
        assert pictures.ppm(np.zeros((2, 3, 3), np.uint8)) == b"P6\n3 2\n255\n" + bytes(18)


class TestPlan:
    def test_what_is_switched_off_keeps_its_settings_and_is_no_part_of_the_plan(self):
        edited = EditedPlan.of(load_plan("ct"))
        noise = next(n for n, row in enumerate(edited.rows) if row.step.transform == "noise")

        off = EditedPlan.from_text(edited.with_row(noise, strength=(0.2, 0.3)).with_row(noise, on=False).text())

        assert edited.plan().digest == load_plan("ct").digest
        assert "noise" not in [step.transform for step in off.plan().steps]
        assert off.rows[noise].step.settings["strength"] == (0.2, 0.3)
        assert off.title == "CT, changed"
        assert len(edited.rows) == 16

    def test_text_of_something_else_is_no_plan(self):
        for text in ("", "{}", '{"rows": [{"transform": "magic"}]}', "[1]"):
            assert EditedPlan.from_text(text) is None

    def test_sliders_cover_what_is_usual_and_what_is_set(self):
        from meddl.augmentation import TRANSFORMS

        shift = next(each for each in TRANSFORMS["affine"].parameters if each.name == "shift_mm")
        order = next(each for each in TRANSFORMS["bias_field"].parameters if each.name == "order")

        assert (slider_range(shift, (-10, 10)).low, slider_range(shift, (-10, 10)).high) == (-80, 80)
        assert slider_range(shift, (-10, 300)).high == 300
        assert (slider_range(order, (3, 3)).low, slider_range(order, (3, 3)).decimals) == (1, 0)
        assert parameter_title(shift) == "Shift [mm]"


class TestSimulation:
    def test_a_scan_lies_on_its_source(self, image):
        run = SimulationRun(image, {"method": "rician", "snr": [10.0], "seed": 3})

        ((node, labels),) = run.apply(InlineRunner().submit(run.task, run.params).wait())

        assert labels is None
        assert (node.GetName(), node.GetAttribute("MedDL.Synthetic")) == ("T1 noisy", "simulation")
        np.testing.assert_allclose(nodes.affine_to_world(node), nodes.affine_to_world(image), atol=1e-9)

    def test_a_projection_has_the_labels_projected(self, image, kidneys):
        slicer.util.arrayFromVolume(image)[...] -= 1000
        slicer.util.arrayFromVolumeModified(image)
        options = {"method": "projection", "views": ["AP", "LL"], "size": [32, 24]}
        run = SimulationRun(image, options, kidneys)

        (_front, (side, labels)) = run.apply(InlineRunner().submit(run.task, run.params).wait())

        assert side.GetName() == "T1 X-ray LL"
        assert sorted(side.GetImageData().GetDimensions()) == [1, 24, 32]
        assert labels.GetSegmentation().GetNumberOfSegments() == 2
        assert labels.GetTransformNodeID() == side.GetTransformNodeID() == image.GetTransformNodeID()
        assert run.made[0][1] is not labels
