"""SimpleITK images of volumes and back, and resampling onto another grid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from meddl.errors import UsageError, VolumeError

from .data import Volume
from .geometry import Grid, flip_lps_ras, is_sheared, spacing_of

if TYPE_CHECKING:
    import SimpleITK as sitk


def to_sitk(volume: Volume) -> sitk.Image:
    """Return ``volume`` as a SimpleITK image (LPS); several channels become a vector image.

    bool becomes uint8 and float16 becomes float32, since ITK has neither.

    Raises:
        VolumeError: the axes are not at right angles, which an ITK image cannot express.

    Example:
        >>> to_sitk(Volume(np.zeros((1, 2, 3, 4)), np.diag([1.0, 1.0, 2.5, 1.0]))).GetDirection()
        (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0)
    """
    if is_sheared(volume.affine):
        raise VolumeError(
            "The image's axes are not at right angles to each other, which ITK images cannot hold. "
            "Resample it to a regular grid first."
        )
    image = _sitk_voxels(volume.array)
    lps = flip_lps_ras(volume.affine)
    spacing = spacing_of(lps)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


def from_sitk(image: sitk.Image) -> Volume:
    """Return a three-dimensional SimpleITK image (LPS) as a volume; the components of a vector become channels.

    Raises:
        VolumeError: the image is not three-dimensional, is complex or has no usable place in space.
    """
    if image.GetDimension() != 3:
        raise VolumeError(f"The image has {image.GetDimension()} dimensions where 3 are needed.")
    lps = np.eye(4)
    lps[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    lps[:3, 3] = image.GetOrigin()
    return Volume(_array_of(image), flip_lps_ras(lps))


def resample_to(
    volume: Volume, grid: Grid, *, interpolation: Literal["linear", "nearest"] = "linear", default: float = 0.0
) -> Volume:
    """Return ``volume`` sampled at the voxel centers of ``grid``; both may be oblique, flipped or sheared.

    Args:
        interpolation: "linear" for images (integers are rounded; those above 2**53 lose digits), "nearest" for labels.
        default: value where the grid reaches beyond the volume.

    Returns:
        A volume on ``grid`` with the channels and the data type of ``volume``. Nothing is smoothed before
        downsampling.

    Raises:
        UsageError: unknown interpolation, or a default that the data type cannot hold.

    Example:
        >>> coarse = Volume(np.arange(8.0).reshape(1, 2, 2, 2), np.eye(4))
        >>> fine = resample_to(coarse, Grid((3, 3, 3), np.diag([0.5, 0.5, 0.5, 1])))
        >>> float(fine.array[0, 1, 1, 1])
        3.5
    """
    import SimpleITK as sitk

    interpolators = {"linear": sitk.sitkLinear, "nearest": sitk.sitkNearestNeighbor}
    if interpolation not in interpolators:
        raise UsageError(f'The interpolation must be "linear" or "nearest", not {interpolation!r}.')
    dtype = volume.array.dtype
    if dtype.kind in "biu":
        limits = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        if not limits[0] <= default <= limits[1]:
            raise UsageError(f"The default value {default:g} does not fit into voxels of type {dtype}.")
    # Both images are given to ITK in voxel units and all of the geometry as one affine map between their indices,
    # because ITK images themselves cannot be sheared.
    # Rounded far below what matters, so that a voxel center meant to be hit is hit, and not missed by 1e-15.
    index_map = np.round(np.linalg.inv(volume.affine) @ grid.affine, 10)
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(index_map[:3, :3].ravel().tolist())
    transform.SetTranslation(index_map[:3, 3].tolist())
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize(list(grid.shape))
    resampler.SetTransform(transform)
    resampler.SetInterpolator(interpolators[interpolation])
    resampler.SetDefaultPixelValue(float(default))
    array = volume.array
    if interpolation == "linear" and dtype.kind in "biu":  # ITK would cut off what is behind the point
        array = array.astype(np.float32 if dtype.itemsize <= 2 else np.float64)
    resampled = _array_of(resampler.Execute(_sitk_voxels(array)))
    if resampled.dtype.kind == "f" and dtype.kind in "biu":
        resampled = np.rint(resampled, out=resampled)
    return Volume(resampled.astype(dtype, copy=False), grid.affine, volume.name, volume.meta)


def storable_dtype(dtype: np.dtype) -> np.dtype:
    """Return the native type that ITK and the file formats know for ``dtype``: no value changes by it."""
    wider: dict[np.dtype, np.dtype] = {
        np.dtype(np.bool_): np.dtype(np.uint8),
        np.dtype(np.float16): np.dtype(np.float32),
    }
    native: np.dtype = dtype.newbyteorder("=")
    return wider.get(native, native)


def _sitk_voxels(array: np.ndarray) -> sitk.Image:
    """Return ``array`` (C, I, J, K) as an image at unit spacing, the origin and no rotation."""
    import SimpleITK as sitk

    array = array.astype(storable_dtype(array.dtype), copy=False)
    if array.shape[0] == 1:
        return sitk.GetImageFromArray(np.ascontiguousarray(array[0].T), isVector=False)
    return sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(3, 2, 1, 0)), isVector=True)


def _array_of(image: sitk.Image) -> np.ndarray:
    """Return the voxels as (C, I, J, K)."""
    import SimpleITK as sitk

    array = sitk.GetArrayFromImage(image)
    return array.transpose(3, 2, 1, 0) if array.ndim == 4 else array.T[np.newaxis]
