"""All methods of attribution, by their ids. Importing this needs numpy only."""

from __future__ import annotations

from meddl.errors import UsageError
from meddl.saliency.methods.ablation import Ablation
from meddl.saliency.methods.cam import GradCam, GradCamPlusPlus, GuidedGradCam
from meddl.saliency.methods.gradients import InputTimesGradient, Saliency, SmoothGrad
from meddl.saliency.methods.integrated import GradientShap, IntegratedGradients
from meddl.saliency.methods.method import Method
from meddl.saliency.methods.occlusion import Occlusion
from meddl.saliency.methods.rollout import AttentionRollout

METHODS: dict[str, Method] = {
    each.id: each
    for each in (
        IntegratedGradients(),
        GradientShap(),
        Saliency(),
        SmoothGrad(),
        InputTimesGradient(),
        GradCam(),
        GradCamPlusPlus(),
        GuidedGradCam(),
        Occlusion(),
        Ablation(),
        AttentionRollout(),
    )
}
"""In the order in which they are shown."""


def make_method(id: str) -> Method:
    """Return the method that is called ``id``.

    Raises:
        UsageError: there is none.
    """
    if id not in METHODS:
        raise UsageError(f"There is no method {id!r}. Choose one of: {', '.join(METHODS)}.")
    return METHODS[id]
