"""Text burned into pixels: how often it is found, how often it is seen where none is, what is refused and blanked."""

from __future__ import annotations

import functools
import random
from pathlib import Path

import matplotlib
import numpy as np
import pydicom
import pytest
import realdata
from meddl.datasets.deidentify import deidentify_dataset
from meddl.datasets.deidentify.burned_in import risk_of, without_burned_in_text
from meddl.datasets.deidentify.text_detection import text_boxes
from meddl.datasets.options import DeidentifyOptions
from meddl.errors import VolumeError
from meddl.volume import Volume, read_volume
from PIL import Image, ImageDraw, ImageFont
from pydicom.data import get_testdata_file
from pydicom.sequence import Sequence
from pydicom.uid import SecondaryCaptureImageStorage, UltrasoundImageStorage

TEXTS = ("DOE^JANE 12.05.1961", "Schmidt, Hans", "ID 4711-0815", "MUELLER ANNA F 045Y", "1961-05-12 14:33")
FONTS = ("DejaVuSans.ttf", "DejaVuSansMono-Bold.ttf", "DejaVuSerif.ttf")
BASIC, BLANK = DeidentifyOptions(), DeidentifyOptions(clean_pixels=True)


@functools.cache
def slices() -> list[np.ndarray]:
    """Return slices of real images that no text is on, as 8-bit pictures of about 512 pixels."""
    patients, total = realdata.pyradiomics(), realdata.totalsegmentator()
    paths = [path for name, path in patients.items() if name.endswith("image")]
    paths += [
        realdata.itk_subject()[0],
        realdata.colin27()[0],
        total / "example_ct.nii.gz",
        total / "example_mr_sm.nii.gz",
    ]
    found = []
    for path in paths:
        array = read_volume(path).array[0]
        for axis in range(3):
            for part in (0.3, 0.5, 0.7):
                picture = np.take(array, int(array.shape[axis] * part), axis=axis).T.astype(float)
                if min(picture.shape) >= 60:
                    found.append(_enlarged(picture))
    return found


def _enlarged(picture: np.ndarray) -> np.ndarray:
    low, high = np.percentile(picture, [0.5, 99.5])
    image = Image.fromarray((np.clip((picture - low) / (high - low), 0, 1) * 255).astype(np.uint8))
    scale = 512 / max(image.size)
    return np.asarray(image.resize((int(image.width * scale), int(image.height * scale)), Image.Resampling.BICUBIC))


