"""Which methods can work on a model, as far as that can be told before there is an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meddl.inference.sliding_window import WindowRule
    from meddl.models import ModelBundle

_LARGE = 128
"""Voxels along each axis where a network takes images of any size: what has no layer to show there never has."""


def offered(
    bundle: ModelBundle, network: Any, rule: WindowRule | None, slice_axis: int | None, device: Any
) -> dict[str, str]:
    """Return, by method, why it cannot work on a model, in a sentence; "" if it can.

    Args:
        network: the model's own.
        rule: how the model cuts images of three axes, or None.
        slice_axis: axis of the image that the network does not see, or None.
        device: where the network is.
    """
    from meddl.saliency.layers import no_layer_ever
    from meddl.saliency.methods.cam import GradCam
    from meddl.saliency.methods.known import METHODS
    from meddl.saliency.scorer import Scorer

    scorer = Scorer(network, lambda answer: answer, slice_axis=slice_axis, device=device)
    reasons = {id: method.unfit(scorer, None) for id, method in METHODS.items()}
    shown = [id for id, method in METHODS.items() if isinstance(method, GradCam) and not reasons[id]]
    channels = bundle.input_channels
    if shown and channels:
        reason = no_layer_ever(scorer, channels, _shape(bundle, rule, slice_axis))
        reasons |= dict.fromkeys(shown, reason)
    return reasons


def _shape(bundle: ModelBundle, rule: WindowRule | None, slice_axis: int | None) -> tuple[int, int, int]:
    """Return the size of what the network sees: its window, what the bundle tells, or a large one."""
    from meddl.models.metadata_values import image_format

    told = image_format(bundle.metadata, "inputs").get("spatial_shape")
    sizes = list(told) if isinstance(told, list | tuple) else []
    if rule is not None and all(size and size > 0 for size in rule.roi):
        sizes = list(rule.roi)
    whole = [size if type(size) is int and 0 < size <= 512 else _LARGE for size in [*sizes, *[None] * 3][:3]]
    if slice_axis is not None:
        whole[slice_axis] = 1
    return whole[0], whole[1], whole[2]
