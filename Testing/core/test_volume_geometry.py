"""Each voxel is where SimpleITK and nibabel, as independent readers, say it is."""

from __future__ import annotations

from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest
import realdata
import SimpleITK as sitk
from core.phantoms import PLACES, SHEARED, axis_orders, numbered, reordered, world_of
from meddl.errors import VolumeError
from meddl.volume import Volume, from_sitk, read_volume, to_sitk, write_volume

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
ORDERS = axis_orders()


def sitk_affine(image: sitk.Image) -> np.ndarray:
    """Where SimpleITK puts voxels, asked of SimpleITK itself, in RAS."""
    corner = np.array(image.TransformContinuousIndexToPhysicalPoint((0.0, 0.0, 0.0)))
    units = np.eye(3).tolist()
    affine = np.eye(4)
    affine[:3, :3] = (
        np.array([image.TransformContinuousIndexToPhysicalPoint(unit) for unit in units]).T - corner[:, None]
    )
    affine[:3, 3] = corner
    return LPS @ affine


def sitk_read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    image = sitk.ReadImage(str(path))
    return sitk.GetArrayFromImage(image).T, sitk_affine(image)


def nibabel_read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    image = nibabel.load(path)
    return np.asanyarray(image.dataobj), image.affine


def assert_same_image(volume: Volume, array: np.ndarray, affine: np.ndarray, tol: float = 1e-4) -> None:
    np.testing.assert_array_equal(volume.array[0], array)
    np.testing.assert_allclose(world_of(volume.affine, volume.shape), world_of(affine, array.shape), atol=tol)


@pytest.fixture(scope="module")
def vertebra() -> Volume:
    """A real CT in PIR order."""
    return read_volume(realdata.tptbox()["sub-ct_label-22_ct"])


@pytest.mark.parametrize("name", ["sub-ct_label-22_ct", "sub-mri_label-6_T2w", "sub-mri_seg-vert_label-6_msk"])
def test_real_images_are_read_as_simpleitk_and_nibabel_read_them(name: str) -> None:
    path = realdata.tptbox()[name]
    volume = read_volume(path)
    assert_same_image(volume, *sitk_read(path))
    assert_same_image(volume, *nibabel_read(path))
    assert volume.array.dtype == nibabel.load(path).get_data_dtype()
    assert volume.orientation == "PIR"


def test_all_axis_orders_written_by_others_keep_each_voxel_in_its_place(vertebra: Volume, tmp_path: Path) -> None:
    small = Volume(vertebra.array[:, 20:33, 10:25, 30:41], vertebra.affine @ _shift(20, 10, 30))
    for number, order in enumerate(ORDERS):
        stored = reordered(small, *order)
        array = np.ascontiguousarray(stored.array[0])
        nii, mha, nrrd_path = (tmp_path / f"{number}{suffix}" for suffix in (".nii.gz", ".mha", ".nrrd"))
        nibabel.Nifti1Image(array, stored.affine).to_filename(nii)
        image = sitk.ReadImage(str(nii))
        sitk.WriteImage(image, str(mha))
        sitk.WriteImage(image, str(nrrd_path), useCompression=True)
        for path in (nii, mha, nrrd_path):
            volume = read_volume(path)
            assert_same_image(volume, array, stored.affine)
            assert_same_image(volume, *sitk_read(path))
            assert volume.orientation == "".join(nibabel.aff2axcodes(stored.affine))


def test_all_axis_orders_written_by_us_are_read_alike_by_others(vertebra: Volume, tmp_path: Path) -> None:
    small = Volume(vertebra.array[:, 20:33, 10:25, 30:41], vertebra.affine @ _shift(20, 10, 30))
    for number, order in enumerate(ORDERS):
        stored = reordered(small, *order)
        for suffix in (".nii.gz", ".nii", ".mha", ".nrrd"):
            path = tmp_path / f"{number}{suffix}"
            write_volume(stored, path)
            assert_same_image(stored, *sitk_read(path))
            if suffix.startswith(".nii"):
                assert_same_image(stored, *nibabel_read(path))
                qform = nibabel.load(path).get_qform()
                np.testing.assert_allclose(qform, stored.affine, atol=1e-4)


