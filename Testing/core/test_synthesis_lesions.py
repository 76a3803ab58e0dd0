"""Lesions that are put in: where, how large, how they pass into their surroundings, and what stays as it was."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import realdata
from core.painting_generator import painter
from meddl.datasets import Case, ExportOptions, SegmentationLabel, SplitOptions, export_dataset, verify_dataset
from meddl.datasets.formats.label_maps import value_names
from meddl.datasets.manifest import read_manifest
from meddl.datasets.synthetic import real_cases
from meddl.errors import JobCancelled, UsageError
from meddl.synthesis.lesions import LesionExample, LesionOptions, add_lesions, insert_lesion
from meddl.synthesis.synthesizer import Synthesizer
from meddl.volume import Segment, Volume, read_volume, resample_to

LIVER, TUMOR = Segment(1, "Liver", (1, 0, 0)), Segment(2, "Tumor", (0, 1, 0))
PLAIN = LesionOptions("Tumor", "Liver", (2.0, 4.0), contrast=0.5, seed=4)


def oblique(spacing, shift=0.0):
    """Return an affine with turned and mirrored axes."""
    a, b = 0.3, -0.2
    one = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1.0]])
    other = np.array([[1.0, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = one @ other @ np.diag(np.array(spacing) * [-1, 1, 1])
    affine[:3, 3] = shift
    return affine


def abdomen(seed=0, affine=None, tumor=False):
    """Return a noisy body of int16 with a bright liver, and its labels."""
    random = np.random.default_rng(seed)
    array = np.zeros((48, 44, 24))
    array[4:-4, 4:-4] = 300
    labels = np.zeros((1, 48, 44, 24), np.uint8)
    labels[0, 8:36, 8:34, 3:21] = 1
    array[labels[0] == 1] = 500
    if tumor:
        labels[0, 14:19, 13:18, 7:11] = 2
        array[labels[0] == 2] = 800
    array += random.normal(0, 8, array.shape)
    affine = oblique((1.2, 1.4, 2.0), 7.0) if affine is None else affine
    return Volume(array[None].astype(np.int16), affine), Volume(labels, affine)


def test_away_from_the_lesion_every_bit_stays_and_the_same_seed_gives_the_same():
    image, labels = abdomen()
    made = insert_lesion(image, labels, [LIVER], PLAIN)
    again = insert_lesion(image, labels, [LIVER], PLAIN)
    assert made.image.array.tobytes() == again.image.array.tobytes() and made.facts == again.facts
    mask = made.mask.array[0] > 0
    away = made.image.array[0] != image.array[0]
    assert image.array.dtype == made.image.array.dtype == np.int16
    from scipy.ndimage import distance_transform_edt

    assert distance_transform_edt(~mask, sampling=image.spacing)[away].max() < PLAIN.border_mm + image.spacing.max()
    assert (made.labels.array[0][mask] == made.segments[-1].label).all() and made.segments[-1].name == "Tumor"
    assert np.array_equal(made.labels.array[0][~mask], labels.array[0][~mask])
    assert (labels.array[0][mask] == 1).all() and (labels.array[0][away] == 1).all()
    (told,) = made.facts["lesions"]
    assert 1.8 <= told["volume_ml"] <= 4.1 and told["volume_ml"] == pytest.approx(
        mask.sum() * image.voxel_volume_ml, abs=1e-3
    )
    index = np.argwhere(mask).mean(axis=0)
    assert told["center_mm"] == pytest.approx(image.affine[:3, :3] @ index + image.affine[:3, 3], abs=0.02)
    other = insert_lesion(image, labels, [LIVER], replace(PLAIN, seed=5))
    assert not np.array_equal(other.mask.array, made.mask.array)


def test_a_ball_is_one_in_the_world_whatever_the_voxels_are():
    for spacing in ((1.0, 1.0, 1.0), (0.8, 1.0, 3.0)):
        image, labels = abdomen(affine=oblique(spacing))
        ball = replace(PLAIN, irregularity=0.0, volume_ml=(1.5, 1.5), shape="random")
        made = insert_lesion(image, labels, [LIVER], ball)
        points = np.argwhere(made.mask.array[0]) @ image.affine[:3, :3].T
        distance = np.sqrt(((points - points.mean(axis=0)) ** 2).sum(axis=1))
        assert distance.max() == pytest.approx((1500 * 3 / 4 / np.pi) ** (1 / 3), abs=0.6 * max(spacing))


def test_the_border_passes_from_the_lesion_into_its_surroundings():
    image, labels = abdomen(affine=np.eye(4))
    even = Volume(np.where(labels.array, 500, 300).astype(np.float32), image.affine)
    ball = LesionOptions("Tumor", "Liver", (0.8, 0.8), "random", 0.0, contrast=0.5, border_mm=4.0, seed=1)
    made = insert_lesion(even, labels, [LIVER], ball)
    from scipy.ndimage import distance_transform_edt

    mask = made.mask.array[0] > 0
    depth = distance_transform_edt(mask) - distance_transform_edt(~mask)
    rings = [np.median(made.image.array[0][np.abs(depth - at) < 0.51]) for at in (-3, -2, -1, 1, 2)]
    assert rings[0] == 500 and all(a <= b + 3 for a, b in pairwise(rings)) and rings[-1] > 540


def test_shape_and_brightness_of_a_real_lesion_are_taken_over():
    image, labels = abdomen()
    real_image, real = abdomen(3, tumor=True)
    bright = real_image.with_array((real_image.array * 3).astype(np.int16))  # of another scanner
    example = LesionExample(bright, real.with_array((real.array == 2).astype(np.uint8)), "case_0009")
    for options in (PLAIN, replace(PLAIN, shape="random", texture="statistics")):
        made = insert_lesion(image, labels, [LIVER], options, example=example)
        inside = np.median(made.image.array[made.mask.array > 0])
        # Brighter by 300 of a range of about 800, here and there.
        assert 700 < inside < 900
        told = made.facts["lesions"][0]["texture"]["image"]
        assert told["example"] == "case_0009" and told["from"] == ("example" if options is PLAIN else "statistics")


def test_the_texture_comes_from_a_generator_that_knows_the_lesion(tmp_path):
    image, labels = abdomen(affine=np.diag([-1.0, 1.0, 1.0, 1.0]))
    bundle = painter(tmp_path / "knows", {"Liver": 500.0, "Tumor": 900.0}, size=(64, 64), spacing_mm=1.0)
    synthesizer = Synthesizer(bundle, device="cpu")
    made = insert_lesion(image, labels, [LIVER], replace(PLAIN, texture="generator"), synthesizer=synthesizer)
    told = made.facts["lesions"][0]["texture"]["image"]
    assert told["from"] == "generator" and told["generator_sha256"] == bundle.digest
    assert np.median(made.image.array[made.mask.array > 0]) > 600
    ignorant = Synthesizer(painter(tmp_path / "not", {"Liver": 500.0}, size=(64, 64)), device="cpu")
    with pytest.raises(UsageError, match="has not learned"):
        insert_lesion(image, labels, [LIVER], replace(PLAIN, texture="generator"), synthesizer=ignorant)
    fallen = insert_lesion(image, labels, [LIVER], PLAIN, synthesizer=ignorant)
    assert fallen.facts["lesions"][0]["texture"]["image"]["from"] == "statistics"
    assert any("has not learned" in note for note in fallen.facts["notes"])


def test_what_cannot_be_is_said_in_a_sentence():
    image, labels = abdomen()
    for options, said in (
        (replace(PLAIN, volume_ml=(900, 900)), "no room"),
        (replace(PLAIN, inside="Spleen"), "There are: Liver"),
        (replace(PLAIN, texture="generator"), "generator"),
        (replace(PLAIN, texture="example"), "no real lesion"),
        (replace(PLAIN, shape="example"), "no real lesion"),
    ):
        with pytest.raises(UsageError, match=said):
            insert_lesion(image, labels, [LIVER], options)
    for wrong in ({"volume_ml": (3, 1)}, {"count": 0}, {"irregularity": 2}, {"texture": "wood"}, {"name": " "},
                  {"texture": "example", "shape": "random"}):  # fmt: skip
        with pytest.raises(UsageError):
            LesionOptions(**wrong)
    with pytest.raises(UsageError, match="grid"):
        insert_lesion(image, Volume(labels.array, np.eye(4)), [LIVER], PLAIN)
    with pytest.raises(JobCancelled):
        insert_lesion(image, labels, [LIVER], PLAIN, cancelled=lambda: True)


def test_several_lesions_keep_apart_and_an_image_without_labels_will_do():
    image, labels = abdomen()
    made = insert_lesion(image, labels, [LIVER], replace(PLAIN, count=3, volume_ml=(0.3, 0.5)))
    from scipy.ndimage import label

    assert label(made.mask.array[0])[1] == 3
    free = insert_lesion(image, None, (), replace(PLAIN, inside=""))
    assert (image.array[free.mask.array > 0] > 200).all() and [each.name for each in free.segments] == ["Tumor"]


def test_voxels_that_are_no_numbers_do_not_spread():
    image, labels = abdomen()
    array = image.array.astype(np.float32)
    array[0, 14:20, 14:20, 6:12] = np.nan
    made = insert_lesion(image.with_array(array), labels, [LIVER], PLAIN)
    assert np.isnan(made.image.array).sum() <= np.isnan(array).sum()
    assert np.isfinite(made.image.array[made.mask.array > 0]).all()


def test_a_real_tumor_in_another_real_brain():
    files = realdata.pyradiomics()
    images = {name: read_volume(files[f"{name}_image"]) for name in ("brain1", "brain2")}
    mask = read_volume(files["brain1_label"])
    coarse = Volume(np.zeros((1, 86, 86, 23)), images["brain2"].affine @ np.diag([3, 3, 1, 1])).grid
    target = resample_to(images["brain2"], coarse)
    options = LesionOptions(volume_ml=(8, 8), seed=2)
    made = insert_lesion(target, None, (), options, example=LesionExample(images["brain1"], mask, "brain1"))
    (told,) = made.facts["lesions"]
    assert told["volume_ml"] == pytest.approx(8, rel=0.15) and told["shape"]["from"] == "brain1"
    changed = made.image.array != target.array
    assert 0 < changed.sum() < 4 * made.mask.array.sum()


def cases(overlapping):
    """Four cases, three of them with a tumor, in the liver or in place of it."""
    made = []
    for number in range(4):
        image, labels = abdomen(number, tumor=number < 3)
        names = (LIVER, TUMOR) if number < 3 else (LIVER,)
        if overlapping and number < 3:
            labels = labels.with_array(np.concatenate([(labels.array > 0).astype(np.uint8), labels.array // 2]))
            names = (LIVER, Segment(1, "Tumor", (0, 1, 0), layer=1))
        made.append(Case(f"Doe {number}", {"CT": image}, SegmentationLabel(labels, names), f"patient {number}"))
    return made


def _tumor(manifest, case):
    told = manifest.records[case.name].facts["quality"]["structures"]
    return any("Tumor" in each["name"] and each["voxels"] for each in told)


def _labels(root, record):
    return read_volume(root / next(path for path in record.files if path.startswith("labels"))).array


@pytest.mark.parametrize("overlaps", ["order", "regions"])
def test_copies_with_lesions_are_learned_from_only_and_know_their_own_fold_only(tmp_path, overlaps):
    options = ExportOptions("monai", "Livers", split=SplitOptions(folds=2))
    root, torn = (
        export_dataset(cases(overlaps == "regions"), tmp_path / n, options, overlaps=overlaps).root for n in ("a", "b")
    )
    how = replace(PLAIN, volume_ml=(0.5, 1.0))
    made = add_lesions(root, how)
    assert made.complete and not made.failed and verify_dataset(root).problems == ()
    manifest = read_manifest(root)
    planned = {case.name: case for case in manifest.plan.cases}
    names = value_names(manifest.plan.scheme)
    copies = [case for case in planned.values() if case.source]
    assert len(copies) == len(real_cases(manifest.plan.cases)) == 4
    for case in copies:
        told = manifest.records[case.name].facts["augmentation"]
        assert case.split == "train" and told["how"] == "lesions" and told["of"] == case.source
        donor = told["lesions"][0]["shape"]["from"]
        assert donor == "random" or planned[donor].fold == case.fold
        real = [each for each in real_cases(manifest.plan.cases) if each.fold == case.fold and _tumor(manifest, each)]
        assert donor != case.source or [each.name for each in real] == [donor]  # its own where there is no other
        before, after = (_labels(root, manifest.records[name]) for name in (case.source, case.name))
        fresh = (before != after).sum()
        assert fresh == told["lesions"][0]["voxels"] and {names[each] for each in before[before != after]} == {"Liver"}
        # Where overlaps are kept the tumor lies in the liver, as those of the real cases do.
        (now,) = {names[each] for each in after[before != after]}
        assert set(now.split(" + ")) == ({"Liver", "Tumor"} if overlaps == "regions" else {"Tumor"})
    seen = []
    with pytest.raises(JobCancelled):
        add_lesions(torn, how, log=seen.append, cancelled=lambda: len(seen) > 1)
    add_lesions(torn, how)
    contents = [{p.relative_to(r): p.read_bytes() for p in r.rglob("*") if p.is_file()} for r in (root, torn)]
    assert contents[0] == contents[1]
    with pytest.raises(UsageError, match="settled"):
        add_lesions(root, replace(how, name="Cyst"))
