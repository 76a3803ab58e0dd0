"""What a judgement looks at, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from meddl.errors import UsageError


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
