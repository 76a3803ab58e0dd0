"""Images like another one outside of a box: the first convolution is computed in the box only, and nobody sees it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from meddl.inference.engines import for_images_near
from meddl.inference.engines.first_convolution import changed_box
from meddl.inference.engines.guarded import Guarded
from meddl.inference.engines.openvino_engine import OpenVinoEngine
from meddl.inference.engines.openvino_near import NearEngine
from meddl.inference.engines.torch_engine import TorchEngine

pytest.importorskip("openvino")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDDL_CACHE", str(tmp_path))
    return tmp_path


class Twice(torch.nn.Module):
    """Two convolutions of the image, which something else needs, too."""

    def __init__(self) -> None:
        super().__init__()
        self.one = torch.nn.Conv2d(2, 3, 3, stride=3, padding=1)
        self.two = torch.nn.Conv2d(2, 3, (5, 1), stride=3, dilation=(2, 1), padding=(4, 0))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.one(image).relu() + self.two(image) + image.mean((1, 2, 3), keepdim=True)


def norm(**facts: Any) -> torch.nn.Module:
    layers = [torch.nn.Conv3d(2, 4, **facts), torch.nn.InstanceNorm3d(4, affine=True), torch.nn.PReLU()]
    return torch.nn.Sequential(*layers, torch.nn.Conv3d(4, 2, 1))


def pooled(pool: torch.nn.Module, **facts: Any) -> torch.nn.Module:
    """Return a network that begins as many do: convolution, norm, rectification, pooling."""
    layers = [torch.nn.Conv3d(2, 4, **facts), torch.nn.InstanceNorm3d(4), torch.nn.ReLU(), pool]
    return torch.nn.Sequential(*layers, torch.nn.InstanceNorm3d(4), torch.nn.Conv3d(4, 2, 1))


class Shared(torch.nn.Module):
    """What is pooled is needed elsewhere, too."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 5, padding=2), torch.nn.InstanceNorm2d(3))
        self.pool = torch.nn.MaxPool2d(2)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        first = self.first(image)
        return self.pool(first.relu()).mean((2, 3)) + first.abs().mean((2, 3))


CASES = [
    (pooled(torch.nn.MaxPool3d(3, 2, 1), kernel_size=7, stride=2, padding=3), (45, 41, 37), [2], 2),
    (pooled(torch.nn.MaxPool3d(2, 5), kernel_size=3, padding=1), (21, 26, 17), [2], 1),  # not all voxels are seen
    (pooled(torch.nn.MaxPool3d((3, 1, 2), ceil_mode=True), kernel_size=3), (24, 23, 22), [2], 1),
    (pooled(torch.nn.MaxPool3d(2), kernel_size=3), (12, 11, 10), [0], 1),  # OpenVINO normalizes
    (Shared(), (70, 66), [2], 1),
    (norm(kernel_size=7, stride=2, padding=3, bias=False), (37, 41, 29), [2], 2),  # its means are taken in parts
    (norm(kernel_size=(3, 2, 4), stride=(1, 2, 1), dilation=(1, 2, 1)), (11, 12, 10), [0], 1),
    (norm(kernel_size=1, stride=3), (13, 9, 10), [0], 1),  # a voxel may have no part in anything
    (Twice(), (29, 31), [0, 0], 2),
]


def changes(image: torch.Tensor) -> torch.Tensor:
    """Return images that differ from one nowhere, at corners and edges, inside, in one voxel and everywhere."""
    size = image.shape[2:]
    middle, last = [each // 2 for each in size], [each - 1 for each in size]
    boxes = [[(0, 0)] * len(size), [(0, 3)] * len(size), [(each - 2, each + 1) for each in last]]
    boxes += [[(each, each + 4) for each in middle], [(each, each + 1) for each in middle]]
    boxes += [[(0, size[0]), *[(each, each + 1) for each in middle[1:]]], [(0, each) for each in size]]
    images = []
    for box in boxes:
        changed = image.clone()
        changed[(..., *[slice(*along) for along in box])] *= torch.linspace(0.2, 3, 2).reshape(2, *[1] * len(size))
        images.append(changed)
    return torch.cat(images)


@pytest.mark.parametrize(
    ("network", "size", "moments", "streams"),
    CASES,
    ids=["pooled", "wide pooled", "odd pooled", "small", "shared", "norm", "odd", "gaps", "twice"],
)
def test_answers_are_the_networks(
    network: torch.nn.Module, size: tuple[int, ...], moments: list[int], streams: int
) -> None:
    generator = torch.Generator().manual_seed(3)
    image = 2 + torch.rand(1, 2, *size, generator=generator)
    program = torch.jit.freeze(torch.jit.script(network.eval()))
    whole = OpenVinoEngine(program, tuple(image.shape), "float32", "key" if streams > 1 else "", streams)
    near = for_images_near(image, whole)
    assert isinstance(near, NearEngine)
    assert [each._first.moments for each in near._answers] == moments
    images = changes(image)
    order = torch.randperm(len(images), generator=generator)
    with torch.no_grad():
        expected = torch.cat([network(each) for each in images.split(1)])
    for _ in range(2):  # what one image has left must not be seen in the next
        torch.testing.assert_close(near(images[order]), expected[order], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(near(images), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "network",
    [
        torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Conv3d(1, 2, 3)),
        torch.nn.Sequential(torch.nn.Conv3d(1, 2, 1), torch.nn.Conv3d(2, 30, 3)),
    ],
    ids=["none", "small"],
)
def test_where_first_convolutions_are_little_work_the_engine_stays_what_it_is(network: torch.nn.Module) -> None:
    engine = OpenVinoEngine(torch.jit.script(network.eval()), (1, 1, 8, 8, 8), "float32")
    guarded = Guarded(engine, engine, pytest.fail)
    assert for_images_near(torch.rand(1, 1, 8, 8, 8), guarded) is guarded


def test_torch_answers_if_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    network, notes = torch.nn.Conv3d(1, 2, 3).eval(), list[str]()
    engine = OpenVinoEngine(torch.jit.script(network), (1, 1, 8, 8, 8), "float32")
    image = torch.rand(1, 1, 8, 8, 8)
    guarded = Guarded(engine, TorchEngine(network, torch.device("cpu")), notes.append)
    near = for_images_near(image, guarded)
    assert near is not guarded and near.name == "openvino"

    def broken(self: NearEngine, batch: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("the engine is gone")

    monkeypatch.setattr(NearEngine, "__call__", broken)
    torch.testing.assert_close(near(image), network(image))
    assert "PyTorch went on" in notes[0]


def test_the_greatest_is_found_first_where_nothing_changes_the_order() -> None:
    """The pooled answer comes from the convolution alone; where something else needs what was pooled, it does not."""
    image = 2 + torch.rand(1, 2, 45, 41, 37)
    network = torch.jit.freeze(torch.jit.script(CASES[0][0].eval()))
    near = OpenVinoEngine(network, tuple(image.shape), "float32").near(image)
    assert near is not None and near._answers[0]._first.pooling is not None
    shared = OpenVinoEngine(torch.jit.script(Shared().eval()), (1, 2, 70, 66), "float32").near(torch.rand(1, 2, 70, 66))
    assert shared is not None and shared._answers[0]._first.pooling is None


def test_the_box_of_what_differs() -> None:
    base = np.random.default_rng(0).random((1, 2, 6, 7, 8), "f4")
    image = base.copy()
    assert changed_box(base, image) is None
    image[0, 1, 2, 3, 7] += 1
    image[0, 0, 4, 3, 5] = np.nan
    assert changed_box(base, image) == (slice(2, 5), slice(3, 4), slice(5, 8))
