"""Images of nobody out of a trained generator: from chance alone, or fitting a label map, on that map's own grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from meddl.models.bundle import ModelBundle
from meddl.models.trust import TrustStore
from meddl.synthesis.facts import SynthesisFacts
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

    Raises:
        ModelError: the bundle holds no generator, or one that cannot be run here; the message says why.
        UsageError: there is no such device.

    Example::

        synthesizer = Synthesizer(ModelBundle.open(Path("heads")))
        (made,) = synthesizer.sample(seed=7, labels=labels, segments=segments)
        write_volume(made.image, Path("nobody.nii.gz"))
    """

    def __init__(self, bundle: ModelBundle, *, trust: TrustStore | None = None, device: str = "auto") -> None:
        self.bundle = bundle
        self._trust = trust
        self._device = device

    @property
    def facts(self) -> SynthesisFacts:
        """What the generator makes."""
        raise NotImplementedError

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The structures that a label map may have, with the generator's values; none for an unconditioned one."""
        raise NotImplementedError

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about this generator, in sentences."""
        raise NotImplementedError

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
            count: how many; the first ones of a greater count are those of a smaller one.
            seed: of what is left to chance.
            labels: ``(L, I, J, K)`` whole numbers on any grid (oblique, flipped, anisotropic), for a conditioned
                generator. The image comes on that grid.
            segments: what the labels mean. They are matched with the generator's by code or name; structures that it
                does not know become background, with a note in the facts. Empty: the labels have the generator's
                values.
            progress: gets a fraction and a line of text.
            cancelled: asked between slices and patches, and between the steps of a diffusion.

        Raises:
            UsageError: labels for an unconditioned generator or none for a conditioned one; none of them is known.
            UntrustedModelError: the bundle needs the user's consent first.
            ModelError: the network cannot be made or run.
            JobCancelled: on request.
        """
        raise NotImplementedError
