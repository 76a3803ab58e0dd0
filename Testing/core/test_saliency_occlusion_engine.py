"""Runs without gradients go through OpenVINO where that pays, and say what PyTorch says."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from core.marked_networks import OPTIONS, WORK, head
from core.test_saliency_occlusion import captums
from meddl.errors import JobCancelled
from meddl.inference.engines import openvino_engine, selector, side_by_side
from meddl.saliency import forward, memory
from meddl.saliency.methods.integrated import baseline_of
from meddl.saliency.methods.known import METHODS
from meddl.saliency.scorer import Scorer
from monai.networks.nets import UNet
from torch import nn

pytest.importorskip("openvino")


@pytest.fixture
def pays(monkeypatch):
    """Conversions pay from the first run on, and nothing else does; none is kept."""
    monkeypatch.setattr(selector, "CONVERT_SECONDS", -1e9)
    monkeypatch.setattr(forward, "_SOON", 0.0)
    monkeypatch.setattr(forward, "_WORTH", 1e9)


def unet_score() -> Scorer:
    torch.manual_seed(3)
    network = UNet(3, 1, 2, (4, 8, 16), (2, 2), norm="instance").eval()
    mask = torch.zeros(24, 24, 20)
    mask[6:16, 8:18, 4:12] = 1
    return Scorer(network, lambda answer: (answer.softmax(1)[:, 1] * mask).flatten(1).sum(dim=1))


IMAGE = (slice(None), slice(None), slice(None), slice(None), slice(0, 20))  # unlike along its axes
FINE = replace(WORK, options=replace(OPTIONS, finest_mm=5, block_mm=20))


def test_maps_by_openvino_are_pytorchs(pays, monkeypatch):
    image = head(24)[IMAGE].clone()
    quick = METHODS["occlusion"].attribute(unet_score(), image, FINE)
    monkeypatch.setattr(openvino_engine, "is_installed", lambda: False)
    plain = METHODS["occlusion"].attribute(unet_score(), image, FINE)
    assert (quick.facts["engine"], plain.facts["engine"]) == ("openvino", "torch")
    assert quick.facts["measured"] == plain.facts["measured"] == quick.facts["blocks"] == 100
    size = float(plain.values.abs().max())
    assert size > 0.1 and float((quick.values - plain.values).abs().max()) <= 1e-3 * size
    assert np.corrcoef(quick.values.flatten(), plain.values.flatten())[0, 1] > 0.99999


def test_ablation_by_openvino_is_pytorchs(pays, monkeypatch):
    image, scorer = head(24)[IMAGE].clone(), unet_score()
    work = replace(FINE, options=replace(FINE.options, block_mm=8))
    quick = METHODS["ablation"].attribute(scorer, image, work)
    monkeypatch.setattr(openvino_engine, "is_installed", lambda: False)
    plain = METHODS["ablation"].attribute(unet_score(), image, work)
    assert scorer.engine.name == "openvino"
    assert float((quick.values - plain.values).abs().max()) <= 1e-3 * float(plain.values.abs().max())


def test_slices_and_gradients_beside_the_engine(pays):
    torch.manual_seed(1)
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    scorer = Scorer(network, lambda answer: answer[:, 1], slice_axis=2)
    images = torch.cat([head(24)[..., n : n + 1] for n in (12, 5, 16)])
    assert forward.quicker(scorer, images, 1000, WORK) == ""
    assert torch.allclose(scorer.score(images), scorer(images), atol=1e-6)
    images.requires_grad_()
    scorer.module()(images).sum().backward()  # what asks for a gradient gets it
    assert images.grad is not None and bool(images.grad.any())


def test_an_engine_whose_scores_change_otherwise_is_not_used(pays, monkeypatch, caplog):
    """Its answers are near enough as answers go; the changes that a map is made of are smaller still."""
    real = side_by_side.Requests.answers

    def off(self, windows):
        answer = real(self, windows)
        answer[0] *= 1 + 5e-4
        return answer

    monkeypatch.setattr(side_by_side.Requests, "answers", off)
    network = nn.Sequential(nn.Conv3d(1, 2, 3, padding=1), nn.AvgPool3d(2))
    scorer = Scorer(network, lambda answer: answer[:, 1].flatten(1).sum(dim=1))
    probes = torch.cat([head(24)] * 3)
    probes[1:, :, 2:6, 12:16, 12:16] *= 1.1
    with caplog.at_level(logging.INFO):
        reason = forward.quicker(scorer, probes, 1000, WORK, 3)
    assert "scores differ" in reason and reason in caplog.text and scorer.engine is None


@pytest.mark.parametrize(
    ("network", "change", "reason"),
    [
        (nn.Conv3d(1, 2, 3), {"memory_mb": 500}, "budget"),
        (lambda image: image, {}, "engine of its own"),
        (type("Several", (nn.Module,), {"forward": lambda self, image: {"a": image}})(), {}, "several things"),
    ],
)
def test_what_cannot_have_an_engine_keeps_pytorch_for_a_reason(pays, network, change, reason):
    scorer = Scorer(network, lambda answer: (answer["a"] if isinstance(answer, dict) else answer).flatten(1).sum(dim=1))
    work = replace(WORK, options=replace(OPTIONS, **change))
    assert reason in forward.quicker(scorer, torch.rand(2, 1, 8, 8, 8), 1000, work)
    assert scorer.engine is None


@pytest.mark.parametrize("at_once", [1, 2])
def test_no_more_run_together_than_there_is_memory_for(at_once, pays, monkeypatch):
    """One alone gets all threads: an engine that shares them out would leave all but one core idle."""
    seen, streams = [], []
    made = openvino_engine.OpenVinoEngine.__init__

    def note(self, network, shape, precision, key="", share=1):
        streams.append(share)
        made(self, network, shape, precision, key, share)

    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(openvino_engine.OpenVinoEngine, "__init__", note)
    network = nn.Conv3d(1, 2, 3)
    scorer = Scorer(network, lambda answer: answer.flatten(1).sum(dim=1))
    scorer.network.register_forward_hook(lambda module, given, answer: seen.append(len(answer)))
    probes = torch.rand(5, 1, 8, 8, 8)
    assert forward.quicker(scorer, probes, 1000, WORK, at_once) == ""
    assert streams == [at_once] and max(seen) == at_once
    assert torch.allclose(scorer.score(probes), scorer(probes), atol=1e-4)


def test_who_cancels_need_not_wait_for_an_engine(pays):
    scorer = Scorer(nn.Conv3d(1, 2, 3), lambda answer: answer.flatten(1).sum(dim=1))
    with pytest.raises(JobCancelled):
        forward.quicker(scorer, torch.rand(2, 1, 8, 8, 8), 1000, replace(WORK, cancelled=lambda: True))


def test_the_first_convolution_is_computed_where_a_block_reaches(pays):
    torch.manual_seed(4)
    network = nn.Sequential(nn.Conv3d(1, 4, 5, 2, 2), nn.InstanceNorm3d(4), nn.ReLU(), nn.Conv3d(4, 1, 1))
    scorer, image = Scorer(network, lambda answer: answer.clamp(0.2).flatten(1).sum(dim=1)), head(24)[IMAGE].clone()
    quick = METHODS["occlusion"].attribute(scorer, image, FINE)
    assert type(scorer.engine._engine).__name__ == "NearEngine"
    assert scorer.engine.is_for(image) and not scorer.engine.is_for(image + 1)
    far = torch.randn_like(image)  # as measures have them, which come after the map
    scores = scorer.score(image), scorer.score(far)
    scorer.engine = None
    assert torch.allclose(torch.cat(scores), scorer.score(torch.cat([image, far])), rtol=1e-4)
    direct = captums(scorer, image, (5, 5, 5), baseline_of(image, FINE))
    assert float((quick.values - direct).abs().max()) <= 1e-3 * float(direct.abs().max())


@pytest.mark.parametrize(("soon", "reason"), [(0.0, "does not pay"), (3.0, "less than preparing")])
def test_few_runs_are_not_worth_a_conversion(soon, reason, monkeypatch):
    monkeypatch.setattr(forward, "_SOON", soon)
    scorer = Scorer(nn.Conv3d(1, 2, 3), lambda answer: answer.flatten(1).sum(dim=1))
    assert reason in forward.quicker(scorer, torch.rand(2, 1, 8, 8, 8), 100, WORK)


def test_an_engine_that_fails_in_the_middle_is_replaced(pays, monkeypatch):
    image, scorer = head(24)[IMAGE].clone(), unet_score()
    assert forward.quicker(scorer, torch.cat([image, image.flip(2)]), 1000, WORK) == ""

    def broken(self, batch):
        raise RuntimeError("the engine is gone")

    monkeypatch.setattr(openvino_engine.OpenVinoEngine, "__call__", broken)
    assert torch.allclose(scorer.score(image), scorer(image))


@pytest.mark.parametrize("method", ["ablation", "occlusion", "saliency"])
def test_a_budget_ends_with_the_explanation(method):
    work = replace(FINE, options=replace(FINE.options, memory_mb=2000, block_mm=20, finest_mm=20))
    METHODS[method].attribute(unet_score(), head(24)[IMAGE].clone(), work)
    assert not memory._gives_back
