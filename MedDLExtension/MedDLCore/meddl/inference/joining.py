"""Which models can answer together, as an ensemble: told from their descriptions, before anything is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from meddl.errors import ModelError, UsageError
from meddl.models import class_names

if TYPE_CHECKING:
    from meddl.models import ModelBundle

JOINED_TASKS = ("segmentation", "classification")
_SHOWN = 3


def check_joined(bundles: Sequence[ModelBundle]) -> None:
    """Refuse models whose answers to the same image cannot be averaged.

    They must be for one task, take the same images, and look for the same structures (or classes), in whatever order.

    Raises:
        UsageError: there are fewer than two, or one of them comes twice.
        ModelError: they do not fit each other; the message says in what.
    """
    if len(bundles) < 2:
        raise UsageError("An ensemble takes two models or more.")
    if _repeated(bundles):
        raise UsageError("The same model is there twice, which says nothing new. Leave one of them out.")
    tasks = sorted({bundle.task or "no known task" for bundle in bundles})
    if len(tasks) > 1 or tasks[0] not in JOINED_TASKS:
        raise ModelError(
            f"Models for {' and '.join(tasks)} cannot be joined; those for segmentation, or those for "
            "classification, can."
        )
    first = bundles[0]
    for other in bundles[1:]:
        trouble = _difference(first, other)
        if trouble:
            raise ModelError(f"'{first.name}' and '{other.name}' cannot be joined: {trouble}.")


def joined_name(names: Sequence[str]) -> str:
    """Return what several models are called together.

    Example:
        >>> joined_name(["Brain A", "Brain B"]), joined_name(["Brain", "Brain"])
        ('Brain A + Brain B', 'Brain (2 models)')
    """
    different = " + ".join(dict.fromkeys(names))
    return different if len(set(names)) == len(names) else f"{different} ({len(names)} models)"


def things(bundle: ModelBundle) -> tuple[str, ...]:
    """Return what a model looks for: the names of its structures or classes, in its own order."""
    if bundle.task == "segmentation" and bundle.segments:
        return tuple(segment.name for segment in bundle.segments)
    return class_names(bundle)


def _repeated(bundles: Sequence[ModelBundle]) -> bool:
    """Tell whether a model comes twice; digests, which take reading all of the weights, are looked at in doubt only."""
    if len({bundle.location for bundle in bundles}) < len(bundles):
        return True
    titles = [(bundle.name, bundle.version) for bundle in bundles]
    alike = [bundle.digest for bundle, title in zip(bundles, titles, strict=True) if titles.count(title) > 1]
    return len(set(alike)) < len(alike)


def _difference(first: ModelBundle, other: ModelBundle) -> str:
    return _other_images(first, other) or _other_things(first, other)


def _other_images(first: ModelBundle, other: ModelBundle) -> str:
    channels = [[channel.name for channel in bundle.channels] for bundle in (first, other)]
    if len(channels[0]) != len(channels[1]):
        counts = [f"{len(names)} image{'s' if len(names) != 1 else ''}" for names in channels]
        return f"the one takes {counts[0]}, the other {counts[1]}"
    if len(channels[0]) > 1 and [name.casefold() for name in channels[0]] != [name.casefold() for name in channels[1]]:
        return f"the one takes {_listed(channels[0])}, the other {_listed(channels[1])}"
    if (first.sequence_axis == "frames") != (other.sequence_axis == "frames"):
        return "the one reads a sequence of time frames, the other a single image"
    return ""


def _other_things(first: ModelBundle, other: ModelBundle) -> str:
    names = [things(bundle) for bundle in (first, other)]
    missing = [[name for name in names[index] if name not in names[1 - index]] for index in (0, 1)]
    if any(missing):
        told = [
            f"only '{bundle.name}' knows {_listed(lack)}"
            for bundle, lack in zip((first, other), missing, strict=True)
            if lack
        ]
        return f"they look for different things ({'; '.join(told)})"
    if len(names[0]) != len(names[1]):
        return "they look for different things (some of them under one name)"
    if _overlapping(first) != _overlapping(other):
        return "structures overlap in the answer of the one, and compete in that of the other"
    return ""


def _overlapping(bundle: Any) -> bool:
    return bool(bundle.multilabel) or len({segment.layer for segment in bundle.segments}) > 1


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown
