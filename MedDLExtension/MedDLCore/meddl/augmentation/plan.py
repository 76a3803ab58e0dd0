"""An augmentation plan: which transforms, in which order, how often and how strong. It is data, kept as JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from meddl.augmentation.known import transform
from meddl.augmentation.parameters import Setting, parsed_settings
from meddl.augmentation.presets import PRESETS
from meddl.errors import UsageError

_VERSION = 1
_LARGEST = 1 << 20
_KEYS = ("meddl_augmentation", "name", "modality", "description", "transforms")


@dataclass(frozen=True)
class Step:
    """One transform of a plan.

    Attributes:
        transform: its name, see :data:`meddl.augmentation.TRANSFORMS`.
        probability: 0 to 1, how often it happens.
        settings: ranges and choices by parameter, all of them.
    """

    transform: str
    probability: float
    settings: Mapping[str, Setting]


@dataclass(frozen=True)
class AugmentationPlan:
    """What may happen to a case, in order.

    Attributes:
        name: for people.
        steps: one after the other. Neighboring ones that move content are done in one interpolation.
        modality: what it is meant for, as DICOM names it, or "".
        description: for people.

    Example:
        >>> noisy = {"transform": "noise", "strength": 0.1}
        >>> plan = AugmentationPlan.from_dict({"name": "noisy", "transforms": [noisy]})
        >>> plan.steps[0].settings["strength"], plan.steps[0].probability
        ((0.1, 0.1), 1.0)
    """

    name: str
    steps: tuple[Step, ...]
    modality: str = ""
    description: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as a file of it has them."""
        return {
            "meddl_augmentation": _VERSION,
            "name": self.name,
            "modality": self.modality,
            "description": self.description,
            "transforms": [
                {
                    "transform": step.transform,
                    "probability": step.probability,
                    **{name: list(setting) for name, setting in step.settings.items()},
                }
                for step in self.steps
            ],
        }

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what it does; name and description do not count."""
        steps = self.to_dict()["transforms"]
        return hashlib.sha256(json.dumps(steps, sort_keys=True).encode()).hexdigest()

    @classmethod
    def from_dict(cls, data: Any) -> AugmentationPlan:
        """Return the plan that plain data describe.

        Raises:
            UsageError: they do not; the message says where, what and what it can be.
        """
        if not isinstance(data, Mapping):
            raise UsageError("An augmentation plan is an object with a name and a list of transforms.")
        for key in data:
            if key not in _KEYS:
                raise UsageError(f"An augmentation plan has no {key!r}. It has: {', '.join(_KEYS)}.")
        if data.get("meddl_augmentation", _VERSION) != _VERSION:
            raise UsageError("The augmentation plan was made by another version of MedDL. Make it anew from a preset.")
        texts = {name: data.get(name, "") for name in ("name", "modality", "description")}
        for name, text in texts.items():
            if not isinstance(text, str):
                raise UsageError(f"The {name} of an augmentation plan is a text, not {text!r}.")
        entries = data.get("transforms")
        if not isinstance(entries, Sequence) or isinstance(entries, str) or not entries:
            raise UsageError('An augmentation plan needs "transforms", a list of at least one.')
        steps = tuple(_step(entry, number) for number, entry in enumerate(entries, 1))
        return cls(texts["name"].strip() or "plan", steps, texts["modality"], texts["description"])


def load_plan(source: str | Path) -> AugmentationPlan:
    """Return a preset by its name, or the plan in a JSON file.

    Raises:
        UsageError: there is neither, or the file is no plan.
    """
    if str(source) in PRESETS:
        return AugmentationPlan.from_dict(PRESETS[str(source)])
    path = Path(source)
    if path.suffix.lower() != ".json" and not path.is_file():
        raise UsageError(f"There is no preset {str(source)!r} and no such file. Presets: {', '.join(PRESETS)}.")
    try:
        if path.stat().st_size > _LARGEST:
            raise UsageError(f"{path.name} is too large for an augmentation plan.")
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path.name} cannot be read: {error.strerror or 'the system refused it'}.") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path.name} is no JSON: {error}. Correct it, or start from a preset.") from error
    return AugmentationPlan.from_dict(data)


def _step(entry: Any, number: int) -> Step:
    where = f"Transform {number}"
    if not isinstance(entry, Mapping) or "transform" not in entry:
        raise UsageError(f'{where} of the plan is no object with a "transform".')
    known = transform(entry["transform"], where)
    where = f"{where} ({known.name})"
    probability = entry.get("probability", 1.0)
    if isinstance(probability, bool) or not isinstance(probability, int | float) or not 0 <= probability <= 1:
        raise UsageError(f"{where}: probability is {probability!r}. It takes a number from 0 to 1.")
    given = {name: value for name, value in entry.items() if name not in ("transform", "probability")}
    return Step(known.name, float(probability), parsed_settings(known.parameters, given, where))
