"""DICOM PS3.15 Annex E: the Basic Application Level Confidentiality Profile and its options, on one dataset.

Beyond the standard's table, which knows only what should hold names: private attributes, attributes that no dictionary
knows, overlays and curves go wholly; whatever text is left is searched for what identified the patient elsewhere in the
same header; words hidden between the pixels are blanked; and images with text burned in are refused or blanked.
"""

from __future__ import annotations

import copy
import hashlib
import logging
from typing import TYPE_CHECKING

from meddl.datasets.options import DeidentifyOptions
from meddl.errors import VolumeError

from . import attributes
from .burned_in import without_burned_in
from .elements import Pass, clean_dataset
from .seen_in_header import seen_in
from .uids import is_public, new_uid

if TYPE_CHECKING:
    import pydicom

logger = logging.getLogger(__name__)

_CODES = (
    ("113100", "Basic Application Confidentiality Profile"),
    ("113101", "Clean Pixel Data Option"),
    ("113105", "Clean Descriptors Option"),
    ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    ("113111", "Retain Safe Private Option"),
)
_NOT_IMAGES = (
    "1.2.840.10008.5.1.4.1.1.104.", "1.2.840.10008.5.1.4.1.1.88.", "1.2.840.10008.5.1.4.1.1.9.",
    "1.2.840.10008.5.1.4.1.1.11.", "1.2.840.10008.5.1.4.1.1.66", "1.2.840.10008.5.1.4.38.",
)  # fmt: skip
_SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.5", "1.2.840.10008.5.1.4.1.1.66.7")
_VIDEO = "1.2.840.10008.1.2.4.10"


def deidentify_dataset(
    dataset: pydicom.Dataset, options: DeidentifyOptions, *, patient: str, case: str, secret: bytes
) -> pydicom.Dataset:
    """Return a copy of a DICOM dataset, with its file meta information, in which nobody is known any more.

    Args:
        dataset: as it was read; it is not changed.
        patient: in the dataset ("patient_0003"): becomes PatientName and PatientID. Dates are shifted alike for it.
        case: in the dataset ("case_0007"): becomes StudyID.
        secret: what made-up UIDs and shifts of dates are derived from.

    Raises:
        VolumeError: text may be burned into its pixels, or it is of a kind that cannot be de-identified.
    """
    if options.profile == "none":
        return copy.deepcopy(dataset)
    if not secret:
        raise ValueError("no secret")
    _check_kind(dataset)
    cleaned = _copy(dataset)
    cleaned_pixels = without_burned_in(cleaned, options)
    context = Pass(options, patient, case, secret, seen_in(cleaned))
    _fill_uids(cleaned, patient, case)
    clean_dataset(cleaned, context)
    _without_hidden_words(cleaned)
    cleaned.PatientName = cleaned.PatientID = patient
    _say_what_was_done(cleaned, options, cleaned_pixels)
    _finish_meta(cleaned)
    return cleaned


def _check_kind(dataset: pydicom.Dataset) -> None:
    kind = str(dataset.get("SOPClassUID") or "")
    if "EncapsulatedDocument" in dataset or "WaveformSequence" in dataset or (
        kind.startswith(_NOT_IMAGES) and not kind.startswith(_SEGMENTATIONS)
    ):  # fmt: skip
        raise VolumeError("A DICOM file is a document, report, waveform, raw data or drawing, not an image. What it "
                          "says cannot be de-identified. Leave it out.")  # fmt: skip
    meta = getattr(dataset, "file_meta", None)
    if meta is not None and str(meta.get("TransferSyntaxUID") or "").startswith(_VIDEO):
        raise VolumeError("A DICOM file is a video, whose sound and subtitles cannot be de-identified. Leave it out.")


