"""New DICOM series from volumes: a file per slice, with nothing in its header but the image and a made-up patient."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from meddl.datasets.deidentify.uids import new_uid
from meddl.errors import VolumeError
from meddl.volume import Volume, is_sheared, whole_file
from meddl.volume.geometry import flip_lps_ras, spacing_of

from .stored_values import StoredValues, decimal_text, stored_values

if TYPE_CHECKING:
    import pydicom

_CT = "1.2.840.10008.5.1.4.1.1.2"
_MR = "1.2.840.10008.5.1.4.1.1.4"
_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_EMPTY = (
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "AccessionNumber",
    "PatientBirthDate",
    "PatientSex",
    "Laterality",
)
_KIND: Mapping[str, Mapping[str, Any]] = {
    _CT: {"ImageType": ["DERIVED", "SECONDARY", "AXIAL"], "KVP": "", "AcquisitionNumber": "", "PatientPosition": ""},
    _MR: {
        "ImageType": ["DERIVED", "SECONDARY", "OTHER"], "ScanningSequence": "RM", "SequenceVariant": "NONE",
        "ScanOptions": "", "MRAcquisitionType": "", "RepetitionTime": "", "EchoTime": "", "EchoTrainLength": "",
        "PatientPosition": "",
    },
    _CAPTURE: {"ImageType": ["DERIVED", "SECONDARY"], "ConversionType": "WSD", "PatientOrientation": ""},
}  # fmt: skip


@dataclass(frozen=True)
class SeriesIdentity:
    """Whose a series is, all of it made up.

    Attributes:
        patient, case: as the dataset calls them.
        channel: what the series is called.
        number: of the series in its study, from 1.
        secret: what UIDs are derived from.
        method: how it came that nobody is known by it; "" where names were kept.
        faceless: no face can be made out any more.
    """

    patient: str
    case: str
    channel: str
    number: int
    secret: bytes
    method: str
    faceless: bool = False

    def uid(self, *parts: str) -> str:
        """Return the UID of a part of the case: the same each time, and made up by the secret."""
        return new_uid(self.secret, "\n".join(("case", self.patient, self.case, *parts)))


def is_color(volume: Volume) -> bool:
    """Say whether the volume is one picture in red, green and blue."""
    return volume.channels == 3 and volume.array.dtype == np.uint8 and volume.shape[2] == 1


def check_slices(volume: Volume) -> None:
    """Find out whether a series can hold a volume.

    Raises:
        VolumeError: its axes are not at right angles, or it has several values per voxel and is no color picture.
    """
    if volume.channels > 1 and not is_color(volume):
        raise VolumeError(
            f"The image has {volume.channels} values per voxel, where a DICOM series holds one. Make a channel of "
            "each, or choose another format."
        )
    if is_sheared(volume.affine):
        raise VolumeError(
            "The image's axes are not at right angles to each other, and many programs take a DICOM series for a "
            "straight stack. Choose a spacing for the dataset, so that the image is resampled, or another format."
        )


def write_slices(volume: Volume, folder: Path, modality: str, identity: SeriesIdentity) -> StoredValues | None:
    """Write a series of CT or MR images (secondary captures for other modalities), one file per slice along K.

    A color picture keeps its colors and its pixel size, and has no place in space.

    Returns:
        How the values are stored; None for a color picture.

    Raises:
        VolumeError: the series cannot hold the volume, or a file cannot be written.
    """
    check_slices(volume)
    values = None if is_color(volume) else stored_values(volume.array[0])
    # Another image of the same case, for instance of other voxels, must not have the UIDs of this one.
    content = hashlib.sha256(f"{volume.array.dtype} {volume.affine.tolist()}".encode())
    content.update(np.ascontiguousarray(volume.array).data)
    folder.mkdir(parents=True, exist_ok=True)
    for number, dataset in enumerate(_slices(volume, values, modality, identity, content.hexdigest()), start=1):
        with whole_file(folder / f"{number:04d}.dcm") as file:
            dataset.save_as(file, enforce_file_format=True)
    return values


def _slices(
    volume: Volume, values: StoredValues | None, modality: str, identity: SeriesIdentity, content: str
) -> Iterator[pydicom.Dataset]:
    kind = {"CT": _CT, "MR": _MR}.get(modality, _CAPTURE) if values is not None else _CAPTURE
    pixels = volume.array if values is None else values.array[np.newaxis]
    lps = flip_lps_ras(volume.affine)
    for k in range(volume.shape[2]):
        dataset = _dataset(kind, identity, content, k)
        dataset.Modality = modality if re.fullmatch(r"[A-Z]{2,16}", modality) else "OT"
        for keyword, value in _KIND[kind].items():
            setattr(dataset, keyword, value)
        _set_place(dataset, lps, k, placed=values is not None)
        _set_pixels(dataset, pixels[..., k])
        if values is not None and (kind == _CT or (values.slope, values.intercept) != ("1", "0")):
            _set_scaling(dataset, values, kind)
        yield dataset


def _dataset(kind: str, identity: SeriesIdentity, content: str, k: int) -> pydicom.Dataset:
    import pydicom
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian

    import meddl

    dataset = pydicom.Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = UID(kind)
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    instance = UID(identity.uid("image", identity.channel, content, str(k)))
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = instance
    dataset.SpecificCharacterSet = "ISO_IR 192"
    for keyword in _EMPTY:
        setattr(dataset, keyword, "")
    dataset.PatientName = dataset.PatientID = identity.patient[:64]
    if identity.method:
        dataset.PatientIdentityRemoved = "YES"
        dataset.DeidentificationMethod = identity.method[:64]
        dataset.LongitudinalTemporalInformationModified = "REMOVED"
    if identity.faceless:
        dataset.RecognizableVisualFeatures = "NO"
    dataset.StudyInstanceUID = identity.uid("study")
    dataset.StudyID = identity.case[:16]
    dataset.SeriesInstanceUID = identity.uid("series", identity.channel, content)
    dataset.SeriesNumber = identity.number
    dataset.SeriesDescription = dicom_text(identity.channel)
    dataset.InstanceNumber = k + 1
    dataset.Manufacturer = dataset.ManufacturerModelName = "MedDL"
    dataset.SoftwareVersions = f"MedDL {meddl.__version__}"
    dataset.FrameOfReferenceUID = identity.uid("frame of reference")
    dataset.PositionReferenceIndicator = ""
    return dataset


def _set_place(dataset: pydicom.Dataset, lps: np.ndarray, k: int, *, placed: bool) -> None:
    spacing = spacing_of(lps)
    dataset.PixelSpacing = [decimal_text(spacing[1]), decimal_text(spacing[0])]
    if not placed:
        del dataset.FrameOfReferenceUID, dataset.PositionReferenceIndicator
        return
    dataset.SliceThickness = dataset.SpacingBetweenSlices = decimal_text(spacing[2])
    dataset.ImagePositionPatient = [decimal_text(x) for x in (lps @ [0, 0, k, 1])[:3]]
    dataset.ImageOrientationPatient = [decimal_text(x) for x in (lps[:3, :2] / spacing[:2]).T.ravel()]


def _set_pixels(dataset: pydicom.Dataset, pixels: np.ndarray) -> None:
    """Store (C, I, J): rows run along I, columns along J."""
    color = pixels.shape[0] == 3
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = (3, "RGB") if color else (1, "MONOCHROME2")
    if color:
        dataset.PlanarConfiguration = 0
    dataset.Columns, dataset.Rows = pixels.shape[1:]
    bits = 8 * pixels.dtype.itemsize
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    data = pixels.transpose(2, 1, 0).astype(pixels.dtype.newbyteorder("<"), copy=False).tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OB" if bits == 8 else "OW"


def _set_scaling(dataset: pydicom.Dataset, values: StoredValues, kind: str) -> None:
    dataset.RescaleIntercept, dataset.RescaleSlope = values.intercept, values.slope
    dataset.RescaleType = "HU" if kind == _CT else "US"
    if values.largest_error:
        dataset.DerivationDescription = (
            f"Scaled to 16 bits: no value is more than {values.largest_error:.2g} off what it was."
        )


def dicom_text(text: str) -> str:
    """Return a text that DICOM's long strings can hold: 64 characters of one line without backslashes."""
    return " ".join(text.replace("\\", "/").split())[:64]
