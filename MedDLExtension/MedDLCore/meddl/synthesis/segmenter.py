"""A small segmenter, always trained in the same way: what data are worth shows in what it learns from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from meddl.errors import JobCancelled, JobError

if TYPE_CHECKING:
    import torch
    from torch import nn

_CHANNELS = {2: (16, 32, 64), 3: (12, 24, 48)}
_LEARNING_RATE = 2e-3
_TURN = 15.0
"""Degrees that examples are turned by at most while training, whatever they are."""
_SCALE = 0.1
_SHIFT = 0.1
_BATCH = 32

BOTTOM_LAYER = "model.1.submodule.1.submodule"
"""The deepest part of the network, whose channels are its features."""


@dataclass(frozen=True, eq=False)
class Learning:
    """What a segmenter learns from.

    Attributes:
        images: ``(N, 1, *size)`` in -1..1.
        labels: ``(N, *size)`` with values 0 to ``classes - 1``.
    """

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.images)


def train_segmenter(
    sources: tuple[tuple[Learning, float], ...],
    classes: int,
    *,
    steps: int,
    batch: int,
    seed: int,
    device: Any = "cpu",
    on_step: Callable[[int], None] = lambda step: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> nn.Module:
    """Return MONAI's UNet, trained from its first weights on: Dice and cross entropy, Adam, falling learning rate.

    The seed settles the weights, the order of examples and how each is moved. It is the same training for all sources:
    as many steps, as many examples in each. One computer with one number of threads gives the same weights again.

    Args:
        sources: examples, and their share of each batch; shares add up to 1.
        classes: background included.

    Raises:
        JobCancelled: on request.
        JobError: it came to no numbers.
    """
    import torch
    from monai.losses import DiceCELoss

    dimensions = sources[0][0].images.ndim - 2
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = make_segmenter(dimensions, classes).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=_LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    loss_of = DiceCELoss(to_onehot_y=True, softmax=True, include_background=False, batch=True)
    numbers = torch.Generator().manual_seed(seed)
    counts = _shares([share for _, share in sources], batch)
    orders = [_endless(len(each), seed, number) for number, (each, _) in enumerate(sources)]
    network.train()
    for step in range(steps):
        if cancelled():
            raise JobCancelled("The judgement was cancelled.")
        chosen = [
            (each, np.array([next(order) for _ in range(count)], np.int64))
            for (each, _), order, count in zip(sources, orders, counts, strict=True)
        ]
        images = np.concatenate([each.images[index] for each, index in chosen])
        labels = np.concatenate([each.labels[index] for each, index in chosen])
        x, y = moved(torch.from_numpy(images.astype(np.float32)), torch.from_numpy(labels.astype(np.int64)), numbers)
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(network(x.to(device)), y[:, None].to(device))
        if not bool(torch.isfinite(loss)):
            raise JobError("The training of the segmenter came to no numbers. Judge with other settings.")
        loss.backward()
        optimizer.step()
        schedule.step()
        on_step(step + 1)
    return network.eval()


def make_segmenter(dimensions: int, classes: int) -> nn.Module:
    """Return the network with random weights."""
    from monai.networks.nets import UNet

    channels = _CHANNELS[dimensions]
    return UNet(
        spatial_dims=dimensions,
        in_channels=1,
        out_channels=classes,
        channels=channels,
        strides=(2,) * (len(channels) - 1),
        num_res_units=1,
        act="LEAKYRELU",
        norm=("instance", {"affine": True}),
    )


def segment(
    network: nn.Module, images: np.ndarray, device: Any = "cpu", cancelled: Callable[[], bool] = lambda: False
) -> np.ndarray:
    """Return ``(N, *size)`` uint8 labels of ``(N, 1, *size)`` images."""
    import torch

    made = []
    with torch.inference_mode():
        for start in range(0, len(images), _BATCH):
            if cancelled():
                raise JobCancelled("The judgement was cancelled.")
            part = torch.from_numpy(images[start : start + _BATCH].astype(np.float32)).to(device)
            made.append(network(part).argmax(dim=1).to(torch.uint8).cpu().numpy())
    return np.concatenate(made)


def moved(
    images: torch.Tensor, labels: torch.Tensor, numbers: torch.Generator, turn: float = _TURN
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return examples turned, scaled and shifted by chance, labels with them; never mirrored: sides have names.

    Args:
        images: ``(B, 1, *size)``; what comes in from outside continues the border.
        labels: ``(B, *size)``; outside is what lies at the border, too.
        numbers: what chance is drawn from.
        turn: degrees at most, about the last axis of patches.
    """
    import torch

    dimensions = images.ndim - 2
    chance = torch.rand((len(images), 2 + dimensions), generator=numbers) * 2 - 1
    angle = torch.deg2rad(chance[:, 0] * turn)
    zoom = 1 + chance[:, 1] * _SCALE
    theta = torch.zeros((len(images), dimensions, dimensions + 1))
    for axis in range(dimensions):
        theta[:, axis, axis] = zoom
    c, s = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    # Coordinates are in reverse order: the last two are the first two axes.
    theta[:, -2, -3], theta[:, -2, -2], theta[:, -1, -3], theta[:, -1, -2] = c, -s, s, c
    theta[:, :, -1] = chance[:, 2:] * _SHIFT
    grid = torch.nn.functional.affine_grid(theta, list(images.shape), align_corners=False)
    image = torch.nn.functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    label = torch.nn.functional.grid_sample(
        labels[:, None].float(), grid, mode="nearest", padding_mode="border", align_corners=False
    )
    return image, label[:, 0].round().long()


def _shares(shares: list[float], batch: int) -> list[int]:
    """Return whole numbers of a batch, at least one each."""
    if len(shares) == 1:
        return [batch]
    first = min(max(round(shares[0] * batch), 1), batch - 1)
    return [first, batch - first]


def _endless(count: int, seed: int, source: int) -> Iterator[int]:
    """Give the numbers 0 to ``count - 1`` by chance, each once before any comes again."""
    random = np.random.default_rng([seed, source])
    while True:
        yield from (int(each) for each in random.permutation(count))
