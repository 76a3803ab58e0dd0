"""Cases out of scenes that Slicer saved (.mrb, or .mrml with its data beside it)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from meddl.datasets.case import (
    BoxesLabel,
    Case,
    ImageFile,
    ImageSource,
    Label,
    LandmarksLabel,
    SegmentationLabel,
)
from meddl.datasets.collect.image_names import stem_of, suffix_of
from meddl.datasets.collect.scene_markups import scene_boxes, scene_points
from meddl.datasets.scene_transforms import world_transform
from meddl.datasets.scene_xml import Scene, SceneNode, read_scene

_SEGMENTATIONS = ("Segmentation", "LabelMapVolume")
_NOT_TAKEN = {
    "Sequence": "sequence of images", "VectorVolume": "color or vector image", "MultiVolume": "image of several frames",
    "DiffusionTensorVolume": "tensor image", "DiffusionWeightedVolume": "diffusion-weighted image",
    "StreamingVolume": "image of a video",
}  # fmt: skip
_PLACE = ("spacing", "origin", "ijkToRASDirections")


@dataclass(frozen=True)
class _Image:
    """An image or segmentation of a scene that can be read."""

    node: SceneNode
    source: ImageFile


def scene_cases(path: Path, name: str = "") -> list[Case]:
    """Return the cases of a scene: one for each segmentation (or label map) with the image it was made on.

    The image is the one that the segmentation's geometry refers to, else the only one, the only one of its study, or
    the only one in the same place. A scene of one segmentation brings its other images as further channels, by the
    names of their nodes, the segmentation's own first (:func:`one_channel_where_names_differ` takes that back). Without
    a segmentation, its boxes (ROIs) are the label, else its points. What is left out is said in the cases' notes.

    Args:
        name: of the case; default: the file's.

    Raises:
        VolumeError: the scene is damaged or made to do harm.
    """
    scene = read_scene(path)
    name = name or stem_of(path)
    notes: list[str] = []
    images = _readable(scene, [node for node in scene.of_kind("Volume") if not _is_label_map(node)], notes)
    labels = [node for node in scene.of_kind(*_SEGMENTATIONS, "Volume") if node.kind != "Volume" or _is_label_map(node)]
    segmentations = _readable(scene, labels, notes)
    notes += _left_out(scene)
    if not images:
        return []
    if not segmentations:
        return [_with_findings(scene, name, images, notes)]
    pairs = []
    for each in segmentations:
        image = _image_of(scene, each, images)
        if image is None:
            notes.append(f"The segmentation {each.node.name!r} of the scene does not say which image it belongs to: "
                         "left out.")  # fmt: skip
        else:
            pairs.append((image, each))
    return [_case(scene, name, images, pairs, number, tuple(notes)) for number in range(len(pairs))]


def one_channel_where_names_differ(cases: Iterable[Case]) -> list[Case]:
    """Return cases of several scenes with channels that all of them have, or else with the segmentation's own only."""
    cases = list(cases)
    if len({frozenset(case.images) for case in cases}) > 1:
        return [_of_one_channel(case) for case in cases]
    return [replace(case, images={name: case.images[name] for name in cases[0].images}) for case in cases]


def _of_one_channel(case: Case) -> Case:
    if len(case.images) == 1:
        return replace(case, images={"image": next(iter(case.images.values()))})
    note = f"Of the {len(case.images)} images of the scene only the segmentation's own is taken: the scenes do not " \
           "agree in the names of the others."  # fmt: skip
    return replace(case, images={"image": next(iter(case.images.values()))}, notes=(*case.notes, note))


def _case(
    scene: Scene,
    name: str,
    images: list[_Image],
    pairs: list[tuple[_Image, _Image]],
    number: int,
    notes: tuple[str, ...],
) -> Case:
    image, segmentation = pairs[number]
    channels: dict[str, ImageSource] = {"image": image.source}
    if len(pairs) > 1:
        notes = (f"Segmentation {number + 1} of {len(pairs)} in the scene.", *notes)
    elif len(images) > 1 and len({each.node.name for each in images}) == len(images):
        ordered = [image, *(each for each in images if each is not image)]
        channels = {each.node.name or "image": each.source for each in ordered}
    elif len(images) > 1:
        notes = ("The scene's other images have no names of their own: left out.", *notes)
    # Several cases of a scene are of one patient unless the scene says otherwise.
    patient, study = _identity(scene, image.node)
    many = len(pairs) > 1
    return Case(
        f"{name}_{number + 1}" if many else name,
        channels,
        SegmentationLabel(segmentation.source),
        patient or (f"scene {name}" if many else ""),
        study,
        notes=notes,
    )


