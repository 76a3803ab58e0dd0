"""Scenes made to do harm, and broken ones: each is refused in a sentence, nothing is written, nothing grows."""

from __future__ import annotations

import stat
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from meddl.datasets.collect import collect_cases
from meddl.datasets.identifiers import identifiers
from meddl.datasets.loading import load_case
from meddl.datasets.scene_archive import member_file
from meddl.errors import MedDLError, UsageError, VolumeError
from meddl.volume import Segment, Volume, write_segmentation, write_volume

AFFINE = np.array([[0.0, 0, 2.5, 10], [-1, 0, 0, 20], [0, 1.5, 0, -30], [0, 0, 0, 1]])
IMAGE = Volume(np.arange(24, dtype=np.int16).reshape(1, 2, 3, 4), AFFINE)

STORAGE = '<VolumeArchetypeStorage id="s1" fileName="{file}" ></VolumeArchetypeStorage>'
VOLUME = '<Volume id="v1" name="CT" references="storage:s1;{more}" ></Volume>'
SEGMENTATION = (
    '<SegmentationStorage id="s2" fileName="Data/seg.seg.nrrd" ></SegmentationStorage>'
    '<Segmentation id="g1" name="Seg" references="storage:s2;referenceImageGeometryRef:v1;{more}" ></Segmentation>'
)


def mrml(*nodes: str, head: str = "") -> str:
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{head}<MRML version="5.12">\n' + "\n".join(nodes) + "\n</MRML>\n"


def usual(more: str = "", file: str = "Data/ct.nrrd", extra: str = "") -> str:
    return mrml(STORAGE.format(file=file), VOLUME.format(more=more), SEGMENTATION.format(more=more), extra)


def files(tmp_path: Path) -> dict[str, bytes]:
    """The bytes of an image and of a segmentation."""
    write_volume(IMAGE, tmp_path / "ct.nrrd")
    mask = Volume((IMAGE.array > 12).astype(np.uint8), AFFINE)
    write_segmentation(mask, [Segment(1, "Tumor", (1, 0, 0))], tmp_path / "seg.seg.nrrd")
    found = {f"scene/Data/{name}": (tmp_path / name).read_bytes() for name in ("ct.nrrd", "seg.seg.nrrd")}
    for name in ("ct.nrrd", "seg.seg.nrrd"):
        (tmp_path / name).unlink()
    return found


