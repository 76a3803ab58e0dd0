"""What the user has chosen in the panel; saved with the scene."""

from typing import Annotated, Union

from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode, vtkMRMLVectorVolumeNode
from slicer.parameterNodeWrapper import Default, WithinRange, parameterNodeWrapper, parameterPack

# Slicer's wrapper knows a union by typing.Union only.
ImageNode = Union[vtkMRMLScalarVolumeNode, vtkMRMLVectorVolumeNode, None]  # noqa: UP007


@parameterPack
class MedDLAugmentationBatch:
    """Variants of many cases.

    source - A dataset, a list or a folder.
    count - Of each training case.
    format, name, folds, output - Of the dataset that a list or folder becomes.
    """

    source: str = ""
    count: Annotated[int, WithinRange(1, 99), Default(2)]
    format: str = "monai"
    name: str = "Dataset"
    folds: Annotated[int, WithinRange(0, 20), Default(5)]
    output: str = ""


@parameterNodeWrapper
class MedDLAugmentationParameterNode:
    """What the user has chosen in the tab "Variants".

    inputVolume - The image.
    otherInputs - Images that move with it.
    segmentation - The labels.
    plan - What may happen, as meddl_slicer.augmentation_plan.EditedPlan.text tells it.
    seed - Of what is left to chance.
    view - Name of the slice view that the preview follows.
    channel - Name of the image that the preview shows; "" for the first.
    outlines, difference - How the preview looks.
    batch - Variants of many cases.
    """

    inputVolume: ImageNode
    otherInputs: list[vtkMRMLScalarVolumeNode]
    segmentation: vtkMRMLSegmentationNode
    plan: str = ""
    seed: Annotated[int, WithinRange(0, 999999), Default(0)]
    view: str = "Red"
    channel: str = ""
    outlines: bool = True
    difference: bool = False
    batch: MedDLAugmentationBatch


@parameterNodeWrapper
class ScannerParameterNode:
    """What the user has chosen in the tab "Scanner".

    scannerInput, scannerSegmentation - The image and its labels.
    scannerKind - Name of the method.
    scannerOptions - JSON: settings by method.
    scannerSeed - Of what is left to chance.
    """

    scannerInput: vtkMRMLScalarVolumeNode
    scannerSegmentation: vtkMRMLSegmentationNode
    scannerKind: str = ""
    scannerOptions: str = ""
    scannerSeed: Annotated[int, WithinRange(0, 999999), Default(0)]
