"""DICOM series: sorted by place, in modality values, and refused when they make no gapless, unambiguous volume."""

from __future__ import annotations

import logging
import random
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pydicom.data
import pytest
import realdata
import SimpleITK as sitk
from core.dicom_writer import Edit, set_raw, write_enhanced, write_series
from core.phantoms import PLACES, SHEARED, axis_orders, reordered, world_of
from meddl.errors import MedDLError, UsageError, VolumeError
from meddl.volume import Volume, read_volume
from pydicom.dataset import FileDataset

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def vertebra() -> Volume:
    """A part of a real CT, its values whole numbers from -1024 on."""
    ct = read_volume(realdata.tptbox()["sub-ct_label-22_ct"])
    affine = ct.affine.copy()
    affine[:3, 3] = ct.affine[:3] @ [20, 10, 30, 1]
    return Volume(np.maximum(ct.array[:, 20:33, 10:25, 30:40], -1024), affine)


def gdcm_read(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """The series as SimpleITK sorts and places it: (I, J, K) and affine to RAS."""
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image).T, LPS @ affine


def same_in_the_patient(volume: Volume, expected: Volume) -> None:
    """Each value is at the same place; the slices may come in the opposite order."""
    if np.abs(volume.affine[:3, 3] - expected.affine[:3, 3]).max() > 1e-3:
        expected = reordered(expected, (0, 1, 2), (1, 1, -1))
    np.testing.assert_array_equal(volume.array, expected.array)
    np.testing.assert_allclose(
        world_of(volume.affine, volume.shape), world_of(expected.affine, expected.shape), atol=1e-4
    )


