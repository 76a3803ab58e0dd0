"""Tensors that differ from one common tensor in a box each, as a tensor that PyTorch's layers take."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils._pytree import tree_leaves, tree_map_only

MOST_CHANGED = 0.5
"""Share of a tensor from which on computing all of it is as quick as computing the box."""


class NotIncremental(Exception):
    """A network does what can only be computed for all of an image."""


class Unchanged:
    """What each step made of the image that did not change: computed once and looked up from then on.

    A step is known by its function and what it was given, not by its place: which steps run on boxes may differ from
    batch to batch.

    Args:
        most_bytes: that may be kept; 0: as many as it takes.

    Attributes:
        shown: tensors of this run, parts of which somebody has got a copy of where PyTorch gives a view.
    """

    def __init__(self, most_bytes: int = 0) -> None:
        self.shown: list[Changed] = []
        self._made: dict[tuple[Any, ...], tuple[torch.Tensor, Any]] = {}
        self._most_bytes, self._bytes = most_bytes, 0

    def __len__(self) -> int:
        return len(self._made)

    def __reduce__(self) -> tuple[Any, ...]:
        return Unchanged, (self._most_bytes,)  # what is known by its address is unknown in a copy

    def of(self, compute: Callable[..., Any], *given: Any, **how: Any) -> torch.Tensor:
        """Return ``compute(*given, **how)``, as it was the first time; of several answers the first."""
        key = (compute, *_known(given), *sorted(how.items()))
        if key not in self._made:
            answer = compute(*given, **how)
            answer = answer[0] if isinstance(answer, tuple) else answer
            self._bytes += answer.nbytes
            if 0 < self._most_bytes < self._bytes:
                raise NotIncremental("What the layers make of the unchanged image takes too much memory to keep.")
            # What was given is kept as well: as long as it lives, nothing else lies at its address. Not as it came: a
            # layer's weights go to another address where the layer is told to lay them out otherwise.
            self._made[key] = answer, tree_map_only(torch.Tensor, torch.Tensor.detach, given)
        return self._made[key][0]


class Changed(torch.Tensor):
    """``(B, C, *S)`` tensors that are ``base`` but for a box each. What no rule is known for sees them whole.

    Attributes:
        base: ``(1, C, *S)`` what is around the boxes.
        boxes: ``(B, C, *size)`` what lies in them.
        starts: ``(B, D)`` where they begin.
        unchanged: what was made of the base before.
    """

    base: torch.Tensor
    boxes: torch.Tensor
    starts: np.ndarray
    unchanged: Unchanged
    _written: int  # how often in place, by rules: PyTorch counts others as well
    _shown: bool  # whether somebody has got a copy of a part for a view of it

    @staticmethod
    def __new__(cls, base: torch.Tensor, boxes: torch.Tensor, starts: np.ndarray, unchanged: Unchanged) -> Changed:
        shape = (len(boxes), *base.shape[1:])
        made: Changed = torch.Tensor._make_wrapper_subclass(cls, shape, dtype=base.dtype, device=base.device)
        made.base, made.boxes, made.starts, made.unchanged = base, boxes, starts, unchanged
        made._written, made._shown = 0, False
        return made

    def __init__(self, *_: Any) -> None:
        super().__init__()

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        from meddl.saliency.incremental.rules import RULES

        kwargs = kwargs or {}
        for each in _changed(args, kwargs):
            each.check()
        rule = RULES.get(function.overloadpacket) if "out" not in kwargs else None
        answer = rule(*args, **kwargs) if rule is not None else NotImplemented
        if answer is not NotImplemented:
            return answer
        for argument, given in _shared(function._schema, args, kwargs):
            if argument.alias_info.is_write or function.overloadpacket is torch.ops.aten.detach:
                raise NotIncremental(f"{function} overwrites what it is given, or lets others do so.")
            given._shown = True
            given.unchanged.shown.append(given)
        args, kwargs = tree_map_only(Changed, Changed.whole, (args, kwargs))
        return function(*args, **kwargs)

    def check(self) -> None:
        """See to it that nobody has written into a part of it: the part was a copy.

        Raises:
            NotIncremental: somebody has.
        """
        if self._version != self._written:
            raise NotIncremental("A part of what a layer answered is overwritten.")

    @property
    def size_of_boxes(self) -> np.ndarray:
        """``(D,)``."""
        return np.array(self.boxes.shape[2:])

    @property
    def most_changed(self) -> bool:
        """Whether the boxes are so large that computing all is as quick."""
        return self.boxes[0, 0].numel() > MOST_CHANGED * self.base[0, 0].numel()

    def whole(self) -> torch.Tensor:
        """Return it as a plain tensor."""
        self.check()
        whole = self.base.expand(len(self.boxes), *self.base.shape[1:]).clone(memory_format=torch.preserve_format)
        for image, start, box in zip(whole, self.starts, self.boxes, strict=True):
            image[_place(start, self.size_of_boxes)] = box
        return whole

    def cut(
        self, starts: np.ndarray, size: np.ndarray, padding: np.ndarray | None = None, value: float = 0.0
    ) -> torch.Tensor:
        """Return other boxes ``(B, C, *size)`` of it, from ``starts`` ``(B, D)`` on.

        Args:
            padding: voxels of ``value`` on both sides of each axis, which starts may lie in.
        """
        base, at, own = self.base, self.starts, self.size_of_boxes
        if padding is not None and padding.any():
            base = self.unchanged.of(_padded, base, padding.tolist(), value)
            starts, at = starts + padding, at + padding
        elif (size == own).all() and (starts == at).all():
            return self.boxes
        cut = base.new_empty((len(starts), base.shape[1], *size))
        for image, start, box, box_start in zip(cut, starts, self.boxes, at, strict=True):
            image[...] = base[0][_place(start, size)]
            first, last = np.maximum(start, box_start), np.minimum(start + size, box_start + own)
            if (first < last).all():
                length = last - first
                image[_place(first - start, length)] = box[_place(first - box_start, length)]
        return cut

    def into(self, base: torch.Tensor, boxes: torch.Tensor, starts: np.ndarray) -> None:
        """Hold other values from now on, as an operation in place asks for.

        Raises:
            NotIncremental: they are of another kind, or parts were given away, which would have to change, too.
        """
        if self._shown or base.shape != self.base.shape or base.dtype != self.base.dtype:
            raise NotIncremental("What a layer answered is overwritten after it was taken apart, or by more.")
        self.base, self.boxes, self.starts = base, boxes, starts
        self._written += 1


def from_images(images: torch.Tensor, base: torch.Tensor, unchanged: Unchanged) -> Changed:
    """Return images ``(B, C, *S)`` as what changed against ``base`` ``(1, C, *S)``, in boxes of one size."""
    differs = (images != base).any(dim=1)
    full = np.array(base.shape[2:])
    first, last = np.zeros((len(images), len(full)), int), np.ones((len(images), len(full)), int)
    for axis in range(len(full)):
        others = [1 + each for each in range(len(full)) if each != axis]
        along = differs.any(dim=others) if others else differs
        for image, line in enumerate(along.cpu().numpy()):
            where = np.flatnonzero(line)
            if len(where):
                first[image, axis], last[image, axis] = where[0], where[-1] + 1
    size = (last - first).max(axis=0)
    starts = np.minimum(first, full - size)
    boxes = [image[_place(start, size)] for image, start in zip(images, starts, strict=True)]
    return Changed(base, torch.stack(boxes), starts, unchanged)


def around(changed: Sequence[Changed]) -> tuple[np.ndarray, np.ndarray]:
    """Return starts ``(B, D)`` and size ``(D,)`` of boxes that hold those of all."""
    first = np.min([each.starts for each in changed], axis=0)
    last = np.max([each.starts + each.size_of_boxes for each in changed], axis=0)
    size = (last - first).max(axis=0)
    return np.minimum(first, np.array(changed[0].base.shape[2:]) - size), size


def _changed(*given: Any) -> list[Changed]:
    return [each for each in tree_leaves(given) if isinstance(each, Changed)]


def _shared(schema: Any, args: Any, kwargs: Any) -> Iterator[tuple[Any, Changed]]:
    """Give what a function writes into or answers a part of, with what its schema says of it."""
    for number, argument in enumerate(schema.arguments):
        if argument.alias_info is not None:
            value = args[number] if number < len(args) else kwargs.get(argument.name)
            for each in _changed(value):
                yield argument, each


def _place(start: np.ndarray, size: np.ndarray) -> tuple[slice, ...]:
    """Return where a box lies in ``(C, *S)``."""
    return slice(None), *(slice(int(at), int(at + length)) for at, length in zip(start, size, strict=True))


def _padded(base: torch.Tensor, padding: list[int], value: float) -> torch.Tensor:
    both = [each for length in reversed(padding) for each in (length, length)]
    return torch.nn.functional.pad(base, both, value=value)


def _known(given: Any) -> tuple[Any, ...]:
    """Return what tells arguments from others, as a key."""
    known: list[Any] = []
    for each in given:
        if isinstance(each, torch.Tensor):
            version = 0 if each.is_inference() else each._version
            known.append((each.data_ptr(), version, tuple(each.shape), each.stride(), each.dtype))
        elif isinstance(each, list | tuple):
            known.append(_known(each))
        else:
            known.append(each)
    return tuple(known)
