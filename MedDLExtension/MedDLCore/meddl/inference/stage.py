"""One network of a bundle with its preprocessing, inferer and postprocessing, run in memory.

Bundle configs are written for a runner that goes from file to file. Here the loading and saving steps are left out, the
inversion step is replaced by :mod:`meddl.inference.restore`, and everything else runs as written.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from meddl.errors import ModelError
from meddl.inference.executor import CollectScores, Executor, ScoreSink
from meddl.inference.intensity import IntensityMap
from meddl.inference.options import RunOptions
from meddl.inference.postprocessing import INVERSION, Postprocessing, apply, flat_steps, step_name
from meddl.inference.restore import Interpolation
from meddl.models import ModelBundle, TrustStore, inference_parts, load_weights, open_config
from meddl.models.allowed_targets import canonical_name
from meddl.models.metadata_values import as_mapping

if TYPE_CHECKING:
    import torch

    from meddl.inference.cascade import Box
    from meddl.models import RestrictedConfig, TrustedConfig
    from meddl.volume import Volume

logger = logging.getLogger(__name__)

LOADING_STEPS = frozenset({"EnsureChannelFirst", "EnsureChannelFirstd", "AsChannelFirst", "AsChannelFirstd"})
"""Left out of the preprocessing, with what loads: a volume is in memory already, with its channels first."""

OnWindow = Callable[[int, int], None]
Cancelled = Callable[[], bool]
Locate = Callable[[np.ndarray, tuple[int, int, int]], "Box"]


@dataclass(frozen=True, eq=False)
class Scores:
    """What a network answered: ``(C, i, j, k)`` scores and where their voxels lie (4x4, index to RAS mm)."""

    array: torch.Tensor
    affine: np.ndarray


@dataclass(frozen=True, eq=False)
class Prepared:
    """An image as the network gets it.

    Attributes:
        image: ``(C, i, j, k)`` float32 on the CPU, a plain tensor; ``k`` is 1 for flat networks.
        affine: 4x4, its voxel index to RAS mm.
        intensity: how its values follow from the input's, where that was asked for.
        nearest_axes: axes along which scores are not interpolated on the way back, but taken from the nearest slice.
    """

    image: torch.Tensor
    affine: np.ndarray
    intensity: IntensityMap | None = None
    nearest_axes: tuple[int, ...] = ()


class Stage:
    """A network that is loaded once and run on many images.

    Args:
        bundle: where it comes from.
        config_name: ``inference`` or a localizer's config.
        device: where it runs.
        trust: the user's consents.
        options: engine, precision and what else matters when a network is loaded.
        random_weights: leave the weights file alone; for trying a bundle whose weights are not there.
        cases: how many images are to come, as far as known.
    """

    def __init__(
        self,
        bundle: ModelBundle,
        config_name: str,
        device: torch.device,
        trust: TrustStore,
        options: RunOptions | None = None,
        *,
        random_weights: bool = False,
        cases: int = 1,
    ) -> None:
        self.bundle = bundle
        self._config_name = config_name
        self._device = device
        self._trust = trust
        self._parts = inference_parts(bundle, config_name)
        self.network = self._load_network(random_weights)
        # Made here, so that what cannot be made is refused before the work, and imports don't count as run time.
        self._steps = self._preprocessing({})
        self.post = self._find_postprocessing()
        self._inferer = self._get(self._parts.inferer_id)
        options = options or RunOptions()
        if getattr(self.network, "brings_weights", False) or getattr(self.network, "needs_torch", False):
            # It has an engine and a precision of its own.
            options = replace(options, engine="torch", precision="float32")
        self._options, self._cases = options, cases
        self.executor = self.make_executor(self.network, self._inferer)

    def make_executor(self, network: Any, inferer: Any, **more: Any) -> Executor:
        """Return what runs a network of this stage; for tasks that cut an image in a way of their own."""
        facts = as_mapping(self.bundle.metadata.get("meddl"))
        return Executor(
            network,
            self._device,
            self._options,
            inferer=inferer,
            digest=f"{self.bundle.digest}-{self._config_name}",
            air_below=as_mapping(facts.get("air")).get("below"),
            windows=as_mapping(facts.get("windows")) or None,
            spatial_dims=2 if self.flat else 3,
            cases=self._cases,
            **more,
        )

    def begin(self, on_tell: Callable[[str], None]) -> None:
        """Get ready for the next image; ``on_tell`` is called with what is given up for lack of memory."""
        self.executor.on_tell = on_tell

    @property
    def folds(self) -> int:
        """How many networks it consists of, trained on different parts of the same data."""
        return 1

    @property
    def mirrored_axes(self) -> tuple[int, ...]:
        """Along which axes it also looks at mirrored copies of the image."""
        return ()

    def ask_fold(self, number: int) -> None:
        """Let :meth:`run` ask this network only, until the next image."""
        raise ModelError(f"The model '{self.bundle.name}' has no folds.")

    @cached_property
    def flat(self) -> bool:
        """Whether the network takes single slices (and neither an inferer nor the network cuts a volume into them)."""
        return self._parts.spatial_dims == 2 and self.sequence != "slices"

    @cached_property
    def sequence(self) -> str:
        """What a recurrent network reads one after the other: ``slices``, ``frames``, or "" for other networks."""
        return self.bundle.sequence_axis

    def prepare(self, volume: Volume, box: Locate | None = None, *, units: bool = False) -> Prepared:
        """Return the preprocessed image.

        Args:
            volume: the input image; of one slice for a flat network.
            box: for the fine stage of a cascade. Called with the affine and shape that the image has when it comes to
                the config's ``SpatialCropd`` step, it returns what to crop to; passed on as the config's ``roi_start``
                and ``roi_end``.
            units: find out how the values change, so that the network's answer can be told in the input's units; costs
                a copy of the image.
        """
        import torch
        from monai.data import MetaTensor

        # A copy: steps that work in place must not reach the caller's image.
        array = volume.array[..., 0] if self.flat else volume.array
        image = MetaTensor(torch.from_numpy(array.astype(np.float32, order="C")), affine=torch.tensor(volume.affine))
        data = self._keyed(image)
        intensity = IntensityMap(volume.channels) if units else None
        if box is None:
            return self._prepared(self._steps, data, intensity)
        crop = next((index for index, step in enumerate(self._steps) if step_name(step) == "SpatialCropd"), None)
        if crop is None:
            raise ModelError(f"The model '{self.bundle.name}' is a cascade, but its second stage crops nothing.")
        for step in self._steps[:crop]:
            data = self._apply(step, data, intensity)
        arrived = data[self._parts.image_key]
        found = box(np.asarray(arrived.affine, dtype=np.float64), tuple(arrived.shape[1:]))
        steps = self._preprocessing({"roi_start": list(found.start), "roi_end": list(found.end)})
        return self._prepared(steps[crop:], data, intensity)

    def run(
        self,
        image: torch.Tensor,
        sink: ScoreSink,
        on_window: OnWindow,
        cancelled: Cancelled,
        *,
        same_grid: bool = True,
    ) -> None:
        """Run the network on a prepared image; the sink gets its raw answer, row by row.

        Args:
            image: ``(C, i, j, k)`` as :meth:`prepare` makes it.
            sink: takes the answer.
            on_window: called with (windows done, windows in all).
            cancelled: asked before each window.
            same_grid: refuse an answer that is not one value for each voxel.

        Raises:
            ModelError: the answer does not fit the image.
            JobCancelled: on request.
            OutOfMemory: whatever was tried.
        """
        if same_grid:
            sink = _SameGrid(sink, tuple(image.shape[1:]), self.bundle.name)
        self.executor.run(image, sink, on_window=on_window, cancelled=cancelled)

    def scores(
        self, prepared: Prepared, on_window: OnWindow, cancelled: Cancelled, *, same_grid: bool = True
    ) -> Scores:
        """Run the network and return its whole raw answer ``(C, i, j, k)``; use :meth:`run` where there is much."""
        sink = CollectScores()
        self.run(prepared.image, sink, on_window, cancelled, same_grid=same_grid)
        return Scores(sink.scores, prepared.affine)

    def forward(self, *frames: Prepared) -> torch.Tensor:
        """Return the network's raw answer ``(C, ...)`` for the whole image at once, as classifiers are run.

        Networks that read time frames get them along a last axis; they must have been prepared to one size.
        """
        import torch

        images = [frame.image[..., 0] if self.flat else frame.image for frame in frames]
        if len({tuple(image.shape) for image in images}) > 1:
            raise ModelError("The time frames have different sizes. All frames of a sequence must lie on one grid.")
        return self.executor.forward((torch.stack(images, dim=-1) if self.sequence == "frames" else images[0])[None])[0]

    def _prepared(self, steps: Sequence[Any], data: dict[str, Any], intensity: IntensityMap | None) -> Prepared:
        for step in steps:
            data = self._apply(step, data, intensity)
        image = data[self._parts.image_key]
        affine = np.asarray(getattr(image, "affine", np.eye(4)), dtype=np.float64)
        # A plain tensor: MetaTensor slows every operation of the network down.
        tensor = image.as_tensor() if hasattr(image, "as_tensor") else image
        if self.flat:
            if tensor.ndim != 3:
                raise ModelError(f"The preprocessing of '{self.bundle.name}' makes no flat image of a single slice.")
            tensor = tensor[..., None]
        if tensor.ndim != 4:
            raise ModelError(
                f"The preprocessing of '{self.bundle.name}' makes an array of {tensor.ndim} axes; channels and three "
                "space axes are needed."
            )
        return Prepared(tensor.float().contiguous(), affine, intensity)

    def _apply(self, step: Any, data: dict[str, Any], intensity: IntensityMap | None) -> dict[str, Any]:
        before = data.get(self._parts.image_key)
        if before is None:
            return self._joined(apply([step], data, self._parts.image_key))
        if intensity is None or not type(step).__module__.startswith("monai.transforms.intensity"):
            return apply([step], data, self._parts.image_key)
        kept = before.as_tensor().clone()
        data = apply([step], data, self._parts.image_key)
        intensity.observe(step, kept, data[self._parts.image_key].as_tensor())
        return data

    def _joined(self, data: dict[str, Any]) -> dict[str, Any]:
        """Return the data; an image that a step has just joined out of several has the place of the first, if none."""
        import torch
        from monai.data import MetaTensor

        image: Any = data.get(self._parts.image_key)
        first: Any = data.get(self._parts.input_keys[0])
        if image is None or hasattr(image, "affine") or not hasattr(first, "affine"):
            return data
        return {**data, self._parts.image_key: MetaTensor(torch.as_tensor(image), affine=first.affine)}

    def _keyed(self, image: Any) -> dict[str, Any]:
        """Return the data that the steps start from: one image, or one per channel where the steps join them.

        Beside each lies what MONAI's loading step would have put there.
        """
        keys = self._parts.input_keys
        if len(keys) > 1 and len(keys) == image.shape[0]:
            images = {key: image[index : index + 1] for index, key in enumerate(keys)}
        else:
            images = {self._parts.image_key: image}
        return {**images, **{f"{key}_meta_dict": dict(each.meta) for key, each in images.items()}}

    def _find_postprocessing(self) -> Postprocessing:
        # The inversion is left out by making it a mark of our own: the way back is ours.
        steps = flat_steps(self._get(self._parts.postprocessing_id, drop=self._parts.drop | {INVERSION}))
        at, interpolation = self._inversion()
        if at is not None:
            steps.insert(min(at, len(steps)), INVERSION)
        return Postprocessing(tuple(steps), self._parts.pred_key, interpolation)

    def _inversion(self) -> tuple[int | None, Interpolation]:
        """Return before which of the steps that are kept the config inverts the preprocessing, and how."""
        raw = self._config({}).get(self._parts.postprocessing_id, raw=True) if self._parts.postprocessing_id else None
        steps = raw.get("transforms") if isinstance(raw, dict) else raw
        kept = 0
        for step in steps if isinstance(steps, list) else ():
            name = canonical_name(str(step.get("_target_", ""))) if isinstance(step, dict) else ""
            if name == INVERSION:
                assert isinstance(step, dict)
                return kept, "nearest" if step.get("nearest_interp", True) is True else "linear"
            kept += name not in self._parts.drop
        return None, "linear"

    def _get(self, id: str, *, drop: Collection[str] = (), overrides: dict[str, Any] | None = None) -> Any:
        return self._config(overrides or {}).get(id, drop=drop) if id else None

    def _config(self, overrides: dict[str, Any]) -> RestrictedConfig | TrustedConfig:
        overrides = {"device": self._device, **overrides}
        return open_config(self.bundle, self._config_name, overrides=overrides, trust=self._trust)

    def _load_network(self, random_weights: bool) -> Any:
        import torch

        if not self._parts.network_id:
            raise ModelError(f"The model '{self.bundle.name}' does not tell its network.")
        network = self._get(self._parts.network_id)
        # TorchScript programs and ONNX files come with their weights; for other networks they lie in a file.
        brings_weights = isinstance(network, torch.jit.ScriptModule) or getattr(network, "brings_weights", False)
        if not brings_weights and not random_weights:
            weights = self.bundle.weights_path
            if weights is None:
                raise ModelError(f"The model '{self.bundle.name}' has no weights.")
            try:
                network.load_state_dict(load_weights(weights, trusted=self._trust.is_trusted(self.bundle)))
            except RuntimeError as error:
                raise ModelError(
                    f"The weights of '{self.bundle.name}' do not fit its network: the model is damaged or incomplete.",
                    details=str(error),
                ) from error
        return network.to(self._device).eval()

    def _preprocessing(self, overrides: dict[str, Any]) -> list[Any]:
        drop = self._parts.drop | LOADING_STEPS
        return flat_steps(self._get(self._parts.preprocessing_id, drop=drop, overrides=overrides))


class _SameGrid:
    """Refuses answers that are not one value for each voxel of the image."""

    def __init__(self, sink: ScoreSink, shape: tuple[int, ...], name: str) -> None:
        self._sink, self._shape, self._name = sink, shape, name

    def begin(self, channels: int, shape: tuple[int, ...]) -> None:
        if tuple(shape) != self._shape:
            raise ModelError(
                f"The network of '{self._name}' answered on a grid of {tuple(shape)} voxels for an image of "
                f"{self._shape}. Only models that answer voxel for voxel can be used for this task."
            )
        self._sink.begin(channels, shape)

    def add(self, start: int, scores: torch.Tensor) -> None:
        self._sink.add(start, scores)
