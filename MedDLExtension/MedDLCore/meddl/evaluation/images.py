"""An image against a reference image: noise, structure, error."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from meddl.errors import UsageError, VolumeError
from meddl.volume import Volume, resample_to

SSIM_SIGMA = 1.5
_WINDOW = 11
"""Voxels along an axis that the Gaussian window of the structural similarity needs."""
_SLAB_VOXELS = 4_000_000


@dataclass(frozen=True)
class ImageAgreement:
    """How well an image agrees with a reference.

    Attributes:
        psnr_db: peak signal-to-noise ratio: 20 log10(data range / root of the mean squared error); infinite for equal
            images.
        ssim: structural similarity, 1 for equal images: mean over all places of a Gaussian window of 1.5 voxels (Wang
            Z, Bovik AC, Sheikh HR, Simoncelli EP. Image quality assessment: from error visibility to structural
            similarity. IEEE Trans Image Process 13 (2004) 600-612). NaN for images that are smaller than the window.
        mae: mean absolute error in the image's units.
        data_range: what the peak is taken to be: the reference's greatest minus its least value, unless given. Both
            figures depend on it.
        voxels: how many were compared.
        notes: what to know about the comparison.
    """

    psnr_db: float
    ssim: float
    mae: float
    data_range: float
    voxels: int
    notes: tuple[str, ...] = ()

    def to_dict(self) -> Mapping[str, object]:
        """Return plain data that JSON can hold: what is not defined or infinite becomes None."""
        facts = asdict(self) | {"notes": list(self.notes)}
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in facts.items()}


def compare_images(
    image: Volume, reference: Volume, mask: np.ndarray | None = None, *, data_range: float | None = None
) -> ImageAgreement:
    """Compare an image with a reference, which is interpolated linearly to the image's grid if it lies on another.

    Args:
        image: ``(C, I, J, K)``. The structural similarity of several channels is their mean.
        reference: as many channels, on any grid.
        mask: ``(I, J, K)``, where to compare; everywhere by default. Voxels without a number in either image, and those
            where the reference does not reach, are never compared.
        data_range: in the image's units, see :class:`ImageAgreement`.

    Raises:
        VolumeError: another number of channels, no voxel to compare, or a reference without any contrast.
        UsageError: a mask of another shape, or a data range that is not positive.

    Example:
        >>> truth = Volume(np.arange(4096.0).reshape(1, 16, 16, 16), np.eye(4))
        >>> found = compare_images(truth.with_array(truth.array + 4.095), truth)
        >>> round(found.psnr_db, 6), round(found.mae, 6), found.data_range
        (60.0, 4.095, 4095.0)
    """
    if image.channels != reference.channels:
        raise VolumeError(
            f"The image has {image.channels} channels and the reference {reference.channels}. "
            "Choose a reference of the same kind."
        )
    notes: list[str] = []
    if not reference.grid.same_as(image.grid, tol=1e-3):
        wide = reference.with_array(reference.array.astype(np.float32))
        reference = resample_to(wide, image.grid, default=math.nan)
        notes.append("The reference lies on another grid and was interpolated to the image's.")
    dtype = np.result_type(image.array, reference.array, np.float32)
    ours, theirs = image.array.astype(dtype, copy=False), reference.array.astype(dtype, copy=False)
    where = np.asarray(np.isfinite(ours).all(axis=0) & np.isfinite(theirs).all(axis=0))
    if mask is not None:
        if tuple(mask.shape) != image.shape:
            raise UsageError(f"A mask of {mask.shape} does not fit an image of {image.shape} voxels.")
        where = where & np.asarray(mask, dtype=bool)
    count = int(np.count_nonzero(where))
    if not count:
        raise VolumeError("Image and reference share no voxels to compare: they do not overlap, or the mask is empty.")
    if data_range is None:
        data_range = float(np.ptp(theirs[:, where]))
        if data_range == 0:
            raise VolumeError("The reference has the same value everywhere: there is no contrast to compare with.")
    elif not data_range > 0:
        raise UsageError(f"The data range must be above 0, not {data_range}.")
    error = ours[:, where] - theirs[:, where]
    squared = float(np.mean(error**2, dtype=np.float64))
    psnr = math.inf if squared == 0 else 20 * math.log10(data_range) - 10 * math.log10(squared)
    ssim = _similarity(ours, theirs, where, data_range)
    if math.isnan(ssim):
        notes.append(f"The structural similarity needs {_WINDOW} voxels along at least two axes.")
    return ImageAgreement(psnr, ssim, float(np.mean(np.abs(error), dtype=np.float64)), data_range, count, tuple(notes))


def _similarity(ours: np.ndarray, theirs: np.ndarray, where: np.ndarray, data_range: float) -> float:
    """Return the mean over the places in ``where`` at which the window lies within the image; NaN if there is none."""
    from skimage.metrics import structural_similarity

    thin = [axis for axis, size in enumerate(where.shape) if size < _WINDOW]
    if len(thin) > 1:
        return math.nan
    edge = _WINDOW // 2
    inner = np.zeros_like(where)
    inner[tuple(slice(None) if axis in thin else slice(edge, -edge) for axis in range(3))] = True
    inner &= where
    if not inner.any():
        return math.nan

    def similarity(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return structural_similarity(
            a, b, data_range=data_range, gaussian_weights=True, sigma=SSIM_SIGMA, use_sample_covariance=False, full=True
        )[1]

    # A stack too thin for the window is looked at slice by slice, a thick one slab by slab: the slabs share what the
    # window reaches over, so that the result is the same, and memory is bounded.
    along = thin[0] if thin else int(np.argmax(where.shape))
    where, inner = np.moveaxis(where, along, 0), np.moveaxis(inner, along, 0)
    rows = 1 if thin else max(1, _SLAB_VOXELS // int(np.prod(where.shape[1:])))
    total = 0.0
    for a, b in zip(np.moveaxis(ours, along + 1, 1), np.moveaxis(theirs, along + 1, 1), strict=True):
        for start in range(0, len(where), rows) if thin else range(edge, len(where) - edge, rows):
            stop = min(start + rows, len(where) if thin else len(where) - edge)
            part = slice(start, stop) if thin else slice(start - edge, stop + edge)
            # Voxels that are not compared must not differ, for they lie in the windows of others.
            x, y = (np.where(where[part], each[part], 0) for each in (a, b))
            field = similarity(x[0], y[0])[None] if thin else similarity(x, y)[edge:-edge]
            total += float(field[inner[start:stop]].sum(dtype=np.float64))
    return total / (len(ours) * int(np.count_nonzero(inner)))
