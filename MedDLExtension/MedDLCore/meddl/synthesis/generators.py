"""What a Synthesizer makes images with: the network of a bundle that MedDL has trained."""

from __future__ import annotations

import contextlib
import io
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from meddl.errors import ModelError, OutOfMemory, is_out_of_memory
from meddl.models.bundle import ModelBundle
from meddl.models.metadata_values import own_part
from meddl.models.segments import unnamed_segment
from meddl.models.trust import TrustStore
from meddl.randomness import Stream, normal_field
from meddl.synthesis.facts import SynthesisFacts
from meddl.synthesis.sampling import AS_TOLD, Sampling
from meddl.volume import Segment, Volume

if TYPE_CHECKING:
    from meddl.synthesis.fitting_images import Fitting
    from meddl.synthesis.label_matching import MatchedLabels

Cancel = Callable[[], None]
"""Raises JobCancelled where the user has asked for it."""


class Generator(ABC):
    """A network that makes examples: slices ``(1, I, J)`` or patches ``(1, I, J, K)`` of one size.

    Args:
        bundle: with the network, which is loaded on first use.
        trust: the user's consents.
        device: finds the device to run on.

    Attributes:
        facts: what it makes.
        notes: what the user should know about it, in sentences.
        axes: directions of an example's axes, as an orientation code.
        batch: examples that are made at once.
        ticks: how often ``cancel`` is called while they are made, for the progress; 0: nobody knows.
    """

    facts: SynthesisFacts
    notes: tuple[str, ...] = ()
    axes: str = "RAS"
    batch: int = 8
    ticks: int = 0

    def __init__(self, bundle: ModelBundle, trust: TrustStore, device: Callable[[], Any]) -> None:
        self._bundle, self._trust, self._find_device = bundle, trust, device

    @cached_property
    def _device(self) -> Any:
        return self._find_device()

    @property
    @abstractmethod
    def noise_shape(self) -> tuple[int, ...]:
        """Of an example's noise."""

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The structures that its label maps have."""
        return ()

    def noise(self, token: str) -> np.ndarray:
        """Return the noise, float32 :attr:`noise_shape`, that ``token`` names."""
        return normal_field(token, self.noise_shape)

    @abstractmethod
    def made(self, noise: np.ndarray, labels: np.ndarray | None, cancel: Cancel) -> np.ndarray:
        """Return examples ``(N, 1, *size)`` float32 in the images' units.

        Args:
            noise: ``(N, *noise_shape)``.
            labels: ``(N, *size)`` with the generator's values, or None for one that is not conditioned.
            cancel: called between the steps.
        """

    @property
    def chosen(self) -> Mapping[str, Any]:
        """How images are made, as far as it can be chosen: JSON-able, for their facts."""
        return {}

    def matched(self, labels: Volume, segments: Sequence[Segment]) -> MatchedLabels:
        """Return a label map of others in this generator's values.

        Raises:
            UsageError: none of the structures is known, or it takes others beside them.
        """
        from meddl.synthesis.label_matching import match_labels

        return match_labels(labels, segments, self.facts, self.segments)

    def fitted(self, labels: Volume, stream: Stream, cancel: Cancel, progress: Callable[[float], None]) -> Fitting:
        """Return an image on the grid of a label map that is in this generator's values.

        Args:
            labels: ``(1, I, J, K)`` uint8 on any grid.
            stream: of what is left to chance.
            cancel: called between the steps.
            progress: gets the part that is done.
        """
        from meddl.synthesis.fitting_images import fitting_image

        return fitting_image(self, labels, stream, cancel, progress)


class TrainedGenerator(Generator):
    """The generator in a bundle that MedDL has trained.

    Args:
        bundle: with the generator.
        trust: the user's consents.
        device: finds the device to run on.
        sampling: how images are made.

    Raises:
        ModelError: the metadata make no sense.
        UsageError: it cannot be sampled so.
    """

    def __init__(
        self, bundle: ModelBundle, trust: TrustStore, device: Callable[[], Any], sampling: Sampling = AS_TOLD
    ) -> None:
        super().__init__(bundle, trust, device)
        self.facts = SynthesisFacts.from_metadata(own_part(bundle.metadata, "synthesis"))
        sampling.only(bundle.name, *(() if self.facts.kind == "gan" else ("steps",)))
        self._steps = sampling.steps
        if self.facts.conditioned and len(self.facts.labels) < 2:
            raise ModelError(f"The generator '{bundle.name}' does not tell its labels. Train it anew.")

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The structures that its label maps have, with colors and codes where the bundle tells them."""
        if not self.facts.conditioned:
            return ()
        told = {each.label: each for each in self._bundle.segments}
        return tuple(
            replace(told.get(value) or unnamed_segment(value), label=value, name=name, layer=0)
            for value, name in sorted(self.facts.labels.items())
            if value
        )

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Of an example's noise."""
        return tuple(int(each) for each in self._network.noise_shape)

    @property
    def chosen(self) -> Mapping[str, Any]:
        """How images are made."""
        return {"steps": self._steps} if self._steps else {}

    def made(self, noise: np.ndarray, labels: np.ndarray | None, cancel: Cancel) -> np.ndarray:
        """Return examples ``(N, 1, *size)`` float32 in the images' units."""
        import torch

        network = self._network
        network.on_step = cancel
        given = torch.from_numpy(np.ascontiguousarray(noise, np.float32)).to(self._device)
        maps = None
        if labels is not None:
            maps = torch.from_numpy(np.ascontiguousarray(labels)).to(self._device).float()[:, None]
        with running(self._bundle.name):
            images = network.generate(maps, len(noise), noise=given)
        return checked(images.float().cpu().numpy(), (len(noise), 1, *self.facts.size), self._bundle.name)

    @cached_property
    def _network(self) -> Any:
        network = load_network(self._bundle, self._trust, "network_def", self._bundle.weights_path, self._device)
        if not callable(getattr(network, "generate", None)) or not hasattr(network, "noise_shape"):
            raise ModelError(f"The network of '{self._bundle.name}' is no generator of MedDL's. Train it anew.")
        if self._steps:
            network.sampling_steps = self._steps
        return network


