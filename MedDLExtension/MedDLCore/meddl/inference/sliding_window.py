"""Where the windows over an image lie, and how their answers are blended into rows of scores.

The same windows, weights and order of summation as ``monai.inferers.sliding_window_inference``, but the blended answer
leaves row by row along the first axis, so that all classes of the whole image never lie in memory together.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from meddl.errors import ModelError

if TYPE_CHECKING:
    import torch

MAX_WINDOWS = 1_000_000
PIECE_BYTES = 100_000_000
"""About how much a sink is given at a time: what it computes from it then stays small, too."""

Start = tuple[int, ...]


class ScoreSink(Protocol):
    """Takes the network's answer in, row by row along the first spatial axis."""

    def begin(self, channels: int, shape: tuple[int, ...]) -> None:
        """Make ready for ``channels`` scores on a grid of ``shape``; called again, forget what came before."""

    def add(self, start: int, scores: torch.Tensor) -> None:
        """Take rows ``start`` to ``start + n`` of the blended, raw answer: each row once, in order.

        Args:
            start: index of the first row.
            scores: ``(C, n, j, k)`` float32 or float16. Its memory is used again afterwards: copy what is kept.
        """


class CollectScores:
    """A sink that keeps everything: ``scores`` is ``(C, i, j, k)`` float32 on the CPU."""

    scores: torch.Tensor

    def begin(self, channels: int, shape: tuple[int, ...]) -> None:
        import torch

        self.scores = torch.empty((channels, *shape), dtype=torch.float32)

    def add(self, start: int, scores: torch.Tensor) -> None:
        self.scores[:, start : start + scores.shape[1]] = scores


