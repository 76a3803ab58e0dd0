"""Each attribute of DICOM PS3.15's Table E.1-1, at the top and in sequences, under each option that touches it."""

from __future__ import annotations

import itertools

import pydicom
import pytest
from meddl.datasets.deidentify import attributes, deidentify_dataset
from meddl.datasets.options import DeidentifyOptions
from meddl.errors import VolumeError
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

SECRET = b"k" * 32
PLANTED = "Zzyzxname"
UID = "1.3.12.2.1107.5.1.4.99999.30000099"
DATE = "19870605"
NAMES = {"PatientName": "patient_0001", "PatientID": "patient_0001", "StudyID": "case_0001"}
OPTIONS = [
    DeidentifyOptions(shift_dates=dates, clean_descriptors=words, keep_safe_private=private)
    for dates, words, private in itertools.product((False, True), repeat=3)
]

# What is new in the standard is not in the dictionary of pydicom yet; a file says itself of what kind it is.
NEW = {
    0x0040B034: "DT", 0x0040E012: "UR", 0x0040A034: "DT", 0x0040A035: "DT", 0x00102162: "UC", 0x00100044: "SQ",
    0x00100045: "UT", 0x00100041: "SQ", 0x00081304: "SQ", 0x0040B03F: "SH", 0x0040B03B: "LO", 0x00100012: "LO",
    0x00100013: "UT", 0x00100011: "SQ", 0x00081302: "SQ", 0x00081301: "SQ", 0x00100015: "LO", 0x00100016: "SQ",
    0x00081303: "SQ", 0x0040B036: "LO", 0x00100046: "SQ", 0x00100042: "DT", 0x00100047: "SQ", 0x00100043: "SQ",
    0x00100014: "SQ",
}  # fmt: skip


def vr_of(tag: int) -> str:
    try:
        return dictionary_VR(tag).split(" or ")[0]
    except KeyError:
        return NEW.get(tag, "LO")


def filled(tag: int) -> pydicom.DataElement:
    """Return an element with something of everything its kind can hold that identifies somebody."""
    vr = vr_of(tag)
    if vr == "SQ":
        item = pydicom.Dataset()
        item.PatientName = PLANTED
        item.CodeMeaning, item.TextValue = PLANTED, PLANTED
        item.ReferencedSOPInstanceUID, item.ContentDate = UID, DATE
        item.add_new(0x00091001, "LO", PLANTED)
        return pydicom.DataElement(tag, "SQ", Sequence([item]))
    values = {
        "DA": DATE, "DT": f"{DATE}101112", "TM": "101112.25", "UI": UID, "AS": "093Y", "AE": PLANTED.upper(),
        "CS": PLANTED.upper(), "OB": PLANTED.encode() + b"\0", "OW": PLANTED.encode() + b"\0", "UN": PLANTED.encode(),
        "DS": "93.5", "IS": "93", "FD": 93.5, "FL": 93.5, "US": 93, "SS": 93, "UL": 93, "SL": 93, "AT": 0x00100010,
        "UR": f"http://{PLANTED}.example",
    }  # fmt: skip
    return pydicom.DataElement(tag, vr, values.get(vr, PLANTED))


def base() -> FileDataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, CTImageStorage
    meta.SourceApplicationEntityTitle = PLANTED
    dataset = FileDataset("", {}, file_meta=meta, preamble=PLANTED.encode().ljust(128))
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, UID + ".1"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = UID + ".2", UID + ".3"
    dataset.Modality, dataset.PatientName, dataset.PatientID = "CT", f"{PLANTED}^Jane", "4711"
    return dataset


def cleaned(dataset: pydicom.Dataset, options: DeidentifyOptions, secret: bytes = SECRET) -> pydicom.Dataset:
    return deidentify_dataset(dataset, options, patient="patient_0001", case="case_0001", secret=secret)


def text_of(dataset: pydicom.Dataset) -> str:
    return f"{dataset.file_meta} {dataset.to_json()}".casefold()


@pytest.mark.parametrize("place", ["top", "in an item"])
@pytest.mark.parametrize("tag", sorted(attributes.listed()), ids=lambda tag: keyword_for_tag(tag) or f"{tag:08X}")
def test_each_attribute_of_the_standard_loses_what_identifies(tag: int, place: str) -> None:
    dataset = base()
    element = filled(tag)
    if place == "top" and tag >> 16 == 2:
        dataset.file_meta.add(element)
    elif place == "top":
        dataset.add(element)
    else:
        item, inner = pydicom.Dataset(), pydicom.Dataset()
        inner.add(element)
        item.DerivationCodeSequence = Sequence([inner])
        dataset.SharedFunctionalGroupsSequence = Sequence([item])
    if element.keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        dataset[tag].value = UID if place == "top" else dataset.get(tag).value
    if element.keyword == "EncapsulatedDocument" and place == "top":
        with pytest.raises(VolumeError, match="document"):
            cleaned(dataset, OPTIONS[0])
        return

    for options in OPTIONS:
        result = cleaned(dataset, options)

        told = text_of(result)
        assert PLANTED.casefold() not in told and UID not in told
        assert DATE not in told and "093y" not in told
        assert PLANTED.encode() not in b"".join(bytes(value) for value in _bytes_in(result))
        holder = result
        if place != "top":
            holder = result.SharedFunctionalGroupsSequence[0].DerivationCodeSequence[0]
        _check_action(holder.get(Tag(tag)), tag, element.VR, options)


