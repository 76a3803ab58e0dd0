"""Landmarks: a heat map per point, whose peak is where the point is.

After Payer et al. 2019, "Integrating spatial configuration into heatmap regression based CNNs for landmark
localization".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meddl.inference.prediction import UNSURE_SCORE, Landmark, LandmarkPrediction
from meddl.inference.run import Run
from meddl.inference.tasks.input_image import refuse_stack, straightened
from meddl.inference.tasks.peaks import centroid, local_maxima, to_world
from meddl.models import class_names

if TYPE_CHECKING:
    from meddl.inference.stage import Stage
    from meddl.inference.tasks.make import StageMaker
    from meddl.models import ModelBundle
    from meddl.volume import Volume


class LandmarkTask:
    """Runs a landmark model: the network answers a map of logits per point on the prepared image's grid."""

    def __init__(self, bundle: ModelBundle, make_stage: StageMaker) -> None:
        self._bundle = bundle
        self._stage = make_stage("inference")
        self.stages: tuple[Stage, ...] = (self._stage,)

    def predict(self, image: Volume, run: Run, *, frames: tuple[Volume, ...] = ()) -> LandmarkPrediction:
        """Return the points of one image."""
        refuse_stack(image, self._stage)
        image = straightened(image, run)
        run.tell(0.05, "Preparing the image")
        with run.watch.step("preprocess"):
            prepared = self._stage.prepare(image)
        with run.watch.step("network"):
            scores = self._stage.scores(prepared, run.windows(0.1, 0.9, "Looking for the points"), run.cancelled)
        with run.watch.step("postprocess"):
            heat = scores.array.float().sigmoid().cpu().numpy()
            names = list(class_names(self._bundle))
            names = names[: len(heat)] + [f"point {index + 1}" for index in range(len(names), len(heat))]
            points = []
            for name, each in zip(names, heat, strict=True):
                peak = local_maxima(each, 0.0, 1)[0]
                height = float(each[tuple(peak)])
                points.append(Landmark(name, to_world(centroid(each, peak), scores.affine), round(height, 6)))
                if height < UNSURE_SCORE:
                    run.note(f"The model is not sure of {name} (score {height:.2f}).")
        return LandmarkPrediction(tuple(points), {})
