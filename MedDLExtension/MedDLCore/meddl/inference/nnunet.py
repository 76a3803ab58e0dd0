"""Running result folders of nnU-Net v2 (Isensee et al., Nature Methods 2021).

Plans are read, networks built and images prepared by the package ``nnunetv2`` itself; checkpoints are read by
:mod:`meddl.models.formats.nnunet_checkpoint`, which unpickles nothing. Windows, their blending and the way back to the
image's grid are MedDL's own, after nnU-Net's rules, with the same result.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from meddl.errors import ModelError, is_out_of_memory
from meddl.inference.executor import Executor, ScoreSink
from meddl.inference.nnunet_package import build_network, first_line, mean_of, mirrored, quietly, require_package
from meddl.inference.options import RunOptions
from meddl.inference.postprocessing import Activation, Postprocessing
from meddl.inference.sliding_window import WindowRule
from meddl.inference.stage import Locate, Prepared, Stage
from meddl.models import content
from meddl.models.formats.nnunet_checkpoint import Checkpoint, load_checkpoint
from meddl.models.formats.nnunet_folder import NnUNetBundle
from meddl.models.formats.nnunet_plans import check_plans

if TYPE_CHECKING:
    import torch

    from meddl.volume import Volume

OVERLAP = 0.5
MAX_VOXELS = 1 << 31
"""Of a prepared image, all channels together."""
_PHOTOGRAPHS = ("NaturalImage2DIO",)
_REORIENTING = ("NibabelIOWithReorient", "SimpleITKIOWithReorient")


class NnUNetStage(Stage):
    """An nnU-Net with all its folds, loaded once and run on many images.

    Several folds answer with the mean of their logits, or one by one (:meth:`ask_fold`).

    Args:
        bundle: the result folder.
        device: where it runs.
        options: engine, precision, mirroring and what else matters when a network is loaded.
        random_weights: leave the checkpoints alone.

    Raises:
        ModelError: ``nnunetv2`` is missing, the plans name what is not nnU-Net's own, or checkpoints do not fit them.
    """

    def __init__(
        self,
        bundle: NnUNetBundle,
        device: torch.device,
        options: RunOptions | None = None,
        *,
        random_weights: bool = False,
    ) -> None:
        require_package()
        self._options = options or RunOptions()
        self.bundle = bundle
        self._nnunet = bundle
        self._device = device
        folds = [] if random_weights else [load_checkpoint(content.inside(bundle.path, name)) for name in bundle.folds]
        self._configuration = _configuration_of(bundle, folds)
        check_plans(bundle.plans, self._configuration, len(bundle.channel_names))
        with quietly():
            from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

            self._plans = PlansManager(dict(bundle.plans))
            self._manager = self._plans.get_configuration(self._configuration)
        self._window = tuple(int(edge) for edge in self._manager.patch_size)
        self.mirror_axes = folds[0].mirror_axes if folds else ()
        bundle.flip_axes = self.mirror_axes if len(self._window) == 3 else tuple(axis + 1 for axis in self.mirror_axes)
        self._networks = self._load(folds, self.mirror_axes if self._options.mirror else ())
        self.network = self._networks[0] if len(self._networks) == 1 else mean_of(self._networks).eval()
        self.post = _NnUNetPostprocessing((), "pred", regions=bundle.labels.overlapping)
        flat = len(self._window) == 2
        self._rule = WindowRule(
            roi=(1, *self._window) if flat else self._window,
            overlap=(0.0, OVERLAP, OVERLAP) if flat else (OVERLAP,) * 3,
            mode="nnunet",
            slice_axis=0 if flat else None,
            even=True,
        )
        self._whole = self._executor(self.network, "")
        self._alone: dict[int, Executor] = {}
        self.executor = self._whole

    def begin(self, on_tell: Callable[[str], None]) -> None:
        self.executor = self._whole
        super().begin(on_tell)

    @property
    def folds(self) -> int:
        return len(self._networks)

    @property
    def mirrored_axes(self) -> tuple[int, ...]:
        return self.mirror_axes if self._options.mirror else ()

    def ask_fold(self, number: int) -> None:
        if number not in self._alone:
            self._alone[number] = self._executor(self._networks[number], f"-fold {number}")
        self._alone[number].on_tell = self.executor.on_tell
        self.executor = self._alone[number]

    def _executor(self, network: Any, part: str) -> Executor:
        digest = f"{self.bundle.digest}-{self._options.mirror}{part}"
        return Executor(network, self._device, self._options, inferer=self._rule, digest=digest)

    @cached_property
    def flat(self) -> bool:
        """False: a network of slices goes through a volume by itself."""
        return False

    @cached_property
    def sequence(self) -> str:
        return ""

    def prepare(self, volume: Volume, box: Locate | None = None, *, units: bool = False) -> Prepared:
        """Return the image as nnU-Net prepares it: cropped to what is not zero, normalized and resampled."""
        import torch

        if not np.any(volume.array):
            raise ModelError("The image is empty: all its voxels are zero.")
        data, spacing, to_ijk = _as_read(volume, str(self._plans.plans["image_reader_writer"]))
        order = [int(axis) for axis in self._plans.transpose_forward]
        self._check_size(data, [spacing[axis] for axis in order])
        properties: dict[str, Any] = {"spacing": list(spacing)}
        try:
            with quietly():
                preprocessor = self._manager.preprocessor_class(verbose=False)
                # Its properties are filled in; newer versions return them as well.
                prepared = preprocessor.run_case_npy(
                    data, None, properties, self._plans, self._manager, self._nnunet.dataset
                )
        except Exception as error:
            if is_out_of_memory(error):
                raise
            # It asserts and indexes its way through; what it raises has no common type.
            raise ModelError(
                f"nnU-Net cannot prepare this image: {first_line(error)}. Is the model made for such images?",
                repr(error),
            ) from error
        image = torch.as_tensor(np.ascontiguousarray(prepared[0]), dtype=torch.float32)
        if not bool(torch.isfinite(image).all()):
            raise ModelError("nnU-Net's preprocessing makes values that are no numbers of this image.")
        start = [int(pair[0]) for pair in properties["bbox_used_for_cropping"]]
        cropped = properties["shape_after_cropping_and_before_resampling"]
        # Voxel index of the prepared image -> of the cropped one -> of the array as read, whose axes the plans turn.
        scale = np.array([before / after for before, after in zip(cropped, image.shape[1:], strict=True)])
        to_read = np.zeros((4, 4))
        for axis, source in enumerate(order):
            to_read[source, axis] = scale[axis]
            to_read[source, 3] = start[axis] + 0.5 * scale[axis] - 0.5
        to_read[3, 3] = 1
        affine = volume.affine @ to_ijk @ to_read
        return Prepared(image, affine, None, self._stepwise_axes(properties["spacing"]))

    def _stepwise_axes(self, spacing: Sequence[float]) -> tuple[int, ...]:
        """Return the axes along which nnU-Net resamples scores by nearest neighbor: that of much thicker slices."""
        from nnunetv2.preprocessing.resampling.default_resampling import determine_do_sep_z_and_axis

        arguments = self._manager.configuration["resampling_fn_probabilities_kwargs"]
        if arguments.get("order_z", 0) != 0:
            return ()
        threshold = arguments.get("separate_z_anisotropy_threshold")
        extra = {} if threshold is None else {"separate_z_anisotropy_threshold": threshold}
        image = [float(spacing[axis]) for axis in self._plans.transpose_forward]
        network = [float(each) for each in self._manager.spacing]
        network = network if len(network) == 3 else [image[0], *network]
        # What the two functions do unless told.
        default = None if "torch" in self._manager.configuration["resampling_fn_probabilities"] else False
        force = arguments.get("force_separate_z", default)
        separate, axis = determine_do_sep_z_and_axis(force, network, image, **extra)
        return (int(axis),) if separate and axis is not None else ()

    def run(
        self, image: torch.Tensor, sink: ScoreSink, on_window: Any, cancelled: Any, *, same_grid: bool = True
    ) -> None:
        if image.shape[0] != len(self._nnunet.channel_names):
            raise ModelError(f"The model '{self.bundle.name}' takes {len(self._nnunet.channel_names)} channels.")
        super().run(image, sink, on_window, cancelled, same_grid=same_grid)

    def _check_size(self, data: np.ndarray, spacing: Sequence[float]) -> None:
        """Refuse an image that the plans' spacing would blow up beyond any memory, before that is tried."""
        wanted = [float(each) for each in self._manager.spacing]
        wanted = wanted if len(wanted) == 3 else [spacing[0], *wanted]
        order = [int(axis) for axis in self._plans.transpose_forward]
        sizes = [data.shape[1 + axis] * old / new for axis, old, new in zip(order, spacing, wanted, strict=True)]
        if data.shape[0] * math.prod(sizes) > MAX_VOXELS:
            shown = " x ".join(str(round(size)) for size in sizes)
            raise ModelError(f"At this model's spacing the image would have {shown} voxels, too many. Crop it.")

    def _load(self, folds: Sequence[Checkpoint], mirror_axes: tuple[int, ...]) -> list[Any]:
        networks: list[Any] = []
        for fold in folds or (None,):
            network = build_network(self._manager, len(self._nnunet.channel_names), self._nnunet.labels.heads)
            if fold is not None:
                self._fill(network, fold)
            networks.append((mirrored(network, mirror_axes) if mirror_axes else network).to(self._device).eval())
        return networks

    def _fill(self, network: Any, fold: Checkpoint) -> None:
        try:
            network.load_state_dict(fold.weights)
        except RuntimeError as error:
            trainer = f" (trained by {ascii(fold.trainer)[1:-1]})" if fold.trainer != "nnUNetTrainer" else ""
            raise ModelError(
                f"The weights of '{self.bundle.name}'{trainer} do not fit the network of its plans: the folder is "
                "damaged, or the trainer changed the network.",
                details=str(error),
            ) from error