def _check_action(element: pydicom.DataElement | None, tag: int, vr: str, options: DeidentifyOptions) -> None:
    """Assert that what is left of an element is what the standard's code, or an option, says."""
    code, keyword = attributes.listed()[tag], keyword_for_tag(tag)
    if tag >> 16 < 8 or tag >> 24 in (0x50, 0x60):
        assert element is None  # of commands, file meta information and directories nothing stays, nor of overlays
    elif keyword in NAMES:
        assert element is not None and str(element.value) == NAMES[keyword]
    elif options.shift_dates and attributes.keeps_shifted(keyword, vr) and vr != "SH":
        assert element is not None and len(str(element.value)) == len(str(filled(tag).value))
    elif code == "X":
        assert element is None
    elif code in ("Z", "X/Z"):
        assert element is not None and element.is_empty
    elif code == "U" or vr == "UI":
        assert element is not None and str(element.value).startswith("2.25.")
    elif code == "X/Z/U*":
        assert element is not None and element.value[0].ReferencedSOPInstanceUID.startswith("2.25.")
    else:
        assert element is not None and not element.is_empty


def _bytes_in(dataset: pydicom.Dataset) -> list[bytes]:
    return [element.value for element in dataset.iterall() if isinstance(element.value, bytes)]


def test_the_table_is_the_whole_of_the_standard() -> None:
    listed = attributes.listed()

    assert len(listed) > 640
    # One of each action, by heart.
    known = {
        "PatientName": "Z", "PatientID": "Z/D", "AccessionNumber": "Z", "StudyDate": "Z", "PatientBirthDate": "Z",
        "ContentDate": "Z/D", "SeriesDescription": "X", "DeviceSerialNumber": "X/Z/D", "ProtocolName": "X/D",
        "SOPInstanceUID": "U", "ReferencedImageSequence": "X/Z/U*", "InstitutionName": "X/Z/D", "PatientAge": "X",
        "AcquisitionDate": "X/Z", "OperatorsName": "X/Z/D", "ContentSequence": "D",
    }  # fmt: skip
    assert {keyword: listed[pydicom.datadict.tag_for_keyword(keyword)] for keyword in known} == known


@pytest.mark.parametrize("group", [0x6000, 0x6002, 0x601E, 0x5000, 0x5006])
def test_overlays_and_curves_of_all_groups_go_wholly(group: int) -> None:
    dataset = base()
    dataset.add_new((group, 0x0022), "LO", PLANTED)
    dataset.add_new((group, 0x4000), "LT", PLANTED)
    dataset.add_new((group, 0x3000), "OW", PLANTED.encode() + b"\0")
    dataset.add_new((group, 0x1500), "LO", PLANTED)

    assert not [element for element in list(cleaned(dataset, OPTIONS[0])) if element.tag.group == group]


def test_private_attributes_go_at_every_depth_and_only_harmless_numbers_stay_on_request() -> None:
    dataset = base()
    for holder in (dataset, pydicom.Dataset()):
        block = holder.private_block(0x0019, "SIEMENS MR HEADER", create=True)
        block.add_new(0x0C, "IS", "1000")
        block.add_new(0x0E, "FD", [0.5, 0.5, 0.7])
        block.add_new(0x08, "CS", PLANTED.upper())
        holder.private_block(0x0029, PLANTED, create=True).add_new(0x01, "LO", PLANTED)
        holder.private_block(0x0043, "GEMS_PARM_01", create=True).add_new(0x39, "LO", PLANTED)
        if holder is not dataset:
            dataset.SharedFunctionalGroupsSequence = Sequence([holder])

    none = cleaned(dataset, DeidentifyOptions())
    some = cleaned(dataset, DeidentifyOptions(keep_safe_private=True))

    assert not any(element.tag.is_private for element in none.iterall())
    for holder in (some, some.SharedFunctionalGroupsSequence[0]):
        kept = [element for element in holder if element.tag.is_private]
        assert [element.value for element in kept] == ["SIEMENS MR HEADER", 1000, [0.5, 0.5, 0.7]]


def test_attributes_that_no_dictionary_knows_go() -> None:
    dataset = base()
    dataset.add_new(0x00100FFE, "LO", PLANTED)
    dataset.add_new(0x00280FFE, "US", 4711)

    result = cleaned(dataset, OPTIONS[-1])

    assert 0x00100FFE not in result and 0x00280FFE not in result
