"""Classification: which kind of image this is, or what is seen in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from meddl.errors import ModelError
from meddl.inference.prediction import ClassificationPrediction, ClassProbability, Uncertainty
from meddl.inference.run import Run
from meddl.inference.tasks.input_image import slice_of
from meddl.models import class_names, output_channels
from meddl.models.metadata_values import as_mapping, own_part, own_value

if TYPE_CHECKING:
    import torch

    from meddl.inference.stage import Stage
    from meddl.inference.tasks.make import StageMaker
    from meddl.models import ModelBundle
    from meddl.volume import Volume


class ClassificationTask:
    """Runs a classifier on a whole image: a picture, a volume, or a sequence of slices or time frames.

    Scores are divided by the temperature that was fitted on held-out data, where the bundle has one (Guo et al. 2017,
    "On calibration of modern neural networks"), so that they can be read as probabilities.
    """

    def __init__(self, bundle: ModelBundle, make_stage: StageMaker) -> None:
        self._bundle = bundle
        self._stage = make_stage("inference")
        self.stages: tuple[Stage, ...] = (self._stage,)
        calibration = own_part(bundle.metadata, "calibration")
        temperature = calibration.get("temperature")
        if temperature is not None and not (isinstance(temperature, int | float) and 0.01 <= temperature <= 100):
            raise ModelError("In metadata.json 'meddl.calibration.temperature' is not a number from 0.01 to 100.")
        self._temperature = float(temperature) if temperature is not None else None

    def predict(self, image: Volume, run: Run, *, frames: tuple[Volume, ...] = ()) -> ClassificationPrediction:
        """Return the classes of one image."""
        if self._stage.flat and image.shape[2] > 1:
            middle = image.shape[2] // 2
            run.note(f"The network looks at single slices: it was shown the middle one ({middle + 1} of the volume).")
            image = slice_of(image, middle)
            frames = tuple(slice_of(frame, middle) for frame in frames)
        run.tell(0.05, "Preparing the image")
        with run.watch.step("preprocess"):
            prepared = [self._stage.prepare(each) for each in (image, *frames)]
        run.tell(0.3, "Classifying")
        run.raise_if_cancelled()
        uncertainty: Uncertainty | None = None
        with run.watch.step("network"):
            if run.options.uncertainty == "none":
                probabilities = self._probabilities(self._stage.forward(*prepared))
            else:
                from meddl.inference.tasks.repeated import repeated_classification

                probabilities, uncertainty = repeated_classification(
                    self._stage, prepared, run, self._probabilities, self._names, self._exclusive
                )
        names = self._names(len(probabilities))
        codes = [facts.get("code", "") for facts in _own_classes(self._bundle)]
        codes += [""] * (len(names) - len(codes))
        classes = tuple(
            ClassProbability(name, round(float(value), 6), str(code))
            for name, value, code in zip(names, probabilities, codes, strict=True)
        )
        evidence = getattr(self._stage.network, "evidence", None)
        weights = tuple(round(float(each), 6) for each in evidence.reshape(-1).tolist()) if evidence is not None else ()
        return ClassificationPrediction(
            classes, {}, self._exclusive, self._temperature is not None, weights, uncertainty
        )

    @property
    def _exclusive(self) -> bool:
        # A single score is yes or no, also through a sigmoid.
        return self._stage.post.activation != "sigmoid" or output_channels(self._bundle) == 1

    def _probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """Return ``(classes,)`` probabilities of a network's answer ``(classes, ...)``; two for a single score."""
        import torch

        scores = logits.detach().float().cpu().reshape(logits.shape[0], -1)
        if scores.shape[1] > 1:
            scores = scores.mean(dim=1, keepdim=True)
        scores = scores[:, 0] / (self._temperature or 1.0)
        if not torch.isfinite(scores).all():
            raise ModelError(f"The network of '{self._bundle.name}' answered with values that are no numbers.")
        if scores.shape[0] == 1:
            # One score for yes or no.
            yes = scores.sigmoid()[0]
            return torch.stack([1 - yes, yes])
        return scores.sigmoid() if self._stage.post.activation == "sigmoid" else scores.softmax(dim=0)

    def _names(self, count: int) -> list[str]:
        names = list(class_names(self._bundle))
        if count == 2 and len(names) == 1:
            return [f"no {names[0]}", names[0]]
        return names[:count] + [f"class {index}" for index in range(len(names), count)]


def _own_classes(bundle: ModelBundle) -> list[Mapping[str, Any]]:
    own = own_value(bundle.metadata, "classes")
    return [as_mapping(each) for each in own] if isinstance(own, list) else []
