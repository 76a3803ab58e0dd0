"""Pictures and two-dimensional DICOM images: upright, bright is bright, placed as Slicer places them."""

from __future__ import annotations

import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from core.phantoms import world_of
from meddl.errors import VolumeError
from meddl.volume import Volume, read_frames, read_volume, write_volume
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    XRayAngiographicImageStorage,
    generate_uid,
)


def random_pixels(*shape: int, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(3).integers(0, np.iinfo(dtype).max, shape, dtype=dtype)


def example(name: str) -> Path:
    return Path(str(get_testdata_file(f"{name}.dcm", download=False)))


def as_itk_reads(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The picture (C, I, J) and the RAS mm of its pixels (2, I, J), as ITK and so Slicer read it."""
    image = sitk.ReadImage(str(path))
    pixels = sitk.GetArrayFromImage(image)
    pixels = pixels[..., np.newaxis] if pixels.ndim == 2 else pixels
    assert image.GetDirection() == (1, 0, 0, 1) and image.GetOrigin() == (0, 0)
    return pixels.transpose(2, 1, 0), -np.indices(image.GetSize(), dtype=float)


class TestPictureFiles:
    @pytest.mark.parametrize("channels", [1, 3])
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    @pytest.mark.parametrize("suffix", [".png", ".tif"])
    def test_every_bit_lies_where_slicers_reader_puts_it(
        self, suffix: str, dtype: type, channels: int, tmp_path: Path
    ) -> None:
        path = tmp_path / f"x{suffix}"
        pixels = random_pixels(7, 5, channels, dtype=dtype)
        sitk.WriteImage(sitk.GetImageFromArray(pixels[..., 0] if channels == 1 else pixels, channels > 1), str(path))
        volume = read_volume(path)
        expected, places = as_itk_reads(path)
        np.testing.assert_array_equal(volume.array[..., 0], expected)
        np.testing.assert_array_equal(volume.array[..., 0].T, pixels.reshape(7, 5, channels))
        assert volume.array.dtype == dtype and volume.shape == (5, 7, 1)
        np.testing.assert_allclose(world_of(volume.affine, volume.shape)[:2, :, :, 0], places)
        assert volume.spacing.tolist() == [1, 1, 1] and volume.meta["spacing"] == "unknown"

    def test_jpeg_is_read_as_its_decoder_gives_it(self, tmp_path: Path) -> None:
        for mode, channels in (("L", 1), ("RGB", 3)):
            smooth = Image.fromarray(random_pixels(2, 3, 3)).resize((24, 16), Image.Resampling.BICUBIC).convert(mode)
            smooth.save(tmp_path / "x.jpg", dpi=(300, 300), quality=95, subsampling=0)
            volume = read_volume(tmp_path / "x.jpg")
            assert volume.channels == channels and volume.spacing.tolist() == [1, 1, 1]
            np.testing.assert_allclose(volume.array[..., 0], as_itk_pixels(tmp_path / "x.jpg"), atol=1)

    @pytest.mark.parametrize("turn", range(1, 9))
    def test_turned_photos_are_upright_and_overlay_what_slicer_shows(self, turn: int, tmp_path: Path) -> None:
        stored = Image.fromarray(random_pixels(6, 4))
        exif = Image.Exif()
        exif[0x0112] = turn
        stored.save(tmp_path / "x.png", exif=exif)
        volume = read_volume(tmp_path / "x.png")
        from PIL import ImageOps

        with Image.open(tmp_path / "x.png") as image:
            upright = np.asarray(ImageOps.exif_transpose(image))
        np.testing.assert_array_equal(volume.array[0, :, :, 0].T, upright)
        at = world_of(volume.affine, volume.shape)[:2, :, :, 0].reshape(2, -1)
        columns, rows = np.rint(-at).astype(int)
        np.testing.assert_array_equal(np.asarray(stored)[rows, columns], volume.array.ravel())
        assert ("turned" in volume.meta) == (turn > 1)

    def test_palettes_masks_and_transparency(self, tmp_path: Path) -> None:
        color = random_pixels(5, 6, 3) // 64 * 64
        palette = Image.fromarray(color).quantize(64)
        palette.save(tmp_path / "palette.png")
        np.testing.assert_array_equal(
            read_volume(tmp_path / "palette.png").array[..., 0].T, np.asarray(palette.convert("RGB"))
        )
        Image.fromarray(random_pixels(5, 6) > 99).save(tmp_path / "mask.png")
        assert set(np.unique(read_volume(tmp_path / "mask.png").array)) == {0, 255}
        for name, pixels, left in (("rgba", random_pixels(5, 6, 4), 3), ("la", random_pixels(5, 6, 2), 1)):
            Image.fromarray(pixels).save(tmp_path / f"{name}.png")
            volume = read_volume(tmp_path / f"{name}.png")
            assert volume.channels == left and volume.meta["alpha"] == "left out"
            np.testing.assert_array_equal(volume.array[..., 0].T, pixels[..., :left])

    def test_float_and_32_bit_tiffs_keep_their_values(self, tmp_path: Path) -> None:
        for dtype in (np.float32, np.int32):
            pixels = (np.random.default_rng(0).normal(size=(4, 6)) * 1e5).astype(dtype)
            Image.fromarray(pixels).save(tmp_path / "x.tif")
            np.testing.assert_array_equal(read_volume(tmp_path / "x.tif").array[0, :, :, 0].T, pixels)

    def test_a_wrong_suffix_does_not_matter(self, tmp_path: Path) -> None:
        Image.fromarray(random_pixels(5, 6)).save(tmp_path / "x.jpg", format="PNG")
        assert read_volume(tmp_path / "x.jpg").meta["format"] == "png"


def written(
    path: Path, pixels: np.ndarray, kind: str = DigitalXRayImageStorageForPresentation, **entries: object
) -> Path:
    """Write a gray two-dimensional DICOM image, (rows, columns) or (frames, rows, columns)."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = kind, ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    dataset.SOPClassUID, dataset.SOPInstanceUID = kind, meta.MediaStorageSOPInstanceUID
    dataset.PatientName, dataset.PatientID, dataset.SeriesDescription = "Doe^Jane", "SECRET-4711", "Doe chest"
    dataset.SeriesInstanceUID, dataset.Modality = "1.2.3.4", "DX"
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    if pixels.ndim == 3:
        dataset.NumberOfFrames = len(pixels)
    bits = pixels.dtype.itemsize * 8
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    for key, value in entries.items():
        setattr(dataset, key, value)
    dataset.PixelData = np.ascontiguousarray(pixels).tobytes()
    dataset.save_as(path, enforce_file_format=True)
    return path


class TestDicom:
    @pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
    @pytest.mark.parametrize(("dtype", "bits"), [(np.uint8, 8), (np.uint16, 12), (np.uint16, 16), (np.int16, 16)])
    def test_bright_is_bright_and_lies_where_itk_puts_it(
        self, dtype: type, bits: int, photometric: str, tmp_path: Path
    ) -> None:
        pixels = random_pixels(6, 9, dtype=dtype) >> (np.dtype(dtype).itemsize * 8 - bits)
        path = written(
            tmp_path / "x.dcm", pixels, PhotometricInterpretation=photometric, BitsStored=bits, HighBit=bits - 1,
            ImagerPixelSpacing=["0.15", "0.2"], RescaleSlope="2", RescaleIntercept="-5", RescaleType="US",
            WindowCenter="100", WindowWidth="50",
        )  # fmt: skip
        for place in (path, tmp_path):
            volume = read_volume(place)
            itk = sitk.ReadImage(str(path))
            np.testing.assert_array_equal(volume.array[0], sitk.GetArrayFromImage(itk).T)
            np.testing.assert_allclose(volume.spacing[:2], itk.GetSpacing()[:2])
            np.testing.assert_allclose(volume.affine[:2, :2], [[-0.2, 0], [0, -0.15]])
            assert volume.meta["spacing"] == "at the detector" and volume.meta["place"] == "unknown"
            assert ("turned round" in volume.meta.get("photometric", "")) == (photometric == "MONOCHROME1")
            assert "Doe" not in repr(dict(volume.meta)) + volume.name and volume.meta["modality"] == "DX"

    def test_a_lookup_table_gives_the_modality_values(self, tmp_path: Path) -> None:
        table = Dataset()
        table.LUTDescriptor, table.ModalityLUTType = [4, 0, 16], "US"
        table.LUTData = struct.pack("<4H", 7, 500, 60, 1000)
        pixels = np.array([[0, 1, 2], [3, 0, 1]], np.uint8)
        for photometric, expected in (("MONOCHROME2", [7, 500, 60]), ("MONOCHROME1", [1000, 507, 947])):
            written(tmp_path / "x.dcm", pixels, ModalityLUTSequence=[table], PhotometricInterpretation=photometric)
            volume = read_volume(tmp_path / "x.dcm")
            assert volume.array[0, :, 0, 0].tolist() == expected

    def test_the_pixel_size_is_taken_from_where_it_is_and_said(self, tmp_path: Path) -> None:
        region = Dataset()
        region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
        region.PhysicalDeltaX, region.PhysicalDeltaY = 0.02, 0.03
        pixels = random_pixels(4, 5)
        for entries, spacing, note in (
            ({}, (1, 1), "unknown"),
            ({"PixelSpacing": ["0.5", "0.25"], "ImagerPixelSpacing": ["9", "9"]}, (0.25, 0.5), None),
            ({"SequenceOfUltrasoundRegions": [region]}, (0.2, 0.3), "of the ultrasound region"),
            ({"NominalScannedPixelSpacing": ["0.5", "0.25"]}, (0.25, 0.5), "of the scanned film"),
        ):
            volume = read_volume(written(tmp_path / "x.dcm", pixels, **entries))
            np.testing.assert_allclose(volume.spacing[:2], spacing)
            assert volume.meta.get("spacing") == note

    def test_one_of_several_views_is_read_by_its_file_only(self, tmp_path: Path) -> None:
        for name, value in (("pa", 10), ("lateral", 20)):
            written(tmp_path / f"{name}.dcm", np.full((4, 5), value, np.uint8))
        assert read_volume(tmp_path / "pa.dcm").array.max() == 10
        assert read_volume(tmp_path / "lateral.dcm").array.max() == 20
        refused(tmp_path, "2 two-dimensional images")

    @pytest.mark.parametrize(
        "name",
        [
            "SC_rgb_rle_16bit", "SC_rgb_jpeg_gdcm", "SC_rgb_dcmtk_+eb+cr", "SC_rgb_dcmtk_+eb+cy+n1", "SC_rgb_gdcm_KY",
            "SC_rgb_dcmtk_+eb+cy+np", "SC_ybr_full_422_uncompressed", "SC_rgb_jls_lossy_sample", "SC_rgb_jpeg_dcmtk",
        ],
    )  # fmt: skip
    def test_color_comes_as_red_green_and_blue_however_it_is_stored(self, name: str) -> None:
        plain = read_volume(example("SC_rgb_rle"))
        volume = read_volume(example(name))
        values = volume.array.astype(float) / (257 if volume.array.dtype == np.uint16 else 1)
        assert volume.meta["color"] == "RGB" and volume.channels == 3
        assert np.median(np.abs(values - plain.array)) <= 4  # the codecs lose a little, most at the edges

    def test_palettes_are_expanded(self) -> None:
        volume = read_volume(example("examples_palette"))
        assert volume.channels == 3 and volume.array.dtype == np.uint8
        assert volume.meta["palette"] == "expanded"

    def test_lossless_jpeg_and_12_bits_in_jpeg_are_left_to_gdcm(self) -> None:
        path = example("JPGExtended")
        np.testing.assert_array_equal(
            read_volume(path).array[0, :, :, 0].T, sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[0]
        )

    def test_clips_are_read_frame_by_frame(self, tmp_path: Path) -> None:
        frames = read_frames(example("examples_ybr_color"))
        assert len(frames) == 30 and {frame.array.shape for frame in frames} == {(3, 320, 240, 1)}
        refused(example("examples_ybr_color"), "clip of several frames")
        pixels = random_pixels(4, 6, 9, dtype=np.uint16)
        written(tmp_path / "x.dcm", pixels, XRayAngiographicImageStorage, PhotometricInterpretation="MONOCHROME1")
        for frame, expected in zip(read_frames(tmp_path), pixels, strict=True):
            np.testing.assert_array_equal(frame.array[0, :, :, 0].T, 65535 - expected)

    def test_other_images_are_one_frame_and_4d_files_several(self, tmp_path: Path) -> None:
        volume = Volume(random_pixels(3, 4, 5, 6), np.diag([1, 2, 3, 1]))
        write_volume(volume, tmp_path / "x.nrrd")
        assert [frame.array.shape for frame in read_frames(tmp_path / "x.nrrd")] == [(1, 4, 5, 6)] * 3
        Image.fromarray(random_pixels(5, 6, 3)).save(tmp_path / "x.png")
        assert len(read_frames(tmp_path / "x.png")) == 1
        written(tmp_path / "x.dcm", random_pixels(4, 5))
        assert len(read_frames(tmp_path / "x.dcm")) == 1

    @pytest.mark.parametrize(
        ("entries", "says"),
        [
            ({"Rows": 9000}, "cannot hold"),
            ({"Rows": 0}, "cannot hold"),
            ({"BitsAllocated": 12}, "not supported"),
            ({"SamplesPerPixel": 3}, "colors"),
            ({"PhotometricInterpretation": "HSV"}, "colors"),
            ({"PixelSpacing": ["0", "1"]}, "not positive"),
            ({"PixelSpacing": ["1"]}, "broken pixel size"),
            ({"RescaleSlope": "0"}, "it is zero"),
            ({"NumberOfFrames": 2}, "clip|cannot hold"),
            ({"Modality": "SEG"}, "is a segmentation"),
        ],
    )
    def test_broken_headers(self, entries: dict[str, object], says: str, tmp_path: Path) -> None:
        refused(written(tmp_path / "Doe.dcm", random_pixels(4, 5), **entries), says)

    def test_truncated_files(self, tmp_path: Path) -> None:
        for path in (written(tmp_path / "x.dcm", random_pixels(40, 50)), tmp_path / "y.dcm"):
            whole = (path if path.exists() else example("SC_rgb_rle")).read_bytes()
            for part in (0.7, 0.9, 0.99):
                path.write_bytes(whole[: int(len(whole) * part)])
                refused(path, "truncated|damaged|decoded")


class TestRefusals:
    @pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
    def test_damaged_files(self, suffix: str, tmp_path: Path) -> None:
        path = tmp_path / f"Doe_Jane{suffix}"
        Image.fromarray(random_pixels(64, 64, 3)).save(path)
        whole = path.read_bytes()
        for cut in (0, 3, 20, len(whole) // 3, len(whole) * 2 // 3):
            path.write_bytes(whole[:cut])
            refused(path, "empty|damaged|truncated")
        path.write_bytes(b"\x00" * 500)
        refused(path, "no PNG, JPEG or TIFF")

    def test_damaged_deep_color(self, tmp_path: Path) -> None:
        path = tmp_path / "x.png"
        sitk.WriteImage(sitk.GetImageFromArray(random_pixels(40, 40, 3, dtype=np.uint16), True), str(path))
        path.write_bytes(path.read_bytes()[:3000])
        refused(path, "damaged|truncated")

    @pytest.mark.parametrize(("size", "says"), [((60000, 60000), "too large"), ((9000, 9000), "truncated")])
    def test_a_few_bytes_that_announce_gigabytes(self, size: tuple[int, int], says: str, tmp_path: Path) -> None:
        def chunk(kind: bytes, data: bytes) -> bytes:
            return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

        header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0))
        data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(9999))) + chunk(b"IEND", b"")
        (tmp_path / "x.png").write_bytes(data)
        refused(tmp_path / "x.png", says)

    def test_several_pages_and_printers_colors(self, tmp_path: Path) -> None:
        pages = [Image.fromarray(random_pixels(5, 6)) for _ in range(3)]
        pages[0].save(tmp_path / "x.tif", save_all=True, append_images=pages[1:])
        refused(tmp_path / "x.tif", "has several pages")
        Image.fromarray(random_pixels(8, 8, 4), mode="CMYK").save(tmp_path / "x.jpg")
        refused(tmp_path / "x.jpg", "printing")


def test_pages_without_end_take_no_time(tmp_path: Path) -> None:
    Image.fromarray(random_pixels(4, 4)).save(tmp_path / "x.tif")
    data = bytearray((tmp_path / "x.tif").read_bytes())
    (at,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, at)
    page = bytes(data[at : at + 2 + 12 * entries])
    data += b"\0" * (len(data) % 2)
    struct.pack_into("<I", data, at + len(page), len(data))
    for _ in range(20_000):
        data += page + struct.pack("<I", len(data) + len(page) + 4)
    (tmp_path / "x.tif").write_bytes(data[:-4] + b"\0\0\0\0")
    started = time.process_time()
    refused(tmp_path / "x.tif", "has several pages")
    assert time.process_time() - started < 2


def as_itk_pixels(path: Path) -> np.ndarray:
    pixels = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    return (pixels[..., np.newaxis] if pixels.ndim == 2 else pixels).transpose(2, 1, 0)


def refused(path: Path, says: str) -> None:
    with pytest.raises(VolumeError, match=says) as caught:
        read_volume(path)
    message = caught.value.message
    assert message.endswith(".") and str(path.parent) not in message and "\n" not in message
