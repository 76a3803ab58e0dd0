"""How much memory an explanation takes and may take, so that it is known before it is gone."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from meddl.errors import OutOfMemory

if TYPE_CHECKING:
    import torch

    from meddl.saliency.options import ExplainOptions
    from meddl.saliency.scorer import Scorer

MOST_AT_ONCE = 32
"""Images per batch, however much memory there is."""

_KERNELS = 16 << 20
"""Bytes of programs that a gradient calls for the first time; measured 12 to 15 MB."""

_IMAGES = 10
"""Copies of the image that a method holds: baseline, steps, noise, sums; measured up to 9."""

_SCATTERED = 2.5
"""As many times as much glibc keeps for itself of tensors below 32 MB, unless told otherwise; measured up to 2.2."""

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
"""Of glibc's mallopt()."""

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
    return sum(sizes) + 3 * max(sizes, default=0) + _IMAGES * image.numel() * image.element_size()


@dataclass(frozen=True)
class Reckoning:
    """What the gradient of one image takes, and what there is for it.

    Attributes:
        need: bytes for each image.
        budget: bytes; 0: nobody can tell.
    """

    need: int
    budget: int

    def of(self, images: int) -> int:
        """Return how many bytes the gradient of several images at once takes."""
        return images * self.need + _KERNELS

    @property
    def fit(self) -> int:
        """Of how many images the gradient can be taken at once."""
        if not self.budget:
            return 1
        return max(self.budget - _KERNELS, 0) // max(self.need, 1)


def reckon(scorer: Scorer, image: torch.Tensor, options: ExplainOptions) -> Reckoning:
    """Return what the gradient of ``image`` ``(1, C, i, j, k)`` takes; the network runs once."""
    if options.memory_mb:
        _give_back_at_once(True)  # in time for this run
    return Reckoning(gradient_bytes(scorer, image), budget(options, scorer.device))


def keep_within(reckoning: Reckoning, images: int, device: Any) -> None:
    """See to it that what is freed is given back at once where the budget asks for it.

    On Linux tensors below 32 MB come from a heap that grows with holes in it, to twice what is held (Windows and macOS
    take none from theirs). Giving each back when it is freed costs up to twice the time in small networks.
    """
    import torch

    heap = reckoning.budget and torch.device(device).type == "cpu"
    _give_back_at_once(bool(heap and _SCATTERED * images * reckoning.need + _KERNELS > reckoning.budget))


def gradients_at_once(scorer: Scorer, image: torch.Tensor, options: ExplainOptions) -> int:
    """Return of how many images the gradient may be taken at once.

    On a processor batches gain nothing, so it is one there.

    Raises:
        OutOfMemory: not even one.
    """
    import torch

    reckoning = reckon(scorer, image, options)
    if reckoning.fit < 1:
        raise OutOfMemory(
            f"The gradient of the model's answer takes about {reckoning.of(1) >> 20} MB, but there are "
            f"{reckoning.budget >> 20} MB for it. Choose occlusion, which takes less, close other programs or explain "
            "on another device."
        )
    most = 1 if torch.device(scorer.device).type == "cpu" else MOST_AT_ONCE
    count = min(reckoning.fit, most)
    keep_within(reckoning, count, scorer.device)
    return count


def keep_budget(options: ExplainOptions) -> None:
    """See to it that what is freed is given back at once where the user has set a budget."""
    if options.memory_mb:
        _give_back_at_once(True)


def as_usual() -> None:
    """Let the rest of the program have its memory as before the explanation."""
    _give_back_at_once(False)


_gives_back = False


def _give_back_at_once(wanted: bool) -> None:
    """Tell glibc whether to give back what is freed at once, or to keep it as it does by itself; elsewhere do nothing.

    It holds for the whole program, until it is told otherwise; see :func:`as_usual`.
    """
    global _gives_back
    if wanted == _gives_back or not sys.platform.startswith("linux"):
        return
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return
    library.mallopt(_MMAP_THRESHOLD, 1 << 17 if wanted else 32 << 20)
    library.mallopt(_TRIM_THRESHOLD, 1 << 17 if wanted else 64 << 20)
    if wanted:
        library.malloc_trim(0)
    _gives_back = wanted


def _tensors_of(network: Any) -> list[torch.Tensor]:
    import torch

    if not isinstance(network, torch.nn.Module):
        return []
    return [*network.parameters(), *network.buffers()]
