"""What the user has chosen in the panel; saved with the scene."""

from enum import Enum
from typing import Annotated, Union

from slicer import (
    vtkMRMLMarkupsFiducialNode,
    vtkMRMLScalarVolumeNode,
    vtkMRMLSegmentationNode,
    vtkMRMLSequenceNode,
    vtkMRMLTableNode,
    vtkMRMLVectorVolumeNode,
)
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import Default, WithinRange, parameterNodeWrapper, parameterPack

# Slicer's wrapper knows a union by typing.Union only.
InputNode = Union[vtkMRMLScalarVolumeNode, vtkMRMLVectorVolumeNode, vtkMRMLSequenceNode, None]  # noqa: UP007


class Uncertainty(Enum):
    """How to find out how sure the model is."""

    NONE = "none"
    FLIPS = "flips"
    DROPOUT = "dropout"
    FOLDS = "folds"

    def label(self):
        return {
            "none": _("Do not estimate"),
            "flips": _("Flips and shifts of the image"),
            "dropout": _("Dropout in the network"),
            "folds": _("Folds of the model (nnU-Net)"),
        }[self.value]


class Precision(Enum):
    """Of the network's arithmetic."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"

    def label(self):
        return {
            "auto": _("Automatic"),
            "float32": _("Full (float32)"),
            "bfloat16": _("Half (bfloat16)"),
            "float16": _("Half (float16)"),
        }[self.value]


class Engine(Enum):
    """What computes the network."""

    AUTO = "auto"
    TORCH = "torch"
    OPENVINO = "openvino"

    def label(self):
        return {"auto": _("Automatic"), "torch": "PyTorch", "openvino": "OpenVINO"}[self.value]


@parameterPack
class MedDLInferenceOptions:
    """How the model is run, see meddl.inference.RunOptions."""

    device: str = "auto"
    uncertainty: Uncertainty = Uncertainty.NONE
    passes: Annotated[int, WithinRange(2, 64), Default(8)]
    probabilities: bool = False
    difference: bool = False
    precision: Precision = Precision.AUTO
    engine: Engine = Engine.AUTO
    mirror: bool = False


@parameterNodeWrapper
class MedDLInferenceParameterNode:
    """What the user has chosen.

    inputVolume - The image to look at, or the first of several.
    otherInputs - The images for the model's other channels.
    frames - What to do with a sequence: "one", "each" or "whole".
    model - Catalog name of the model, or where it is: a folder or a file.
    ensemble - Whether the answers of several models are averaged: the model's and those of otherModels.
    otherModels - The further models, named as the first.
    options - How the model is run.
    outputSegmentation, outputTable, outputPoints, outputVolume - Where the result goes; a new node if there is none.
    referenceSegmentation, referenceVolume - What the result is compared with.
    """

    inputVolume: InputNode
    otherInputs: list[vtkMRMLScalarVolumeNode]
    frames: str = "one"
    model: str = ""
    ensemble: bool = False
    otherModels: list[str]
    options: MedDLInferenceOptions
    outputSegmentation: vtkMRMLSegmentationNode
    outputTable: vtkMRMLTableNode
    outputPoints: vtkMRMLMarkupsFiducialNode
    outputVolume: vtkMRMLScalarVolumeNode
    referenceSegmentation: vtkMRMLSegmentationNode
    referenceVolume: vtkMRMLScalarVolumeNode


OUTPUTS = {
    "segmentation": "outputSegmentation",
    "classification": "outputTable",
    "detection": "outputTable",
    "landmarks": "outputPoints",
    "reconstruction": "outputVolume",
}
"""Which parameter holds the main node of a task's result."""


def options_dict(options, ensemble=False):
    """Return the options as plain data, as meddl.inference.RunOptions takes them.

    Several models tell how sure they are by how far they differ: there is no other way for them.
    """
    return {
        "device": options.device,
        "uncertainty": "none" if ensemble else options.uncertainty.value,
        "passes": options.passes,
        "probabilities": options.probabilities,
        "difference": options.difference,
        "precision": options.precision.value,
        "engine": options.engine.value,
        "mirror": options.mirror,
    }
