"""Taking the face off a head, so that nobody can be known by a rendering of it.

Two ways. "template": a mean head is registered onto the image, and what its face mask covers (pydeface's: nose, mouth,
chin; and the eyes, of which that leaves the upper half) is removed; forehead and ears stay. "brain": the brain is found
by the brain model, and all that lies further than 15 mm from it is removed: the face, and neck, ears and lower jaw too.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from meddl.datasets.deidentify.deface_picture import defacing_picture
from meddl.errors import JobCancelled, ModelError, UsageError, VolumeError
from meddl.volume import Volume, to_sitk

if TYPE_CHECKING:
    from meddl.models import ModelBundle

__all__ = ["Defaced", "deface", "defacing_picture"]

_BRAIN_MODEL = "brain_extraction"
_MARGIN_MM = 15.0
_BRAIN_ML = (300.0, 2500.0)
_WORKING_MM = 4.0
_EYES_RIGHT, _ORBIT = (54, 127), 19
_EYES_AHEAD, _EYES_UP, _BROWS_UP, _NECK_UP = 188, 97, 106, 62
"""Voxels of the template: where the eyes begin, how high they are there, where the brows are and the skull ends."""
_LEAST_OVERLAP = 0.72
_LEAST_INFORMATION = 0.3
_NO_HEAD = (
    "The image does not look like a head, so there is no face to remove. Turn defacing off for it, or leave it out."
)


@dataclass(frozen=True, eq=False)
class Defaced:
    """A head without its face.

    Attributes:
        volume: the image; what was removed has the image's least value.
        mask: ``(1, I, J, K)`` uint8 on its grid: 1 where something was removed.
        notes: what was done, in sentences.
    """

    volume: Volume
    mask: Volume
    notes: tuple[str, ...]


def deface(
    volume: Volume,
    how: Literal["template", "brain"],
    *,
    progress: Callable[[float, str], None] = lambda fraction, text: None,
    cancelled: Callable[[], bool] = lambda: False,
    model: ModelBundle | None = None,
) -> Defaced:
    """Remove the face of a head image.

    Args:
        volume: ``(C, I, J, K)`` of a head, MR or CT, on any grid.
        how: see the module.
        model: of "brain"; by default the catalog's.

    Raises:
        VolumeError: it does not look like a head.
        UsageError: what is needed (template, model) is not on this computer; it tells how to get it.
        JobCancelled: on request.
    """
    if how not in ("template", "brain"):
        raise UsageError(f"There is no way to remove a face called {how!r}. Choose template or brain.")
    _check_size(volume)
    if how == "template":
        removed, note = _outside_template(volume, progress, cancelled)
    else:
        removed, note = _far_from_brain(volume, progress, cancelled, model)
    array = volume.array.copy()
    array[:, removed] = array.min()
    progress(1.0, "Face removed")
    mask = Volume(removed[np.newaxis].astype(np.uint8), volume.affine)
    return Defaced(volume.with_array(array), mask, (note,))


def _check_size(volume: Volume) -> None:
    extent = np.array(volume.shape) * volume.spacing
    if min(volume.shape) < 8 or extent.min() < 80 or extent.max() > 600:
        raise VolumeError(_NO_HEAD)


def _outside_template(
    volume: Volume, progress: Callable[[float, str], None], cancelled: Callable[[], bool]
) -> tuple[np.ndarray, str]:
    """Return ``(I, J, K)`` True where the template's face mask lies, and a sentence."""
    import SimpleITK as sitk

    from meddl.datasets.deidentify.deface_template import template_files

    files = template_files()
    progress(0.05, "Finding the head")
    template, fixed = _template(*files), _working_copy(volume)
    with _one_thread():
        transform = _registered(fixed, template.head, template.inner, cancelled)
    progress(0.8, "Checking the fit")
    _check_fit(fixed, sitk.Resample(template.head, fixed, transform, sitk.sitkLinear, 0.0), transform)
    resampler = sitk.ResampleImageFilter()
    resampler.SetReferenceImage(to_sitk(Volume(np.zeros((1, *volume.shape), np.uint8), volume.affine)))
    resampler.SetTransform(transform)
    resampler.SetInterpolator(sitk.sitkLinear)
    resampler.SetUseNearestNeighborExtrapolator(True)  # the face goes on where the template ends
    removed = sitk.GetArrayFromImage(resampler.Execute(template.face)).transpose(2, 1, 0) > 0.5
    return removed, "The face was removed with a mask that was registered onto the head (pydeface's template)."


