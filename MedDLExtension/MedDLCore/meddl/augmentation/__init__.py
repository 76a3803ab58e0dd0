"""Classical augmentation: what a scanner and another patient might have made of a case, with its labels.

An :class:`AugmentationPlan` says what may happen. :func:`draw` settles by chance what happens this time, as a
:class:`Draw` that can be kept as JSON; :func:`replay` does it, and :func:`inverse` tells what undoes it. The grid of an
image stays where it is: content moves in the world. Importing this package needs numpy only.
"""

from __future__ import annotations

from meddl.augmentation.applying import Augmented, augment, replay
from meddl.augmentation.draw import Draw, DrawnStep, draw, inverse
from meddl.augmentation.guard import GuardLimits, Realism, compare, histogram_distance
from meddl.augmentation.known import TRANSFORMS
from meddl.augmentation.plan import AugmentationPlan, Step, load_plan
from meddl.augmentation.presets import PRESETS
from meddl.augmentation.preview import Preview, coarse, preview, slice_grid, source_slice
from meddl.augmentation.sample import Sample
from meddl.augmentation.sides import Sides, sides_of_scheme, sides_of_segments, with_names

__all__ = [
    "PRESETS",
    "TRANSFORMS",
    "AugmentationPlan",
    "Augmented",
    "Draw",
    "DrawnStep",
    "GuardLimits",
    "Preview",
    "Realism",
    "Sample",
    "Sides",
    "Step",
    "augment",
    "coarse",
    "compare",
    "draw",
    "histogram_distance",
    "inverse",
    "load_plan",
    "preview",
    "replay",
    "sides_of_scheme",
    "sides_of_segments",
    "slice_grid",
    "source_slice",
    "with_names",
]
