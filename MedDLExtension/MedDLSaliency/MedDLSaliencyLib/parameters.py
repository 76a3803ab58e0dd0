"""What the user has chosen in the panel; saved with the scene."""

from enum import Enum
from typing import Annotated, Union

from slicer import (
    vtkMRMLMarkupsROINode,
    vtkMRMLNode,
    vtkMRMLScalarVolumeNode,
    vtkMRMLSegmentationNode,
    vtkMRMLVectorVolumeNode,
)
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import Default, WithinRange, parameterNodeWrapper, parameterPack

# Slicer's wrapper knows a union by typing.Union only.
InputNode = Union[vtkMRMLScalarVolumeNode, vtkMRMLVectorVolumeNode, None]  # noqa: UP007
RegionNode = Union[vtkMRMLMarkupsROINode, vtkMRMLSegmentationNode, None]  # noqa: UP007


class Place(Enum):
    """Where the answer is explained."""

    FOUND = "found"
    CROSSHAIR = "crosshair"
    REGION = "region"

    def label(self):
        return {
            "found": _("All that the model has found"),
            "crosshair": _("At the crosshair"),
            "region": _("In a region"),
        }[self.value]


class Baseline(Enum):
    """What "nothing is there" looks like."""

    BLUR = "blur"
    MEAN = "mean"
    ZERO = "zero"
    REFERENCE = "reference"

    def label(self):
        return {
            "blur": _("The image, blurred"),
            "mean": _("Its mean everywhere"),
            "zero": _("Zero everywhere"),
            "reference": _("Another image"),
        }[self.value]


@parameterPack
class MedDLSaliencyOptions:
    """How the methods work, see meddl.saliency.options.ExplainOptions."""

    device: str = "auto"
    baseline: Baseline = Baseline.BLUR
    steps: Annotated[int, WithinRange(2, 1000), Default(20)]
    samples: Annotated[int, WithinRange(1, 1000), Default(10)]
    noise: Annotated[float, WithinRange(0.0, 10.0), Default(0.1)]
    layer: str = ""
    block: Annotated[float, WithinRange(0.0, 1000.0), Default(0.0)]
    finest: Annotated[float, WithinRange(0.0, 1000.0), Default(0.0)]
    memory: Annotated[int, WithinRange(0, 1048576), Default(0)]
    seed: Annotated[int, WithinRange(0, 999999), Default(0)]


@parameterNodeWrapper
class MedDLSaliencyParameterNode:
    """What the user has chosen.

    inputVolume - The image that the model looks at, or the first of several.
    otherInputs - The images for the model's other channels.
    frames - Always the frame that is shown.
    model - Catalog name of the model, or where it is: a folder or a file.
    target - Name of the class, structure, kind of box or landmark to explain; "" for what the model is surest of.
    place, region - Where it is explained.
    methods, measures - Ids of what is to be found out.
    segmentation - Whose segments' shares of the evidence are told.
    counterfactual - Whether the model is asked again without each of these segments.
    truth - Where the evidence should lie.
    reference - Image for the baseline.
    options - How the methods work.
    withAnswer, answer - Whether the model's answer comes into the scene, and the main node it went to.
    map, otherMap - The maps that are shown, the second one beside the first.
    opacity, topPercent - How they are shown.
    """

    inputVolume: InputNode
    otherInputs: list[vtkMRMLScalarVolumeNode]
    frames: str = "one"
    model: str = ""
    target: str = ""
    place: Place = Place.FOUND
    region: RegionNode
    methods: list[str]
    measures: list[str]
    segmentation: vtkMRMLSegmentationNode
    counterfactual: bool = False
    truth: vtkMRMLSegmentationNode
    reference: vtkMRMLScalarVolumeNode
    options: MedDLSaliencyOptions
    withAnswer: bool = False
    answer: vtkMRMLNode
    map: vtkMRMLScalarVolumeNode
    otherMap: vtkMRMLScalarVolumeNode
    opacity: Annotated[float, WithinRange(0.0, 1.0), Default(0.6)]
    topPercent: Annotated[float, WithinRange(0.1, 20.0), Default(1.0)]


def options_dict(options):
    """Return the options as plain data, as meddl.saliency.options.ExplainOptions takes them."""
    return {
        "device": options.device,
        "baseline": options.baseline.value,
        "steps": options.steps,
        "samples": options.samples,
        "noise": options.noise,
        "layer": options.layer.strip(),
        "block_mm": options.block,
        "finest_mm": options.finest,
        "memory_mb": options.memory,
        "seed": options.seed,
    }