@dataclass(frozen=True, eq=False)
class _Template:
    """SimpleITK images of the mean head: as it is registered, its part without skin, face and neck, and its face."""

    head: Any
    inner: Any
    face: Any


@functools.lru_cache(maxsize=1)
def _template(head_file: Path, keep_file: Path) -> _Template:
    """Return the template; it takes seconds to make, and is the same for all heads of a dataset."""
    from meddl.volume import read_volume

    head, face = read_volume(head_file), _face_of_template(read_volume(keep_file))
    return _Template(_working_copy(head), _inner_head(head, face), to_sitk(face))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let ITK use one thread: sums in another order are other numbers, and every export shall make the same bytes."""
    import SimpleITK as sitk

    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def _face_of_template(keep: Volume) -> Volume:
    """Return 1 where the template's face is: its mask, and the upper half of the eyes, which that leaves."""
    face = (keep.array[0] < 0.5).astype(np.float32)
    right, ahead, up = np.indices(face.shape, sparse=True)
    # Between the eyes the brain reaches lower.
    orbits = (np.abs(right - _EYES_RIGHT[0]) <= _ORBIT) | (np.abs(right - _EYES_RIGHT[1]) <= _ORBIT)
    eyes = (
        orbits
        & (ahead >= _EYES_AHEAD)
        & (up >= 80)
        & (up <= _EYES_UP + 0.7 * (ahead - _EYES_AHEAD))
        & (up <= _BROWS_UP)
    )
    face[np.broadcast_to(eyes, face.shape)] = 1
    # The last slices of its mask are kept wholly, which would leave the face of an image that reaches further.
    face[:, -3:, :] = np.maximum(face[:, -3:, :], face[:, -4:-3, :])
    return keep.with_array(face[np.newaxis])


def _inner_head(template: Volume, face: Volume) -> Any:
    """Return a mask of the template's head without skin, face and neck: what fits best from one person to another."""
    import SimpleITK as sitk
    from scipy import ndimage

    head = ndimage.binary_fill_holes(ndimage.gaussian_filter(template.array[0].astype(np.float32), 2) > 60)
    inner = ndimage.binary_erosion(head, iterations=4) & (face.array[0] < 0.5)
    inner[:, :, :_NECK_UP] = False
    return sitk.Cast(to_sitk(template.with_array(inner[np.newaxis].astype(np.uint8))), sitk.sitkUInt8)


def _working_copy(volume: Volume) -> Any:
    """Return the first channel on straight axes of coarse voxels, smoothed, in 0 to 1."""
    import SimpleITK as sitk

    corners = np.array(np.meshgrid(*[(0, n - 1) for n in volume.shape])).reshape(3, -1)
    world = volume.affine[:3, :3] @ corners + volume.affine[:3, 3:]
    low, high = world.min(axis=1), world.max(axis=1)
    shape = tuple(int(n) for n in np.maximum(np.ceil((high - low) / _WORKING_MM), 1) + 1)
    affine = np.diag([_WORKING_MM] * 3 + [1.0])
    affine[:3, 3] = low
    values = np.nan_to_num(volume.array[:1].astype(np.float32), posinf=0, neginf=0)
    bottom, top = np.percentile(values, [1, 99.5])
    scaled = np.clip((values - bottom) / max(float(top - bottom), 1e-6), 0, 1)
    blurred = sitk.SmoothingRecursiveGaussian(
        to_sitk(volume.with_array(scaled)), [max(float(s), _WORKING_MM) * 0.4 for s in volume.spacing]
    )
    goal = to_sitk(Volume(np.zeros((1, *shape), np.float32), affine))
    return sitk.Resample(blurred, goal, sitk.Transform(), sitk.sitkLinear, 0.0)


