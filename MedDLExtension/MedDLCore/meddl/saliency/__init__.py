"""Why did the model say so: maps of attribution on the input's grid, with figures of how far to believe them.

Importing this package needs numpy only.
"""

from __future__ import annotations

from meddl.saliency.attribution import AnatomyShare, Attribution, Measure
from meddl.saliency.explain import Explainer, Explanation, explain, unexplainable
from meddl.saliency.options import ExplainOptions
from meddl.saliency.target import Target

__all__ = [
    "AnatomyShare",
    "Attribution",
    "ExplainOptions",
    "Explainer",
    "Explanation",
    "Measure",
    "Target",
    "explain",
    "unexplainable",
]
