"""A model that is loaded once and run on many images."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from meddl import computer
from meddl.errors import MedDLError, ModelError, OutOfMemory, UsageError, is_out_of_memory
from meddl.inference.channels import combine_channels
from meddl.inference.device import resolve_device
from meddl.inference.domain import check_domain
from meddl.inference.estimate import record_run
from meddl.inference.features import FeatureMonitor, ReferenceStatistics
from meddl.inference.options import RunOptions
from meddl.inference.prediction import Prediction, ReconstructionPrediction
from meddl.inference.provenance import record
from meddl.inference.run import Cancelled, Log, Progress, Run, never, silent, unlogged
from meddl.inference.stage import Prepared, Stage
from meddl.inference.tasks import make_task
from meddl.inference.tasks.input_image import slice_of, straightened
from meddl.inference.tasks.segmentation import SegmentationTask
from meddl.models import ModelBundle, TrustStore, without_consent
from meddl.models.formats.nnunet_folder import NnUNetBundle
from meddl.models.metadata_values import own_part

if TYPE_CHECKING:
    from meddl.inference.prediction import Box
    from meddl.inference.tasks.retinanet_candidates import Candidate
    from meddl.volume import Volume

logger = logging.getLogger(__name__)

LOADING_OPTIONS = ("device", "precision", "engine", "skip_air", "mirror")
"""What a predictor is made for; the other options may change from run to run."""


class Predictor:
    """Runs one model, whatever its task.

    Example::

        predictor = Predictor(resolve_model("brain_extraction"))
        prediction = predictor.predict(read_volume(Path("head.nii.gz")))
        print(prediction.volumes_ml)

    Args:
        bundle: the model.
        options: how to run it; a text is the device's name, all else as usual.
        trust: where the user's consents are kept; the user's own store by default.
        random_weights: leave the weights file alone; for trying a bundle whose weights are not there.
        cases: how many images are to come, as far as known.

    Raises:
        ModelError: the bundle is broken, or its task cannot be run here.
        UntrustedModelError: it would run code that the user has not consented to.
        UsageError: this computer has no such device.
    """

    def __init__(
        self,
        bundle: ModelBundle,
        options: RunOptions | str | None = None,
        trust: TrustStore | None = None,
        *,
        random_weights: bool = False,
        cases: int = 1,
    ) -> None:
        trust = TrustStore() if trust is None else trust
        if isinstance(options, str):
            options = RunOptions(device=options)
        self.options = options or RunOptions()
        report = bundle.check()
        if not random_weights:
            report.raise_if_broken()
        if bundle.refusal:
            raise ModelError(bundle.refusal)
        if report.needs_trust and not trust.is_trusted(bundle):
            raise without_consent(bundle, report.needs_trust)
        self.bundle = bundle
        self.device = resolve_device(self.options.device)
        loading = self.options
        self._statistics = ReferenceStatistics.from_metadata(bundle.metadata)
        self._peak_before = 0
        if loading.engine == "auto" and (self._statistics or bundle.sequence_axis):
            # What is asked of a layer, and what a network tells beside its answer, only PyTorch can tell.
            loading = replace(loading, engine="torch")

        def make_stage(name: str) -> Stage:
            if isinstance(bundle, NnUNetBundle):
                from meddl.inference.nnunet import NnUNetStage

                return NnUNetStage(bundle, self.device, loading, random_weights=random_weights)
            return Stage(bundle, name, self.device, trust, loading, random_weights=random_weights, cases=cases)

        self._task = make_task(bundle, make_stage)

    def predict(
        self,
        images: Volume | Sequence[Volume],
        *,
        frames: Sequence[Volume] = (),
        reference: Volume | None = None,
        options: RunOptions | None = None,
        progress: Progress | None = None,
        cancelled: Cancelled | None = None,
        log: Log | None = None,
    ) -> Prediction:
        """Run the model on one case.

        Args:
            images: ``(C, I, J, K)``; several are the model's input channels in order, and are brought to the grid of
                the first. Voxels that hold no number (NaN, infinity) count as the least value of their channel; a note
                in the provenance says so.
            frames: for models that read a sequence of time frames: the frames after the first, with the same channels.
            reference: for reconstruction, what the answer should look like: its quality is told against it.
            options: other ones than the predictor was made with; device, precision, engine, skip_air and mirror stay.
            progress: called with the fraction of the work done (0 to 1) and one line of text.
            cancelled: asked between windows.
            log: called with one line when something has to be given up for lack of memory.

        Raises:
            ModelError: the image does not fit the model.
            JobCancelled: on request.
            OutOfMemory: the device has too little memory for this image and model, whatever was tried.
        """
        volumes = list(images) if isinstance(images, Sequence) else [images]
        if not volumes:
            raise UsageError("There is no image to run the model on.")
        chosen = options or self.options
        chosen = replace(chosen, **{name: getattr(self.options, name) for name in LOADING_OPTIONS})
        run = Run(chosen, progress or silent, cancelled or never, log or unlogged)
        for stage in self._task.stages:
            stage.begin(run.warn)
        if chosen.mirror and not isinstance(self.bundle, NnUNetBundle):
            run.note("Mirrored copies are for nnU-Net models: the image was looked at as it is.")
        for stage in self._task.stages:
            if stage.mirrored_axes:
                run.parameters["mirrored_axes"] = list(stage.mirrored_axes)
        self._peak_before = computer.peak_memory()
        try:
            return self._predict(volumes, tuple(frames), reference, run)
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
        self, volumes: list[Volume], frames: tuple[Volume, ...], reference: Volume | None, run: Run
    ) -> Prediction:
        domain = list(check_domain(self.bundle, volumes))
        image = self._one_image(volumes, run)
        rest = tuple(self._one_image([frame], run) for frame in frames)
        self._check_sequence(rest)
        prediction = self._watched(domain, run, lambda: self._task.predict(image, run, frames=rest))
        if reference is not None:
            prediction = _with_quality(prediction, reference, run)
        provenance = record(self.bundle, volumes, self.device, run, self._execution(), domain)
        self._remember(volumes[0], provenance)
        run.tell(1.0, "Done")
        return replace(prediction, provenance=provenance)

    def _remember(self, volume: Volume, provenance: Mapping[str, Any]) -> None:
        """Keep what the run took, for the estimate before the next one."""
        execution, times, options = (provenance[name] for name in ("execution", "times_s", "options"))
        # Folds are asked one by one, which takes as long as asking all at once.
        passes = options["passes"] if options["uncertainty"] in ("flips", "dropout") else 1
        passes *= 2 ** len(provenance["parameters"].get("mirrored_axes", ()))
        try:
            record_run(
                self.bundle,
                volume.shape,
                volume.spacing.tolist(),
                device=str(execution["device"]),
                windows=int(execution["windows"]) * passes,
                network_seconds=float(times.get("network", 0.0)),
                seconds=float(times["total"]),
                peak_bytes=self._peak_of_run(options),
            )
        except (MedDLError, OSError) as error:  # a full disk must not take the result along
            logger.warning("the run's times were not kept: %s", error)

    def _peak_of_run(self, options: Mapping[str, Any]) -> int:
        """Return the most memory of this run; 0 where it is that of another one, or of one that does more."""
        peak = computer.peak_memory()
        plain = options["uncertainty"] == "none" and not options["probabilities"]
        return peak if plain and peak > self._peak_before else 0

    def _watched(self, domain: list[str], run: Run, predict: Callable[[], Prediction]) -> Prediction:
        """Run, and add to ``domain`` whether the image looks strange to the network, where the bundle lets us know."""
        if self._statistics is None:
            return predict()
        if run.options.uncertainty == "dropout":  # what is left out by chance makes every image strange
            return predict()
        with FeatureMonitor(self._task.stages[-1].network, self._statistics.layer) as monitor:
            prediction = predict()
        sentence = self._statistics.sentence(monitor.features())
        domain += [sentence] if sentence else []
        return prediction

    def prepared(
        self, images: Volume | Sequence[Volume], cancelled: Cancelled | None = None, *, slice_index: int | None = None
    ) -> tuple[Volume, Prepared]:
        """Return the one image that the input images make, and how the model's own network gets it.

        For those who ask the network themselves. Raises what :meth:`predict` raises.

        Args:
            slice_index: which slice of a volume a network for single slices gets; the middle one by default, which a
                classifier looks at.
        """
        run = Run(self.options, silent, cancelled or never, unlogged)
        image = self._one_image(list(images) if isinstance(images, Sequence) else [images], run)
        seen = image
        if self._task.stages[-1].flat and image.shape[2] > 1:
            seen = slice_of(image, image.shape[2] // 2 if slice_index is None else slice_index)
        if isinstance(self._task, SegmentationTask):
            return image, self._task.prepared(seen, run)
        return image, self._task.stages[-1].prepare(straightened(seen, run))

    def _one_image(self, volumes: list[Volume], run: Run) -> Volume:
        """Return the image with all channels, of numbers only."""
        names = [channel.name for channel in self.bundle.channels]
        if len(volumes) > 1 and len(volumes) != len(names):
            raise ModelError(
                f"The model '{self.bundle.name}' takes {len(names)} image{'s' if len(names) != 1 else ''} "
                f"({', '.join(names)}); {len(volumes)} were given."
            )
        numbers = []
        for volume in volumes:
            finite, lacking = numbers_only(volume)
            if lacking:
                run.note(f"Voxels without a number (NaN, infinity): {lacking}. The network saw the least value there.")
            numbers.append(finite)
        combined = combine_channels(numbers, names[: len(volumes)] if len(volumes) > 1 else ())
        for note in combined.notes:
            run.note(note)
        image = self._fitting_channels(combined.volume, run)
        if image.array.min() == image.array.max():
            raise ModelError("The image is empty: all its voxels have the same value.")
        return image

    def _fitting_channels(self, image: Volume, run: Run) -> Volume:
        wanted = self.bundle.input_channels
        if wanted is None or image.channels == wanted:
            return image
        if wanted == 3 and image.channels == 1 and len(self.bundle.channels) == 1:
            run.note("The model takes color pictures: it saw the gray image as one.")
            return image.with_array(np.repeat(image.array, 3, axis=0))
        if wanted == 1 and image.channels == 3 and image.shape[2] == 1:
            if not (image.array == image.array[:1]).all():
                run.note("The model takes gray images: it saw the picture without its colors.")
            # The luma of ITU-R BT.601, as picture programs use it.
            gray = np.tensordot(np.array([0.299, 0.587, 0.114]), image.array.astype(np.float64), axes=1)
            return image.with_array(gray[None].astype(np.float32))
        names = [channel.name for channel in self.bundle.channels]
        if len(names) > 1:
            raise ModelError(
                f"The model '{self.bundle.name}' takes {len(names)} images ({', '.join(names)}); give all of them."
            )
        raise ModelError(
            f"The model '{self.bundle.name}' takes an image with {wanted} channel{'s' if wanted != 1 else ''}; "
            f"this one has {image.channels}."
        )

    def _check_sequence(self, frames: tuple[Volume, ...]) -> None:
        reads = self._task.stages[-1].sequence == "frames"
        if frames and not reads:
            raise ModelError(
                f"The model '{self.bundle.name}' takes one image at a time, no sequence of frames. Run it on each "
                "frame."
            )
        if reads and not frames:
            raise ModelError(f"The model '{self.bundle.name}' reads a sequence of time frames; this is a single one.")
        length = own_part(self.bundle.metadata, "sequence").get("length")
        if reads and isinstance(length, int) and length not in (0, len(frames) + 1):
            raise ModelError(
                f"The model '{self.bundle.name}' reads {length} time frames; this sequence has {len(frames) + 1}."
            )

    def origin_of(self, box: Box) -> Candidate | None:
        """Return which of a RetinaNet's candidates a box of the last image came from; None for all other boxes.

        For those who ask the network themselves.
        """
        from meddl.inference.tasks.detection_retinanet import RetinaNetTask

        return self._task.origin(box) if isinstance(self._task, RetinaNetTask) else None

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The networks it consists of, the model's own last."""
        return self._task.stages

    def _execution(self) -> dict[str, Any]:
        """Return how the model's own network ran, with what the stages before it gave up."""
        reports = [stage.executor.report() for stage in self._task.stages]
        whole = dict(reports[-1])
        for name in ("rungs", "remarks"):
            whole[name] = list(dict.fromkeys(line for report in reports for line in report.get(name, ())))
        return whole


def numbers_only(volume: Volume) -> tuple[Volume, int]:
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


def _with_quality(prediction: Prediction, reference: Volume, run: Run) -> Prediction:
    from meddl.evaluation import compare_images

    if not isinstance(prediction, ReconstructionPrediction):
        raise UsageError("A reference image is for models that make an image.")
    with run.watch.step("quality"):
        quality = compare_images(prediction.image, reference)
    # Equal images have no finite ratio of signal to noise, and JSON no infinity.
    told = {"psnr_db": quality.psnr_db, "ssim": quality.ssim}
    return replace(prediction, quality={name: value for name, value in told.items() if np.isfinite(value)})
