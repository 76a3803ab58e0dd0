"""Runs a network over an image: window by window, on the engine that fits, down a ladder when memory runs out."""

from __future__ import annotations

import gc
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

from meddl.errors import JobCancelled, ModelError, OutOfMemory
from meddl.inference.air import AirWindows
from meddl.inference.engines import Engine, EngineSelector, first_output
from meddl.inference.memory import Allowed, Settings, next_rung, ran_out, window_limits
from meddl.inference.precision import starting_precision
from meddl.inference.sliding_window import (
    CollectScores,
    Coverage,
    RowBlender,
    ScoreSink,
    Start,
    WindowPlan,
    WindowRule,
    padded,
    rule_of,
    three,
    whole_image,
    window_weights,
)

if TYPE_CHECKING:
    import torch

    from meddl.inference.options import RunOptions

__all__ = ["CollectScores", "Executor", "ScoreSink"]

logger = logging.getLogger(__name__)

FORGET_SECONDS = 60
"""After a pause, other programs may have given memory back: then all is tried again."""

OnWindow = Callable[[int, int], None]
Cancelled = Callable[[], bool]
Ask = Callable[["torch.Tensor"], "torch.Tensor"]
Answer = TypeVar("Answer")


class Executor:
    """Keeps one network ready and runs it on images.

    Example::

        executor = Executor(network, torch.device("cpu"), RunOptions(), inferer=SlidingWindowInferer((96, 96, 96)))
        sink = CollectScores()
        executor.run(image, sink, on_window=print, cancelled=lambda: False)
        print(sink.scores.shape, executor.report())

    Args:
        network: a module in evaluation mode, or any callable that answers tensors.
        device: where it runs first.
        options: precision, engine and whether windows of air are skipped.
        inferer: MONAI's inferer as the model's config made it, or a :class:`WindowRule`; None: the whole image at once.
        digest: identifies the network in the cache of compiled models; empty: nothing is kept on disk.
        air_below: windows whose values are all at or below it may be skipped; None: none is.
        windows: ``divisible_by`` and ``min``, where the model allows smaller windows than its own.
        spatial_dims: that the network sees: with 2, images are ``(C, i, j, 1)``.
        cases: how many images are to come, as far as known.
        half_scores: whether scores may be added up in half precision when memory runs out.

    Attributes:
        on_tell: called with one sentence when something is given up for lack of memory.
    """

    on_tell: Callable[[str], None]

    def __init__(
        self,
        network: Any,
        device: torch.device,
        options: RunOptions,
        *,
        inferer: Any = None,
        digest: str = "",
        air_below: float | None = None,
        windows: Mapping[str, Any] | None = None,
        spatial_dims: int = 3,
        cases: int = 1,
        half_scores: bool = True,
    ) -> None:
        self._network = network
        self._inferer = inferer
        self._dims = spatial_dims
        self._rule = rule_of(inferer, spatial_dims)
        self._air_below = air_below if options.skip_air else None
        self._engines = EngineSelector(network, options.engine, digest, cases)
        self.on_tell = logger.info
        precision, self._remarks = starting_precision(options.precision, device)
        batch = 1 if self._rule is None else self._rule.batch
        if device.type == "cpu" and (spatial_dims == 3 and (self._rule is None or self._rule.slice_axis is None)):
            batch = 1  # measured: more 3-D windows at once are no faster on a processor and take more memory
        where = str(device)
        self._first = Settings(where, batch, precision, "float32", where)
        half = options.precision != "float32"
        limits = window_limits(windows, spatial_dims)
        self._allowed = Allowed(
            half="float16" if half and device.type == "cuda" else None,
            half_cpu="bfloat16" if half and starting_precision("bfloat16", _device("cpu"))[0] != "float32" else None,
            half_scores=half and half_scores,
            divisible_by=limits[0] if limits else None,
            least=limits[1] if limits else None,
        )
        self._settings = self._first
        self._plan: WindowPlan | None = None
        self._rungs: list[str] = []
        self._given_up_at = self._voxels = 0
        self._last_run = time.monotonic()
        self._engine: Engine | None = None
        self._windows = self._skipped = 0
        self._air_sentence = ""
        self._coverage: tuple[Any, Coverage] | None = None

    def run(
        self,
        image: torch.Tensor,
        sink: ScoreSink,
        *,
        on_window: OnWindow,
        cancelled: Cancelled,
    ) -> None:
        """Run the network on an image; its raw, blended answer goes to ``sink``.

        Args:
            image: ``(C, i, j, k)`` plain tensor on the CPU.
            sink: takes the answer; begun again after memory ran out.
            on_window: called with (windows done, windows in all).
            cancelled: asked before each window.

        Raises:
            JobCancelled: on request.
            ModelError: the answer is no score for each voxel of the image.
            OutOfMemory: at the end of the ladder.
        """
        self._restart(image.numel())
        self._climb_down(lambda: self._attempt(image, sink, on_window, cancelled))

    @property
    def rule(self) -> WindowRule | None:
        """How the model cuts images; None for an inferer that does it in a way of its own."""
        return self._rule

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """Return the network's raw answer to ``(B, C, ...)`` in one forward pass, float32 on the CPU.

        Raises:
            OutOfMemory: at the end of the ladder.
        """
        self._restart(batch.numel())
        self._windows, self._skipped, self._air_sentence = 1, 0, ""
        window = tuple(batch.shape[2:])

        def attempt() -> torch.Tensor:
            engine, answer = self._select(lambda: batch, tuple(batch.shape[1:]), 1)
            return (engine(batch) if answer is None else answer).float().cpu()

        return self._climb_down(attempt, window)

    def lead(self, shape: tuple[int, ...], work: Callable[[WindowRule, Ask], Answer], *, windows: bool) -> Answer:
        """Let ``work`` go over an image in a way of its own, down the ladder when memory runs out.

        Args:
            shape: of the image, spatial axes only.
            work: called with how to cut (the windows of now, which may have become smaller, and how many at once) and
                with what asks the network about a batch ``(B, C, ...)``; again from the start after memory ran out.
            windows: whether it cuts the image at all.

        Raises:
            OutOfMemory: at the end of the ladder.
        """
        import torch

        self._restart(math.prod(shape))
        own = self._rule if windows and self._rule is not None else whole_image(len(shape))

        def attempt() -> Answer:
            rule = own if self._settings.window is None else own.with_window(self._settings.window)
            plan = rule.plan(shape)
            self._plan = plan if windows else None
            self._windows, self._skipped, self._air_sentence = 0, 0, ""
            engine: Engine | None = None

            def ask(batch: torch.Tensor) -> torch.Tensor:
                nonlocal engine
                self._windows += int(batch.shape[0])
                if engine is None:
                    engine, answer = self._select(lambda: batch, tuple(batch.shape[1:]), plan.count)
                    if answer is not None:
                        return answer.float()
                return engine(batch).float()

            with torch.inference_mode():
                return work(replace(rule, batch=self._settings.batch), ask)

        return cast(Answer, self._climb_down(attempt))

    @property
    def stitch(self) -> torch.device:
        """Where the answer is put together now."""
        return self._place(self._settings.stitch)

    def report(self) -> dict[str, Any]:
        """Return how the last image was run, JSON-able."""
        remarks = [*self._remarks, *self._engines.notes, *([self._air_sentence] if self._air_sentence else [])]
        return {
            "engine": self._engine.name if self._engine else "torch",
            "precision": self._engine.precision if self._engine else self._settings.precision,
            "device": self._settings.device,
            "windows": self._windows,
            "skipped_windows": self._skipped,
            "rungs": list(self._rungs),
            "remarks": remarks,
        }

    def _restart(self, voxels: int) -> None:
        """Begin at the top of the ladder again, unless memory just ran out for an image no larger than this one."""
        idle = time.monotonic() - self._last_run
        if self._rungs and (voxels < self._given_up_at or idle > FORGET_SECONDS):
            self._settings, self._rungs, self._given_up_at = self._first, [], 0
        self._voxels = voxels

    def _climb_down(self, attempt: Callable[[], Any], window: tuple[int, ...] | None = None) -> Any:
        while True:
            self._plan = None
            try:
                answer = attempt()
                self._last_run = time.monotonic()
                return answer
            except Exception as error:
                if not ran_out(error):
                    raise
                trouble = f"{type(error).__name__}: {error}"
            # Here, where the error and all that its frames hold is gone.
            self._give_up(trouble, window)

    def _give_up(self, trouble: str, window: tuple[int, ...] | None) -> None:
        logger.info("memory ran out with %s: %s", self._settings, trouble)
        allowed = self._allowed
        if self._plan is not None:
            window = self._plan.window
        if window is None or self._rule is None or self._rule.slice_axis is not None or self._plan is None:
            allowed = replace(allowed, divisible_by=None)
        rung = next_rung(self._settings, allowed, window or ())
        if rung is None:
            raise OutOfMemory(
                f"There was not enough memory on {self._settings.device} for this image and model, whatever was "
                "tried. Close other programs, crop the image, or choose another device.",
                details=trouble,
            )
        if rung.settings.device != self._settings.device:
            self._engines.forget()
        self._settings = rung.settings
        self._given_up_at = self._voxels
        self._rungs.append(rung.sentence)
        self._coverage = None
        self.on_tell(rung.sentence)
        free_memory()

    def _attempt(self, image: torch.Tensor, sink: ScoreSink, on_window: OnWindow, cancelled: Cancelled) -> None:
        import torch

        self._windows = self._skipped = 0
        self._air_sentence = ""
        if image.ndim == 4 and self._dims == 2:
            if image.shape[3] != 1:
                raise ModelError("This model looks at single slices; the image has several.")
            image = image[..., 0]
        with torch.inference_mode():
            if self._rule is None:
                self._run_foreign(image, sink, on_window, cancelled)
            else:
                self._run_windows(image, self._rule, sink, on_window, cancelled)

    def _run_windows(
        self, image: torch.Tensor, rule: WindowRule, sink: ScoreSink, on_window: OnWindow, cancelled: Cancelled
    ) -> None:
        import torch

        if self._settings.window is not None:
            rule = rule.with_window(self._settings.window)
        plan = self._plan = rule.plan(image.shape[1:])
        self._windows = plan.count
        image = padded(image, plan, rule)
        # An answer that is drawn by chance (dropout) is never the same.
        air = AirWindows(None if self._engines.random else self._air_below)
        kept: dict[Start, torch.Tensor] = {}
        squeeze = rule.slice_axis

        def cut(start: Start) -> torch.Tensor:
            window = plan.cut(image, start)
            return window if squeeze is None else window.squeeze(1 + squeeze)

        middle = _middle(plan)
        shape = tuple(cut(middle).shape)
        engine, answer = self._select(lambda: cut(middle)[None].contiguous(), shape, plan.count)
        if answer is not None:
            kept[middle] = answer[0] if squeeze is None else answer[0].unsqueeze(1 + squeeze)

        def ask(windows: list[torch.Tensor]) -> list[torch.Tensor]:
            answers = engine(torch.stack(windows))
            return [answer if squeeze is None else answer.unsqueeze(1 + squeeze) for answer in answers]

        def predict(starts: list[Start]) -> list[torch.Tensor]:
            if cancelled():
                raise JobCancelled("The run was cancelled.")
            if starts[0] in kept:
                return [kept.pop(starts[0])]
            return ask([cut(start) for start in starts])

        blender: RowBlender | None = None
        done = 0
        for number, row in plan.rows():
            for group in _groups(row, self._settings.batch, kept):
                for start, answer in air.answers(group, cut, predict, ask):
                    if plan.count == 1:
                        self._whole(answer, plan, sink)
                    else:
                        if blender is None:
                            blender = self._blender(plan, rule, answer, sink)
                        blender.add(start, answer)
                    del answer
                done += len(group)
                self._skipped = air.skipped
                on_window(done, plan.count)
            if blender is not None:
                blender.finish(number)
        self._air_sentence = air.sentence

    def _blender(self, plan: WindowPlan, rule: WindowRule, answer: torch.Tensor, sink: ScoreSink) -> RowBlender:
        import torch

        scale = answer_scale(tuple(answer.shape[1:]), plan.window)
        key = (plan, rule.mode, rule.sigma_scale, scale)
        weights = window_weights(plan, rule)
        if weights is not None:
            for axis, factor in enumerate(scale):
                weights = weights.repeat_interleave(factor, dim=axis) if factor > 1 else weights
        if self._coverage is None or self._coverage[0] != key:
            self._coverage = (key, Coverage(plan, weights, scale))
        stitch = self._settings.stitch
        voxels = 1
        for size in plan.shape:
            voxels *= size
        if rule.stitch_on_cpu is not None and voxels > rule.stitch_on_cpu:
            stitch = "cpu"
        return RowBlender(
            plan, self._coverage[1], weights, scale, int(answer.shape[0]), sink,
            self._place(stitch), getattr(torch, self._settings.scores),
        )  # fmt: skip

    def _whole(self, answer: torch.Tensor, plan: WindowPlan, sink: ScoreSink) -> None:
        """Hand over the answer to the only window there is."""
        scale = answer_scale(tuple(answer.shape[1:]), plan.window)
        inner = tuple(
            slice(before * factor, (before + size) * factor)
            for (before, _), factor, size in zip(plan.padding, scale, plan.shape, strict=True)
        )
        self._hand_over(answer[(slice(None), *inner)], sink)

    def _hand_over(self, answer: torch.Tensor, sink: ScoreSink) -> None:
        if answer.dtype not in _float_types():
            answer = answer.float()
        shape = three(tuple(answer.shape[1:]))
        sink.begin(int(answer.shape[0]), shape)
        sink.add(0, answer.reshape(-1, *shape))

    def _run_foreign(self, image: torch.Tensor, sink: ScoreSink, on_window: OnWindow, cancelled: Cancelled) -> None:
        """Call an inferer that is not known as it is."""
        engine = None
        done = 0

        def predictor(window: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
            nonlocal engine, done
            if cancelled():
                raise JobCancelled("The run was cancelled.")
            if args or kwargs:
                answer = first_output(self._network(window, *args, **kwargs))
            else:
                if engine is None:
                    engine, _ = self._select(lambda: window, tuple(window.shape[1:]), 1)
                answer = engine(window)
            done += 1
            # How many there will be is not known: never quite all.
            on_window(done, done + 1)
            return answer.float()

        inputs = image[None].to(self._place(self._settings.device))
        answer = first_output(self._inferer(inputs=inputs, network=predictor))
        self._windows = done
        on_window(done, done)
        expected = tuple(image.shape[1:])
        answer_scale(tuple(answer.shape[2:]), expected)
        self._hand_over(answer[0], sink)

    def _select(
        self, window: Callable[[], torch.Tensor], shape: tuple[int, ...], windows: int
    ) -> tuple[Engine, torch.Tensor | None]:
        device = self._place(self._settings.device)
        engine, answer = self._engines.select(self._settings, device, window, shape, windows)
        self._engine = engine
        return engine, answer

    def _place(self, name: str) -> torch.device:
        """Return the torch device for a name of the settings (tests put another in its place)."""
        return _device(name)


def answer_scale(answer: tuple[int, ...], window: tuple[int, ...]) -> tuple[int, ...]:
    """Return how many voxels of the answer there are per voxel of the window, along each axis.

    Raises:
        ModelError: not a whole number of them.
    """
    if len(answer) != len(window) or any(size < 1 or size % given for size, given in zip(answer, window, strict=False)):
        raise ModelError(
            f"The network answered on a grid of {answer} voxels for a window of {window}. Only models that answer "
            "voxel for voxel, or with a whole number of voxels for each, can be used here."
        )
    return tuple(size // given for size, given in zip(answer, window, strict=True))


def free_memory() -> None:
    """Give memory that nobody uses any more back to the device."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _middle(plan: WindowPlan) -> Start:
    """Return the window in the middle: the one at the corner may show nothing but air."""
    return tuple(along[len(along) // 2] for along in plan.starts)


def _groups(row: list[Start], batch: int, alone: Mapping[Start, Any]) -> list[list[Start]]:
    """Split a row of windows into batches; those that are known already come alone."""
    groups: list[list[Start]] = []
    for start in row:
        if groups and len(groups[-1]) < batch and start not in alone and groups[-1][0] not in alone:
            groups[-1].append(start)
        else:
            groups.append([start])
    return groups


def _device(name: str) -> torch.device:
    import torch

    return torch.device(name)


def _float_types() -> tuple[Any, ...]:
    import torch

    return (torch.float32, torch.float16)
