"""De-identified DICOM files: what stays consistent, what free text hides, and what is refused."""

from __future__ import annotations

import io
import time
from datetime import date, timedelta

import numpy as np
import pydicom
import pytest
from meddl.datasets.deidentify import deidentify_dataset
from meddl.datasets.deidentify.dates import days_of, moved
from meddl.datasets.deidentify.free_text import clean
from meddl.datasets.options import DeidentifyOptions
from meddl.errors import VolumeError
from pydicom.data import get_testdata_file
from pydicom.sequence import Sequence

SECRET = b"s" * 32
ALL = DeidentifyOptions(shift_dates=True, clean_descriptors=True, keep_safe_private=True, clean_pixels=True)


def ct() -> pydicom.Dataset:
    path = get_testdata_file("CT_small.dcm", download=False)
    assert isinstance(path, str)
    return pydicom.dcmread(path)


def cleaned(
    dataset: pydicom.Dataset, options: DeidentifyOptions = ALL, *, patient: str = "patient_0001", secret: bytes = SECRET
) -> pydicom.Dataset:
    return deidentify_dataset(dataset, options, patient=patient, case="case_0001", secret=secret)


def written(dataset: pydicom.Dataset) -> bytes:
    sink = io.BytesIO()
    dataset.save_as(sink, enforce_file_format=True)
    return sink.getvalue()


def test_a_file_says_how_it_was_de_identified() -> None:
    result = pydicom.dcmread(io.BytesIO(written(cleaned(ct()))))

    assert result.PatientIdentityRemoved == "YES" and result.DeidentificationMethod.startswith("MedDL")
    codes = [item.CodeValue for item in result.DeidentificationMethodCodeSequence]
    assert codes == ["113100", "113101", "113105", "113107", "113111"]
    assert result.LongitudinalTemporalInformationModified == "MODIFIED"
    basic = cleaned(ct(), DeidentifyOptions())
    assert [item.CodeValue for item in basic.DeidentificationMethodCodeSequence] == ["113100"]
    assert basic.LongitudinalTemporalInformationModified == "REMOVED"


def test_voxels_and_their_place_stay() -> None:
    before, after = ct(), pydicom.dcmread(io.BytesIO(written(cleaned(ct()))))

    assert np.array_equal(before.pixel_array, after.pixel_array)
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "Modality"):
        assert after[keyword].value == before[keyword].value


def test_the_dataset_that_was_read_is_left_as_it_was() -> None:
    dataset = ct()
    before = dataset.to_json()

    cleaned(dataset)

    assert dataset.to_json() == before


def test_the_same_file_gives_the_same_bytes() -> None:
    assert written(cleaned(ct())) == written(cleaned(ct()))


def test_without_a_profile_nothing_is_changed() -> None:
    assert cleaned(ct(), DeidentifyOptions(profile="none")).to_json() == ct().to_json()


def test_uids_are_the_same_wherever_they_stand_and_depend_on_the_secret() -> None:
    one, other = ct(), ct()
    reference = pydicom.Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = one.SOPClassUID, one.SOPInstanceUID
    other.SOPInstanceUID += ".7"
    other.ReferencedImageSequence = Sequence([reference])

    first, second, third = cleaned(one), cleaned(other), cleaned(one, secret=b"t" * 32)

    assert second.ReferencedImageSequence[0].ReferencedSOPInstanceUID == first.SOPInstanceUID != second.SOPInstanceUID
    assert first.file_meta.MediaStorageSOPInstanceUID == first.SOPInstanceUID
    assert first.StudyInstanceUID == second.StudyInstanceUID != third.StudyInstanceUID
    assert first.SOPClassUID == one.SOPClassUID
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        assert first[keyword].value.is_valid and len(first[keyword].value) <= 64
        assert first[keyword].value.startswith("2.25.")


def test_a_file_with_empty_uids_gets_ones_of_its_own() -> None:
    one, other = ct(), ct()
    for number, dataset in enumerate((one, other)):
        dataset.SOPInstanceUID = dataset.SeriesInstanceUID = dataset.StudyInstanceUID = ""
        dataset.ImagePositionPatient = [0, 0, number]

    first, second = cleaned(one), cleaned(other)

    assert first.SOPInstanceUID.startswith("2.25.") and first.SOPInstanceUID != second.SOPInstanceUID
    assert first.SeriesInstanceUID == second.SeriesInstanceUID != first.StudyInstanceUID


