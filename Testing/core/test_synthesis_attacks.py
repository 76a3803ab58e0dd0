"""Hostile and broken inputs of generators: each ends in a sentence, soon, and touches nothing that is not its own."""

from __future__ import annotations

import contextlib
import json
import pickle
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from core import dataset_kills
from core.painting_generator import painter
from core.test_synthesis_zoo import METADATA, bundle, latent_diffusion
from meddl.cli.main import main
from meddl.datasets import ExportOptions, SplitOptions, collect_cases, export_dataset
from meddl.datasets.plan import PlannedCase
from meddl.errors import JobCancelled, ModelError, UsageError, VolumeError
from meddl.models.bundle import ModelBundle
from meddl.models.file_lock import locked
from meddl.networks import ImageFromNoise, LabelsToImage
from meddl.simulation import Rician, SimulationOptions, Undersampling, simulate
from meddl.simulation.kept import KeptSimulations
from meddl.simulation.simulated import Simulated
from meddl.synthesis import SynthesisConfig, SynthesisFacts
from meddl.synthesis.adding import SynthesisOptions, add_synthetic_cases
from meddl.synthesis.bundle_writing import metadata_of, readme_of
from meddl.synthesis.checkpoint import CHECKPOINT, LOCK, SETTINGS, TrainingFolder
from meddl.synthesis.generators import running
from meddl.synthesis.history import HISTORY
from meddl.synthesis.judged_people import _check as check_people
from meddl.synthesis.networks import make_network, network_config
from meddl.synthesis.synthesizer import Synthesizer
from meddl.synthesis.trainers import make_trainer
from meddl.synthesis.value_range import values_of
from meddl.volume import Segment, Volume, write_segmentation, write_volume
from torch import nn

SOUND = {"kind": "gan", "conditioned": True, "size": [16, 16], "spacing_mm": 1.0, "labels": {"0": "back", "1": "Liver"}}
INFINITE = float("inf")


# --- What a bundle says of itself -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"size": [INFINITE, 16]},
        {"size": [10**9, 10**9]},
        {"spacing_mm": INFINITE},
        {"spacing_mm": 1e-9},
        {"low": -INFINITE},
        {"high": INFINITE},
        {"labels": {"-1": "Liver", "300": "Spleen"}},
        {"labels": {"1.5": "Liver"}},
        {"trained_on": {"images_sha256": 5}},
        {"trained_on": {"images_sha256": [[1]]}},
    ],
    ids=str,
)
def test_absurd_facts_are_a_damaged_model(change):
    with pytest.raises(ModelError, match="Train it anew"):
        SynthesisFacts.from_metadata({**SOUND, **change})


def test_names_in_the_facts_steer_nothing():
    labels = {"0": "back", "1": "\x1b[2J\u202eLiver\nTotal"}
    facts = SynthesisFacts.from_metadata({**SOUND, "labels": labels, "modality": "\x07" + "M" * 5000})
    assert all(name.isprintable() for name in facts.labels.values()) and facts.labels[1].endswith("Liver Total")
    assert facts.modality.isprintable() and len(facts.modality) < 100


def test_a_network_that_would_fill_the_memory_is_not_made():
    layer = nn.Conv2d(6, 1, 1)
    for size, more in (((60_000, 60_000), {}), ((16, 16), {"noise_channels": 60_000_000})):
        with pytest.raises(ValueError, match="too large"):
            LabelsToImage(layer, "gan", labels=2, size=size, **more)
    with pytest.raises(ValueError, match="256"):
        LabelsToImage(layer, "gan", labels=1_000_000, size=(16, 16))
    with pytest.raises(ValueError, match="too large"):
        ImageFromNoise(layer, "gan", (16, 16), latent=10**11)


# --- Generators of the Model Zoo --------------------------------------------------------------------------------------


def test_a_long_number_in_the_description_takes_no_time(tmp_path):
    opened, _ = bundle(tmp_path, latent_diffusion(), {**METADATA, "image_classes": "1" * 20_000})
    before = time.perf_counter()
    assert Synthesizer(opened).facts.spacing_mm == 1.0
    assert time.perf_counter() - before < 5


