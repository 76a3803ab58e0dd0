"""`slicer.parameterNodeWrapper`: typed parameters in a MRML node.

The types, checks, texts and names in the node are Slicer's; `createGui`, `typing.Any` and own serializers are not here.
"""

from __future__ import annotations

from .annotations import (
    Choice,
    Decimals,
    Default,
    Exclude,
    IsInstance,
    Maximum,
    Minimum,
    NotNone,
    RangeBounds,
    SingleStep,
    Validator,
    WithinRange,
)  # fmt: skip
from .connectors import GuiConnector, createGuiConnector
from .float_range import FloatRange
from .packs import is_pack as isParameterPack
from .packs import nestedParameterNames, parameterPack
from .wrapper import (
    SlicerParameterNamePropertyName,
    findChildWidgetForParameter,
    isParameterNodeWrapper,
    parameterNodeWrapper,
)  # fmt: skip

__all__ = [
    "Choice", "Decimals", "Default", "Exclude", "FloatRange", "GuiConnector", "IsInstance", "Maximum", "Minimum",
    "NotNone", "RangeBounds", "SingleStep", "SlicerParameterNamePropertyName", "Validator", "WithinRange",
    "createGuiConnector", "findChildWidgetForParameter", "isParameterNodeWrapper", "isParameterPack",
    "nestedParameterNames", "parameterNodeWrapper", "parameterPack",
]  # fmt: skip
