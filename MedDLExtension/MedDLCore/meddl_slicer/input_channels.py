"""Which images of the scene go with a model's channels, and how far they show the same place."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import slicer
import slicer.util
from meddl.errors import VolumeError

from meddl_slicer import nodes, sequences, study
from meddl_slicer.i18n import tr as _

if TYPE_CHECKING:
    from meddl.models import Channel

#: Below it part of what the network sees is padding.
LITTLE = 0.9


@dataclass(frozen=True)
class Overlap:
    """How much of the first image another one covers, 0 to 1, and what to say of it."""

    fraction: float
    text: str

    @property
    def isLittle(self) -> bool:
        """Whether the user should look at it."""
        return self.fraction < LITTLE


def suggest(channels: Sequence[Channel], first: slicer.vtkMRMLNode | None = None) -> list[slicer.vtkMRMLNode | None]:
    """Return the volume that suits each channel by its name, the modality and the hints of the model, or None.

    No volume is suggested twice. Volumes in the study of ``first`` are preferred.
    """
    if len(channels) == 1:
        return [first]
    volumes = [
        node
        for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        if node.GetClassName() == "vtkMRMLScalarVolumeNode" and not node.GetHideFromEditors()
    ]
    home = study.folder_of(first) if first is not None else 0
    pairs = []
    for position, channel in enumerate(channels):
        for node in volumes:
            score = _likeness(channel, node)
            if score:
                pairs.append((score + 0.5 * (study.folder_of(node) == home), -position, node.GetID(), position, node))
    found: list[slicer.vtkMRMLNode | None] = [None] * len(channels)
    for _score, _order, _id, position, node in sorted(pairs, key=lambda pair: pair[:3], reverse=True):
        if found[position] is None and node not in found:
            found[position] = node
    return found


def overlap(first: slicer.vtkMRMLNode, other: slicer.vtkMRMLNode, name: str) -> Overlap:
    """Return how much of the image for the first channel (``name``) ``other`` covers, through world coordinates.

    Raises:
        VolumeError: one of them cannot be used.
    """
    from meddl.inference.channels import overlap_fraction

    grids = []
    for node in (first, other):
        volume = sequences.shown_volume(node)
        if volume is None:
            raise VolumeError(f'"{node.GetName()}" shows no image. Choose a volume.')
        grids.append(nodes.volume_from_node(volume).grid)
    fraction = overlap_fraction(*grids)
    if fraction == 0.0:
        text = _("does not overlap with {name}: another place or patient?").format(name=name)
    else:
        text = _("covers {percent} % of {name}").format(percent=round(100 * fraction), name=name)
    return Overlap(fraction, text)


def _likeness(channel: Channel, node: slicer.vtkMRMLVolumeNode) -> float:
    """Return how well a volume's name fits a channel; 0 for not at all, more for a longer word of it."""
    words = _words(node.GetName() or "")
    joined = "".join(words)
    best = 0.0
    for hint in (*channel.hints, channel.name.casefold()):
        plain = "".join(_words(hint))
        if not plain:
            continue
        if plain in words:
            best = max(best, 2.0 + len(plain) / 100)
        elif len(plain) > 2 and plain in joined:
            best = max(best, 1.0 + len(plain) / 100)
    return best


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.casefold())
