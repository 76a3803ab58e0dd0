"""Compressing on all cores: every reader takes the files, and the number of cores leaves no trace in them."""

from __future__ import annotations

import gzip
import io
import threading
import time
import zlib
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest
import realdata
import SimpleITK as sitk
from core.phantoms import PLACES, SHEARED
from meddl.errors import VolumeError
from meddl.volume import Segment, Volume, deflate, read_segmentation, read_volume, write_segmentation, write_volume


@pytest.fixture(params=[1, 2, 16])
def threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(deflate, "_threads", lambda: request.param)
    return request.param


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deflate, "BLOCK", 4096)


def _image(dtype: str = "<i2", channels: int = 1) -> Volume:
    rng = np.random.default_rng(1)
    array = np.cumsum(rng.integers(-3, 4, (channels, 40, 31, 27)), axis=1).astype(dtype)
    return Volume(array, PLACES["oblique"])


def _written(volume: Volume, path: Path, monkeypatch: pytest.MonkeyPatch, threads: int) -> bytes:
    with monkeypatch.context() as patch:
        patch.setattr(deflate, "_threads", lambda: threads)
        write_volume(volume, path)
    return path.read_bytes()


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz", ".mha"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", ["u1", "<i2", "<f4", "<f8"])
def test_one_and_sixteen_threads_write_the_same_bytes(
    suffix: str, channels: int, dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = _image(dtype, channels)

    files = [_written(volume, tmp_path / f"{n}{suffix}", monkeypatch, n) for n in (1, 2, 16)]

    assert files[0] == files[1] == files[2]
    np.testing.assert_array_equal(read_volume(tmp_path / f"16{suffix}").array, volume.array)


@pytest.mark.usefixtures("small_blocks", "threads")
def test_the_memory_order_of_the_voxels_leaves_no_trace(tmp_path: Path) -> None:
    volume = _image()
    orders = (np.ascontiguousarray, np.asfortranarray, lambda a: np.ascontiguousarray(a.T).T, lambda a: a.astype(">i2"))

    for n, order in enumerate(orders):
        write_volume(volume.with_array(order(volume.array)), tmp_path / f"{n}.nrrd")

    assert len({(tmp_path / f"{n}.nrrd").read_bytes() for n in range(4)}) == 1


@pytest.mark.usefixtures("small_blocks", "threads")
def test_every_reader_takes_the_files(tmp_path: Path) -> None:
    volume = _image()
    for suffix in (".nrrd", ".nii.gz", ".mha"):
        write_volume(volume, tmp_path / f"x{suffix}")
    voxels = volume.array[0]

    for suffix in (".nrrd", ".nii.gz", ".mha"):
        read = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"x{suffix}"))).T
        np.testing.assert_array_equal(read, voxels)
        np.testing.assert_array_equal(read_volume(tmp_path / f"x{suffix}").array[0], voxels)
    np.testing.assert_array_equal(np.asarray(nibabel.load(tmp_path / "x.nii.gz").dataobj), voxels)
    np.testing.assert_array_equal(nrrd.read(str(tmp_path / "x.nrrd"))[0], voxels)


@pytest.mark.usefixtures("small_blocks", "threads")
def test_the_stream_is_one_member_that_gzip_and_zlib_read_in_one_go_and_bit_by_bit() -> None:
    volume, file = _image(), io.BytesIO()
    expected = b"start" + volume.array[0].tobytes(order="F")

    deflate.write_gzip(file, b"start", deflate.voxel_blocks(volume.array[0]))

    packed = file.getvalue()
    assert gzip.decompress(packed) == expected
    one = zlib.decompressobj(wbits=31)
    assert one.decompress(packed) == expected
    assert one.eof and one.unused_data == b"", "one member, nothing behind it"
    slow = zlib.decompressobj(wbits=31)
    assert b"".join(slow.decompress(packed[n : n + 7]) for n in range(0, len(packed), 7)) == expected
    assert packed[4:8] == bytes(4) and packed[3] == 0, "neither time nor name"


