"""Out of memory at every rung of the ladder: what is given up, what is told, and that the answer is right after it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from meddl.errors import OutOfMemory
from meddl.inference import executor as module
from meddl.inference import memory
from meddl.inference.executor import CollectScores, Executor
from meddl.inference.memory import Allowed, Settings, next_rung
from meddl.inference.options import RunOptions
from monai.inferers import SlidingWindowInferer

GPU = torch.device("cuda", 0)
ANYTHING = Allowed(half="float16", half_cpu="bfloat16", divisible_by=(4, 4, 4), least=(8, 8, 8))


def test_the_ladder_from_top_to_bottom() -> None:
    settings, window, told = Settings("cuda:0", batch=4, stitch="cuda:0"), (16, 16, 8), []
    steps = []
    while (rung := next_rung(settings, ANYTHING, window)) is not None:
        settings = rung.settings
        window = settings.window or (16, 16, 8)
        told.append(rung.sentence)
        steps.append((settings.device, settings.batch, settings.precision, settings.scores, settings.stitch, window))
    assert steps == [
        ("cuda:0", 1, "float32", "float32", "cuda:0", (16, 16, 8)),
        ("cuda:0", 1, "float16", "float16", "cuda:0", (16, 16, 8)),
        ("cuda:0", 1, "float16", "float16", "cpu", (16, 16, 8)),
        ("cuda:0", 1, "float16", "float16", "cpu", (8, 16, 8)),
        ("cuda:0", 1, "float16", "float16", "cpu", (8, 8, 8)),
        ("cpu", 1, "float32", "float32", "cpu", (16, 16, 8)),
        ("cpu", 1, "bfloat16", "float16", "cpu", (16, 16, 8)),
        ("cpu", 1, "bfloat16", "float16", "cpu", (8, 16, 8)),
        ("cpu", 1, "bfloat16", "float16", "cpu", (8, 8, 8)),
    ]
    assert told[0] == "Not enough GPU memory for 4 windows at once: going on with 1."
    assert told[5] == "Not enough GPU memory: going on on the processor, which takes longer."
    assert all(sentence.startswith("Not enough") and sentence.endswith(".") for sentence in told)


def test_what_is_not_allowed_is_not_given_up() -> None:
    fixed = Allowed(half_scores=False)
    assert next_rung(Settings("cpu"), fixed, (16, 16, 16)) is None
    rung = next_rung(Settings("cuda:0", stitch="cpu"), fixed, (16, 16, 16))
    assert rung is not None and rung.settings == Settings("cpu")


def test_window_limits_are_whole_multiples() -> None:
    assert memory.window_limits(None, 3) is None
    assert memory.window_limits({"divisible_by": 16, "min": [40, 32, 1]}, 3) == ((16, 16, 16), (48, 32, 16))


@pytest.mark.parametrize(
    ("error", "yes"),
    [
        (MemoryError(), True),
        (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)  # fmt: skip
def test_lack_of_memory_is_told_from_other_failures(error: Exception, yes: bool) -> None:
    assert memory.ran_out(error) is yes


class Greedy(torch.nn.Module):
    """Raises torch's own error until what is asked of it is small enough; otherwise answers exactly."""

    def __init__(self, enough: Any) -> None:
        super().__init__()
        self.enough = enough
        self.refused = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.enough(x):
            self.refused += 1
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        # Voxel by voxel: the answer doesn't depend on how the image is cut.
        return torch.cat([x, 1 - x, x * x], dim=1)


class OnPretendedGpu(Executor):
    """Settles on the CPU whatever device it is told; what it was told is kept in ``placed``."""

    placed = "cuda:0"

    def _place(self, name: str) -> torch.device:
        if name == self._settings.device:
            self.placed = name
        return torch.device("cpu")


IMAGE = torch.rand(1, 24, 20, 22, generator=torch.Generator().manual_seed(3))
EXPECTED = torch.cat([IMAGE, 1 - IMAGE, IMAGE * IMAGE])


def _run(executor: Executor, image: torch.Tensor = IMAGE) -> tuple[torch.Tensor, list[str]]:
    told: list[str] = []
    executor.on_tell = told.append
    sink = CollectScores()
    executor.run(image, sink, on_window=lambda *at: None, cancelled=lambda: False)
    assert executor.report()["rungs"] == told
    return sink.scores, told


