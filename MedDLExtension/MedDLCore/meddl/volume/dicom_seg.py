"""Segmentations as DICOM SEG: written beside the series they were made from, by highdicom; read back by pydicom."""

from __future__ import annotations

import hashlib
import logging
import uuid
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from meddl.errors import UsageError, VolumeError

from .data import Segment, Volume
from .dicom_frames import quiet_pydicom
from .dicom_series import dicom_headers, is_flat_image, place_stack
from .terminology import Code, parse_terminology
from .writing import whole_file

logger = logging.getLogger(__name__)

_TOLERANCE_MM = 0.02
_NEEDED = {
    "PatientID": "", "PatientName": "", "PatientBirthDate": "", "PatientSex": "", "AccessionNumber": "", "StudyID": "",
    "StudyDate": "", "StudyTime": "", "ReferringPhysicianName": "",
}  # fmt: skip
"""What the standard lets be empty, but wants to be there; de-identified series often lack them."""


@dataclass(frozen=True)
class Maker:
    """What made a segmentation, as a DICOM SEG tells it.

    Attributes:
        name: of the model.
        version: of the model.
        parameters: what else identifies the run, for instance the model's SHA-256.
        software: programs and their versions, for instance ``("MedDL 0.2", "torch 2.13")``.
        created: when; default: now. The same labels, model and time give the same bytes.
        by_hand: no program answers for it, but people: the segments then name no algorithm.
    """

    name: str
    version: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    software: tuple[str, ...] = ()
    created: datetime | None = None
    by_hand: bool = False


