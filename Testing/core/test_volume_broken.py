"""Broken images give one clear sentence, or are read: never another exception, a crash, a hang or a memory bomb."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pydicom.data
import pytest
import realdata
import SimpleITK as sitk
from core import fuzzing
from core.dicom_writer import write_enhanced, write_series
from meddl.errors import MedDLError, UsageError, VolumeError
from meddl.volume import Volume, read_volume, to_sitk, write_volume
from PIL import Image


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of folders: one small part of a real CT in each kind of file."""
    ct = read_volume(realdata.tptbox()["sub-ct_label-22_ct"])
    affine = ct.affine.copy()
    affine[:3, 3] = ct.affine[:3] @ [20, 10, 30, 1]
    volume = Volume(np.maximum(ct.array[:, 20:33, 10:25, 30:40], -1024), affine)
    folder = tmp_path_factory.mktemp("fuzz") / "originals"
    for name in ("nii", "nii_gz", "nrrd", "nrrd_raw", "nhdr", "mha", "mha_raw", "mhd", "dicom_jpegls", "dicom_j2k"):
        (folder / name).mkdir(parents=True)
    write_volume(volume, folder / "nii" / "x.nii")
    write_volume(volume, folder / "nii_gz" / "x.nii.gz")
    write_volume(volume, folder / "nrrd" / "x.nrrd")
    write_volume(volume, folder / "mha" / "x.mha")
    for name, file in (("nrrd_raw", "x.nrrd"), ("nhdr", "x.nhdr"), ("mha_raw", "x.mha"), ("mhd", "x.mhd")):
        sitk.WriteImage(to_sitk(volume), str(folder / name / file), False)
    write_series(folder / "dicom", Volume(volume.array[..., :4], volume.affine))
    (folder / "dicom_enhanced").mkdir()
    write_enhanced(folder / "dicom_enhanced" / "x.dcm", Volume(volume.array[..., :4], volume.affine))
    for kind, name in (("jpegls", "MR_small_jpeg_ls_lossless.dcm"), ("j2k", "MR_small_jp2klossless.dcm")):
        shutil.copy(str(pydicom.data.get_testdata_file(name, download=False)), folder / f"dicom_{kind}" / "x.dcm")
    for kind, name in (("rgb", "SC_rgb_small_odd.dcm"), ("ybr", "SC_rgb_small_odd_jpeg.dcm")):
        (folder / f"dicom_{kind}").mkdir()
        shutil.copy(str(pydicom.data.get_testdata_file(name, download=False)), folder / f"dicom_{kind}" / "x.dcm")
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8))
    for name in ("png", "jpg", "tif"):
        (folder / name).mkdir()
        picture.save(folder / name / f"x.{name}")
    return folder


def test_fuzzed_images_never_do_worse_than_one_sentence(originals: Path) -> None:
    results = fuzz(originals, seed=2024, count=15)
    assert len(results) == 15 * len(list(originals.iterdir()))
    counts = Counter(result["outcome"] for result in results)
    assert counts["escaped"] == 0, [result for result in results if result["outcome"] == "escaped"]
    assert counts["refused"] >= 50
    for result in results:
        if result["outcome"] == "refused":
            check_sentence(result["message"], originals)