@pytest.mark.usefixtures("small_blocks", "threads")
def test_the_zlib_stream_has_the_right_checksum() -> None:
    voxels = _image().array[0]

    packed = b"".join(deflate.zlib_pieces(deflate.voxel_blocks(voxels)))

    assert zlib.decompress(packed) == voxels.tobytes(order="F")  # which checks it


@pytest.mark.parametrize("lengths", [(0, 0), (1, 0), (0, 1), (5, 70000), (65521, 65521), (131072, 3)])
def test_checksums_of_parts_add_up(lengths: tuple[int, int]) -> None:
    first, second = (np.random.default_rng(n).bytes(length) for n, length in enumerate(lengths))
    for one, two in ((first, second), (b"\xff" * lengths[0], b"\xff" * lengths[1])):
        combined = deflate._adler32_combine(zlib.adler32(one), zlib.adler32(two), len(two))

        assert combined == zlib.adler32(one + two)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(
    "shape", [(1,), (5000,), (3, 1), (1, 9000), (64, 64, 3), (200, 90, 2), (7, 5, 6, 1, 3), (90, 80, 1, 4)]
)
@pytest.mark.parametrize("dtype", ["u1", "<f8"])
def test_blocks_follow_one_another_and_are_bounded(shape: tuple[int, ...], dtype: str) -> None:
    array = np.arange(np.prod(shape)).astype(dtype).reshape(shape)

    blocks = [deflate.voxel_bytes(block) for block in deflate.voxel_blocks(array)]

    assert b"".join(blocks) == array.tobytes(order="F")
    assert all(0 < len(block) <= deflate.BLOCK for block in blocks)


def test_sheared_and_real_images_survive(tmp_path: Path, threads: int) -> None:
    head = read_volume(realdata.head())
    for name, volume in {"head.nii.gz": head, "sheared.nrrd": Volume(_image().array, SHEARED)}.items():
        write_volume(volume, tmp_path / name)

        np.testing.assert_array_equal(read_volume(tmp_path / name).array, volume.array)


def test_segmentations_of_several_layers_survive(tmp_path: Path, threads: int) -> None:
    labels = Volume((np.random.default_rng(0).random((3, 140, 130, 120)) > 0.99).astype(np.uint8), np.eye(4))
    segments = [Segment(1, f"Layer {n}", (1.0, 0.0, 0.0), layer=n) for n in range(3)]

    write_segmentation(labels, segments, tmp_path / "x.seg.nrrd")

    read, named = read_segmentation(tmp_path / "x.seg.nrrd")
    np.testing.assert_array_equal(read.array, labels.array)
    assert [segment.name for segment in named] == ["Layer 0", "Layer 1", "Layer 2"]


def test_a_small_image_starts_no_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deflate, "_threads", lambda: 16)
    monkeypatch.setattr(deflate, "ThreadPoolExecutor", None)

    write_volume(Volume(np.ones((1, 100, 100, 100), np.int16), np.eye(4)), tmp_path / "x.nii.gz")


@pytest.mark.usefixtures("small_blocks")
def test_a_full_disk_ends_the_threads_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deflate, "_threads", lambda: 4)
    before = threading.active_count()

    class Full(io.RawIOBase):
        def write(self, data: object) -> int:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        deflate.write_gzip(Full(), b"", deflate.voxel_blocks(_image().array[0]))  # type: ignore[arg-type]
    monkeypatch.setattr(deflate, "voxel_bytes", lambda block: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(VolumeError, match="No space left"):
        write_volume(_image(), tmp_path / "x.nrrd")

    assert list(tmp_path.iterdir()) == []
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before


def test_no_more_than_a_few_blocks_wait_to_be_written(small_blocks: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deflate, "_threads", lambda: 2)
    given, written, most = 0, 0, 0

    def blocks() -> object:
        nonlocal given
        for block in deflate.voxel_blocks(_image("<f8").array[0]):
            given += 1
            yield block

    class Slow(io.BytesIO):
        def write(self, data: object) -> int:  # type: ignore[override]
            nonlocal written, most
            most, written = max(most, given - written), written + 1
            return super().write(data)  # type: ignore[arg-type]

    deflate.write_gzip(Slow(), b"", blocks())  # type: ignore[arg-type]

    assert written > 40 and most <= 2 * 2 + 2