def _days(dataset: pydicom.Dataset, keyword: str) -> date:
    text = str(dataset[keyword].value)
    return date(int(text[:4]), int(text[4:6]), int(text[6:8]))


def test_shifted_dates_keep_what_lies_between_them_also_over_midnight_and_a_leap_day() -> None:
    dataset = ct()
    dataset.StudyDate, dataset.StudyTime = "20240228", "235000"
    dataset.AcquisitionDateTime = "20240229001000.250+0100"
    dataset.SeriesDate, dataset.SeriesTime = "20240301", "000500.5"
    dataset.DateOfLastCalibration, dataset.TimeOfLastCalibration = ["20231231", "20240101"], ["1200", "13"]

    result = cleaned(dataset)
    days = days_of(SECRET, "patient_0001")

    assert -3650 <= days < 0
    assert _days(result, "StudyDate") == date(2024, 2, 28) + timedelta(days)
    assert _days(result, "AcquisitionDateTime") - _days(result, "StudyDate") == timedelta(1)
    assert _days(result, "SeriesDate") - _days(result, "StudyDate") == timedelta(2)
    assert (result.StudyTime, result.SeriesTime) == ("235000", "000500.5")
    assert result.AcquisitionDateTime[8:] == "001000.250+0100"
    first, second = result.DateOfLastCalibration
    assert moved("20231231", "DA", days) == first and moved("20240101", "DA", days) == second
    assert result.PatientBirthDate == ""


def test_dates_of_a_patient_move_alike_and_those_of_others_do_not() -> None:
    shifts = {days_of(SECRET, f"patient_{number:04}") for number in range(50)}

    assert len(shifts) > 45
    assert cleaned(ct()).StudyDate == cleaned(ct()).StudyDate != cleaned(ct(), patient="patient_0002").StudyDate
    assert cleaned(ct()).StudyDate != cleaned(ct(), secret=b"u" * 32).StudyDate


@pytest.mark.parametrize(
    ("text", "vr", "result"),
    [
        ("20240301", "DA", "20240228"), ("2024.03.01", "DA", "20240228"), ("20240301000500", "DT", "20240228000500"),
        ("202403", "DT", "202403"), ("2024", "DT", "2024"), ("20240301-0500", "DT", "20240228-0500"),
        ("20241301", "DA", ""), ("Doe", "DA", ""), ("20240301Doe", "DT", ""), ("00010101", "DA", ""), ("", "DA", ""),
        ("235960.999999", "TM", "235960.999999"), ("23:59:59", "TM", "23:59:59"), ("Doe", "TM", ""), ("2561", "TM", ""),
        ("20240101-20240201", "DA", ""),
    ],
)  # fmt: skip
def test_what_is_no_date_is_not_kept_as_one(text: str, vr: str, result: str) -> None:
    assert moved(text, vr, -2) == result


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("T2_TSE ax Müller^Hans 12.05.1961 5.0mm, 94y", "T2 TSE ax 5.0mm"),
        ("CT Thorax/Abdomen w/o contrast", "CT Thorax Abdomen without contrast"),
        ("Dr. Long referred", ""),
        ("Brain MRI of Mrs Anna Head, 96 years old, tel. 030 1234 5678", "Brain MRI"),
        ("follow up 2019-03-04 14:33 for DOE JANE (4711-0815)", "follow up"),
        ("92 year old male, lung", "lung"),
        ("aged 101 knee left", "knee left"),
        ("jane.doe@example.org chest", "chest"),
        ("Charité Berlin Campus Mitte, B31f 1.5 spiral", "B31f 1.5 spiral"),
        ("ep2d_diff b1000 tra p2", "b1000 tra p2"),
        ("MRN00123456 sag", "sag"),
        ("Patient O'Neill-Smith; liver arterial phase 3", "liver arterial phase 3"),
        ("0123456789", ""),
        ("山田太郎 頭部 CT", "CT"),
        ("ΓΙΩΡΓΟΣ spine", "spine"),
    ],
)
def test_of_a_description_only_words_of_imaging_stay(text: str, left: str) -> None:
    assert clean(text) == left


