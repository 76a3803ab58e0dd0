"""Detection: boxes round what is found, by a map of centers.

After Zhou et al. 2019, "Objects as points": the network answers, on the prepared image's grid, one map of logits per
class that peaks in the boxes' centers, three offsets from the voxel to the center (in voxels), and three logarithms of
the size (in mm along the grid's axes).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from meddl.errors import ModelError
from meddl.inference.prediction import Box, DetectionPrediction
from meddl.inference.run import Run
from meddl.inference.tasks.input_image import refuse_stack, straightened
from meddl.inference.tasks.peaks import local_maxima, to_world
from meddl.models import class_names
from meddl.models.metadata_values import own_part

if TYPE_CHECKING:
    from meddl.inference.stage import Stage
    from meddl.inference.tasks.make import StageMaker
    from meddl.models import ModelBundle
    from meddl.volume import Volume


@dataclass(frozen=True)
class HeatmapFacts:
    """How a detector's maps become boxes.

    Attributes:
        score_threshold: least score of a box.
        nms_iou: of two boxes of a class that overlap by more, the better one stays.
        max_boxes: per class.
    """

    score_threshold: float = 0.3
    nms_iou: float = 0.2
    max_boxes: int = 50

    @classmethod
    def of(cls, bundle: ModelBundle) -> HeatmapFacts:
        """Read ``meddl.detection`` of a bundle's metadata."""
        facts = own_part(bundle.metadata, "detection")
        try:
            made = cls(
                float(facts.get("score_threshold", cls.score_threshold)),
                float(facts.get("nms_iou", cls.nms_iou)),
                int(facts.get("max_boxes", cls.max_boxes)),
            )
        except (TypeError, ValueError) as error:
            raise ModelError("In metadata.json 'meddl.detection' holds something that is no number.") from error
        if not (0 < made.score_threshold < 1 and 0 <= made.nms_iou <= 1 and 1 <= made.max_boxes <= 10_000):
            raise ModelError("In metadata.json 'meddl.detection' holds a number out of range.")
        return made


class DetectionTask:
    """Runs a detector that answers maps of centers."""

    def __init__(self, bundle: ModelBundle, make_stage: StageMaker) -> None:
        self._bundle = bundle
        self._facts = HeatmapFacts.of(bundle)
        self._stage = make_stage("inference")
        self.stages: tuple[Stage, ...] = (self._stage,)

    def predict(self, image: Volume, run: Run, *, frames: tuple[Volume, ...] = ()) -> DetectionPrediction:
        """Return the boxes of one image."""
        refuse_stack(image, self._stage)
        image = straightened(image, run)
        run.tell(0.05, "Preparing the image")
        with run.watch.step("preprocess"):
            prepared = self._stage.prepare(image)
        with run.watch.step("network"):
            scores = self._stage.scores(prepared, run.windows(0.1, 0.9, "Looking for boxes"), run.cancelled)
        with run.watch.step("postprocess"):
            maps = scores.array.float().cpu().numpy()
            classes = maps.shape[0] - 6
            if classes < 1:
                raise ModelError(
                    f"The network of '{self._bundle.name}' answers {maps.shape[0]} maps; one per class and six more "
                    "(offset and size) are needed."
                )
            names = list(class_names(self._bundle))
            names = names[:classes] + [f"class {index}" for index in range(len(names), classes)]
            boxes = [
                box
                for index, name in enumerate(names)
                for box in decode(maps[index], maps[classes:], scores.affine, name, self._facts)
            ]
        if not boxes:
            run.note("The model found nothing in this image.")
        return DetectionPrediction(tuple(sorted(boxes, key=lambda box: -box.score)), {})


def decode(
    logits: np.ndarray, geometry: np.ndarray, affine: np.ndarray, label: str, facts: HeatmapFacts
) -> list[Box]:
    """Return the boxes of one class, best first.

    Args:
        logits: ``(i, j, k)`` of the centers.
        geometry: ``(6, i, j, k)``: offsets in voxels and logarithms of sizes in mm.
        affine: 4x4, the maps' voxel index to RAS mm, without shear.
        label: name of the class.
        facts: thresholds.
    """
    import torch
    from monai.data.box_utils import non_max_suppression

    heat = 1.0 / (1.0 + np.exp(-np.clip(logits.astype(np.float64), -60, 60)))
    peaks = local_maxima(heat, facts.score_threshold, facts.max_boxes * 4)
    if len(peaks) == 0:
        return []
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    at = tuple(peaks.T)
    centers = peaks + geometry[(slice(0, 3), *at)].T
    sizes = np.exp(np.clip(geometry[(slice(3, 6), *at)].T, -5, 8))
    scores = heat[at]
    low, high = centers - 0.5 * sizes / spacing, centers + 0.5 * sizes / spacing
    # A box ends where the image does: its voxels reach from -0.5 to size - 0.5.
    bound = np.array(logits.shape) - 0.5
    low, high = np.clip(low, -0.5, bound), np.clip(high, -0.5, bound)
    usable = ((high - low) > 1e-3).all(axis=1)
    low, high, scores = low[usable], high[usable], scores[usable]
    if len(scores) == 0:
        return []
    corners = torch.from_numpy(np.concatenate([low * spacing, high * spacing], axis=1)).float()
    kept = non_max_suppression(
        corners, torch.from_numpy(scores).float(), nms_thresh=facts.nms_iou, max_proposals=facts.max_boxes
    )
    axes = affine[:3, :3] / spacing
    return [
        Box(
            label,
            round(float(scores[index]), 6),
            to_world((low[index] + high[index]) / 2, affine),
            (high[index] - low[index]) * spacing,
            axes,
        )
        for index in np.asarray(kept)
    ]
