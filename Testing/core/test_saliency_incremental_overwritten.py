"""Computing only what a change reaches: whatever a network writes over is seen, or ends it."""

from __future__ import annotations

import copy

import pytest
import torch
from core.covered_images import BOXES_2D, covered
from meddl.saliency.incremental.changed import NotIncremental
from meddl.saliency.incremental.network import IncrementalNetwork
from torch import nn


class Then(nn.Module):
    """A convolution, and what somebody does with its answer."""

    def __init__(self, then) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.then = then

    def forward(self, image):
        return self.then(self.first(image))


def part_seldom_overwritten(x):
    x[:, :2].clamp_(max=50.0)
    return x.relu()


def part_overwritten_at_the_end(x):
    x[:, :2].clamp_(max=50.0)
    return x


def one_part_overwritten_through_another(x):
    one, other = x[:, :3], x[:, 2:]
    one.clamp_(max=50.0)
    return other


def overwritten_after_a_part_was_taken(x):
    part = x[:, :2]
    x.clamp_(max=50.0)
    return part


def overwritten_beside_the_graph(x):
    x.data.clamp_(max=50.0)
    return x


def written_elsewhere(x):
    kept = torch.zeros_like(x).clone()
    torch.mul(x, 2.0, out=kept)
    torch.add(x, x, out=x)
    return kept


@pytest.mark.parametrize(
    "then",
    [
        part_seldom_overwritten,
        part_overwritten_at_the_end,
        one_part_overwritten_through_another,
        overwritten_after_a_part_was_taken,
        overwritten_beside_the_graph,
        written_elsewhere,
    ],
)
def test_what_is_overwritten_is_never_lost(then):
    """Not even where none of the images that engines are tried with would show it."""
    image, images = covered(BOXES_2D)
    network = Then(then)
    incremental = IncrementalNetwork(network, image)
    with pytest.raises(NotIncremental, match="overwr"):
        incremental(images)
    images[1, :, :3, 28:] = 1000.0  # one of many covered images is unlike all others
    incremental.falls_back = True
    with torch.no_grad():
        torch.testing.assert_close(incremental(images), network(images))
    assert incremental.kept == 0


def test_a_part_that_is_only_read_or_written_elsewhere_is_no_hindrance():
    def then(x):
        y = x[:, :2] * 2.0
        y.relu_()
        kept = torch.zeros_like(x)
        torch.add(x, 1.0, out=kept)
        kept += x
        return torch.cat([y, kept], dim=1)

    image, images = covered(BOXES_2D)
    network = Then(then)
    incremental = IncrementalNetwork(network, image)
    with torch.no_grad():
        torch.testing.assert_close(incremental(images), network(images), rtol=1e-4, atol=1e-5)
    assert incremental.kept == 2  # the convolution and its padding


def test_weights_that_change_are_seen():
    image, images = covered(BOXES_2D)
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 2, 1))
    incremental = IncrementalNetwork(network, image)
    incremental(images)
    with torch.no_grad():
        network[1].weight.mul_(2.0)
    torch.testing.assert_close(incremental(images), network(images).detach(), rtol=1e-4, atol=1e-5)
    network[1].weight.data = torch.randn_like(network[1].weight)  # as layers do that are told to lay them out otherwise
    torch.testing.assert_close(incremental(images), network(images).detach(), rtol=1e-4, atol=1e-5)
    other = copy.deepcopy(incremental)
    assert incremental.kept and other.kept == 0
    torch.testing.assert_close(other(images), network(images).detach(), rtol=1e-4, atol=1e-5)


def test_scales_of_more_axes_or_another_kind_run_as_usual():
    image, images = covered(BOXES_2D)
    for then in (
        lambda x: (x * torch.full((1, 1, 4, 1, 1), 2.0))[0],
        lambda x: x.mul_(torch.full((1, 4, 1, 1), 2.0).double()),
    ):
        network = Then(then)
        incremental = IncrementalNetwork(network, image)
        incremental.falls_back = True
        torch.testing.assert_close(incremental(images), network(images).detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("where", [torch.inference_mode, torch.enable_grad])
def test_it_works_wherever_it_is_asked(where):
    image, images = covered(BOXES_2D)
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU())
    incremental = IncrementalNetwork(network, image)
    with where():
        given = incremental(images)
    assert incremental.kept and not given.requires_grad
    torch.testing.assert_close(given, network(images).detach(), rtol=1e-4, atol=1e-5)


def test_places_of_what_was_pooled_are_not_taken_for_places_in_the_image():
    """The pooled image is so small that what changed is all of it: its places have the shape of all, too."""

    def then(x):
        pooled, places = nn.functional.max_pool2d(x, 9, 8, padding=4, return_indices=True)
        return pooled + places

    image, images = covered(([(5, 5), (6, 6)], (4, 4), (16, 16)))
    network = Then(then)
    incremental = IncrementalNetwork(network, image)
    incremental.falls_back = True
    with torch.no_grad():
        torch.testing.assert_close(incremental(images), network(images), rtol=1e-4, atol=1e-5)
