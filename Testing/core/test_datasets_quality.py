"""Looking at one case: digests, duplicates and facts; on real images where a package ships them."""

from __future__ import annotations

from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest
import realdata
from core.loaded_cases import RED, from_files, loaded
from core.phantoms import PLACES, SHEARED, axis_orders, numbered, reordered
from meddl.datasets.case import (
    BoxesLabel,
    Case,
    ClassLabel,
    LandmarksLabel,
    LoadedCase,
    SegmentationLabel,
)
from meddl.datasets.facts import CaseFacts
from meddl.datasets.image_digest import image_digest
from meddl.datasets.inspection import inspect_case
from meddl.datasets.quality import duplicates, remarks
from meddl.inference.prediction import Box, Landmark
from meddl.volume import Segment, Volume, read_volume


@pytest.mark.parametrize("place", [*PLACES, "sheared"])
def test_one_image_has_one_digest_in_all_axis_orders_and_data_types(place: str) -> None:
    image = numbered(PLACES.get(place, SHEARED))

    digests = {image_digest(reordered(image, *order)) for order in axis_orders()}
    digests |= {image_digest(image.with_array(image.array.astype(dtype))) for dtype in (np.float32, np.float64, ">i4")}

    assert digests == {image_digest(image)}


def test_mirrored_cropped_or_changed_images_are_others() -> None:
    image = numbered(np.eye(4))
    changed = image.array.copy()
    changed[0, 1, 2, 3] += 1

    others = [
        image.with_array(image.array[:, ::-1]),
        Volume(image.array[:, 1:], image.affine),
        image.with_array(changed),
    ]

    assert len({image_digest(each) for each in [image, *others]}) == 4


def test_zeros_and_missing_numbers_have_one_form() -> None:
    values = np.array([0.0, -0.0, np.nan, 1.0], np.float32).reshape(1, 1, 2, 2)
    other = values.copy()
    other.view(np.uint32)[0, 0, 0, 0] = 0x80000000
    other.view(np.uint32)[0, 0, 1, 0] = 0xFFC12345  # another of the many NaNs

    assert image_digest(Volume(values, np.eye(4))) == image_digest(Volume(other, np.eye(4)))


def test_the_same_image_as_integer_nifti_and_flipped_float_nrrd_is_found(tmp_path: Path) -> None:
    image = read_volume(realdata.tptbox()["sub-ct_label-22_ct"])
    array = np.rint(image.array).astype(np.int16)
    as_ras = nibabel.as_closest_canonical(nibabel.Nifti1Image(array[0], image.affine))
    nibabel.save(as_ras, tmp_path / "first.nii.gz")
    flipped = reordered(image.with_array(array.astype(np.float32)), (2, 0, 1), (-1, 1, -1))
    lps = np.diag([-1, -1, 1, 1]) @ flipped.affine
    header = {"space": "left-posterior-superior", "space directions": lps[:3, :3].T, "space origin": lps[:3, 3]}
    nrrd.write(str(tmp_path / "second.nrrd"), flipped.array[0], header)
    others = read_volume(realdata.tptbox()["sub-mri_label-6_T2w"])

    read = {name: read_volume(tmp_path / name) for name in ("first.nii.gz", "second.nrrd")}
    facts = [inspect_case(loaded(volume, name=name)) for name, volume in {**read, "other": others}.items()]

    assert {volume.array.dtype for volume in read.values()} == {np.dtype(np.int16), np.dtype(np.float32)}
    assert {volume.orientation for volume in read.values()} != {"RAS"}
    assert duplicates(facts) == (("first.nii.gz", "second.nrrd"),)
    assert "image in common with second.nrrd" in " ".join(remarks(facts)["first.nii.gz"])


