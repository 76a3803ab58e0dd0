"""Occlusion gives captum's map in a fraction of its runs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from captum.attr import Occlusion
from core.marked_networks import OPTIONS, WORK, MarkerDetector, class_score, head, marked
from core.network_files import threshold_graph
from meddl.networks import OnnxNetwork
from meddl.saliency.baselines import blurred
from meddl.saliency.methods.known import METHODS
from meddl.saliency.methods.occlusion import block_edges
from meddl.saliency.scorer import Scorer
from monai.networks.nets import ResNet
from scipy.stats import spearmanr
from torch import nn

METHOD = METHODS["occlusion"]


def captums(scorer: Scorer, image: torch.Tensor, edges: tuple[int, ...], baseline: torch.Tensor) -> torch.Tensor:
    window = (image.shape[1], *edges)
    # Many at once, for the test's sake: with one thread PyTorch takes a slow way for one image.
    return Occlusion(scorer.module()).attribute(
        image, window, strides=window, baselines=baseline, perturbations_per_eval=64
    )[0, :1]


class Curved(nn.Module):
    """Two maxima and a product: nothing that a straight line would tell."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.network = ResNet("basic", (1, 1, 1, 1), (4, 8, 8, 8), n_input_channels=1, num_classes=2,
                              conv1_t_stride=2, no_max_pool=True)  # fmt: skip

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.tanh(3 * self.network(image)) + image.mean(dim=(2, 3, 4)) ** 2


def test_a_small_number_of_blocks_is_captums_map_exactly():
    image = head(24)[:, :, :23, :, :22].clone()  # edges that the blocks do not divide
    scorer, work = class_score(Curved().eval()), replace(WORK, options=replace(OPTIONS, finest_mm=6, block_mm=24))
    raw = METHOD.attribute(scorer, image, work)
    assert raw.facts["block_voxels"] == [6, 6, 6] and raw.facts["measured"] == raw.facts["blocks"]
    assert torch.allclose(raw.values, captums(scorer, image, (6, 6, 6), blurred(image)).float(), atol=1e-6)


def test_many_blocks_are_ranked_as_captum_ranks_them_in_less_than_half_of_its_runs():
    image, _ = marked(head(24), (6, 14, 12))
    scorer, work = class_score(MarkerDetector()), replace(WORK, options=replace(OPTIONS, finest_mm=2, block_mm=8))
    raw = METHOD.attribute(scorer, image, work)
    direct = captums(scorer, image, (2, 2, 2), blurred(image))
    assert raw.facts["estimated_by"] == "gradient" and raw.facts["runs"] < 12**3 / 2
    assert spearmanr(raw.values.flatten(), direct.flatten()).statistic >= 0.99
    assert float((raw.values - direct).abs().max()) <= 0.05 * float(direct.abs().max())
    assert "estimates" in raw.notes[0]


def test_air_is_left_out_and_has_no_effect():
    image = torch.zeros(1, 1, 32, 32, 32)
    image[..., 8:16, 8:16, 8:16] = torch.rand(8, 8, 8, generator=torch.Generator().manual_seed(0)) + 2
    work = replace(WORK, baseline=torch.zeros_like(image), options=replace(OPTIONS, finest_mm=2, block_mm=8))
    raw = METHOD.attribute(class_score(MarkerDetector()), image, work)
    assert raw.facts["blocks"] == 64 and raw.facts["skipped"] == 16**3 - 64
    assert not raw.values[image[0] == 0].any() and (raw.values > 0).any()


def test_estimates_that_are_wrong_are_found_out_and_all_is_measured_at_once():
    class Staircase(nn.Module):
        """Its gradient says nothing of what it answers."""

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            steps = (image * 7).round() / 7
            return (steps + 1e-6 * image.flip(2) - steps.roll(3, 4) * 0.3).pow(2).mean(dim=(2, 3, 4))

    image = head(30)
    told: list[float] = []
    options = replace(OPTIONS, finest_mm=3, block_mm=12)
    work = replace(WORK, options=options, progress=lambda fraction, text: told.append(fraction))
    raw = METHOD.attribute(class_score(Staircase()), image, work)
    assert raw.facts["checked"] < 0.9 and raw.facts["measured"] == raw.facts["blocks"] == 1000 and not raw.notes
    assert raw.facts["runs"] <= 1.3 * 1000
    assert told == sorted(told) and np.mean(np.diff(told) > 0) > 0.9, "the bar stood still"
    direct = captums(class_score(Staircase()), image, (3, 3, 3), blurred(image))
    assert torch.allclose(raw.values, direct.float(), atol=1e-6)


def test_estimates_that_nearly_do_are_refined():
    class Waves(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            mean = nn.functional.avg_pool3d(image, 3, 3)
            return (mean**4 + 0.02 * torch.tanh(60 * (mean - 0.4))).sum(dim=(2, 3, 4))

    image = head(36)
    work = replace(WORK, options=replace(OPTIONS, finest_mm=3, block_mm=12))
    raw = METHOD.attribute(class_score(Waves()), image, work)
    direct = captums(class_score(Waves()), image, (3, 3, 3), blurred(image))
    assert raw.facts["runs"] > 2 * 27 * 7  # seven places on the way instead of three
    assert spearmanr(raw.values.flatten(), direct.flatten()).statistic >= 0.99


def test_networks_for_slices_are_measured_as_captum_does():
    torch.manual_seed(1)
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    scorer = Scorer(network, lambda answer: answer[:, 1], slice_axis=2)
    image = head(24)[..., 12:13].clone()
    work = replace(WORK, options=replace(OPTIONS, finest_mm=3, block_mm=12))
    raw = METHOD.attribute(scorer, image, work)
    assert torch.allclose(raw.values, captums(scorer, image, (3, 3, 1), blurred(image)).float(), atol=1e-6)


def test_without_gradients_big_blocks_show_where_to_look(tmp_path):
    image, where = marked(head(32), (8, 20, 20))
    network = OnnxNetwork(threshold_graph(tmp_path / "a.onnx", threshold=1.5))

    def pick(answer: torch.Tensor) -> torch.Tensor:
        return answer[:, 1].clamp(min=0).mean(dim=(1, 2, 3))

    work = replace(WORK, options=replace(OPTIONS, finest_mm=4, block_mm=16))
    raw = METHOD.attribute(Scorer(network, pick), image, work)
    direct = captums(Scorer(network, pick), image, (4, 4, 4), blurred(image))
    assert raw.facts["estimated_by"] == "big blocks"
    assert np.allclose(raw.values[0][where], direct[0][where], atol=1e-6)


def test_blocks_have_the_size_asked_for():
    image = torch.zeros(1, 1, 64, 64, 16)
    work = replace(WORK, spacing_mm=(1.0, 1.0, 4.0))
    assert block_edges(image, work) == ((4, 4, 1), 4)
    named = replace(work, options=replace(OPTIONS, block_mm=32, finest_mm=16))
    assert block_edges(image, named) == ((16, 16, 4), 2)
    assert block_edges(image, replace(work, options=replace(OPTIONS, block_mm=900)))[0] == (64, 64, 16)
