"""Slices and patches of a dataset's real cases, on one voxel size and with one range of values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from meddl.datasets.case import PreparedCase, Split
from meddl.datasets.manifest import Manifest, read_manifest
from meddl.datasets.plan import PlannedCase
from meddl.datasets.synthetic import real_cases
from meddl.errors import JobCancelled, UsageError
from meddl.jobs.progress import part_of
from meddl.synthesis.config import SynthesisConfig
from meddl.synthesis.cutting import cuts_of, plane_axes, spacing_along, upright
from meddl.synthesis.example_store import ExampleStore
from meddl.synthesis.examples import Examples, ExampleSource
from meddl.synthesis.value_range import ValueRange, common_range, values_of

if TYPE_CHECKING:
    from meddl.augmentation.reading_back import Sources

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Survey:
    """What the examples of a dataset have in common, as its training part tells.

    Attributes:
        spacing_mm: of the examples' voxels.
        values: the range of the images' values.
        modality: as DICOM names it, or "".
    """

    spacing_mm: float
    values: ValueRange
    modality: str


def read_examples(
    root: Path,
    config: SynthesisConfig,
    *,
    splits: Sequence[Split] = ("train",),
    limit: int = 0,
    survey: Survey | None = None,
    progress: Progress = lambda fraction, text: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Examples:
    """Return slices or patches of a dataset's real cases.

    Voxel size and range of values are those of the training part, whatever part is read. Many examples lie in a file
    that vanishes with the process, not in memory.

    Args:
        root: a dataset that MedDL has exported, in any format that can be read back.
        config: size, spacing, plane, channel and place of the examples.
        splits: the parts of the dataset to take cases from.
        limit: at most so many examples, spread evenly over those there are; 0: all.
        survey: of an earlier call on the same dataset (:func:`survey_of`), which saves reading it twice.

    Raises:
        UsageError: there is no such dataset or channel, it has no labels where those are needed, or no case of these
            parts holds an example.
        VolumeError: a case cannot be read.
        JobCancelled: on request.
    """
    manifest = manifest_of(root)
    channel, names = _channel(config, manifest), _names(config, manifest)
    wanted = _cases(manifest, splits)
    if not wanted:
        raise UsageError(f"The dataset has no real case in its {' or '.join(splits)} part.")
    if survey is None:
        survey = survey_of(root, config, progress=part_of(progress, 0.0, 0.45), cancelled=cancelled)
        progress = part_of(progress, 0.45, 1.0)
    store, sources = ExampleStore(config.size), []
    for case, prepared in _prepared(root, manifest, wanted, progress, cancelled):
        image, labels = upright(prepared, channel, spacing_along(config, survey.spacing_mm))
        own = values_of(prepared.images[channel].array[0], survey.modality)
        scaled = survey.values.scaled(image.array[0], own)
        for cut in cuts_of(scaled, labels.array[0] if names and labels is not None else None, config):
            store.add(cut.image, cut.labels)
            sources.append(ExampleSource(case.name, case.patient, case.split, cut.place))
    if not sources:
        raise UsageError(
            f"No case in the dataset's {' or '.join(splits)} part holds an example: nothing is labeled, or nothing "
            "that is seen at this size, or the images are empty."
        )
    images, stored_labels, kept = store.arrays(limit)
    progress(1.0, f"{len(kept)} examples")
    low, high = survey.values.low, survey.values.high
    found = tuple(sources[index] for index in kept)
    return Examples(images, stored_labels, found, names, survey.spacing_mm, low, high, survey.modality)


def survey_of(
    root: Path,
    config: SynthesisConfig,
    *,
    progress: Progress = lambda fraction, text: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Survey:
    """Return what the examples of a dataset have in common: looks at its real training cases one by one.

    Raises:
        UsageError, VolumeError, JobCancelled: as :func:`read_examples`.
    """
    manifest = manifest_of(root)
    channel = _channel(config, manifest)
    training = _cases(manifest, ("train",))
    if not training:
        raise UsageError("The dataset has no real case in its training part, and only of those a generator learns.")
    modality = manifest.plan.modality.get(channel, "")
    values, needed, native = [], [], []
    for _, prepared in _prepared(root, manifest, training, progress, cancelled):
        image, _ = upright(prepared, channel)
        values.append(values_of(prepared.images[channel].array[0], modality))
        axes = plane_axes(config)
        native.append(float(np.prod([image.spacing[axis] for axis in axes]) ** (1 / len(axes))))
        if not config.spacing_mm and config.dimensions == 2 and config.where == "whole":
            from meddl.datasets.geometry.foreground import foreground_box

            box = foreground_box(image) or tuple((0, count) for count in image.shape)
            extents = [(box[axis][1] - box[axis][0]) * image.spacing[axis] for axis in axes]
            needed.append(max(extent / size for extent, size in zip(extents, config.size, strict=True)))
    spacing = config.spacing_mm or (max(needed) if needed else float(np.median(native)))
    return Survey(float(f"{spacing:.4g}"), common_range(values, modality), modality)


def manifest_of(root: Path) -> Manifest:
    """Return the manifest of a dataset that MedDL has exported.

    Raises:
        UsageError: there is none.
    """
    manifest = read_manifest(root) if root.is_dir() else None
    if manifest is None:
        raise UsageError(f"{root.name or 'The folder'} holds no dataset that MedDL has made. Export one first.")
    return manifest


def dataset_digest(manifest: Manifest) -> str:
    """Return a SHA-256 of the real training cases and what their labels mean: what a generator learns from."""
    from meddl.datasets.formats.label_maps import value_names

    plan = manifest.plan
    files = {case.name: dict(manifest.records[case.name].files) for case in _cases(manifest, ("train",))}
    names = {str(value): name for value, name in value_names(plan.scheme).items()} if plan.scheme else {}
    return hashlib.sha256(json.dumps([plan.channels, names, files], sort_keys=True).encode()).hexdigest()


def training_patients(manifest: Manifest) -> tuple[int, int]:
    """Return how many real cases the training part has, and of how many patients."""
    cases = _cases(manifest, ("train",))
    return len(cases), len({case.patient for case in cases})


def _channel(config: SynthesisConfig, manifest: Manifest) -> str:
    channels = manifest.plan.channels
    if config.channel and config.channel not in channels:
        raise UsageError(f"The dataset has no channel {config.channel!r}. It has: {', '.join(channels)}.")
    return config.channel or channels[0]


def _names(config: SynthesisConfig, manifest: Manifest) -> dict[int, str]:
    from meddl.datasets.formats.label_maps import value_names

    if manifest.plan.scheme is None:
        if config.conditioned or config.where == "labels":
            raise UsageError("The dataset has no label maps, which a conditioned generator learns from. Choose one "
                             "that is not conditioned, of the whole image.")  # fmt: skip
        return {}
    names = value_names(manifest.plan.scheme)
    if len(names) > 256:
        raise UsageError(f"The dataset has {len(names)} labels; a generator can tell 256 apart. Merge some.")
    return names


def _cases(manifest: Manifest, splits: Sequence[Split]) -> tuple[PlannedCase, ...]:
    real = real_cases(manifest.plan.cases)
    return tuple(case for case in real if case.split in splits and case.name in manifest.records)


def _prepared(
    root: Path,
    manifest: Manifest,
    cases: Sequence[PlannedCase],
    progress: Progress,
    cancelled: Callable[[], bool],
) -> Iterator[tuple[PlannedCase, PreparedCase]]:
    from meddl.augmentation.reading_back import sources_in

    sources: Sources = sources_in(root, manifest, {case.name for case in cases})
    for number, case in enumerate(cases):
        progress(number / len(cases), f"Reading {case.name}, {number + 1} of {len(cases)}")
        if cancelled():
            raise JobCancelled("It was cancelled while the dataset was read.")
        yield case, sources.prepared(case.name)
