"""Our own sliding window, which hands out rows, against MONAI's, which returns the whole."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from meddl.errors import JobCancelled, ModelError
from meddl.inference.executor import CollectScores, Executor
from meddl.inference.options import RunOptions
from meddl.inference.sliding_window import WindowRule, rule_of
from monai.data.utils import dense_patch_slices
from monai.inferers import SimpleInferer, SliceInferer, SlidingWindowInferer

CPU = torch.device("cpu")


def scores_of(network: Any, image: torch.Tensor, inferer: Any = None, **options: Any) -> torch.Tensor:
    executor = Executor(network, CPU, RunOptions(engine="torch"), inferer=inferer, **options)
    sink = CollectScores()
    executor.run(image, sink, on_window=lambda done, total: None, cancelled=lambda: False)
    return sink.scores


def convolution(dims: int = 3, channels: int = 3) -> torch.nn.Module:
    torch.manual_seed(0)
    kind = torch.nn.Conv3d if dims == 3 else torch.nn.Conv2d
    return kind(1, channels, 3, padding=1).eval()


@pytest.mark.parametrize("mode", ["constant", "gaussian"])
@pytest.mark.parametrize("roi", [(8, 8, 8), (8, 12, -1), (0, 10, 6), 16, (40, 5, 7)])
@pytest.mark.parametrize("shape", [(20, 17, 23), (5, 30, 9), (33, 8, 12)])
def test_blended_scores_are_monais(shape: tuple[int, ...], roi: Any, mode: str) -> None:
    network, image = convolution(), torch.randn(1, *shape)
    for overlap in (0.25, 0.5, (0.1, 0.6, 0)):
        for more in ({}, {"padding_mode": "replicate"}, {"cval": 2.0, "sw_batch_size": 4, "sigma_scale": 0.25}):
            inferer = SlidingWindowInferer(roi, overlap=overlap, mode=mode, **more)
            with torch.inference_mode():
                expected = inferer(image[None], network)[0]
            torch.testing.assert_close(scores_of(network, image, inferer), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_2d_network_goes_over_the_slices_of_any_axis(axis: int) -> None:
    network, image = convolution(2), torch.randn(1, 13, 12, 14)
    inferer = SliceInferer(roi_size=(8, 10), spatial_dim=axis, overlap=0.5, mode="gaussian", sw_batch_size=3)
    with torch.inference_mode():
        expected = inferer(image[None], network)[0]
    torch.testing.assert_close(scores_of(network, image, inferer), expected, rtol=0, atol=2e-6)


def test_a_2d_image_is_a_volume_of_one_slice() -> None:
    network, image = convolution(2), torch.randn(1, 20, 17, 1)
    inferer = SlidingWindowInferer((8, 8), overlap=0.5, mode="gaussian")
    with torch.inference_mode():
        expected = inferer(image[None, ..., 0], network)[0]
    torch.testing.assert_close(
        scores_of(network, image, inferer, spatial_dims=2)[..., 0], expected, rtol=0, atol=2e-6
    )
    with pytest.raises(ModelError, match="single slices"):
        scores_of(network, torch.randn(1, 8, 8, 2), inferer, spatial_dims=2)


@pytest.mark.parametrize("inferer", [None, SimpleInferer()])
def test_without_windows_the_network_sees_the_whole_image(inferer: Any) -> None:
    network, image = convolution(), torch.randn(1, 9, 8, 7)
    with torch.inference_mode():
        torch.testing.assert_close(scores_of(network, image, inferer), network(image[None])[0])


@pytest.mark.parametrize("inferer", [None, SlidingWindowInferer(8, overlap=0.5, mode="gaussian")])
def test_a_finer_answer_comes_on_the_finer_grid(inferer: Any) -> None:
    network, image = torch.nn.Upsample(scale_factor=(2, 1, 3)).eval(), torch.randn(1, 13, 6, 14)
    expected = (inferer or SimpleInferer())(image[None], network)[0]
    assert expected.shape == (1, 26, 6, 42)
    torch.testing.assert_close(scores_of(network, image, inferer), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("inferer", [None, SlidingWindowInferer(8)])
@pytest.mark.parametrize("network", [torch.nn.AvgPool3d(2), torch.nn.Flatten(1)])
def test_an_answer_that_is_no_grid_of_scores_is_refused(network: Any, inferer: Any) -> None:
    with pytest.raises(ModelError, match="answered on a grid"):
        scores_of(network.eval(), torch.randn(1, 16, 16, 16), inferer)


def test_of_several_answers_the_first_counts() -> None:
    image = torch.randn(1, 12, 12, 12)
    for answer in (lambda x: [x + 1, x], lambda x: {"seg": x + 1, "aux": x}, lambda x: ({"a": [x + 1]}, x)):
        torch.testing.assert_close(scores_of(answer, image, SlidingWindowInferer(8)), image + 1)


def test_another_inferer_is_called_as_it_is() -> None:
    class Mirrored:
        def __call__(self, inputs: torch.Tensor, network: Any) -> torch.Tensor:
            return (network(inputs) + network(inputs.flip(2)).flip(2)) / 2

    network, image = convolution(), torch.randn(1, 9, 8, 7)
    with torch.inference_mode():
        torch.testing.assert_close(scores_of(network, image, Mirrored()), Mirrored()(image[None], network)[0])


def test_windows_lie_where_monai_puts_them() -> None:
    for size in range(5, 40, 3):
        for window in (4, 5, 9):
            for overlap in (0.0, 0.25, 0.5, 0.9):
                plan = WindowRule((window,), overlap=(overlap,)).plan((size,))
                step = window if window >= size else max(1, int(window * (1 - overlap)))
                expected = [each.start for (each,) in dense_patch_slices((max(size, window),), (window,), (step,))]
                assert list(plan.starts[0]) == expected


def test_progress_counts_windows_and_cancel_is_asked_before_each() -> None:
    network, image, inferer = convolution(), torch.randn(1, 20, 20, 20), SlidingWindowInferer(8, overlap=0.5)
    seen: list[tuple[int, int]] = []
    executor = Executor(network, CPU, RunOptions(engine="torch"), inferer=inferer)
    executor.run(image, CollectScores(), on_window=lambda *at: seen.append(at), cancelled=lambda: False)
    assert seen == [(number, 64) for number in range(1, 65)]
    seen.clear()
    with pytest.raises(JobCancelled):
        executor.run(image, CollectScores(), on_window=lambda *at: seen.append(at), cancelled=lambda: len(seen) == 5)
    assert len(seen) == 5


@pytest.mark.parametrize(
    ("inferer", "text"),
    [
        (SlidingWindowInferer((8, 8)), "2 axes; the image has 3"),
        (SlidingWindowInferer(1, overlap=0.5), "would take days"),
    ],
)
def test_windows_that_fit_no_image_are_refused(inferer: Any, text: str) -> None:
    with pytest.raises(ModelError, match=text):
        scores_of(convolution(), torch.zeros(1, 101, 101, 101), inferer)


def test_an_inferer_that_tells_the_network_where_it_looks_is_called_as_it_is() -> None:
    assert rule_of(SlidingWindowInferer(8, with_coord=True), 3) is None


def test_rows_arrive_once_and_in_order_and_all_classes_never_at_once() -> None:
    class Rows:
        def __init__(self) -> None:
            self.rows: list[int] = []
            self.largest = 0

        def begin(self, channels: int, shape: tuple[int, ...]) -> None:
            assert (channels, shape) == (3, (64, 16, 16))

        def add(self, start: int, scores: torch.Tensor) -> None:
            self.rows += range(start, start + scores.shape[1])
            self.largest = max(self.largest, scores.shape[1])

    sink = Rows()
    executor = Executor(convolution(), CPU, RunOptions(engine="torch"), inferer=SlidingWindowInferer(8, overlap=0.25))
    executor.run(torch.randn(1, 64, 16, 16), sink, on_window=lambda *at: None, cancelled=lambda: False)
    assert sink.rows == list(range(64)) and sink.largest <= 8