def _registered(fixed: Any, moving: Any, inner: Any, cancelled: Callable[[], bool]) -> Any:
    """Return the affine transform from the image's space into the template's."""
    import SimpleITK as sitk

    def run(transform: Any, rate: float, iterations: int, shrink: list[int], masked: bool) -> Any:
        method = sitk.ImageRegistrationMethod()
        method.SetMetricAsMattesMutualInformation(32)
        method.SetMetricSamplingStrategy(method.NONE)
        if masked:
            method.SetMetricMovingMask(inner)
        method.SetInterpolator(sitk.sitkLinear)
        method.SetOptimizerAsRegularStepGradientDescent(rate, 1e-3, iterations, 0.6)
        method.SetOptimizerScalesFromPhysicalShift()
        method.SetShrinkFactorsPerLevel(shrink)
        method.SetSmoothingSigmasPerLevel([float(each - 1) for each in shrink])
        method.SetInitialTransform(transform, inPlace=True)
        method.AddCommand(sitk.sitkIterationEvent, lambda: method.StopRegistration() if cancelled() else None)
        method.Execute(fixed, moving)
        if cancelled():
            raise JobCancelled("The removal of the face was cancelled.")
        return transform, method.GetMetricValue()

    best = None
    for turn in (0.0, -0.35, 0.35):  # a head bent backward or forward
        rigid = sitk.Euler3DTransform(
            sitk.CenteredTransformInitializer(
                fixed, moving, sitk.Euler3DTransform(), sitk.CenteredTransformInitializerFilter.MOMENTS
            )
        )
        rigid.SetRotation(turn, 0.0, 0.0)
        found, value = run(rigid, 4.0, 60, [3], False)
        if best is None or value < best[1]:
            best = found, value
    assert best is not None
    affine = sitk.AffineTransform(3)
    affine.SetMatrix(best[0].GetMatrix())
    affine.SetTranslation(best[0].GetTranslation())
    affine.SetCenter(best[0].GetCenter())
    affine = run(affine, 2.0, 100, [2], False)[0]
    return run(affine, 1.0, 150, [2, 1], True)[0]


def _check_fit(fixed: Any, template: Any, transform: Any) -> None:
    """Refuse an image onto which the head could not be laid.

    Raises:
        VolumeError: it is no head, or lies in a way that was not found.
    """
    import SimpleITK as sitk

    one, other = (sitk.GetArrayViewFromImage(each) for each in (fixed, template))
    scales = np.linalg.svd(np.array(transform.GetMatrix()).reshape(3, 3), compute_uv=False)
    head, mean_head = one > 0.15, other > 0.1
    overlap = 2 * float((head & mean_head).sum()) / max(float(head.sum() + mean_head.sum()), 1.0)
    information = _normalized_information(one[mean_head | head], other[mean_head | head])
    if overlap < _LEAST_OVERLAP or information < _LEAST_INFORMATION or scales.max() > 1.6 or scales.min() < 0.6:
        raise VolumeError(_NO_HEAD, details=f"overlap {overlap:.2f}, information {information:.3f}, scales {scales}")


def _normalized_information(one: np.ndarray, other: np.ndarray) -> float:
    """Return the mutual information of two images in bits."""
    joint = np.histogram2d(one.ravel(), other.ravel(), bins=24, range=[[0, 1], [0, 1]])[0]
    joint /= max(joint.sum(), 1.0)
    alone = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    there = joint > 0
    return float((joint[there] * np.log2(joint[there] / alone[there])).sum())


def _far_from_brain(
    volume: Volume,
    progress: Callable[[float, str], None],
    cancelled: Callable[[], bool],
    model: ModelBundle | None,
) -> tuple[np.ndarray, str]:
    """Return ``(I, J, K)`` True far from the brain, and a sentence."""
    from scipy import ndimage

    from meddl.inference import Predictor
    from meddl.models import resolve_model

    try:
        bundle = model or resolve_model(_BRAIN_MODEL)
    except ModelError as error:
        raise UsageError("Removing a face by the brain needs the model brain_extraction, which is not on this computer "
                         f"yet. Add it with: python -m meddl models add {_BRAIN_MODEL}") from error  # fmt: skip
    first = volume.with_array(volume.array[:1])
    prediction: Any = Predictor(bundle, "cpu").predict(
        first, progress=lambda fraction, text: progress(0.8 * fraction, text), cancelled=cancelled
    )
    brain = prediction.labels.array[0] > 0
    size = float(brain.sum()) * volume.voxel_volume_ml
    if not _BRAIN_ML[0] <= size <= _BRAIN_ML[1]:
        raise VolumeError(_NO_HEAD, details=f"a brain of {size:.0f} ml")
    distance = ndimage.distance_transform_edt(~brain, sampling=volume.spacing)
    note = (f"All that is further than {_MARGIN_MM:.0f} mm from the brain was removed: the face, and neck, ears and "
            "lower jaw too.")  # fmt: skip
    return distance > _MARGIN_MM, note