@pytest.mark.parametrize("change", [{"strides": [[2, 2], 2]}, {"strides": [0, 2]}, {"strides": [2] * 3000}], ids=str)
def test_odd_strides_of_a_gan_are_told(tmp_path, change):
    network = {"_target_": "Generator", "latent_shape": 64, "start_shape": [8, 4, 4], "channels": [8, 1], **change}
    opened, _ = bundle(tmp_path, {"network_def": network, "device": "cpu"})
    with pytest.raises(ModelError, match=r"does not tell|too many"):
        Synthesizer(opened)


def test_a_decoder_of_absurd_depth_is_told(tmp_path):
    decoder = {**latent_diffusion()["autoencoder_def"], "channels": [8] * 20_000}
    opened, _ = bundle(tmp_path, latent_diffusion(autoencoder_def=decoder))
    with pytest.raises(ModelError):
        Synthesizer(opened)


# --- Settings of a training -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"seed": -1},
        {"seed": 10**30},
        {"spacing_mm": INFINITE},
        {"spacing_mm": float("nan")},
        {"size": [100_000, 100_000]},
        {"batch_size": 10**9},
        {"sampling_steps": 10**9},
        {"steps": 10**30},
        {"features": [100_000]},
        {"features": [8] * 12},
        {"kind": "gan", "conditioned": False, "size": [24, 24], "features": [8] * 5},
        {"size": [24, 24], "features": [8] * 5},
    ],
    ids=str,
)
def test_settings_that_no_training_can_have_are_told_at_once(change):
    with pytest.raises(UsageError):
        SynthesisConfig.from_dict(change)


@pytest.mark.parametrize(
    "said",
    [
        {"kind": "gan", "size": [16, 16], "features": [8]},
        {"kind": "gan", "conditioned": False, "size": [24, 16], "features": [8, 8, 8, 8]},
        {"size": [16, 16], "features": [6, 6, 6, 6]},
        {"size": [16, 16], "features": [8, 8, 8, 8, 8]},
        {"kind": "gan", "size": [16, 16], "features": [2]},
    ],
    ids=str,
)
def test_what_settings_allow_makes_an_image(said):
    config = SynthesisConfig.from_dict({**said, "sampling_steps": 1})
    network = make_network(network_config(config, 3 if config.conditioned else 0, 0.0, 1.0)).eval()
    with torch.inference_mode():
        made = network.generate(torch.zeros(1, 1, *config.size) if config.conditioned else None, 1)
    assert made.shape == (1, 1, *config.size)


# --- The folder of a training -----------------------------------------------------------------------------------------


def a_training(folder, **changes):
    """Write what a training has left, as somebody else's archive may hold it."""
    config = SynthesisConfig("gan", size=(16, 16), features=(8, 8))
    settings = {"version": 1, "name": "Heads", "config": config.to_dict(), "config_sha256": config.digest,
                "dataset_sha256": "d", "threads": 1, **changes}  # fmt: skip
    (folder / "training").mkdir(parents=True)
    (folder / SETTINGS).write_text(json.dumps(settings))
    return config


@pytest.mark.parametrize(
    "change",
    [{"threads": 10**9}, {"threads": -1}, {"threads": "x"}, {"config": 5, "config_sha256": "other"}, {"config": None},
     {"name": {"a": 1}}, {"version": []}],
    ids=str,
)  # fmt: skip
def test_settings_of_others_are_told_or_harmless(tmp_path, change):
    config = a_training(tmp_path / "heads", **change)
    with contextlib.suppress(UsageError):
        folder = TrainingFolder(tmp_path / "heads")
        assert isinstance(folder.name, str)
        assert 1 <= folder.begin(config, "d", "Heads", 1) <= 4096


@pytest.mark.parametrize("part", ["training", "models", "configs", "docs", "training/samples"])
def test_links_in_a_training_folder_are_never_followed(tmp_path, part):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "model.safetensors").write_bytes(b"precious")
    if part == "training":
        a_training(tmp_path / "other")
        (tmp_path / "heads").mkdir()
        (tmp_path / "other" / "training").rename(theirs / "training")
        (tmp_path / "heads" / "training").symlink_to(theirs / "training")
    else:
        a_training(tmp_path / "heads")
        (tmp_path / "heads" / part).symlink_to(theirs)
    before = sorted(each.name for each in theirs.rglob("*"))
    with pytest.raises(UsageError, match="link"):
        TrainingFolder(tmp_path / "heads")
    assert sorted(each.name for each in theirs.rglob("*")) == before