def load_network(bundle: ModelBundle, trust: TrustStore, id: str, weights: Any, device: Any) -> Any:
    """Return a network of a bundle's inference config with its weights, ready to run; none of its scripts are run.

    Args:
        id: of the network in the config.
        weights: path of its state dictionary; None where there is none.

    Raises:
        UntrustedModelError: making it takes code of the bundle's own, and the user has not consented.
        ModelError: there are no weights, or they do not fit.
    """
    from meddl.models.weights import load_weights

    trusted = trust.is_trusted(bundle)
    config = bundle.restricted_config(overrides={"device": device}, trusted=trusted)
    network = config.get(id)
    if weights is None or not weights.is_file():
        name = "" if weights is None else f" ({weights.name})"
        raise ModelError(f"The weights of '{bundle.name}'{name} are not there. Fetch them as the page about the model "
                         "says, and put them into its folder 'models'.")  # fmt: skip
    return filled(network, load_weights(weights, trusted=trusted), bundle.name).to(device).eval()


def filled(network: Any, state: Mapping[str, Any], name: str) -> Any:
    """Return a network with weights.

    Args:
        state: names and tensors.
        name: of the model.

    Raises:
        ModelError: they do not fit.
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # MONAI prints what it does with names
            try:
                network.load_state_dict(state)
            except RuntimeError:
                if not hasattr(network, "load_old_state_dict"):
                    raise
                network.load_old_state_dict(state)  # as MONAI's generative networks were called before they joined it
    except (RuntimeError, KeyError, AttributeError, TypeError) as error:
        raise ModelError(
            f"The weights of '{name}' do not fit its network: the model is damaged or incomplete.",
            details=str(error),
        ) from error
    return network


@contextlib.contextmanager
def running(name: str) -> Iterator[None]:
    """Run the network of a model.

    Raises:
        ModelError: it takes no such input as its facts tell.
    """
    import torch

    with torch.inference_mode():
        try:
            yield
        except (RuntimeError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
            if is_out_of_memory(error):
                raise
            raise ModelError(f"The network of '{name}' cannot make images: it is of another kind than the model tells. "
                             "Fetch or train it anew.", details=str(error)) from error  # fmt: skip


def checked(images: np.ndarray, shape: tuple[int, ...], name: str) -> np.ndarray:
    """Return what a network has made, if it is images.

    Raises:
        ModelError: it is of another shape, or no numbers.
    """
    if images.shape != shape:
        raise ModelError(f"The generator '{name}' makes {images.shape[1:]} where {shape[1:]} was told.")
    if not np.isfinite(images).all():
        raise ModelError(f"The generator '{name}' makes values that are no numbers. Train it anew, with a smaller "
                         "learning rate.")  # fmt: skip
    return images


def in_batches(
    generator: Generator, noise: Callable[[int], np.ndarray], labels: np.ndarray | None, count: int, cancel: Cancel,
    told: Callable[[int], None],
) -> np.ndarray:  # fmt: skip
    """Return ``count`` examples, some at once, fewer where memory is short.

    Args:
        noise: of the example with a number.
        told: gets the number of examples that are there.

    Raises:
        OutOfMemory: not one fits.
    """

    out: list[np.ndarray] = []
    start, size = 0, generator.batch
    while start < count:
        cancel()
        stop = min(count, start + size)
        try:
            part = None if labels is None else labels[start:stop]
            out.append(generator.made(np.stack([noise(n) for n in range(start, stop)]), part, cancel))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if size == 1:
                raise OutOfMemory("There is not enough memory on the device for one image. Close other programs that "
                                  "use it, or choose the processor.") from error  # fmt: skip
            size = max(1, size // 2)
            continue
        start = stop
        told(start)
    return np.concatenate(out)
