"""Training a generator: the same bytes on every way there, from real training cases alone, and a bundle at any time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from core.phantoms import place
from meddl.augmentation import load_plan
from meddl.augmentation.variants import VariantOptions, augment_dataset
from meddl.datasets import Case, ExportOptions, SegmentationLabel, SplitOptions, export_dataset
from meddl.datasets.manifest import read_manifest
from meddl.errors import JobCancelled, JobError, ModelError, UsageError
from meddl.inference import Predictor, RunOptions
from meddl.models import ModelBundle
from meddl.networks.generation import DIFFUSION_TIMES, SCHEDULE, GeneratorNetwork
from meddl.synthesis import SynthesisConfig, SynthesisFacts, flow_trainer, free_gan_trainer
from meddl.synthesis import checkpoint as checkpoints
from meddl.synthesis.bundle_writing import in_json, inference_config, metadata_of, weights
from meddl.synthesis.history import read_history
from meddl.synthesis.networks import make_network, network_config
from meddl.synthesis.reading import dataset_digest, read_examples
from meddl.synthesis.trainers import make_trainer
from meddl.synthesis.training import train
from meddl.volume import Segment, Volume

CORE = Path(__file__).resolve().parents[2] / "MedDLExtension" / "MedDLCore"
NAMES = (Segment(1, "Liver", (1, 0, 0)), Segment(2, "Spleen", (0, 1, 0)))
TINY = SynthesisConfig(
    "gan", size=(16, 16), steps=4, batch_size=2, features=(4, 8), checkpoint_every=2, sample_every=4, sampling_steps=2
)
FLOW = replace(TINY, kind="rectified_flow", features=(8, 8))
BRIGHT = 30_000
"""What only the case for validation has."""


def make_cases(count=3):
    rng = np.random.default_rng(4)
    cases = []
    for number in range(count + 1):
        labels = np.zeros((1, 20, 18, 6), np.uint8)
        labels[0, 3 : 8 + number, 4:9, 1:5] = 1
        labels[0, 12:15, 9:14, 2:4] = 2
        image = 300 * labels.astype(np.int16) + rng.integers(0, 40, labels.shape, np.int16) + 100
        if number == count:
            image[0, 10:, 10:] = BRIGHT
        affine = np.diag([-1.0, -1.0, 2.0, 1.0])
        split = "validation" if number == count else "train"
        label = SegmentationLabel(Volume(labels, affine), NAMES)
        volume = Volume(image.astype(np.int16), affine, meta={"modality": "MR"})
        cases.append(Case(f"Doe {number}", {"T1": volume}, label, f"patient {number}", split=split))
    return cases


def export(folder, cases, name="monai"):
    return export_dataset(cases, folder, ExportOptions(name, "Livers", 3, split=SplitOptions(0.25, folds=0))).root


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Three real training cases, variants of them, and a case for validation."""
    root = export(tmp_path_factory.mktemp("dataset"), make_cases())
    augment_dataset(root, VariantOptions(load_plan("mr"), seed=1))
    return root


def learned(bundle):
    return {name: (bundle / name).read_bytes() for name in ("models/model.safetensors", "configs/inference.json",
                                                            "configs/metadata.json", "docs/README.md")}  # fmt: skip


# --- What is learned from ---------------------------------------------------------------------------------------------


def test_only_real_training_cases_are_learned_from(dataset):
    manifest = read_manifest(dataset)
    assert any(case.source for case in manifest.plan.cases)
    real = {case.name for case in manifest.plan.cases if case.split == "train" and not case.source}

    examples = read_examples(dataset, TINY)

    assert {each.case for each in examples.sources} == real and len(real) == 3
    assert {each.split for each in examples.sources} == {"train"} and examples.patients == 3
    assert examples.high < BRIGHT / 10
    held = read_examples(dataset, TINY, splits=("validation",))
    assert {each.case for each in held.sources}.isdisjoint(real)
    assert (held.low, held.high, held.spacing_mm) == (examples.low, examples.high, examples.spacing_mm)


def test_a_part_where_nothing_is_labeled_is_named(tmp_path):
    cases = make_cases(1)
    cases[-1].label.source.array[:] = 0
    with pytest.raises(UsageError, match="in the dataset's validation part holds an example"):
        read_examples(export(tmp_path, cases), TINY, splits=("validation",))


def test_it_is_known_by_its_real_training_cases(dataset):
    manifest = read_manifest(dataset)
    others = [case.name for case in manifest.plan.cases if case.split != "train" or case.source]
    without = manifest
    for name in others:
        without = without.without_record(name)

    assert others and dataset_digest(without) == dataset_digest(manifest)
    first = next(case.name for case in manifest.plan.cases if case.name not in others)
    assert dataset_digest(manifest.without_record(first)) != dataset_digest(manifest)


