"""Blocks of voxels that are one place to the network: nothing is lost or moved, whatever the size of a patch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from meddl.networks import Folded, LabelsToImage
from meddl.networks.folded import folded
from meddl.synthesis import SynthesisConfig, training
from meddl.synthesis.networks import make_network, network_config
from meddl.synthesis.trainers import make_trainer
from torch import nn

LABELS, NOISE = 3, 4


@pytest.mark.parametrize(("size", "fold"), [((4, 6, 2), (2, 3, 2)), ((4, 2, 3), (2, 2, 1)), ((6, 4), (3, 2))])
def test_a_block_of_voxels_becomes_the_channels_of_one(size, fold):
    images = torch.arange(2.0 * 3 * torch.Size(size).numel()).reshape(2, 3, *size)

    small = folded(images, fold)

    assert small.shape == (2, 3 * torch.Size(fold).numel(), *(each // by for each, by in zip(size, fold, strict=True)))
    block = images[
        (1, 2, *(slice(by, 2 * by) if by < each else slice(by) for each, by in zip(size, fold, strict=True)))
    ]
    place = tuple(int(by < each) for each, by in zip(size, fold, strict=True))
    assert small[(1, slice(2 * block.numel(), None), *place)].tolist() == block.flatten().tolist()


@pytest.mark.parametrize("fold", [(2, 2, 2), (2, 4, 1)])
def test_every_voxel_is_shown_as_its_own_label_says(fold):
    """However little goes through the network within."""
    painter = _zero(Folded(nn.Conv3d((LABELS + NOISE) * 8, 2, 1), fold, LABELS + NOISE, 1, 2))
    grays = torch.tensor([-0.5, 0.0, 0.75])
    with torch.no_grad():
        painter.near.weight[0, 2 : 2 + LABELS, 1, 1, 1] = torch.atanh(grays) + 1
        painter.last.weight[0, 0, 1, 1, 1] = 1
        painter.last.bias[:] = -1
    labels = torch.randint(0, LABELS, (2, 1, 8, 8, 8), generator=torch.Generator().manual_seed(0))

    with torch.inference_mode():
        image = LabelsToImage(painter, "gan", LABELS, (8, 8, 8))(labels.float())

    torch.testing.assert_close(image, grays[labels])


@pytest.mark.parametrize(("size", "fold"), [((4, 6, 8), (2, 2, 2)), ((4, 6), (2, 3))])
def test_what_the_network_finds_in_a_block_is_shown_there(size, fold):
    block = torch.Size(fold).numel()
    conv = (nn.Conv2d, nn.Conv3d)[len(size) - 2]
    mean = _zero(Folded(conv(2 * block, 1, 1), fold, 2, 1, 1))
    middle = (1,) * len(size)
    with torch.no_grad():
        mean.network.weight[0, block:] = 1 / block  # of the second channel
        mean.near.weight[(0, 0, *middle)] = mean.last.weight[(0, 0, *middle)] = 1
    images = torch.rand(2, 2, *size)

    pooled = nn.functional.adaptive_avg_pool3d(images[:, 1:], (2, 3, 4)) if len(size) == 3 else None
    pooled = nn.functional.avg_pool2d(images[:, 1:], fold) if pooled is None else pooled
    mode = "bilinear" if len(size) == 2 else "trilinear"
    torch.testing.assert_close(mean(images), nn.functional.interpolate(pooled, size=size, mode=mode))


def _zero(network):
    for value in network.parameters():
        nn.init.zeros_(value)
    return network


@pytest.mark.parametrize("size", [(32, 40, 16), (16, 24, 16)])
def test_patches_of_any_size_are_learned_from_and_made(size):
    config = SynthesisConfig("gan", size=size, batch_size=2, features=(8, 8))
    torch.manual_seed(0)
    network = make_network(network_config(config, LABELS, 0.0, 1.0))

    make_trainer(config, network).step(torch.rand(2, 1, *size), torch.rand(2, LABELS, *size))
    with torch.inference_mode():
        made = network.generate(torch.ones(1, 1, *size))

    assert config.fold == tuple(2 if each >= 32 else 1 for each in size)
    assert made.shape == (1, 1, *size) and torch.isfinite(made).all()


def test_slices_flows_and_what_grows_out_of_a_vector_are_not_folded():
    patches = SynthesisConfig("gan", size=(32, 32, 32))
    others = [replace(patches, size=(64, 64)), replace(patches, kind="rectified_flow"), replace(patches, kind="ddpm")]

    assert "Folded" in str(network_config(patches, LABELS, 0.0, 1.0))
    assert not any("Folded" in str(network_config(each, LABELS, 0.0, 1.0)) for each in others)
    assert "Folded" not in str(network_config(replace(patches, conditioned=False), 0, 0.0, 1.0))


def test_what_cannot_be_folded_is_refused():
    for wrong in ((17, 2, 2), (2, 0, 2), (2,)):
        with pytest.raises(ValueError, match="fold must be"):
            Folded(nn.Identity(), wrong, 1, 1, 1)


def test_small_steps_get_one_thread_whatever_the_machine_has(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    slices, patches = SynthesisConfig(batch_size=16), SynthesisConfig(size=(64, 64, 64))

    assert training._threads(slices) == 1 and training._threads(patches) == 4
    assert training._threads(replace(patches, batch_size=1)) == 2
