"""Which engine runs a network: the fastest that pays on this run and agrees with torch on the case's own window."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from meddl.inference.engines import openvino_engine
from meddl.inference.engines.compare import agreement
from meddl.inference.engines.engine import Engine
from meddl.inference.engines.guarded import Guarded
from meddl.inference.engines.torch_engine import TorchEngine
from meddl.inference.history import History
from meddl.inference.memory import ran_out

if TYPE_CHECKING:
    import torch

    from meddl.inference.memory import Settings

logger = logging.getLogger(__name__)

OPENVINO_SPEEDUP = {"float32": 1.8, "bfloat16": 3.0}
HALF_SPEEDUP = 1.5
COMPILED_SPEEDUP = 1.3
"""Guesses from measurements on other machines, until this one has its own."""

CONVERT_SECONDS, CONVERT_FORWARDS = 3.0, 5.0
"""What a first conversion takes: so much, and as long as so many forward passes."""
LOAD_SECONDS = 0.5
SHORT = 0.5
"""Seconds of a forward pass below which it is timed once more: the first one may have taken several times as long."""
COMPILE_SECONDS = 60.0


@dataclass(frozen=True)
class Candidate:
    """An engine that might be faster than torch in float32.

    Attributes:
        title: for the report.
        precision: what it computes in.
        key: of what is known about it from earlier runs; empty: nothing is kept.
        build: makes it.
        cost: seconds until it is ready and compared, given the seconds of one forward pass.
        speedup: over torch in float32.
        forced: the user asked for it: it need not pay.
    """

    title: str
    precision: str
    key: str
    build: Callable[[], Engine]
    cost: Callable[[float], float]
    speedup: float
    forced: bool = False


class EngineSelector:
    """Chooses and keeps engines for one network.

    Args:
        network: in evaluation mode.
        engine: ``auto``, ``torch`` or ``openvino``.
        digest: identifies the network in the cache of compiled models; empty: nothing is kept on disk.
        cases: how many images are to come; ``torch.compile`` pays only for many.
        streams: windows of a batch that OpenVINO runs side by side at the most.
        prepares: called with a sentence for the user before an engine is made. That may take as long as many forward
            passes and cannot be cut short; what this raises, to cancel, goes through.

    Attributes:
        notes: sentences for the report: what was tried and did not do.
    """

    def __init__(
        self,
        network: Any,
        engine: str = "auto",
        digest: str = "",
        cases: int = 1,
        streams: int = 1,
        prepares: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self.notes: list[str] = []
        self._network = network
        self._wanted = engine
        self._digest = digest
        self._cases = cases
        self._streams = streams
        self._prepares = prepares
        self._chosen: dict[tuple[Any, ...], Engine] = {}
        self._spent: dict[tuple[Any, ...], float] = {}
        self._history = History("engines.json")

    @property
    def random(self) -> bool:
        """Whether some layer is in training mode, as dropout is for an uncertainty: only torch draws by chance."""
        import torch

        if not isinstance(self._network, torch.nn.Module):
            return False
        # A frozen TorchScript program has lost the mark.
        return any(getattr(module, "training", False) for module in self._network.modules())

    def select(
        self,
        settings: Settings,
        device: torch.device,
        window: Callable[[], torch.Tensor],
        shape: tuple[int, ...],
        windows: int,
    ) -> tuple[Engine, torch.Tensor | None]:
        """Return the engine to go on with, and the answer to ``window()`` where it was computed on the way.

        Args:
            settings: precision, and device by name.
            device: the torch device.
            window: gives a typical window ``(B, C, ...)`` of the case.
            shape: of it, less the batch.
            windows: how many forward passes are to come in this run.
        """
        plain = TorchEngine(self._network, device)
        if self.random:
            return TorchEngine(self._network, device, settings.precision), None
        key = (settings.device, settings.precision, shape)
        if key in self._chosen:
            return self._chosen[key], None
        candidates = list(self._candidates(settings, device, shape, windows))
        if not candidates:
            self._chosen[key] = plain
            return plain, None
        example = window()
        try:
            reference, seconds = _timed(plain, example)
            if seconds < SHORT:
                seconds = min(seconds, _timed(plain, example)[1])
        except Exception as error:
            if not ran_out(error) or settings.precision == "float32":
                raise
            trouble = str(error)
        else:
            return self._best(key, plain, candidates, example, reference, seconds, windows)
        # Memory suffices for half precision only: there is nothing to compare with.
        logger.info("no comparison in float32: %s", trouble)
        self._note("There was too little memory to compare half precision with float32.")
        self._chosen[key] = TorchEngine(self._network, device, settings.precision)
        return self._chosen[key], None

    def forget(self) -> None:
        """Let go of all engines, and of the memory they hold."""
        self._chosen.clear()

    def _best(
        self,
        key: tuple[Any, ...],
        plain: TorchEngine,
        candidates: list[Candidate],
        example: torch.Tensor,
        reference: torch.Tensor,
        seconds: float,
        windows: int,
    ) -> tuple[Engine, torch.Tensor]:
        final = True
        for candidate in candidates:
            known = self._history.entry(candidate.key) if candidate.key else {}
            if known.get("refused"):
                self._note(str(known["refused"]))
                continue
            # As with skis: rent until the rents add up to the price, then buy.
            spent = self._spent.get(key, 0.0) + float(known.get("spent", 0.0))
            saved = (spent + seconds * (windows - 1)) * (1 - 1 / candidate.speedup)
            if not candidate.forced and saved < candidate.cost(seconds):
                final = False
                if candidate.key:
                    self._history.change(candidate.key, _adding("spent", seconds * windows))
                continue
            engine = self._tried(candidate, plain, example, reference, seconds)
            if engine is not None:
                self._chosen[key] = engine
                return engine, reference
        self._spent[key] = self._spent.get(key, 0.0) + seconds * windows
        if final:
            self._chosen[key] = plain
        return plain, reference

    def _tried(
        self, candidate: Candidate, plain: TorchEngine, example: torch.Tensor, reference: torch.Tensor, seconds: float
    ) -> Engine | None:
        """Return the candidate's engine if it can be made and agrees with torch."""
        self._prepares(f"Preparing the network for {candidate.title}")
        started = time.perf_counter()
        try:
            engine = candidate.build()
            answer, _ = _timed(engine, example)
            near = agreement(reference, answer, candidate.precision)
            prepared = time.perf_counter() - started
            _, took = _timed(engine, example) if candidate.key else (answer, 0.0)
        except Exception as error:
            logger.info("%s failed: %s", candidate.title, error)
            refused = f"{candidate.title} cannot run this model: PyTorch did."
            self._note(refused)
            if candidate.key and not ran_out(error):
                self._history.change(candidate.key, _setting(refused=refused))
            return None
        if candidate.key:
            self._history.change(candidate.key, _setting(torch=seconds, engine=took, prepare=prepared))
        if near.accepted:
            return Guarded(engine, plain, self._note)
        logger.info("%s disagrees: %s", candidate.title, near)
        self._note(
            f"{candidate.title} in {candidate.precision} did not answer as PyTorch in float32 to this case's own "
            f"window ({100 * near.voxels:.2f} % of the voxels agree): it was not used."
        )
        return None

    def _candidates(
        self, settings: Settings, device: torch.device, shape: tuple[int, ...], windows: int
    ) -> Iterator[Candidate]:
        import torch

        half = settings.precision != "float32"
        module = isinstance(self._network, torch.nn.Module)
        if device.type == "cpu" and module and self._wanted != "torch":
            if openvino_engine.is_installed():
                for precision in dict.fromkeys((settings.precision, "float32")):
                    if precision in OPENVINO_SPEEDUP:
                        yield self._openvino(precision, (1, *shape))
            elif self._wanted == "openvino":
                self._note("OpenVINO is not installed: PyTorch did.")
        elif self._wanted == "openvino":
            self._note("OpenVINO is used for networks on the processor only: PyTorch did.")
        if device.type == "cuda" and module and windows * self._cases >= 400:
            yield Candidate(
                "torch.compile", settings.precision, "",
                lambda: TorchEngine(self._network, device, settings.precision, compiled=True),
                lambda seconds: COMPILE_SECONDS / max(1, self._cases), COMPILED_SPEEDUP * (HALF_SPEEDUP if half else 1),
            )  # fmt: skip
        if half:
            yield Candidate(
                "PyTorch", settings.precision, "",
                lambda: TorchEngine(self._network, device, settings.precision),
                lambda seconds: seconds / HALF_SPEEDUP, HALF_SPEEDUP,
            )  # fmt: skip

    def _openvino(self, precision: str, shape: tuple[int, ...]) -> Candidate:
        model = openvino_engine.model_key(self._network, self._digest, shape, precision)
        # What many windows take side by side says nothing of one alone.
        key = f"{model}-{precision}{f'-{self._streams}' if self._streams > 1 else ''}" if model else ""
        known = self._history.entry(key) if key else {}
        speedup = OPENVINO_SPEEDUP[precision]
        if known.get("engine") and known.get("torch"):
            speedup = max(1.01, float(known["torch"]) / float(known["engine"]))
        ready = openvino_engine.is_converted(model)

        def cost(seconds: float) -> float:
            if ready:
                return LOAD_SECONDS + 2 * seconds / speedup
            return CONVERT_SECONDS + CONVERT_FORWARDS * seconds

        return Candidate(
            "OpenVINO", precision, key,
            lambda: openvino_engine.OpenVinoEngine(self._network, shape, precision, model, self._streams),
            cost, speedup, forced=self._wanted == "openvino",
        )  # fmt: skip

    def _note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)


def _timed(engine: Engine, batch: torch.Tensor) -> tuple[torch.Tensor, float]:
    started = time.perf_counter()
    answer = engine(batch)
    # A GPU works on by itself: asking for a number waits for it.
    float(answer.flatten()[0])
    return answer, time.perf_counter() - started


def _setting(**facts: Any) -> Callable[[dict[str, Any]], None]:
    return lambda entry: entry.update(facts)


def _adding(name: str, amount: float) -> Callable[[dict[str, Any]], None]:
    return lambda entry: entry.update({name: float(entry.get(name, 0.0)) + amount})