def with_text(
    picture: np.ndarray,
    text: str,
    size: int,
    contrast: float,
    font: str = FONTS[0],
    place: tuple[int, int] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return a picture (rows, columns) of 8 bits with a text on it, and where its strokes are."""
    drawn = Image.new("L", picture.shape[::-1], 0)
    face = ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / font), size)
    left, top, right, bottom = (int(each) for each in face.getbbox(text))
    x, y = place or (4, 4)
    ImageDraw.Draw(drawn).text((x - left, y - top), text, font=face, fill=255)
    stroke = np.asarray(drawn) / 255
    local = float(np.median(picture[y : y + bottom - top, x : x + right - left]))
    value = local + contrast * 255 if local + contrast * 255 <= 255 else local - contrast * 255
    value = value if 0 <= value <= 255 else (255.0 if local < 128 else 0.0)
    return np.rint(picture * (1 - stroke) + value * stroke).astype(np.uint8), stroke > 0.5


def covered(picture: np.ndarray, strokes: np.ndarray) -> float:
    inside = np.zeros(picture.shape, bool)
    for top, left, bottom, right in text_boxes(picture):
        inside[top:bottom, left:right] = True
    return float(inside[strokes].mean())


def test_text_of_many_sizes_and_contrasts_is_found_on_real_images() -> None:
    chance = random.Random(0)
    found: dict[tuple[str, str], list[bool]] = {}
    for size in (9, 12, 16, 24, 36):
        for contrast in (0.15, 0.4, 1.0):
            for middle in (False, True):
                for _ in range(3):
                    picture = chance.choice(slices())
                    text = chance.choice(TEXTS)[: int(1.4 * picture.shape[1] / size)]
                    place = (picture.shape[1] // 8, picture.shape[0] // 2) if middle else None
                    drawn, strokes = with_text(picture, text, size, contrast, chance.choice(FONTS), place)
                    kind = ("small" if size < 11 else "readable", "faint" if contrast < 0.3 else "clear")
                    found.setdefault(kind, []).append(covered(drawn, strokes) > 0)

    rates = {kind: float(np.mean(hits)) for kind, hits in found.items()}
    assert rates["readable", "clear"] >= 0.95
    assert rates["small", "clear"] >= 0.75
    assert rates["readable", "faint"] >= 0.6


def test_text_is_rarely_seen_where_there_is_none() -> None:
    seen = [bool(text_boxes(picture)) for picture in slices()]

    assert len(seen) > 40
    assert np.mean(seen) <= 0.1


@pytest.mark.parametrize("color", [(255, 255, 0), (0, 255, 0), (255, 255, 255), (90, 160, 255)])
def test_colored_text_is_found(color: tuple[int, int, int]) -> None:
    picture = np.zeros((240, 320, 3), np.uint8)
    _, strokes = with_text(picture[..., 0], TEXTS[0], 14, 1.0)
    picture[strokes] = color

    assert text_boxes(picture)


def test_empty_and_tiny_pictures_hold_no_text() -> None:
    assert text_boxes(np.zeros((3, 3))) == () == text_boxes(np.full((200, 200), np.nan))


def picture_file(kind: str, pixels: np.ndarray, **more: object) -> pydicom.Dataset:
    path = get_testdata_file("CT_small.dcm", download=False)
    assert isinstance(path, str)
    dataset = pydicom.dcmread(path)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = kind
    dataset.Modality = "US" if kind == UltrasoundImageStorage else "OT"
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    del dataset.RescaleSlope, dataset.RescaleIntercept, dataset.PixelPaddingValue
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OB"
    for keyword, value in more.items():
        setattr(dataset, keyword, value)
    return dataset


def cleaned(dataset: pydicom.Dataset, options: DeidentifyOptions = BASIC) -> pydicom.Dataset:
    return deidentify_dataset(dataset, options, patient="patient_0001", case="case_0001", secret=b"s" * 32)


def named() -> tuple[np.ndarray, np.ndarray]:
    ramp = np.add.outer(np.arange(256) / 4, np.arange(320) / 4).astype(np.uint8)
    return with_text(ramp, TEXTS[0], 14, 0.7)


def test_ultrasound_and_captures_are_refused_unless_they_deny_it_and_nothing_is_found() -> None:
    plain = np.add.outer(np.arange(256) / 4, np.arange(320) / 4).astype(np.uint8)
    for kind in (UltrasoundImageStorage, SecondaryCaptureImageStorage):
        with pytest.raises(VolumeError, match="clean_pixels"):
            cleaned(picture_file(kind, plain))
        with pytest.raises(VolumeError, match="says that text is burned"):
            cleaned(picture_file(kind, plain, BurnedInAnnotation="YES"))
        with pytest.raises(VolumeError, match="looks like text"):
            cleaned(picture_file(kind, named()[0], BurnedInAnnotation="NO"))
        assert cleaned(picture_file(kind, plain, BurnedInAnnotation="NO")).BurnedInAnnotation == "NO"


def test_a_capture_that_calls_itself_ct_is_known_by_its_header() -> None:
    path = get_testdata_file("CT_small.dcm", download=False)
    assert isinstance(path, str)
    dataset = pydicom.dcmread(path)
    assert not risk_of(dataset).searched and cleaned(dataset)

    dataset.ImageType = ["DERIVED", "SECONDARY", "SCREEN SAVE"]

    with pytest.raises(VolumeError, match="capture of a screen"):
        cleaned(dataset)


def test_text_is_blanked_on_request_and_the_rest_stays() -> None:
    pixels, strokes = named()

    result = cleaned(picture_file(SecondaryCaptureImageStorage, pixels), BLANK)

    after = result.pixel_array
    assert result.BurnedInAnnotation == "NO" and np.ptp(after[strokes]) == 0
    assert np.array_equal(after[100:], pixels[100:])
    assert not text_boxes(after)


def test_outside_of_ultrasound_regions_all_is_blanked() -> None:
    pixels, _ = with_text(np.full((256, 320), 120, np.uint8), "A", 30, 0.4)  # one letter is not found as text
    region = pydicom.Dataset()
    region.RegionLocationMinX0, region.RegionLocationMinY0 = 40, 60
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = 299, 239
    dataset = picture_file(UltrasoundImageStorage, pixels, SequenceOfUltrasoundRegions=Sequence([region]))

    after = cleaned(dataset, BLANK).pixel_array

    assert (after[60:240, 40:300] == 120).all()
    assert np.ptp(after[:60]) == 0 and np.ptp(after[:, :40]) == 0


def test_text_that_is_said_to_be_there_but_not_found_is_refused() -> None:
    flat = np.full((256, 320), 120, np.uint8)

    with pytest.raises(VolumeError, match="none was found"):
        cleaned(picture_file(SecondaryCaptureImageStorage, flat, BurnedInAnnotation="YES"), BLANK)


def test_text_in_compressed_color_clips_is_blanked_in_all_frames() -> None:
    path = get_testdata_file("examples_rgb_color.dcm", download=False)
    assert isinstance(path, str)
    dataset = pydicom.dcmread(path)

    after = cleaned(dataset, BLANK)

    assert not after.file_meta.TransferSyntaxUID.is_encapsulated and after.BurnedInAnnotation == "NO"
    assert not text_boxes(after.pixel_array)


def test_a_picture_with_text_is_refused_or_blanked_and_a_volume_is_not_searched() -> None:
    pixels, strokes = named()
    flat = Volume(pixels.T[np.newaxis, :, :, np.newaxis], np.eye(4))

    with pytest.raises(VolumeError, match="looks like text"):
        without_burned_in_text(flat, None, BASIC)
    result, notes = without_burned_in_text(flat, None, BLANK)

    assert np.ptp(result.array[0, :, :, 0].T[strokes]) == 0 and "blanked in 1 place" in notes[0]
    assert np.array_equal(result.affine, flat.affine)
    thick = Volume(np.repeat(flat.array, 4, axis=3), np.eye(4))
    assert without_burned_in_text(thick, None, BASIC) == (thick, ())


def test_a_file_is_judged_by_its_header(tmp_path: Path) -> None:
    plain = np.add.outer(np.arange(256) / 4, np.arange(320) / 4).astype(np.uint8)
    picture_file(UltrasoundImageStorage, plain).save_as(tmp_path / "a.dcm", enforce_file_format=True)
    image = read_volume(tmp_path / "a.dcm")

    for path in (tmp_path, tmp_path / "a.dcm"):
        with pytest.raises(VolumeError, match="ultrasound or a capture"):
            without_burned_in_text(image, path, BASIC)
        assert without_burned_in_text(image, path, BLANK)[0].shape == image.shape


def test_another_series_in_the_folder_is_no_reason_to_refuse(tmp_path: Path) -> None:
    path = get_testdata_file("CT_small.dcm", download=False)
    assert isinstance(path, str)
    slices_ = pydicom.dcmread(path)
    slices_.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    report = picture_file(SecondaryCaptureImageStorage, np.zeros((64, 64), np.uint8), SeriesInstanceUID="1.2.3.4")
    report.save_as(tmp_path / "b.dcm", enforce_file_format=True)
    image = Volume(np.zeros((1, 8, 8, 4), np.int16), np.eye(4))

    assert without_burned_in_text(image, tmp_path, BASIC, slices_.SeriesInstanceUID) == (image, ())
    with pytest.raises(VolumeError, match="capture"):
        without_burned_in_text(image, tmp_path, BASIC, "1.2.3.4")
