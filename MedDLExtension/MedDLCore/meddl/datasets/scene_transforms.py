"""The linear transforms of a scene, composed from a node up to the world."""

from __future__ import annotations

import logging

import numpy as np

from meddl.datasets.scene_xml import Scene, SceneNode
from meddl.errors import VolumeError

logger = logging.getLogger(__name__)

_LINEAR_FILES = (".h5", ".tfm", ".txt")
_MAX_CHAIN = 100
_PRINTED = 5e-6
"""The scene's XML has six digits of each number."""


def world_transform(scene: Scene, node: SceneNode) -> np.ndarray | None:
    """Return 4x4 RAS mm to RAS mm from a node's own coordinates to the world; None where a transform is not linear.

    Raises:
        VolumeError: a transform is missing or damaged, or the transforms go round in a circle.
    """
    matrix = np.eye(4)
    seen: list[str] = []
    parent = node.refers_to("transform")
    while parent:
        if parent in seen or len(seen) > _MAX_CHAIN or parent not in scene.nodes:
            raise VolumeError(f"A transform of the scene in {scene.path.name} is missing or its own parent. "
                              "Save it again.")  # fmt: skip
        seen.append(parent)
        step = _to_parent(scene, scene.nodes[parent])
        if step is None:
            return None
        matrix = step @ matrix
        parent = scene.nodes[parent].refers_to("transform")
    return matrix


def _to_parent(scene: Scene, node: SceneNode) -> np.ndarray | None:
    """Return a transform node's matrix: to the last digit from its file, if that is there and says the same."""
    shown = _shown(scene, node)
    stored = _stored(scene, node)
    if shown is None:
        return stored
    if stored is None:
        return shown
    if not np.allclose(shown, stored, rtol=_PRINTED, atol=1e-6):
        raise VolumeError(f"A transform of the scene in {scene.path.name} is there twice, and differently: in the "
                          "scene and in its own file. Save it again from Slicer.")  # fmt: skip
    # The file went through an inversion; where it adds nothing, the plain numbers are the truer ones.
    return shown if np.allclose(shown, stored, rtol=1e-12, atol=1e-12) else stored


def _shown(scene: Scene, node: SceneNode) -> np.ndarray | None:
    """Return the matrix that the scene's XML has, or None for a transform that is not linear."""
    inverted = "matrixTransformToParent" not in node.values
    text = node.values.get("matrixTransformFromParent" if inverted else "matrixTransformToParent", "")
    if not text:
        return None
    try:
        matrix = np.array([float(number) for number in text.split()], dtype=np.float64).reshape(4, 4)
        return np.linalg.inv(matrix) if inverted else _checked(matrix)
    except (ValueError, np.linalg.LinAlgError) as error:
        raise VolumeError(f"A transform of the scene in {scene.path.name} is no matrix of numbers. "
                          "Save it again.") from error  # fmt: skip


def _checked(matrix: np.ndarray) -> np.ndarray:
    if not np.isfinite(matrix).all() or not np.allclose(matrix[3], (0, 0, 0, 1)):
        raise ValueError("no affine matrix")
    return matrix


def _stored(scene: Scene, node: SceneNode) -> np.ndarray | None:
    """Return the matrix that a transform's own file has, or None if there is none or it is not linear."""
    import SimpleITK as sitk

    member = scene.member_of(node)
    if not member.lower().endswith(_LINEAR_FILES):
        return None
    try:
        with scene.file(member) as path:
            if path.stat().st_size > 1 << 20:
                return None  # a grid of displacements
            transform = sitk.ReadTransform(str(path))
    except RuntimeError as error:  # of ITK
        logger.debug("a transform of %s: %r", scene.path, error)
        return None
    while isinstance(transform, sitk.CompositeTransform) and transform.GetNumberOfTransforms() == 1:
        transform = transform.GetNthTransform(0)
    if transform.GetDimension() != 3 or not transform.IsLinear():
        return None
    # ITK's transforms carry points of the world back to the image, in LPS.
    origin = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    matrix = np.eye(4)
    for axis, unit in enumerate(np.eye(3)):
        matrix[:3, axis] = np.array(transform.TransformPoint(unit.tolist())) - origin
    matrix[:3, 3] = origin
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    try:
        if node.values.get("readAsTransformToParent") == "1":
            return flip @ matrix @ flip
        return flip @ np.linalg.inv(matrix) @ flip
    except np.linalg.LinAlgError:
        return None