class TestReading:
    def test_all_axis_orders_are_placed_as_simpleitk_places_them(self, vertebra: Volume, tmp_path: Path) -> None:
        small = Volume(vertebra.array[:, :6, :5, :4], vertebra.affine)
        for number, order in enumerate(axis_orders()):
            stored = reordered(small, *order)
            folder = tmp_path / str(number)
            write_series(folder, stored)
            volume = read_volume(folder)
            same_in_the_patient(volume, stored)
            array, affine = gdcm_read(folder)
            np.testing.assert_array_equal(volume.array[0], array)
            np.testing.assert_allclose(volume.affine, affine, atol=1e-4)

    @pytest.mark.parametrize("where", PLACES)
    def test_oblique_and_anisotropic_series(self, where: str, vertebra: Volume, tmp_path: Path) -> None:
        stored = Volume(vertebra.array, PLACES[where])
        write_series(tmp_path, stored)
        volume = read_volume(tmp_path)
        same_in_the_patient(volume, stored)
        np.testing.assert_allclose(volume.affine, gdcm_read(tmp_path)[1], atol=1e-4)

    def test_slices_are_sorted_by_place_not_by_name_or_number(self, vertebra: Volume, tmp_path: Path) -> None:
        names = random.Random(1).sample(range(1000), vertebra.shape[2])

        def shuffle(dataset: FileDataset, k: int) -> None:
            dataset.InstanceNumber = names[-k]

        write_series(tmp_path, vertebra, name=lambda k: f"{names[k]}.dcm", edit=shuffle)
        same_in_the_patient(read_volume(tmp_path), vertebra)

    def test_any_file_of_a_series_stands_for_it(self, vertebra: Volume, tmp_path: Path) -> None:
        files = write_series(tmp_path, vertebra, name="IM{:04d}".format)
        write_series(tmp_path, Volume(vertebra.array[..., :3], np.eye(4)), name="other{}".format, series_uid="1.2.3")
        (tmp_path / "README.txt").write_text("not an image")
        (tmp_path / "._IM0001.dcm").write_bytes(b"macOS leaves such files")
        same_in_the_patient(read_volume(files[4]), vertebra)

    def test_gantry_tilt_is_kept_as_shear(self, vertebra: Volume, tmp_path: Path) -> None:
        stored = Volume(vertebra.array, SHEARED)
        write_series(tmp_path, stored)
        same_in_the_patient(read_volume(tmp_path), stored)

    def test_a_single_slice_has_the_thickness_of_its_header(self, vertebra: Volume, tmp_path: Path) -> None:
        stored = Volume(vertebra.array[..., :1], PLACES["oblique"])
        write_series(tmp_path, stored)
        volume = read_volume(tmp_path)
        assert volume.shape == (13, 15, 1)
        assert volume.spacing == pytest.approx(stored.spacing)

    def test_enhanced_multi_frame_files(self, vertebra: Volume, tmp_path: Path) -> None:
        for stored in (vertebra, Volume(vertebra.array, SHEARED)):
            write_enhanced(tmp_path / "x.dcm", stored)
            volume = read_volume(tmp_path / "x.dcm")
            same_in_the_patient(volume, stored)
            assert "intercept -1024" in volume.meta["rescaled"]

    def test_compressed_series_are_those_of_gdcm(self, vertebra: Volume, tmp_path: Path) -> None:
        files = write_series(tmp_path / "plain", vertebra)
        (tmp_path / "packed").mkdir()
        for path in files:
            dataset = pydicom.dcmread(path)
            dataset.compress(pydicom.uid.RLELossless)
            dataset.save_as(tmp_path / "packed" / path.name)
        packed = read_volume(tmp_path / "packed")
        np.testing.assert_array_equal(packed.array, read_volume(tmp_path / "plain").array)
        np.testing.assert_array_equal(packed.array[0], gdcm_read(tmp_path / "packed")[0])
        assert "rescaled" in packed.meta

    def test_a_negative_keeps_its_values(self, vertebra: Volume, tmp_path: Path) -> None:
        files = write_series(tmp_path, vertebra, edit=setting("PhotometricInterpretation", "MONOCHROME1"))
        volume = read_volume(tmp_path)
        same_in_the_patient(volume, vertebra)
        assert volume.meta["photometric"] == "MONOCHROME1"
        for path in files:  # compressed, SimpleITK turns the values round
            dataset = pydicom.dcmread(path)
            dataset.compress(pydicom.uid.RLELossless)
            dataset.save_as(path)
        with pytest.raises(VolumeError, match="stored as a negative"):
            read_volume(tmp_path)

    @pytest.mark.parametrize(
        "name", ["CT_small.dcm", "MR_small.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm", "MR_small_RLE.dcm",
                 "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "693_J2KI.dcm"]
    )  # fmt: skip
    def test_files_of_real_scanners(self, name: str, tmp_path: Path) -> None:
        shutil.copy(str(pydicom.data.get_testdata_file(name, download=False)), tmp_path / name)
        volume = read_volume(tmp_path / name)
        image = sitk.ReadImage(str(tmp_path / name))
        np.testing.assert_array_equal(volume.array[0], sitk.GetArrayFromImage(image).T)
        np.testing.assert_allclose(volume.affine[:3, 3], LPS[:3, :3] @ image.GetOrigin(), atol=1e-6)
        np.testing.assert_allclose(volume.spacing[:2], image.GetSpacing()[:2], rtol=1e-6)

    def test_values_are_modality_values_and_integers_stay_integers(self, vertebra: Volume, tmp_path: Path) -> None:
        write_series(tmp_path, vertebra)
        volume = read_volume(tmp_path)
        assert volume.array.dtype == np.int16
        assert volume.meta["rescaled"] == "slope 1, intercept -1024"

    def test_a_slope_for_each_slice_as_in_pet(self, vertebra: Volume, tmp_path: Path) -> None:
        def scale(dataset: FileDataset, k: int) -> None:
            dataset.RescaleSlope, dataset.RescaleIntercept = f"{0.5 + k}", "0"

        write_series(tmp_path, vertebra, edit=scale)
        array, _ = gdcm_read(tmp_path)
        volume = read_volume(tmp_path)
        assert volume.array.dtype == np.float32
        np.testing.assert_allclose(volume.array[0], array, rtol=1e-6)

    @pytest.mark.parametrize("signed", [0, 1])
    def test_bits_beside_the_stored_ones_are_no_part_of_the_value(
        self, signed: int, vertebra: Volume, tmp_path: Path
    ) -> None:
        def overlay(dataset: FileDataset, k: int) -> None:
            values = np.frombuffer(dataset.PixelData, np.uint16)
            dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 12, 11, signed
            dataset.PixelData = ((values & 0x0FFF) | 0xA000).astype(np.uint16).tobytes()

        write_series(tmp_path, vertebra, edit=overlay)
        np.testing.assert_array_equal(read_volume(tmp_path).array[0], gdcm_read(tmp_path)[0])

    def test_nothing_that_names_the_patient_is_kept_or_logged(
        self, vertebra: Volume, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        def broken(dataset: FileDataset, k: int) -> None:
            set_raw(dataset, "PixelSpacing", "Doe\\Jane")

        caplog.set_level(logging.INFO)
        write_series(tmp_path / "Doe_Jane", vertebra, name="Doe_Jane_{}.dcm".format)
        volume = read_volume(tmp_path / "Doe_Jane")
        assert (volume.name, volume.meta["modality"]) == ("CT", "CT")
        assert "Doe" not in repr(dict(volume.meta))
        write_series(tmp_path / "Doe_Jane", vertebra, name="Doe_Jane_{}.dcm".format, edit=broken)
        with pytest.raises(VolumeError) as caught:
            read_volume(tmp_path / "Doe_Jane")
        assert "Doe" not in caught.value.message + caught.value.details + caplog.text


def moved(axis: int, k: int, by: float) -> Edit:
    def edit(dataset: FileDataset, index: int) -> None:
        if index == k:
            position = [float(x) for x in dataset.ImagePositionPatient]
            position[axis] += by
            dataset.ImagePositionPatient = [f"{x:.6f}" for x in position]

    return edit


def setting(keyword: str, value: object, only: int | None = None) -> Edit:
    def edit(dataset: FileDataset, k: int) -> None:
        if only is None or k == only:
            setattr(dataset, keyword, value)

    return edit


def raw(keyword: str, text: str, only: int | None = None) -> Edit:
    def edit(dataset: FileDataset, k: int) -> None:
        if only is None or k == only:
            set_raw(dataset, keyword, text)

    return edit


def without(keyword: str) -> Edit:
    return lambda dataset, k: delattr(dataset, keyword)


STRAIGHT = np.diag([-0.8, -0.8, 2.5, 1.0])


OTHERS = [
    "test-SR.dcm", "rtplan.dcm", "rtdose.dcm", "rtstruct.dcm", "liver_1frame.dcm", "reportsi.dcm", "badVR.dcm",
    "examples_ybr_color.dcm", "image_dfl.dcm", "MR_truncated.dcm", "no_meta.dcm",
]  # fmt: skip


class TestRefusals:
    def test_missing_slices_are_counted(self, vertebra: Volume, tmp_path: Path) -> None:
        write_series(tmp_path, Volume(vertebra.array, STRAIGHT), skip=(3, 4, 7))
        with pytest.raises(VolumeError, match=r"gaps: 3 of its slices, 2.5 mm apart"):
            read_volume(tmp_path)

    @pytest.mark.parametrize(
        ("edit", "says"),
        [
            (moved(2, 4, 0.6), "uneven distances"),
            (moved(0, 4, 3.0), "off a straight"),
            (moved(2, 4, 2.5), "10 images at only 9 positions"),
            (setting("ImageOrientationPatient", ["1", "0", "0", "0", "0", "-1"], 0), "different orientations"),
            (setting("PixelSpacing", ["0.7", "0.8"], 3), "different voxel sizes"),
            (setting("FrameOfReferenceUID", "1.2.3", 3), "different frames of reference"),
            (without("ImagePositionPatient"), "no position"),
            (without("ImageOrientationPatient"), "no orientation"),
            (without("PixelSpacing"), "no voxel size"),
            (setting("ImageOrientationPatient", ["1", "0", "0", "1", "0", "0"]), "right angles"),
            (setting("ImageOrientationPatient", ["0"] * 6), "right angles"),
            (setting("PixelSpacing", ["0", "0.8"]), "not positive"),
            (setting("PixelSpacing", ["-0.8", "0.8"]), "not positive"),
            (setting("PixelSpacing", ["0.8", "0.0000001"]), "voxel size"),
            (setting("PixelSpacing", ["0.8", "90000"]), "voxel size"),
            (raw("PixelSpacing", "nan\\nan"), "a broken voxel size"),
            (raw("PixelSpacing", "1e400\\1"), "a broken voxel size"),
            (raw("PixelSpacing", "0.8"), "a broken voxel size"),
            (raw("PixelSpacing", "__import__('os')\\1"), "broken v"),
            (raw("ImagePositionPatient", "inf\\0\\0", 2), "a broken position"),
            (raw("ImagePositionPatient", "1\\2", 2), "a broken position"),
            (raw("ImageOrientationPatient", "nan\\0\\0\\0\\1\\0"), "a broken orientation"),
            (raw("RescaleSlope", "nan"), "rescale slope or intercept: it is not a number"),
            (raw("RescaleSlope", "inf"), "rescale slope or intercept: it is not a number"),
            (raw("RescaleSlope", "1e999"), "rescale slope or intercept: it is not a number"),
            (raw("RescaleIntercept", "nan", 5), "rescale slope or intercept: it is not a number"),
            (raw("RescaleSlope", "0"), "it is zero"),
            (raw("RescaleSlope", "1e300"), "absurdly"),
            (raw("RescaleIntercept", "-9e99"), "absurdly"),
            (raw("RescaleSlope", "1;rm -rf"), "broken"),
            (raw("NumberOfFrames", "99999999999"), "sizes in its header that its file cannot hold"),
            (raw("NumberOfFrames", "-3"), "sizes in its header|multi-frame"),
            (raw("NumberOfFrames", "2.7e9"), "broken values|cannot hold"),
            (setting("Columns", 12), "more voxels than its header announces"),
            (setting("Rows", 65535), "sizes in its header that its file cannot hold"),
            (setting("Rows", 0), "cannot hold"),
            (setting("Columns", 12, 3), "different sizes"),
            (setting("SamplesPerPixel", 3), "in color"),
            (setting("PhotometricInterpretation", "RGB"), "in color"),
            (setting("PhotometricInterpretation", "PALETTE COLOR"), "in color"),
            (setting("BitsAllocated", 12), "not supported"),
            (setting("BitsStored", 20), "not supported"),
            (setting("Modality", "SEG"), "is a segmentation"),
            (setting("PixelData", b"\0\0"), "cannot be decoded"),
            (setting("Rows", 14), "more voxels than its header announces"),
        ],
    )  # fmt: skip
    def test_one_sentence_says_what_is_wrong(self, edit: Edit, says: str, vertebra: Volume, tmp_path: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's, on writing what we ask of it
            write_series(tmp_path, Volume(vertebra.array, STRAIGHT), edit=edit)
        with pytest.raises(VolumeError, match=says) as caught:
            read_volume(tmp_path)
        assert "Doe" not in caught.value.message and str(tmp_path) not in caught.value.message

    def test_rounded_positions_are_no_gaps(self, vertebra: Volume, tmp_path: Path) -> None:
        def rounded(dataset: FileDataset, k: int) -> None:
            dataset.ImagePositionPatient = [f"{float(x):.1f}" for x in dataset.ImagePositionPatient]

        affine = np.diag([-0.8, -0.8, 2.47, 1.0])
        write_series(tmp_path, Volume(vertebra.array, affine), edit=rounded)
        assert read_volume(tmp_path).spacing[2] == pytest.approx(2.47, abs=0.02)

    def test_several_series_are_listed_and_one_can_be_chosen(self, vertebra: Volume, tmp_path: Path) -> None:
        write_series(tmp_path, vertebra, name="a{}".format, series_uid="1.2.3")
        write_series(tmp_path, Volume(vertebra.array, STRAIGHT), name="b{}".format, series_uid="1.2.4", skip=(0,))
        with pytest.raises(VolumeError, match=r"2 DICOM series.*1\.2\.3 \(CT, 10 files\), 1\.2\.4 \(CT, 9 files\)"):
            read_volume(tmp_path)
        same_in_the_patient(read_volume(tmp_path, series_uid="1.2.3"), vertebra)
        with pytest.raises(UsageError, match="no DICOM series"):
            read_volume(tmp_path, series_uid="1.2.5")
        with pytest.raises(UsageError, match="not of the series"):
            read_volume(tmp_path / "a1", series_uid="1.2.4")

    def test_a_damaged_file_among_the_slices_is_not_passed_over(self, vertebra: Volume, tmp_path: Path) -> None:
        files = write_series(tmp_path, vertebra)
        files[-1].write_bytes(files[-1].read_bytes()[:90])
        with pytest.raises(VolumeError, match="slices may be missing"):
            read_volume(tmp_path)

    @pytest.mark.parametrize("name", OTHERS)
    def test_other_objects_and_damaged_files(self, name: str, tmp_path: Path) -> None:
        shutil.copy(str(pydicom.data.get_testdata_file(name, download=False)), tmp_path / name)
        for path in (tmp_path, tmp_path / name):
            with pytest.raises(VolumeError):
                read_volume(path)

    def test_clips_and_broken_multi_frame_files(self, vertebra: Volume, tmp_path: Path) -> None:
        def clip(dataset: FileDataset, _: int) -> None:
            del dataset.PerFrameFunctionalGroupsSequence

        def short(dataset: FileDataset, _: int) -> None:
            dataset.PerFrameFunctionalGroupsSequence = dataset.PerFrameFunctionalGroupsSequence[:3]

        for edit in (clip, short):
            write_enhanced(tmp_path / "x.dcm", vertebra, edit=edit)
            with pytest.raises(VolumeError, match="no places in space"):
                read_volume(tmp_path / "x.dcm")

    @pytest.mark.parametrize("prepare", [lambda folder: None, lambda folder: (folder / "x.txt").write_text("x")])
    def test_folders_without_images(self, prepare: Callable[[Path], None], tmp_path: Path) -> None:
        prepare(tmp_path)
        with pytest.raises(MedDLError, match="no DICOM images"):
            read_volume(tmp_path)