@pytest.mark.parametrize("name", ["nnunet", "msd", "bids", "dicom"])
def test_every_format_gives_the_same_examples(dataset, tmp_path, name):
    wanted = read_examples(dataset, TINY)

    found = read_examples(export(tmp_path, make_cases(), name), TINY)

    assert len(found) == len(wanted) and found.names == wanted.names
    assert np.allclose(found.images, wanted.images, atol=0.01) and np.array_equal(found.labels, wanted.labels)


@pytest.mark.parametrize("changes", [
    {}, {"plane": "coronal"}, {"plane": "sagittal"}, {"where": "labels"}, {"spacing_mm": 1.0},
    {"size": (16, 16, 16)}, {"size": (16, 16, 16), "where": "labels", "spacing_mm": 1.0},
])  # fmt: skip
def test_image_and_labels_of_an_example_belong_together(dataset, changes):
    examples = read_examples(dataset, replace(TINY, **changes))

    assert examples.images.shape == (len(examples), 1, *examples.labels.shape[1:])
    assert examples.images.min() >= -1 and examples.images.max() <= 1 and examples.labels.any(
        axis=tuple(range(1, examples.labels.ndim))).all()  # fmt: skip
    values = examples.images[:, 0]
    assert (
        values[examples.labels == 0].mean() < values[examples.labels == 1].mean() < values[examples.labels == 2].mean()
    )


def test_many_examples_lie_in_a_file(dataset, monkeypatch):
    wanted = read_examples(dataset, TINY)
    monkeypatch.setattr("meddl.synthesis.example_store.BUDGET", 4000)

    found = read_examples(dataset, TINY)

    assert isinstance(found.images, np.memmap) and np.array_equal(found.images, wanted.images)
    few = read_examples(dataset, TINY, limit=4)
    assert len(few) == 4 and {each.case for each in few.sources} == {each.case for each in wanted.sources}


def test_labels_are_needed_where_they_are(tmp_path, dataset):
    with pytest.raises(UsageError, match="no dataset that MedDL has made"):
        read_examples(tmp_path, TINY)
    with pytest.raises(UsageError, match="no channel 'T2'"):
        read_examples(dataset, replace(TINY, channel="T2"))
    with pytest.raises(UsageError, match="no real case in its test part"):
        read_examples(dataset, TINY, splits=("test",))


# --- The same bytes, however it got there -----------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[TINY, FLOW], ids=["gan", "flow"])
def trained(request, dataset, tmp_path_factory):
    config = request.param
    output = tmp_path_factory.mktemp("trained") / "model"
    return config, train(dataset, config, output)


def test_a_seed_repeats_the_bytes_and_another_does_not(trained, dataset, tmp_path):
    config, first = trained
    state = torch.get_rng_state()

    again = train(dataset, config, tmp_path / "model")

    assert learned(again.bundle) == learned(first.bundle) and again.steps == 4
    assert torch.equal(torch.get_rng_state(), state)
    other = train(dataset, replace(config, seed=1), tmp_path / "other")
    weights_file = "models/model.safetensors"
    assert (other.bundle / weights_file).read_bytes() != (first.bundle / weights_file).read_bytes()


def test_a_training_that_was_stopped_goes_on_to_the_same_bytes(trained, dataset, tmp_path):
    config, whole = trained
    asked = []
    with pytest.raises(JobCancelled, match="last checkpoint stays"):
        train(dataset, config, tmp_path / "model", progress=lambda fraction, text: asked.append(text),
              cancelled=lambda: "Step 3" in " ".join(asked))  # fmt: skip
    stopped = ModelBundle.open(tmp_path / "model")
    assert stopped.metadata["meddl"]["synthesis"]["trained_on"]["steps"] == 2

    resumed = train(dataset, config, tmp_path / "model")

    assert learned(resumed.bundle) == learned(whole.bundle)
    assert [row[:2] for row in resumed.history.rows] == [row[:2] for row in whole.history.rows]
    short = train(dataset, replace(config, steps=2), tmp_path / "short")
    assert learned(short.bundle) != learned(whole.bundle)
    longer = train(dataset, config, short.bundle, name="model")
    assert (longer.bundle / "models/model.safetensors").read_bytes() == learned(whole.bundle)[
        "models/model.safetensors"
    ]


class Killed(BaseException):
    """Like the end of the process: nobody catches it."""