def write_dicom_seg(
    labels: Volume,
    segments: Sequence[Segment],
    path: Path,
    *,
    source: Path,
    maker: Maker,
    series_uid: str | None = None,
    kind: Literal["BINARY", "LABELMAP"] = "BINARY",
) -> None:
    """Write a segmentation as a DICOM SEG object of the study that the image is from.

    Patient and study are those of the image, and every frame refers to the slice it belongs to. Segments carry their
    name, color, codes (category, type, modifier, region) and the model that made them.

    Args:
        labels: ``(L, I, J, K)`` of uint8 or uint16 on the image's grid, which may be stored in another axis order.
        segments: what each label of each layer is.
        source: the DICOM series, as :func:`meddl.volume.read_volume` takes it.
        kind: "BINARY" is what all readers know; "LABELMAP" (since 2024) is smaller and has no overlapping segments.

    Raises:
        UsageError: segments overlap, or are none, so that ``kind`` cannot hold them.
        VolumeError: the series cannot be referred to, is not the one the labels lie on, or the file cannot be written.
    """
    if not segments:
        raise UsageError("There are no segments, and a DICOM SEG needs at least one.")
    overlapping = labels.channels > 1
    if overlapping and kind == "LABELMAP":
        raise UsageError("Structures overlap here, which a DICOM label map cannot hold. Write a binary DICOM SEG.")
    files, order, affine = _source(source, series_uid)
    labels = _onto(labels, affine)
    names = maker.name.strip() or "model"
    stamp = maker.created or datetime.now()
    seed = "\n".join(
        [str(file.SOPInstanceUID) for file in files]
        + [names, maker.version, kind, stamp.isoformat(), repr(sorted(maker.parameters.items())), repr(segments)]
    )
    content = hashlib.sha256(seed.encode() + np.ascontiguousarray(labels.array).tobytes()).hexdigest()
    import highdicom
    from highdicom.seg import Segmentation
    from pydicom.uid import ExplicitVRLittleEndian, RLELossless

    software: Any = [*maker.software, f"highdicom {highdicom.__version__}"]  # in a tuple, pydicom objects to it
    with warnings.catch_warnings(), quiet_pydicom():
        warnings.simplefilter("ignore")
        try:
            dataset = Segmentation(
                source_images=files,
                pixel_array=_pixels(labels, segments, order, stacked=overlapping),
                segmentation_type=kind,
                segment_descriptions=[
                    _description(number, segment, maker, str(files[0].get("SeriesInstanceUID")))
                    for number, segment in enumerate(segments, start=1)
                ],
                series_instance_uid=_uid("series", content),
                series_number=_series_number(files[0]),
                sop_instance_uid=_uid("instance", content),
                instance_number=1,
                manufacturer="MedDL",
                manufacturer_model_name="MedDL",
                software_versions=software,
                device_serial_number=str(maker.parameters.get("sha256", "") or "none")[:64],
                content_label="SEGMENTATION",
                content_description=_short(f"{names} {maker.version}"),
                series_description=_short(names if maker.by_hand else f"Segmentation by {names}"),
                content_date=stamp.date(),
                content_time=stamp.time().replace(tzinfo=None),
                specific_character_set="ISO_IR 192",
                omit_empty_frames=bool(labels.array.any()),
                transfer_syntax_uid=RLELossless if kind == "LABELMAP" else ExplicitVRLittleEndian,
            )
        except (ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
            logger.debug("highdicom: %r", error)
            raise VolumeError(
                "The DICOM SEG could not be made: the series lacks something that the standard asks for. "
                "Write the segmentation as .seg.nrrd.",
                details=f"{type(error).__name__}: {error}",
            ) from error
        _settle(dataset, stamp, content)
        with whole_file(path) as file:
            dataset.save_as(file, enforce_file_format=True)


def check_dicom_source(source: Path | None, series_uid: str | None = None) -> None:
    """Find out, before long work, whether a DICOM SEG could refer to ``source``.

    Raises:
        UsageError: it is no DICOM image.
        VolumeError: it cannot be referred to, or is damaged.
    """
    from .dicom_frames import is_dicom

    if source is None or not (source.is_dir() or (source.is_file() and is_dicom(source))):
        raise UsageError(
            "A DICOM SEG refers to the DICOM series it was made from, but the input is no DICOM. "
            "Let the output end in .seg.nrrd."
        )
    _source(source, series_uid)


def _source(source: Path, series_uid: str | None) -> tuple[list[Any], list[int], np.ndarray]:
    """Return the headers to refer to, for each of their frames the K it lies at, and the affine of the image."""
    import pydicom

    headers = dicom_headers(source, series_uid=series_uid)
    if is_flat_image(headers):
        from .dicom_picture import read_flat

        affine = read_flat(headers[0])[0].affine
        order, used = [0], headers
    else:
        frames, affine = place_stack(headers)
        used = list({frame.header.path: frame.header for frame in frames}.values())
        if len(used) == len(frames):
            order = list(range(len(frames)))
        elif len(used) == 1:
            order = [k for _, k in sorted((frame.index, k) for k, frame in enumerate(frames))]
        else:
            raise VolumeError(
                "The DICOM series lies in several multi-frame files, which one DICOM SEG cannot refer to. "
                "Write the segmentation as .seg.nrrd."
            )
    with quiet_pydicom():
        files = [pydicom.dcmread(header.path, stop_before_pixels=True) for header in used]
    for file in files:
        if not all(
            str(file.get(key) or "").strip() for key in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
        ):
            raise VolumeError(
                "The DICOM series has lost its unique identifiers, so that no DICOM SEG can refer to it. "
                "Write the segmentation as .seg.nrrd."
            )
        for key, value in _NEEDED.items():
            if file.get(key) is None:
                setattr(file, key, value)
    return files, order, affine


def _onto(labels: Volume, affine: np.ndarray) -> Volume:
    """Return ``labels`` in the axis order of the series, or raise VolumeError if they do not lie on its voxels."""
    index = np.linalg.inv(affine) @ labels.affine
    turn = np.rint(index[:3, :3])
    if not (np.abs(turn).sum(axis=0) == 1).all() or not (np.abs(turn).sum(axis=1) == 1).all():
        raise _elsewhere()
    array = labels.array.transpose(0, *(1 + int(np.argmax(np.abs(turn[axis]))) for axis in range(3)))
    for axis in range(3):
        if turn[axis].sum() < 0:
            array = np.flip(array, axis + 1)
    corner = np.array([0.0 if turn[axis].sum() > 0 else array.shape[axis + 1] - 1 for axis in range(3)])
    expected = np.eye(4)
    expected[:3, :3], expected[:3, 3] = turn, corner
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in labels.shape], indexing="ij")).reshape(3, -1)
    corners = np.vstack([corners, np.ones(corners.shape[1])])
    if np.abs((affine @ expected - labels.affine) @ corners).max() > _TOLERANCE_MM:
        raise _elsewhere()
    return Volume(array, affine)


