"""Monte Carlo dropout: the network asked several times, each time with other parts of it left out at random.

After Gal Y, Ghahramani Z. Dropout as a Bayesian approximation: representing model uncertainty in deep learning. ICML
(2016) 1050-1059.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from meddl.errors import ModelError

if TYPE_CHECKING:
    import torch
    from torch import nn


def has_dropout(network: nn.Module) -> bool:
    """Tell whether a network has layers that leave something out: ``Dropout*`` with a probability above zero.

    A TorchScript program counts as one without: its layers may have been written down as they act outside training.
    """
    return bool(_dropout_layers(network))


@contextmanager
def dropout_passes(network: nn.Module, seed: int) -> Iterator[Callable[[int], None]]:
    """Let dropout act as in training; nothing else of the network (batch normalization, say) leaves evaluation mode.

    Yields a function to call before each pass with its number: the same seed and number leave the same parts out. After
    the block, the layers' modes and torch's random state are as before.

    Raises:
        ModelError: the network has no dropout.

    Example::

        with dropout_passes(network, seed=0) as begin:
            for number in range(8):
                begin(number)
                accumulator.add(run(image))
    """
    import torch

    layers = _dropout_layers(network)
    if not layers:
        raise ModelError(
            "This model has no dropout, so that asking it again would give the same answer. "
            "Choose flipped and shifted images to see how sure it is."
        )
    before = [layer.training for layer in layers]
    cuda = sorted({each.device.index or 0 for each in network.parameters() if each.device.type == "cuda"})

    def begin(number: int) -> None:
        torch.manual_seed(seed * 1_000_003 + number)

    try:
        with torch.random.fork_rng(devices=cuda):
            for layer in layers:
                layer.train()
            yield begin
    finally:
        for layer, training in zip(layers, before, strict=True):
            layer.train(training)


def _dropout_layers(network: nn.Module) -> list[torch.nn.modules.dropout._DropoutNd]:
    import torch

    if isinstance(network, torch.jit.ScriptModule):
        return []
    kind = torch.nn.modules.dropout._DropoutNd  # the common base of all of torch's dropout layers
    return [layer for layer in network.modules() if isinstance(layer, kind) and layer.p > 0]
