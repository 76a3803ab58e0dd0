"""A network that computes anew only what a change of its image reaches."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch.utils._pytree import tree_map_only

from meddl.errors import is_out_of_memory
from meddl.saliency.incremental.changed import Changed, Unchanged, from_images

logger = logging.getLogger(__name__)


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
        most_bytes: that this may take, beyond which it cannot be done; 0: as many as it takes.

    Attributes:
        falls_back: what it cannot do is done as usual from then on, and no error.
    """

    name = "incremental"
    precision = "float32"

    def __init__(self, network: Any, image: torch.Tensor, most_bytes: int = 0) -> None:
        self._network = network
        self._image = image
        self._unchanged: Unchanged | None = Unchanged(most_bytes)
        self.falls_back = False

    @property
    def kept(self) -> int:
        """How many steps of the unchanged image are kept."""
        return len(self._unchanged or ())

    def is_for(self, image: torch.Tensor) -> bool:
        """Say whether ``(1, C, *S)`` is the image that others differ from."""
        return torch.equal(image, self._image)

    def __call__(self, images: torch.Tensor) -> Any:
        """Return the network's answer to ``(B, C, *S)``, without gradients; images of another size run as usual."""
        with torch.inference_mode(False), torch.no_grad():
            if self._unchanged is None or images.shape[1:] != self._image.shape[1:]:
                return self._network(images)
            changed = from_images(images, self._image, self._unchanged)
            if changed.most_changed:
                return self._network(images)
            try:
                answer = tree_map_only(Changed, Changed.whole, self._network(changed))
                for each in self._unchanged.shown:
                    each.check()
                return answer
            except Exception as error:
                if not self.falls_back or is_out_of_memory(error):
                    raise
                logger.warning("The network runs as usual from now on: %s", error)
                self._unchanged = None
                return self._network(images)
            finally:
                if self._unchanged is not None:
                    self._unchanged.shown.clear()