def test_whenever_it_is_killed_there_is_a_whole_model_or_none(dataset, tmp_path, monkeypatch):
    config, whole = FLOW, train(dataset, FLOW, tmp_path / "whole" / "model")
    real, count, left = checkpoints.whole_file, 0, [0]

    def dying(path):
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        return real(path)

    monkeypatch.setattr(checkpoints, "whole_file", dying)
    output = tmp_path / "model"
    for left[0] in range(2, 12, 2):
        try:
            train(dataset, config, output)
        except Killed:
            count += 1
        if (output / "configs" / "metadata.json").exists():
            bundle = ModelBundle.open(output)
            assert bundle.check().problems == () and bundle.check().needs_trust == ()
    monkeypatch.setattr(checkpoints, "whole_file", real)

    assert learned(train(dataset, config, output).bundle) == learned(whole.bundle) and count > 2


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_a_killed_process_leaves_a_model_that_can_be_used(dataset, tmp_path):
    config = replace(TINY, steps=100_000)
    code = (
        "import sys; from pathlib import Path; from meddl.synthesis.training import train; "
        "from meddl.synthesis import SynthesisConfig; import json; "
        f"train(Path({str(dataset)!r}), SynthesisConfig.from_dict(json.loads({json.dumps(config.to_dict())!r})), "
        f"Path({str(tmp_path / 'model')!r}))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=CORE, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while not (tmp_path / "model" / "training" / "checkpoint.pt").exists() and time.monotonic() < until:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()

    bundle = ModelBundle.open(tmp_path / "model")
    assert bundle.check().problems == ()
    steps = bundle.metadata["meddl"]["synthesis"]["trained_on"]["steps"]
    assert train(dataset, replace(config, steps=steps + 4), tmp_path / "model").steps == steps + 4


# --- What goes wrong --------------------------------------------------------------------------------------------------


def test_losses_that_are_no_numbers_end_it_and_the_last_checkpoint_stays(dataset, tmp_path, monkeypatch):
    step, count = flow_trainer.FlowTrainer._learn, []

    def lost(self, images, conditions):
        count.append(1)
        losses = step(self, images, conditions)
        return {"loss": float("nan")} if len(count) == 3 else losses

    monkeypatch.setattr(flow_trainer.FlowTrainer, "_learn", lost)
    with pytest.raises(JobError, match=r"step 3.*last checkpoint stays.*lower learning rate"):
        train(dataset, FLOW, tmp_path / "model")
    bundle = ModelBundle.open(tmp_path / "model")
    assert bundle.metadata["meddl"]["synthesis"]["trained_on"]["steps"] == 2 and bundle.check().problems == ()


def test_a_folder_of_something_else_is_refused(dataset, tmp_path, trained):
    config, done = trained
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(UsageError, match=r"holds something else, thesis\.txt"):
        train(dataset, config, tmp_path / "mine")
    with pytest.raises(UsageError, match="is a file"):
        train(dataset, config, tmp_path / "mine" / "thesis.txt")
    with pytest.raises((ModelError, UsageError), match=r"cannot be (written|read)"):
        train(dataset, config, tmp_path / "mine" / "thesis.txt" / "model")
    with pytest.raises(UsageError, match=r"other settings \(learning_rate\)"):
        train(dataset, replace(config, learning_rate=0.1), done.bundle)


def test_another_dataset_is_refused(tmp_path, trained):
    config, done = trained
    before = learned(done.bundle)
    with pytest.raises(UsageError, match="on another dataset"):
        train(export(tmp_path, make_cases(2)), config, done.bundle)
    assert learned(done.bundle) == before


def test_a_damaged_checkpoint_is_told(dataset, tmp_path):
    short = train(dataset, replace(TINY, steps=2), tmp_path / "model")
    path = short.bundle / checkpoints.CHECKPOINT
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ModelError, match=r"damaged.*begin anew"):
        train(dataset, TINY, tmp_path / "model")


# --- The bundle -------------------------------------------------------------------------------------------------------


def test_the_bundle_tells_what_it_is(trained):
    config, done = trained
    bundle = ModelBundle.open(done.bundle)
    report = bundle.check()

    assert report.problems == () and report.needs_trust == () and report.code == () and report.refusal == ""
    assert bundle.task == "reconstruction"
    facts = SynthesisFacts.from_metadata(bundle.metadata["meddl"]["synthesis"])
    assert facts.labels == {0: "background", 1: "Liver", 2: "Spleen"} and facts.kind == config.kind
    assert facts.trained_on["patients"] == 3 and "3 people" in bundle.description
    assert any("3 people only" in note for note in done.notes)
    assert read_history(done.bundle).rows[-1][0] == 4
    assert (done.bundle / "training" / "samples" / "step_000004.png").read_bytes()[:4] == b"\x89PNG"


