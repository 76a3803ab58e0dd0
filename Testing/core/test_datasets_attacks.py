"""What somebody who means harm, or a careless source, does to an export: nothing leaves, nothing else is touched."""

from __future__ import annotations

import copy
import io
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from meddl.datasets import (
    Case,
    ClassLabel,
    DatasetWriter,
    DeidentifyOptions,
    ExportOptions,
    SegmentationLabel,
    TargetLabel,
    collect_cases,
    export_dataset,
    plan_cases,
    verify_dataset,
)
from meddl.datasets.case import ImageFile
from meddl.datasets.deidentify import deidentify_dataset, read_key
from meddl.datasets.manifest import MANIFEST, read_manifest
from meddl.datasets.scheme_editing import read_scheme
from meddl.datasets.writer import WORK
from meddl.errors import MedDLError, UsageError
from meddl.volume import Segment, Volume, write_volume
from pydicom.data import get_testdata_file
from pydicom.datadict import DicomDictionary
from pydicom.encaps import encapsulate, generate_frames
from pydicom.sequence import Sequence

OPTIONS = ExportOptions("monai", "Abdomen", 3)
_EXTRAS = ("shift_dates", "clean_descriptors", "clean_pixels", "keep_safe_private")
AFFINE = np.diag([-1.0, -1.5, 2.0, 1.0])


def a_case(name: str, seed: int, structure: str = "Liver") -> Case:
    rng = np.random.default_rng(seed)
    image = Volume(rng.integers(0, 900, (1, 12, 11, 10), np.int16), AFFINE)
    labels = np.zeros((1, 12, 11, 10), np.uint8)
    labels[0, 3:8, 4:9, 5:9] = 1
    label = SegmentationLabel(Volume(labels, AFFINE), (Segment(1, structure, (1.0, 0.0, 0.0)),))
    return Case(name, {"T1": image}, label, f"patient {name}")


def edited(root: Path, change: dict[str, str]) -> None:
    """Change texts of a manifest as its sender may have."""
    text = (root / MANIFEST).read_text("utf-8")
    for old, new in change.items():
        assert old in text
        text = text.replace(old, new)
    (root / MANIFEST).write_text(text, "utf-8")


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """A folder of the user that has nothing to do with datasets."""
    folder = tmp_path / "private"
    (folder / "letters").mkdir(parents=True)
    (folder / "thesis.txt").write_text("years of work")
    (folder / "letters" / "mother.txt").write_text("love")
    return folder


def untouched(private: Path) -> bool:
    return {path.name for path in private.rglob("*")} == {"letters", "thesis.txt", "mother.txt"}


# Links and names in a dataset that came from somebody else


def test_a_work_folder_that_is_a_link_is_refused_and_what_it_leads_to_stays(tmp_path: Path, private: Path) -> None:
    root = tmp_path / "dataset"
    root.mkdir()
    (root / WORK).symlink_to(private, target_is_directory=True)

    with pytest.raises(UsageError, match="link"):
        export_dataset([a_case("a", 1)], root, OPTIONS)

    assert untouched(private)


def test_no_file_is_written_to_or_removed_from_where_a_linked_folder_leads(tmp_path: Path, private: Path) -> None:
    root = tmp_path / "dataset"
    export_dataset([a_case("a", 1)], root, OPTIONS)
    before = (root / MANIFEST).read_bytes()
    for folder in ("images", "labels", "report"):
        (root / MANIFEST).write_bytes(before)
        (root / folder).rename(tmp_path / f"{folder}_away")
        (root / folder).symlink_to(private, target_is_directory=True)

        with pytest.raises(UsageError, match="link"):
            export_dataset([a_case("a", 1, "Spleen"), a_case("b", 2, "Spleen")], root, OPTIONS)
        with pytest.raises(UsageError, match="link"):
            export_dataset([a_case("a", 1), a_case("b", 2)], root, OPTIONS)

        assert untouched(private)
        (root / folder).unlink()
        (tmp_path / f"{folder}_away").rename(root / folder)


def test_what_a_manifest_lists_behind_a_link_is_not_deleted(tmp_path: Path, private: Path) -> None:
    root = tmp_path / "dataset"
    export_dataset([a_case("a", 1)], root, OPTIONS)
    (root / "more").symlink_to(private, target_is_directory=True)
    edited(root, {'"report/cases.csv"': '"more/thesis.txt"'})

    with pytest.raises(UsageError, match="link"):
        export_dataset([a_case("b", 2)], root, OPTIONS)

    assert untouched(private)