def test_a_name_that_is_a_word_of_imaging_goes_where_somebody_has_it() -> None:
    dataset = ct()
    dataset.PatientName, dataset.ReferringPhysicianName = "Long^Arm", "Stone^Short"
    dataset.StudyDescription = "Long arm left short tau inversion"

    assert cleaned(dataset).StudyDescription == "left inversion"


def test_text_that_the_standard_does_not_list_is_searched_for_the_patient() -> None:
    dataset = ct()
    dataset.PatientName, dataset.PatientID = "Zzyzxname^Jane", "PAT-008154711"
    dataset.FilterType, dataset.ConvolutionKernel = "zzyzxname's", "STANDARD"
    dataset.BodyPartExamined = "ZZYZXNAME"
    item = pydicom.Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "T-1", "99X", "Lung of Jane Zzyzxname"
    item.LongCodeValue = "see pat008154711"
    dataset.AnatomicRegionSequence = Sequence([item])

    told = f"{cleaned(dataset)}".casefold()

    assert "zzyzx" not in told and "8154711" not in told and "jane" not in told
    assert cleaned(dataset).ConvolutionKernel == "STANDARD" and cleaned(dataset).Manufacturer


def test_damaged_elements_go() -> None:
    dataset = ct()
    raw = pydicom.dataelem.RawDataElement(pydicom.tag.Tag(0x00181150), "IS", 8, b"Zzyzxnam", 0, False, True)
    dataset._dict[raw.tag] = raw

    assert b"Zzyzx" not in written(cleaned(dataset))


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("1.2.840.10008.5.1.4.1.1.104.1", "document"), ("1.2.840.10008.5.1.4.1.1.88.22", "document"),
        ("1.2.840.10008.5.1.4.1.1.11.1", "document"), ("1.2.840.10008.5.1.4.1.1.9.1.1", "document"),
        ("1.2.3.4", "standard does not know"),
    ],
)  # fmt: skip
def test_what_is_no_image_is_refused(kind: str, why: str) -> None:
    dataset = ct()
    dataset.SOPClassUID = kind

    with pytest.raises(VolumeError, match=why):
        cleaned(dataset)


def test_a_file_keeps_nothing_of_where_it_came_from() -> None:
    dataset = ct()
    dataset.preamble = b"II*\0 Zzyzxname".ljust(128)
    dataset.file_meta.SourceApplicationEntityTitle = "ZZYZXNAME"
    dataset.file_meta.PrivateInformationCreatorUID = "1.2.3"
    dataset.file_meta.PrivateInformation = b"Zzyzxname"

    result = cleaned(dataset)

    assert b"zzyzxname" not in written(result).lower()
    assert "CT_small" not in str(getattr(result, "filename", "")) and "PrivateInformation" not in result.file_meta


def test_contacts_and_the_makers_own_codes_are_searched() -> None:
    dataset = ct()
    dataset.PatientName = "Zzyzxname^Jane"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL", "ZZYZXNAME"]
    dataset.ManufacturerModelName = "ask jane.d@hospital.example"

    result = cleaned(dataset)

    assert list(result.ImageType) == ["ORIGINAL", "PRIMARY"] and "@" not in result.ManufacturerModelName


def test_a_series_of_many_frames_takes_seconds_at_most() -> None:
    dataset = ct()
    frames = []
    for number in range(400):
        frame, place, content = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
        place.ImagePositionPatient = [0, 0, number]
        content.FrameAcquisitionDateTime, content.FrameComments = "20240229235959.5", "of Zzyzxname"
        frame.PlanePositionSequence, frame.FrameContentSequence = Sequence([place]), Sequence([content])
        frames.append(frame)
    dataset.PerFrameFunctionalGroupsSequence = Sequence(frames)
    started = time.monotonic()

    result = cleaned(dataset)

    assert time.monotonic() - started < 10
    items = [each.FrameContentSequence[0] for each in result.PerFrameFunctionalGroupsSequence]
    assert {item.get("FrameComments") for item in items} == {None} and items[0].FrameAcquisitionDateTime[
        8:
    ] == "235959.5"
