"""A model that is loaded once and run on many images."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from meddl.errors import MedDLError, ModelError, OutOfMemory, UntrustedModelError, is_out_of_memory
from meddl.inference.cascade import box_around
from meddl.inference.device import resolve_device
from meddl.inference.prediction import SegmentationPrediction
from meddl.inference.provenance import Stopwatch, record
from meddl.inference.restore import restore_labels
from meddl.inference.shear import without_shear
from meddl.inference.stage import Stage
from meddl.models import ModelBundle, TrustStore
from meddl.volume import Grid, is_sheared

if TYPE_CHECKING:
    from meddl.volume import Volume

logger = logging.getLogger(__name__)

SHEAR_TOLERANCE = 1e-3
"""Below it a shear moves no voxel of a usual image by a whole one."""

Progress = Callable[[float, str], None]
Cancelled = Callable[[], bool]


class Predictor:
    """Runs a segmentation bundle.

    Example::

        predictor = Predictor(resolve_model("brain_extraction"))
        prediction = predictor.predict(read_volume(Path("head.nii.gz")))
        print(prediction.volumes_ml)

    Args:
        bundle: the model.
        device: ``auto``, ``cpu``, ``cuda:N`` or ``mps``.
        trust: where the user's consents are kept; the user's own store by default.

    Raises:
        ModelError: the bundle is broken or its task is not segmentation.
        UntrustedModelError: it would run code that the user has not consented to.
        UsageError: this computer has no such device.
    """

    def __init__(self, bundle: ModelBundle, device: str = "auto", trust: TrustStore | None = None) -> None:
        trust = TrustStore() if trust is None else trust
        report = bundle.check()
        report.raise_if_broken()
        if bundle.task != "segmentation":
            raise ModelError(f"The model '{bundle.name}' is made for {bundle.task}; only segmentation can be run yet.")
        if report.needs_trust and not trust.is_trusted(bundle):
            raise UntrustedModelError(
                f"The model '{bundle.name}' brings code of its own. Run it only if you trust where it comes from, "
                "and say so first (in the panel, or with 'python -m meddl models trust').",
                reasons=report.needs_trust,
            )
        self.bundle = bundle
        self.device = resolve_device(device)
        self._fine = Stage(bundle, "inference", self.device, trust)
        self._localizer = Stage(bundle, bundle.cascade.localizer, self.device, trust) if bundle.cascade else None

    def predict(
        self,
        volume: Volume,
        *,
        progress: Progress | None = None,
        cancelled: Cancelled | None = None,
    ) -> SegmentationPrediction:
        """Segment one image; the answer lies on its grid, voxel for voxel.

        Args:
            volume: ``(C, I, J, K)`` with the number of channels the model asks for. Voxels that hold no number (NaN,
                infinity) count as the least value of their channel; a note in the provenance says so.
            progress: called with the fraction of the work done (0 to 1) and one line of text.
            cancelled: asked between windows.

        Raises:
            ModelError: the image does not fit the model, or nothing was found in it.
            JobCancelled: on request.
            OutOfMemory: the device has too little memory for this image and model.
        """
        image, replaced = _numbers_only(volume)
        self._check_input(image)
        notes = []
        if replaced:
            notes.append(f"Voxels without a number (NaN, infinity): {replaced}. The network saw the least value there.")
        try:
            return self._predict(image, notes, progress or _silent, cancelled or _never)
        except MedDLError:
            raise
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise OutOfMemory(
                f"There was not enough memory on {self.device} for this image and model. "
                "Close other programs, crop the image, or choose another device.",
                details=str(error),
            ) from error

    def _predict(
        self, volume: Volume, notes: list[str], progress: Progress, cancelled: Cancelled
    ) -> SegmentationPrediction:
        watch = Stopwatch()
        parameters: dict[str, Any] = {"interpolation": self._fine.interpolation}
        image = volume
        if is_sheared(volume.affine, SHEAR_TOLERANCE):
            with watch.step("deshear"):
                image = without_shear(volume)
            notes.append("The image's axes are not at right angles: the network saw it resampled to a straight grid.")
        locate = None
        if self._localizer is not None and self.bundle.cascade is not None:
            progress(0.02, "Looking for the region")
            locate = self._locate(image, self._localizer, parameters, watch, progress, cancelled)
        share = 0.4 if locate else 0.05
        progress(share, "Preparing the image")
        with watch.step("preprocess"):
            prepared = self._fine.prepare(image, locate)
        with watch.step("network"):
            scores = self._fine.run(
                prepared, _windows(progress, share + 0.05, 0.9, "Segmenting"), cancelled
            )
        progress(0.9, "Putting the answer on the image's grid")
        with watch.step("restore"):
            labels = restore_labels(
                scores.array,
                scores.affine,
                volume.grid,
                threshold=self._fine.threshold,
                interpolation=self._fine.interpolation,
            )
        progress(0.95, "Cleaning up the segmentation")
        with watch.step("postprocess"):
            labels = self._fine.finish_labels(labels, volume.affine)
        voxels = self._voxels(labels)
        if not any(voxels.values()):
            notes.append("The model found nothing in this image.")
        progress(1.0, "Done")
        return SegmentationPrediction(
            # As Slicer keeps voxels, the first axis fastest: taking the labels over is then one plain copy.
            volume.with_array(np.asfortranarray(labels)[None]),
            self.bundle.segments,
            voxels,
            {name: round(count * volume.voxel_volume_ml, 3) for name, count in voxels.items()},
            record(self.bundle, volume, self.device, parameters, watch, notes),
        )

    def _locate(
        self,
        image: Volume,
        localizer: Stage,
        parameters: dict[str, Any],
        watch: Stopwatch,
        progress: Progress,
        cancelled: Cancelled,
    ) -> Callable[[np.ndarray, tuple[int, int, int]], Any]:
        """Run the coarse stage and return the function that gives the box in the fine stage's voxels."""
        cascade = self.bundle.cascade
        assert cascade is not None
        with watch.step("localizer preprocess"):
            prepared = localizer.prepare(image)
        with watch.step("localizer network"):
            scores = localizer.run(prepared, _windows(progress, 0.05, 0.4, "Looking for the region"), cancelled)
        with watch.step("localizer postprocess"):
            size = scores.array.shape[1:]
            grid = Grid((size[0], size[1], size[2]), scores.affine)
            mask = restore_labels(
                scores.array, scores.affine, grid, threshold=localizer.threshold, interpolation="nearest"
            )
            mask = localizer.finish_labels(mask, scores.affine)

        def box(affine: np.ndarray, shape: tuple[int, int, int]) -> Any:
            found = box_around(
                mask, scores.affine, shape, affine, margin=cascade.margin, min_fraction=cascade.min_fraction
            )
            parameters["roi_start"], parameters["roi_end"] = list(found.start), list(found.end)
            return found

        return box

    def _check_input(self, volume: Volume) -> None:
        wanted = self.bundle.input_channels
        if wanted is not None and volume.channels != wanted:
            raise ModelError(
                f"The model '{self.bundle.name}' takes an image with {wanted} channel{'s' if wanted != 1 else ''}; "
                f"this one has {volume.channels}."
            )
        if volume.array.min() == volume.array.max():
            raise ModelError("The image is empty: all its voxels have the same value.")

    def _voxels(self, labels: np.ndarray) -> dict[str, int]:
        segments = self.bundle.segments
        counts = np.bincount(labels.ravel(), minlength=max((segment.label for segment in segments), default=0) + 1)
        return {segment.name: int(counts[segment.label]) for segment in segments}


def _windows(progress: Progress, start: float, end: float, text: str) -> Callable[[int, int], None]:
    """Return a callback that reports windows done as a share of the whole run."""

    def report(done: int, total: int) -> None:
        what = f"{text} ({done} of {total} windows)" if total > 1 else text
        progress(start + (end - start) * done / total, what)

    progress(start, text)
    return report


def _numbers_only(volume: Volume) -> tuple[Volume, int]:
    """Return ``volume`` with its channel's least number where a voxel holds none (NaN, infinity), and how many do.

    A single such voxel would spread over the whole image in most preprocessing steps, and the network find nothing.
    """
    array = volume.array
    if array.dtype.kind != "f":
        return volume, 0
    finite = np.isfinite(array)
    lacking = array.size - int(np.count_nonzero(finite))
    if not lacking:
        return volume, 0
    least = array.min(axis=(1, 2, 3), keepdims=True, where=finite, initial=np.inf)
    return volume.with_array(np.where(finite, array, np.where(np.isfinite(least), least, 0))), lacking


def _silent(fraction: float, text: str) -> None:
    pass


def _never() -> bool:
    return False
