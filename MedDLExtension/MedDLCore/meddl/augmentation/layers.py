"""Layers of a label map: as few as there can be, since what lies in one layer can change sides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from meddl.volume import Segment, Volume


def in_few_layers(labels: Volume, segments: Sequence[Segment]) -> tuple[Volume, tuple[Segment, ...]]:
    """Return the same segments in fewer layers, with other values: those that nowhere overlap share one.

    Who draws structures one after the other has each in a layer of its own. Values that are no segment's are left out.

    Args:
        labels: ``(L, I, J, K)``.
    """
    if labels.channels < 2:
        return labels, tuple(segments)
    kind = np.uint8 if len(segments) < 256 else np.uint16
    made: list[np.ndarray] = []
    moved: dict[tuple[int, int], tuple[int, int]] = {}
    value = 0
    for number, layer in enumerate(labels.array):
        ours = [each.label for each in segments if each.layer == number]
        table = np.zeros(1 + max([int(layer.max(initial=0)), *ours]), kind)
        for label in ours:
            value += 1
            table[label] = value
        values = table[layer]
        there = values > 0
        home = next((n for n, other in enumerate(made) if not (there & (other > 0)).any()), None)
        if home is None:
            home = len(made)
            made.append(values)
        else:
            made[home] = np.where(there, values, made[home])
        moved |= {(number, label): (home, int(table[label])) for label in ours}
    renamed = [
        replace(each, layer=moved[each.layer, each.label][0], label=moved[each.layer, each.label][1])
        for each in segments
    ]
    return labels.with_array(np.stack(made)), tuple(renamed)