@pytest.mark.parametrize("name", ["../../private", "/tmp/x", "..", "a/b", "a\\\\b", "C:x", "", ".meddl", "a\\u001b[2J"])
@pytest.mark.parametrize("kind", ["case_0001", "patient_0001"])
def test_a_name_in_a_manifest_that_leads_elsewhere_is_refused(
    tmp_path: Path, private: Path, name: str, kind: str
) -> None:
    root = tmp_path / "dataset"
    export_dataset([a_case("a", 1)], root, OPTIONS)
    edited(root, {f'"{kind}"': f'"{name}"'})

    with pytest.raises(UsageError, match="damaged"):
        export_dataset([a_case("a", 1), a_case("b", 2)], root, OPTIONS)

    assert untouched(private)


@pytest.mark.parametrize("change", [{'"split": "train"': '"split": "../.."'}, {'"fold": 0': '"fold": "../x"'}])
def test_a_part_of_a_manifest_that_there_is_none_of_is_refused(tmp_path: Path, change: dict[str, str]) -> None:
    export_dataset([a_case("a", 1)], tmp_path, replace(OPTIONS, split=replace(OPTIONS.split, folds=0)))
    if "fold" in str(change):
        edited(tmp_path, {'"fold": null': '"fold": 0'})
    edited(tmp_path, change)

    with pytest.raises(UsageError, match="damaged"):
        read_manifest(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_a_pipe_in_the_place_of_a_file_holds_nothing_up(tmp_path: Path) -> None:
    export_dataset([a_case("a", 1)], tmp_path, OPTIONS)
    image = next((tmp_path / "images").iterdir())
    image.unlink()
    os.mkfifo(image)
    assert verify_dataset(tmp_path).problems

    (tmp_path / MANIFEST).unlink()
    os.mkfifo(tmp_path / MANIFEST)
    with pytest.raises(UsageError):
        verify_dataset(tmp_path)


# What could be computed from what is written


def test_the_secret_never_lies_in_a_dataset_not_even_in_one_that_could_not_be_finished(tmp_path: Path) -> None:
    bad = Volume(np.full((1, 12, 11, 10), np.nan, np.float32), AFFINE)
    bad.array[0, 0, 0, 0] = 1
    cases = [a_case("a", 1), replace(a_case("b", 2), images={"T1": bad})]
    plan = plan_cases(cases, tmp_path, OPTIONS)[1].plan
    with DatasetWriter(tmp_path, plan) as writer:
        secret = writer.secret()
        assert len(secret) == 32 and writer.secret() == secret

    summary = export_dataset(cases, tmp_path, OPTIONS)

    assert summary.failed and not summary.complete
    with DatasetWriter(tmp_path, plan) as writer:
        assert writer.secret() == secret
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and secret in path.read_bytes()]


def test_a_secret_that_came_with_a_dataset_is_not_used(tmp_path: Path) -> None:
    (tmp_path / WORK).mkdir()
    (tmp_path / WORK / "secret").write_bytes(b"known to the sender".ljust(32))
    cases = [a_case("a", 1)]
    plan = plan_cases(cases, tmp_path, OPTIONS)[1].plan
    with DatasetWriter(tmp_path, plan) as writer:
        assert writer.secret() != b"known to the sender".ljust(32)


def test_no_hash_depends_on_what_a_structure_was_called_before_it_was_renamed(tmp_path: Path) -> None:
    from meddl.datasets import LabelScheme, Structure

    told = []
    for number, old in enumerate(("Lesion A", "Lesion B")):
        scheme = LabelScheme((Structure("Lesion", (1.0, 0.0, 0.0), "", (old.casefold(),)),))
        root = tmp_path / str(number)
        export_dataset([a_case("a", 1, old)], root, OPTIONS, scheme=scheme)
        told.append(json.loads((root / MANIFEST).read_text("utf-8"))["cases"])

    assert told[0] == told[1]


def test_the_original_name_of_a_renamed_structure_is_refused_where_it_names_the_patient(tmp_path: Path) -> None:
    from meddl.datasets import LabelScheme, Structure

    case = replace(a_case("a", 1, "Lesion Kowalski"), patient="Kowalski^Jan")
    scheme = LabelScheme((Structure("Lesion", (1.0, 0.0, 0.0), "", ("lesion kowalski",)),))

    with pytest.raises(UsageError, match="structure 1"):
        export_dataset([case], tmp_path, OPTIONS, scheme=scheme)

    assert not (tmp_path / MANIFEST).exists()


# DICOM headers


