"""Telling whether anything of a case has changed since it was written."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np

from meddl.datasets.case import BoxesLabel, ClassLabel, LandmarksLabel, LoadedCase
from meddl.volume import Volume


def label_digest(loaded: LoadedCase) -> str:
    """Return the SHA-256 of a case's label, of whatever kind, and of what its images are beside their voxels.

    With the digests of the images (:func:`meddl.datasets.image_digest.image_digest`) it stands for all that the files
    of a case are made from. Voxels of the label count as they are stored: turned another way it is another label map.
    """
    digest = hashlib.sha256()
    _add(digest, {name: _frame(volume) for name, volume in loaded.images.items()})
    label = loaded.case.label
    if isinstance(label, ClassLabel):
        _add(digest, sorted(label.names))
    elif isinstance(label, BoxesLabel):
        _add(digest, [box.to_dict() for box in label.boxes])
    elif isinstance(label, LandmarksLabel):
        _add(digest, [[point.name, *map(float, point.position)] for point in label.points])
    # Not what they are called: the digest is written, and names can be guessed. What becomes of them is the plan's.
    _add(digest, [[segment.layer, segment.label] for segment in loaded.segments])
    for volume in (loaded.labels, loaded.target):
        if volume is not None:
            _add(digest, _frame(volume))
            for index in range(volume.shape[2]):
                digest.update(np.ascontiguousarray(volume.array[..., index]).data)
    return digest.hexdigest()


def _frame(volume: Volume) -> list[Any]:
    """Return what a volume is without its voxels."""
    places = np.round(volume.affine[:3], 6) + 0.0
    return [volume.array.shape, volume.array.dtype.str, places.ravel().tolist(), volume.meta.get("modality", "")]


def _add(digest: Any, data: Any) -> None:
    digest.update(json.dumps(data, sort_keys=True).encode())
