"""A classifier that reads slices or time frames one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from monai.networks.blocks import Convolution
from torch import nn


class RecurrentClassifier(nn.Module):
    """A small convolutional network per slice (or frame), a recurrent one over their order, attention over the whole.

    The last axis of the input is the sequence: slices of a volume (``spatial_dims=2``: ``(B, C, I, J, slices)``), time
    frames of pictures (the same) or of volumes (``spatial_dims=3``: ``(B, C, I, J, K, frames)``). Any length goes; the
    images must be at least ``2 ** len(features)`` voxels wide.

    Each image becomes a vector of ``features[-1]`` numbers, a GRU (Cho et al. 2014) or LSTM (Hochreiter and Schmidhuber
    1997) reads the vectors in both directions, and the answer is made from the mean of what it says at each place,
    weighted by how telling the network finds that place (attention pooling). The weights of the last run are kept in
    ``evidence``.

    Args:
        spatial_dims: axes of one image: 2 or 3.
        in_channels: of the image.
        out_channels: classes.
        features: channels after each convolution; each halves the image.
        hidden: numbers the recurrent network remembers, per direction.
        cell: ``gru`` or ``lstm``.
        dropout: share of the numbers left out before the last layer, in training.

    Raises:
        ValueError: an argument outside of what is said here.

    Example::

        network = RecurrentClassifier(spatial_dims=2, in_channels=1, out_channels=2)
        logits = network(torch.zeros(1, 1, 64, 64, 20))  # (1, 2)
        network.evidence  # (1, 20), adds up to one
    """

    evidence: torch.Tensor | None
    """``(B, sequence)``: the weight of each slice or frame in the last answer; None before the first."""

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        features: Sequence[int] = (16, 32, 64),
        hidden: int = 32,
        cell: Literal["gru", "lstm"] = "gru",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if spatial_dims not in (2, 3):
            raise ValueError(f"spatial_dims must be 2 or 3, not {spatial_dims}")
        if not features:
            raise ValueError("features must name the channels of at least one convolution")
        if cell not in ("gru", "lstm"):
            raise ValueError(f"cell must be 'gru' or 'lstm', not {cell!r}")
        self.spatial_dims = spatial_dims
        widths = [in_channels, *features]
        self.encoder = nn.Sequential(
            *(
                Convolution(spatial_dims, before, after, strides=2, kernel_size=3, norm="batch", act="relu")
                for before, after in pairwise(widths)
            )
        )
        recurrent = nn.GRU if cell == "gru" else nn.LSTM
        self.recurrent = recurrent(widths[-1], hidden, batch_first=True, bidirectional=True)
        self.attention = nn.Linear(2 * hidden, 1)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * hidden, out_channels)
        self.evidence = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits ``(B, out_channels)`` for ``(B, C, *image, sequence)``.

        Raises:
            ValueError: the input has another number of axes.
        """
        if x.ndim != self.spatial_dims + 3:
            raise ValueError(
                f"the input must have {self.spatial_dims + 3} axes (batch, channel, {self.spatial_dims} of the image, "
                f"sequence), not {x.ndim}"
            )
        batch, length = x.shape[0], x.shape[-1]
        images = x.movedim(-1, 1).flatten(0, 1)
        maps = self.encoder(images).flatten(2)
        # The strongest answer and the mean one: what is seen anywhere, and how much of it.
        vectors = 0.5 * (maps.amax(dim=2) + maps.mean(dim=2))
        read, _ = self.recurrent(vectors.unflatten(0, (batch, length)))
        weights = torch.softmax(self.attention(read).squeeze(-1), dim=1)
        self.evidence = weights.detach()
        return self.head(self.dropout((weights.unsqueeze(-1) * read).sum(dim=1)))
