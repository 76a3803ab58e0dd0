"""What the user has chosen in the panel; saved with the scene."""

from typing import Annotated

from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.parameterNodeWrapper import Default, WithinRange, parameterNodeWrapper


@parameterNodeWrapper
class MedDLAugmentationParameterNode:
    """What the user has chosen.

    inputVolume - The image.
    segmentation - Its labels.
    seed - Of what is left to chance.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    segmentation: vtkMRMLSegmentationNode
    seed: Annotated[int, WithinRange(0, 999999), Default(0)]