def test_monai_makes_the_same_network(trained):
    from monai.bundle import ConfigParser
    from safetensors.torch import load_file

    _, done = trained
    parser = ConfigParser()
    parser.read_config(done.bundle / "configs" / "inference.json")
    network = parser.get_parsed_content("network_def").eval()
    network.load_state_dict(load_file(done.bundle / "models" / "model.safetensors"))
    labels = torch.randint(0, 3, (2, 1, 16, 16)).float()
    with torch.inference_mode():
        first, again = network(labels), network(labels)
        others = network.generate(labels[:1], 2, generator=torch.Generator().manual_seed(3))
    assert torch.equal(first, again) and first.shape == (2, 1, 16, 16)
    assert not torch.equal(others[0], others[1])
    assert network.low <= first.min() and first.max() <= network.high


def by_hand(folder, size, plane="axial", spacing=2.0):
    """Write a bundle whose image is 100, 200, 400 where the label is 0, 1, 2."""
    wanted = (torch.tensor([100.0, 200.0, 400.0]) - 0.0) / 250.0 - 1.0
    config = SynthesisConfig("gan", size=size, plane=plane)
    facts = SynthesisFacts("gan", True, size, spacing, plane, {0: "background", 1: "a", 2: "b"}, 0.0, 500.0, "MR")
    network = {"_target_": f"torch.nn.Conv{len(size)}d", "in_channels": 4, "out_channels": 1, "kernel_size": 1}
    definition = {"_target_": "meddl.networks.LabelsToImage", "network": network, "kind": "gan", "labels": 3,
                  "size": list(size), "noise_channels": 1, "low": 0.0, "high": 500.0}  # fmt: skip
    made = make_network(definition)
    with torch.no_grad():
        made.network.weight.zero_()
        made.network.weight.view(-1)[:3] = torch.atanh(wanted)
        made.network.bias.zero_()
    for name, content in (
        ("models/model.safetensors", weights(made.state_dict())),
        ("configs/inference.json", in_json(inference_config(config, facts, definition))),
        ("configs/metadata.json", in_json(metadata_of(config, facts, "By hand"))),
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return ModelBundle.open(folder)


@pytest.mark.parametrize(
    ("size", "plane"), [((16, 24), "axial"), ((16, 16), "coronal"), ((24, 16), "sagittal"), ((16, 16, 16), "axial")]
)
def test_in_inference_the_image_lies_on_the_label_maps_oblique_flipped_grid(tmp_path, size, plane):
    labels = np.zeros((1, 40, 30, 20), np.uint8)
    labels[0, 10:20, 5:15, 3:9] = 1
    labels[0, 22:30, 12:28, 4:16] = 2
    volume = Volume(labels, place((-2.0, 2.0, -2.0), (5, 3, 7), 0.3, -0.2, 0.5))

    made = Predictor(by_hand(tmp_path, size, plane), RunOptions(device="cpu", engine="torch")).predict(volume).image

    assert made.grid.same_as(volume.grid)
    assert np.allclose(made.array, np.array([100.0, 200.0, 400.0])[labels], atol=0.5)


def test_without_labels_it_is_not_for_inference(dataset, tmp_path):
    config = replace(TINY, conditioned=False, steps=1)
    bundle = ModelBundle.open(train(dataset, config, tmp_path / "model").bundle)
    assert bundle.task == "generation" and bundle.check().problems == ()
    with pytest.raises(ModelError, match="the work of MedDL Augmentation"):
        Predictor(bundle, RunOptions(device="cpu"))


@pytest.mark.parametrize(
    ("kind", "conditioned", "size"),
    [("gan", True, (16, 16, 16)), ("gan", False, (16, 16, 16)), ("rectified_flow", True, (16, 16, 16)),
     ("rectified_flow", False, (16, 16)), ("ddpm", True, (16, 16)), ("ddpm", False, (16, 16))],
)  # fmt: skip
def test_every_kind_is_trained_and_makes_images(dataset, tmp_path, monkeypatch, kind, conditioned, size):
    monkeypatch.setattr(free_gan_trainer, "_ALONE", 0)  # with its discriminator
    config = replace(TINY, kind=kind, conditioned=conditioned, size=size, steps=1, features=(8, 8))

    done = train(dataset, config, tmp_path / "model")

    network = make_network(json.loads((done.bundle / "configs" / "inference.json").read_text())["network_def"])
    labels = torch.ones(1, 1, *size) if conditioned else None
    with torch.inference_mode():
        made = network.generate(labels, 2, generator=torch.Generator().manual_seed(1))
    assert made.shape == (2, 1, *size) and torch.isfinite(made).all()


def test_without_labels_a_gan_goes_on_to_the_same_bytes(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(free_gan_trainer, "_ALONE", 1)
    config = replace(TINY, conditioned=False, steps=3, checkpoint_every=2)
    whole = train(dataset, config, tmp_path / "whole" / "model")
    short = train(dataset, replace(config, steps=2), tmp_path / "model")

    assert learned(train(dataset, config, short.bundle).bundle) == learned(whole.bundle)


def test_the_encoders_numbers_are_followed():
    torch.manual_seed(0)
    shape = torch.tensor([[2.0, 0.0, 0.0], [1.0, 0.5, 0.0], [-1.0, 0.3, 0.2]])
    numbers, variances = free_gan_trainer.Numbers(3), torch.tensor([0.1, 0.2, 0.3])
    for step in range(600):
        told = torch.tensor([1.0, 2.0, 3.0]) + torch.randn(16, 3) @ shape.T
        numbers.follow(told, variances.expand(16, 3), step)

    wanted = shape @ shape.T + variances.diag()
    drawn = numbers.drawn(20_000)
    assert torch.allclose(numbers.mean, torch.tensor([1.0, 2.0, 3.0]), atol=0.2)
    assert torch.allclose(torch.cov(drawn.T), wanted, atol=0.8) and torch.corrcoef(drawn.T)[0, 2] < -0.8


def test_images_of_chance_alone_look_like_those_that_were_learned_from():
    """Disks of any radius and two brightnesses: what comes out are such disks, and not one of them only."""
    away = torch.stack(torch.meshgrid(*[torch.arange(16.0) - 7.5] * 2, indexing="ij")).norm(dim=0)
    disks = torch.stack([(r - away).clamp(0, 1) * gray - 1 for r in torch.linspace(2, 7, 11) for gray in (0.8, 1.6)])
    config = replace(TINY, conditioned=False, learning_rate=2e-3, features=(4, 8, 16))
    torch.manual_seed(0)
    network = make_network(network_config(config, 0, -1.0, 1.0))
    teacher = make_trainer(config, network)
    for _ in range(100):
        teacher.step(disks[torch.randint(0, len(disks), (16,)), None], None)
    network.load_state_dict(teacher.averaged())
    with torch.inference_mode():
        made = network.eval().generate(count=100, generator=torch.Generator().manual_seed(1))

    nearest = (made - disks[None]).abs().mean(dim=(2, 3)).amin(dim=1)
    assert nearest.median() < 0.1  # 0.27 where the encoder's numbers are taken for plain noise
    assert made.mean(dim=(1, 2, 3)).std() > 0.5 * disks.mean(dim=(1, 2)).std()


# --- From noise to an image -------------------------------------------------------------------------------------------


class Knowing(torch.nn.Module):
    """Answers the velocity towards an image that it knows."""

    def __init__(self, image, kind):
        super().__init__()
        self.image, self.kind, self.noise = image, kind, None

    def forward(self, x, times):
        if self.kind == "rectified_flow":
            self.noise = x if self.noise is None else self.noise
            return self.image - self.noise
        from monai.networks.schedulers import DDPMScheduler

        kept = DDPMScheduler(DIFFUSION_TIMES, **SCHEDULE).alphas_cumprod[int(times[0])]
        return (kept.sqrt() * x - self.image) / (1 - kept).sqrt()


@pytest.mark.parametrize("kind", ["rectified_flow", "ddpm"])
@pytest.mark.parametrize("steps", [1, 7, 12, 50])
def test_a_network_that_knows_the_image_makes_it_in_any_number_of_steps(kind, steps):
    image = torch.rand(1, 1, 8, 8) * 1.8 - 0.9
    generator = GeneratorNetwork(Knowing(image, kind), kind, (8, 8), (1, 8, 8), steps, 0, 0.0, 10.0)

    made = generator.made(generator.noise(1))

    assert torch.allclose(made, image, atol=2e-3)


def test_labels_that_are_none_count_as_background(tmp_path):
    network = make_network(
        json.loads((by_hand(tmp_path, (16, 16)).path / "configs/inference.json").read_text())["network_def"]
    )
    values = torch.tensor([0.0, 1.2, 1.8, 7.0, -3.0]).reshape(1, 1, 1, 5)
    assert network.conditions(values).argmax(dim=1).flatten().tolist() == [0, 1, 2, 0, 0]
