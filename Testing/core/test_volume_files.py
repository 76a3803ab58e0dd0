"""Writing and reading back keeps voxels, types and place; a file appears whole or not at all; resampling is exact."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from core.phantoms import PLACES, SHEARED, numbered, ramp, reordered
from meddl.errors import UsageError, VolumeError
from meddl.volume import Grid, Volume, read_volume, resample_to, write_volume

SUFFIXES = (".nrrd", ".nii", ".nii.gz", ".mha")
DTYPES = ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8")


def extremes(dtype: str, channels: int = 1) -> np.ndarray:
    """An array with the ends of its type's range in it."""
    rng = np.random.default_rng(3)
    info = np.iinfo(dtype) if dtype[0] in "iu" else np.finfo(dtype)
    array = (rng.random((channels, 5, 6, 7)) * 100).astype(dtype)
    array[0, 0, 0, :2] = info.min, info.max
    return array


class TestRoundTrip:
    @pytest.mark.parametrize("suffix", SUFFIXES)
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_every_type_in_every_format(self, dtype: str, suffix: str, tmp_path: Path) -> None:
        volume = Volume(extremes(dtype), PLACES["oblique"])
        path = tmp_path / f"x{suffix}"
        write_volume(volume, path)
        back = read_volume(path)
        assert back.array.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(back.array, volume.array)
        assert back.grid.same_as(volume.grid)
        np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))).T, volume.array[0])

    @pytest.mark.parametrize("suffix", SUFFIXES)
    def test_channels(self, suffix: str, tmp_path: Path) -> None:
        volume = Volume(extremes("f4", channels=3), PLACES["flipped"])
        path = tmp_path / f"x{suffix}"
        write_volume(volume, path)
        np.testing.assert_array_equal(read_volume(path).array, volume.array)
        np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))).T, volume.array)

    @pytest.mark.parametrize("suffix", SUFFIXES)
    @pytest.mark.parametrize(("dtype", "stored"), [(bool, "u1"), ("f2", "f4"), (">i2", "i2"), (">f8", "f8")])
    def test_types_the_formats_lack_become_the_next_wider(
        self, dtype: object, stored: str, suffix: str, tmp_path: Path
    ) -> None:
        volume = Volume((extremes("i1") > 50).astype(dtype), np.eye(4))  # type: ignore[call-overload]
        write_volume(volume, tmp_path / f"x{suffix}")
        back = read_volume(tmp_path / f"x{suffix}")
        assert back.array.dtype == np.dtype(stored)
        np.testing.assert_array_equal(back.array, volume.array)

    @pytest.mark.parametrize("suffix", SUFFIXES)
    def test_memory_order_and_single_slices_do_not_matter(self, suffix: str, tmp_path: Path) -> None:
        for array in (extremes("i2")[:, ::-1, :, ::2], extremes("i2").transpose(0, 3, 2, 1), extremes("i2")[..., :1]):
            write_volume(Volume(array, PLACES["oblique"]), tmp_path / f"x{suffix}")
            np.testing.assert_array_equal(read_volume(tmp_path / f"x{suffix}").array, array)

    def test_the_same_volume_gives_the_same_bytes(self, tmp_path: Path) -> None:
        for suffix in SUFFIXES:
            for name in "ab":
                write_volume(numbered(SHEARED if suffix != ".mha" else np.eye(4)), tmp_path / (name + suffix))
            assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()

    def test_more_than_a_block_of_voxels(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import meddl.volume.deflate as deflate
        import meddl.volume.payload as payload

        volume = Volume(np.random.default_rng(0).integers(0, 999, (2, 30, 20, 30)).astype(np.int16), np.eye(4))
        monkeypatch.setattr(deflate, "BLOCK", 1000)
        monkeypatch.setattr(payload, "_CHUNK", 1000)
        for suffix in SUFFIXES:
            write_volume(volume, tmp_path / f"x{suffix}")
            np.testing.assert_array_equal(read_volume(tmp_path / f"x{suffix}").array, volume.array)

    def test_axes_longer_than_nifti_1_allows(self, tmp_path: Path) -> None:
        volume = Volume(np.ones((1, 40_000, 2, 2), np.uint8), np.diag([0.01, 1, 1, 1]))
        write_volume(volume, tmp_path / "x.nii.gz")
        assert read_volume(tmp_path / "x.nii.gz").shape == (40_000, 2, 2)
        assert nibabel.load(tmp_path / "x.nii.gz").shape == (40_000, 2, 2)

    def test_names_and_private_entries_do_not_reach_the_file(self, tmp_path: Path) -> None:
        volume = Volume(np.zeros((1, 2, 2, 2), np.uint8), np.eye(4), "Doe^Jane", {"patient": "Doe^Jane"})
        for suffix in (".nrrd", ".nii", ".mha"):
            write_volume(volume, tmp_path / f"x{suffix}")
            assert b"Doe" not in (tmp_path / f"x{suffix}").read_bytes()


class TestOtherFiles:
    def test_files_written_by_simpleitk_in_all_encodings(self, tmp_path: Path) -> None:
        image = sitk.GetImageFromArray(extremes("i2")[0].T)
        for suffix in (".nrrd", ".nhdr", ".mha", ".mhd", ".nii", ".nii.gz"):
            for compressed in (False, True):
                path = tmp_path / f"{compressed}{suffix}"
                sitk.WriteImage(image, str(path), compressed)
                np.testing.assert_array_equal(read_volume(path).array, extremes("i2"))

    def test_big_endian_and_bzip2(self, tmp_path: Path) -> None:
        import nrrd

        array = extremes("i4")[0]
        header = {"space": "RAS", "space directions": np.eye(3), "space origin": np.zeros(3)}
        nrrd.write(str(tmp_path / "x.nrrd"), array, {**header, "encoding": "bzip2"})
        np.testing.assert_array_equal(read_volume(tmp_path / "x.nrrd").array[0], array)
        big = nibabel.Nifti1Image(array.astype(">i4"), np.eye(4), nibabel.Nifti1Header(endianness=">"))
        big.set_data_dtype(">i4")
        big.to_filename(tmp_path / "x.nii")
        np.testing.assert_array_equal(read_volume(tmp_path / "x.nii").array[0], array)
        assert read_volume(tmp_path / "x.nii").array.dtype.isnative

    def test_gzip_is_recognized_whatever_the_name(self, tmp_path: Path) -> None:
        write_volume(numbered(np.eye(4)), tmp_path / "x.nii")
        write_volume(numbered(np.eye(4)), tmp_path / "x.nii.gz")
        (tmp_path / "x.nii").rename(tmp_path / "plain.nii.gz")
        (tmp_path / "x.nii.gz").rename(tmp_path / "packed.nii")
        for name in ("plain.nii.gz", "packed.nii"):
            np.testing.assert_array_equal(read_volume(tmp_path / name).array, numbered(np.eye(4)).array)

    @pytest.mark.parametrize(
        ("slope", "inter", "dtype"), [(1, 0, "i2"), (0, 5, "i2"), (2, -1024, "i2"), (1000, 0, "i4"), (0.5, 1, "f4")]
    )
    def test_nifti_scaling_means_what_nibabel_says(
        self, slope: float, inter: float, dtype: str, tmp_path: Path
    ) -> None:
        stored = numbered(np.eye(4)).array[0]
        nibabel.Nifti1Image(stored, np.eye(4)).to_filename(tmp_path / "x.nii")
        data = bytearray((tmp_path / "x.nii").read_bytes())
        data[112:120] = np.array([slope, inter], "<f4").tobytes()
        (tmp_path / "x.nii").write_bytes(data)
        volume = read_volume(tmp_path / "x.nii")
        np.testing.assert_allclose(volume.array[0], nibabel.load(tmp_path / "x.nii").get_fdata())
        assert volume.array.dtype == np.dtype(dtype)
        assert ("rescaled" in volume.meta) == (slope not in (0, 1))

    def test_four_dimensional_nifti_is_refused_unless_channels_are_wanted(self, tmp_path: Path) -> None:
        array = np.random.default_rng(0).normal(size=(4, 5, 6, 3)).astype(np.float32)
        nibabel.Nifti1Image(array, np.eye(4)).to_filename(tmp_path / "x.nii")
        with pytest.raises(VolumeError, match=r"series of 3 images \(4-D\)"):
            read_volume(tmp_path / "x.nii")
        np.testing.assert_array_equal(
            read_volume(tmp_path / "x.nii", multichannel=True).array, array.transpose(3, 0, 1, 2)
        )
        nibabel.Nifti1Image(array[..., :1], np.eye(4)).to_filename(tmp_path / "x.nii")
        assert read_volume(tmp_path / "x.nii").channels == 1

    def test_a_header_cannot_make_us_read_files_elsewhere(self, tmp_path: Path) -> None:
        secret = tmp_path / "secret"
        secret.write_bytes(bytes(240))
        folder = tmp_path / "sent"
        folder.mkdir()
        sitk.WriteImage(sitk.GetImageFromArray(numbered(np.eye(4)).array[0].T), str(folder / "x.mhd"))
        sitk.WriteImage(sitk.GetImageFromArray(numbered(np.eye(4)).array[0].T), str(folder / "x.nhdr"))
        for name, own in (("x.mhd", "x.raw"), ("x.nhdr", "x.raw")):
            for evil in ("../secret", str(secret)):
                text = (folder / name).read_text().replace(own, evil)
                (folder / f"evil{name}").write_text(text)
                with pytest.raises(VolumeError, match="outside its folder"):
                    read_volume(folder / f"evil{name}")


class TestWholeOrNotAtAll:
    @pytest.mark.parametrize("suffix", SUFFIXES)
    def test_an_error_in_the_middle_leaves_the_old_file(
        self, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import meddl.volume.writing as writing

        path = tmp_path / f"x{suffix}"
        write_volume(numbered(np.eye(4)), path)
        before = path.read_bytes()

        def failing(array: np.ndarray) -> object:
            yield array[..., :1]
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(writing, "voxel_blocks", failing)
        with pytest.raises(VolumeError, match=f"x{suffix} could not be written: No space left on device"):
            write_volume(numbered(np.eye(4)), path)
        assert path.read_bytes() == before
        assert [entry.name for entry in tmp_path.iterdir()] == [path.name], "no half-written file stays behind"

    def test_a_killed_process_leaves_the_old_file(self, tmp_path: Path) -> None:
        path = tmp_path / "x.nrrd"
        write_volume(numbered(np.eye(4)), path)
        code = (
            "import os, signal, sys, numpy as np, meddl.volume.writing as w\n"
            "def dying(array):\n    yield array\n    yield array\n    yield array\n    os.kill(os.getpid(), 9)\n"
            "w.voxel_blocks = dying\n"
            "w.write_volume(w.Volume(np.ones((1, 50, 50, 50)), np.eye(4)), sys.argv[1])\n"
        )
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
        done = subprocess.run([sys.executable, "-c", code, str(path)], env=environment, check=False)
        assert done.returncode == -9
        np.testing.assert_array_equal(read_volume(path).array, numbered(np.eye(4)).array)

    def test_places_that_cannot_be_written_are_named(self, tmp_path: Path) -> None:
        with pytest.raises(VolumeError, match="its folder does not exist"):
            write_volume(numbered(np.eye(4)), tmp_path / "none" / "x.nrrd")
        (tmp_path / "folder.nrrd").mkdir()
        with pytest.raises(VolumeError, match="could not be written"):
            write_volume(numbered(np.eye(4)), tmp_path / "folder.nrrd")

    @pytest.mark.parametrize("name", ["x.png", "x", "x.nhdr", "x.seg.nrrd", "x.gz"])
    def test_other_suffixes_are_wrong_use(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(UsageError):
            write_volume(numbered(np.eye(4)), tmp_path / name)
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("name", ["x.nrrd", "x.nii", "x.nii.gz"])
    def test_channels_are_the_images_of_a_4d_file_on_request(self, name: str, tmp_path: Path) -> None:
        volume = Volume(np.concatenate([numbered(np.eye(4)).array * n for n in (1, 2, 3)]), PLACES["oblique"])
        write_volume(volume, tmp_path / name, channels="list")
        back = read_volume(tmp_path / name, multichannel=True)
        np.testing.assert_array_equal(back.array, volume.array)
        assert back.grid.same_as(volume.grid, tol=1e-3)
        with pytest.raises(VolumeError):  # no vectors, which are channels anyway
            read_volume(tmp_path / name)
        if name.startswith("x.nii"):
            assert nibabel.load(tmp_path / name).shape == (4, 5, 6, 3)

    def test_an_mha_holds_no_list(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="holds one image"):
            write_volume(numbered(np.eye(4)), tmp_path / "x.mha", channels="list")
        assert not list(tmp_path.iterdir())


class TestResampling:
    target = Grid((9, 8, 7), PLACES["oblique"] @ np.diag([0.2, 0.2, 0.2, 1.0]))

    @pytest.mark.parametrize("where", [*PLACES, "sheared"])
    def test_linear_sampling_of_a_ramp_is_exact(self, where: str) -> None:
        affine = {**PLACES, "sheared": SHEARED}[where]
        # Centered on the target, so that the target lies wholly inside.
        volume = ramp(affine, (30, 30, 30))
        center = np.array([14.5, 14.5, 14.5, 1.0])
        moved = affine.copy()
        moved[:3, 3] += (self.target.affine @ np.array([4, 3.5, 3, 1.0]) - affine @ center)[:3]
        volume = ramp(moved, (30, 30, 30))
        expected = ramp(self.target.affine, self.target.shape)
        result = resample_to(volume, self.target, default=np.nan)
        np.testing.assert_allclose(result.array, expected.array, atol=1e-6)
        assert result.grid.same_as(self.target)

    def test_onto_a_sheared_grid(self) -> None:
        grid = Grid((5, 5, 5), SHEARED)
        around = np.diag([2.0, 2.0, 2.0, 1.0])
        around[:3, 3] = SHEARED[:3, 3] - 40
        result = resample_to(ramp(around, (60, 60, 60)), grid)
        np.testing.assert_allclose(result.array, ramp(SHEARED, (5, 5, 5)).array, atol=1e-6)

    @pytest.mark.parametrize("dtype", [bool, "u1", "i2", "u2", "i8", "f2", "f4", "f8"])
    def test_the_same_grid_changes_nothing_and_keeps_the_type(self, dtype: object) -> None:
        volume = numbered(PLACES["oblique"], dtype=dtype)  # type: ignore[arg-type]
        for interpolation in ("nearest", "linear"):
            result = resample_to(volume, volume.grid, interpolation=interpolation)  # type: ignore[arg-type]
            assert result.array.dtype == volume.array.dtype
            np.testing.assert_array_equal(result.array, volume.array)

    def test_reordered_grids_give_the_reordered_image(self) -> None:
        volume = Volume(np.random.default_rng(0).normal(size=(2, 4, 5, 6)), PLACES["oblique"])
        turned = reordered(volume, (2, 0, 1), (1, -1, -1))
        for interpolation in ("nearest", "linear"):
            result = resample_to(volume, turned.grid, interpolation=interpolation)  # type: ignore[arg-type]
            np.testing.assert_allclose(result.array, turned.array, atol=1e-9)

    def test_outside_is_the_default_value(self) -> None:
        away = np.eye(4)
        away[:3, 3] = 1000
        result = resample_to(numbered(np.eye(4)), Grid((2, 2, 2), away), default=-1024)
        assert (result.array == -1024).all() and result.array.dtype == np.int16
        with pytest.raises(UsageError, match="does not fit"):
            resample_to(numbered(np.eye(4), dtype=np.uint8), Grid((2, 2, 2), away), default=-1024)

    def test_agrees_with_simpleitk_on_its_own_grids(self) -> None:
        from meddl.volume import to_sitk

        volume = Volume(np.random.default_rng(0).normal(size=(1, 12, 13, 14)), PLACES["oblique"])
        grid = Grid((15, 14, 13), volume.affine @ np.diag([0.8, 1.1, 1.3, 1]))
        expected = sitk.Resample(to_sitk(volume), to_sitk(Volume(np.zeros((1, *grid.shape)), grid.affine)))
        np.testing.assert_allclose(resample_to(volume, grid).array[0], sitk.GetArrayFromImage(expected).T, atol=1e-9)
