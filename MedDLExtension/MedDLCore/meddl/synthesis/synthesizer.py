"""Images of nobody out of a trained generator: from chance alone, or fitting a label map, on that map's own grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from meddl.errors import JobCancelled, ModelError, UsageError
from meddl.jobs.progress import part_of
from meddl.models.bundle import ModelBundle
from meddl.models.metadata_values import own_value
from meddl.models.trust import TrustStore
from meddl.randomness import Stream
from meddl.synthesis.facts import SynthesisFacts
from meddl.synthesis.generators import Generator, TrainedGenerator, in_batches
from meddl.synthesis.sampling import AS_TOLD, Sampling
from meddl.synthesis.synthetic import Synthetic
from meddl.volume import Segment, Volume

Progress = Callable[[float, str], None]


class Synthesizer:
    """Makes images with the generator in a bundle: one that MedDL has trained, or one of MONAI's Model Zoo.

    Making one reads the metadata only; the network is loaded with the first sample.

    Args:
        bundle: with the generator.
        trust: where consent to a bundle that runs code of its own is kept; the user's by default.
        device: "auto", "cpu", "cuda:0", ...
        sampling: in how many steps images are made, and of what size, where the generator leaves a choice.

    Raises:
        ModelError: the bundle holds no generator, or one that cannot be run here; the message says why.
        UsageError: it cannot be sampled so.

    Example::

        synthesizer = Synthesizer(ModelBundle.open(Path("heads")))
        (made,) = synthesizer.sample(seed=7, labels=labels, segments=segments)
        write_volume(made.image, Path("nobody.nii.gz"))
    """

    def __init__(
        self,
        bundle: ModelBundle,
        *,
        trust: TrustStore | None = None,
        device: str = "auto",
        sampling: Sampling = AS_TOLD,
    ) -> None:
        self.bundle = bundle
        self._generator = _generator_of(bundle, trust or TrustStore(), _Device(device), sampling)

    @property
    def facts(self) -> SynthesisFacts:
        """What the generator makes."""
        return self._generator.facts

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The structures that a label map may have, with the generator's values; none for an unconditioned one."""
        return self._generator.segments

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about this generator, in sentences."""
        return self._generator.notes

    def sample(
        self,
        count: int = 1,
        *,
        seed: int = 0,
        labels: Volume | None = None,
        segments: Sequence[Segment] = (),
        progress: Progress = lambda fraction, text: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> tuple[Synthetic, ...]:
        """Return images; the same arguments give the same voxels on one computer.

        Args:
            count: how many; the first ones of a greater count are those of a smaller one, up to rounding.
            seed: of what is left to chance.
            labels: ``(L, I, J, K)`` whole numbers on any grid (oblique, flipped, anisotropic), for a conditioned
                generator. The image comes on that grid.
            segments: what the labels mean. They are matched with the generator's by code or name; structures that it
                does not know become background, with a note in the facts. Empty: the labels have the generator's
                values.
            progress: gets a fraction and a line of text.
            cancelled: asked between slices and patches, and between the steps of a diffusion.

        Returns:
            Images whose labels have the generator's values; of a conditioned generator all have the same labels.

        Raises:
            UsageError: labels for an unconditioned generator or none for a conditioned one; none of them is known;
                or there is no such device.
            UntrustedModelError: the bundle needs the user's consent first.
            ModelError: the network cannot be made or run.
            JobCancelled: on request.
        """
        if count < 1:
            raise UsageError(f"{count} images were asked for. Ask for one or more.")
        if self.facts.conditioned and labels is None:
            raise UsageError(f"The generator '{self.bundle.name}' makes images that fit a label map. Give one.")
        if not self.facts.conditioned and labels is not None:
            raise UsageError(f"The generator '{self.bundle.name}' makes images out of chance alone and takes no label "
                             "map. Leave it out, or choose one that was trained with labels.")  # fmt: skip

        def cancel() -> None:
            if cancelled():
                raise JobCancelled("Making images was cancelled.")

        cancel()
        progress(0.0, "Loading the generator")
        if labels is not None:
            made = self._fitting(count, seed, labels, segments, progress, cancel)
        else:
            made = self._from_noise(count, seed, progress, cancel)
        progress(1.0, "Made")
        return made

    def _fitting(
        self,
        count: int,
        seed: int,
        labels: Volume,
        segments: Sequence[Segment],
        progress: Progress,
        cancel: Callable[[], None],
    ) -> tuple[Synthetic, ...]:
        matched = self._generator.matched(labels, segments)
        made = []
        for number in range(count):
            text = f"Image {number + 1} of {count}"
            step = part_of(progress, number / count, (number + 1) / count)
            step(0.0, text)
            stream = Stream("meddl synthesis", seed, number)
            fitting = self._generator.fitted(matched.labels, stream, cancel, partial(_told, step, text))
            facts = self._facts(seed, number, (*matched.notes, *fitting.notes))
            made.append(Synthetic(fitting.image, matched.labels, matched.segments, facts))
        return tuple(made)

    def _from_noise(
        self, count: int, seed: int, progress: Progress, cancel: Callable[[], None]
    ) -> tuple[Synthetic, ...]:
        generator = self._generator
        arrays = in_batches(
            generator,
            lambda number: generator.noise(Stream("meddl synthesis", seed, number).token()),
            None,
            count,
            _ticking(cancel, generator, count, progress),
            lambda done: progress(done / count, f"Image {done} of {count}"),
        )
        return tuple(
            Synthetic(_volume(array[0], generator), facts=self._facts(seed, number, self.notes))
            for number, array in enumerate(arrays)
        )

    def _facts(self, seed: int, number: int, notes: Sequence[str]) -> dict[str, Any]:
        facts = self.facts
        return {
            "generator": self.bundle.name,
            "generator_version": self.bundle.version,
            "generator_sha256": self.bundle.digest,
            "kind": facts.kind,
            "conditioned": facts.conditioned,
            **self._generator.chosen,
            "modality": facts.modality,
            "seed": seed,
            "number": number,
            "notes": list(notes),
        }


class _Device:
    """The device that is meant, found when it is needed: that takes PyTorch."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self) -> Any:
        from meddl.inference.device import resolve_device

        return resolve_device(self._name)


