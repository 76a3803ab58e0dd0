"""What to give up when memory runs out, one rung of a ladder after the other, and how it is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from meddl.errors import is_out_of_memory

_MORE_WORDS = ("bad_alloc", "bad allocation", "ALLOC_FAILED", "could not create a memory", "Cannot allocate memory")


@dataclass(frozen=True)
class Settings:
    """How the network is run.

    Attributes:
        device: where it runs: ``cpu``, ``cuda:N`` or ``mps``.
        batch: windows per forward pass.
        precision: of the network: ``float32``, ``bfloat16`` or ``float16``.
        scores: in which the answer is added up: ``float32`` or ``float16``.
        stitch: the device where it is added up.
        window: size of the windows where it is not the model's own.
    """

    device: str
    batch: int = 1
    precision: str = "float32"
    scores: str = "float32"
    stitch: str = "cpu"
    window: tuple[int, ...] | None = None

    @property
    def on_cpu(self) -> bool:
        return self.device == "cpu"


@dataclass(frozen=True)
class Allowed:
    """What may be given up.

    Attributes:
        half: the precision to change to on the GPU, and on the CPU; None where there is none.
        half_cpu: likewise on the CPU.
        half_scores: whether scores may be added up in half precision.
        divisible_by: of which the window must be a multiple, per axis; None: its size is fixed.
        least: the smallest window.
    """

    half: str | None = None
    half_cpu: str | None = None
    half_scores: bool = True
    divisible_by: tuple[int, ...] | None = None
    least: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Rung:
    """The settings to go on with, and one sentence for the user."""

    settings: Settings
    sentence: str


def next_rung(settings: Settings, allowed: Allowed, window: Sequence[int]) -> Rung | None:
    """Return what to give up next; None at the end of the ladder.

    In this order: fewer windows at once; half precision where it is allowed; scores added up on the CPU; smaller
    windows where the network allows them (several times); the CPU, from the top but with one window at once.

    Args:
        settings: with which memory ran out.
        allowed: what may be given up.
        window: size of the windows then.
    """
    where = "memory" if settings.on_cpu else "GPU memory"
    if settings.batch > 1:
        return Rung(
            replace(settings, batch=1), f"Not enough {where} for {settings.batch} windows at once: going on with 1."
        )
    half = _halved(settings, allowed)
    if half is not None:
        return Rung(half, f"Not enough {where}: going on in half precision.")
    if settings.stitch != "cpu":
        return Rung(
            replace(settings, stitch="cpu"), f"Not enough {where}: the answer is put together in main memory."
        )
    smaller = _smaller(window, allowed)
    if smaller is not None:
        size = " x ".join(map(str, smaller))
        return Rung(
            replace(settings, window=smaller), f"Not enough {where}: going on with smaller windows ({size} voxels)."
        )
    if not settings.on_cpu:
        return Rung(Settings("cpu"), f"Not enough {where}: going on on the processor, which takes longer.")
    return None


def ran_out(error: BaseException) -> bool:
    """Say whether ``error`` is a library's way of saying that memory ran out."""
    return is_out_of_memory(error) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in _MORE_WORDS)
    )


def window_limits(windows: Mapping[str, Any] | None, dims: int) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Return (divisible by, least size) per axis from the bundle's ``windows``; None where the size is fixed."""
    if not windows:
        return None
    divisible = _each(windows.get("divisible_by", 1), dims)
    least = _each(windows.get("min", divisible), dims)
    return divisible, tuple(-(-size // step) * step for size, step in zip(least, divisible, strict=True))


def _halved(settings: Settings, allowed: Allowed) -> Settings | None:
    half = allowed.half_cpu if settings.on_cpu else allowed.half
    precision = half if half and settings.precision == "float32" else settings.precision
    scores = "float16" if allowed.half_scores else settings.scores
    changed = replace(settings, precision=precision, scores=scores)
    return None if changed == settings else changed


def _smaller(window: Sequence[int], allowed: Allowed) -> tuple[int, ...] | None:
    """Halve the longest axis that can be: a window near a cube sees most of what surrounds a voxel."""
    if allowed.divisible_by is None or allowed.least is None:
        return None
    best: tuple[int, int] | None = None
    for axis, (size, step, least) in enumerate(zip(window, allowed.divisible_by, allowed.least, strict=True)):
        half = max(least, (size // 2) // step * step)
        if 0 < half < size and (best is None or size > window[best[0]]):
            best = (axis, half)
    if best is None:
        return None
    return tuple(best[1] if axis == best[0] else int(size) for axis, size in enumerate(window))


def _each(value: Any, dims: int) -> tuple[int, ...]:
    values = list(value) if isinstance(value, Sequence) else [value] * dims
    return tuple(max(1, int(each)) for each in values[:dims])
