"""Methods that look at the gradient: which voxels the answer would change with."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from meddl.saliency.methods.method import Method, RawAttribution, Work
from meddl.saliency.methods.running import finished, no_gradients, plain, running

if TYPE_CHECKING:
    import torch

    from meddl.saliency.scorer import Scorer


class Saliency(Method):
    """Size of the gradient: how much the answer changes with each voxel (Simonyan et al. 2013, arXiv:1312.6034)."""

    id: ClassVar[str] = "saliency"
    title: ClassVar[str] = "Gradient"
    source: ClassVar[str] = "Simonyan et al. 2013, arXiv:1312.6034"
    signed: ClassVar[bool] = False

    def unfit(self, scorer: Scorer, image: torch.Tensor | None) -> str:
        return no_gradients(scorer)

    def attribute(self, scorer: Scorer, image: torch.Tensor, work: Work) -> RawAttribution:
        import captum.attr

        from meddl.saliency.memory import gradients_at_once

        image = plain(image, scorer)
        gradients_at_once(scorer, image, work.options)
        with running(scorer, work, 1, self.title) as module:
            values = captum.attr.Saliency(module).attribute(image)
        return RawAttribution(finished(values, self.title))


class InputTimesGradient(Method):
    """Gradient times the voxel's value (Shrikumar et al. 2016, arXiv:1605.01713).

    What is multiplied by the image looks like the image: such maps look right even of networks that learned nothing.
    """

    id: ClassVar[str] = "input_x_gradient"
    title: ClassVar[str] = "Input times gradient"
    source: ClassVar[str] = "Shrikumar et al. 2016, arXiv:1605.01713"

    def unfit(self, scorer: Scorer, image: torch.Tensor | None) -> str:
        return no_gradients(scorer)

    def attribute(self, scorer: Scorer, image: torch.Tensor, work: Work) -> RawAttribution:
        import captum.attr

        from meddl.saliency.memory import gradients_at_once

        image = plain(image, scorer)
        gradients_at_once(scorer, image, work.options)
        with running(scorer, work, 1, self.title) as module:
            values = captum.attr.InputXGradient(module).attribute(image)
        return RawAttribution(finished(values, self.title))


class SmoothGrad(Method):
    """Size of the gradient's mean over noisy copies of the image (Smilkov et al. 2017, arXiv:1706.03825)."""

    id: ClassVar[str] = "smoothgrad"
    title: ClassVar[str] = "SmoothGrad"
    source: ClassVar[str] = "Smilkov et al. 2017, arXiv:1706.03825"
    signed: ClassVar[bool] = False

    def unfit(self, scorer: Scorer, image: torch.Tensor | None) -> str:
        return no_gradients(scorer)

    def attribute(self, scorer: Scorer, image: torch.Tensor, work: Work) -> RawAttribution:
        import captum.attr

        from meddl.saliency.memory import gradients_at_once

        image = plain(image, scorer)
        batch, samples = gradients_at_once(scorer, image, work.options), work.options.samples
        deviation = noise_deviation(image, work)
        with running(scorer, work, samples, f"{self.title}: {samples} noisy copies") as module:
            tunnel = captum.attr.NoiseTunnel(captum.attr.Saliency(module))
            values = tunnel.attribute(
                image,
                nt_type="smoothgrad",
                nt_samples=samples,
                nt_samples_batch_size=batch,
                stdevs=deviation,
                abs=False,
            )
        facts = {"samples": samples, "noise": deviation, "at_once": batch, "seed": work.options.seed}
        return RawAttribution(finished(values.abs(), self.title), facts)


def noise_deviation(image: torch.Tensor, work: Work) -> float:
    """Return the standard deviation of the noise that the user wants, in the image's units."""
    return work.options.noise * float(image.max() - image.min())