def planted_everywhere() -> pydicom.Dataset:
    """Return a CT image with a name, ID or date in every attribute of DICOM's dictionary, also in an item."""
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    told = {
        "PN": "Qzxfamily^Qzxgiven", "DA": "19370617", "DT": "19370617120000", "IS": "98537317", "DS": "98537317",
        "UI": "1.2.840.10008.98537317.19370617", "AS": "094Y", "CS": "QZXFAMILY", "AE": "QZXFAMILY",
        "UR": "http://x/Qzxfamily", **dict.fromkeys(("LO", "SH", "LT", "ST", "UC", "UT"), "Qzxfamily G"),
        **dict.fromkeys(("OB", "OW", "OD", "OF", "OL", "OV", "UN"), b"Qzxfamily Qzxgiven      "),
    }  # fmt: skip
    needed = {
        "SOPClassUID", "PhotometricInterpretation", "NumberOfFrames", "BurnedInAnnotation", "EncapsulatedDocument",
        "SpecificCharacterSet", "ConversionType", "DateOfSecondaryCapture", "PixelSpacing", "ImagePositionPatient",
    }  # fmt: skip
    for tag, (vr, _, _, _, keyword) in DicomDictionary.items():
        kind = vr.split(" or ")[0]
        if keyword and kind in told and keyword not in needed and tag >> 16 not in (0, 2, 4, 6, 0x7FE0):
            dataset.add_new(tag, kind, told[kind])
    dataset.PatientID, dataset.AccessionNumber, dataset.BurnedInAnnotation = "QX83746152", "98537317", "NO"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    item = copy.deepcopy(dataset)
    for element in [each for each in item if each.VR == "SQ"]:
        del item[element.tag]
    dataset.ReferencedImageSequence = Sequence([item])  # with its pixels
    return dataset


@pytest.mark.parametrize("is_most", [False, True])
def test_nothing_survives_of_a_header_that_has_names_and_numbers_in_every_attribute(is_most: bool) -> None:
    options = DeidentifyOptions(**dict.fromkeys(_EXTRAS, True)) if is_most else DeidentifyOptions()

    result = deidentify_dataset(planted_everywhere(), options, patient="patient_0001", case="c", secret=b"s" * 32)

    file = io.BytesIO()
    result.save_as(file, enforce_file_format=True)
    for word in (b"qzx", b"98537317", b"19370617", b"83746152"):
        assert word not in file.getvalue().lower()
    assert "PixelData" not in result.ReferencedImageSequence[0]
    assert result.pixel_array.shape == (128, 128) and result.PixelSpacing is not None


@pytest.mark.parametrize(
    "name",
    ["MR_small_RLE.dcm", "SC_rgb_rle_2frame.dcm", "SC_ybr_full_422_uncompressed.dcm", "JPEG2000.dcm", "CT_small.dcm"],
)
def test_nothing_survives_behind_the_pixels_of_real_files(name: str) -> None:
    dataset = pydicom.dcmread(get_testdata_file(name))
    dataset.PatientName, dataset.BurnedInAnnotation = "Qzxfamily^Qzxgiven", "NO"
    for keyword in ("SeriesDescription", "ManufacturerModelName", "SoftwareVersions"):
        setattr(dataset, keyword, "Qzxfamily 1")
    before = dataset.pixel_array
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        frames = generate_frames(dataset.PixelData, number_of_frames=int(dataset.get("NumberOfFrames") or 1))
        dataset.PixelData = encapsulate([frame + b"Qzxtail!" for frame in frames])
        dataset["PixelData"].VR = "OB"
    else:
        dataset.PixelData += b"Qzxtail!"

    result = deidentify_dataset(
        dataset, DeidentifyOptions(clean_pixels=True), patient="patient_0001", case="c", secret=b"s" * 32
    )

    file = io.BytesIO()
    result.save_as(file, enforce_file_format=True)
    assert b"qzx" not in file.getvalue().lower()
    assert result.SOPInstanceUID == result.file_meta.MediaStorageSOPInstanceUID
    np.testing.assert_array_equal(result.pixel_array, before)


def test_a_name_in_the_place_of_the_modality_goes_into_no_manifest(tmp_path: Path) -> None:
    case = a_case("a", 1)
    named = replace(case.images["T1"], meta={"modality": "KOWALSKI"})

    root = export_dataset([replace(case, images={"T1": named})], tmp_path, OPTIONS).root

    assert "KOWALSKI" not in (root / MANIFEST).read_text("utf-8")


# Pixels


