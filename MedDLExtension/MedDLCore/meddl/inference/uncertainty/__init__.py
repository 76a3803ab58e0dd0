"""How sure a model is: its answers to the same image, asked several times in slightly different ways.

Three ways to ask: :class:`TestTimeAugmentation` (flipped and shifted images), :func:`dropout_passes` (random parts of
the network left out) and several models. :class:`UncertaintyAccumulator` takes the answers in, whatever way they came
from.

Example::

    passes = TestTimeAugmentation(image.shape[1:], passes=8, seed=0)
    accumulator = UncertaintyAccumulator(grid_volumes(affine, {"Brain": 1}))
    for each in passes:
        accumulator.add(each.inverse(network(each.apply(image))), seen=each.seen)
    print(volume_sentence(accumulator, passes.text, {"Brain": 1}))
"""

from __future__ import annotations

from meddl.inference.uncertainty.accumulator import UncertaintyAccumulator, are_probabilities, grid_volumes
from meddl.inference.uncertainty.augmented import AugmentedPass, FlipAxes, TestTimeAugmentation, flip_axes_for
from meddl.inference.uncertainty.dropout import dropout_passes, has_dropout
from meddl.inference.uncertainty.sentences import class_sentence, uncertain_fractions, volume_sentence

__all__ = [
    "AugmentedPass",
    "FlipAxes",
    "TestTimeAugmentation",
    "UncertaintyAccumulator",
    "are_probabilities",
    "class_sentence",
    "dropout_passes",
    "flip_axes_for",
    "grid_volumes",
    "has_dropout",
    "uncertain_fractions",
    "volume_sentence",
]
