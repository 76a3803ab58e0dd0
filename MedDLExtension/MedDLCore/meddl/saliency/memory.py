"""How much memory an explanation takes and may take, so that it is known before it is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meddl.errors import OutOfMemory

if TYPE_CHECKING:
    import torch

    from meddl.saliency.options import ExplainOptions
    from meddl.saliency.scorer import Scorer

MOST_AT_ONCE = 32
"""Images per batch, however much memory there is."""

_SHARE = 0.7
"""Of what is free, where the user has set no budget: other programs want some, and estimates are what they are."""


def budget(options: ExplainOptions, device: Any) -> int:
    """Return how many bytes may be held at once beside the network; 0 where nobody can tell."""
    import torch

    from meddl.computer import memory

    if options.memory_mb:
        return options.memory_mb << 20
    device = torch.device(device)
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else memory()[1]
    return int(free * _SHARE)


def gradient_bytes(scorer: Scorer, image: torch.Tensor) -> int:
    """Return about how many bytes the gradient of one image ``(1, C, i, j, k)`` takes at its peak.

    The network runs once, as for the gradient, but what it would keep for the way back is only counted.
    """
    import torch
    from torch.multiprocessing.reductions import StorageWeakRef

    own = {each.untyped_storage().data_ptr() for each in _tensors_of(scorer.network)}
    seen: dict[int, tuple[Any, int]] = {}

    def count(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        # A weak reference keeps the identity from being given to the next tensor, but no memory.
        weak = StorageWeakRef(storage)
        if storage.data_ptr() not in own:
            seen[weak.cdata] = (weak, storage.nbytes())
        return torch.empty(0)

    image = image.detach().clone().requires_grad_()
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(count, lambda nothing: nothing):
        scorer(image)
    sizes = [size for _, size in seen.values()]
    # On the way back the gradients of a layer's input and output are there, too, and what the kernel works with.
    return sum(sizes) + 3 * max(sizes, default=0) + 4 * image.numel() * image.element_size()


def gradients_at_once(scorer: Scorer, image: torch.Tensor, options: ExplainOptions) -> int:
    """Return of how many images the gradient may be taken at once.

    On a processor batches gain nothing, so it is one there.

    Raises:
        OutOfMemory: not even one.
    """
    import torch

    need, most = gradient_bytes(scorer, image), budget(options, scorer.device)
    if most and need > most:
        raise OutOfMemory(
            f"The gradient of the model's answer takes about {need >> 20} MB, but there are {most >> 20} MB for it. "
            "Choose occlusion, which takes less, close other programs or explain on another device."
        )
    if torch.device(scorer.device).type == "cpu" or not most:
        return 1
    return max(1, min(most // max(need, 1), MOST_AT_ONCE))


def _tensors_of(network: Any) -> list[torch.Tensor]:
    import torch

    if not isinstance(network, torch.nn.Module):
        return []
    return [*network.parameters(), *network.buffers()]
