"""A network that computes anew only what a change of its image reaches."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._pytree import tree_map_only

from meddl.saliency.incremental.changed import Changed, Unchanged, from_images


class IncrementalNetwork:
    """Runs a network on images that differ from one image in a box each.

    Convolutions, poolings and what works voxel by voxel are computed in the box that the change has reached, and taken
    from the unchanged image elsewhere: the same answers up to rounding, in a fraction of the work as long as the box is
    small against the image (incremental inference: Nakandala, Kumar and Papakonstantinou 2019,
    doi:10.1145/3299869.3319874). What looks at all of the image at once, as instance norm and attention do, ends that:
    from there on the whole is computed.

    Args:
        network: ``(B, C, *S)`` to any answer; in evaluation mode, in PyTorch.
        image: ``(1, C, *S)`` that all others differ from. What the network makes of it is kept.
    """

    name = "incremental"
    precision = "float32"

    def __init__(self, network: Any, image: torch.Tensor) -> None:
        self._network = network
        self._image = image
        self._unchanged = Unchanged()

    @property
    def kept(self) -> int:
        """How many steps of the unchanged image are kept."""
        return len(self._unchanged)

    def __call__(self, images: torch.Tensor) -> Any:
        """Return the network's answer to ``(B, C, *S)``, without gradients; images of another size run as usual."""
        with torch.no_grad():
            if images.shape[1:] != self._image.shape[1:]:
                return self._network(images)
            changed = from_images(images, self._image, self._unchanged)
            answer = self._network(images if changed.most_changed else changed)
            return tree_map_only(Changed, Changed.whole, answer)