def _executor(network: Any, batch: int = 4, **more: Any) -> OnPretendedGpu:
    inferer = SlidingWindowInferer(16, sw_batch_size=batch, overlap=0.5, mode="gaussian")
    options = RunOptions(engine="torch", precision=more.pop("precision", "auto"))
    return OnPretendedGpu(network, GPU, options, inferer=inferer, **more)


def test_first_rung_fewer_windows_at_once() -> None:
    scores, told = _run(_executor(Greedy(lambda x: x.shape[0] == 1), precision="float32"))
    assert told == ["Not enough GPU memory for 4 windows at once: going on with 1."]
    torch.testing.assert_close(scores, EXPECTED)


def test_second_rung_half_precision() -> None:
    executor = _executor(Greedy(lambda x: executor._settings.scores == "float16"), batch=1)
    scores, told = _run(executor)
    assert told == ["Not enough GPU memory: going on in half precision."]
    torch.testing.assert_close(scores, EXPECTED, rtol=0, atol=2e-3)


def test_third_rung_adding_up_in_main_memory() -> None:
    executor = _executor(Greedy(lambda x: executor._settings.stitch == "cpu"), batch=1, precision="float32")
    scores, told = _run(executor)
    assert told == ["Not enough GPU memory: the answer is put together in main memory."]
    torch.testing.assert_close(scores, EXPECTED)


def test_fourth_rung_smaller_windows_where_the_model_allows_them() -> None:
    def small(x: torch.Tensor) -> bool:
        return x[0, 0].numel() <= 8 * 8 * 8

    network = Greedy(small)
    executor = _executor(network, 1, precision="float32", windows={"divisible_by": 4, "min": [8, 8, 8]})
    scores, told = _run(executor)
    assert [each.partition(": ")[2] for each in told[1:]] == [
        f"going on with smaller windows ({size} voxels)." for size in ("8 x 16 x 16", "8 x 8 x 16", "8 x 8 x 8")
    ]
    torch.testing.assert_close(scores, EXPECTED)
    assert executor.placed == "cuda:0"


def test_fifth_rung_the_processor() -> None:
    executor = _executor(Greedy(lambda x: executor.placed == "cpu"), precision="float32")
    scores, told = _run(executor)
    assert told[-1] == "Not enough GPU memory: going on on the processor, which takes longer."
    assert executor.report()["device"] == "cpu"
    torch.testing.assert_close(scores, EXPECTED)


def test_the_end_of_the_ladder_is_an_error_that_says_what_to_do() -> None:
    network = Greedy(lambda x: False)
    with pytest.raises(OutOfMemory, match=r"whatever was tried\. Close other programs, crop the image"):
        _run(_executor(network, windows={"divisible_by": 4, "min": [8, 8, 8]}))
    assert network.refused > 7


def test_memory_that_runs_out_in_the_middle_begins_the_answer_again() -> None:
    class Late(Greedy):
        seen = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.seen += 1
            return super().forward(x)

    network = Late(lambda x: network.seen != 6)
    scores, told = _run(_executor(network, batch=1, precision="float32"))
    assert len(told) == 1
    torch.testing.assert_close(scores, EXPECTED)


def test_a_sink_that_runs_out_of_memory_is_begun_again() -> None:
    class Tight(CollectScores):
        begun = 0

        def begin(self, channels: int, shape: tuple[int, ...]) -> None:
            super().begin(channels, shape)
            self.begun += 1

        def add(self, start: int, scores: torch.Tensor) -> None:
            if self.begun == 1:
                raise MemoryError
            super().add(start, scores)

    sink = Tight()
    executor = _executor(Greedy(lambda x: True), precision="float32")
    executor.run(IMAGE, sink, on_window=lambda *at: None, cancelled=lambda: False)
    assert sink.begun == 2
    torch.testing.assert_close(sink.scores, EXPECTED)


def test_what_was_given_up_stays_given_up_for_images_as_large_only() -> None:
    network = Greedy(lambda x: x.shape[0] == 1)
    executor = _executor(network, precision="float32")
    _run(executor)
    refused = network.refused
    executor.run(IMAGE, CollectScores(), on_window=lambda *at: None, cancelled=lambda: False)
    assert network.refused == refused and executor.report()["rungs"]
    network.enough = lambda x: True
    executor.run(IMAGE[:, :17], CollectScores(), on_window=lambda *at: None, cancelled=lambda: False)
    assert not executor.report()["rungs"]


