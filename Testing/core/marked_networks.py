"""Networks and images whose answer is known to come from one place: a marker in a real head."""

from __future__ import annotations

import functools

import realdata
import torch
from meddl.saliency.methods.method import Work
from meddl.saliency.options import ExplainOptions
from meddl.saliency.scorer import Scorer
from meddl.volume import read_volume
from torch import nn

EDGE = 8
OPTIONS = ExplainOptions(device="cpu", steps=8, samples=4, noise=0.02)
WORK = Work(OPTIONS)


@functools.cache
def head(edge: int = 48) -> torch.Tensor:
    """A real head ``(1, 1, edge, edge, edge)``, 0 to 1."""
    array = torch.from_numpy(read_volume(realdata.head()).array.astype("float32"))[None]
    small = nn.functional.interpolate(array, size=(edge,) * 3, mode="trilinear")
    return (small - small.min()) / (small.max() - small.min())


def marked(image: torch.Tensor, start: tuple[int, int, int], value: float = 3.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the image with a bright cube, and where that is ``(i, j, k)``."""
    where = torch.zeros(image.shape[2:], dtype=torch.bool)
    where[tuple(slice(at, at + EDGE) for at in start)] = True
    return torch.where(where, torch.tensor(value), image), where


class MarkerDetector(nn.Module):
    """Answers how much in the image is brighter than any tissue: nothing else gets through its first layer."""

    def __init__(self, answers_map: bool = False) -> None:
        super().__init__()
        self.first, self.first_relu = nn.Conv3d(1, 2, 3, padding=1), nn.ReLU(inplace=True)
        self.pool = nn.AvgPool3d(2)
        self.second, self.second_relu = nn.Conv3d(2, 2, 1), nn.ReLU(inplace=True)
        self.answers_map = answers_map
        with torch.no_grad():
            self.first.weight.fill_(1 / 27)
            self.first.bias.fill_(-1.2)
            self.second.weight.copy_(torch.eye(2).reshape(2, 2, 1, 1, 1))
            self.second.bias.zero_()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        found = self.second_relu(self.second(self.pool(self.first_relu(self.first(image)))))
        return nn.functional.interpolate(found, scale_factor=2) if self.answers_map else found.mean(dim=(2, 3, 4))


def class_score(network: nn.Module, index: int = 0) -> Scorer:
    return Scorer(network, lambda answer: answer[:, index])


def points_into(values: torch.Tensor, where: torch.Tensor) -> bool:
    """The pointing game (Zhang et al. 2018): does the strongest voxel for the answer lie in the right place?"""
    total = values.sum(dim=0)
    return bool(where.flatten()[total.flatten().argmax()])


def precision_at(values: torch.Tensor, where: torch.Tensor, share: float = 0.01) -> float:
    """Which share of the strongest voxels, at most as many as the place has, lies in the right place."""
    total = values.sum(dim=0).flatten()
    count = min(int(share * total.numel()), int(where.sum()))
    return float(where.flatten()[total.topk(count).indices].float().mean())