def _elsewhere() -> VolumeError:
    return VolumeError(
        "The segmentation does not lie on the voxels of the DICOM series, so that its slices cannot refer to it. "
        "Choose the series it was made from, or write .seg.nrrd."
    )


def _pixels(labels: Volume, segments: Sequence[Segment], order: list[int], *, stacked: bool) -> np.ndarray:
    """Return (frames, rows, columns) of segment numbers, or of 0 and 1 with an axis of segments behind."""
    if labels.shape[2] != len(order):
        raise _elsewhere()
    slices = labels.array.transpose(0, 3, 2, 1)[:, order]
    if stacked:
        masks = [slices[segment.layer] == segment.label for segment in segments]
        return np.stack(masks, axis=-1).astype(np.uint8)
    numbers = np.zeros(int(slices.max()) + 1, np.uint8 if len(segments) < 256 else np.uint16)
    for number, segment in enumerate(segments, start=1):
        if segment.label < len(numbers):
            numbers[segment.label] = number
    return numbers[slices[0]]


def _description(number: int, segment: Segment, maker: Maker, series: str) -> Any:
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentDescription
    from highdicom.sr import CodedConcept

    def coded(code: Code) -> Any:
        return CodedConcept(code.value, code.scheme, code.meaning)

    terms = parse_terminology(segment.terminology)
    description = SegmentDescription(
        number,
        _short(segment.name),
        coded(terms.category),
        coded(terms.type),
        "MANUAL" if maker.by_hand else "AUTOMATIC",
        None if maker.by_hand else _algorithm(maker),
        # The same structure found by the same model in the same series is the same thing.
        tracking_uid=_uid("tracking", f"{series}\n{maker.name}\n{maker.version}\n{segment.layer}\n{segment.label}"),
        tracking_id=_short(f"{maker.name}: {segment.name}"),
        anatomic_regions=[coded(terms.region)] if terms.region else None,
        display_color=CIELabColor.from_rgb(*(round(255 * part) for part in segment.color)),
    )
    if terms.modifier:
        description.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [
            coded(terms.modifier)
        ]
    if terms.region_modifier:
        description.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = [coded(terms.region_modifier)]
    return description


def _algorithm(maker: Maker) -> Any:
    from highdicom import AlgorithmIdentificationSequence
    from pydicom.sr.codedict import codes

    return AlgorithmIdentificationSequence(
        _short(maker.name.strip() or "model"),
        codes.DCM.ArtificialIntelligence,
        _short(maker.version or "unknown"),
        source="MedDL",
        parameters={key: value.replace(",", ";") for key, value in maker.parameters.items()} or None,
    )


def _settle(dataset: Any, stamp: datetime, content: str) -> None:
    """Replace what highdicom makes anew at every call: times and the identifier of the dimensions."""
    dataset.InstanceCreationDate, dataset.InstanceCreationTime = dataset.ContentDate, dataset.ContentTime
    fixed = {
        "DimensionOrganizationUID": _uid("dimensions", content),
        "ContributionDateTime": stamp.strftime("%Y%m%d%H%M%S"),
    }

    def settle(_: Any, element: Any) -> None:
        if element.keyword in fixed:
            element.value = fixed[element.keyword]

    dataset.walk(settle)


def _series_number(file: Any) -> int:
    """Return a number that puts the segmentation behind the series it is of."""
    number = file.get("SeriesNumber")
    return int(number) * 100 + 1 if number not in (None, "") and 0 <= int(number) < 10**6 else 1


def _short(text: str) -> str:
    """Return a text that DICOM's long strings can hold: 64 characters of one line without backslashes."""
    return " ".join(text.replace("\\", "/").split())[:64]


def _uid(what: str, content: str) -> str:
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, f'meddl {what} {content}').int}"
