"""Generated cases join a dataset's training part, marked, and only where the generator knows nobody who judges."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from core import dataset_kills
from core.painting_generator import noise_painter, painter
from demo_models import head_tissues
from demo_models.bundle import MODELS
from meddl.augmentation import load_plan
from meddl.augmentation.variants import VariantOptions, augment_dataset
from meddl.datasets import Case, ExportOptions, SegmentationLabel, SplitOptions, export_dataset, verify_dataset
from meddl.datasets.image_digest import image_digest
from meddl.datasets.manifest import read_manifest
from meddl.errors import JobCancelled, UsageError
from meddl.models import ModelBundle
from meddl.synthesis.adding import SynthesisOptions, add_synthetic_cases, synthesize_cases
from meddl.synthesis.facts import learned_images
from meddl.synthesis.synthesizer import Synthesizer
from meddl.volume import Volume, read_volume

GRAYS = {"Liver": 900.0, "Spleen": 100.0}
MOVED = SynthesisOptions(count=1, seed=3, plan=load_plan("mr"))
PARTS = SplitOptions(validation=0.2, test=0.2, folds=0)


def cases(count=3):
    made = dataset_kills.make_cases()[:count]
    return [Case(each.id, {"T1": each.images["T1"]}, each.label, each.patient) for each in made]


def contents(root):
    return {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def synthesizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("painter")
    return Synthesizer(painter(folder, GRAYS, size=(16, 24), spacing_mm=1.5), device="cpu")


@pytest.mark.parametrize("name", ["monai", "nnunet", "msd", "bids", "dicom"])
def test_generated_cases_are_learned_from_only_and_show_their_labels(tmp_path, synthesizer, name):
    parts = SplitOptions(validation=0.2, test=0.2, folds=2) if name == "nnunet" else PARTS
    made = synthesize_cases(cases(5), tmp_path, ExportOptions(name, "Abdomen", 3, split=parts), synthesizer, MOVED)[1]
    assert made.complete and not made.failed and verify_dataset(made.root).problems == ()
    manifest = read_manifest(made.root)
    planned = {case.name: case for case in manifest.plan.cases}
    generated = [case for case in planned.values() if case.source]
    assert len(generated) == sum(case.split == "train" and not case.source for case in planned.values()) == 3
    for case in generated:
        assert case.split == "train" and case.patient == planned[case.source].patient
        told = manifest.records[case.name].facts["augmentation"]
        assert told["how"] == "generated" and told["of"] == case.source and told["draw"]["steps"]
        assert told["generator"]["sha256"] == synthesizer.bundle.digest and isinstance(told["seed"], int)
    if name == "monai":
        for item in json.loads((made.root / "datalist.json").read_text())["training"]:
            if "synthetic_of" in item:
                image, labels = (read_volume(made.root / item[key]).array[0] for key in ("image", "label"))
                assert image.dtype == np.int16
                assert np.median(image[labels == 1]) == 900 and np.median(image[labels == 2]) < 300


def test_cancelled_and_gone_on_with_it_has_the_same_bytes_and_leaves_what_others_made(tmp_path, synthesizer):
    whole, torn = (export_dataset(cases(2), tmp_path / n, ExportOptions("monai", "A")).root for n in ("whole", "torn"))
    variants = augment_dataset(torn, VariantOptions(load_plan("mr"), 1, 5)).done
    augment_dataset(whole, VariantOptions(load_plan("mr"), 1, 5))
    add_synthetic_cases(whole, synthesizer, MOVED)
    seen = []
    with pytest.raises(JobCancelled):
        add_synthetic_cases(torn, synthesizer, MOVED, log=seen.append, cancelled=lambda: len(seen) > 0)
    made = add_synthetic_cases(torn, synthesizer, MOVED)
    assert made.complete and made.skipped and contents(torn) == contents(whole)
    assert set(variants) <= set(read_manifest(torn).records) and verify_dataset(torn).problems == ()
    other = add_synthetic_cases(torn, synthesizer, replace(MOVED, seed=4, count=2))
    assert len(other.done) == 4 and set(variants) <= set(read_manifest(torn).records)
    augment_dataset(torn, VariantOptions(load_plan("mr"), 2, 5))
    assert len(read_manifest(torn).records) == 2 + 4 + 4 and verify_dataset(torn).problems == ()


def test_a_generator_that_knows_whom_models_are_judged_by_is_refused(tmp_path):
    root = export_dataset(cases(5), tmp_path / "set", ExportOptions("monai", "A", split=PARTS)).root
    real = read_manifest(root).plan.cases
    learned = {part: [case.digest for case in real if case.split == part] for part in ("train", "validation", "test")}
    before = contents(root)
    for part in ("validation", "test"):
        knows = painter(tmp_path / part, GRAYS, trained_on={"images_sha256": learned["train"] + learned[part]})
        with pytest.raises(UsageError, match="validation or test part"):
            add_synthetic_cases(root, Synthesizer(knows, device="cpu"))
    assert contents(root) == before
    honest = painter(tmp_path / "honest", GRAYS, trained_on={"images_sha256": learned["train"]})
    assert add_synthetic_cases(root, Synthesizer(honest, device="cpu")).notes == ()
    silent = painter(tmp_path / "silent", GRAYS)
    assert "does not tell" in " ".join(add_synthetic_cases(root, Synthesizer(silent, device="cpu")).notes)


def test_folds_that_the_generator_knows_are_told_of(tmp_path):
    root = export_dataset(cases(4), tmp_path / "set", ExportOptions("monai", "A", split=SplitOptions(folds=2))).root
    digests = [case.digest for case in read_manifest(root).plan.cases]
    knows = painter(tmp_path / "g", GRAYS, trained_on={"images_sha256": digests})
    assert "several folds" in " ".join(add_synthetic_cases(root, Synthesizer(knows, device="cpu")).notes)


def test_what_does_not_fit_is_refused_before_anything_is_written(tmp_path, synthesizer):
    root = export_dataset(cases(), tmp_path / "set", ExportOptions("monai", "A")).root
    before = contents(root)
    lacking = Synthesizer(painter(tmp_path / "lacking", {"Liver": 900.0}), device="cpu")
    with pytest.raises(UsageError, match="Spleen"):
        add_synthetic_cases(root, lacking)
    with pytest.raises(UsageError, match="chance alone"):
        add_synthetic_cases(root, Synthesizer(noise_painter(tmp_path / "noise"), device="cpu"))
    two = export_dataset(dataset_kills.make_cases()[:2], tmp_path / "two", ExportOptions("monai", "A")).root
    with pytest.raises(UsageError, match="2 images"):
        add_synthetic_cases(two, synthesizer)
    with pytest.raises(UsageError, match="no dataset"):
        add_synthetic_cases(tmp_path / "nothing", synthesizer)
    for wrong in ({"count": 0}, {"attempts": 0}):
        with pytest.raises(UsageError):
            SynthesisOptions(**wrong)
    assert contents(root) == before


def test_the_demo_generators_are_refused_where_one_of_their_heads_is_judged_by(tmp_path):
    head = head_tissues.SOURCES["a tumor patient"]()  # as published, whole
    shown = Volume((head.array > 300).astype(np.uint8), head.affine)
    label = SegmentationLabel(shown, head_tissues.SEGMENTS[:1])
    made = [
        Case(split, {"T1": head.with_array(array)}, label, split, split=split)
        for split, array in (("train", head.array[:, ::-1].copy()), ("test", head.array))
    ]
    root = export_dataset(made, tmp_path / "set", ExportOptions("monai", "A", split=SplitOptions(folds=0))).root
    for kind in ("gan", "flow"):
        generator = Synthesizer(ModelBundle.open(MODELS / f"demo_head_{kind}"), device="cpu")
        with pytest.raises(UsageError, match="learned from a case of this dataset's validation or test part"):
            add_synthetic_cases(root, generator)


def test_the_demo_generators_tell_all_their_heads():
    told = [ModelBundle.open(MODELS / f"demo_head_{kind}").metadata["meddl"]["synthesis"] for kind in ("gan", "flow")]
    learned = learned_images(told[0]["trained_on"])
    assert {image_digest(head())[:32] for head in head_tissues.SOURCES.values()} < learned
    assert learned == learned_images(told[1]["trained_on"]) and len(learned) == 2 * told[0]["trained_on"]["cases"]