def bundle(path: Path, members: Mapping[str, bytes | str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, data in members.items():
            zipped.writestr(name, data)
    return path


@pytest.fixture(autouse=True)
def nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """Temporary files go to a folder that is empty again afterwards."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    yield
    assert list(scratch.iterdir()) == []


def test_a_plain_scene_is_read(tmp_path: Path) -> None:
    path = bundle(tmp_path / "a.mrb", {"scene/a.mrml": usual(), **files(tmp_path)})

    (case,) = collect_cases(path)
    loaded = load_case(case)

    np.testing.assert_array_equal(loaded.images["image"].array, IMAGE.array)
    np.testing.assert_array_equal(loaded.images["image"].affine, AFFINE)
    assert loaded.labels is not None and loaded.labels.array.sum() == 11
    assert loaded.segments[0].name == "Tumor"


@pytest.mark.parametrize(
    "file",
    ["../../etc/passwd", "/etc/passwd", "C:\\Windows\\win.ini", "..%2f..%2fetc%2fpasswd", "Data/../../../a", "%00", ""],
)
def test_a_file_outside_of_the_archive_is_never_read(tmp_path: Path, file: str) -> None:
    path = bundle(tmp_path / "a.mrb", {"scene/a.mrml": usual(file=file), **files(tmp_path)})

    with pytest.raises(UsageError, match="holds no cases"):
        collect_cases(path)


def test_an_entry_that_climbs_out_is_never_written_there(tmp_path: Path) -> None:
    members = files(tmp_path)
    members["../../outside.nrrd"] = members["scene/Data/ct.nrrd"]
    members["scene/a.mrml"] = usual(file="../../../outside.nrrd").encode()
    path = bundle(tmp_path / "a.mrb", members)

    with pytest.raises(UsageError):
        collect_cases(path)
    assert sorted(each.name for each in tmp_path.rglob("*")) == ["a.mrb", "scratch"]


@pytest.mark.parametrize(
    "head",
    [
        '<!DOCTYPE MRML [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>\n',
        '<!DOCTYPE MRML [<!ENTITY x SYSTEM "file:///etc/passwd">]>\n',
        '<!DOCTYPE MRML SYSTEM "http://127.0.0.1:9/x.dtd">\n',
    ],
)
def test_entities_and_document_types_are_refused(tmp_path: Path, head: str) -> None:
    path = bundle(tmp_path / "a.mrb", {"scene/a.mrml": mrml(VOLUME.format(more=""), head=head)})

    with pytest.raises(UsageError, match="defines entities or a document type"):
        collect_cases(path)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("<MRML><Volume", "is damaged: its scene cannot be decoded"),
        ("", "is damaged: its scene cannot be decoded"),
        ("<html></html>", "holds no scene of Slicer"),
        ("<MRML>" + "<a>" * 300 + "</a>" * 300 + "</MRML>", "larger or deeper than any real one"),
        (mrml(VOLUME.format(more=""), VOLUME.format(more="")), "two of its nodes have one ID"),
        (b"\xff\xfe\x00bad", "is damaged: its scene cannot be decoded"),
        (
            usual("transform:t1;", extra='<LinearTransform id="t1" references="transform:t1;" '
                  'matrixTransformToParent="1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1" ></LinearTransform>'),
            "missing or its own parent",
        ),
        (usual("transform:t9;"), "missing or its own parent"),
        (
            usual("transform:t1;", extra='<LinearTransform id="t1" matrixTransformToParent="1 0 0 zero" />'),
            "no matrix of numbers",
        ),
        (
            usual("transform:t1;", extra='<LinearTransform id="t1" matrixTransformToParent="' + "nan " * 16 + '" />'),
            "no matrix of numbers",
        ),
    ],
)  # fmt: skip
def test_broken_scenes_are_told(tmp_path: Path, text: str | bytes, sentence: str) -> None:
    path = bundle(tmp_path / "a.mrb", {"scene/a.mrml": text, **files(tmp_path)})

    with pytest.raises(UsageError, match=sentence):
        collect_cases(path)


def test_a_transform_that_flattens_space_is_told_when_the_case_is_read(tmp_path: Path) -> None:
    flat = '<LinearTransform id="t1" matrixTransformToParent="1 0 0 0 0 1 0 0 0 0 0 0 0 0 0 1" ></LinearTransform>'
    path = bundle(tmp_path / "a.mrb", {"scene/a.mrml": usual("transform:t1;", extra=flat), **files(tmp_path)})

    (case,) = collect_cases(path)
    with pytest.raises(VolumeError, match="cannot be placed in space"):
        load_case(case)


def test_a_transform_file_that_says_something_else_is_told(tmp_path: Path) -> None:
    import SimpleITK as sitk

    transform = sitk.AffineTransform(3)
    transform.SetTranslation((5.0, 0.0, 0.0))
    sitk.WriteTransform(transform, str(tmp_path / "t.tfm"))
    node = (
        '<LinearTransform id="t1" references="storage:s9;" matrixTransformToParent='
        '"1 0 0 {shift} 0 1 0 0 0 0 1 0 0 0 0 1" ></LinearTransform>'
        '<TransformStorage id="s9" fileName="Data/t.tfm" ></TransformStorage>'
    )
    members = {**files(tmp_path), "scene/Data/t.tfm": (tmp_path / "t.tfm").read_bytes()}
    good = usual("transform:t1;", extra=node.format(shift=5))  # ITK's transforms lead back, in LPS
    bad = usual("transform:t1;", extra=node.format(shift=6))

    (case,) = collect_cases(bundle(tmp_path / "good.mrb", {"scene/a.mrml": good, **members}))
    np.testing.assert_allclose(load_case(case).images["image"].affine[:3, 3], AFFINE[:3, 3] + (5, 0, 0), atol=1e-9)
    with pytest.raises(UsageError, match="there twice, and differently"):
        collect_cases(bundle(tmp_path / "bad.mrb", {"scene/a.mrml": bad, **members}))


def test_bombs_are_refused_before_they_go_off(tmp_path: Path) -> None:
    members = files(tmp_path)
    text = bundle(tmp_path / "text.mrb", {"scene/a.mrml": b"<MRML>" + b" " * (50 << 20) + b"</MRML>"})
    with pytest.raises(UsageError, match="more than a scene needs"):
        collect_cases(text)

    # A member that claims to be small and is not.
    lying = bundle(tmp_path / "lying.mrb", {**members, "scene/a.mrml": usual()})
    data = lying.read_bytes()
    size = len(members["scene/Data/ct.nrrd"]).to_bytes(4, "little")
    lying.write_bytes(data.replace(size, (100).to_bytes(4, "little")))
    with pytest.raises(MedDLError):
        load_case(collect_cases(lying)[0])

    bomb = bundle(tmp_path / "bomb.mrb", {**members, "scene/Data/ct.nrrd": bytes(40 << 20), "scene/a.mrml": usual()})
    with pytest.raises(VolumeError, match="not a NRRD image"):
        load_case(collect_cases(bomb)[0])


def test_a_member_larger_than_the_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from meddl.datasets import scene_archive

    path = bundle(tmp_path / "a.mrb", {"scene/a.mrml": usual(), **files(tmp_path)})
    monkeypatch.setattr(scene_archive.shutil, "disk_usage", lambda _: _Full())

    with pytest.raises(VolumeError, match="not enough free disk space"):
        load_case(collect_cases(path)[0])


class _Full:
    free = 1000


def test_links_and_passwords_in_an_archive_are_refused(tmp_path: Path) -> None:
    members = files(tmp_path)
    path = tmp_path / "link.mrb"
    with zipfile.ZipFile(path, "w") as zipped:
        zipped.writestr("scene/a.mrml", usual())
        link = zipfile.ZipInfo("scene/Data/ct.nrrd")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        zipped.writestr(link, "/etc/passwd")
        zipped.writestr("scene/Data/seg.seg.nrrd", members["scene/Data/seg.seg.nrrd"])
    with pytest.raises(VolumeError, match="holds links"):
        load_case(collect_cases(path)[0])

    locked = bundle(tmp_path / "locked.mrb", {"scene/a.mrml": usual(), **members})
    data = bytearray(locked.read_bytes())
    with zipfile.ZipFile(locked) as zipped:
        offset = data.find(b"PK\x01\x02")
        for _ in zipped.infolist():
            data[offset + 8] |= 1
            offset = data.find(b"PK\x01\x02", offset + 4)
    locked.write_bytes(bytes(data))
    with pytest.raises(MedDLError, match="is encrypted"):
        collect_cases(locked)


def test_one_name_for_two_files_is_refused(tmp_path: Path) -> None:
    members = files(tmp_path)
    path = bundle(tmp_path / "a.mrb", {"scene/a.mrml": usual(), **members})
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as zipped:
        zipped.writestr("scene/Data/ct.nrrd", b"something else")

    with pytest.raises(VolumeError, match="a file twice under one name"):
        load_case(collect_cases(path)[0])


def test_two_scenes_in_one_bundle_are_refused(tmp_path: Path) -> None:
    path = bundle(tmp_path / "a.mrb", {"scene/a.mrml": usual(), "scene/b.mrml": usual()})

    with pytest.raises(UsageError, match="several scenes"):
        collect_cases(path)


def test_headers_that_keep_voxels_elsewhere_are_left_out_and_said_so(tmp_path: Path) -> None:
    members = {**files(tmp_path), "scene/Data/ct.nhdr": b"NRRD0005\n"}
    second = '<Volume id="v2" name="T1" references="storage:s3;" ></Volume><S id="s3" fileName="Data/ct.nhdr" ></S>'
    path = bundle(tmp_path / "a.mrb", {"scene/a.mrml": usual(extra=second), **members})

    (case,) = collect_cases(path)

    assert any("'T1' is stored in a way that is not read" in note for note in case.notes)
    with pytest.raises(VolumeError, match="two files"), member_file(path, "scene/Data/ct.nhdr"):
        pass


def test_a_broken_scene_among_others_is_named(tmp_path: Path) -> None:
    bundle(tmp_path / "good.mrb", {"scene/a.mrml": usual(), **files(tmp_path)})
    (tmp_path / "bad.mrb").write_bytes(b"PK no zip")

    with pytest.raises(UsageError, match=r"bad\.mrb is damaged.*move it out of the folder"):
        collect_cases(tmp_path)


def test_errors_in_an_image_name_the_scene_and_no_path(tmp_path: Path) -> None:
    members = {**files(tmp_path), "scene/Data/ct.nrrd": b"NRRD0005\ntype: short\n\n"}
    path = bundle(tmp_path / "a.mrb", {"scene/a.mrml": usual(), **members})

    with pytest.raises(VolumeError, match=r"An image in a\.mrb") as caught:
        load_case(collect_cases(path)[0])
    assert str(tmp_path) not in caught.value.message


def test_any_damage_to_a_bundle_is_told_in_a_sentence(tmp_path: Path) -> None:
    good = bundle(tmp_path / "good.mrb", {"scene/a.mrml": usual(), **files(tmp_path)}).read_bytes()
    random = np.random.default_rng(3)
    path = tmp_path / "broken.mrb"
    for trial in range(250):
        data = bytearray(good)
        if trial % 4 == 0:
            data = data[: random.integers(0, len(data))]
        for _ in range(random.integers(1, 12)):
            if data:
                data[random.integers(0, len(data))] = random.integers(0, 256)
        path.write_bytes(bytes(data))
        try:
            for case in collect_cases(path):
                load_case(case)
                identifiers(case)
        except MedDLError as error:
            assert str(tmp_path) not in error.message


def test_a_scene_file_with_its_data_beside_it_is_read_with_its_transforms(tmp_path: Path) -> None:
    shift = '<LinearTransform id="t1" matrixTransformToParent="1 0 0 7 0 1 0 0 0 0 1 0 0 0 0 1" ></LinearTransform>'
    folder = tmp_path / "saved"
    (folder / "Data").mkdir(parents=True)
    for name, data in files(tmp_path).items():
        (folder / name.removeprefix("scene/")).write_bytes(data)
    (folder / "study.mrml").write_text(usual("transform:t1;", extra=shift))

    (case,) = collect_cases(folder)

    loaded = load_case(case)
    assert case.id == "study"
    np.testing.assert_array_equal(loaded.images["image"].affine[:3, 3], AFFINE[:3, 3] + (7, 0, 0))
    assert loaded.labels is not None and loaded.labels.grid.same_as(loaded.images["image"].grid)


@pytest.mark.parametrize("file", ["../outside.nrrd", "/etc/passwd", "Data/link.nrrd"])
def test_a_scene_file_reaches_nothing_outside_of_its_folder(tmp_path: Path, file: str) -> None:
    (tmp_path / "outside.nrrd").write_bytes(files(tmp_path)["scene/Data/ct.nrrd"])
    (tmp_path / "saved" / "Data").mkdir(parents=True)
    (tmp_path / "saved" / "Data" / "link.nrrd").symlink_to(tmp_path / "outside.nrrd")
    (tmp_path / "saved" / "a.mrml").write_text(mrml(STORAGE.format(file=file), VOLUME.format(more="")))

    with pytest.raises(UsageError, match="holds no cases"):
        collect_cases(tmp_path / "saved" / "a.mrml")


def test_a_list_of_scenes_tells_whose_they_are(tmp_path: Path) -> None:
    members = {"scene/a.mrml": usual(), **files(tmp_path)}
    for name in ("a", "b"):
        bundle(tmp_path / f"{name}.mrb", members)
    (tmp_path / "list.csv").write_text("case,patient,site,image\none,P1,north,a.mrb\ntwo,P1,south,b.mrb\n")

    first, second = collect_cases(tmp_path / "list.csv")

    assert (first.id, first.patient, first.site, second.site) == ("one", "P1", "north", "south")
    assert load_case(second).segments[0].name == "Tumor"


def test_bare_ampersands_of_slicers_file_names_are_read(tmp_path: Path) -> None:
    members = files(tmp_path)
    members["scene/Data/a & b.nrrd"] = members.pop("scene/Data/ct.nrrd")
    path = bundle(tmp_path / "a.mrb", {"scene/a.mrml": usual(file="Data/a%20&%20b.nrrd"), **members})

    (case,) = collect_cases(path)

    assert load_case(case).images["image"].shape == (2, 3, 4)
