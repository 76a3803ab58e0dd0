"""An augmentation plan as a panel edits it: what is switched off keeps its settings."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from meddl.augmentation import TRANSFORMS, AugmentationPlan, Step
from meddl.augmentation.parameters import Parameter, parsed_settings
from meddl.errors import UsageError

from meddl_slicer.i18n import tr as _

_ORDER = (
    "flip", "affine", "elastic", "bias_field", "contrast", "gain", "blur", "sharpen", "low_resolution", "anisotropy",
    "motion", "ghosting", "gibbs", "spike", "noise", "cutout",
)  # fmt: skip
"""Where a transform goes that a plan does not have: from the patient to the detector."""
_WIDER = 4


@dataclass(frozen=True)
class PlanRow:
    """One transform, in use or not.

    Attributes:
        step: with its settings.
        on: whether it is part of the plan.
    """

    step: Step
    on: bool = False


@dataclass(frozen=True)
class EditedPlan:
    """All transforms, in order, those of a plan and the others.

    Attributes:
        name, modality, description: of the plan that it began with.
        rows: a plan may have a transform several times.
        is_changed: whether it is another one by now.
    """

    name: str = ""
    modality: str = ""
    description: str = ""
    rows: tuple[PlanRow, ...] = field(default=())
    is_changed: bool = False

    @classmethod
    def of(cls, plan: AugmentationPlan) -> EditedPlan:
        """Return a plan with all other transforms switched off."""
        rows = [PlanRow(step, True) for step in plan.steps]
        for name in [*_ORDER, *(each for each in TRANSFORMS if each not in _ORDER)]:
            if all(row.step.transform != name for row in rows):
                known = TRANSFORMS[name]
                row = PlanRow(Step(name, 0.5, parsed_settings(known.parameters, {}, known.name)))
                later = (n for n, each in enumerate(rows) if _place(each.step.transform) > _place(name))
                rows.insert(next(later, len(rows)), row)
        return cls(plan.name, plan.modality, plan.description, tuple(rows))

    @classmethod
    def from_text(cls, text: str) -> EditedPlan | None:
        """Return what :meth:`text` has told; None for anything else."""
        try:
            data = json.loads(text)
            rows = []
            for entry in data["rows"]:
                given = {name: value for name, value in entry.items() if name != "on"}
                step = AugmentationPlan.from_dict({"transforms": [given]}).steps[0]
                rows.append(PlanRow(step, bool(entry["on"])))
            texts = [str(data[name]) for name in ("name", "modality", "description")]
            return cls(*texts, tuple(rows), bool(data["is_changed"]))
        except (ValueError, KeyError, TypeError, UsageError):
            return None

    def text(self) -> str:
        """Return it as one text, as a scene keeps it."""
        rows = [{**_plain(row.step), "on": row.on} for row in self.rows]
        told = {"name": self.name, "modality": self.modality, "description": self.description}
        return json.dumps({**told, "is_changed": self.is_changed, "rows": rows})

    def plan(self) -> AugmentationPlan | None:
        """Return what is switched on; None for nothing."""
        steps = tuple(row.step for row in self.rows if row.on)
        if not steps:
            return None
        return AugmentationPlan(self.title, steps, self.modality, "" if self.is_changed else self.description)

    @property
    def title(self) -> str:
        """The name, and whether it is another plan by now."""
        return _("{name}, changed").format(name=self.name) if self.is_changed else self.name

    def with_row(self, index: int, **changes: Any) -> EditedPlan:
        """Return it with another row: ``on``, ``probability`` or single settings by name."""
        row = self.rows[index]
        settings = {**row.step.settings, **{name: value for name, value in changes.items() if name not in _OF_ROW}}
        step = Step(row.step.transform, float(changes.get("probability", row.step.probability)), settings)
        return self._with(index, PlanRow(step, bool(changes.get("on", row.on))))

    def moved(self, index: int, by: int) -> EditedPlan:
        """Return it with a row further up (-1) or down (1)."""
        there = index + by
        if not 0 <= there < len(self.rows):
            return self
        rows = list(self.rows)
        rows[index], rows[there] = rows[there], rows[index]
        return replace(self, rows=tuple(rows), is_changed=True)

    def _with(self, index: int, row: PlanRow) -> EditedPlan:
        if row == self.rows[index]:
            return self
        rows = (*self.rows[:index], row, *self.rows[index + 1 :])
        return replace(self, rows=rows, is_changed=True)


_OF_ROW = ("on", "probability")


@dataclass(frozen=True)
class SliderRange:
    """What a slider covers, how many decimals it tells, and how far one step goes."""

    low: float
    high: float
    decimals: int
    step: float


def slider_range(parameter: Parameter, setting: tuple[float, float], everything: bool = False) -> SliderRange:
    """Return what the slider of a parameter covers: some times what is usual, and what is set.

    Args:
        everything: all that is possible.
    """
    low, high = parameter.limits
    first, last = (float(each) for each in parameter.default)
    width = last - first
    if width > 0 and not everything and high - low > 2 * _WIDER * width:
        middle = (first + last) / 2
        low, high = max(low, middle - _WIDER * width), min(high, middle + _WIDER * width)
    if parameter.whole:
        low, high = math.floor(low), math.ceil(high)
    low, high = min(low, setting[0]), max(high, setting[1])
    decimals = 0 if parameter.whole else min(4, max(0, 2 - math.floor(math.log10(max(high - low, 1e-3)))))
    return SliderRange(float(low), float(high), decimals, 10.0**-decimals if decimals else 1.0)


def parameter_title(parameter: Parameter) -> str:
    """Return what a parameter is called, with its unit: "Shift [mm]"."""
    plain = parameter.name.removesuffix("_mm").removesuffix("_degrees").replace("_", " ")
    unit = {"degrees": "°"}.get(parameter.unit, parameter.unit)
    return plain.capitalize() + (f" [{unit}]" if unit else "")


def _plain(step: Step) -> Mapping[str, Any]:
    return AugmentationPlan("", (step,)).to_dict()["transforms"][0]  # type: ignore[no-any-return]


def _place(name: str) -> int:
    return _ORDER.index(name) if name in _ORDER else len(_ORDER)
