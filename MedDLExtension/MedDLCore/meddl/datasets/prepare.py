"""From a case as it was loaded to a case as it goes into a dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from meddl.datasets.case import (
    BoxesLabel,
    ClassLabel,
    ImageFile,
    ImageSource,
    LandmarksLabel,
    LoadedCase,
    PreparedCase,
    TargetLabel,
)
from meddl.datasets.plan import ExportPlan, PlannedCase
from meddl.errors import JobCancelled
from meddl.volume import Volume
from meddl.volume.modalities import known_modality

DEFACING_PICTURES = "defacing"


def prepare_case(
    loaded: LoadedCase,
    planned: PlannedCase,
    plan: ExportPlan,
    secret: bytes,
    *,
    progress: Callable[[float, str], None] = lambda fraction, text: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> PreparedCase:
    """Return a case with the dataset's labels, on one grid, with nobody's face, name or burned-in text on it.

    Args:
        secret: what made-up UIDs and shifts of dates are derived from.

    Raises:
        VolumeError: the images cannot be brought to one grid, or show text that may name the patient.
        JobCancelled: on request.
    """
    from meddl.datasets.label_map import apply_scheme
    from meddl.datasets.loading import dicom_files
    from meddl.datasets.one_grid import to_one_grid

    options = plan.options
    images = {name: loaded.images[name] for name in plan.channels}
    target = loaded.target
    facts: dict[str, Any] = {"made": dict(loaded.made)}
    if options.deidentify.profile == "basic" and not loaded.made:  # else its maker has looked at what it is made of
        progress(0.05, "Looking for burned-in text")
        images, target, facts["blanked"] = _without_text(images, loaded, plan)
    labels = None
    if plan.scheme is not None and loaded.labels is not None:
        progress(0.1, "Labels")
        labels = apply_scheme(loaded.labels, loaded.segments, plan.scheme)
    _stop(cancelled)
    pictures, how = dict[str, bytes](), options.deidentify.deface
    if how != "none":
        progress(0.2, "Removing the face")  # as long as all of the head is there
        images, labels, target, pictures, defaced = _without_face(images, labels, target, how, progress, cancelled)
        facts["defaced"] = list(defaced)
    progress(0.7, "One grid")
    before = images
    placed = to_one_grid(images, labels, target, options.grid, scheme=plan.scheme)
    images, target = dict(placed.images), placed.target
    facts["grid"] = placed.facts
    _stop(cancelled)
    notes = tuple(placed.notes)
    if notes:
        facts["notes"] = list(notes)
    label = loaded.case.label
    unchanged = {
        name for name in images if images[name] is before[name] or _same_voxels(images[name], loaded.images[name])
    }
    return PreparedCase(
        name=planned.name,
        patient=planned.patient,
        images={name: _anonymous(image) for name, image in images.items()},
        site=planned.site,
        split=planned.split,
        fold=planned.fold,
        labels=_anonymous(placed.labels) if placed.labels is not None else None,
        classes=label.names if isinstance(label, ClassLabel) else (),
        boxes=label.boxes if isinstance(label, BoxesLabel) else None,
        points=label.points if isinstance(label, LandmarksLabel) else None,
        target=_anonymous(target) if target is not None else None,
        modality={name: known_modality(str(loaded.images[name].meta.get("modality", ""))) for name in plan.channels},
        dicom={}
        if loaded.made
        else {name: files for name in sorted(unchanged) if (files := dicom_files(loaded.case.images[name]))},
        secret=secret,
        facts={key: value for key, value in facts.items() if value},
        pictures=pictures,
    )


def _anonymous(volume: Volume) -> Volume:
    """Return the volume with nothing but voxels and their place: names and meta come from files of patients."""
    return replace(volume, name="", meta={})


def _same_voxels(one: Volume, other: Volume) -> bool:
    return (
        one.grid.same_as(other.grid) and one.array.dtype == other.array.dtype and np.array_equal(one.array, other.array)
    )


def _without_text(
    images: Mapping[str, Volume], loaded: LoadedCase, plan: ExportPlan
) -> tuple[dict[str, Volume], Volume | None, list[str]]:
    from meddl.datasets.deidentify.burned_in import without_burned_in_text
    from meddl.datasets.loading import dicom_files

    blanked: list[str] = []

    def clean(name: str, image: Volume, source: ImageSource) -> Volume:
        options = plan.options.deidentify
        if isinstance(source, ImageFile):
            files = dicom_files(source) if source.nested else ()
            image, notes = without_burned_in_text(image, source.path, options, source.series_uid, files)
        else:
            image, notes = without_burned_in_text(image, None, options)
        blanked.extend(f"{name}: {note}" for note in notes)
        return image

    cleaned = {name: clean(name, image, loaded.case.images[name]) for name, image in images.items()}
    target, label = loaded.target, loaded.case.label
    if target is not None and isinstance(label, TargetLabel):
        target = clean("target", target, label.source)
    return cleaned, target, blanked


def _without_face(
    images: Mapping[str, Volume],
    labels: Volume | None,
    target: Volume | None,
    how: Literal["template", "brain"],
    progress: Callable[[float, str], None],
    cancelled: Callable[[], bool],
) -> tuple[dict[str, Volume], Volume | None, Volume | None, dict[str, bytes], tuple[str, ...]]:
    """Remove the face found in the first channel from all images and labels (of skin, say), each on its own grid."""
    from meddl.datasets.deidentify.deface import deface, defacing_picture
    from meddl.volume import resample_to

    first = next(iter(images))
    found = deface(
        images[first],
        how,
        progress=lambda fraction, text: progress(0.2 + 0.5 * fraction, text),
        cancelled=cancelled,
    )
    face = found.mask.with_array(found.mask.array.astype(np.float32))

    def cut(image: Volume, value: float | None = None) -> Volume:
        # Any voxel that touches the face: another grid must not leave its rim. And all beyond the first channel, where
        # nobody has looked for a face.
        removed = resample_to(face, image.grid, default=1.0).array[0] > 0
        array = image.array.copy()
        array[:, removed] = array.min() if value is None else value
        return image.with_array(array)

    notes = list(found.notes)
    if labels is not None:
        whole, labels = labels, cut(labels, 0)
        if lost := int(np.count_nonzero(whole.array) - np.count_nonzero(labels.array)):
            notes.append(f"{lost} labeled voxels lay in the face and are background now.")
    defaced = {name: found.volume if name == first else cut(image) for name, image in images.items()}
    picture = defacing_picture(images[first], found.volume)
    target = cut(target) if target is not None else None
    return defaced, labels, target, {DEFACING_PICTURES: picture}, tuple(notes)


def _stop(cancelled: Callable[[], bool]) -> None:
    if cancelled():
        raise JobCancelled("The export was cancelled.")
