"""Judging a generator: the whole judgement, its report, and the datasets and generators it takes."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from core.judged_phantoms import SIZE, phantoms, random
from meddl.errors import JobCancelled, UnwritableDataset, UsageError
from meddl.synthesis import Examples, SynthesisConfig, SynthesisFacts, Synthetic
from meddl.synthesis.judged_images import judged_images
from meddl.synthesis.judged_people import read_people
from meddl.synthesis.judgement import Judgement, JudgeOptions, judge, judge_images
from meddl.synthesis.judgement_report import page_of, write_report
from meddl.synthesis.reading import manifest_of, read_examples
from meddl.synthesis.usefulness import ARMS, judged
from meddl.volume import Segment, Volume


def test_a_judgement_says_what_it_found_and_repeats_its_bytes(tmp_path) -> None:
    training = phantoms(range(1, 4), each=5, structures=2)
    held_out = phantoms([20, 21], each=5, split="test", structures=2)
    fresh = phantoms(range(50, 53), each=4, structures=2)
    options = JudgeOptions(seeds=2, segmenter_steps=2, segmenter_batch=2, pairs=4)
    steps: list[float] = []
    told: list[str] = []

    def look() -> Judgement:
        return judge_images(
            fresh.images, fresh.labels, training, held_out, options,
            progress=lambda fraction, text: steps.append(fraction), log=told.append,
        )  # fmt: skip

    found = look()
    assert steps[-1] == 1 and steps == sorted(steps) and told
    files = write_report(found, tmp_path / "one")
    again = write_report(look(), tmp_path / "two")

    assert [path.name for path in files] == ["judgement.md", "judgement.json", "nearness.png", "pairs.png",
                                             "samples.png", "usefulness.png"]  # fmt: skip
    assert [path.read_bytes() for path in files] == [path.read_bytes() for path in again]
    assert [each.measure for each in found.distances] == ["KID", "FID", "MMD", "MS-SSIM between images"]
    assert all(each.baseline is not None for each in found.distances)
    assert found.summary == (found.memorization.sentence, found.usefulness.sentence)
    assert json.loads(files[1].read_text()) == json.loads(json.dumps(found.to_dict()))
    page = files[0].read_text()
    assert "no anonymity" in page and "Lesion" in page and "keep this report" in page and str(tmp_path) not in page
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in files[2:])


def test_a_judgement_without_labels_or_held_out_people_says_so() -> None:
    training = phantoms(range(1, 4))
    bare = Examples(training.images, None, training.sources, {}, 4.0, 0.0, 1.0)

    found = judge_images(phantoms([50]).images, None, bare, None, JudgeOptions())
    left_out = judge_images(
        phantoms([50]).images, phantoms([50]).labels, training, None, JudgeOptions(segmenter_steps=1)
    )

    assert found.usefulness is None and [each.measure[:3] for each in found.distances] == ["MMD", "MS-"]
    assert any("makes no labels" in note for note in found.notes)
    assert any("choose a model" in note for note in found.notes)
    assert left_out.usefulness is None and any("Nobody is held out with labels" in each for each in left_out.notes)
    assert "Does it know people by heart" in page_of(found)


def test_a_judgement_is_cancelled_wherever_it_is() -> None:
    training, held_out = phantoms([1, 2], each=4), phantoms([20], split="test")
    options = JudgeOptions(seeds=2, segmenter_steps=2, segmenter_batch=2)
    asked = 0

    def never() -> bool:
        nonlocal asked
        asked += 1
        return False

    judge_images(training.images, training.labels, training, held_out, options, cancelled=never)
    for number in np.linspace(1, asked, 4).astype(int):
        left = [int(number)]

        def now(left: list[int] = left) -> bool:
            left[0] -= 1
            return left[0] <= 0

        with pytest.raises(JobCancelled):
            judge_images(training.images, training.labels, training, held_out, options, cancelled=now)


class Planted:
    """A generator made by hand: ``by_heart`` gives the training image with the likest label map, else it paints."""

    def __init__(self, training: Examples, by_heart: bool, **trained_on) -> None:
        self.bundle = SimpleNamespace(name="Planted", version="1", digest="0" * 64)
        labels = {0: "background", 1: "Brain"}
        self.facts = SynthesisFacts("gan", True, (SIZE, SIZE), 4.0, "axial", labels, 0.0, 100.0, "MR", trained_on)
        self.training, self.by_heart = training, by_heart
        self.asked = 0

    def sample(self, count=1, *, seed=0, labels, segments, progress, cancelled) -> tuple[Synthetic, ...]:
        assert count == 1 and [each.name for each in segments] == ["Brain"]
        maps = np.moveaxis(labels.array[0], 2, 0)
        made = np.stack([self._image(each, random(seed + n)) for n, each in enumerate(maps)])
        values = (np.moveaxis(made, 0, 2)[None] + 1) * 50
        self.asked += len(maps)
        return (Synthetic(labels.with_array(values), labels, tuple(segments), {"notes": []}),)

    def _image(self, labels: np.ndarray, source: np.random.Generator) -> np.ndarray:
        from scipy.ndimage import gaussian_filter

        if self.by_heart:
            unlike = (self.training.labels != labels).mean(axis=(1, 2))
            return self.training.images[int(unlike.argmin()), 0] + source.normal(0, 0.05, labels.shape)
        details = gaussian_filter(source.normal(size=labels.shape), SIZE / 26)
        image = np.where(gaussian_filter(labels.astype(float), 1.2) > 0.05, 0.6, -1.0)
        return np.where(labels > 0, -0.1 + details / details.std() * 0.35, image)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    """Six people: four to learn from, one to validate with, one to test with."""
    from meddl.datasets import Case, ExportOptions, SegmentationLabel, export_dataset

    segments = (Segment(1, "Brain", (1.0, 0.5, 0.5)),)
    affine = np.diag([4.0, 4.0, 8.0, 1.0])
    cases = []
    for person, split in ((1, "train"), (2, "train"), (3, "train"), (4, "train"), (20, "validation"), (21, "test")):
        people = phantoms([person])
        image = Volume(((np.moveaxis(people.images[:, 0], 0, 2) + 1) * 50)[None], affine)
        labels = Volume(np.moveaxis(people.labels, 0, 2)[None], affine)
        cases.append(Case(f"{person}", {"T1": image}, SegmentationLabel(labels, segments), f"{person}", split=split))
    return export_dataset(cases, tmp_path_factory.mktemp("judging") / "data", ExportOptions("monai", "Heads")).root


def learned_from(dataset: Path) -> Examples:
    config = SynthesisConfig("gan", size=(SIZE, SIZE), spacing_mm=4.0)
    return read_examples(dataset, config)


def in_units(images: np.ndarray, examples: Examples) -> np.ndarray:
    return examples.low + (images + 1) / 2 * (examples.high - examples.low)


def test_a_generator_is_judged_by_the_people_of_its_dataset(dataset, tmp_path) -> None:
    training = learned_from(dataset)
    digests = [case.digest for case in manifest_of(dataset).plan.cases if case.split == "train"]
    options = JudgeOptions(count=24, seeds=2, segmenter_steps=1, segmenter_batch=2)

    planted = judge(dataset, Planted(training, True, images_sha256=digests), options)
    painted = judge(dataset, Planted(training, False, images_sha256=digests), options)

    assert planted.facts["counts"] == {"synthetic": 24, "training": 32, "training_people": 4, "held_out": 16,
                                       "held_out_people": 2}  # fmt: skip
    assert planted.memorization.verdict == "copies" and planted.memorization.copies >= 20
    assert "by heart" in planted.own_maps.warning and planted.own_maps.share < 0.2
    assert len(planted.own_maps.training) == 4 and len(planted.own_maps.held_out) == 2
    assert len(planted.warnings) >= 2 and planted.summary[: len(planted.warnings)] == planted.warnings
    assert painted.memorization.verdict == "none found" and not painted.own_maps.warning
    assert painted.usefulness is not None and painted.usefulness.people == 2
    assert not any("learned from" in note for note in painted.notes)
    page = write_report(painted, tmp_path)[0].read_text()
    assert "Planted" in page and "Heads" in page and "own label maps" in page and "images_sha256" not in page


def test_who_judges_must_not_have_been_learned_from(dataset) -> None:
    facts = Planted(phantoms([1]), False).facts
    digests = {case.split: case.digest for case in manifest_of(dataset).plan.cases}

    def notes(**told) -> tuple[str, ...]:
        return read_people(dataset, replace(facts, trained_on=told)).notes

    with pytest.raises(UsageError, match=r"has learned from 1 of the 2 held-out cases"):
        notes(images_sha256=[digests["test"]])
    assert notes(images_sha256=[digests["train"]]) == ()
    for told, words in (({}, "does not tell which"), ({"images_sha256": ["ab"]}, "has learned from other images")):
        assert words in notes(**told)[0]
    assert "1 of the 2 cases" in notes(images_sha256=[digests["train"], "ab"])[0]
    with pytest.raises(UsageError, match="no dataset"):
        read_people(dataset.parent, facts)


def test_images_for_a_judgement_fit_moved_label_maps_of_training_people(dataset) -> None:
    training = learned_from(dataset)
    generator = Planted(training, False)

    made = judged_images(generator, training, 40, 3)
    again = judged_images(generator, training, 40, 3)

    assert made.images.shape == (40, 1, SIZE, SIZE) and made.labels.shape == (40, SIZE, SIZE)
    assert np.array_equal(made.images, again.images) and generator.asked == 80
    assert abs(made.images).max() <= 1 and set(np.unique(made.labels)) == {0, 1}
    unlike = [min((each != known).mean() for known in training.labels) for each in made.labels]
    assert np.mean(np.array(unlike) > 0.01) > 0.8
    values = in_units(made.images, training)
    inside = [image[0][labels > 0].mean() for image, labels in zip(values, made.labels, strict=True)]
    assert np.std(inside) < 6 and abs(np.mean(inside) - 45) < 3  # as it paints them


def test_a_generator_of_chance_is_judged_without_labels(dataset) -> None:
    class OfChance(Planted):
        def sample(self, count=1, *, seed=0, progress, cancelled) -> tuple[Synthetic, ...]:
            images = [self._image(self.training.labels[n % 32], random(seed + n)) for n in range(count)]
            turned = np.diag([-4.0, 4.0, 4.0, 1.0])
            return tuple(Synthetic(Volume((each[::-1][None, ..., None] + 1) * 50, turned)) for each in images)

    training = learned_from(dataset)
    generator = OfChance(training, False)
    generator.facts = replace(generator.facts, conditioned=False, labels={})

    made = judged_images(generator, training, 8, 0)
    found = judge(dataset, generator, JudgeOptions(count=8, segmenter_steps=1))

    expected = np.stack([generator._image(training.labels[n], random(n)) for n in range(8)])
    expected = np.clip((expected + 1) * 50, training.low, training.high)
    assert np.allclose(in_units(made.images, training)[:, 0], expected, atol=1e-3)
    assert found.own_maps is None and found.usefulness is None and found.memorization is not None


def test_options_are_checked_and_come_back_from_plain_data() -> None:
    options = JudgeOptions(count=50, seeds=3, features="demo_body_region")
    assert JudgeOptions.from_dict(json.loads(json.dumps(options.to_dict()))) == options
    assert JudgeOptions.from_dict({"synthetic_share": 0.25}).synthetic_share == 0.25
    for wrong in (
        {"count": 2},
        {"seeds": 1},
        {"synthetic_share": 1.0},
        {"steps": 3},
        {"count": "50"},
        {"seed": True},
        [],
    ):
        with pytest.raises(UsageError):
            JudgeOptions.from_dict(wrong)


def test_a_report_that_cannot_be_written_says_so(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnwritableDataset, match="could not be written"):
        write_report(Judgement(), tmp_path / "file")


def test_names_in_a_report_stay_words() -> None:
    training, held_out = phantoms([1]), phantoms([20], split="test")
    evil = "![x](http://e.org)|<b>"
    data = {arm: np.full((2, 1, 1), 0.5) for arm in ARMS}
    found = Judgement(usefulness=judged(data, [evil], steps=1), notes=(evil,), facts={"dataset": evil})

    page = page_of(found)

    assert not re.search(r"(?<!\\)!\[x", page) and "<b>" not in page.replace(r"\<b\>", "")
    assert len(training) == len(held_out)
