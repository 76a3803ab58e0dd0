"""Computing only what a change reaches gives the answers of computing all of it, with less work."""

from __future__ import annotations

import gc
import logging
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from core.covered_images import BOXES_2D, BOXES_3D, covered
from core.marked_networks import OPTIONS, WORK, head
from meddl.saliency import forward
from meddl.saliency.incremental.changed import NotIncremental
from meddl.saliency.incremental.network import IncrementalNetwork
from meddl.saliency.methods.known import METHODS
from meddl.saliency.scorer import Scorer
from monai.networks.nets import DenseNet, UNet, resnet10
from torch import nn
from torch.profiler import ProfilerActivity, profile


class Residual(nn.Module):
    """Adds in place, multiplies, puts side by side, pads, pools, and answers two things."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 6, 5, stride=(2, 1), padding=(2, 0), dilation=(1, 2), groups=2)
        self.second = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.PReLU(6))
        self.scale = nn.Parameter(torch.rand(6, 1, 1))
        self.third = nn.Conv2d(12, 4, 1)

    def forward(self, image):
        x = self.first(image)
        y = self.second(x)
        y += x
        y.relu_()
        y = torch.cat([nn.functional.max_pool2d(y, 3, 1, 1), 0.5 + y * self.scale], dim=1)
        y = nn.functional.avg_pool2d(self.third(y), 2)
        return {"map": y, "class": y.mean(dim=(2, 3))}


def trained(network: nn.Module, channels: int, size) -> nn.Module:
    """Return a network whose batch norms have seen something, ready to answer."""
    torch.manual_seed(2)
    for parameter in network.parameters():
        if parameter.ndim == 1:
            nn.init.uniform_(parameter, 0.2, 1.0)
    network.train()
    with torch.no_grad():
        network(torch.randn(4, channels, *size))
    return network.eval()


NETWORKS = {
    "residual": (lambda: Residual(), 2, BOXES_2D),
    "densenet": (lambda: DenseNet(2, 1, 3, init_features=4, growth_rate=4, block_config=(2, 2)), 1, BOXES_2D),
    "strides beyond the kernel": (lambda: nn.Sequential(nn.Conv2d(1, 3, 2, stride=5), nn.ReLU()), 1, BOXES_2D),
    "ceil mode": (lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2, ceil_mode=True)), 1, BOXES_2D),
    "instance norm, transposed": (
        lambda: UNet(3, 1, 2, (4, 8, 8), (2, 2), num_res_units=1, norm="instance"), 1, (*BOXES_3D[:2], (20, 20, 16))
    ),
    "resnet": (lambda: resnet10(spatial_dims=3, n_input_channels=1, num_classes=2, widen_factor=0.125), 1, BOXES_3D),
    "mirrored": (lambda: nn.Sequential(nn.ReflectionPad3d(1), nn.Conv3d(1, 2, 3), nn.GELU()), 1, BOXES_3D),
    "average of a part": (lambda: nn.Sequential(nn.ReLU6(), nn.AvgPool3d(2, divisor_override=3)), 1, BOXES_3D),
    "circular": (lambda: nn.Conv3d(1, 2, 3, padding=1, padding_mode="circular"), 1, BOXES_3D),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("script", [False, True])
def test_answers_are_those_of_the_whole_image(name, script):
    make, channels, boxes = NETWORKS[name]
    image, images = covered(boxes, channels)
    network = trained(make(), channels, boxes[2])
    if script:
        network = torch.jit.trace(network, images, strict=False, check_trace=False)
    incremental = IncrementalNetwork(network, image)
    with torch.no_grad():
        for batch in (images, images[1:3], image, images.flip(0), torch.randn_like(images)):
            expected, given = network(batch), incremental(batch)
            if isinstance(expected, torch.Tensor):
                expected, given = {"": expected}, {"": given}
            for part, whole in expected.items():
                assert type(given[part]) is torch.Tensor
                torch.testing.assert_close(given[part], whole, rtol=1e-4, atol=1e-5)


def test_only_what_changed_is_computed():
    image, images = covered(BOXES_3D)
    network = nn.Sequential(*(nn.Conv3d(1, 1, 3, padding=1) for _ in range(3)), nn.BatchNorm3d(1), nn.ReLU()).eval()
    incremental = IncrementalNetwork(network, image)
    incremental(images)
    kept = incremental.kept
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as noted:
        incremental(images)
    seen = [event.input_shapes[0] for event in noted.events() if event.name == "aten::_convolution"]
    assert seen == [[3, 1, 7, 8, 9], [3, 1, 9, 10, 11], [3, 1, 11, 12, 13]]  # of 20 x 18 x 16
    assert incremental.kept == kept


def test_no_more_is_kept_than_allowed():
    image, images = covered(BOXES_3D)
    network = nn.Sequential(*(nn.Conv3d(1, 1, 3, padding=1) for _ in range(3)))
    assert IncrementalNetwork(network, image, 1 << 20)(images).shape == images.shape
    with pytest.raises(NotIncremental, match="too much memory"):
        IncrementalNetwork(network, image, 2 * image.nbytes)(images)


def test_images_of_another_size_run_as_usual():
    network = nn.Conv2d(1, 2, 3)
    other = torch.rand(2, 1, 9, 9)
    assert torch.equal(IncrementalNetwork(network, torch.rand(1, 1, 8, 8))(other), network(other))


class OverwritesAPart(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 2, 3, padding=1)

    def forward(self, image):
        x = self.first(image)
        x[:, :1] *= 3.0
        return x


class NewWeights(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.utils.parametrizations.weight_norm(nn.Conv2d(1, 4, 3, padding=1))

    def forward(self, image):
        return self.first(image)


class Zeroes(nn.Module):
    def forward(self, image):
        return nn.functional.max_unpool2d(*nn.functional.max_pool2d(image, 2, return_indices=True), 2)


@pytest.mark.parametrize(
    ("network", "why"),
    [
        (OverwritesAPart(), "is overwritten"),
        (NewWeights(), "made anew for each run"),
        (Zeroes(), "shape of indices"),
        (nn.Sequential(nn.ZeroPad2d(2), nn.Conv2d(1, 2, 3)), "looks at all"),
    ],
)
def test_networks_that_it_would_get_wrong_or_gain_nothing_run_as_usual(network, why, monkeypatch, caplog):
    monkeypatch.setattr(forward, "_WORTH", 1e-9)
    monkeypatch.setattr(forward, "_ENOUGH", 1e-9)
    scorer = Scorer(network, lambda answer: answer.flatten(1).sum(dim=1), slice_axis=2)
    image, images = covered(BOXES_2D)
    probes = torch.cat([image, images])[..., None]
    with caplog.at_level(logging.INFO):
        assert forward.quicker(scorer, probes, 100, WORK, 2)
    assert scorer.engine is None and why in caplog.text


def test_what_fails_in_the_middle_runs_as_usual_from_then_on(caplog):
    class Late(nn.Conv2d):
        def forward(self, image):
            if len(image) == 2:
                image = image.clone().fill_(2.0)
            return super().forward(image)

    image, images = covered(BOXES_2D)
    network = Late(1, 2, 3)
    incremental = IncrementalNetwork(network, image)
    with pytest.raises(NotIncremental, match="overwrites"):
        incremental(images[:2])
    incremental.falls_back = True
    for batch in (images, images[:2], images):
        torch.testing.assert_close(incremental(batch), network(batch).detach())
    assert incremental.kept == 0 and "as usual" in caplog.text


@pytest.fixture
def always(monkeypatch):
    """It is taken however little it gains."""
    monkeypatch.setattr(forward, "_WORTH", 1e-9)
    monkeypatch.setattr(forward, "_ENOUGH", 1e-9)


@pytest.mark.parametrize("method", ["occlusion", "ablation"])
def test_maps_are_those_of_the_whole_image(method, always, monkeypatch, caplog):
    image = head(24)[..., :20].clone()
    network = trained(resnet10(spatial_dims=3, n_input_channels=1, num_classes=2, widen_factor=0.125), 1, (24, 24, 20))
    work = replace(WORK, options=replace(OPTIONS, finest_mm=5, block_mm=20 if method == "occlusion" else 8))
    with caplog.at_level(logging.INFO):
        quick = METHODS[method].attribute(Scorer(network, lambda answer: answer[:, 1]), image, work)
    assert "Only what a change reaches" in caplog.text
    monkeypatch.setattr(forward, "quicker", lambda *_: "switched off")
    monkeypatch.setattr("meddl.saliency.methods.ablation.quicker", lambda *_: "switched off")
    plain = METHODS[method].attribute(Scorer(network, lambda answer: answer[:, 1]), image, work)
    assert (quick.facts["engine"], plain.facts["engine"]) == ("incremental", "torch")
    size = float(plain.values.abs().max())
    assert size > 0 and float((quick.values - plain.values).abs().max()) <= 5e-3 * size


def test_gradients_and_slices_beside_it(always):
    network = trained(DenseNet(2, 1, 3, init_features=4, growth_rate=4, block_config=(2, 2)), 1, (24, 20))
    scorer = Scorer(network, lambda answer: answer[:, 0], slice_axis=0)
    image, images = covered(([(0, 0), (11, 7), (21, 13)], (3, 3), (24, 20)))
    probes = torch.cat([image, images])[:, :, None]
    assert forward.quicker(scorer, probes, 100, WORK, 4) == "" and scorer.engine.name == "incremental"
    assert torch.allclose(scorer.score(probes), scorer(probes), atol=1e-5)
    given = probes.clone().requires_grad_()
    scorer.module()(given).sum().backward()
    assert given.grad is not None and bool(given.grad.any()) and np.isfinite(given.grad.numpy()).all()


def small_network_of_slices() -> tuple[Scorer, torch.Tensor]:
    """Return a network and an image of it, with others that differ from it."""
    network = trained(DenseNet(2, 1, 3, init_features=4, growth_rate=4, block_config=(2, 2)), 1, (28, 32))
    image, images = covered(BOXES_2D)
    return Scorer(network, lambda answer: answer[:, 0], slice_axis=2), torch.cat([image, images])[..., None]


def test_another_image_gets_an_engine_of_its_own(always):
    """As where a method is asked again about the image with noise on it: nothing of the first one would hold."""
    scorer, probes = small_network_of_slices()
    assert forward.quicker(scorer, probes, 100, WORK, 5) == ""
    first = scorer.engine
    assert forward.quicker(scorer, probes, 100, WORK, 5) == "" and scorer.engine is first
    noisy = probes + 0.01 * torch.randn(probes.shape[1:], generator=torch.Generator().manual_seed(3))
    assert forward.quicker(scorer, noisy, 100, WORK, 5) == ""
    assert scorer.engine is not first and scorer.engine.name == "incremental" and scorer.engine.kept
    assert torch.allclose(scorer.score(noisy), scorer(noisy), atol=1e-5)
    second = scorer.engine
    unchanged = probes[:1].repeat(3, 1, 1, 1, 1)
    assert forward.quicker(scorer, unchanged, 100, WORK, 3) and scorer.engine is second  # nothing better was found


@pytest.mark.parametrize(("took", "name"), [(None, "incremental"), (1e9, "incremental"), (0.0, "other")])
def test_the_faster_of_two_engines_is_taken(took, name, always, monkeypatch):
    def other(search, expected, seconds):
        if took is None:
            raise RuntimeError("it cannot be made")
        search._scorer.engine = type("Other", (), {"name": "other"})()
        return "", took

    monkeypatch.setattr(forward, "_ENOUGH", 1e9)
    monkeypatch.setattr(forward._Search, "_openvino", other)
    scorer, probes = small_network_of_slices()
    assert forward.quicker(scorer, probes, 100, WORK, 5) == "" and scorer.engine.name == name


def test_nothing_of_it_stays_in_memory(always):
    network = trained(resnet10(spatial_dims=3, n_input_channels=1, num_classes=2, widen_factor=0.125), 1, (24, 24, 20))
    scorer = Scorer(network, lambda answer: answer[:, 1])
    work = replace(WORK, options=replace(OPTIONS, finest_mm=5, block_mm=20))
    gc.collect()
    gc.disable()
    try:
        METHODS["occlusion"].attribute(scorer, head(24)[..., :20].clone(), work)
        engine = weakref.ref(scorer.engine)
        assert engine() is not None
        del scorer
        assert engine() is None, "something still holds it"
    finally:
        gc.enable()
