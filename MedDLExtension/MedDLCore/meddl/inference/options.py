"""How a model is to be run: what the user may choose beside the model and the images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args, get_type_hints

from meddl.errors import UsageError

Precision = Literal["auto", "float32", "bfloat16", "float16"]
Engine = Literal["auto", "torch", "openvino"]
UncertaintyMethod = Literal["none", "flips", "dropout", "folds"]


@dataclass(frozen=True)
class RunOptions:
    """What can be chosen for a run. The defaults give the model's answer as its authors meant it.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda:N`` or ``mps``.
        precision: of the network's arithmetic. ``auto``: half precision on a GPU, float32 on a processor.
        engine: what computes. ``auto``: OpenVINO on a processor where it is installed and pays, else PyTorch.
        uncertainty: ``flips`` (test-time augmentation), ``dropout`` (Monte Carlo dropout), ``folds`` (the networks of a
            model that was trained on several folds, as nnU-Net is) or ``none``.
        passes: how many runs the uncertainty is made of, 2 to 100; folds are as many as there are.
        probabilities: keep each structure's probability map.
        skip_air: leave out windows that hold only air, where the model says how to tell.
        difference: for reconstruction, the answer minus the input as an image of its own.
        seed: of what is random (dropout, shifts).
        mirror: for nnU-Net models, run on mirrored copies of the image as well, along the axes that training allowed,
            and take the mean, as nnU-Net does by itself: 2 to 8 times the time for a slightly better answer.

    Raises:
        UsageError: a value that does not exist; the message names it and the possible ones.

    Example:
        >>> RunOptions(device="cpu", uncertainty="flips").passes
        8
        >>> RunOptions.from_dict({"engine": "abacus"})
        Traceback (most recent call last):
        ...
        meddl.errors.UsageError: 'abacus' is no engine. Choose auto, torch or openvino.
    """

    device: str = "auto"
    precision: Precision = "auto"
    engine: Engine = "auto"
    uncertainty: UncertaintyMethod = "none"
    passes: int = 8
    probabilities: bool = False
    skip_air: bool = True
    difference: bool = False
    seed: int = 0
    mirror: bool = False

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for name in ("precision", "engine", "uncertainty"):
            known, value = get_args(hints[name]), getattr(self, name)
            if value not in known:
                listed = f"{', '.join(known[:-1])} or {known[-1]}"
                raise UsageError(f"{value!r} is no {name}. Choose {listed}.")
        if type(self.passes) is not int or not 2 <= self.passes <= 100:
            raise UsageError(f"The number of passes must be 2 to 100, not {self.passes!r}.")
        if type(self.seed) is not int or self.seed < 0:
            raise UsageError(f"The seed must be a whole number from 0 on, not {self.seed!r}.")
        for name in ("probabilities", "skip_air", "difference", "mirror"):
            if type(getattr(self, name)) is not bool:
                raise UsageError(f"{name} must be true or false, not {getattr(self, name)!r}.")

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as a job's parameters and the provenance carry it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RunOptions:
        """Return the options that :meth:`to_dict` described; what is left out has its default."""
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(data) - known)
        if unknown:
            raise UsageError(f"{unknown[0]!r} is no option of a run. There are: {', '.join(sorted(known))}.")
        return cls(**data)
