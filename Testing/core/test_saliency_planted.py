"""Every method must point at the one place that an answer comes from."""

from __future__ import annotations

import functools
from dataclasses import replace

import pytest
import torch
from core.marked_networks import OPTIONS, WORK, MarkerDetector, class_score, head, marked, points_into, precision_at
from meddl.saliency.methods.known import METHODS
from meddl.saliency.methods.method import Work
from monai.networks.nets import SwinUNETR, ViT
from torch import nn

CONVOLUTIONAL = [id for id in METHODS if id != "attention_rollout"]
PRECISION = {"occlusion": 0.6}
"""Blocks of 3 voxels do not fit a cube of 8: those at its border lie half in it. Measured: 0.62 to 0.77."""
PLACES = ((8, 22, 20), (22, 10, 18), (14, 20, 4))


def work_of(id: str) -> Work:
    """Blocks of three voxels, where a method covers blocks."""
    return replace(WORK, options=replace(OPTIONS, finest_mm=3, block_mm=12)) if id == "occlusion" else WORK


@pytest.mark.parametrize("id", CONVOLUTIONAL)
def test_a_network_built_by_hand_is_explained_by_its_marker(id):
    for start in PLACES[1:] if id == "occlusion" else PLACES:  # its first place stands in the next test
        image, where = marked(head(32), start)
        raw = METHODS[id].attribute(class_score(MarkerDetector()), image, work_of(id))
        assert points_into(raw.values, where), id
        assert precision_at(raw.values, where) >= PRECISION.get(id, 0.85), id


@pytest.mark.parametrize("id", CONVOLUTIONAL)
def test_so_is_one_voxel_range_of_a_map_that_it_answers(id):
    image, where = marked(head(32), PLACES[0])
    scorer = class_score(MarkerDetector(answers_map=True))
    scorer.pick = lambda answer: answer[:, 0].flatten(1).sum(dim=1)
    raw = METHODS[id].attribute(scorer, image, work_of(id))
    assert points_into(raw.values, where)


def test_attention_that_goes_to_one_patch_is_shown_there():
    network = ViT(1, (32, 32, 32), (8, 8, 8), hidden_size=4, mlp_dim=4, num_layers=1, num_heads=1,
                  pos_embed_type="none")  # fmt: skip
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        for norm in (each for each in network.modules() if isinstance(each, nn.LayerNorm)):
            norm.weight.fill_(1.0)
        # A patch becomes (its mean, less its mean, 1, -1): after normalization, bright ones stand out.
        cut = network.patch_embedding.patch_embeddings
        cut.weight[0], cut.weight[1] = 1 / 512, -1 / 512
        cut.bias[2], cut.bias[3] = 1.0, -1.0
        # All others ask for what is bright.
        network.blocks[0].attn.qkv.weight[0, 2] = 5.0
        network.blocks[0].attn.qkv.weight[4, 0] = 5.0
    where = torch.zeros((32, 32, 32), dtype=torch.bool)
    where[16:24, 8:16, 0:8] = True
    image = torch.where(where, 10.0, 0.01 * torch.rand(where.shape, generator=torch.manual_seed(0)))[None, None]
    scorer = class_score(network)
    scorer.pick = lambda answer: answer[0].sum(dim=(1, 2))
    raw = METHODS["attention_rollout"].attribute(scorer, image, WORK)
    assert METHODS["attention_rollout"].unfit(scorer, image) == ""
    assert raw.facts["grid"] == [4, 4, 4]
    assert points_into(raw.values, where)