def test_after_a_pause_all_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Greedy(lambda x: x.shape[0] == 1)
    executor = _executor(network, precision="float32")
    _run(executor)
    network.enough = lambda x: True
    monkeypatch.setattr(module, "FORGET_SECONDS", -1)
    assert _run(executor)[1] == []


def test_other_failures_go_down_no_ladder() -> None:
    def broken(x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        _run(_executor(broken))


def test_a_single_forward_pass_climbs_down_too() -> None:
    executor = _executor(Greedy(lambda x: executor.placed == "cpu"), precision="float32")
    answer = executor.forward(IMAGE[None])
    torch.testing.assert_close(answer, EXPECTED[None])
    assert executor.report()["rungs"][-1].endswith("which takes longer.")


REAL = """
import resource, sys
import torch
torch.set_num_threads(1)
from meddl.inference.executor import CollectScores, Executor
from meddl.inference.options import RunOptions
class Wide(torch.nn.Module):
    def forward(self, x):
        return x.repeat_interleave(600, dim=1).relu().mean(dim=1, keepdim=True) + x.repeat_interleave(2, dim=1)
image = torch.rand(1, 64, 64, 64)
now = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmSize"))
resource.setrlimit(resource.RLIMIT_AS, ((now + 600_000) * 1024,) * 2)
executor = Executor(Wide().eval(), torch.device("cpu"), RunOptions(engine="torch", precision="float32"),
                    windows={"divisible_by": 8, "min": [16, 16, 16]})
sink = CollectScores()
executor.run(image, sink, on_window=lambda *at: None, cancelled=lambda: False)
assert torch.allclose(sink.scores, 2 * image.repeat_interleave(2, dim=0), atol=1e-4)
print(executor.report()["rungs"])
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the address space as Linux does")
def test_a_process_that_really_has_too_little_memory_goes_on_with_smaller_windows() -> None:
    core = Path(memory.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", REAL], capture_output=True, text=True, check=False,
        env={"PYTHONPATH": str(core), "PATH": "/usr/bin:/bin", "HOME": "/nonexistent"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "going on with smaller windows (32 x 64 x 64 voxels)" in done.stdout


MANY = """
import numpy as np, torch
torch.set_num_threads(1)
from meddl.inference.executor import Executor
from meddl.inference.options import RunOptions
from meddl.inference.restore import RestoreLabels
from meddl.volume import Grid
from monai.inferers import SlidingWindowInferer
def peak():
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) // 1024
torch.manual_seed(0)
directions = torch.nn.functional.normalize(torch.randn(60, 6))
network = torch.nn.Conv3d(6, 60, 1, bias=False).eval()
network.weight.data = directions[:, :, None, None, None]
truth = torch.randint(0, 60, (5, 5, 5)).repeat_interleave(16, 0).repeat_interleave(16, 1).repeat_interleave(16, 2)
image = directions[truth].permute(3, 0, 1, 2).contiguous()
grid = Grid((160, 160, 160), np.diag([0.5, 0.5, 0.5, 1.0]) + 0.0)
executor = Executor(network, torch.device("cpu"), RunOptions(engine="torch"),
                    inferer=SlidingWindowInferer((16, 32, 32), overlap=0.25, mode="gaussian"))
import monai.data.utils
before = peak()
sink = RestoreLabels(np.eye(4), grid)
executor.run(image, sink, on_window=lambda *at: None, cancelled=lambda: False)
whole = 60 * 160**3 * 4 / 2**20
assert peak() - before < whole / 5, (peak() - before, whole)
assert np.array_equal(sink.labels[::2, ::2, ::2], truth.numpy())
print("ok")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak memory where Linux tells it")
def test_many_classes_never_lie_in_memory_at_full_size() -> None:
    core = Path(memory.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", MANY], capture_output=True, text=True, check=False,
        env={"PYTHONPATH": str(core), "PATH": "/usr/bin:/bin", "HOME": "/nonexistent"},
    )  # fmt: skip
    assert done.stdout.strip() == "ok", done.stderr[-2000:]
