"""Running a network over an image: windows of air, cancel, single passes, networks that draw by chance, the report."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from meddl.inference.air import same_answer
from meddl.inference.executor import CollectScores, Executor
from meddl.inference.options import RunOptions
from monai.inferers import SlidingWindowInferer

CPU = torch.device("cpu")


class Counting(torch.nn.Module):
    """Counts the windows that it is asked about."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network
        self.windows = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.windows += int(x.shape[0])
        return self.network(x)


def _network(normalized: bool = False) -> Counting:
    torch.manual_seed(0)
    layers: list[torch.nn.Module] = [torch.nn.Conv3d(1, 6, 3, padding=1)]
    if normalized:
        layers.append(torch.nn.InstanceNorm3d(6))
    layers += [torch.nn.PReLU(), torch.nn.Conv3d(6, 3, 3, padding=1)]
    network = torch.nn.Sequential(*layers)
    if not normalized:
        # As a trained network is: in air, background wins by far.
        network[-1].bias.data = torch.tensor([5.0, -2.0, -3.0])
    return Counting(network).eval()


def _head(noise: float = 0.0) -> torch.Tensor:
    """Something bright in the middle of air."""
    generator = torch.Generator().manual_seed(1)
    image = noise * torch.rand(1, 48, 40, 40, generator=generator)
    image[:, 16:30, 14:28, 14:28] = 5 * torch.rand(1, 14, 14, 14, generator=generator) + 0.2
    return image


def _run(network: Any, image: torch.Tensor, **more: Any) -> tuple[torch.Tensor, dict[str, Any]]:
    options = RunOptions(engine="torch", skip_air=more.pop("skip_air", True))
    inferer = SlidingWindowInferer(8, overlap=0.25, mode="gaussian", sw_batch_size=more.pop("batch", 1))
    executor = Executor(network, CPU, options, inferer=inferer, **more)
    sink = CollectScores()
    executor.run(image, sink, on_window=lambda *at: None, cancelled=lambda: False)
    return sink.scores, executor.report()


@pytest.mark.parametrize("batch", [1, 3])
def test_windows_of_pure_air_are_answered_once_and_nothing_changes(batch: int) -> None:
    expected, _ = _run(_network(), _head())
    network = _network()
    scores, report = _run(network, _head(), air_below=0.0, batch=batch)
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-6)
    assert report["skipped_windows"] > report["windows"] / 2
    assert network.windows == report["windows"] - report["skipped_windows"]


def test_windows_of_noise_are_skipped_where_the_network_ignores_it() -> None:
    image = _head(noise=0.004)
    expected, _ = _run(_network(), image)
    scores, report = _run(_network(), image, air_below=0.01)
    assert report["skipped_windows"] > report["windows"] / 2
    torch.testing.assert_close(scores, expected, rtol=0, atol=0.01 * float(expected.abs().max()))
    assert torch.equal(scores.argmax(dim=0), expected.argmax(dim=0))


def test_noise_that_the_network_makes_much_of_is_not_skipped_and_that_is_said() -> None:
    # An instance norm blows the faintest noise up.
    image = _head(noise=0.004)
    network = _network(normalized=True)
    expected, _ = _run(_network(normalized=True), image)
    scores, report = _run(network, image, air_below=0.01)
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-6)
    assert report["skipped_windows"] == 0
    assert report["remarks"] == [
        "Windows of air were not skipped: this network's answer to air is not always the same."
    ]


def test_air_is_skipped_only_where_model_and_user_say_so() -> None:
    assert _run(_network(), _head())[1]["skipped_windows"] == 0
    assert _run(_network(), _head(), air_below=0.0, skip_air=False)[1]["skipped_windows"] == 0


@pytest.mark.parametrize(
    ("pure", "real", "same"),
    [
        ([5.0, -2.0], [5.01, -2.01], True),  # background wins by far
        ([5.0, -2.0], [5.5, -2.0], False),  # too different
        ([0.010, 0.005], [0.00995, 0.00505], True),
        ([1.0, 0.99], [0.995, 0.994], True),  # all are foreground, far from 0
        ([-4.0, -3.9], [-4.01, -3.9], True),  # overlapping structures, none of them there
        ([1e-3, -5.0], [-1e-2, -5.0], True),
        ([1e-3, -1e-2], [1e-3, 5e-2], False),
    ],
)
def test_when_one_answer_to_air_may_stand_for_all(pure: list[float], real: list[float], same: bool) -> None:
    shape = (2, 1, 1, 1)
    assert same_answer(torch.tensor(pure).reshape(shape), torch.tensor(real).reshape(shape)) is same


def test_a_network_that_draws_by_chance_does_so_in_every_window() -> None:
    network = torch.nn.Sequential(torch.nn.Conv3d(1, 2, 1), torch.nn.Dropout(0.5)).eval()
    image = torch.zeros(1, 20, 20, 20)
    options, inferer = RunOptions(), SlidingWindowInferer(8)
    executor = Executor(network, CPU, options, inferer=inferer, air_below=0.0)
    answers = []
    for training in (False, True, True, False):
        network[1].train(training)
        sink = CollectScores()
        executor.run(image, sink, on_window=lambda *at: None, cancelled=lambda: False)
        answers.append(sink.scores)
        assert (executor.report()["skipped_windows"] == 0) is training
    assert torch.equal(answers[0], answers[3])
    assert not torch.equal(answers[1], answers[2])


def test_a_single_pass_answers_in_float32_on_the_cpu() -> None:
    executor = Executor(torch.nn.Linear(4, 3).eval(), CPU, RunOptions())
    answer = executor.forward(torch.ones(2, 4))
    assert (answer.shape, answer.dtype, answer.device.type) == ((2, 3), torch.float32, "cpu")
    assert not answer.requires_grad
    assert executor.report()["windows"] == 1


def test_the_report_can_be_written_as_json() -> None:
    import json

    _, report = _run(_network(), _head())
    assert json.loads(json.dumps(report)) == {
        "engine": "torch", "precision": "float32", "device": "cpu", "windows": 392, "skipped_windows": 0, "rungs": [],
        "remarks": [],
    }  # fmt: skip