def test_attention_within_windows_is_followed_through_shifts_and_merged_patches():
    torch.manual_seed(0)
    network = SwinUNETR(1, 2, feature_size=12, depths=(2, 2, 2, 2), window_size=4)
    with torch.no_grad():
        for block in (each for each in network.modules() if type(each).__name__ == "SwinTransformerBlock"):
            block.attn.qkv.weight.zero_()
            block.attn.qkv.bias.zero_()
            block.attn.relative_position_bias_table.zero_()
        first = network.swinViT.layers1[0]
        # As above: what is bright has a key that all others ask for.
        cut = network.swinViT.patch_embed.proj
        cut.weight.zero_()
        cut.bias.zero_()
        cut.weight[0], cut.weight[1] = 1 / 8, -1 / 8
        cut.bias[2], cut.bias[3] = 1.0, -1.0
        for block in first.blocks:
            block.mlp.linear2.weight.zero_()
            block.attn.proj.weight.zero_()
            block.attn.qkv.weight[:12, 2] = 3.0
            block.attn.qkv.weight[12:24, 0] = 3.0
    where = torch.zeros((64, 64, 64), dtype=torch.bool)
    where[38:44, 10:16, 50:56] = True
    image = torch.where(where, 10.0, 0.01 * torch.rand(where.shape, generator=torch.manual_seed(0)))[None, None]
    scorer = class_score(network)
    scorer.pick = lambda answer: answer[:, 1].flatten(1).sum(dim=1)
    raw = METHODS["attention_rollout"].attribute(scorer, image, WORK)
    assert raw.facts["grid"] == [32, 32, 32] and raw.facts["layers"] == 8
    assert points_into(raw.values, where)
    assert precision_at(raw.values, where) > 0.9
    # No weight is lost on the way where windows fit: 8 voxels stand for each patch.
    assert float(raw.values.sum()) == pytest.approx(8.0, rel=0.02)


@functools.cache
def trained() -> nn.Module:
    """A network that has learned on one half of a real head to tell whether a faint marker is somewhere in it."""
    generator = torch.Generator().manual_seed(3)
    torch.manual_seed(3)
    network = nn.Sequential(
        nn.Conv3d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool3d(2), nn.Conv3d(8, 8, 3, padding=1), nn.ReLU(),
        nn.Conv3d(8, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveMaxPool3d(1), nn.Flatten(), nn.Linear(8, 2),
    )  # fmt: skip
    optimizer = torch.optim.Adam(network.parameters(), 5e-3)
    for _ in range(120):
        images, labels = [], []
        for label in (0, 1, 0, 1):
            image = crop(generator, 0)
            if label:
                image, _ = with_faint_marker(image, generator)
            images.append(image)
            labels.append(label)
        loss = nn.functional.cross_entropy(network(torch.cat(images)), torch.tensor(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


def crop(generator: torch.Generator, half: int) -> torch.Tensor:
    """24 voxels along each axis of the head's left (0) or right (1) half."""
    at = [int(torch.randint(0, high, (1,), generator=generator)) for high in (1, 24, 24)]
    return head()[:, :, 24 * half + at[0] : 24 * half + 24, at[1] : at[1] + 24, at[2] : at[2] + 24].clone()


def with_faint_marker(image: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """A cube of six voxels whose layers are light and dark in turn, no brighter than tissue."""
    at = [int(torch.randint(2, 16, (1,), generator=generator)) for _ in range(3)]
    where = torch.zeros(image.shape[2:], dtype=torch.bool)
    where[tuple(slice(start, start + 6) for start in at)] = True
    stripes = (torch.arange(24) % 2).float().expand(image.shape[2:])
    return torch.where(where, 0.9 * stripes, image), where


@pytest.mark.parametrize("id", CONVOLUTIONAL)
def test_a_trained_network_is_explained_by_the_marker_in_images_it_has_not_seen(id):
    network, generator = trained(), torch.Generator().manual_seed(11)
    scorer = class_score(network, 1)
    hits = []
    for _ in range(4):
        image, where = with_faint_marker(crop(generator, 1), generator)
        assert network(image).argmax() == 1
        # A convolution of the first layers sees one voxel further, one after pooling two.
        near = nn.functional.max_pool3d(where[None, None].float(), 5, 1, 2)[0, 0] > 0
        values = METHODS[id].attribute(scorer, image, work_of(id)).values
        if id == "ablation":  # its peak is a whole supervoxel, which has a part of the marker
            hits.append(bool((near & (values[0] == values.max())).any()))
        else:
            hits.append(points_into(values, near))
    assert all(hits), hits
