"""What synthetic images are worth: the same small segmenter, trained with and without them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from meddl.errors import UsageError
from meddl.synthesis.examples import Examples
from meddl.synthesis.intervals import over_seeds, over_seeds_and_people
from meddl.synthesis.segmenter import Learning, segment, train_segmenter

Progress = Callable[[float, str], None]

Arm: TypeAlias = Literal["real", "real + synthetic", "synthetic"]
ARMS: tuple[Arm, ...] = ("real", "real + synthetic", "synthetic")
ALL = "mean of all"
"""In place of a structure: the mean over all structures."""


@dataclass(frozen=True)
class Score:
    """Dice of a segmenter on held-out people.

    Attributes:
        arm: what it learned from.
        structure: or :data:`ALL`.
        mean: over seeds and people, 0 to 1.
        low, high: interval (95 %, Student's t over the seeds).
        by_seed: mean over people for each seed.
        people: in whom the structure is.
    """

    arm: str
    structure: str
    mean: float
    low: float
    high: float
    by_seed: tuple[float, ...]
    people: int


@dataclass(frozen=True)
class Difference:
    """Dice of an arm less that of "real", seed by seed and person by person.

    Attributes:
        arm: what is compared with "real".
        structure: or :data:`ALL`.
        mean: of the differences.
        low, high: interval (95 %) over the seeds: for these people.
        wide_low, wide_high: interval over seeds and people: for people like them; None with one held-out person.
        verdict: "better", "worse", "better for these people", "worse for these people" or "no difference shown".
    """

    arm: str
    structure: str
    mean: float
    low: float
    high: float
    wide_low: float | None
    wide_high: float | None
    verdict: str


@dataclass(frozen=True)
class Usefulness:
    """What came out with and without synthetic images.

    Attributes:
        scores, differences: by structure, the mean of all first.
        sentence: the answer.
        seeds, steps: of each training, the same for all arms.
        examples: how many "real" and "synthetic" ones there were to learn from, and "held_out" to be tried on.
        people: how many are held out.
        notes: what the reader should know.
    """

    scores: tuple[Score, ...]
    differences: tuple[Difference, ...]
    sentence: str
    seeds: int
    steps: int
    examples: tuple[tuple[str, int], ...]
    people: int
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain data: rows as lists of objects."""
        return {
            "scores": [{**asdict(each), "by_seed": list(each.by_seed)} for each in self.scores],
            "differences": [asdict(each) for each in self.differences],
            "sentence": self.sentence,
            "seeds": self.seeds,
            "steps": self.steps,
            "examples": dict(self.examples),
            "people": self.people,
            "notes": list(self.notes),
        }


def usefulness(
    training: Examples,
    synthetic: Learning,
    held_out: Examples,
    *,
    seeds: int = 5,
    steps: int = 300,
    batch: int = 16,
    share: float = 0.5,
    seed: int = 0,
    device: Any = "cpu",
    progress: Progress = lambda fraction, text: None,
    cancelled: Callable[[], bool] = lambda: False,
    log: Callable[[str], None] = lambda line: None,
) -> Usefulness:
    """Return how well the same segmenter does on held-out people when it learns with and without synthetic images.

    Every arm has the same network, first weights, number of steps and examples in a step, and examples are turned,
    scaled and shifted by chance in all of them, so that synthetic images are not praised for what simple augmentation
    does, too.

    Args:
        training: with labels; real.
        synthetic: with the same values of labels.
        held_out: with labels, of other people.
        seeds: trainings of each arm, at least 2.
        steps, batch: of each training.
        share: of synthetic examples in a batch of "real + synthetic".
        seed: of the first training; the others count on.

    Raises:
        UsageError: nobody is held out, a held-out person is in the training part, or nothing is labeled.
        JobCancelled: on request.
    """
    if training.labels is None or held_out.labels is None:
        raise UsageError("The dataset has no labels, so no segmenter can learn from it.")
    if common := {each.patient for each in training.sources} & {each.patient for each in held_out.sources}:
        raise UsageError(
            f"{len(common)} people are in the training part and held out at once. Divide the dataset anew."
        )
    values = [value for value in sorted(training.names) if value and (training.labels == value).any()]
    tried = [value for value in values if (held_out.labels == value).any()]
    if not tried:
        raise UsageError("No structure is both in the training part and in held-out people.")
    classes = max(values) + 1
    real = Learning(training.images, np.where(np.isin(training.labels, values), training.labels, 0))
    sources: dict[Arm, tuple[tuple[Learning, float], ...]] = {
        "real": ((real, 1.0),),
        "real + synthetic": ((real, 1 - share), (synthetic, share)),
        "synthetic": ((synthetic, 1.0),),
    }
    people = np.array([each.patient for each in held_out.sources])
    dice: dict[Arm, list[np.ndarray]] = {arm: [] for arm in ARMS}
    runs = [(number, arm) for number in range(seeds) for arm in ARMS]
    for done, (number, arm) in enumerate(runs):
        text = f"Segmenter {done + 1} of {len(runs)}: {arm}"

        def step(count: int, done: int = done, text: str = text) -> None:
            progress((done + count / steps) / len(runs), text)

        network = train_segmenter(
            sources[arm], classes, steps=steps, batch=batch, seed=seed + number, device=device, on_step=step,
            cancelled=cancelled,
        )  # fmt: skip
        found = segment(network, held_out.images, device, cancelled)
        dice[arm].append(dice_by_person(found, held_out.labels, people, tried))
        log(f"{text}: Dice {np.nanmean(dice[arm][-1]):.3f}")
    named = [training.names[value] for value in tried]
    stacked = {arm: np.stack(each) for arm, each in dice.items()}
    examples = (("real", len(training)), ("synthetic", len(synthetic)), ("held_out", len(held_out)))
    return judged(stacked, named, steps=steps, examples=examples)


def dice_by_person(
    found: np.ndarray, labels: np.ndarray, people: Sequence[str] | np.ndarray, values: Sequence[int]
) -> np.ndarray:
    """Return ``(P, V)`` Dice over all images of each person, people in the order of their names.

    NaN where a person has no voxel of a structure: what is found there is not counted.

    Args:
        found, labels: ``(N, *size)``.
        people: whose each image is.
        values: of the structures.
    """
    people = np.asarray(people)
    rows = []
    for person in sorted(set(people.tolist())):
        own = people == person
        row = []
        for value in values:
            a, b = found[own] == value, labels[own] == value
            row.append(2 * float((a & b).sum()) / float(a.sum() + b.sum()) if b.any() else np.nan)
        rows.append(row)
    return np.array(rows)


def judged(
    dice: dict[Arm, np.ndarray], names: Sequence[str], *, steps: int, examples: tuple[tuple[str, int], ...] = ()
) -> Usefulness:
    """Return what Dice of the arms say.

    Args:
        dice: ``(seeds, people, structures)`` of each arm; NaN where a person lacks a structure.
        names: of the structures.
        steps: of each training.
        examples: how many there were.
    """
    scores: list[Score] = []
    differences: list[Difference] = []
    seeds, people, _ = dice["real"].shape
    for number in range(-1, len(names)):
        name = ALL if number < 0 else names[number]
        of_arm = {arm: _chosen(each, number) for arm, each in dice.items()}
        scores += [_score(arm, name, of_arm[arm]) for arm in ARMS]
        differences += [_difference(arm, name, of_arm[arm] - of_arm["real"]) for arm in ARMS[1:]]
    notes = [
        f"Intervals are over {seeds} trainings of each arm (Student's t, 95 %), of the same seeds in all arms; "
        "differences are taken seed by seed."
    ]
    if people == 1:
        notes.append(
            "One person is held out: the intervals are over the seeds only, and say how sure the figures are for this "
            "person. Nothing is known of others."
        )
    else:
        notes.append(
            f"{people} people are held out. The first interval holds for them; the wide one, over seeds and people, "
            "for people like them."
        )
    if len(names) > 1:
        notes.append(
            f"The answer is that of the mean of all {len(names)} structures. Of many rows one is outside of its "
            "interval by chance now and then."
        )
    sentence = _sentence(next(each for each in differences if each.arm == "real + synthetic"), people)
    return Usefulness(tuple(scores), tuple(differences), sentence, seeds, steps, examples, people, tuple(notes))


def _chosen(dice: np.ndarray, number: int) -> np.ndarray:
    """Return ``(seeds, people)`` of a structure, or of the mean of each person's; people without it are left out."""
    chosen = np.nanmean(dice, axis=2) if number < 0 else dice[..., number]
    return chosen[:, ~np.isnan(chosen).any(axis=0)]


def _score(arm: str, name: str, dice: np.ndarray) -> Score:
    by_seed = dice.mean(axis=1)
    low, high = over_seeds(by_seed)
    low, high = max(low, 0.0), min(high, 1.0)  # Dice lies between them, which Student's t does not know
    shown = tuple(_short(each) for each in by_seed)
    return Score(arm, name, _short(by_seed.mean()), _short(low), _short(high), shown, dice.shape[1])


def _difference(arm: str, name: str, apart: np.ndarray) -> Difference:
    low, high = over_seeds(apart.mean(axis=1))
    wide = over_seeds_and_people(apart) if apart.shape[1] > 1 else None
    verdict = "no difference shown"
    if low > 0 or high < 0:
        word = "better" if low > 0 else "worse"
        for_all = wide is not None and (wide[0] > 0 or wide[1] < 0)
        verdict = word if for_all else f"{word} for these people"
    wide_low, wide_high = (None, None) if wide is None else (_short(wide[0]), _short(wide[1]))
    return Difference(arm, name, _short(apart.mean()), _short(low), _short(high), wide_low, wide_high, verdict)


def _sentence(difference: Difference, people: int) -> str:
    of = f"{difference.mean:+.3f} (95 % over the seeds {difference.low:+.3f} to {difference.high:+.3f})"
    if difference.verdict == "no difference shown":
        return (
            f"No difference shown: with the synthetic images the segmenter's Dice on held-out people changes by {of}."
        )
    word = "better" if difference.low > 0 else "worse"
    if difference.verdict == word:
        return f"With the synthetic images the segmenter is {word} on held-out people: its Dice changes by {of}."
    whom = "the one held-out person" if people == 1 else f"these {people} held-out people"
    return (
        f"With the synthetic images the segmenter is {word} on {whom}: its Dice changes by {of}. "
        "Whether that is so for others is not shown."
    )


def _short(value: Any) -> float:
    return float(f"{float(value):.5g}")