def test_a_target_image_is_searched_for_burned_in_text_too(tmp_path: Path) -> None:
    import matplotlib
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"), 18)
    picture = Image.new("L", (256, 256), 20)
    ImageDraw.Draw(picture).text((20, 20), "KOWALSKI JAN 12345", 255, font=font)
    written = Volume(np.asarray(picture).T[np.newaxis, :, :, np.newaxis].copy(), np.diag([-1.0, -1.0, 1.0, 1.0]))
    plain = written.with_array(np.random.default_rng(0).integers(0, 60, written.array.shape, np.uint8))
    case = Case("a", {"US": plain}, TargetLabel(written), "Kowalski^Jan")

    summary = export_dataset([case], tmp_path, replace(OPTIONS, name="Pictures"))

    assert not summary.done and "text" in summary.failed["a"]


def test_captures_in_folders_below_the_one_that_was_given_are_refused(tmp_path: Path) -> None:
    for number in range(2):
        dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
        dataset.SOPInstanceUID += f".{number}"
        dataset.ImagePositionPatient = [0, 0, 5 * number]
        dataset.ConversionType = "WSD"
        (tmp_path / "in" / str(number)).mkdir(parents=True)
        dataset.save_as(tmp_path / "in" / str(number) / "slice.dcm")
    source = ImageFile(tmp_path / "in", str(dataset.SeriesInstanceUID), nested=True)

    summary = export_dataset([Case("a", {"CT": source}, ClassLabel(("x",)))], tmp_path / "out", OPTIONS)

    assert not summary.done and "capture of a screen" in summary.failed["a"]


def test_where_nobody_looked_for_a_face_nothing_of_another_channel_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    from meddl.datasets.deidentify import deface as room
    from meddl.datasets.prepare import _without_face

    slab = Volume(np.ones((1, 10, 10, 3), np.float32), np.eye(4))
    whole = Volume(np.ones((1, 10, 10, 10), np.float32), np.eye(4))
    whole.array[0, 0, 0, 0] = 0
    found = room.Defaced(slab, slab.with_array(np.zeros((1, 10, 10, 3), np.uint8)), ())
    monkeypatch.setattr(room, "deface", lambda *_args, **_more: found)
    monkeypatch.setattr(room, "defacing_picture", lambda *_args: b"")

    images, *_ = _without_face(
        {"T1": slab, "T2": whole}, None, None, "template", lambda fraction, text: None, lambda: False
    )

    assert images["T2"].array[..., :3].sum() == 299 and not images["T2"].array[..., 3:].any()


def test_the_class_names_of_a_list_start_no_formula(tmp_path: Path) -> None:
    cases = [
        replace(a_case(str(n), n), label=ClassLabel((name,))) for n, name in enumerate(("=cmd|'/c calc'!A0", "+1+1"))
    ]
    try:
        root = export_dataset(cases, tmp_path, replace(OPTIONS, format="classification")).root
    except MedDLError:
        return
    for path in (*root.rglob("*.csv"), *root.rglob("*.tsv")):
        cells = [cell for line in path.read_text("utf-8").splitlines() for cell in line.replace('"', "").split(",")]
        assert not [cell for cell in cells if cell.startswith(("=", "+", "@"))]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_pipes_and_devices_in_the_place_of_lists_keys_and_labels_are_refused(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.mrk.json"
    os.mkfifo(pipe)
    write_volume(a_case("a", 1).images["T1"], tmp_path / "a.nii.gz")
    listing = tmp_path / "list.csv"
    for column in ("landmarks", "boxes", "segmentation", "target"):
        listing.write_text(f"case,image,{column}\nx,a.nii.gz,{pipe.name}\n", "utf-8")
        with pytest.raises(UsageError):
            collect_cases(listing)
    for read in (read_key, read_scheme, collect_cases):
        with pytest.raises(UsageError):
            read(pipe)
        with pytest.raises(UsageError):
            read(Path("/dev/zero"))


def test_the_readme_and_tables_of_bids_hold_no_formula_and_no_markup(tmp_path: Path) -> None:
    case = a_case("a", 1, "=cmd|'/c calc'!A0")
    case = replace(case, images={"T1w": case.images["T1"]})
    options = replace(OPTIONS, format="bids", name="<script>x</script>", description="<img src=x>", license="<b>")

    root = export_dataset([case], tmp_path, options).root

    assert not re.search(r"(?<!\\)<", (root / "README.md").read_text("utf-8"))
    cells = [cell for path in root.rglob("*.tsv") for cell in re.split(r"[\t\n]", path.read_text("utf-8"))]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "@"))]
    assert not verify_dataset(root).problems
