"""The feature pyramid of a RetinaNet round one of MONAI's residual networks.

The same tensors, under the same names, as ``monai.apps.detection``'s extractor of this name, which takes torchvision to
be made. After Lin et al. 2017, "Feature pyramid networks for object detection".
"""

from __future__ import annotations

from collections.abc import Sequence

from monai.networks.blocks.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool
from monai.networks.nets.resnet import ResNet
from torch import Tensor, nn

OUT_CHANNELS = 256


def resnet_fpn_feature_extractor(
    backbone: ResNet,
    spatial_dims: int,
    pretrained_backbone: bool = False,
    returned_layers: Sequence[int] = (1, 2, 3),
    trainable_backbone_layers: int | None = None,
) -> ResNetPyramid:
    """Return the feature extractor for a RetinaNet.

    Args:
        backbone: the residual network.
        spatial_dims: 2 or 3.
        pretrained_backbone: of no effect: weights are loaded afterwards.
        returned_layers: which of the layers 1 to 4 give a feature map; one more, pooled, comes on top.
        trainable_backbone_layers: of no effect: nothing is trained here.
    """
    return ResNetPyramid(backbone, spatial_dims, returned_layers)


class ResNetPyramid(nn.Module):
    """A residual network up to its last returned layer, and a feature pyramid on the returned ones.

    Args:
        backbone: the residual network; its modules are taken over.
        spatial_dims: 2 or 3.
        returned_layers: numbers from 1 to 4.
    """

    def __init__(self, backbone: ResNet, spatial_dims: int, returned_layers: Sequence[int]) -> None:
        super().__init__()
        layers = sorted(int(number) for number in returned_layers)
        if not layers or layers[0] < 1 or layers[-1] > 4:
            raise ValueError(f"returned_layers should be numbers from 1 to 4, not {list(returned_layers)}")
        self._returned = {f"layer{number}" for number in layers}
        kept: dict[str, nn.Module] = {}
        for name, module in backbone.named_children():
            kept[name] = module
            if name == f"layer{layers[-1]}":
                break
        self.body = nn.ModuleDict(kept)
        first = backbone.in_planes // 8
        self.fpn = FeaturePyramidNetwork(
            spatial_dims=spatial_dims,
            in_channels_list=[first * 2 ** (number - 1) for number in layers],
            out_channels=OUT_CHANNELS,
            extra_blocks=LastLevelMaxPool(spatial_dims),
        )
        self.out_channels = OUT_CHANNELS

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Return the feature maps ``(B, 256, ...)``, the finest first."""
        found: dict[str, Tensor] = {}
        for name, module in self.body.items():
            image = module(image)
            if name in self._returned:
                found[str(len(found))] = image
        maps: dict[str, Tensor] = self.fpn(found)
        return maps
