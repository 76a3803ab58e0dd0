"""Jobs around generators: what they are given and give back, limits of time, and refusals in a sentence."""

from __future__ import annotations

import time
from types import SimpleNamespace

import numpy as np
import pytest
from core import dataset_kills
from meddl.datasets import ExportOptions, SplitOptions, export_dataset
from meddl.errors import JobCancelled, UnwritableDataset, UsageError
from meddl.jobs import JobContext
from meddl.synthesis import SynthesisConfig, Synthetic, task
from meddl.volume import Segment, Volume

TINY = {"kind": "gan", "size": [16, 16], "steps": 2, "batch_size": 2, "checkpoint_every": 1, "sample_every": 2}
BALL = Segment(1, "Ball", (1.0, 0.5, 0.0))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    options = ExportOptions("monai", "Abdomen", split=SplitOptions(validation=0.2, test=0.2, folds=0))
    return export_dataset(dataset_kills.make_cases(), tmp_path_factory.mktemp("dataset"), options).root


@pytest.fixture(scope="module")
def trained(dataset, tmp_path_factory):
    output = tmp_path_factory.mktemp("models") / "tiny"
    told = []
    context = JobContext(on_progress=lambda fraction, text: told.append(fraction))
    params = {"dataset": dataset, "config": TINY, "output": output, "name": "Tiny"}
    return task.train_synthesizer(params, context), told


def synthesizer(**answers):
    """A stand-in that keeps what it is asked for."""
    made = SimpleNamespace(asked=[], notes=("A note.",), **answers)

    def sample(count, **asked):
        made.asked.append(asked)
        return tuple(
            Synthetic(asked["labels"], asked["labels"], (BALL,), {"seed": asked["seed"]}) for _ in range(count)
        )

    made.sample = sample
    return made


def test_a_dataset_is_described_without_reading_images(dataset):
    about = task.describe_dataset({"root": dataset}, JobContext())
    assert about == {
        "name": "Abdomen",
        "task": "segmentation",
        "channels": ["T1", "T2"],
        "structures": ["Liver", "Spleen"],
        "complete": True,
        "cases": {"train": 3, "validation": 1, "test": 1},
        "patients": {"train": 3, "validation": 1, "test": 1},
        "synthetic": 0,
    }


@pytest.mark.parametrize("name", ["", "nothing here", "x" * 5000, "a file"])
def test_a_folder_without_dataset_is_refused(tmp_path, name):
    (tmp_path / "a file").write_text("text")
    with pytest.raises(UsageError, match="no dataset that MedDL has exported"):
        task.describe_dataset({"root": tmp_path / name}, JobContext())


def test_training_ends_in_a_bundle(trained):
    result, told = trained
    assert (result["steps"], result["ended"]) == (2, "steps")
    assert (result["bundle"] / "configs" / "metadata.json").is_file()
    assert any("people only" in note for note in result["notes"])
    assert told == sorted(told) and told[-1] == 1.0


def test_a_trained_generator_makes_images_on_a_grid_of_their_own(trained):
    result, _told = trained
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    labels = Volume(np.ones((1, 6, 6, 2), np.uint8), affine)
    segments = [{"label": 1, "name": "Liver", "color": [1.0, 0.0, 0.0], "terminology": "", "layer": 0}]
    grid = {"shape": (9, 8, 3), "affine": affine}
    params = {"model": str(result["bundle"]), "labels": labels, "segments": segments, "grid": grid, "seed": 3}
    (made,) = task.sample_synthesizer(params, JobContext())["made"]
    assert made["image"].shape == made["labels"].shape == (9, 8, 3)
    assert made["labels"].array.sum() == 72  # beyond the label map, there is background
    assert (made["segments"][0]["name"], made["facts"]["seed"]) == ("Liver", 3)
    assert np.isfinite(made["image"].array).all()


def test_the_time_limit_keeps_what_there_is(monkeypatch, trained):
    bundle = trained[0]["bundle"]

    def train(dataset, config, output, *, cancelled, **_more):
        end = time.monotonic() + 5
        while not cancelled():
            assert time.monotonic() < end
        raise JobCancelled("cancelled")

    monkeypatch.setattr("meddl.synthesis.training.train", train)
    params = {"dataset": "unused", "config": TINY, "output": bundle, "minutes": 0.001}
    result = task.train_synthesizer(params, JobContext())
    assert (result["ended"], result["steps"], result["bundle"]) == ("minutes", 2, bundle)
    with pytest.raises(UsageError, match="no checkpoint"):
        task.train_synthesizer({**params, "output": bundle.parent / "other"}, JobContext())
    with pytest.raises(JobCancelled):
        task.train_synthesizer(params, JobContext(is_cancelled=lambda: True))