def _generator_of(bundle: ModelBundle, trust: TrustStore, device: Callable[[], Any], sampling: Sampling) -> Generator:
    if own_value(bundle.metadata, "synthesis") is not None:
        return TrainedGenerator(bundle, trust, device, sampling)
    from meddl.synthesis.zoo_generators import zoo_generator

    found = zoo_generator(bundle, trust, device, sampling)
    if found is None:
        raise ModelError(f"The model '{bundle.name}' makes no images out of noise or label maps: it is for "
                         f"{bundle.task or 'something else'}. Choose a generator.")  # fmt: skip
    return found


def _ticking(cancel: Callable[[], None], generator: Generator, count: int, progress: Progress) -> Callable[[], None]:
    """Return ``cancel``, which also tells how many steps are done: those of a diffusion may take hours."""
    if not generator.ticks:
        return cancel
    done = 0
    # Before each batch it is called once more.
    expected = (generator.ticks + 1) * -(-count // generator.batch)

    def tick() -> None:
        nonlocal done
        cancel()
        progress(min(0.99, done / expected), f"Step {done} of {expected}")
        done += 1

    return tick


def _told(progress: Progress, text: str, done: float) -> None:
    progress(done, text)


def _volume(array: np.ndarray, generator: Generator) -> Volume:
    """Return an example as a volume round the world's origin."""
    from meddl.synthesis.cutting import SLICE_AXIS

    facts = generator.facts
    if array.ndim == 2:
        array = np.expand_dims(array, SLICE_AXIS[facts.plane])
    signs = np.array([1.0 if letter in "RAS" else -1.0 for letter in generator.axes])
    affine = np.diag([*(signs * facts.spacing_mm), 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(array.shape) - 1) / 2)
    return Volume(array[None], affine, meta={"modality": facts.modality} if facts.modality else {})