def test_one_channel_in_common_is_enough_but_empty_channels_are_not() -> None:
    images = [Volume(np.random.default_rng(n).normal(size=(1, 4, 4, 4)), np.eye(4)) for n in range(4)]
    empty = Volume(np.zeros((1, 4, 4, 4)), np.eye(4))
    channels = {"a": (images[0], images[1]), "b": (images[1], empty), "c": (images[2], empty), "d": (empty, images[3])}

    facts = [inspect_case(LoadedCase(Case(name, dict(enumerate(pair))), dict(enumerate(pair))))
             for name, pair in channels.items()]  # fmt: skip

    assert duplicates(facts) == (("a", "b"),)


def test_statistics_agree_with_numpy_for_integers_and_floats() -> None:
    rng = np.random.default_rng(0)
    for values in (
        rng.integers(-3000, 3000, (1, 20, 21, 22)).astype(np.int16),
        rng.integers(0, 255, (1, 20, 21, 22)).astype(np.uint8),
        rng.integers(-70000, 70000, (1, 20, 21, 22)).astype(np.int32),
        rng.normal(size=(1, 20, 21, 22)).astype(np.float32),
    ):
        channel = inspect_case(loaded(Volume(values, np.eye(4)))).channels["image"]

        assert (channel.minimum, channel.maximum) == (values.min(), values.max())
        assert channel.mean == pytest.approx(values.mean(dtype=np.float64), rel=1e-5)
        assert (channel.p1, channel.p50, channel.p99) == pytest.approx(np.percentile(values, (1, 50, 99)), rel=1e-5)
        assert channel.dtype == values.dtype.name


def test_values_that_are_no_numbers_are_counted_and_told() -> None:
    array = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)
    array[0, 0, 0, :3] = np.nan, np.inf, -np.inf

    facts = inspect_case(loaded(Volume(array, np.eye(4))))
    nothing = inspect_case(loaded(Volume(np.full((1, 2, 2, 2), np.nan), np.eye(4))))

    assert facts.channels["image"].not_finite == 3
    assert facts.channels["image"].minimum == 3.0
    assert facts.warnings == ('Image "image" has 3 voxels that are no numbers.',)
    assert nothing.problems == ('Image "image" holds no numbers. Choose another file.',)


def test_structures_are_measured_and_debris_told() -> None:
    affine = np.diag([0.5, 2.0, 4.0, 1.0])
    labels = np.zeros((10, 10, 10), np.uint8)
    labels[1:4, 1:4, 1:4] = 1
    labels[4, 4, 4] = 1  # touches by its corner: the same piece
    labels[8, 8, 8] = 1
    labels[6:8, 1:3, 1] = 2
    segments = (Segment(1, "Liver", RED), Segment(2, "Spleen", RED), Segment(3, "Cyst", RED))

    facts = inspect_case(loaded(numbered(affine, (10, 10, 10)), labels, segments))

    liver, spleen, cyst = facts.structures
    assert (liver.voxels, liver.components, liver.debris_voxels) == (29, 2, 1)
    assert liver.volume_ml == pytest.approx(29 * 4 / 1000)
    assert (spleen.voxels, spleen.components, spleen.debris_voxels) == (4, 1, 0)
    assert (cyst.voxels, cyst.components) == (0, 0)
    assert facts.warnings == ("Empty: Cyst.", "Pieces of one voxel in: Liver.")


def test_overlaps_are_counted_by_what_exactly_overlaps() -> None:
    labels = np.zeros((3, 4, 4, 4), np.uint8)
    labels[0, :2] = 1
    labels[1, 1:3] = 1
    labels[2, 1, 0] = 1
    segments = tuple(Segment(1, name, RED, layer=layer) for layer, name in enumerate(("Kidney", "Tumor", "Vessel")))

    facts = inspect_case(loaded(numbered(np.eye(4), (4, 4, 4)), labels, segments))

    assert facts.combinations == {("kidney", "tumor"): 12, ("kidney", "tumor", "vessel"): 4}
    assert "Structures overlap in 16 voxels." in facts.warnings