@pytest.mark.parametrize("where", PLACES)
def test_oblique_flipped_and_anisotropic_images_agree_with_simpleitk(where: str, tmp_path: Path) -> None:
    volume = numbered(PLACES[where])
    np.testing.assert_allclose(sitk_affine(to_sitk(volume)), volume.affine, atol=1e-12)
    for suffix in (".nii.gz", ".mha", ".nrrd"):
        path = tmp_path / f"x{suffix}"
        write_volume(volume, path)
        assert_same_image(volume, *sitk_read(path))
        assert_same_image(read_volume(path), volume.array[0], volume.affine)
        sitk.WriteImage(to_sitk(volume), str(path))
        assert_same_image(read_volume(path), volume.array[0], volume.affine)


def test_images_go_through_simpleitk_and_back_unchanged() -> None:
    for where in PLACES.values():
        volume = Volume(np.random.default_rng(0).normal(size=(3, 4, 5, 6)).astype(np.float32), where)
        back = from_sitk(to_sitk(volume))
        np.testing.assert_array_equal(back.array, volume.array)
        assert back.grid.same_as(volume.grid, tol=1e-10)
    with pytest.raises(VolumeError, match="2 dimensions"):
        from_sitk(sitk.Image(4, 4, sitk.sitkUInt8))


class TestSheared:
    def test_nifti_and_nrrd_keep_the_shear(self, tmp_path: Path) -> None:
        volume = numbered(SHEARED)
        for suffix in (".nii", ".nii.gz", ".nrrd"):
            path = tmp_path / f"x{suffix}"
            write_volume(volume, path)
            assert_same_image(read_volume(path), volume.array[0], SHEARED)
        assert_same_image(volume, *nibabel_read(tmp_path / "x.nii"))
        array, header = nrrd.read(str(tmp_path / "x.nrrd"))
        affine = np.eye(4)
        affine[:3, :3], affine[:3, 3] = header["space directions"].T, header["space origin"]
        assert_same_image(volume, array, LPS @ affine)

    def test_sheared_nifti_of_others_is_read_as_nibabel_reads_it(self, tmp_path: Path) -> None:
        path = tmp_path / "x.nii"
        nibabel.Nifti1Image(numbered(SHEARED).array[0], SHEARED).to_filename(path)
        assert_same_image(read_volume(path), *nibabel_read(path))

    def test_what_cannot_hold_shear_refuses_it(self, tmp_path: Path) -> None:
        with pytest.raises(VolumeError, match="right angles"):
            write_volume(numbered(SHEARED), tmp_path / "x.mha")
        with pytest.raises(VolumeError, match="right angles"):
            to_sitk(numbered(SHEARED))
        assert not list(tmp_path.iterdir())


class TestNiftiForms:
    """A NIfTI header can place an image twice."""

    sform, qform = PLACES["oblique"], PLACES["anisotropic"]

    def written(self, folder: Path, sform: np.ndarray | None, qform: np.ndarray | None, code: int = 2) -> Path:
        image = nibabel.Nifti1Image(numbered(np.eye(4)).array[0], None)
        image.header.set_qform(qform, code=int(qform is not None))
        image.header.set_sform(sform, code=code if sform is not None else 0)
        if qform is None and sform is not None:
            image.header["pixdim"][1:4] = np.linalg.norm(sform[:3, :3], axis=0)
        with (folder / "x.nii").open("wb") as file:  # nibabel's own saving would tidy the header
            header = image.header.copy()
            header["vox_offset"] = 352
            header["magic"] = b"n+1"
            header["scl_slope"], header["scl_inter"] = 1, 0
            file.write(header.binaryblock + bytes(4) + numbered(np.eye(4)).array[0].tobytes(order="F"))
        return folder / "x.nii"

    def test_either_alone_is_believed(self, tmp_path: Path) -> None:
        for place in ({"sform": self.sform, "qform": None}, {"sform": None, "qform": self.qform}):
            path = self.written(tmp_path, **place)
            assert_same_image(read_volume(path), *nibabel_read(path))
            assert_same_image(read_volume(path), *sitk_read(path))

    def test_a_scanner_sform_wins_as_in_all_readers(self, tmp_path: Path) -> None:
        qform = self.sform.copy()
        qform[:3, 3] += 50
        path = self.written(tmp_path, self.sform, qform, code=1)
        assert_same_image(read_volume(path), *nibabel_read(path))
        assert_same_image(read_volume(path), *sitk_read(path))

    def test_a_contradiction_that_readers_resolve_differently_is_refused(self, tmp_path: Path) -> None:
        qform = self.sform.copy()
        qform[:3, 3] += 50
        path = self.written(tmp_path, self.sform, qform, code=4)
        assert not np.allclose(nibabel_read(path)[1], sitk_read(path)[1], atol=1)
        with pytest.raises(VolumeError, match="sform and qform disagree"):
            read_volume(path)

    def test_rounding_between_the_two_is_no_contradiction(self, tmp_path: Path) -> None:
        qform = self.sform.copy()
        qform[0, 3] += 0.01
        assert read_volume(self.written(tmp_path, self.sform, qform)).shape == (4, 5, 6)

    def test_neither_is_no_place(self, tmp_path: Path) -> None:
        with pytest.raises(VolumeError, match="neither an sform nor a qform"):
            read_volume(self.written(tmp_path, None, None))

    def test_a_voxel_size_against_the_sform_is_refused(self, tmp_path: Path) -> None:
        path = self.written(tmp_path, self.sform, None)
        data = bytearray(path.read_bytes())
        data[80:84] = np.float32(2.5).tobytes()  # pixdim[1]
        path.write_bytes(data)
        with pytest.raises(VolumeError, match="two voxel sizes"):
            read_volume(path)

    @pytest.mark.parametrize("unit", ["meter", "micron"])
    def test_lengths_in_another_unit_are_refused(self, unit: str, tmp_path: Path) -> None:
        image = nibabel.Nifti1Image(numbered(np.eye(4)).array[0], self.sform)
        image.header.set_xyzt_units(unit)
        image.to_filename(tmp_path / "x.nii")
        with pytest.raises(VolumeError, match="meters"):
            read_volume(tmp_path / "x.nii")


