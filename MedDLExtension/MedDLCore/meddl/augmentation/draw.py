"""One draw of a plan: what happened to a sample, as a record that can be kept, replayed and undone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from meddl.augmentation.known import transform
from meddl.augmentation.plan import AugmentationPlan, Step
from meddl.augmentation.sample import Sample, range_of
from meddl.augmentation.transform import IntensityTransform, SharedTransform, SpatialTransform
from meddl.errors import UsageError
from meddl.randomness import Stream

_VERSION = 1


@dataclass(frozen=True)
class DrawnStep:
    """What one transform did.

    Attributes:
        transform: its name.
        drawn: of one that moves content or is shared: what it did; else that by channel.
    """

    transform: str
    drawn: Mapping[str, Any]


@dataclass(frozen=True)
class Draw:
    """What happened to a sample, or shall happen: all that is needed to do it again.

    Attributes:
        plan: name of the plan.
        plan_sha256: :attr:`AugmentationPlan.digest`.
        seed, key: what it was drawn with.
        ranges: dark and bright end of each channel of the source, before anything happened.
        steps: in order; those that did not happen are left out.
        notes: what did not happen though it was drawn, in sentences.
    """

    plan: str
    plan_sha256: str
    seed: int
    key: str
    ranges: Mapping[str, tuple[float, float]]
    steps: tuple[DrawnStep, ...]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "meddl_draw": _VERSION,
            "plan": self.plan,
            "plan_sha256": self.plan_sha256,
            "seed": self.seed,
            "key": self.key,
            "ranges": {name: list(ends) for name, ends in self.ranges.items()},
            "steps": [{"transform": step.transform, "drawn": dict(step.drawn)} for step in self.steps],
            "notes": list(self.notes),
        }

    @classmethod
    def from_dict(cls, data: Any) -> Draw:
        """Return the draw that a record tells.

        Raises:
            UsageError: it is none, or one of another version.
        """
        try:
            if data["meddl_draw"] != _VERSION:
                raise ValueError("another version")
            ranges = {str(name): (float(low), float(high)) for name, (low, high) in data["ranges"].items()}
            steps = tuple(DrawnStep(str(each["transform"]), dict(each["drawn"])) for each in data["steps"])
            for step in steps:
                transform(step.transform, "The record")
            return cls(
                str(data["plan"]), str(data["plan_sha256"]), int(data["seed"]), str(data["key"]), ranges, steps,
                tuple(map(str, data["notes"])),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UsageError(
                "This is no record of an augmentation, or one of another version of MedDL, and cannot be replayed."
            ) from error

    @property
    def moves(self) -> bool:
        """Say whether content moved."""
        return any(isinstance(transform(step.transform, ""), SpatialTransform) for step in self.steps)

    @property
    def exchanges_sides(self) -> bool:
        """Say whether left and right have changed places."""
        known = [(transform(step.transform, ""), step.drawn) for step in self.steps]
        times = [each.exchanges_sides(drawn) for each, drawn in known if isinstance(each, SpatialTransform)]
        return sum(times) % 2 == 1


def draw(
    plan: AugmentationPlan,
    sample: Sample,
    seed: int,
    key: str = "",
    ranges: Mapping[str, tuple[float, float]] | None = None,
) -> Draw:
    """Return what a plan does to a sample this time: the same plan, sample, seed and key give the same.

    Every step draws from a stream of its own: another range or probability of one changes nothing in the others.

    Args:
        key: tells the draws of one seed apart, for instance "case_0007/2".
        ranges: dark and bright end of each channel, where they are known already.
    """
    ranges = ranges or {name: range_of(image) for name, image in sample.images.items()}
    steps: list[DrawnStep] = []
    notes: list[str] = []
    for number, step in enumerate(plan.steps):
        stream = Stream("meddl augmentation", seed, key, number, step.transform)
        if stream.child("happens").uniform() >= step.probability:
            continue
        known = transform(step.transform, f"Transform {number + 1}")
        if isinstance(known, SpatialTransform):
            drawn = known.draw(step.settings, stream, sample.grid)
            if drawn is not None and known.exchanges_sides(drawn) and sample.one_sided:
                notes.append(f"Left and right were not exchanged: {sample.one_sided}")
                drawn = None
        elif isinstance(known, SharedTransform):
            drawn = known.draw(step.settings, stream, sample.grid)
        else:
            assert isinstance(known, IntensityTransform)
            drawn = _of_channels(known, step, stream, sample)
        if drawn:
            steps.append(DrawnStep(step.transform, drawn))
    return Draw(plan.name, plan.digest, seed, key, ranges, tuple(steps), tuple(notes))


def inverse(done: Draw) -> tuple[Draw, tuple[str, ...]]:
    """Return what undoes a draw, and the titles of the transforms that nothing undoes; those are left out.

    What moved is moved back: mirrors exactly, the rest up to interpolation and what left the image. Gain, contrast and
    bias field are taken back up to rounding.
    """
    steps, lasting = [], []
    for step in reversed(done.steps):
        known = transform(step.transform, "The record")
        if isinstance(known, IntensityTransform) and not isinstance(known, SharedTransform):
            channels = {name: known.inverse(each) for name, each in step.drawn.items()}
            back = None if None in channels.values() else channels
        else:
            back = known.inverse(step.drawn)  # type: ignore[assignment]
        if back is None:
            lasting.append(known.title)
        else:
            steps.append(DrawnStep(step.transform, back))
    return replace(done, steps=tuple(steps), notes=()), tuple(dict.fromkeys(lasting))


def _of_channels(known: IntensityTransform, step: Step, stream: Stream, sample: Sample) -> dict[str, Any]:
    each = {name: known.draw(step.settings, stream.child(name), image.grid) for name, image in sample.images.items()}
    return {name: drawn for name, drawn in each.items() if drawn is not None}