def _with_findings(scene: Scene, name: str, images: list[_Image], notes: list[str]) -> Case:
    """Return the case of a scene without segmentations: boxes or points are its label, if any."""
    label: Label | None = None
    boxes = scene_boxes(scene, notes)
    points = scene_points(scene, notes)
    if boxes is not None:
        label = BoxesLabel(boxes)
        if points is not None:
            notes.append("The scene has boxes and points: the boxes are the label, the points are left out.")
    elif points is not None:
        label = LandmarksLabel(points)
    else:
        notes.append("The scene has no segmentation, boxes or points: the case has no label.")
    first = images[0]
    channels: dict[str, ImageSource] = {"image": first.source}
    if len(images) > 1 and len({each.node.name for each in images}) == len(images):
        channels = {each.node.name or "image": each.source for each in images}
    patient, study = _identity(scene, first.node)
    return Case(name, channels, label, patient, study, notes=tuple(notes))


def _readable(scene: Scene, nodes: list[SceneNode], notes: list[str]) -> list[_Image]:
    """Return the images that can be read, and say of the others why not."""
    found = []
    for node in nodes:
        member = scene.member_of(node)
        what = "segmentation" if node.kind == "Segmentation" else "image"
        if not member:
            if node.refers_to("storage") or node.kind == "Segmentation":
                notes.append(f"The {what} {node.name!r} is not stored in the scene: left out. Save the scene again.")
            continue
        if suffix_of(member) in ("", ".mrb", ".nhdr", ".mhd"):
            notes.append(f"The {what} {node.name!r} is stored in a way that is not read (surfaces, several files): "
                         "left out.")  # fmt: skip
            continue
        matrix = world_transform(scene, node)
        if matrix is None:
            notes.append(f"The {what} {node.name!r} lies under a transform that bends it: left out. Harden the "
                         "transform in Slicer and save the scene again.")  # fmt: skip
            continue
        plain = np.array_equal(matrix, np.eye(4))
        transform = () if plain else tuple(float(number) for number in matrix.ravel())
        found.append(_Image(node, scene.source(member, transform)))
    return found


def _is_label_map(node: SceneNode) -> bool:
    return node.kind == "LabelMapVolume" or (node.kind == "Volume" and node.values.get("labelMap") in ("1", "true"))


def _left_out(scene: Scene) -> list[str]:
    counts = {kind: len(scene.of_kind(kind)) for kind in _NOT_TAKEN}
    return [
        f"The scene holds {count} {_NOT_TAKEN[kind]}{'s' * (count > 1)}, left out: a case needs still images of one "
        "value per voxel."
        for kind, count in counts.items()
        if count
    ]


def _image_of(scene: Scene, segmentation: _Image, images: list[_Image]) -> _Image | None:
    """Return the image that a segmentation was made on, or None if nobody knows."""
    node = segmentation.node
    attributes = dict(entry.split(":", 1) for entry in node.values.get("attributes", "").split(";") if ":" in entry)
    named = {
        node.refers_to("referenceImageGeometryRef"), node.refers_to("AssociatedNodeID"),
        attributes.get("AssociatedNodeID", ""),
    }  # fmt: skip
    study = _identity(scene, node)[1]
    here = [node.values.get(key) for key in _PLACE] + [node.refers_to("transform")]
    for chosen in (
        [each for each in images if each.node.id in named],
        images,
        [each for each in images if study and _identity(scene, each.node)[1] == study],
        [
            each
            for each in images
            if [each.node.values.get(k) for k in _PLACE] + [each.node.refers_to("transform")] == here
        ],
    ):
        if len(chosen) == 1:
            return chosen[0]
    return None


def _identity(scene: Scene, node: SceneNode) -> tuple[str, str]:
    """Return patient and study of a node as the subject hierarchy knows them, or "" each."""
    patient = study = ""
    for item in scene.above(node.id):
        if item.level == "Study" and not study:
            study = item.uid or item.name
        if item.level == "Patient" and not patient:
            patient = item.uid or item.values.get("DICOM.PatientID", "") or item.name
    return patient, study
