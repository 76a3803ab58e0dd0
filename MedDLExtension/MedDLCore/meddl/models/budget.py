"""Bounds on what making the objects of an untrusted config, and running its steps, may cost."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable, Iterator
from typing import Any

from meddl.errors import ModelError

logger = logging.getLogger(__name__)

MAX_NETWORK_NUMBER = 16_384
MAX_BYTES = 4 << 30
MAX_MODULES = 10_000
"""Several times what the largest of MONAI's networks consist of."""
MAX_WINDOW_VOXELS = 1 << 29
MAX_ANCHORS = 100_000
"""Of a detector at one place; real ones have some dozens."""
_BYTES_EACH = 4

_LARGEST: dict[str, float] = {
    "spatial_border": 1024, "k": 4096, "k_divisible": 4096, "margin": 4096, "zoom": 32, "repeats": 256, "times": 256,
    "num_bins": 65_536, "radius": 32, "window_length": 1025, "order": 32, "sigma": 256, "sigma1": 256, "sigma2": 256,
    "anti_aliasing_sigma": 256, "to_onehot": 4096, "num_classes": 65_536, "scale_params": 32, "roi_scale": 32,
    "overlap": 0.95, "sw_batch_size": 256,
}  # fmt: skip
"""The largest values of arguments by which a step on images could fill the memory or take forever."""
_MULTIPLIED = (("sizes", "aspect_ratios"), ("feature_map_scales", "base_anchor_shapes"))
"""Lists of which something is made for each of the one with each of the other."""
_SMALLEST: dict[str, float] = {"pixdim": 0.01, "min_pixdim": 0.01, "scale_params": 0.01}
"""Their smallest values but zero, which stands for "as it is": 0.01 mm is finer than any medical image."""


class Budget:
    """The memory and the modules that making the objects of one config may take, all together.

    Args:
        source: what to call the config in messages.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._bytes = 0
        self._modules = 0

    def try_without_memory(self, make: Callable[[], Any]) -> None:
        """Call ``make`` with tensors that have sizes only, so that what is too large is known beforehand.

        Raises:
            ModelError: it is too large. Other errors are left to the real attempt.
        """
        import torch

        before = self._bytes, self._modules
        try:
            with torch.device("meta"), self.spent():
                make()
        except ModelError:
            raise  # with everything spent, so that it takes no time to refuse it again
        except Exception as error:
            # Some constructors compute with values, which these tensors have not. The real attempt counts as well.
            logger.debug("no trial without memory: %s", type(error).__name__)
        self._bytes, self._modules = before

    @contextlib.contextmanager
    def spent(self) -> Iterator[None]:
        """Count what is made within; a tensor that is too much is refused before it takes its memory.

        Raises:
            ModelError: it is too large.
        """
        from torch.nn.modules.module import register_module_module_registration_hook
        from torch.utils._python_dispatch import TorchDispatchMode

        budget = self

        class Counting(TorchDispatchMode):
            def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                # torch.empty, zeros, ones, full, rand, ...: the wanted shape comes first.
                shape = args[0] if args else None
                if isinstance(shape, list | tuple) and all(isinstance(size, int) for size in shape):
                    budget._take(_BYTES_EACH * math.prod(shape))
                return func(*args, **(kwargs or {}))

        hook = register_module_module_registration_hook(lambda module, name, submodule: budget._add_module())
        try:
            with Counting():
                yield
        finally:
            hook.remove()

    def _take(self, amount: int) -> None:
        self._bytes += amount
        if self._bytes > MAX_BYTES:
            raise ModelError(f"{self._source}: the network would take more than {MAX_BYTES >> 30} GB of memory.")

    def _add_module(self) -> None:
        self._modules += 1
        if self._modules > MAX_MODULES:
            raise ModelError(f"{self._source}: the network would have more than {MAX_MODULES} parts.")


def check_network_numbers(value: Any, place: str) -> None:
    """Refuse numbers and texts with which making a network alone would take forever, or all memory.

    Raises:
        ModelError: there is one; ``place`` says where.
    """
    for number in _numbers(value):
        if isinstance(number, int) and abs(number) > MAX_NETWORK_NUMBER:
            raise ModelError(f"{place}: the number {number} is too large for a network.")
    for text in _texts(value):
        if "%" in text:  # where a number belongs, the remainder of a text is one as long as it says itself
            raise ModelError(f"{place}: the text {text[:40]!a} is none for a network.")


def check_step_numbers(arguments: dict[str, Any], place: str) -> None:
    """Refuse sizes with which a transform or an inferer would fill the memory.

    Raises:
        ModelError: there is one; ``place`` says where.
    """
    for name in ("roi_size", "spatial_size"):
        sizes = list(_numbers(arguments.get(name)))
        sizes = sizes * 3 if len(sizes) == 1 else sizes
        if math.prod(max(1.0, float(size)) for size in sizes) > MAX_WINDOW_VOXELS:
            raise ModelError(f"{place}: '{name}' is too large: {ascii(sizes)[:80]} voxels.")
    for first, second in _MULTIPLIED:
        counts = [sum(1 for _ in _numbers(arguments.get(name))) for name in (first, second)]
        if math.prod(counts) > MAX_ANCHORS:
            raise ModelError(f"{place}: '{first}' and '{second}' are too long for a detector.")
    for name, value in arguments.items():
        for number in _numbers(value):
            if abs(number) > _LARGEST.get(name, math.inf) or 0 < abs(number) < _SMALLEST.get(name, 0):
                raise ModelError(f"{place}: with {number} for '{name}' the image would become too large.")


def _numbers(value: Any) -> Iterator[int | float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple | range):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, int | float):
        yield value


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str):
        yield value