class TestNrrdSpaces:
    header = {"space directions": PLACES["oblique"][:3, :3].T, "space origin": PLACES["oblique"][:3, 3]}

    @pytest.mark.parametrize(
        ("space", "signs"), [("RAS", (1, 1)), ("left-anterior-superior", (-1, 1)), ("LPS", (-1, -1))]
    )
    def test_anatomical_spaces(self, space: str, signs: tuple[int, int], tmp_path: Path) -> None:
        path = tmp_path / "x.nrrd"
        nrrd.write(str(path), numbered(np.eye(4)).array[0], {**self.header, "space": space})
        volume = read_volume(path)
        assert_same_image(volume, *sitk_read(path))
        np.testing.assert_allclose(volume.affine, np.diag([*signs, 1, 1]) @ PLACES["oblique"])

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"space": None}, "'space'"),
            ({"space": "scanner-xyz"}, "'space'"),
            ({"space": None, "space dimension": 3}, "'space'"),
            ({"space origin": None}, "'space origin'"),
            ({"space directions": None, "space origin": None, "spacings": [1, 1, 1], "space": None}, "'space'"),
            ({"space units": ["um", "um", "um"]}, "not in mm"),
        ],
    )
    def test_an_image_without_a_place_is_refused(self, change: dict[str, object], says: str, tmp_path: Path) -> None:
        header = {"space": "left-posterior-superior", **self.header, **change}
        path = tmp_path / "x.nrrd"
        nrrd.write(str(path), numbered(np.eye(4)).array[0], {k: v for k, v in header.items() if v is not None})
        with pytest.raises(VolumeError, match=says):
            read_volume(path)

    @pytest.mark.parametrize("axis", [0, 3])
    def test_vectors_are_channels_wherever_their_axis_stands(self, axis: int, tmp_path: Path) -> None:
        array = np.random.default_rng(1).normal(size=(4, 5, 6, 7)).astype(np.float32)
        directions = np.insert(self.header["space directions"], axis, np.nan, axis=0)
        kinds = ["domain"] * 3
        kinds.insert(axis, "vector")
        path = tmp_path / "x.nrrd"
        header = {**self.header, "space": "RAS", "space directions": directions, "kinds": kinds}
        nrrd.write(str(path), array, header)
        volume = read_volume(path)
        np.testing.assert_array_equal(volume.array, np.moveaxis(array, axis, 0))
        np.testing.assert_allclose(volume.affine, PLACES["oblique"])

    @pytest.mark.parametrize("kind", ["list", "time", "???"])
    def test_lists_of_images_need_to_be_asked_for(self, kind: str, tmp_path: Path) -> None:
        directions = np.insert(self.header["space directions"], 3, np.nan, axis=0)
        path = tmp_path / "x.nrrd"
        header = {**self.header, "space": "RAS", "space directions": directions, "kinds": ["domain"] * 3 + [kind]}
        nrrd.write(str(path), np.zeros((4, 5, 6, 7), np.uint8), header)
        with pytest.raises(VolumeError, match=r"list of 7 images \(4-D\)"):
            read_volume(path)
        assert read_volume(path, multichannel=True).channels == 7


def _shift(*index: int) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, 3] = index
    return affine
