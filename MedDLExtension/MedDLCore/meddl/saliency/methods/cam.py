"""Maps of class activation: where a layer of the network found what speaks for the answer."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, ClassVar

from meddl.errors import ModelError
from meddl.saliency.layers import LEAST_GRID, Layer, choose_layer, no_layers
from meddl.saliency.methods.method import Method, RawAttribution, Work
from meddl.saliency.methods.running import finished, plain, running

if TYPE_CHECKING:
    import torch

    from meddl.saliency.scorer import Scorer

logger = logging.getLogger(__name__)


class GradCam(Method):
    """Channels of a layer, weighted by the mean gradient of each (Selvaraju et al. 2017, arXiv:1610.02391).

    The map is as coarse as the layer; where the answer is that of one place, it shows all places that look alike.
    """

    id: ClassVar[str] = "gradcam"
    title: ClassVar[str] = "Grad-CAM"
    source: ClassVar[str] = "Selvaraju et al. 2017, arXiv:1610.02391"
    signed: ClassVar[bool] = False

    def unfit(self, scorer: Scorer, image: torch.Tensor | None) -> str:
        return no_layers(scorer) or _no_layer_here(scorer, image)

    def attribute(self, scorer: Scorer, image: torch.Tensor, work: Work) -> RawAttribution:
        from meddl.saliency.memory import gradients_at_once

        image = plain(image, scorer)
        layer = choose_layer(scorer, image, work.options.layer)
        gradients_at_once(scorer, image, work.options)
        values = self.coarse_map(scorer, image, layer, work)
        return _told(finished(_on_image(values, image, layer, scorer), self.title), layer, self.title)

    def coarse_map(self, scorer: Scorer, image: torch.Tensor, layer: Layer, work: Work) -> torch.Tensor:
        """Return the map on the layer's own grid, as the network's library gives it."""
        import captum.attr

        with running(scorer, work, 1, self.title) as module:
            cam = captum.attr.LayerGradCam(module, scorer.network.get_submodule(layer.name))
            values: torch.Tensor = cam.attribute(image, relu_attributions=True)
        return values.detach()


class GradCamPlusPlus(GradCam):
    """Grad-CAM that weights each place of a channel for itself (Chattopadhay et al. 2018, arXiv:1710.11063).

    Meant for several things of one kind in an image.
    """

    id: ClassVar[str] = "gradcam_pp"
    title: ClassVar[str] = "Grad-CAM++"
    source: ClassVar[str] = "Chattopadhay et al. 2018, arXiv:1710.11063"

    def coarse_map(self, scorer: Scorer, image: torch.Tensor, layer: Layer, work: Work) -> torch.Tensor:
        from monai.visualize.class_activation_maps import GradCAMpp

        # MONAI never takes its hooks away, so it gets a copy of the network.
        with running(scorer.with_network(scorer.network), work, 1, self.title) as module:
            cam = GradCAMpp(_ScoreFromZero.of(module), f"module.network.{layer.name}")
            values: torch.Tensor = cam.compute_map(image.requires_grad_(), class_idx=0)
        return values.detach()


class GuidedGradCam(GradCam):
    """Grad-CAM times guided backpropagation (Selvaraju et al. 2017; Springenberg et al. 2015, arXiv:1412.6806).

    As fine as the image. Guided backpropagation finds edges even with random weights (Adebayo et al. 2018,
    arXiv:1810.03292): trust the place, not the fine lines.
    """

    id: ClassVar[str] = "guided_gradcam"
    title: ClassVar[str] = "Guided Grad-CAM"
    source: ClassVar[str] = "Selvaraju et al. 2017, arXiv:1610.02391; Springenberg et al. 2015, arXiv:1412.6806"
    signed: ClassVar[bool] = True

    def unfit(self, scorer: Scorer, image: torch.Tensor | None) -> str:
        import torch

        if reason := no_layers(scorer):
            return reason
        if not any(isinstance(each, torch.nn.ReLU) for each in scorer.network.modules()):
            return "The network has no ReLU layers, which guided backpropagation is made for."
        return _no_layer_here(scorer, image)

    def attribute(self, scorer: Scorer, image: torch.Tensor, work: Work) -> RawAttribution:
        import captum.attr

        from meddl.saliency.memory import gradients_at_once

        image = plain(image, scorer)
        layer = choose_layer(scorer, image, work.options.layer)
        gradients_at_once(scorer, image, work.options)
        with running(scorer, work, 1, self.title) as module:
            guided = captum.attr.GuidedBackprop(module).attribute(image)
        # captum's own product knows no slices and no smooth interpolation.
        values = guided.detach() * _on_image(self.coarse_map(scorer, image, layer, work), image, layer, scorer)
        return _told(finished(values, self.title), layer, self.title)


class _ScoreFromZero:
    """Makes the module that MONAI's Grad-CAM++ gets."""

    @staticmethod
    def of(module: torch.nn.Module) -> torch.nn.Module:
        """Return ``module`` with answers ``(B, 1)`` that are zero and have its gradient.

        Grad-CAM++ multiplies its map by exp(score), which a score summed over a structure makes infinite, and infinite
        times zero is no number. From a score of zero the map is the same but for that factor.
        """
        import torch

        class ScoreFromZero(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.module = module

            def forward(self, images: torch.Tensor) -> torch.Tensor:
                score = self.module(images)
                return (score - score.detach())[:, None]

        return ScoreFromZero()


def _no_layer_here(scorer: Scorer, image: torch.Tensor | None) -> str:
    """Return why no layer can be shown for an image, in a sentence; "" if one can, or as long as there is none."""
    if image is None:
        return ""
    try:
        choose_layer(scorer, image)
    except ModelError as error:
        return error.message
    except Exception as error:
        # The network cannot run on this image: that is told when a map is made.
        logger.debug("no layer was looked for: %s", type(error).__name__)
    return ""


def _on_image(values: torch.Tensor, image: torch.Tensor, layer: Layer, scorer: Scorer) -> torch.Tensor:
    """Return a layer's map ``(B, 1, ...)`` as ``(1, 1, i, j, k)`` on the image's grid."""
    from captum.attr import LayerAttribution

    if layer.by_slice:
        values = values.movedim(0, -1)[None]
    elif values.ndim == 4 and scorer.slice_axis is not None:
        values = values.unsqueeze(2 + scorer.slice_axis)
    placed: torch.Tensor = LayerAttribution.interpolate(values, tuple(image.shape[2:]), "trilinear")
    return placed


def _told(values: torch.Tensor, layer: Layer, title: str) -> RawAttribution:
    facts: dict[str, Any] = {"layer": layer.name, "grid": list(layer.grid)}
    size = " x ".join(map(str, layer.grid))
    notes = []
    if max(layer.grid) < LEAST_GRID:
        notes.append(f"The map comes from a layer of {size} voxels, so it shows hardly more than a side of the image.")
    if layer.by_slice:
        notes.append("The network looks at slices one by one, and so does the map.")
    if not values.any():
        notes.append(f"{title} is zero everywhere: nothing in the layer {layer.name} speaks for the answer.")
    return RawAttribution(values, facts, tuple(notes))
