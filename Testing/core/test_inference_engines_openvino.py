"""OpenVINO's answers: as exact as torch's in float32, also where they are computed in another way."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from meddl.inference.engines import openvino_graph
from meddl.inference.engines.openvino_engine import OpenVinoEngine, convert, model_key
from meddl.inference.engines.side_by_side import Width

pytest.importorskip("openvino")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDDL_CACHE", str(tmp_path))
    return tmp_path


def frozen(network: torch.nn.Module) -> Any:
    return torch.jit.freeze(torch.jit.script(network))


class Norms(torch.nn.Module):
    """Two normalizations of images far from 0, and the mean over the whole image beside it."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        conv = (torch.nn.Conv2d, torch.nn.Conv3d)[dimensions - 2]
        norm = (torch.nn.InstanceNorm2d, torch.nn.InstanceNorm3d)[dimensions - 2]
        self.first = torch.nn.Sequential(conv(2, 4, 3, padding=1), norm(4, affine=True), torch.nn.PReLU())
        self.second = torch.nn.Sequential(conv(4, 3, 1), norm(3))
        self.axes = tuple(range(2, 2 + dimensions))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(image)) + image.mean(self.axes, keepdim=True)[:, :1]


CASES = [((141, 73), None, True), ((37, 29, 41), frozen, True), ((15, 15, 15), frozen, False)]


@pytest.mark.parametrize(("size", "made", "many"), CASES)
def test_normalization_is_as_exact_as_torchs(size: tuple[int, ...], made: Any, many: bool, own_cache: Path) -> None:
    torch.manual_seed(0)
    network = Norms(len(size)).eval()
    image = torch.rand(1, 2, *size) * torch.linspace(0.2, 2, size[-1]) + 3
    with torch.no_grad():
        exact = copy.deepcopy(network).double()(image.double())
        error = float((network(image) - exact).abs().max())
    for _ in range(2):  # converted, and out of the cache
        answer = OpenVinoEngine(made(network) if made else network, tuple(image.shape), "float32", "key")(image)
        assert answer.shape == exact.shape
        assert float((answer - exact).abs().max()) <= 4 * error
    model = (own_cache / "openvino" / "key" / "model.xml").read_text()
    assert ('type="AvgPool"' in model, 'type="MVN"' in model or 'type="ReduceMean"' in model) == (many, not many)


def test_in_half_precision_normalization_is_left_to_openvino() -> None:
    model = convert(frozen(Norms(3).eval()), (1, 2, 20, 20, 20), "bfloat16")
    assert "AvgPool" not in [node.get_type_name() for node in model.get_ops()]
    assert openvino_graph.take_means_exactly(model) > 0


def test_models_converted_otherwise_are_not_taken_from_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Norms(3).eval()
    key = model_key(network, "digest", (1, 2, 8, 8, 8))
    assert key == model_key(network, "digest", (1, 2, 8, 8, 8), "float32")
    monkeypatch.setattr(openvino_graph, "VERSION", openvino_graph.VERSION + 1)
    assert key != model_key(network, "digest", (1, 2, 8, 8, 8))


@pytest.mark.parametrize(("dimensions", "kernel", "bias"), [(3, 2, True), (2, 3, False)])
def test_two_classes_out_of_a_transposed_convolution(dimensions: int, kernel: int, bias: bool) -> None:
    torch.manual_seed(1)
    up = (torch.nn.ConvTranspose2d, torch.nn.ConvTranspose3d)[dimensions - 2](5, 2, kernel, kernel, bias=bias)
    network = torch.nn.Sequential(up, torch.nn.Softmax(1)).eval()
    image = 10 * torch.rand(1, 5, *(7, 4, 6)[:dimensions])
    model = convert(frozen(network), tuple(image.shape), "float32")
    assert "DepthToSpace" in [node.get_type_name() for node in model.get_ops()]
    with torch.no_grad():
        torch.testing.assert_close(
            OpenVinoEngine(frozen(network), tuple(image.shape), "float32")(image), network(image)
        )


@pytest.mark.parametrize(
    "head",
    [
        torch.nn.ConvTranspose3d(5, 3, 2, 2),
        torch.nn.ConvTranspose3d(5, 2, 2, 2, padding=1),
        torch.nn.ConvTranspose3d(5, 2, (1, 2, 2), (1, 2, 2)),
    ],
)
def test_other_heads_are_left_as_they_are(head: torch.nn.Module) -> None:
    model = convert(frozen(torch.nn.Sequential(head, torch.nn.Softmax(1)).eval()), (1, 5, 4, 4, 4), "float32")
    kinds = [node.get_type_name() for node in model.get_ops()]
    assert "Softmax" in kinds and "DepthToSpace" not in kinds


def test_as_many_run_side_by_side_as_gain() -> None:
    def settled(most: int, seconds: dict[int, float]) -> int:
        width = Width(most)
        while not width.settled:
            now = width.next()
            width.took(now, 16, 16 / now * seconds[now])
            width.took(now, 3, 1e-9)  # a batch of few windows tells nothing
        return width.most

    assert settled(8, {8: 1.0, 4: 0.52, 2: 0.5}) == 4  # eight threads of four cores
    assert settled(4, {4: 1.0, 2: 1.0}) == 4
    assert settled(2, {2: 1.0, 1: 0.55}) == 1
    assert settled(1, {}) == 1