def test_a_folder_of_the_user_that_is_called_training_is_not_taken(tmp_path):
    (tmp_path / "data" / "training").mkdir(parents=True)
    (tmp_path / "data" / "training" / "case_01.nii.gz").write_bytes(b"precious")
    with pytest.raises(UsageError, match="holds something else"):
        TrainingFolder(tmp_path / "data")


def test_one_training_at_a_time_writes_into_a_folder(tmp_path):
    folder = TrainingFolder(tmp_path / "heads")
    folder.check_writable()
    with locked(folder.path / LOCK):
        TrainingFolder(tmp_path / "heads").check_writable()  # another process begins
        with pytest.raises(JobCancelled), locked(folder.path / LOCK, lambda: True):
            pass


@pytest.mark.parametrize(
    "state",
    [{"steps": 5}, {"steps": -5, "averaged": {}}, [1], {"steps": 2, "averaged": {"a": 1}, "network": {}},
     {"steps": 2, "averaged": {}, "network": [], "optimizer": 3}],
    ids=str,
)  # fmt: skip
def test_a_checkpoint_of_others_is_damaged(tmp_path, state):
    config = a_training(tmp_path / "heads")
    folder = TrainingFolder(tmp_path / "heads")
    torch.save(state, tmp_path / "heads" / CHECKPOINT)
    with pytest.raises(ModelError, match="damaged"):
        network = make_network(network_config(config, 2, 0.0, 1.0))
        folder.restore(make_trainer(config, network), "cpu")


class _Bomb:
    def __reduce__(self):
        return (pytest.fail, ("the checkpoint ran code",))


def test_a_checkpoint_runs_nothing(tmp_path):
    config = a_training(tmp_path / "heads")
    (tmp_path / "heads" / CHECKPOINT).write_bytes(pickle.dumps({"steps": _Bomb()}, 2))
    with pytest.raises(ModelError, match="damaged"):
        TrainingFolder(tmp_path / "heads").restore(
            make_trainer(config, make_network(network_config(config, 2, 0, 1))), "cpu"
        )
    torch.save({"steps": _Bomb()}, tmp_path / "heads" / CHECKPOINT)
    with pytest.raises(ModelError, match="damaged"):
        TrainingFolder(tmp_path / "heads").restore(
            make_trainer(config, make_network(network_config(config, 2, 0, 1))), "cpu"
        )


def test_what_a_killed_training_was_writing_goes_away_and_nothing_else(tmp_path):
    config = a_training(tmp_path / "heads")
    left = [tmp_path / "heads" / name for name in ("training/.0123456789abcdef.part", "models/.fedcba9876543210.part")]
    kept = [tmp_path / "heads" / name for name in ("training/.mine.part", "models/notes.part")]
    (tmp_path / "heads" / "models").mkdir()
    for path in (*left, *kept):
        path.write_bytes(b"x")
    TrainingFolder(tmp_path / "heads").begin(config, "d", "Heads", 1)
    assert not any(path.exists() for path in left) and all(path.exists() for path in kept)


@pytest.mark.parametrize("row", ["1,nan,0", "1,0.5,inf", "-5,1,2", "1,2", "x,1,2"])
def test_a_history_of_others_is_begun_anew(tmp_path, row):
    a_training(tmp_path / "heads")
    (tmp_path / "heads" / HISTORY).write_text(f"step,loss,seconds\n{row}\n")
    found = TrainingFolder(tmp_path / "heads").history(("loss",), 100)
    assert found.rows == () and found.seconds == 0


def test_a_huge_history_is_not_read(tmp_path):
    a_training(tmp_path / "heads")
    with (tmp_path / "heads" / HISTORY).open("wb") as file:
        file.truncate(1 << 40)
    assert TrainingFolder(tmp_path / "heads").history(("loss",), 100).rows == ()


