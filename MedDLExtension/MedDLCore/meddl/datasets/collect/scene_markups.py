"""Boxes and points of a scene: its ROIs and point lists, at their places in the world."""

from __future__ import annotations

import numpy as np

from meddl.datasets.collect.finding_files import MAX_BYTES, boxes_in, points_in
from meddl.datasets.scene_transforms import world_transform
from meddl.datasets.scene_xml import Scene, SceneNode
from meddl.inference.prediction import Box, Landmark


def scene_boxes(scene: Scene, notes: list[str]) -> tuple[Box, ...] | None:
    """Return the ROIs of a scene, or None if it has none; ``notes`` get what is left out.

    Raises:
        VolumeError: one is damaged.
    """
    nodes = scene.of_kind("MarkupsROI")
    boxes: list[Box] = []
    for node in nodes:
        data = _read(scene, node, notes)
        if data is None:
            continue
        matrix, content, name = data
        for box in boxes_in(content, name):
            edges = matrix[:3, :3] @ np.asarray(box.axes)
            lengths = np.sqrt((edges**2).sum(axis=0))
            axes = edges / lengths
            if np.abs(axes.T @ axes - np.eye(3)).max() > 1e-3:
                notes.append(f"The box {node.name!r} lies under a transform that shears it: left out.")
                continue
            boxes.append(
                Box(box.label, box.score, matrix[:3, :3] @ box.center + matrix[:3, 3], box.size * lengths, axes)
            )
    return tuple(boxes) if nodes else None


def scene_points(scene: Scene, notes: list[str]) -> tuple[Landmark, ...] | None:
    """Return the points of a scene's point lists, or None if it has none; ``notes`` get what is left out.

    Raises:
        VolumeError: one is damaged.
    """
    nodes = scene.of_kind("MarkupsFiducial")
    points: dict[str, Landmark] = {}
    for node in nodes:
        data = _read(scene, node, notes)
        if data is None:
            continue
        matrix, content, name = data
        for point in points_in(content, name):
            if point.name in points:
                notes.append(f"The point {point.name!r} is in two lists of the scene: the first is taken.")
                continue
            points[point.name] = Landmark(point.name, matrix[:3, :3] @ point.position + matrix[:3, 3], point.score)
    return tuple(points.values()) if nodes else None


def _read(scene: Scene, node: SceneNode, notes: list[str]) -> tuple[np.ndarray, bytes, str] | None:
    member = scene.member_of(node)
    matrix = world_transform(scene, node)
    if not member or matrix is None:
        why = "is not stored in the scene" if not member else "lies under a transform that bends it"
        notes.append(f"The markup {node.name!r} {why}: left out.")
        return None
    suffix = ".fcsv" if member.lower().endswith(".fcsv") else ".mrk.json"
    return matrix, scene.text(member, MAX_BYTES), f"{scene.path.stem}{suffix}"
