"""Faces are removed and brains are not; what is no head is refused."""

from __future__ import annotations

import functools
import io
import json
from pathlib import Path

import brain_model
import numpy as np
import pytest
import realdata
from core.phantoms import reordered
from meddl.datasets import (
    Case,
    DeidentifyOptions,
    ExportOptions,
    SegmentationLabel,
    export_dataset,
    verify_dataset,
)
from meddl.datasets.deidentify import deface_template
from meddl.datasets.deidentify.deface import Defaced, deface, defacing_picture
from meddl.errors import JobCancelled, UsageError, VolumeError
from meddl.models.package_source import extract_members
from meddl.volume import Segment, Volume, read_volume
from PIL import Image


@pytest.fixture(autouse=True)
def template(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put pydeface's files into the cache, as fetching them on consent does."""
    folder = realdata.cache() / "meddl" / "deface"
    monkeypatch.setenv("MEDDL_CACHE", str(folder.parent))
    if not deface_template.is_here():
        goals = {member: folder / name for member, (name, _) in deface_template.MEMBERS.items()}
        extract_members(realdata.wheel("pydeface==2.1.0"), goals)
    return folder


@functools.cache
def defaced(name: str) -> tuple[Volume, Defaced]:
    """Return a head and what defacing makes of it; the registration takes seconds."""
    head = read_volume({"Colin27": realdata.colin27, "ITK": realdata.itk_subject}[name]()[0])
    return head, deface(head, "template")


def at(volume: Volume, *point: float) -> tuple[int, ...]:
    """Return the voxel at a point in RAS mm."""
    return tuple(np.rint(np.linalg.inv(volume.affine) @ [*point, 1])[:3].astype(int))


def test_the_face_goes_and_every_voxel_of_the_brain_stays() -> None:
    for name, (_, stripped) in (("Colin27", realdata.colin27()), ("ITK", realdata.itk_subject())):
        brain = read_volume(stripped).array[0] > 0

        head, result = defaced(name)

        removed = result.mask.array[0] > 0
        assert not (removed & brain).any()
        assert 0.02 < removed.mean() < 0.2
        assert np.array_equal(result.volume.array[0][~removed], head.array[0][~removed])
        assert (result.volume.array[0][removed] == head.array.min()).all()
        assert "registered" in result.notes[0]


def test_eyes_and_nose_are_gone() -> None:
    head, result = defaced("Colin27")

    removed = result.mask.array[0]

    for point in ((-32, 62, -38), (32, 62, -38), (-32, 55, -42), (32, 55, -42), (0, 85, -50), (0, 80, -62)):
        assert removed[at(head, *point)], point
    for point in ((0, 50, 0), (-40, 0, -30), (0, -60, -40), (0, -100, 10), (0, 0, 80)):
        assert not removed[at(head, *point)], point


def test_the_order_of_the_axes_does_not_matter_and_the_result_is_the_same_each_time() -> None:
    head, first = defaced("ITK")
    turned = reordered(head, (2, 0, 1), (1, -1, -1))

    once, again, other = first.mask, *(deface(each, "template").mask for each in (head, turned))

    assert np.array_equal(once.array, again.array)
    back = reordered(once, (2, 0, 1), (1, -1, -1))
    assert (back.array != other.array).mean() < 5e-3


def test_an_image_with_thick_slices_and_contrast_agent_loses_its_face() -> None:
    patients = realdata.pyradiomics()
    head, lesion = (read_volume(patients[f"brain1_{kind}"]) for kind in ("image", "label"))

    result = deface(head, "template")

    assert 0.03 < result.mask.array.mean() < 0.15
    assert not (result.mask.array[0] & (lesion.array[0] > 0)).any()


def test_what_is_no_head_is_refused() -> None:
    patients, total = realdata.pyradiomics(), realdata.totalsegmentator()
    others = [patients["lung1_image"], patients["breast1_image"],
              total / "example_mr_sm.nii.gz", realdata.tptbox()["sub-mri_label-6_T2w"]]  # fmt: skip
    for path in others:
        with pytest.raises(VolumeError, match="head"):
            deface(read_volume(path), "template")


def test_far_from_the_brain_all_is_removed() -> None:
    head, brain = read_volume(realdata.colin27()[0]), read_volume(realdata.colin27()[1]).array[0] > 0

    result = deface(head, "brain", model=brain_model.installed())

    removed = result.mask.array[0] > 0
    assert not (removed & brain).any()
    for point in ((-32, 66, -42), (32, 66, -42), (0, 90, -45), (0, 80, -62)):
        assert removed[at(head, *point)], point
    assert "15 mm" in result.notes[0] and "neck" in result.notes[0]


def test_the_template_is_fetched_only_on_consent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MEDDL_CACHE", str(tmp_path))
    monkeypatch.delenv("MEDDL_PACKAGE_DIR", raising=False)

    with pytest.raises(UsageError, match="Fetch it with: meddl dataset fetch-face-template"):
        deface(read_volume(realdata.itk_subject()[0]), "template")

    assert not list(tmp_path.rglob("*.gz")) and not deface_template.is_here()


def test_a_changed_template_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, template: Path) -> None:
    monkeypatch.setenv("MEDDL_CACHE", str(tmp_path))
    monkeypatch.delenv("MEDDL_PACKAGE_DIR", raising=False)
    (tmp_path / "deface").mkdir()
    for path in template.glob("*.nii.gz"):
        (tmp_path / "deface" / path.name).write_bytes(path.read_bytes()[:-1])

    with pytest.raises(UsageError, match="not on this computer"):
        deface_template.template_files()


def test_defacing_is_cancelled_on_request() -> None:
    with pytest.raises(JobCancelled):
        deface(read_volume(realdata.itk_subject()[0]), "template", cancelled=lambda: True)


def test_the_picture_shows_the_face_before_and_none_after() -> None:
    head, result = defaced("ITK")

    data = defacing_picture(head, result.volume)

    picture = np.asarray(Image.open(io.BytesIO(data))).astype(float)
    half = picture.shape[0] // 2
    assert picture[:half].sum() > picture[half:].sum() > 0.8 * picture[:half].sum()
    assert data == defacing_picture(head, result.volume) and not Image.open(io.BytesIO(data)).info


def test_labels_and_other_channels_of_an_exported_head_lose_the_face_too(tmp_path: Path) -> None:
    head = read_volume(realdata.colin27()[0])
    skin = head.with_array((head.array > 0).astype(np.uint8))
    half = Volume(head.array[:, ::2, ::2, ::2], head.affine @ np.diag([2.0, 2.0, 2.0, 1.0]))
    label = SegmentationLabel(skin, (Segment(1, "Skin", (1, 0, 0)),))
    options = ExportOptions("monai", deidentify=DeidentifyOptions(deface="template"))

    root = export_dataset([Case("a", {"T1": head, "T2": half}, label)], tmp_path, options).root

    nose = at(head, 0, 85, -50)
    written = [read_volume(next(root.glob(f"{place}/*{end}"))) for place, end in
               (("images", "T1.nii.gz"), ("images", "T2.nii.gz"), ("labels", ".nii.gz"))]  # fmt: skip
    assert [int(each.array[0][nose]) for each in written] == [int(head.array.min())] * 2 + [0]
    removed = (skin.array > 0) & (written[2].array == 0)
    record = json.loads((root / "dataset.meddl.json").read_text())["cases"][0]
    assert f"{np.count_nonzero(removed)} labeled voxels" in record["facts"]["defaced"][-1]
    assert not verify_dataset(root).problems
