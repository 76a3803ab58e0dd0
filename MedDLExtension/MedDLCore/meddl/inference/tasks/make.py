"""From a bundle's task to the code that runs it."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

from meddl.errors import ModelError

if TYPE_CHECKING:
    from meddl.inference.prediction import Prediction
    from meddl.inference.run import Run
    from meddl.inference.stage import Stage
    from meddl.models import ModelBundle
    from meddl.volume import Volume

StageMaker = Callable[[str], "Stage"]


class TaskRunner(Protocol):
    """Runs one model.

    Attributes:
        stages: the networks it consists of, the last one being the model's own.
    """

    stages: tuple[Stage, ...]

    def predict(self, image: Volume, run: Run, *, frames: tuple[Volume, ...] = ()) -> Prediction:
        """Return the answer for an image with all the channels the model takes; its provenance is empty.

        Args:
            image: straight (no shear) or as it came, ``(C, I, J, K)``; every voxel holds a number.
            run: options, progress, cancel, notes.
            frames: the time frames after the first, for models that read several.
        """
        ...


_HOMES = {
    "segmentation": ("meddl.inference.tasks.segmentation", "SegmentationTask"),
    "classification": ("meddl.inference.tasks.classification", "ClassificationTask"),
    "detection": ("meddl.inference.tasks.detection", "DetectionTask"),
    "landmarks": ("meddl.inference.tasks.landmarks", "LandmarkTask"),
    "reconstruction": ("meddl.inference.tasks.reconstruction", "ReconstructionTask"),
}


def make_task(bundle: ModelBundle, make_stage: StageMaker) -> TaskRunner:
    """Return what runs ``bundle``; its networks are loaded by ``make_stage(config name)``.

    Raises:
        ModelError: the bundle is for a task that MedDL does not run.
    """
    home = _HOMES.get(bundle.task)
    if home is None:
        known = ", ".join(_HOMES)
        raise ModelError(f"The model '{bundle.name}' is made for {bundle.task or 'no known task'}; {known} can be run.")
    if bundle.uses_retinanet:
        home = ("meddl.inference.tasks.detection_retinanet", "RetinaNetTask")
    module, name = home
    task: TaskRunner = getattr(import_module(module), name)(bundle, make_stage)
    return task
