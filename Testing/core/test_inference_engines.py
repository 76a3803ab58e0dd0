"""Engines: which is chosen, that it agrees with torch on the case's own window, and what happens when it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from meddl.errors import JobCancelled
from meddl.inference.engines import compare, openvino_engine, selector, torch_engine
from meddl.inference.engines.guarded import Guarded
from meddl.inference.engines.selector import EngineSelector
from meddl.inference.executor import CollectScores, Executor
from meddl.inference.history import History
from meddl.inference.memory import Settings
from meddl.inference.options import RunOptions
from meddl.inference.strongest import strongest
from monai.inferers import SlidingWindowInferer

CPU = torch.device("cpu")
SHAPE = (1, 8, 8, 8)
needs_openvino = pytest.mark.skipif(not openvino_engine.is_installed(), reason="OpenVINO is not installed")
needs_bfloat16 = pytest.mark.skipif(not torch_engine.cpu_has_bfloat16(), reason="this processor has no bfloat16")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDDL_CACHE", str(tmp_path))
    return tmp_path


def network(sharp: bool = False) -> torch.nn.Module:
    torch.manual_seed(0)
    layers = torch.nn.Sequential(
        torch.nn.Conv3d(1, 8, 3, padding=1), torch.nn.InstanceNorm3d(8), torch.nn.PReLU(), torch.nn.Conv3d(8, 3, 1)
    )
    if sharp:
        # One channel leads everywhere, as it mostly does in a trained network: no ties for rounding to decide.
        layers[-1].bias.data = torch.tensor([9.0, 0.0, 0.0])
    return layers.eval()


IMAGE = torch.rand(1, 20, 20, 20, generator=torch.Generator().manual_seed(2))


def _run(net: Any, digest: str = "", **options: Any) -> tuple[torch.Tensor, dict[str, Any]]:
    inferer = SlidingWindowInferer(8, overlap=0.25, mode="gaussian")
    executor = Executor(net, CPU, RunOptions(**options), inferer=inferer, digest=digest)
    sink = CollectScores()
    executor.run(IMAGE, sink, on_window=lambda *at: None, cancelled=lambda: False)
    return sink.scores, executor.report()


def _expected(net: torch.nn.Module) -> torch.Tensor:
    with torch.inference_mode():
        return SlidingWindowInferer(8, overlap=0.25, mode="gaussian")(IMAGE[None], net)[0]


@needs_openvino
def test_openvino_computes_in_float32_unless_told_otherwise_and_agrees(own_cache: Path) -> None:
    net = network()
    scores, report = _run(net, "digest", engine="openvino")
    assert (report["engine"], report["precision"], report["remarks"]) == ("openvino", "float32", [])
    torch.testing.assert_close(scores, _expected(net), rtol=1e-3, atol=1e-4)
    models = list((own_cache / "openvino").glob("*/model.xml"))
    assert len(models) == 1
    # Another process, or the next day: the compiled model is there.
    stamp = models[0].stat().st_mtime_ns
    scores, report = _run(net, "digest", engine="openvino")
    assert report["engine"] == "openvino" and models[0].stat().st_mtime_ns == stamp
    torch.testing.assert_close(scores, _expected(net), rtol=1e-3, atol=1e-4)


@needs_openvino
@pytest.mark.parametrize("made", [torch.jit.script, lambda net: torch.jit.freeze(torch.jit.script(net))])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_openvino_runs_torchscript_programs(made: Any) -> None:
    net = network()
    scores, report = _run(made(net), engine="openvino")
    assert report["engine"] == "openvino", report
    torch.testing.assert_close(scores, _expected(net), rtol=1e-3, atol=1e-4)


@needs_openvino
def test_of_several_answers_openvino_gives_the_first_too() -> None:
    class Deep(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> dict[str, list[torch.Tensor]]:
            return {"seg": [torch.cat([x, 1 - x], dim=1), x], "aux": [x]}

    scores, report = _run(Deep().eval(), engine="openvino")
    assert report["engine"] == "openvino", report
    torch.testing.assert_close(scores, torch.cat([IMAGE, 1 - IMAGE]), rtol=0, atol=1e-5)


@needs_openvino
def test_other_weights_of_one_structure_are_another_compiled_model() -> None:
    first, second = network(), network()
    second[0].weight.data += 0.1
    keys = {openvino_engine.model_key(each, "digest", (1, *SHAPE)) for each in (first, second, network())}
    assert len(keys) == 2 and "" not in keys
    assert openvino_engine.model_key(first, "digest", (1, 1, 9, 9, 9)) not in keys
    assert openvino_engine.model_key(first, "digest", (1, *SHAPE), "bfloat16") not in keys
    assert openvino_engine.model_key(first, "", (1, *SHAPE)) == ""


@needs_openvino
@needs_bfloat16
def test_bfloat16_is_used_when_allowed_and_near_enough() -> None:
    net = network(sharp=True)
    scores, report = _run(net, precision="bfloat16", engine="openvino")
    assert (report["engine"], report["precision"]) == ("openvino", "bfloat16")
    torch.testing.assert_close(scores, _expected(net), rtol=0, atol=0.1)
    scores, report = _run(net, precision="bfloat16", engine="torch")
    assert (report["engine"], report["precision"]) == ("torch", "bfloat16")
    torch.testing.assert_close(scores, _expected(net), rtol=0, atol=0.1)


@needs_bfloat16
def test_bfloat16_that_changes_the_answer_is_not_used_and_that_is_said() -> None:
    net = network()
    net[-1].weight.data *= 1e-3  # near ties everywhere
    net[-1].bias.data = torch.tensor([9.0, 9.0, 9.0])
    scores, report = _run(net, precision="bfloat16", engine="torch")
    assert (report["engine"], report["precision"]) == ("torch", "float32")
    assert "did not answer as PyTorch in float32" in report["remarks"][0]
    torch.testing.assert_close(scores, _expected(net))


def test_a_processor_without_bfloat16_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_engine, "cpu_has_bfloat16", lambda: False)
    _, report = _run(network(), precision="bfloat16", engine="torch")
    assert report["precision"] == "float32"
    assert report["remarks"] == ["This processor does not compute in bfloat16: float32 was used."]


class Broken:
    """An engine that cannot be made."""

    def __init__(self, *arguments: Any) -> None:
        raise RuntimeError("no rule for aten::fancy")


class Wrong:
    """An engine whose answers are off."""

    name, precision = "openvino", "float32"

    def __init__(self, net: Any, *arguments: Any) -> None:
        self._net = net

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return self._net(batch) * 1.01


class Fragile(Wrong):
    """An engine that fails in the middle."""

    calls = 0

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        Fragile.calls += 1
        if Fragile.calls > 4:
            raise RuntimeError("device lost")
        with torch.inference_mode():
            return self._net(batch)


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        (Broken, "OpenVINO cannot run this model: PyTorch did."),
        (Wrong, "did not answer as PyTorch in float32"),
        (Fragile, "openvino failed in the middle of the run: PyTorch went on."),
    ],
)
def test_whatever_fails_torch_answers(monkeypatch: pytest.MonkeyPatch, engine: Any, said: str) -> None:
    monkeypatch.setattr(openvino_engine, "OpenVinoEngine", engine)
    monkeypatch.setattr(openvino_engine, "is_installed", lambda: True)
    Fragile.calls = 0
    net = network()
    scores, report = _run(net, engine="openvino")
    assert report["engine"] == "torch" and said in " ".join(report["remarks"])
    torch.testing.assert_close(scores, _expected(net), rtol=0, atol=1e-5)


@needs_openvino
def test_a_model_that_openvino_cannot_run_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(openvino_engine, "OpenVinoEngine", Broken)
        _run(network(), "digest", engine="openvino")
    report = _run(network(), "digest", engine="openvino")[1]
    assert report["engine"] == "torch"
    assert report["remarks"] == ["OpenVINO cannot run this model: PyTorch did."]


def test_without_openvino_torch_runs_and_says_so_only_if_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_engine, "is_installed", lambda: False)
    assert _run(network())[1]["remarks"] == []
    assert _run(network(), engine="openvino")[1]["remarks"] == ["OpenVINO is not installed: PyTorch did."]


def _selector(monkeypatch: pytest.MonkeyPatch, seconds: float, engine: Any = Wrong) -> EngineSelector:
    """Return a selector for which every forward pass takes so long."""

    class Right(engine):  # type: ignore[misc]
        def __call__(self, batch: torch.Tensor) -> torch.Tensor:
            with torch.inference_mode():
                return self._net(batch)

    monkeypatch.setattr(openvino_engine, "OpenVinoEngine", Right)
    monkeypatch.setattr(openvino_engine, "is_installed", lambda: True)
    monkeypatch.setattr(openvino_engine, "model_key", lambda net, digest, shape, precision: digest)
    monkeypatch.setattr(selector, "_timed", lambda engine, batch: (engine(batch), seconds))
    return EngineSelector(network(), "auto", "digest")


def _selected(chooser: EngineSelector, windows: int) -> str:
    return chooser.select(Settings("cpu"), CPU, lambda: torch.rand(1, *SHAPE), SHAPE, windows)[0].name


def test_a_short_run_is_not_worth_a_conversion_but_a_long_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _selected(_selector(monkeypatch, seconds=0.1), windows=4) == "torch"
    assert _selected(_selector(monkeypatch, seconds=0.1), windows=400) == "openvino"
    # One slow window does not pay either: a conversion takes several forward passes.
    assert _selected(_selector(monkeypatch, seconds=60.0), windows=2) == "torch"


def test_that_an_engine_is_made_is_told_and_can_be_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    chooser = _selector(monkeypatch, seconds=0.1)

    def cancel(sentence: str) -> None:
        raise JobCancelled(sentence)

    chooser._prepares = cancel
    assert _selected(chooser, windows=4) == "torch"
    with pytest.raises(JobCancelled, match="Preparing the network for OpenVINO"):
        _selected(chooser, windows=400)


def test_many_short_runs_add_up_over_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [_selected(_selector(monkeypatch, seconds=0.1), windows=20) for _ in range(8)]
    assert names[0] == "torch" and "openvino" in names


def test_a_compiled_model_that_is_there_is_used_for_short_runs_too(monkeypatch: pytest.MonkeyPatch) -> None:
    chooser = _selector(monkeypatch, seconds=0.3)
    monkeypatch.setattr(openvino_engine, "is_converted", lambda key: True)
    assert _selected(chooser, windows=12) == "openvino"


def test_the_engine_is_kept_for_the_next_case(monkeypatch: pytest.MonkeyPatch) -> None:
    chooser = _selector(monkeypatch, seconds=0.1)
    assert _selected(chooser, windows=400) == "openvino"
    engine, answer = chooser.select(Settings("cpu"), CPU, lambda: pytest.fail("asked again"), SHAPE, 1)
    assert engine.name == "openvino" and answer is None


def test_answers_are_compared_by_value_and_by_winner() -> None:
    reference = torch.randn(1, 3, 20, 20, 20, generator=torch.Generator().manual_seed(5))
    assert compare.agreement(reference, reference * (1 + 1e-5), "float32").accepted
    assert not compare.agreement(reference, reference * 1.01, "float32").accepted
    assert compare.agreement(reference, reference * 1.01, "bfloat16").accepted
    assert not compare.agreement(reference, reference.flip(1), "bfloat16").accepted
    assert not compare.agreement(reference, reference[..., :5], "float32").accepted
    broken = reference.clone()
    broken[0, 0, 0, 0, 0] = float("nan")
    assert not compare.agreement(reference, broken, "float16").accepted


def test_the_strongest_channel_is_that_of_argmax() -> None:
    scores = torch.randn(2, 3, 6, 5, 4, generator=torch.Generator().manual_seed(5))
    winner, best = strongest(scores, axis=1)
    torch.testing.assert_close(winner.long(), scores.argmax(dim=1))
    torch.testing.assert_close(best, scores.amax(dim=1))
    assert not strongest(torch.zeros(3, 2, 2))[0].any(), "the first one wins a tie"


def test_lack_of_memory_is_left_to_the_ladder() -> None:
    class Full:
        name, precision = "torch", "float16"

        def __call__(self, batch: torch.Tensor) -> torch.Tensor:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    engine = Guarded(Full(), Full(), pytest.fail)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        engine(torch.zeros(1))


def test_a_history_that_cannot_be_read_is_begun_anew(own_cache: Path) -> None:
    history = History("some.json")
    history.path.parent.mkdir(parents=True)
    history.path.write_text("{ not json")
    assert history.read() == {}
    history.change("key", lambda entry: entry.update(a=1))
    assert history.entry("key") == {"a": 1} and own_cache in history.path.parents
