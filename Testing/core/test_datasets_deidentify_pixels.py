"""De-identified pixels: the values stay, what is hidden between and behind them goes."""

from __future__ import annotations

import io

import numpy as np
import pydicom
import pytest
from meddl.datasets.deidentify import deidentify_dataset
from meddl.datasets.deidentify.pixel_bytes import without_comments
from meddl.datasets.options import DeidentifyOptions
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import JPEGBaseline8Bit

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


def test_bits_that_overlays_were_drawn_into_are_cleared() -> None:
    dataset = ct()
    values = np.arange(dataset.Rows * dataset.Columns, dtype=np.uint16) % 4096
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 12, 11, 0
    dataset.PixelData = (values | 0x8000).tobytes()
    dataset.add_new(0x60000102, "US", 15)

    result = cleaned(dataset)

    assert np.array_equal(np.frombuffer(result.PixelData, np.uint16), values)
    assert 0x60000102 not in result


def test_negative_values_of_twelve_bits_stay_what_they_are() -> None:
    dataset = ct()
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 12, 11, 1
    values = (np.arange(dataset.Rows * dataset.Columns) % 4096 - 2048).astype(np.int16)
    dataset.PixelData = (values.view(np.uint16) & 0x0FFF | 0x4000).tobytes()

    assert np.array_equal(np.frombuffer(cleaned(dataset).PixelData, np.int16), values)


def test_comments_in_a_compressed_stream_are_blanked() -> None:
    sink = io.BytesIO()
    gray = (np.add.outer(np.arange(64), np.arange(64)) * 2).astype(np.uint8)
    Image.fromarray(gray).save(sink, "JPEG", quality=90, comment=b"Zzyzxname Jane", exif=_exif("Zzyzxname"))
    dataset = ct()
    dataset.Rows = dataset.Columns = 64
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.PixelData = encapsulate([sink.getvalue()])
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    assert b"Zzyzxname" in dataset.PixelData

    result = pydicom.dcmread(io.BytesIO(written(cleaned(dataset, DeidentifyOptions()))))

    assert b"Zzyzxname" not in result.PixelData
    (frame,) = generate_frames(result.PixelData, number_of_frames=1)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(frame))), np.asarray(Image.open(sink)))


def _exif(name: str) -> Image.Exif:
    exif = Image.Exif()
    exif[0x010E] = name
    return exif


@pytest.mark.parametrize("suffix", ["JP2", "J2K"])
def test_comments_of_jpeg_2000_are_blanked(suffix: str) -> None:
    sink = io.BytesIO()
    gray = (np.add.outer(np.arange(64), np.arange(64)) * 2).astype(np.uint8)
    Image.fromarray(gray).save(sink, "JPEG2000", comment="Zzyzxname", no_jp2=suffix == "J2K")
    assert b"Zzyzxname" in sink.getvalue()

    frame = without_comments(sink.getvalue())

    assert b"Zzyzxname" not in frame
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(frame))), gray)


@pytest.mark.parametrize(
    "name", ["MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm",
             "MR_small_implicit.dcm", "MR_small_expb.dcm"]
)  # fmt: skip
def test_voxels_of_all_encodings_stay(name: str) -> None:
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    before = pydicom.dcmread(path)

    after = pydicom.dcmread(io.BytesIO(written(cleaned(before, DeidentifyOptions()))))

    assert np.array_equal(after.pixel_array, before.pixel_array)
    assert b"CompressedSamples" not in written(after)  # its patient


def test_what_follows_the_last_pixel_is_cut_off() -> None:
    dataset = ct()
    before = dataset.pixel_array.copy()
    dataset.PixelData += b"Zzyzxname Jane"

    result = cleaned(dataset)

    assert b"Zzyzx" not in result.PixelData and np.array_equal(result.pixel_array, before)
