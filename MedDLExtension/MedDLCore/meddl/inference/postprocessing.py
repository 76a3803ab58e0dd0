"""What a bundle's config does with its network's answer, sorted by what it means.

The usual steps (activation, decision, components) are recognized, so that scores can be interpolated before they are
decided on and never have to exist for all classes at full size. A config with any other step is followed as written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from meddl.inference.components import fill_holes, foreground_box, keep_largest
from meddl.inference.restore import Interpolation, restore_values
from meddl.volume import Volume, resample_to

if TYPE_CHECKING:
    import torch

    from meddl.volume import Grid

LABEL_STEPS = frozenset({"KeepLargestConnectedComponentd", "FillHolesd", "RemoveSmallObjectsd", "LabelFilterd"})
IDENTITY_STEPS = frozenset(
    {
        "EnsureTyped", "ToTensord", "ToDeviced", "CopyItemsd", "DeleteItemsd", "SelectItemsd", "FromMetaTensord",
        "ToMetaTensord", "ToNumpyd", "Identityd",
    }
)  # fmt: skip
INVERSION = "Invertd"

Activation = Literal["softmax", "sigmoid", "other", "none"]


@dataclass(frozen=True)
class Postprocessing:
    """The steps after the network.

    Attributes:
        steps: transforms on ``{key: (C, i, j, k)}``, without those that save; ``Invertd`` is a name in their place.
        key: what the network's answer is called.
        interpolation: how the config asks for the way back to the image's grid.
    """

    steps: tuple[Any, ...]
    key: str
    interpolation: Interpolation = "linear"

    @cached_property
    def understood(self) -> bool:
        """Whether every step is one of the usual ones."""
        known = {"Activationsd", "AsDiscreted", INVERSION} | LABEL_STEPS | IDENTITY_STEPS
        return all(step_name(step) in known for step in self.steps)

    @cached_property
    def unknown(self) -> tuple[str, ...]:
        """Names of the steps that are not among the usual ones."""
        known = {"Activationsd", "AsDiscreted", INVERSION} | LABEL_STEPS | IDENTITY_STEPS
        return tuple(step_name(step) for step in self.steps if step_name(step) not in known)

    @cached_property
    def threshold(self) -> float:
        """From which score on a single channel is foreground, from ``AsDiscreted``."""
        for step in self.steps:
            if step_name(step) == "AsDiscreted" and _first(step.threshold) is not None:
                return float(_first(step.threshold))
        return 0.5

    @cached_property
    def keeps_every_channel(self) -> bool:
        """Whether ``AsDiscreted`` thresholds channels one by one instead of choosing the largest."""
        steps = [step for step in self.steps if step_name(step) == "AsDiscreted"]
        return any(_first(step.threshold) is not None and not _first(step.argmax) for step in steps)

    @cached_property
    def activation(self) -> Activation:
        """What makes scores of the network's answer."""
        for step in self.steps:
            if step_name(step) == "Activationsd":
                softmax, sigmoid = bool(_first(step.softmax)), bool(_first(step.sigmoid))
                return "softmax" if softmax else "sigmoid" if sigmoid else "other"
        return "none"

    def activate(self, scores: torch.Tensor) -> torch.Tensor:
        """Apply the config's activation to ``(C, ...)``."""
        for step in self.steps:
            if step_name(step) == "Activationsd":
                return step({self.key: scores})[self.key]
        return scores

    def probabilities(self, scores: torch.Tensor) -> torch.Tensor:
        """Return ``(C, ...)`` probabilities, also where the config decides on plain scores."""
        if self.activation == "none":
            from meddl.inference.uncertainty import are_probabilities

            if are_probabilities(scores, exclusive=not self.keeps_every_channel):
                return scores.float()  # the network ends in a softmax or sigmoid of its own
            alone = scores.shape[0] == 1 or self.keeps_every_channel
            return scores.float().sigmoid() if alone else scores.float().softmax(dim=0)
        return self.activate(scores.float())

    def finish_labels(self, labels: np.ndarray, affine: np.ndarray) -> np.ndarray:
        """Apply the steps on label maps (largest component, holes, ...) to ``(I, J, K)`` labels."""
        steps = [step for step in self.steps if step_name(step) in LABEL_STEPS]
        box = foreground_box(labels)
        if not steps or box is None:
            return labels
        # Nothing outside the foreground's box can change: components and holes lie inside it.
        part = np.ascontiguousarray(labels[box])
        for step in steps:
            part = _finished(step, part, affine, self.key)
        out = np.zeros_like(labels)
        out[box] = part
        return out

    def follow(self, scores: torch.Tensor, affine: np.ndarray, grid: Grid) -> np.ndarray:
        """Do as the config says, step by step, and return ``(C, I, J, K)`` on the image's grid.

        What comes before the inversion runs on the network's grid, the inversion itself is ours, and what comes after
        it runs on the image's grid. Where the config has none, the way back is the last step, by nearest neighbor.
        """
        import torch
        from monai.data import MetaTensor

        names = [step_name(step) for step in self.steps]
        at = names.index(INVERSION) if INVERSION in names else len(self.steps)
        data = {self.key: MetaTensor(scores, affine=torch.tensor(affine))}
        before = apply(self.steps[:at], data)[self.key]
        array = np.asarray(before, dtype=np.float32)
        place = np.asarray(getattr(before, "affine", affine), dtype=np.float64)
        if at == len(self.steps) or self.interpolation == "nearest":
            here = resample_to(Volume(array, place), grid, interpolation="nearest").array
        else:
            here = restore_values(array, place, grid)
        data = {self.key: MetaTensor(torch.from_numpy(here), affine=torch.tensor(grid.affine))}
        return np.asarray(apply(self.steps[at + 1 :], data)[self.key])


def step_name(step: Any) -> str:
    """Return the class name of a transform."""
    return step if isinstance(step, str) else type(step).__name__


def flat_steps(part: Any) -> list[Any]:
    """Return the transforms of a config's part: a ``Compose`` (of others), a list, or a single transform."""
    if part is None:
        return []
    inner = getattr(part, "transforms", None)
    if inner is None and isinstance(part, list | tuple):
        inner = part
    return [part] if inner is None else [step for each in inner for step in flat_steps(each)]


def apply(steps: Sequence[Any], data: dict[str, Any], key: str | None = None) -> dict[str, Any]:
    """Run transforms one after the other; those that take an array and no dictionary get ``data[key]``."""
    from monai.transforms import MapTransform

    for step in steps:
        if key is not None and not isinstance(step, MapTransform) and not step_name(step).endswith("d"):
            data[key] = step(data[key])
        else:
            data = step(data)
    return data


def _finished(step: Any, labels: np.ndarray, affine: np.ndarray, key: str) -> np.ndarray:
    """Apply one step on a label map: the costly ones by what gives the same much sooner, others by MONAI."""
    import torch
    from monai.data import MetaTensor

    plain: Any = getattr(step, "converter", None)
    if step_name(step) == "KeepLargestConnectedComponentd" and not plain.is_onehot:
        return keep_largest(
            labels,
            plain.applied_labels,
            independent=plain.independent,
            connectivity=plain.connectivity,
            num_components=plain.num_components,
        )
    if step_name(step) == "FillHolesd":
        return fill_holes(labels, plain.applied_labels, connectivity=plain.connectivity)
    part = MetaTensor(torch.from_numpy(labels)[None], affine=torch.tensor(affine))
    return np.asarray(apply([step], {key: part})[key])[0]


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list | tuple) and value else value
