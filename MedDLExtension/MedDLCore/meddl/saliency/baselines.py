"""What "nothing is there" looks like: the image that an explanation starts from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meddl.errors import UsageError

if TYPE_CHECKING:
    import torch

    from meddl.saliency.options import ExplainOptions

_LEAST_BLUR = 9
_BLUR_SHARE = 8
"""The blur is as wide as the image's longest axis, divided by this."""


def make_baseline(image: torch.Tensor, options: ExplainOptions, reference: torch.Tensor | None = None) -> torch.Tensor:
    """Return what takes the place of ``image`` ``(1, C, i, j, k)``, in its shape.

    - ``blur``: the image without its details. Networks with instance or group normalization hardly tell an image
      times 0.1 from the image itself, so that a path from zero explains nothing of them; a path from the blurred image
      does (Sturmfels et al. 2020, "Visualizing the impact of feature attribution baselines").
    - ``mean``: each channel's mean everywhere.
    - ``zero``: zero everywhere, which after normalization is seldom "nothing".
    - ``reference``: another image, for instance a healthy one.

    Raises:
        UsageError: the reference image is missing or has another shape.
    """
    import torch

    if options.baseline == "reference":
        if reference is None:
            raise UsageError("The baseline is a reference image, but none was given. Choose one, or another baseline.")
        if reference.shape != image.shape:
            raise UsageError("The reference image has another size than the image. Choose one of the same region.")
        return reference.to(image)
    if options.baseline == "zero":
        return torch.zeros_like(image)
    if options.baseline == "mean":
        return image.mean(dim=(2, 3, 4), keepdim=True).expand_as(image).clone()
    return blurred(image)


def blurred(image: torch.Tensor) -> torch.Tensor:
    """Return ``(B, C, i, j, k)`` where each voxel is the mean of a cube round it; at the border of what there is."""
    import torch.nn.functional as functional

    width = max(_LEAST_BLUR, max(image.shape[2:]) // _BLUR_SHARE) | 1
    for axis in range(3):
        own = min(width, (image.shape[2 + axis] - 1) | 1)  # odd, and no wider than the image
        kernel, padding = [1, 1, 1], [0, 0, 0]
        kernel[axis] = own
        padding[axis] = own // 2
        # One axis after the other is the same as a cube, in a hundredth of the time.
        image = functional.avg_pool3d(image, kernel, 1, padding, count_include_pad=False)
    return image