def test_a_training_that_came_to_nothing_stands_in_nobodys_way(tmp_path):
    config = a_training(tmp_path / "heads", config_sha256="another", dataset_sha256="another")
    assert TrainingFolder(tmp_path / "heads").begin(config, "d", "Heads", 3) == 3
    (tmp_path / "heads" / CHECKPOINT).write_bytes(b"")
    with pytest.raises(UsageError, match="another dataset"):
        TrainingFolder(tmp_path / "heads").begin(config, "other", "Heads", 3)


# --- People -----------------------------------------------------------------------------------------------------------


def planned(name, split, digest):
    return PlannedCase("", name, name, "", split, None, digest)


def test_a_generator_is_never_judged_by_whom_it_knows_under_another_name():
    """It learned from one image of a case that has two, in a dataset of other names."""
    facts = SynthesisFacts.from_metadata({**SOUND, "trained_on": {"images_sha256": ["aa-bb", "cc"]}})
    cases = [planned("new_1", "train", "cc-dd"), planned("new_2", "test", "bb-ee")]
    with pytest.raises(UsageError, match="has learned from 1 of the 1 held-out"):
        check_people(cases, facts)
    assert check_people([cases[0], planned("new_3", "test", "ff")], facts)[0].startswith("1 of the 2 cases")
    apart = SynthesisFacts.from_metadata({**SOUND, "trained_on": {"images_sha256": ["", "-"]}})
    assert "does not tell" in check_people([planned("old", "test", "")], apart)[0]


def test_the_page_of_a_generator_tells_of_the_real_people_in_its_pictures():
    facts = SynthesisFacts("gan", True, (16, 16), 1.0, labels={0: "background", 1: "a|b <img src=x>"})
    config = SynthesisConfig("gan", size=(16, 16))
    page = readme_of(metadata_of(config, facts, "Heads <script> [a](b)"), facts)
    assert "images of real people" in page and "training" in page
    assert "<img" not in page.replace("\\<", "") and "\\<script" in page and "a\\|b" in page


# --- Values -----------------------------------------------------------------------------------------------------------


def test_only_in_ct_low_values_are_air():
    image = np.linspace(-4096, 4095, 1000, dtype=np.float32)
    assert values_of(image, "MR").low < -4000 and values_of(image, "CT").low >= -1024
    far = values_of(np.linspace(-30_000, -29_000, 100, dtype=np.float32))
    assert -30_000 <= far.low < far.high <= -29_000


@pytest.mark.parametrize("method", [Undersampling(), Rician(snr=0.1)], ids=lambda each: each.method)
@pytest.mark.parametrize("scale", [1e300, 3e38, 1e-300])
def test_values_that_overflow_are_told(method, scale):
    image = Volume(np.random.default_rng(0).random((1, 16, 16, 2)) * scale, np.eye(4))
    with pytest.raises(VolumeError, match="32 bits"):
        simulate(image, SimulationOptions(method))


# --- The command line -------------------------------------------------------------------------------------------------


def a_case(folder):
    folder.mkdir()
    labels = np.zeros((1, 24, 24, 12), np.uint8)
    labels[0, 4:20, 4:20, 2:10] = 1
    random = np.random.default_rng(0)
    image = Volume((100 * labels + random.integers(0, 20, labels.shape)).astype(np.int16), np.eye(4))
    for name in ("image.nrrd", "rician_01.nrrd"):
        write_volume(image, folder / name)
    for name in ("labels.seg.nrrd", "synthetic_001.seg.nrrd"):
        write_segmentation(Volume(labels, np.eye(4)), [Segment(1, "liver", (1, 0, 0))], folder / name)
    return {each.name: each.read_bytes() for each in folder.iterdir()}


