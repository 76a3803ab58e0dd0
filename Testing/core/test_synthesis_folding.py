"""Blocks of voxels that are one place to the network: nothing is lost or moved, whatever the size of a patch."""

from __future__ import annotations

import pytest
import torch
from meddl.errors import UsageError
from meddl.networks import Folded, LabelsToImage
from meddl.networks.folded import folded, unfolded
from meddl.synthesis import SynthesisConfig
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
    assert torch.equal(unfolded(small, fold), images)


@pytest.mark.parametrize("fold", [(2, 2, 2), (2, 2, 1), (1, 4, 2)])
def test_every_voxel_is_shown_as_its_own_label_says(fold):
    """However little goes through the network itself, the last layer sees each voxel's label."""
    block = torch.Size(fold).numel()
    painter = Folded(nn.Conv3d((LABELS + NOISE) * block, 2, 1), fold, LABELS + NOISE, 1, 2)
    grays = torch.tensor([-0.5, 0.0, 0.75])
    with torch.no_grad():
        painter.last.weight.zero_()
        painter.last.bias.zero_()
        for voxel in range(block):
            for label, gray in enumerate(grays):
                painter.last.weight[voxel, 2 + label * block + voxel] = torch.atanh(gray)
    network = LabelsToImage(painter, "gan", LABELS, (8, 8, 8))
    labels = torch.randint(0, LABELS, (2, 1, 8, 8, 8), generator=torch.Generator().manual_seed(0))

    with torch.inference_mode():
        image = network(labels.float())

    torch.testing.assert_close(image, grays[labels])


def test_at_first_blocks_are_no_grid():
    torch.manual_seed(0)
    image = Folded(nn.Conv3d(8, 5, 1), (2, 2, 2), 1, 3, 5)(torch.rand(2, 1, 8, 6, 4))

    small = image[..., ::2, ::2, ::2]
    torch.testing.assert_close(image, nn.functional.interpolate(small, scale_factor=2))
    assert small.std() > 0.01


@pytest.mark.parametrize("kind", ["gan", "rectified_flow", "ddpm"])
@pytest.mark.parametrize("size", [(32, 40, 16), (16, 24, 16)])
def test_patches_of_any_size_are_learned_from_and_made(kind, size):
    config = SynthesisConfig(kind, size=size, batch_size=2, features=(8, 8), sampling_steps=1)
    torch.manual_seed(0)
    network = make_network(network_config(config, LABELS, 0.0, 1.0))

    make_trainer(config, network).step(torch.rand(2, 1, *size), torch.rand(2, LABELS, *size))
    with torch.inference_mode():
        made = network.generate(torch.ones(1, 1, *size))

    assert config.fold == tuple(2 if each >= 32 else 1 for each in size)
    assert made.shape == (1, 1, *size) and torch.isfinite(made).all()


@pytest.mark.parametrize("size", [(32, 40, 48), (64, 64, 88), (128, 128, 64), (16, 16, 16)])
def test_networks_that_nobody_has_described_can_be_halved_as_often_as_they_are(size):
    config = SynthesisConfig(size=size)
    network = network_config(config, LABELS, 0.0, 1.0)["network"]
    levels = len(network.get("network", network)["channels"])

    assert all(each % (1 << (levels - 1)) == 0 for each in config.folded_size)


def test_slices_and_what_grows_out_of_a_vector_are_not_folded():
    for config in (SynthesisConfig(), SynthesisConfig("gan", conditioned=False, size=(32, 32, 32))):
        assert "Folded" not in str(network_config(config, LABELS if config.conditioned else 0, 0.0, 1.0))


def test_what_cannot_be_folded_is_refused():
    with pytest.raises(UsageError, match="halved 4 times"):
        SynthesisConfig(size=(40, 40, 40), features=(8, 8, 8, 8))
    for wrong in ((17, 2, 2), (2, 0, 2), (2,)):
        with pytest.raises(ValueError, match="fold must be"):
            Folded(nn.Identity(), wrong, 1, 1, 1)
