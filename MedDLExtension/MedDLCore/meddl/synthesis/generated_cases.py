"""How a generated case is made of a training case: its label map, moved, and an image of nobody that fits it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from meddl.augmentation.adding import Made, Maker
from meddl.augmentation.applying import replay
from meddl.augmentation.draw import Draw, draw
from meddl.augmentation.guard import GuardLimits, Realism, compare, histogram_distance
from meddl.augmentation.known import transform
from meddl.augmentation.plan import AugmentationPlan
from meddl.augmentation.prepared_sample import sample_of, segments_of
from meddl.augmentation.sample import Sample
from meddl.augmentation.transform import SpatialTransform
from meddl.datasets.case import PreparedCase
from meddl.datasets.plan import CaseRecord, ExportPlan, PlannedCase
from meddl.datasets.synthetic import real_cases
from meddl.errors import UsageError
from meddl.jobs.progress import part_of
from meddl.randomness import Stream
from meddl.synthesis.facts import images_of, learned_images
from meddl.synthesis.label_matching import unknown_structures
from meddl.synthesis.synthesizer import Synthesizer
from meddl.volume import Segment, Volume

Progress = Callable[[float, str], None]

_ALGORITHM = 1
_FAR = 0.5
"""Distance of the histograms, as a share of the source's contrast, over which an image is none of this dataset's."""


class GeneratedCaseMaker(Maker):
    """Makes cases with a generator.

    Args:
        synthesizer: makes the images.
        count: of each training case.
        seed: of what is left to chance.
        plan: moves the label maps first; None leaves them.
        attempts: to move one so that no structure vanishes.
    """

    mark: ClassVar[str] = "g"
    what: ClassVar[str] = "synthetic cases"
    cancelled_text: ClassVar[str] = "It was cancelled. Synthetic cases that were finished are in the dataset."

    def __init__(
        self, synthesizer: Synthesizer, count: int, seed: int, plan: AugmentationPlan | None, attempts: int
    ) -> None:
        self.count = count
        self._synthesizer, self._seed, self._plan, self._attempts = synthesizer, seed, plan, attempts
        self._sha256 = synthesizer.bundle.digest

    @property
    def recipe(self) -> str:
        """What all its cases have in common."""
        plan = self._plan.digest if self._plan is not None else ""
        return json.dumps([_ALGORITHM, "generated", self._sha256, plan, self._seed, self._attempts])

    def check(self, plan: ExportPlan) -> tuple[str, ...]:
        """Return notes on a dataset.

        Raises:
            UsageError: the generator does not fit it, or knows its validation or test cases.
        """
        facts, name = self._synthesizer.facts, self._synthesizer.bundle.name
        if plan.task != "segmentation" or plan.scheme is None:
            raise UsageError(f"The dataset is for {plan.task} and has no label maps, which images are made for. Save "
                             "images without a dataset instead.")  # fmt: skip
        if not facts.conditioned:
            raise UsageError(f"The generator '{name}' makes images out of chance alone: nobody knows what is where in "
                             "them, as a case of this dataset must tell. Train one with labels.")  # fmt: skip
        if len(plan.channels) > 1:
            raise UsageError(f"Each case of the dataset has {len(plan.channels)} images ({', '.join(plan.channels)}), "
                             f"and the generator '{name}' makes one.")  # fmt: skip
        modality = plan.modality.get(plan.channels[0], "")
        if modality and facts.modality and modality != facts.modality:
            raise UsageError(f"The dataset has {modality} images, and the generator '{name}' makes {facts.modality}.")
        if unknown := unknown_structures(_coded_segments(plan), facts, self._synthesizer.segments):
            raise UsageError(f"The generator '{name}' has not learned what these look like: {', '.join(unknown)}. They "
                             "would be labeled where they are not shown. Train one on this dataset.")  # fmt: skip
        return (*self._synthesizer.notes, *provenance_notes(facts.trained_on, plan, name))

    def make(
        self,
        source: PreparedCase,
        planned: PlannedCase,
        plan: ExportPlan,
        record: CaseRecord,
        progress: Progress,
        cancelled: Callable[[], bool],
    ) -> Made:
        """Return an image that fits the case's label map, moved."""
        channel = plan.channels[0]
        sample = sample_of(source, plan)
        drawn, moved = self._moved(sample, planned, plan, cancelled)
        assert moved.labels is not None
        seed = int(Stream("meddl synthetic case", self._seed, planned.name).token()[:8], 16)
        progress(0.1, f"Making {planned.name}")
        (made,) = self._synthesizer.sample(
            seed=seed,
            labels=moved.labels,
            segments=_coded_segments(plan),
            progress=part_of(progress, 0.1, 0.9),
            cancelled=cancelled,
        )
        image = Volume(in_type(made.image.array, source.images[channel]), source.images[channel].affine)
        realism = compare(
            sample,
            replace(moved, images={channel: image}),
            segments_of(plan),
            _NO_HISTOGRAM,
            exchanged=drawn is not None and drawn.exchanges_sides,
        )
        notes = tuple(note for note in made.facts["notes"] if note not in self._synthesizer.notes)
        far = histogram_distance(moved.images[channel], image)
        warnings = [*realism.warnings]
        if far > _FAR:
            warnings.append("The values of the image are far from those of the source: the generator was trained on "
                            "other images, or for too short a time.")  # fmt: skip
        facts = {
            "how": "generated",
            "generator": {
                "name": made.facts["generator"],
                "version": made.facts["generator_version"],
                "sha256": made.facts["generator_sha256"],
                "kind": made.facts["kind"],
            },
            "seed": seed,
            "draw": drawn.to_dict() if drawn is not None else None,
            "realism": realism.to_dict(),
            "histogram": round(far, 4),
            "correlation_with_source": _correlation(moved.images[channel], image, moved.labels),
            "notes": list(notes),
            "warnings": warnings,
        }
        return Made(replace(source, images={channel: image}, labels=moved.labels), facts, tuple(warnings))

    def _moved(
        self, sample: Sample, planned: PlannedCase, plan: ExportPlan, cancelled: Callable[[], bool]
    ) -> tuple[Draw | None, Sample]:
        if self._plan is None:
            return None, sample
        for attempt in range(self._attempts):
            drawn = draw(self._plan, sample, self._seed, f"{planned.name}/{attempt}")
            # What the plan does to values is the generator's own business.
            steps = tuple(each for each in drawn.steps if isinstance(transform(each.transform, ""), SpatialTransform))
            drawn = replace(drawn, steps=steps)
            moved = replay(sample, drawn, cancelled=cancelled)
            realism: Realism = compare(sample, moved, segments_of(plan), exchanged=drawn.exchanges_sides)
            if realism.is_usable:
                break
        return drawn, moved