def test_settings_arrive_as_they_were_chosen(monkeypatch):
    seen = {}

    def train(dataset, config, output, **more):
        seen.update(config=config, name=more["name"], cancelled=more["cancelled"]())
        return SimpleNamespace(bundle=output, steps=1, seconds=0.1, notes=())

    monkeypatch.setattr("meddl.synthesis.training.train", train)
    config = SynthesisConfig("ddpm", False, (16, 16, 24), steps=7)
    params = {"dataset": "a", "config": config.to_dict(), "output": "b", "name": "Heads"}
    task.train_synthesizer(params, JobContext(is_cancelled=lambda: False))
    assert seen == {"config": config, "name": "Heads", "cancelled": False}
    with pytest.raises(UsageError, match="multiples of 8"):
        task.train_synthesizer({**params, "config": {"size": [15, 15]}}, JobContext())


def test_images_come_back_with_what_they_show(monkeypatch):
    stand_in = synthesizer()
    monkeypatch.setattr(task, "_synthesizer", lambda params, context: stand_in)
    labels = Volume(np.ones((1, 4, 4, 4), np.uint8), np.eye(4))
    params = {"model": "any", "count": 2, "seed": 5, "labels": labels, "segments": [vars(BALL)]}
    result = task.sample_synthesizer(params, JobContext())
    assert len(result["made"]) == 2 and result["notes"] == ["A note."]
    assert result["made"][0]["segments"] == [vars(BALL)]
    assert stand_in.asked[0]["segments"] == (BALL,) and stand_in.asked[0]["labels"] is labels


def test_lesions_take_labels_of_another_grid(monkeypatch):
    image = Volume(np.random.default_rng(0).normal(50, 5, (1, 24, 24, 24)).astype(np.float32), np.eye(4))
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    labels = Volume(np.ones((1, 12, 12, 12), np.uint8), affine)
    options = {"name": "Cyst", "inside": "Ball", "volume_ml": [0.3, 0.3], "seed": 2}
    params = {"image": image, "labels": labels, "segments": [vars(BALL)], "options": options}
    (made,) = task.insert_lesions(params, JobContext())["made"]
    value = next(each["label"] for each in made["segments"] if each["name"] == "Cyst")
    assert made["labels"].shape == image.shape
    assert (made["labels"].array == value).sum() / 1000 == pytest.approx(0.3, rel=0.3)
    with pytest.raises(UsageError):
        task.insert_lesions({**params, "options": {**options, "inside": "Nowhere"}}, JobContext())


def test_adding_and_judging_hand_on_what_was_chosen(monkeypatch, tmp_path, dataset):
    from meddl.augmentation.variants import VariantSummary
    from meddl.synthesis.judgement import Judgement

    stand_in, seen = synthesizer(), {}
    monkeypatch.setattr(task, "_synthesizer", lambda params, context: stand_in)

    def add(root, synthesizer, options, **_more):
        seen["add"] = (root, synthesizer, options.count, options.seed, options.plan.name if options.plan else "")
        return VariantSummary(root, done=("case_1",))

    def judge(folder, synthesizer, options, **_more):
        seen["judge"] = (folder, synthesizer, options.count, options.seeds)
        return Judgement(notes=("Little was judged.",))

    monkeypatch.setattr("meddl.synthesis.adding.add_synthetic_cases", add)
    monkeypatch.setattr("meddl.synthesis.judgement.judge", judge)
    added = task.add_synthetic(
        {"root": dataset, "model": "any", "count": 3, "seed": 1, "plan": "position"}, JobContext()
    )
    assert seen["add"] == (dataset, stand_in, 3, 1, "Position and shape")
    assert list(added["summary"]["done"]) == ["case_1"]
    task.add_synthetic({"root": dataset, "model": "any", "plan": ""}, JobContext())
    assert seen["add"][-1] == ""
    params = {"dataset": dataset, "model": "any", "options": {"count": 9, "seeds": 0}, "output": tmp_path / "report"}
    result = task.judge_synthesizer(params, JobContext())
    assert seen["judge"] == (dataset, stand_in, 9, 0)
    assert result["judgement"]["notes"] == ["Little was judged."]
    assert result["files"][0].name == "judgement.md" and result["files"][0].is_file()


def test_a_report_that_could_not_be_written_is_refused_before_the_work(monkeypatch, tmp_path, dataset):
    monkeypatch.setattr(task, "_synthesizer", lambda params, context: pytest.fail("the work has begun"))
    (tmp_path / "file").write_text("")
    params = {"dataset": dataset, "model": "any", "output": tmp_path / "file" / "report"}
    with pytest.raises(UnwritableDataset, match="file is a file"):
        task.judge_synthesizer(params, JobContext())
