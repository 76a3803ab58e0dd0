"""The real people that a generator is judged by: those it learned from, and those it did not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from meddl.datasets.manifest import Manifest
from meddl.datasets.plan import PlannedCase
from meddl.datasets.synthetic import real_cases
from meddl.errors import UsageError
from meddl.jobs.progress import part_of
from meddl.synthesis.config import SynthesisConfig
from meddl.synthesis.examples import Examples
from meddl.synthesis.facts import SynthesisFacts, images_of, learned_images

Progress = Callable[[float, str], None]


@dataclass(frozen=True, eq=False)
class JudgedPeople:
    """Real examples of a dataset.

    Attributes:
        name: of the dataset.
        training: what the generator learned from.
        held_out: of people it did not learn from, or None.
        notes: what the reader should know.
    """

    name: str
    training: Examples
    held_out: Examples | None
    notes: tuple[str, ...]


def read_people(
    dataset: Path,
    facts: SynthesisFacts,
    *,
    progress: Progress = lambda fraction, text: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> JudgedPeople:
    """Return the real examples of a dataset, of a generator's size and spacing.

    Held out are the validation and test parts. Whoever of them the generator has learned from nevertheless (it tells
    the digests of its images) would judge it too well, and so would people who are in the training part as well.

    Raises:
        UsageError: there is no such dataset, or the generator does not fit to it.
        JobCancelled: on request.
    """
    from meddl.synthesis.reading import manifest_of, read_examples, survey_of

    manifest = manifest_of(dataset)
    config = SynthesisConfig(
        kind=facts.kind, conditioned=facts.conditioned, size=facts.size, spacing_mm=facts.spacing_mm, plane=facts.plane,
        channel=_channel(manifest, facts),
        where=facts.where,
    )  # fmt: skip
    cases = [case for case in real_cases(manifest.plan.cases) if case.name in manifest.records]
    notes = _check(cases, facts)  # first: it takes no reading
    survey = survey_of(dataset, config, progress=part_of(progress, 0.0, 0.3), cancelled=cancelled)
    training = read_examples(dataset, config, survey=survey, progress=part_of(progress, 0.3, 0.7), cancelled=cancelled)
    held_cases = [case for case in cases if case.split != "train"]
    held_out = None
    if held_cases:
        held_out = read_examples(
            dataset, config, splits=("validation", "test"), survey=survey, progress=part_of(progress, 0.7, 1.0),
            cancelled=cancelled,
        )  # fmt: skip
    channels = manifest.plan.channels
    if len(channels) > 1 and not config.channel:
        notes.append(f"The dataset has several images of each case, and the generator does not tell which of them it "
                     f"has learned from. It is judged by {channels[0]}.")  # fmt: skip
    return JudgedPeople(manifest.plan.options.name, training, held_out, tuple(notes))


def _channel(manifest: Manifest, facts: SynthesisFacts) -> str:
    told = str(facts.trained_on.get("channel", ""))
    return told if told in manifest.plan.channels else ""


def _check(cases: list[PlannedCase], facts: SynthesisFacts) -> list[str]:
    learned = learned_images(facts.trained_on)
    held = [case for case in cases if case.split != "train"]
    seen = [case for case in held if learned & images_of(case.digest)]
    if seen:
        raise UsageError(
            f"The generator has learned from {len(seen)} of the {len(held)} held-out cases, {seen[0].name} among them: "
            "they cannot judge it. Judge by the dataset as it was when the generator was trained."
        )
    trained = {case.patient for case in cases if case.split == "train"}
    if both := sorted({case.patient for case in held} & trained):
        raise UsageError(
            f"{len(both)} people are in the training part and held out at once, {both[0]} among them. Divide the "
            "dataset anew."
        )
    if not learned:
        return ["The generator does not tell which images it has learned from. It is judged as if they were this "
                "dataset's training part."]  # fmt: skip
    here = {image for case in cases if case.split == "train" for image in images_of(case.digest)}
    told = facts.trained_on["images_sha256"]
    strange = [digest for digest in told if not here & images_of(digest)]
    if len(strange) == len(told):
        return ["The generator has learned from other images than this dataset's. Whether it gives those back is not "
                "known: judge it by their dataset, too."]  # fmt: skip
    if strange:
        return [f"{len(strange)} of the {len(told)} cases that the generator has learned from are not in this "
                "dataset's training part. Whether it gives those back is not known."]  # fmt: skip
    return []
