"""Names burned into pixels: who is at risk, what is refused, and what is blanked on request.

Ultrasound and captures of screens usually have the patient's name in the picture. They are refused unless their header
denies it (BurnedInAnnotation NO) or the user asks to blank text. Of those, and of all other two-dimensional pictures,
the pixels are searched too. Slices of CT and MR are not: nothing is written into them, while their captures are known
by their headers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from meddl.datasets.options import DeidentifyOptions
from meddl.errors import VolumeError

from .text_detection import Box, text_boxes

if TYPE_CHECKING:
    import pydicom

    from meddl.volume import Volume

_STORAGE = "1.2.840.10008.5.1.4.1.1."
_CAPTURES = ("7", "7.1", "7.2", "7.3", "7.4")
_ULTRASOUND = ("3", "3.1", "6", "6.1", "6.2")
_PICTURES = (
    "1", "1.1", "1.1.1", "1.2", "1.2.1", "1.3", "1.3.1", "12.1", "12.2", "77.1.1", "77.1.1.1", "77.1.2", "77.1.4",
    "77.1.4.1", "77.1.5.1", "77.1.5.2",
)  # fmt: skip
_AT_RISK = frozenset({"US", "IVUS", "SC", "OT", "DOC", "ES", "XC", "GM", "OP", "ECG", "HC"})
_MOST_FRAMES = 12
_ROUNDS = 4

_ADVICE = "Have text blanked (clean_pixels) and look at the result, or leave the image out."


@dataclass(frozen=True)
class Risk:
    """What a header says of text in the pixels.

    Attributes:
        says: its BurnedInAnnotation: "YES", "NO" or "".
        likely: it is of a kind that usually has the patient's name in the picture.
        searched: it is two-dimensional, or likely: its pixels are searched for text.
        regions: of ultrasound, where the image itself is: boxes of rows and columns.
    """

    says: str = ""
    likely: bool = False
    searched: bool = False
    regions: tuple[Box, ...] = ()

    @property
    def refused(self) -> bool:
        """Whether the image is not to be taken as it is, whatever its pixels look like."""
        return self.says == "YES" or (self.likely and self.says != "NO")


def risk_of(dataset: pydicom.Dataset) -> Risk:
    """Return what a DICOM header says of text in the pixels."""
    kind = str(dataset.get("SOPClassUID") or "").removeprefix(_STORAGE)
    modality = str(dataset.get("Modality") or "").upper()
    image_type = [str(each).upper() for each in (_values(dataset.get("ImageType")))]
    capture = (
        kind in _CAPTURES
        or "SCREEN SAVE" in image_type
        or bool(dataset.get("ConversionType"))
        or "DateOfSecondaryCapture" in dataset
    )
    likely = capture or kind in _ULTRASOUND or modality in _AT_RISK
    says = str(dataset.get("BurnedInAnnotation") or "").strip().upper()
    return Risk(says, likely, likely or kind in _PICTURES or says == "YES", _regions(dataset))


def without_burned_in(dataset: pydicom.Dataset, options: DeidentifyOptions) -> bool:
    """Refuse a DICOM image that may hold text, or blank the text in place; say whether its pixels were searched.

    Raises:
        VolumeError: it may hold text and ``options.clean_pixels`` is off; or text that it says it has is not found.
    """
    if not dataset.get("PixelData"):
        return False
    risk = risk_of(dataset)
    if risk.refused and not options.clean_pixels:
        raise _refusal(risk)
    if not risk.searched:
        return False
    frames, colors = _frames(dataset)
    boxes = _boxes_of(frames)
    if boxes and not options.clean_pixels:
        raise _refusal(risk, boxes)
    if options.clean_pixels:
        _check_found(risk, boxes)
        cleaned = _blanked(frames, boxes, risk)
        if cleaned is not None:
            _store(dataset, cleaned, colors)
    return True


def without_burned_in_text(
    image: Volume,
    path: Path | None,
    options: DeidentifyOptions,
    series_uid: str | None = None,
    files: Sequence[Path] = (),
) -> tuple[Volume, tuple[str, ...]]:
    """Refuse an image that may hold text, or return it with the text blanked, and sentences on what was done.

    Args:
        image: ``(C, I, J, K)`` on the grid it was read with.
        path: the file or folder it was read from, whose DICOM header says more; None for an image in memory.
        series_uid: which series of a folder it was read from, where there are several.
        files: the series' own, where they lie in folders below.

    Raises:
        VolumeError: it may hold text and ``options.clean_pixels`` is off; or text that it says it has is not found.
    """
    risk = _risk_of_file(path, series_uid, files) if path is not None else None
    axis = next((axis for axis in (2, 1, 0) if image.shape[axis] == 1), None)
    if risk is None:
        likely = str(image.meta.get("modality", "")).upper() in _AT_RISK
        risk = Risk(likely=likely, searched=likely or axis is not None)
    if risk.refused and not options.clean_pixels:
        raise _refusal(risk)
    if not (risk.searched or axis is not None):
        return image, ()
    # Columns lie along I and rows along J as files are read; one picture for each position along K.
    along = 2 if axis is None else axis
    frames = np.moveaxis(image.array, along + 1, 0).transpose(0, 3, 2, 1)  # (frames, rows, columns, channels)
    boxes = _boxes_of(frames)
    if boxes and not options.clean_pixels:
        raise _refusal(risk, boxes)
    if not options.clean_pixels:
        return image, ()
    _check_found(risk, boxes)
    cleaned = _blanked(frames, boxes, risk)
    if cleaned is None:
        return image, ()
    array = np.moveaxis(cleaned.transpose(0, 3, 2, 1), 0, along + 1)
    places = f"text blanked in {len(boxes)} place{'s' * (len(boxes) != 1)}" if boxes else ""
    outside = "all outside of the ultrasound regions blanked" if risk.regions else ""
    return replace(image, array=np.ascontiguousarray(array)), tuple(note for note in (places, outside) if note)


def _risk_of_file(path: Path, series_uid: str | None, files: Sequence[Path]) -> Risk | None:
    """Return the risk of a DICOM file or folder (the highest of its files), None for any other file."""
    import pydicom

    if not files and not path.is_dir():
        files = [path]
    elif not files:
        files = sorted(each for each in path.iterdir() if each.is_file())
    risks = []
    for file in files:
        try:
            header = pydicom.dcmread(file, stop_before_pixels=True)
            if series_uid in (None, str(header.get("SeriesInstanceUID"))):
                risks.append(risk_of(header))
        except Exception:  # no DICOM
            continue
    if not risks:
        return None
    says = next((each for each in ("YES", "", "NO") if any(risk.says == each for risk in risks)), "")
    return Risk(
        says, any(risk.likely for risk in risks), any(risk.searched for risk in risks),
        risks[0].regions if all(risk.regions == risks[0].regions for risk in risks) else (),
    )  # fmt: skip


def _frames(dataset: pydicom.Dataset) -> tuple[np.ndarray, bool]:
    """Return the pixels as (frames, rows, columns, channels), and whether they are colors."""
    from pydicom.pixels import apply_color_lut, pixel_array

    try:
        pixels = pixel_array(dataset)
    except Exception as error:
        raise VolumeError("The pixels of a DICOM image that may hold text cannot be decoded, so they cannot be "
                          "searched. Export it uncompressed, or leave it out.",
                          details=type(error).__name__) from error  # fmt: skip
    colors = int(dataset.get("SamplesPerPixel") or 1) > 1
    if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":  # numbers of colors look like anything
        pixels, colors = apply_color_lut(pixels, dataset)[..., :3], True
        pixels = (pixels >> 8).astype(np.uint8) if pixels.dtype.itemsize > 1 else pixels
    if not colors:
        pixels = pixels[..., np.newaxis]
    return (pixels if pixels.ndim == 4 else pixels[np.newaxis]), colors


def _store(dataset: pydicom.Dataset, frames: np.ndarray, colors: bool) -> None:
    from pydicom.uid import ExplicitVRLittleEndian

    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.set_original_encoding(False, True)
    dataset.PixelData = np.ascontiguousarray(frames).astype(frames.dtype.newbyteorder("<")).tobytes()
    if len(dataset.PixelData) % 2:
        dataset.PixelData += b"\0"
    dataset["PixelData"].VR = "OB" if frames.dtype.itemsize == 1 else "OW"
    if colors:
        dataset.PhotometricInterpretation, dataset.PlanarConfiguration, dataset.SamplesPerPixel = "RGB", 0, 3
        bits = 8 * frames.dtype.itemsize
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = (
            bits,
            bits,
            bits - 1,
            0,
        )
        for element in [each for each in dataset if "PaletteColorLookupTable" in each.keyword]:
            del dataset[element.tag]
    for keyword in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
        if keyword in dataset:
            del dataset[keyword]


def _boxes_of(frames: np.ndarray, around: bool = False) -> tuple[Box, ...]:
    """Return where text is in any of the frames that are looked at; text in a clip stays where it is."""
    found: set[Box] = set()
    for picture in _looked_at(frames):
        found |= set(text_boxes(picture, around=around))
    return tuple(sorted(found))


def _looked_at(frames: np.ndarray) -> Iterator[np.ndarray]:
    """Yield gray pictures: the frames themselves, or of long clips some, and what stays the same in all."""
    step = max(1, -(-len(frames) // _MOST_FRAMES))
    for frame in frames[::step]:
        yield frame if frame.shape[-1] == 3 else frame[..., 0]
    if len(frames) > 3:
        low = np.asarray(frames.min(axis=0))
        yield low if low.shape[-1] == 3 else low[..., 0]


def _blanked(frames: np.ndarray, boxes: Sequence[Box], risk: Risk) -> np.ndarray | None:
    """Return the frames with text, and what is outside of ultrasound regions, blank; None if that is nothing."""
    if not boxes and not risk.regions:
        return None
    cleaned = frames.copy()
    blank = frames.min()
    if risk.regions:
        inside = np.zeros(frames.shape[1:3], dtype=bool)
        for top, left, bottom, right in risk.regions:
            inside[max(top, 0) : bottom, max(left, 0) : right] = True
        cleaned[:, ~inside] = blank
    boxes = _boxes_of(frames, around=True) if boxes else ()
    rounds = 0
    while boxes and rounds < _ROUNDS:
        for top, left, bottom, right in boxes:
            margin = max(3, (bottom - top) // 2)
            cleaned[:, max(top - margin, 0) : bottom + margin, max(left - 2 * margin, 0) : right + 2 * margin] = blank
        boxes, rounds = _boxes_of(cleaned, around=True), rounds + 1
    if boxes:
        raise VolumeError("The text in an image could not be blanked for certain. Leave the image out, or blank it by "
                          "hand.")  # fmt: skip
    return cleaned


def _check_found(risk: Risk, boxes: Sequence[Box]) -> None:
    if risk.says == "YES" and not boxes and not risk.regions:
        raise VolumeError("A DICOM image says that text is burned into it, but none was found that could be blanked. "
                          "Leave the image out, or blank it by hand.")  # fmt: skip


def _refusal(risk: Risk, boxes: Sequence[Box] = ()) -> VolumeError:
    if risk.says == "YES":
        return VolumeError(f"A DICOM image says that text is burned into it. {_ADVICE}")
    if boxes:
        return VolumeError(f"Something that looks like text was found in an image; it may be a name. {_ADVICE}")
    return VolumeError("A DICOM image is an ultrasound or a capture of a screen, where names usually stand in the "
                       f"picture, and does not deny it (BurnedInAnnotation). {_ADVICE}")  # fmt: skip


def _regions(dataset: pydicom.Dataset) -> tuple[Box, ...]:
    keys = ("RegionLocationMinY0", "RegionLocationMinX0", "RegionLocationMaxY1", "RegionLocationMaxX1")
    boxes = []
    for region in dataset.get("SequenceOfUltrasoundRegions") or ():
        numbers = [region.get(key) for key in keys]
        if all(number is not None for number in numbers):
            top, left, bottom, right = (int(number) for number in numbers)
            if bottom > top and right > left:
                boxes.append((top, left, bottom + 1, right + 1))
    return tuple(boxes)


def _values(value: Any) -> Sequence[Any]:
    if value is None:
        return ()
    return value if hasattr(value, "append") else [value]