def provenance_notes(trained_on: Mapping[str, Any], plan: ExportPlan, name: str) -> tuple[str, ...]:
    """Return what is to be known of the patients that a generator has learned from.

    Raises:
        UsageError: some of them are among those by whom models are judged here.
    """
    learned = learned_images(trained_on)
    if not learned:
        return (f"'{name}' does not tell which cases it has learned from: make sure that none of them is in the "
                "validation or test part.",)  # fmt: skip
    known = [case for case in real_cases(plan.cases) if learned & images_of(case.digest)]
    if judging := [case for case in known if case.split != "train"]:
        some = "a case" if len(judging) == 1 else f"{len(judging)} cases"
        raise UsageError(f"The generator '{name}' has learned from {some} of this dataset's validation or test part "
                         f"({judging[0].name}): models that learn from what it makes would know whom they are judged "
                         "by. Train one on this dataset: it learns from the training part only.")  # fmt: skip
    if len({case.fold for case in known} - {None}) > 1:
        return (f"'{name}' has learned from cases of several folds, each of which is validated once: figures of "
                "cross-validation will be a little too good. Judge by the test part.",)  # fmt: skip
    return ()


def in_type(array: np.ndarray, like: Volume) -> np.ndarray:
    """Return values in the type of another image, rounded and kept within what it holds."""
    dtype = like.array.dtype
    if dtype.kind not in "iu":
        return array.astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.rint(array.astype(np.float64)), limits.min, limits.max).astype(dtype)


_NO_HISTOGRAM = GuardLimits(histogram=float("inf"))


def _coded_segments(plan: ExportPlan) -> tuple[Segment, ...]:
    """Return what the dataset's values mean, with the codes of its structures."""
    assert plan.scheme is not None
    known = {each.name: each for each in plan.scheme.structures}
    return tuple(
        replace(each, color=known[each.name].color, terminology=known[each.name].terminology)
        if each.name in known
        else each
        for each in segments_of(plan)
    )


def _correlation(one: Volume, other: Volume, labels: Volume) -> float | None:
    """Return how alike two images are where something is labeled, -1 to 1; None where that has no meaning."""
    where = labels.array[0] > 0
    a, b = (each.array[0][where].astype(np.float64) for each in (one, other))
    if a.size < 2 or a.std() == 0 or b.std() == 0:
        return None
    return round(float(np.corrcoef(a, b)[0, 1]), 4)
