"""All that is known of why a model gave an answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from meddl.inference.prediction import Prediction
from meddl.saliency.attribution import Attribution, Measure


@dataclass(frozen=True, eq=False)
class Explanation:
    """A model's answer and why it gave it.

    Attributes:
        prediction: the answer.
        attributions: one per method, in the order they were asked for.
        agreement: how far the methods agree, where there are several.
        counterfactuals: what becomes of the answer without each structure, where that was asked for.
        left_out: why methods gave no map, in sentences, by their ids.
    """

    prediction: Prediction
    attributions: tuple[Attribution, ...]
    agreement: tuple[Measure, ...] = ()
    counterfactuals: tuple[Measure, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data and volumes, as a job's result carries them."""
        return {
            "prediction": self.prediction.to_dict(),
            "attributions": [each.to_dict() for each in self.attributions],
            "agreement": [asdict(each) for each in self.agreement],
            "counterfactuals": [asdict(each) for each in self.counterfactuals],
            "left_out": dict(self.left_out),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Explanation:
        """Return what :meth:`to_dict` described."""
        from meddl.inference import prediction_from_dict

        return cls(
            prediction_from_dict(data["prediction"]),
            tuple(Attribution.from_dict(each) for each in data["attributions"]),
            tuple(Measure.from_dict(each) for each in data["agreement"]),
            tuple(Measure.from_dict(each) for each in data["counterfactuals"]),
            dict(data["left_out"]),
        )