@dataclass(frozen=True)
class WindowRule:
    """How an image is cut into windows: the parameters of MONAI's inferer as the model's config wrote them.

    Attributes:
        roi: window size per axis; 0 or less (or None) is the image's.
        batch: windows per forward pass.
        overlap: share of a window that the next one covers again, per axis, 0 to below 1.
        mode: ``constant`` or ``gaussian`` weights; ``nnunet`` for a Gaussian as nnU-Net makes it.
        sigma_scale: standard deviation of the Gaussian as a share of the window, per axis.
        padding_mode: how an image smaller than the window is enlarged (``torch.nn.functional.pad``).
        cval: the value for ``constant`` padding.
        slice_axis: the axis that a 2-D network does not see, or None.
        stitch_on_cpu: from how many voxels on the config wants the scores on the CPU; None: where the network is.
        even: spread the windows evenly, so that the last one need not be pushed back; as nnU-Net does.
    """

    roi: tuple[int | None, ...]
    batch: int = 1
    overlap: tuple[float, ...] = (0.25, 0.25, 0.25)
    mode: str = "constant"
    sigma_scale: tuple[float, ...] = (0.125, 0.125, 0.125)
    padding_mode: str = "constant"
    cval: float = 0.0
    slice_axis: int | None = None
    stitch_on_cpu: int | None = None
    even: bool = False

    def plan(self, shape: Sequence[int]) -> WindowPlan:
        """Return the windows for an image of ``shape``.

        Raises:
            ModelError: a rule that fits no image, or more than a million windows.
        """
        shape = tuple(int(size) for size in shape)
        if not len(shape) == len(self.roi) == len(self.overlap):
            raise ModelError(f"The model's window {self.roi} does not have the {len(shape)} axes of the image.")
        if any(not 0 <= share < 1 for share in self.overlap):
            raise ModelError(f"The model's windows overlap by {self.overlap}; it must be 0 or more and below 1.")
        window = tuple(int(roi) if roi and roi > 0 else size for roi, size in zip(self.roi, shape, strict=True))
        padding = tuple(
            ((wanted - size) // 2, wanted - size - (wanted - size) // 2) if wanted > size else (0, 0)
            for wanted, size in zip(window, shape, strict=True)
        )
        padded = tuple(max(size, wanted) for size, wanted in zip(shape, window, strict=True))
        steps = tuple(
            wanted * (1 - share) if self.even else max(1, int(wanted * (1 - share)))
            for wanted, share in zip(window, self.overlap, strict=True)
        )
        counts = [
            1 + math.ceil((size - wanted) / step) for size, wanted, step in zip(padded, window, steps, strict=True)
        ]
        if math.prod(counts) > MAX_WINDOWS:
            raise ModelError(
                f"The model looks at an image of this size in {math.prod(counts)} windows, which would take days. "
                "Crop the image, or use another model."
            )
        if self.even:
            steps = tuple(
                (size - wanted) / max(count - 1, 1) for count, size, wanted in zip(counts, padded, window, strict=True)
            )
        starts = tuple(
            tuple(min(round(number * step), size - wanted) for number in range(count))
            for count, step, size, wanted in zip(counts, steps, padded, window, strict=True)
        )
        return WindowPlan(shape, window, padding, starts)

    def with_window(self, window: Sequence[int]) -> WindowRule:
        """Return the rule with another window size."""
        return replace(self, roi=tuple(window))


@dataclass(frozen=True)
class WindowPlan:
    """The windows over one image.

    Attributes:
        shape: of the image.
        window: size of each window.
        padding: voxels added before and after along each axis, for images smaller than a window.
        starts: along each axis, the windows' first voxels in the padded image.
    """

    shape: tuple[int, ...]
    window: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    starts: tuple[tuple[int, ...], ...]

    @property
    def padded(self) -> tuple[int, ...]:
        """Shape of the padded image."""
        return tuple(size + sum(added) for size, added in zip(self.shape, self.padding, strict=True))

    @property
    def count(self) -> int:
        """Number of windows."""
        return math.prod(map(len, self.starts))

    def rows(self) -> Iterator[tuple[int, list[Start]]]:
        """Yield, for each start along the first axis, its number and the windows that start there, in MONAI's order."""
        rest: list[Start] = [()]
        for along in self.starts[1:]:
            rest = [(*start, each) for start in rest for each in along]
        for number, first in enumerate(self.starts[0]):
            yield number, [(first, *start) for start in rest]

    def cut(self, image: torch.Tensor, start: Start) -> torch.Tensor:
        """Return the window of the padded ``image`` ``(C, ...)`` that begins at ``start``."""
        return image[(slice(None), *(slice(at, at + size) for at, size in zip(start, self.window, strict=True)))]


def rule_of(inferer: Any, dims: int) -> WindowRule | None:
    """Return the rule of a MONAI inferer (None: the whole image at once); None for one that must be called as it is.

    Args:
        inferer: what the config made, a rule, or None.
        dims: spatial axes of the image.
    """
    if inferer is None:
        return whole_image(dims)
    if isinstance(inferer, WindowRule):
        return inferer
    kind = type(inferer)
    if not kind.__module__.startswith("monai."):
        return None
    if kind.__name__ == "SimpleInferer":
        return whole_image(dims)
    if kind.__name__ not in ("SlidingWindowInferer", "SlidingWindowInfererAdapt", "SliceInferer"):
        return None
    if inferer.with_coord:
        return None
    slice_axis = None
    roi: Any = inferer.roi_size
    if kind.__name__ == "SliceInferer":
        slice_axis = int(inferer.spatial_dim)
        roi = list(inferer.orig_roi_size)
        if len(roi) != 2 or dims != 3 or not 0 <= slice_axis <= 2:
            raise ModelError(f"The model's slices {roi} along axis {slice_axis} do not fit an image of {dims} axes.")
        roi.insert(slice_axis, 1)
    stitch = 0 if inferer.device is not None and "cpu" in str(inferer.device) else inferer.cpu_thresh
    return WindowRule(
        roi=_per_axis(roi, dims),
        batch=max(1, int(inferer.sw_batch_size)),
        overlap=tuple(map(float, _per_axis(inferer.overlap, dims))),
        mode=str(getattr(inferer.mode, "value", inferer.mode)),
        sigma_scale=tuple(map(float, _per_axis(inferer.sigma_scale, dims))),
        padding_mode=str(getattr(inferer.padding_mode, "value", inferer.padding_mode)),
        cval=float(inferer.cval),
        slice_axis=slice_axis,
        stitch_on_cpu=stitch,
    )


def whole_image(dims: int) -> WindowRule:
    """Return the rule of a network that sees the image in one piece."""
    return WindowRule(roi=(None,) * dims, overlap=(0.25,) * dims, mode="gaussian", sigma_scale=(0.125,) * dims)


def padded(image: torch.Tensor, plan: WindowPlan, rule: WindowRule) -> torch.Tensor:
    """Return ``image`` ``(C, ...)`` enlarged to at least one window."""
    from torch.nn.functional import pad

    if not any(sum(added) for added in plan.padding):
        return image
    amounts = [amount for added in reversed(plan.padding) for amount in added]
    value = {"value": rule.cval} if rule.padding_mode == "constant" else {}
    return pad(image[None], amounts, mode=rule.padding_mode, **value)[0]


def window_weights(plan: WindowPlan, rule: WindowRule) -> torch.Tensor | None:
    """Return how much each voxel of a window counts, ``window``-shaped float32; None: all alike."""
    if rule.mode == "constant":
        return None
    if rule.mode == "nnunet":
        from meddl.inference.nnunet import window_weights as nnunet_weights

        return nnunet_weights(plan.window)
    from monai.data.utils import compute_importance_map

    return compute_importance_map(plan.window, mode=rule.mode, sigma_scale=list(rule.sigma_scale))


class Coverage:
    """Sums of the weights of all windows over a voxel, computed once for each kind of row and kept.

    Args:
        plan: the windows.
        weights: of one window on the answer's grid; None: 1 everywhere.
        scale: voxels of the answer per voxel of the image, along each axis.
    """

    def __init__(self, plan: WindowPlan, weights: torch.Tensor | None, scale: tuple[int, ...]) -> None:
        self._plan = plan
        self._weights = weights
        self._scale = scale
        self._kept: dict[tuple[Any, ...], torch.Tensor] = {}

    def rows(self, number: int, device: torch.device) -> torch.Tensor:
        """Return the sums for the rows from start ``number`` to the next (or to the end), ``(n, ...)`` float32."""
        firsts = self._plan.starts[0]
        size = self._plan.window[0]
        first, end = firsts[number], firsts[number + 1] if number + 1 < len(firsts) else firsts[number] + size
        ahead = tuple(first - each for each in firsts[: number + 1] if each + size > first)
        key = (ahead, end - first, str(device))
        if key not in self._kept:
            self._kept[key] = self._sum(ahead, end - first).to(device)
        return self._kept[key]

    def _sum(self, ahead: tuple[int, ...], rows: int) -> torch.Tensor:
        import torch

        plan, scale = self._plan, self._scale
        window = tuple(size * factor for size, factor in zip(plan.window, scale, strict=True))
        weights = torch.ones(window) if self._weights is None else self._weights
        total = torch.zeros((rows * scale[0], *(n * f for n, f in zip(plan.padded[1:], scale[1:], strict=True))))
        others = next(plan.rows())[1]
        for offset in ahead:
            part = weights[offset * scale[0] : (offset + rows) * scale[0]]
            for _, *start in others:
                where = tuple(
                    slice(at * factor, at * factor + size)
                    for at, factor, size in zip(start, scale[1:], window[1:], strict=True)
                )
                total[(slice(0, part.shape[0]), *where)] += part
        return total


class RowBlender:
    """Adds the windows' answers up and hands finished rows to a sink.

    Args:
        plan: the windows.
        coverage: the sums of the weights.
        weights: of one window on the answer's grid; None: 1 everywhere.
        scale: voxels of the answer per voxel of the image.
        channels: of the answer.
        sink: takes the rows.
        device: where the sums are kept.
        dtype: of the sums: float32, or float16 where memory is short.
    """

    def __init__(
        self,
        plan: WindowPlan,
        coverage: Coverage,
        weights: torch.Tensor | None,
        scale: tuple[int, ...],
        channels: int,
        sink: ScoreSink,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        import torch

        self._plan, self._coverage, self._scale, self._sink = plan, coverage, scale, sink
        self._device = device
        self._weights = None if weights is None else weights.to(device)
        self._shape = tuple(size * factor for size, factor in zip(plan.shape, scale, strict=True))
        self._window = tuple(size * factor for size, factor in zip(plan.window, scale, strict=True))
        sink.begin(channels, three(self._shape))
        extent = tuple(size * factor for size, factor in zip(plan.padded, scale, strict=True))
        # Rows from the current start on: no window that is still to come reaches before it.
        self._sums = torch.zeros((channels, self._window[0], *extent[1:]), dtype=dtype, device=device)

    def add(self, start: Start, answer: torch.Tensor) -> None:
        """Add the answer ``(C, ...)`` of the window at ``start``, which begins in the current row."""
        answer = answer.to(self._device)
        where = tuple(
            slice(at * factor, at * factor + size)
            for at, factor, size in zip(start[1:], self._scale[1:], self._window[1:], strict=True)
        )
        sums = self._sums[(slice(None), slice(None), *where)]
        if self._weights is None:
            sums += answer
        elif sums.dtype == answer.dtype:
            sums.addcmul_(answer, self._weights)
        else:
            sums += answer * self._weights

    def finish(self, number: int) -> None:
        """Hand the rows from start ``number`` to the next over: all windows there have been added."""
        firsts = self._plan.starts[0]
        last = number + 1 == len(firsts)
        count = self._window[0] if last else (firsts[number + 1] - firsts[number]) * self._scale[0]
        self._emit(firsts[number] * self._scale[0], self._sums[:, :count], self._coverage.rows(number, self._device))
        if not last:
            remaining = self._window[0] - count
            # In steps of at most `count` rows, source and target do not overlap.
            for begin in range(0, remaining, count):
                end = min(begin + count, remaining)
                self._sums[:, begin:end] = self._sums[:, begin + count : end + count]
            self._sums[:, max(0, remaining) :] = 0

    def _emit(self, first: int, sums: torch.Tensor, total: torch.Tensor) -> None:
        # The padded image's rows first..first+n, less what was padded.
        before = tuple(added[0] * factor for added, factor in zip(self._plan.padding, self._scale, strict=True))
        begin, end = max(first, before[0]), min(first + sums.shape[1], before[0] + self._shape[0])
        inner = tuple(slice(at, at + size) for at, size in zip(before[1:], self._shape[1:], strict=True))
        for start, stop in pieces(begin, end, sums[:, 0].numel() * 4):
            rows = slice(start - first, stop - first)
            part = sums[(slice(None), rows, *inner)].float() / total[(rows, *inner)]
            self._sink.add(start - before[0], part if part.ndim == 4 else part[..., None])


def pieces(begin: int, end: int, row_bytes: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of rows that hold some :data:`PIECE_BYTES` each."""
    rows = max(1, PIECE_BYTES // max(1, row_bytes))
    for start in range(begin, end, rows):
        yield start, min(start + rows, end)


def three(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape of three axes: an image of two gets a third of one voxel."""
    return shape if len(shape) == 3 else (*shape, 1)


def _per_axis(value: Any, dims: int) -> tuple[Any, ...]:
    values = tuple(value) if isinstance(value, Sequence) else (value,) * dims
    if len(values) != dims:
        raise ModelError(f"The model's windows are described along {len(values)} axes; the image has {dims}.")
    return values