class _NnUNetPostprocessing(Postprocessing):
    """nnU-Net's decision: the largest logit wins; a region is where its logit is above zero.

    Args:
        regions: each channel is a region of its own.
    """

    def __init__(self, steps: tuple[Any, ...], key: str, *, regions: bool) -> None:
        super().__init__(steps, key)
        object.__setattr__(self, "_regions", regions)

    @property
    def keeps_every_channel(self) -> bool:
        return cast(bool, self.__dict__["_regions"])

    @property
    def activation(self) -> Activation:
        return "none"

    def activate(self, scores: torch.Tensor) -> torch.Tensor:
        # Logits are what nnU-Net interpolates. Moved so that they are decided on at 0.5, as probabilities are.
        return scores + 0.5 if self.keeps_every_channel else scores

    def finish_labels(self, labels: np.ndarray, affine: np.ndarray) -> np.ndarray:
        return labels

    def probabilities(self, scores: torch.Tensor) -> torch.Tensor:
        return scores.float().sigmoid() if self.keeps_every_channel else scores.float().softmax(dim=0)


def window_weights(window: Sequence[int]) -> torch.Tensor:
    """Return how much each voxel of a window counts: a Gaussian of an eighth of the window, as nnU-Net makes it."""
    import torch
    from scipy.ndimage import gaussian_filter1d

    product = np.ones((1,) * len(window))
    for axis, size in enumerate(window):
        peak = np.zeros(size)
        peak[size // 2] = 1
        line = gaussian_filter1d(peak, size / 8, mode="constant")
        product = product * line.reshape([-1 if each == axis else 1 for each in range(len(window))])
    product = product / product.max() * 10
    # In the half precision of the original, and never zero: nothing could be divided by it.
    weights = torch.from_numpy(product).half().float()
    weights[weights == 0] = weights[weights > 0].min()
    return weights


def _configuration_of(bundle: NnUNetBundle, folds: Sequence[Checkpoint]) -> str:
    """Return the configuration that the checkpoints were trained with; the folder's name is only a name."""
    names = {fold.configuration for fold in folds if fold.configuration} or {bundle.configuration} - {""}
    if len(names) != 1:
        raise ModelError(
            f"It cannot be told which configuration of plans.json '{bundle.name}' was trained with. The folder should "
            "have the name nnU-Net gave it (trainer__plans__configuration)."
        )
    return names.pop()


def _as_read(volume: Volume, reader: str) -> tuple[np.ndarray, list[float], np.ndarray]:
    """Return an image as nnU-Net's reader gives it: ``(C, k, j, i)``, its spacing, and 4x4 from its index to (i, j, k).

    The axes stay in the order they were stored in, as nnU-Net's own readers leave them, except for those that turn the
    image to RAS first.
    """
    size = volume.shape
    order, flips = [0, 1, 2], [False, False, False]
    if reader in _REORIENTING:
        linear = volume.affine[:3, :3] / volume.spacing
        order = _nearest_axes(linear)
        flips = [bool(linear[world, axis] < 0) for world, axis in enumerate(order)]
    array = volume.array.transpose(0, *(1 + axis for axis in order))
    array = np.flip(array, tuple(1 + world for world, flip in enumerate(flips) if flip))
    data = np.ascontiguousarray(array.transpose(0, 3, 2, 1), dtype=np.float32)
    to_ijk = np.zeros((4, 4))
    to_ijk[3, 3] = 1
    for world, (axis, flip) in enumerate(zip(order, flips, strict=True)):
        to_ijk[axis, 2 - world] = -1 if flip else 1
        to_ijk[axis, 3] = size[axis] - 1 if flip else 0
    spacing = [float(volume.spacing[axis]) for axis in reversed(order)]
    if reader in _PHOTOGRAPHS:
        spacing = [999.0, 1.0, 1.0]
    return data, spacing, to_ijk


def _nearest_axes(linear: np.ndarray) -> list[int]:
    """Return for each world axis (R, A, S) the image axis that runs along it most, each once."""
    return list(
        max(
            itertools.permutations(range(3)),
            key=lambda order: sum(abs(linear[world, axis]) for world, axis in enumerate(order)),
        )
    )