def _copy(dataset: pydicom.Dataset) -> pydicom.Dataset:
    """Return a deep copy that knows nothing of the file it came from: neither its path nor its preamble."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    meta = FileMetaDataset()
    old = getattr(dataset, "file_meta", None)
    syntax = old.get("TransferSyntaxUID") if old is not None else None
    implicit, little = dataset.original_encoding
    if syntax is None:
        plain = {(True, True): ImplicitVRLittleEndian, (False, False): ExplicitVRBigEndian}
        syntax = plain.get((bool(implicit), little is not False), ExplicitVRLittleEndian)
    meta.TransferSyntaxUID = UID(syntax)
    return FileDataset(
        "", copy.deepcopy(dataset), preamble=bytes(128), file_meta=meta,
        is_implicit_VR=UID(syntax).is_implicit_VR if implicit is None else implicit,
        is_little_endian=UID(syntax).is_little_endian if little is None else little,
    )  # fmt: skip


def _fill_uids(dataset: pydicom.Dataset, patient: str, case: str) -> None:
    """Give a file with missing or empty UIDs ones of its own, before they are replaced."""
    content = ""
    if not dataset.get("SOPInstanceUID"):
        places = [str(dataset.get(key, "")) for key in ("InstanceNumber", "ImagePositionPatient", "SliceLocation")]
        content = hashlib.sha256("\0".join(places).encode() + bytes(dataset.get("PixelData") or b"")).hexdigest()
    for keyword, text in (
        ("StudyInstanceUID", f"{patient} study"),
        ("SeriesInstanceUID", f"{case} series {dataset.get('SeriesNumber', '')} {dataset.get('Modality', '')}"),
        ("SOPInstanceUID", f"{case} instance {content}"),
    ):
        if not str(dataset.get(keyword) or "").strip(" \0"):
            setattr(dataset, keyword, new_uid(b"missing", text))
    if "FrameOfReferenceUID" in dataset and not dataset.FrameOfReferenceUID:
        dataset.FrameOfReferenceUID = new_uid(b"missing", f"{case} frame")


def _without_hidden_words(dataset: pydicom.Dataset) -> None:
    from pydicom.encaps import encapsulate, generate_frames
    from pydicom.uid import RLELossless

    from .pixel_bytes import without_comments, without_rest, without_unused_bits

    pixels = dataset.get("PixelData")
    if not pixels:
        return
    if dataset.file_meta.TransferSyntaxUID == RLELossless:  # between its runs, and behind them, there may be anything
        pixels = _decompressed(dataset)
    if not dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        pixels = without_rest(dataset, pixels)
        if dataset.file_meta.TransferSyntaxUID != "1.2.840.10008.1.2.2":
            pixels = without_unused_bits(dataset, pixels)
        dataset.PixelData = pixels
        return
    try:
        count = int(dataset.get("NumberOfFrames") or 1)
        frames = [without_comments(frame) for frame in generate_frames(pixels, number_of_frames=count)]
    except Exception as error:
        raise VolumeError("A DICOM file has compressed pixels that are damaged. Export it again.",
                          details=type(error).__name__) from error  # fmt: skip
    # Anew, since between the fragments there may be room for more than frames.
    dataset.PixelData = encapsulate(frames, has_bot="ExtendedOffsetTable" not in dataset)
    dataset["PixelData"].VR = "OB"
    for keyword in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
        if keyword in dataset:
            del dataset[keyword]


def _decompressed(dataset: pydicom.Dataset) -> bytes:
    """Decompress the pixels in place."""
    from pydicom.pixels import decompress

    try:
        decompress(dataset, as_rgb=False, generate_instance_uid=False)
    except Exception as error:
        raise VolumeError("A DICOM file has compressed pixels that are damaged. Export it again.",
                          details=type(error).__name__) from error  # fmt: skip
    return bytes(dataset.PixelData)


def _say_what_was_done(dataset: pydicom.Dataset, options: DeidentifyOptions, cleaned_pixels: bool) -> None:
    from pydicom import Dataset
    from pydicom.sequence import Sequence

    done = {"113100"}
    if options.clean_pixels:
        done.add("113101")
    if options.clean_descriptors:
        done.add("113105")
    if options.shift_dates:
        done.add("113107")
    if options.keep_safe_private:
        done.add("113111")
    items = []
    for code, meaning in _CODES:
        if code in done:
            item = Dataset()
            item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code, "DCM", meaning
            items.append(item)
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = f"MedDL: DICOM PS3.15 {attributes.EDITION} Basic Profile with options"[:64]
    dataset.DeidentificationMethodCodeSequence = Sequence(items)
    dataset.LongitudinalTemporalInformationModified = "MODIFIED" if options.shift_dates else "REMOVED"
    if cleaned_pixels:
        dataset.BurnedInAnnotation = "NO"


def _finish_meta(dataset: pydicom.Dataset) -> None:
    meta = dataset.file_meta
    if not is_public(str(dataset.get("SOPClassUID") or "")):
        raise VolumeError("A DICOM file is of a kind that the standard does not know. Leave it out.")
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