@pytest.mark.parametrize(
    "arguments",
    [
        ("lesion", "--input", "image.nrrd", "--segmentation", "labels.seg.nrrd", "--volume", "0.05,0.1"),
        ("simulate", "--method", "rician", "--input", "rician_01.nrrd"),
        ("sample", "--model", "MODEL", "--segmentation", "synthetic_001.seg.nrrd"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_what_was_given_is_never_written_over(tmp_path, arguments, capsys):
    folder = tmp_path / "case"
    before = a_case(folder)
    model = painter(tmp_path / "model", {"liver": 900.0}).path
    paths = [str(folder / each) if each in before else each.replace("MODEL", str(model)) for each in arguments]
    assert main(["synth", *paths, "--output", str(tmp_path / "case" / ".." / "case")]) == 2
    assert "would be overwritten" in capsys.readouterr().err
    assert {each.name: each.read_bytes() for each in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("sample", "--format", "png", "--output", "made"), "cannot be written"),
        (("sample", "--count", "1000000000", "--output", "made"), "1 to 9999"),
        (("evaluate", "--dataset", "nothing", "--output", "labels.seg.nrrd"), "is a file"),
        (("sample", "--output", "labels.seg.nrrd/made"), "is a file"),
        (("sample", "--output", "x" * 400), "is no name"),
    ],
    ids=str,
)
def test_what_cannot_be_written_is_told_before_the_work(tmp_path, arguments, said, monkeypatch, capsys):
    a_case(tmp_path / "case")
    monkeypatch.chdir(tmp_path / "case")
    monkeypatch.setattr(Synthesizer, "sample", lambda *_, **__: pytest.fail("images were made"))
    model = ("--model", str(painter(tmp_path / "model", {"liver": 900.0}).path))
    more = ("--segmentation", "labels.seg.nrrd") if arguments[0] == "sample" else ()
    assert main(["synth", arguments[0], *model, *more, *arguments[1:]]) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "case" / "made").exists()


# --- Networks that are not what is told -------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [{"labels": 200}, {"kind": "ddpm"}, {"noise_channels": 3}], ids=str)
def test_a_network_that_takes_something_else_is_told(tmp_path, change):
    model = painter(tmp_path, {"liver": 900.0}).path
    config = json.loads((model / "configs/inference.json").read_text())
    config["network_def"].update(change)
    (model / "configs/inference.json").write_text(json.dumps(config))
    labels = Volume(np.ones((1, 16, 16, 2), np.uint8), np.eye(4))
    with pytest.raises(ModelError, match="cannot make images"):
        Synthesizer(ModelBundle.open(model), device="cpu").sample(labels=labels)


def test_a_cancel_within_the_network_stays_a_cancel():
    with pytest.raises(JobCancelled), running("heads"):
        raise JobCancelled("It was cancelled.")
    with pytest.raises(MemoryError), running("heads"):
        raise MemoryError


# --- What a kill leaves -----------------------------------------------------------------------------------------------


def test_simulations_that_wait_have_no_name_on_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    kept = KeptSimulations()
    image = Volume(np.arange(480, dtype=np.int16).reshape(1, 8, 10, 6), np.diag([1.0, 2, 3, 1]))
    labels = image.with_array(image.array > 200)
    kept.keep("one", Simulated(image, image, labels))
    assert not list(tmp_path.iterdir())
    found = kept.take("one")
    assert np.array_equal(found.image.array, image.array) and found.image.array.flags.writeable
    assert np.array_equal(found.labels.array, labels.array) and found.target is None
    assert kept.take("one") is None


@pytest.mark.parametrize("name", ["monai", "dicom"])
def test_synthetic_cases_do_not_become_real_in_another_dataset(tmp_path, name):
    """Else one of them could be validated by, in a fold or a test part."""
    cases = [replace(each, images={"T1": each.images["T1"]}) for each in dataset_kills.make_cases()[:3]]
    root = export_dataset(cases, tmp_path / "one", ExportOptions(name, "One", split=SplitOptions(0, 0, folds=0))).root
    synthesizer = Synthesizer(painter(tmp_path / "model", {"Liver": 900.0, "Spleen": 300.0}), device="cpu")
    made = add_synthetic_cases(root, synthesizer, SynthesisOptions(1)).done
    assert len(made) == 3

    for source in (root, root.parent):
        again = collect_cases(source, exclude=[tmp_path / "model"])
        assert len(again) == 3 and any("3 synthetic cases" in note for case in again for note in case.notes)
    assert len(collect_cases(root, synthetic=True)) == 6
    if name == "monai":
        (root / "dataset.meddl.json").write_text("{")
        assert len(collect_cases(root)) == 3
