"""Judging a generator: how near it comes to real images, whether it knows people by heart, and whether it is of use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meddl.errors import UsageError
from meddl.synthesis.distances import Distance
from meddl.synthesis.memorization import Memorization
from meddl.synthesis.usefulness import Usefulness

if TYPE_CHECKING:
    from meddl.synthesis.synthesizer import Synthesizer

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class JudgeOptions:
    """What is looked at, and how long.

    Attributes:
        count: synthetic images that are made and judged.
        seed: of everything that is left to chance.
        features: id or folder of a model whose features images are compared by; "" takes those of a small segmenter
            that learned from the dataset, where it has labels.
        seeds: how often each segmenter is trained; the intervals are over them. 0 leaves usefulness out.
        segmenter_steps: of each training.
        segmenter_batch: slices or patches in a step.
        synthetic_share: of a step's examples where real and synthetic ones are mixed.
        pairs: of synthetic images and their nearest real ones that the report shows.
        device: where networks run.
    """

    count: int = 200
    seed: int = 0
    features: str = ""
    seeds: int = 5
    segmenter_steps: int = 300
    segmenter_batch: int = 16
    synthetic_share: float = 0.5
    pairs: int = 8
    device: str = "auto"

    def __post_init__(self) -> None:
        for name, least, most in (
            ("count", 8, 20000), ("seed", 0, 2**31 - 1), ("seeds", 0, 50), ("segmenter_steps", 1, 100000),
            ("segmenter_batch", 2, 256), ("pairs", 1, 32),
        ):  # fmt: skip
            if not least <= getattr(self, name) <= most:
                raise UsageError(f"{name} is {getattr(self, name)}. Choose {least} to {most}.")
        if self.seeds == 1:
            raise UsageError("One seed gives no interval. Choose at least two, or 0 to leave usefulness out.")
        if not 0 < self.synthetic_share < 1:
            raise UsageError(f"synthetic_share is {self.synthetic_share}. It lies between 0 and 1.")

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Any) -> JudgeOptions:
        """Return the options that plain data describe; what they leave out is the default.

        Raises:
            UsageError: they describe none.
        """
        if not isinstance(data, Mapping):
            raise UsageError("The options of a judgement are an object of names and values.")
        known = {each.name: each.default for each in fields(cls)}
        for name, value in data.items():
            if name not in known:
                raise UsageError(f"A judgement has no option {name!r}. It has: {', '.join(known)}.")
            number = isinstance(known[name], float) and type(value) in (int, float)
            if not number and type(value) is not type(known[name]):
                raise UsageError(f"{name} is {value!r}, which it cannot be. An example: {known[name]!r}.")
        return cls(**data)


@dataclass(frozen=True)
class Judgement:
    """What is known of a generator's images.

    Attributes:
        distances: how near they come to the real ones, each with the same figure of real images of other people.
        memorization: whether they are images of the training people; None where that could not be looked at.
        usefulness: what they are worth for training; None where that could not be looked at.
        notes: what the reader should know, in sentences.
        facts: what was judged: dataset, generator, options, counts. No paths.
        pictures: PNG by name ("pairs.png", "usefulness.png"); not among :meth:`to_dict`.
    """

    distances: tuple[Distance, ...] = ()
    memorization: Memorization | None = None
    usefulness: Usefulness | None = None
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    pictures: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What must not be overlooked before images leave the house."""
        return self.memorization.warnings if self.memorization is not None else ()

    @property
    def summary(self) -> tuple[str, ...]:
        """The answer in a few sentences, the most important first."""
        said = list(self.warnings)
        if self.memorization is not None and not said:
            said.append(self.memorization.sentence)
        if self.usefulness is not None:
            said.append(self.usefulness.sentence)
        return tuple(said)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data: what the attributes hold, with ``summary`` and ``warnings`` first."""
        return {
            "summary": list(self.summary),
            "warnings": list(self.warnings),
            "distances": [each.to_dict() for each in self.distances],
            "memorization": self.memorization.to_dict() if self.memorization is not None else None,
            "usefulness": self.usefulness.to_dict() if self.usefulness is not None else None,
            "notes": list(self.notes),
            "facts": dict(self.facts),
        }


def judge(
    dataset: Path,
    synthesizer: Synthesizer,
    options: JudgeOptions | None = None,
    *,
    progress: Progress = lambda fraction, text: None,
    cancelled: Callable[[], bool] = lambda: False,
    log: Callable[[str], None] = lambda line: None,
) -> Judgement:
    """Return how good, how private and how useful a generator's images are, by the dataset it learned from.

    Args:
        dataset: folder that MedDL has exported, with the people that were held out (validation and test).
        synthesizer: what is judged.

    Raises:
        UsageError: there is no such dataset, or the generator does not fit to it.
        JobCancelled: on request.
    """
    raise NotImplementedError
