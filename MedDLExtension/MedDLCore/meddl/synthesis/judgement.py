"""Judging a generator: how near it comes to real images, whether it knows people by heart, and whether it is of use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from meddl.jobs.progress import part_of
from meddl.synthesis.distances import HALF, Distance, distances_by_features, distances_by_pixels, real_images
from meddl.synthesis.examples import Examples
from meddl.synthesis.features import network_features
from meddl.synthesis.judge_options import JudgeOptions
from meddl.synthesis.memorization import Memorization, memorization
from meddl.synthesis.own_maps import OwnMaps, own_maps
from meddl.synthesis.segmenter import BOTTOM_LAYER, Learning, train_segmenter
from meddl.synthesis.usefulness import Usefulness, usefulness

if TYPE_CHECKING:
    from meddl.synthesis.synthesizer import Synthesizer

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Judgement:
    """What is known of a generator's images.

    Attributes:
        distances: how near they come to the real ones, each with the same figure of real images of other people.
        memorization: whether they are images of the training people; None where that could not be looked at.
        own_maps: whether label maps of training people bring their images back; None where that could not be asked.
        usefulness: what they are worth for training; None where that could not be looked at.
        notes: what the reader should know, in sentences.
        facts: what was judged: dataset, generator, options, counts. No paths.
        pictures: PNG by name ("pairs.png", "usefulness.png"); not among :meth:`to_dict`.
    """

    distances: tuple[Distance, ...] = ()
    memorization: Memorization | None = None
    own_maps: OwnMaps | None = None
    usefulness: Usefulness | None = None
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    pictures: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What must not be overlooked before images leave the house."""
        kept = self.memorization.warnings if self.memorization is not None else ()
        return (*kept, self.own_maps.warning) if self.own_maps is not None and self.own_maps.warning else kept

    @property
    def summary(self) -> tuple[str, ...]:
        """The answer in a few sentences, the most important first."""
        said = list(self.warnings)
        if self.memorization is not None and not said:
            said.append(self.memorization.sentence)
        if self.usefulness is not None:
            said.append(self.usefulness.sentence)
        return tuple(said)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data: what the attributes hold, with ``summary`` and ``warnings`` first."""
        return {
            "summary": list(self.summary),
            "warnings": list(self.warnings),
            "distances": [each.to_dict() for each in self.distances],
            "memorization": self.memorization.to_dict() if self.memorization is not None else None,
            "own_maps": self.own_maps.to_dict() if self.own_maps is not None else None,
            "usefulness": self.usefulness.to_dict() if self.usefulness is not None else None,
            "notes": list(self.notes),
            "facts": dict(self.facts),
        }


def judge(
    dataset: Path,
    synthesizer: Synthesizer,
    options: JudgeOptions | None = None,
    *,
    progress: Progress = lambda fraction, text: None,
    cancelled: Callable[[], bool] = lambda: False,
    log: Callable[[str], None] = lambda line: None,
) -> Judgement:
    """Return how good, how private and how useful a generator's images are, by the dataset it learned from.

    The same arguments give the same judgement on one computer with one number of threads.

    Args:
        dataset: folder that MedDL has exported, with the people that were held out (validation and test).
        synthesizer: what is judged.

    Raises:
        UsageError: there is no such dataset, or the generator does not fit to it.
        JobCancelled: on request.
    """
    from meddl.synthesis.judged_images import judged_images
    from meddl.synthesis.judged_people import read_people

    options = options or JudgeOptions()
    people = read_people(Path(dataset), synthesizer.facts, progress=part_of(progress, 0.0, 0.1), cancelled=cancelled)
    made = judged_images(
        synthesizer, people.training, options.count, options.seed, progress=part_of(progress, 0.1, 0.25),
        cancelled=cancelled,
    )  # fmt: skip
    own = own_maps(
        synthesizer,
        people.training,
        people.held_out,
        options.seed,
        progress=part_of(progress, 0.25, 0.35),
        cancelled=cancelled,
    )
    log(f"{len(made.images)} synthetic images, {len(people.training)} real ones to learn from")
    found = judge_images(
        made.images, made.labels, people.training, people.held_out, options, progress=part_of(progress, 0.3, 1.0),
        cancelled=cancelled, log=log,
    )  # fmt: skip
    generator = {
        "name": synthesizer.bundle.name,
        "version": synthesizer.bundle.version,
        "sha256": synthesizer.bundle.digest,
        "kind": synthesizer.facts.kind,
        "conditioned": synthesizer.facts.conditioned,
        "trained_on": {k: v for k, v in synthesizer.facts.trained_on.items() if k != "images_sha256"},
    }
    facts = {**found.facts, "dataset": people.name, "generator": generator}
    return replace(found, own_maps=own, notes=(*people.notes, *made.notes, *found.notes), facts=facts)


def judge_images(
    images: np.ndarray,
    labels: np.ndarray | None,
    training: Examples,
    held_out: Examples | None,
    options: JudgeOptions,
    *,
    progress: Progress = lambda fraction, text: None,
    cancelled: Callable[[], bool] = lambda: False,
    log: Callable[[str], None] = lambda line: None,
) -> Judgement:
    """Return what is known of synthetic images, wherever they come from.

    Args:
        images: ``(N, 1, *size)`` in -1..1, as the examples.
        labels: ``(N, *size)`` with the examples' values, or None: then nothing is said of usefulness.
        training: what they were learned from.
        held_out: of other people, or None.

    Raises:
        UsageError: the options do not fit, for instance a model of features that takes no such images.
        JobCancelled: on request.
    """
    from meddl.inference.device import resolve_device
    from meddl.synthesis.judgement_pictures import pictures_of

    device = resolve_device(options.device)
    work = Work(progress, cancelled, log)
    kept = memorization(
        images, training, held_out, pairs=options.pairs, progress=part_of(progress, 0.0, 0.15), cancelled=cancelled
    )
    log(kept.sentence)
    measured, notes = _distances(images, training, held_out, options, device, work.part(0.15, 0.3))
    useful: Usefulness | None = None
    why = _why_not(labels, training, held_out, options)
    if why:
        notes.append(why)
    elif labels is not None and held_out is not None:
        useful = usefulness(
            training, Learning(images, labels), held_out, seeds=options.seeds, steps=options.segmenter_steps,
            batch=options.segmenter_batch, share=options.synthetic_share, seed=options.seed, device=device,
            progress=part_of(progress, 0.3, 1.0), cancelled=cancelled, log=log,
        )  # fmt: skip
        log(useful.sentence)
    counts = {"synthetic": len(images), "training": len(training), "training_people": training.patients,
              "held_out": 0 if held_out is None else len(held_out),
              "held_out_people": 0 if held_out is None else held_out.patients}  # fmt: skip
    facts = {
        "counts": counts,
        "options": options.to_dict(),
        "size": list(images.shape[2:]),
        "spacing_mm": training.spacing_mm,
    }
    pictures = pictures_of(images, labels, training, kept, useful)
    progress(1.0, "Judged")
    return Judgement(measured, kept, None, useful, tuple(notes), facts, pictures)


@dataclass(frozen=True)
class Work:
    """What a long work tells, and is told."""

    progress: Progress
    cancelled: Callable[[], bool]
    log: Callable[[str], None]

    def part(self, start: float, stop: float) -> Work:
        """Return the same for a part of the work."""
        return replace(self, progress=part_of(self.progress, start, stop))


def _distances(
    images: np.ndarray, training: Examples, held_out: Examples | None, options: JudgeOptions, device: Any, work: Work
) -> tuple[tuple[Distance, ...], list[str]]:
    real = real_images(training, held_out, options.seed)
    notes = []
    if real.whose == HALF:
        notes.append("Nobody is held out: for the distances one half of the training people stands for other people.")
    elif not real.whose:
        notes.append("There are no real images of other people: the distances have nothing to be compared with.")
    work.progress(0.0, "Distances between synthetic and real images")
    found = [*distances_by_pixels(images, real, options.seed, work.cancelled)]
    extract, name = _features(training, options, device, work.part(0.2, 0.9))
    if extract is None:
        notes.append("KID and FID need the features of a network: choose a model for them. The dataset has no labels "
                     "that a small one could be trained with.")  # fmt: skip
        return tuple(found), notes
    work.progress(0.9, "Distances by the features of a network")
    return (*distances_by_features(images, real, extract, name, options.seed), *found), notes


def _features(
    training: Examples, options: JudgeOptions, device: Any, work: Work
) -> tuple[Callable[[np.ndarray], np.ndarray] | None, str]:
    """Return what extracts the features that images are compared by, and its name."""
    if options.features:
        from meddl.models import resolve_model
        from meddl.synthesis.features import BundleFeatures

        by_bundle = BundleFeatures(
            resolve_model(options.features), low=training.low, high=training.high, spacing_mm=training.spacing_mm,
            device=options.device, cancelled=work.cancelled,
        )  # fmt: skip
        return by_bundle, by_bundle.name
    labels = training.labels
    if labels is None or not labels.any():
        return None, ""
    steps = options.segmenter_steps
    network = train_segmenter(
        ((Learning(training.images, labels), 1.0),), int(labels.max()) + 1, steps=steps, batch=options.segmenter_batch,
        seed=options.seed, device=device, cancelled=work.cancelled,
        on_step=lambda step: work.progress(step / steps, "A small segmenter, whose features images are compared by"),
    )  # fmt: skip
    return (
        lambda images: network_features(network, BOTTOM_LAYER, images, device, work.cancelled),
        "features of a small segmenter of the training part",
    )


def _why_not(labels: np.ndarray | None, training: Examples, held_out: Examples | None, options: JudgeOptions) -> str:
    """Return why usefulness is not looked at; "" where it is."""
    if not options.seeds:
        return "Usefulness was left out."
    if labels is None:
        return "The generator makes no labels, so what its images are worth for training a segmenter was not looked at."
    if held_out is None or held_out.labels is None or training.labels is None:
        return "Nobody is held out with labels, so what the images are worth for training was not looked at."
    if not (set(np.unique(held_out.labels).tolist()) & set(np.unique(training.labels).tolist())) - {0}:
        return "No structure is both in the training part and in held-out people: usefulness was not looked at."
    return ""


__all__ = ["JudgeOptions", "Judgement", "judge", "judge_images"]