def fuzz(originals: Path, seed: int, count: int) -> list[dict[str, str]]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    command = [sys.executable, fuzzing.__file__, str(originals), str(seed), str(count)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert done.returncode == 0, f"died with {done.returncode} at {lines[-1] if lines else None}: {done.stderr[-2000:]}"
    return [line for line in lines if "outcome" in line]


def check_sentence(message: str, folder: Path) -> None:
    assert 20 < len(message) < 400 and message.endswith(".") and "\n" not in message, message
    assert message.isprintable(), message
    for forbidden in ("Traceback", "Error", "Exception", "itk::", "0x", str(folder), str(folder.parent)):
        assert forbidden not in message, message


def edit_nifti(offset: int, layout: str, *values: float) -> Callable[[bytes], bytes]:
    def edit(data: bytes) -> bytes:
        spoiled = bytearray(data)
        struct.pack_into("<" + layout, spoiled, offset, *values)
        return bytes(spoiled)

    return edit


def replace(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    def edit(data: bytes) -> bytes:
        assert old in data
        return data.replace(old, new, 1)

    return edit


NIFTI = [
    (edit_nifti(42, "3h", 0, 15, 10), "size of 0 x 15 x 10"),
    (edit_nifti(42, "3h", -13, 15, 10), "size of -13"),
    (edit_nifti(40, "h", 9), "9 dimensions"),
    (edit_nifti(42, "3h", 32000, 32000, 32000), "truncated or its header is wrong"),
    (edit_nifti(42, "3h", 13, 15, 11), "truncated or its header is wrong"),
    (edit_nifti(42, "3h", 13, 15, 9), "holds more than"),
    (edit_nifti(70, "h", 32), "complex"),
    (edit_nifti(70, "h", 128), "color"),
    (edit_nifti(70, "h", 1536), "type that is not supported"),
    (edit_nifti(70, "h", 4444), "cannot be decoded|not supported"),
    (edit_nifti(108, "f", 100.0), "inside its header"),
    (edit_nifti(108, "f", float("nan")), "damaged"),
    (edit_nifti(112, "f", float("nan")), "slope or intercept: it is not a number"),
    (edit_nifti(112, "2f", 1.0, float("inf")), "slope or intercept: it is not a number"),
    (edit_nifti(112, "f", 1e30), "absurdly"),
    (edit_nifti(280, "4f", 0, 0, 0, 0), "placed in space|two voxel sizes"),
    (edit_nifti(280, "4f", float("nan"), 0, 0, 0), "finite"),
    (edit_nifti(252, "2h", 0, 0), "neither an sform nor a qform"),
    (edit_nifti(80, "3f", 0, 1.5, 1.5), "two voxel sizes|zero"),
    (edit_nifti(344, "4s", b"ni1\0"), "half of a pair"),
    (edit_nifti(344, "4s", b"xxxx"), "not a NIfTI image"),
    (lambda data: data[:-1], "truncated"),
    (lambda data: data[:200], "not a NIfTI image|damaged"),
    (lambda data: data + b"\0\0", "holds more than"),
    (lambda data: b"", "is empty"),
    (lambda data: b"<html>404 not found</html>" * 40, "not a NIfTI image"),
    (lambda data: gzip.compress(data)[:-40], "truncated"),
    (lambda data: gzip.compress(data)[:-4] + b"abcd", "damaged"),
    (lambda data: gzip.compress(data + bytes(10_000_000)), "holds more than"),
]  # fmt: skip

NRRD = [
    (replace(b"sizes: 13 15 10", b"sizes: 13 15 -10"), "sizes"),
    (replace(b"sizes: 13 15 10", b"sizes: 13 15"), "sizes"),
    (replace(b"sizes: 13 15 10", b"sizes: 99999 99999 99999"), "truncated or its header is wrong"),
    (replace(b"sizes: 13 15 10", b"sizes: 12 15 10"), "holds more than"),
    (replace(b"sizes: 13 15 10", b"sizes: 13 15 11"), "truncated"),
    (replace(b"sizes:", b"sises:"), "lacks the field 'sizes'"),
    (replace(b"dimension: 3", b"dimension: 4"), "sizes"),
    (replace(b"type: int16", b"type: block"), "not numbers that are known"),
    (replace(b"type: int16", b"type: int64"), "truncated"),
    (replace(b"endian: little\n", b""), "byte order"),
    (replace(b"encoding: gzip", b"encoding: raw"), "truncated|more than"),
    (replace(b"encoding: gzip", b"encoding: hex"), "encoded as 'hex'"),
    (replace(b"space: left-posterior-superior\n", b""), "'space'"),
    (replace(b"space origin: (", b"space origin: (nan,"), "damaged|finite"),
    (replace(b"kinds: domain domain domain", b"kinds: RGB-color domain domain"), "color"),
    (replace(b"kinds: domain domain domain", b"kinds: complex domain domain"), "complex"),
    (replace(b"endian", b"data file: /etc/passwd\nendian"), "outside its folder"),
    (replace(b"endian", b"data file: x%03d.raw 1 20 1\nendian"), "several files"),
    (replace(b"endian", b"byte skip: 7\nendian"), "skips bytes"),
    (replace(b"NRRD0005", b"NRRD0009"), "damaged"),
    (replace(b"NRRD0005", b"JUNK0005"), "does not begin with NRRD"),
    (replace(b"NRRD0005\n", b"NRRD0005\nsizes: 1 1 1\n"), "damaged"),
    (lambda data: data[:-20], "truncated"),
    (lambda data: data[:150], "damaged|lacks|place"),
]  # fmt: skip

META = [
    (replace(b"DimSize = 13 15 10", b"DimSize = 13 15 0"), "DimSize"),
    (replace(b"DimSize = 13 15 10", b"DimSize = 13 15"), "DimSize"),
    (replace(b"DimSize = 13 15 10", b"DimSize = 77777 77777 77777"), "truncated or its header is wrong"),
    (replace(b"DimSize = 13 15 10", b"DimSize = 13 14 10"), "holds more than"),
    (replace(b"DimSize = 13 15 10", b"DimSize = 13 15 11"), "truncated"),
    (replace(b"NDims = 3", b"NDims = 4"), "DimSize"),
    (replace(b"ElementSpacing = 1.5", b"ElementSpacing = 0"), "not positive"),
    (replace(b"ElementSpacing = 1.5", b"ElementSpacing = nan"), "finite"),
    (replace(b"ElementSpacing = 1.5", b"ElementSpacing = 1e9"), "voxel size"),
    (replace(b"ElementSpacing", b"Spacing"), "no ElementSpacing"),
    (replace(b"Offset", b"Ofset"), "no Offset"),
    (replace(b"TransformMatrix", b"Matrix"), "no TransformMatrix"),
    (replace(b"TransformMatrix = ", b"TransformMatrix = 3"), "length 1|finite|damaged"),
    (replace(b"MET_SHORT", b"MET_OTHER"), "MET_OTHER"),
    (replace(b"BinaryData = True", b"BinaryData = False"), "as text"),
    (replace(b"ElementDataFile = LOCAL", b"ElementDataFile = ../../x"), "outside its folder"),
    (replace(b"ElementDataFile = LOCAL", b"ElementDataFile = x.raw"), "second file"),
    (replace(b"ElementDataFile = LOCAL", b"ElementDataFile = LIST"), "several files"),
    (replace(b"CompressedDataSize = ", b"CompressedDataSize = 99"), "shorter than its header says"),
    (replace(b"ElementNumberOfChannels = 1", b"ElementNumberOfChannels = 0"), "0 values per voxel"),
    (lambda data: data[:-5], "shorter than its header says"),
    (lambda data: data[:-9] + b"damaged!!", "cannot be decoded|holds more than"),
    (lambda data: data[:120], "cannot be read"),
    (lambda data: b"\xff\xd8\xff\xe0" * 500, "not a MetaImage"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "edit", "says"),
    [("x.nii", *case) for case in NIFTI] + [("x.nrrd", *case) for case in NRRD] + [("x.mha", *case) for case in META],
)
def test_one_sentence_says_what_is_wrong(
    name: str, edit: Callable[[bytes], bytes], says: str, originals: Path, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(edit((originals / name.split(".")[1] / name).read_bytes()))
    with pytest.raises(VolumeError, match=says) as caught:
        read_volume(tmp_path / name)
    check_sentence(caught.value.message, tmp_path)


def test_files_that_are_no_images(tmp_path: Path) -> None:
    (tmp_path / "x.gif").write_bytes(b"GIF89a" * 100)
    (tmp_path / "x.dcm").write_bytes(b"no DICOM" * 100)
    for name, says in (("x.gif", "not an image MedDL reads"), ("x.dcm", "mark is missing"), ("none.nii", "no file or")):
        with pytest.raises(VolumeError, match=says) as caught:
            read_volume(tmp_path / name)
        check_sentence(caught.value.message, tmp_path)
    write_volume(Volume(np.zeros((1, 2, 2, 2)), np.eye(4)), tmp_path / "x.nii")
    with pytest.raises(UsageError, match="single file"):
        read_volume(tmp_path / "x.nii", series_uid="1.2.3")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes among its files")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.nii")
    os.mkfifo(tmp_path / "x.dcm")
    for path in (tmp_path / "x.nii", tmp_path):
        with pytest.raises(MedDLError):
            read_volume(path)


@pytest.mark.parametrize(
    ("size", "start", "says"), [(2000, 352, "more than its"), (20, 400_000_000, "truncated: voxels are missing")]
)
def test_a_memory_bomb_is_refused_before_memory_is_taken(tmp_path: Path, size: int, start: int, says: str) -> None:
    import tracemalloc

    header = nibabel.Nifti1Header()
    header.set_data_shape((size, size, size))
    header.set_data_dtype(np.float64)
    header.set_sform(np.eye(4), code=1)
    header["vox_offset"], header["magic"] = start, b"n+1"
    header["pixdim"][1:4] = 1
    bomb = gzip.compress(header.binaryblock + bytes(4) + bytes(50_000_000))
    (tmp_path / "x.nii.gz").write_bytes(bomb)
    tracemalloc.start()
    with pytest.raises(VolumeError, match=says):
        read_volume(tmp_path / "x.nii.gz")
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()