def test_a_label_that_reaches_beyond_the_image_is_told_to_the_voxel() -> None:
    image = numbered(PLACES["oblique"], (8, 8, 8))
    shift = np.eye(4)
    shift[0, 3] = 3
    labels = Volume(np.ones((1, 8, 8, 8), np.uint8), image.affine @ shift)
    away = Volume(labels.array, image.affine @ np.array([[1, 0, 0, 9], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]))
    segments = (Segment(1, "Liver", RED),)

    facts, lost = (
        inspect_case(LoadedCase(Case("a", {"image": image}, SegmentationLabel(each)), {"image": image}, each, segments))
        for each in (labels, away)
    )

    assert facts.label_outside == pytest.approx(3 / 8)
    assert not facts.same_grid and not facts.problems
    assert "37.5% of the label lie outside of the image." in facts.warnings
    assert lost.problems == ("The label lies outside of the image. Check that it belongs to this image.",)


def test_channels_that_cover_only_a_part_are_told() -> None:
    first = numbered(PLACES["oblique"], (8, 8, 8))
    half = Volume(first.array[:, :4], first.affine)
    far = Volume(first.array, np.diag([1, 1, 1, 1.0]) + np.array([[0, 0, 0, 900], *[[0] * 4] * 3]))

    partly = inspect_case(LoadedCase(Case("a", {"T1": first, "T2": half}), {"T1": first, "T2": half}))
    nowhere = inspect_case(LoadedCase(Case("a", {"T1": first, "T2": far}), {"T1": first, "T2": far}))

    assert partly.overlap == pytest.approx(0.5)
    assert "Only 50% of the first image are covered by all others." in partly.warnings
    assert "lie at different places" in nowhere.problems[0]


def test_labels_of_other_kinds_are_listed() -> None:
    image = numbered(np.eye(4))
    boxes = tuple(Box("nodule", 1.0, np.array(at), np.ones(3), np.eye(3)) for at in ((1, 1, 1), (50, 0, 0)))
    points = (Landmark("nasion", np.array([1.0, 2, 3]), 1.0),)

    facts = [
        inspect_case(LoadedCase(Case("a", {"image": image}, label), {"image": image}))
        for label in (ClassLabel(("ill", "old")), BoxesLabel(boxes), LandmarksLabel(points))
    ]

    assert facts[0].classes == ("ill", "old") and facts[0].task == "classification"
    assert facts[1].boxes == ("nodule", "nodule") and facts[1].warnings == ("1 box lies outside of the image.",)
    assert facts[2].points == ("nasion",) and facts[2].warnings == ()
    assert len({each.label_digest for each in facts}) == 3


def test_the_label_digest_tells_of_moved_images_and_changed_labels() -> None:
    image = numbered(np.eye(4), (4, 4, 4))
    labels = np.ones((4, 4, 4), np.uint8)
    moved = Volume(image.array, np.diag([1, 1, 1.5, 1]))
    other = labels.copy()
    other[0, 0, 0] = 0
    renamed = (Segment(1, "Other", RED),)

    cases = (loaded(image, labels), loaded(moved, labels), loaded(image, other), loaded(image, labels, renamed))
    first, of_moved, of_other, of_renamed = (inspect_case(each).label_digest for each in cases)

    assert len({first, of_moved, of_other}) == 3
    assert of_renamed == first  # it is written, and names can be guessed from a hash
    assert inspect_case(loaded(image, labels)).label_digest == first


def test_real_cases_give_facts_that_survive_a_journey_through_json() -> None:
    files = realdata.tptbox()
    loaded = from_files(files["sub-ct_label-22_ct"], files["sub-ct_seg-subreg_label-22_msk"], "spine")

    facts = inspect_case(loaded, ["Jane Doe"])

    assert CaseFacts.from_dict(facts.to_dict()) == facts
    assert facts.channels["image"].orientation == "PIR" and facts.same_grid and not facts.problems
    assert all(each.voxels for each in facts.structures) and facts.seen == ("Jane Doe",)
    array = loaded.labels.array
    counts = {f"Label {n}": int((array == n).sum()) for n in np.unique(array) if n}
    assert {each.name: each.voxels for each in facts.structures} == counts
