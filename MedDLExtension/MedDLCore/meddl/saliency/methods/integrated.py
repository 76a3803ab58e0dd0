"""Methods that go from a baseline to the image: what of the change of the answer each voxel brings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from meddl.saliency.methods.figures import sentences
from meddl.saliency.methods.gradients import noise_deviation
from meddl.saliency.methods.method import Method, RawAttribution, Work
from meddl.saliency.methods.running import finished, no_gradients, plain, running

if TYPE_CHECKING:
    import torch

    from meddl.saliency.scorer import Scorer


class IntegratedGradients(Method):
    """Mean gradient on the way from the baseline to the image, times the way (Sundararajan et al. 2017).

    The voxels' values add up to the score of the image less that of the baseline, if the steps are fine enough; what is
    missing is told as the completeness gap. Steps are those of Gauss and Legendre.
    """

    id: ClassVar[str] = "integrated_gradients"
    title: ClassVar[str] = "Integrated gradients"
    source: ClassVar[str] = "Sundararajan et al. 2017, arXiv:1703.01365"

    def unfit(self, scorer: Scorer, image: torch.Tensor | None) -> str:
        return no_gradients(scorer)

    def attribute(self, scorer: Scorer, image: torch.Tensor, work: Work) -> RawAttribution:
        import captum.attr

        from meddl.saliency.memory import gradients_at_once

        image = plain(image, scorer)
        baseline = baseline_of(image, work)
        batch, steps = gradients_at_once(scorer, image, work.options), work.options.steps
        with running(scorer, work, steps, f"{self.title}: {steps} steps") as module:
            # All steps at once, captum's default, take as many times the memory.
            values = captum.attr.IntegratedGradients(module).attribute(
                image, baseline, n_steps=steps, internal_batch_size=batch
            )
        facts = completeness(scorer, image, baseline, values)
        facts |= {"steps": steps, "baseline": work.options.baseline, "at_once": batch}
        return RawAttribution(finished(values, self.title), facts, sentences(facts))


class GradientShap(Method):
    """Mean of gradients at random places between the baseline and noisy copies of the image (Lundberg and Lee 2017).

    An estimate of the same sums as integrated gradients by chance, so that its completeness gap falls slowly.
    """

    id: ClassVar[str] = "gradient_shap"
    title: ClassVar[str] = "GradientSHAP"
    source: ClassVar[str] = "Lundberg and Lee 2017, arXiv:1705.07874"

    def unfit(self, scorer: Scorer, image: torch.Tensor | None) -> str:
        return no_gradients(scorer)

    def attribute(self, scorer: Scorer, image: torch.Tensor, work: Work) -> RawAttribution:
        import captum.attr
        import torch

        from meddl.saliency.memory import gradients_at_once

        image = plain(image, scorer)
        baseline = baseline_of(image, work)
        batch, draws = gradients_at_once(scorer, image, work.options), work.options.steps
        deviation = noise_deviation(image, work)
        total = torch.zeros_like(image)
        with running(scorer, work, draws, f"{self.title}: {draws} draws") as module:
            method = captum.attr.GradientShap(module)
            # captum would take all draws at once.
            for start in range(0, draws, batch):
                count = min(batch, draws - start)
                total += count * method.attribute(image, baseline, n_samples=count, stdevs=deviation).detach()
        values = total / draws
        facts = completeness(scorer, image, baseline, values)
        facts |= {"steps": draws, "noise": deviation, "baseline": work.options.baseline, "at_once": batch}
        return RawAttribution(finished(values, self.title), facts | {"seed": work.options.seed}, sentences(facts))


def baseline_of(image: torch.Tensor, work: Work) -> torch.Tensor:
    """Return the baseline that the work brings, or the one that its options ask for; on the image's device."""
    from meddl.saliency.baselines import make_baseline

    if work.baseline is None:
        return make_baseline(image, work.options)
    return work.baseline.to(image)


def completeness(scorer: Scorer, image: torch.Tensor, baseline: torch.Tensor, values: torch.Tensor) -> dict[str, Any]:
    """Return how much of the change of the score the values do not add up to, as facts.

    ``completeness_gap`` is the share of the change from the baseline's score to the image's that is missing or too
    much; None where the score does not change.
    """
    import torch

    with torch.no_grad():
        there, nothing = float(scorer(image)[0]), float(scorer(baseline)[0])
    change = there - nothing
    facts: dict[str, Any] = {"score": there, "baseline_score": nothing, "completeness_gap": None}
    if abs(change) > 1e-6 * max(abs(there), abs(nothing), 1e-30):
        facts["completeness_gap"] = abs(float(values.double().sum()) - change) / abs(change)
    return facts
