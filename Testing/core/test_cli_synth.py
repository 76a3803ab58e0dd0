"""``meddl synth`` as a user types it: each action on files, and what is wrong said in a sentence."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from core import dataset_kills
from meddl.cli.main import main
from meddl.datasets import ExportOptions, SplitOptions, export_dataset, verify_dataset
from meddl.datasets.image_digest import image_digest
from meddl.datasets.manifest import read_manifest
from meddl.volume import Segment, Volume, read_segmentation, read_volume, write_segmentation, write_volume


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """A dataset of five small cases of five people, one of them held out."""
    folder = tmp_path_factory.mktemp("cli_synth")
    options = ExportOptions("monai", "Small", split=SplitOptions(test=0.2, folds=0))
    cases = [replace(each, images={"T1": each.images["T1"]}) for each in dataset_kills.make_cases()]
    return export_dataset(cases, folder / "dataset", options).root


@pytest.fixture(scope="module")
def generator(dataset):
    """A generator that has seen two steps of training."""
    output = dataset.parent / "generator"
    settings = dataset.parent / "settings.json"
    settings.write_text(json.dumps({"kind": "ddpm", "size": [64, 64], "sampling_steps": 2, "features": [8, 16]}))
    arguments = ["--dataset", str(dataset), "--output", str(output), "--settings", str(settings)]
    assert main(["synth", "train", *arguments, "--kind", "gan", "--size", "16,16", "--steps", "2"]) == 0
    return output


@pytest.fixture(scope="module")
def head(dataset):
    """An image and its segmentation, as files."""
    case = dataset_kills.make_cases()[0]
    image, labels = dataset.parent / "head.nrrd", dataset.parent / "head.seg.nrrd"
    write_volume(case.images["T1"], image)
    write_segmentation(case.label.source, case.label.segments, labels)
    return image, labels


def test_what_is_in_the_file_gives_way_to_what_is_typed(generator):
    said = json.loads((generator / "training" / "config.json").read_text())
    said = said.get("config", said)
    assert said["kind"] == "gan" and said["size"] == [16, 16]


def test_images_on_the_grid_of_a_segmentation(generator, head, tmp_path, capsys):
    made = tmp_path / "made"
    arguments = ["--model", str(generator), "--segmentation", str(head[1]), "--output", str(made)]
    assert main(["synth", "sample", *arguments, "--count", "2", "--seed", "3", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["made"]
    labels, segments = read_segmentation(head[1])
    first, second = (read_volume(made / f"synthetic_00{number}.nrrd") for number in (1, 2))
    assert first.grid.same_as(labels.grid) and not np.array_equal(first.array, second.array)
    again, names = read_segmentation(made / "synthetic_001.seg.nrrd")
    assert {each.name for each in names} == {each.name for each in segments} and again.grid.same_as(labels.grid)
    assert [len(each["files"]) for each in told] == [3, 3]


def test_cases_for_a_dataset(dataset, generator, tmp_path, capsys):
    root = tmp_path / "copy"
    shutil.copytree(dataset, root)
    assert main(["synth", "sample", "--model", str(generator), "--dataset", str(root), "--plan", "position"]) == 0
    assert "4 synthetic cases made" in capsys.readouterr().out
    assert not verify_dataset(root).problems
    made = [each for each in read_manifest(root).plan.cases if each.source]
    assert len(made) == 4 and {each.split for each in made} == {"train"}


def test_a_judgement(dataset, generator, tmp_path, capsys):
    arguments = ["--model", str(generator), "--dataset", str(dataset), "--output", str(tmp_path / "judged")]
    assert main(["synth", "evaluate", *arguments, "--count", "8", "--seeds", "0", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["usefulness"] is None and told["distances"]
    assert (tmp_path / "judged" / "judgement.md").is_file()


def test_a_lesion_in_an_image(head, tmp_path, capsys):
    image, labels = head
    arguments = ["--input", str(image), "--segmentation", str(labels), "--output", str(tmp_path)]
    assert main(["synth", "lesion", *arguments, "--inside", "Liver", "--volume", "0.02,0.05"]) == 0
    before, after = read_volume(image), read_volume(tmp_path / "image.nrrd")
    made, segments = read_segmentation(tmp_path / "labels.seg.nrrd")
    value = next(each.label for each in segments if each.name == "Lesion")
    mask = (made.array == value).any(axis=0)
    assert 0.02 <= mask.sum() * abs(np.linalg.det(before.affine[:3, :3])) / 1000 <= 0.05
    assert (after.array != before.array).any() and after.grid.same_as(before.grid)
    assert json.loads((tmp_path / "lesions.json").read_text())


def test_the_facts_of_a_lesion_do_not_name_the_file_of_its_example(head, tmp_path):
    image, labels = head
    found, segments = read_segmentation(labels)
    tumor = tmp_path / "Doe_John.seg.nrrd"
    liver = next(each.label for each in segments if each.name == "Liver")
    mask = found.with_array((found.array == liver).astype(np.uint8))
    write_segmentation(mask, (Segment(1, "Tumor", (1, 0, 0)),), tumor)
    named = tmp_path / "Doe_John.nii.gz"
    write_volume(read_volume(image), named)
    arguments = ["--input", str(image), "--output", str(tmp_path / "made"), "--volume", "0.02,0.05"]
    assert main(["synth", "lesion", *arguments, "--example", str(named), "--example-mask", str(tumor)]) == 0
    told = (tmp_path / "made" / "lesions.json").read_text()
    assert "Doe" not in told and f"sha256:{image_digest(read_volume(image))}" in told


def test_acquisitions_of_one_image_and_of_many(head, tmp_path, capsys):
    arguments = ["--method", "rician", "--snr", "5", "--input", str(head[0]), "--output", str(tmp_path / "one")]
    assert main(["synth", "simulate", *arguments, "--variants", "2"]) == 0
    first, second = (read_volume(tmp_path / "one" / f"rician_0{number}.nrrd") for number in (1, 2))
    assert first.grid.same_as(read_volume(head[0]).grid) and not np.array_equal(first.array, second.array)
    source = tmp_path / "source"
    source.mkdir()
    write_volume(read_volume(head[0]), source / "a.nii.gz")
    arguments = ["--method", "undersampling", "--cases", str(source), "--output", str(tmp_path / "many")]
    assert main(["synth", "simulate", *arguments, "--folds", "0", "--json"]) == 0
    manifest = read_manifest(tmp_path / "many")
    assert manifest.plan.task == "reconstruction" and len(manifest.records) == 1


def test_x_rays_of_a_ct(tmp_path):
    array = np.full((1, 24, 24, 24), -1000, np.int16)
    array[0, 6:18, 6:18, 4:20] = 40
    labels = np.zeros((1, 24, 24, 24), np.uint8)
    labels[0, 8:12, 8:16, 8:16] = 1
    labels[0, 8:16, 8:16, 10:14] = 2
    affine = np.diag([-4.0, -4.0, 4.0, 1.0])
    write_volume(Volume(array, affine, meta={"modality": "CT"}), tmp_path / "ct.nrrd")
    names = (Segment(1, "Liver", (1, 0, 0)), Segment(2, "Spine", (0, 1, 0)))
    write_segmentation(Volume(labels, affine), names, tmp_path / "ct.seg.nrrd")
    arguments = ["--input", str(tmp_path / "ct.nrrd"), "--segmentation", str(tmp_path / "ct.seg.nrrd")]
    arguments += ["--output", str(tmp_path / "xray"), "--views", "AP,LL", "--size", "32,32"]
    assert main(["synth", "project", *arguments]) == 0
    image = read_volume(tmp_path / "xray" / "projection_02.nrrd")
    made, segments = read_segmentation(tmp_path / "xray" / "projection_02.seg.nrrd")
    assert sorted(image.shape) == [1, 32, 32] and {each.name for each in segments} == {"Liver", "Spine"}
    assert made.grid.same_as(image.grid)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["train", "--dataset", "{d}", "--output", "{t}/new", "--size", "16"], "size"),
        (["train", "--dataset", "{d}", "--output", "{t}/new", "--size", "a,b"], "--size takes"),
        (["train", "--dataset", "{t}", "--output", "{t}/new"], "dataset"),
        (["train", "--dataset", "{d}", "--output", "{t}/new", "--settings", "{t}/none.json"], "none.json"),
        (["sample", "--model", "{g}"], "--output"),
        (["sample", "--model", "{g}", "--output", "{t}/new", "--plan", "position"], "--plan"),
        (["sample", "--model", "{g}", "--output", "{t}/new"], "label map"),
        (["sample", "--model", "demo_body_region", "--output", "{t}/new"], "generator"),
        (["sample", "--model", "{g}", "--output", "{t}/new", "--segmentation", "{s}", "--format", ".jpg"], ".jpg"),
        (["lesion", "--input", "{i}"], "--output"),
        (["lesion", "--input", "{i}", "--output", "{t}/new", "--inside", "Lung"], "Lung"),
        (["lesion", "--input", "{i}", "--output", "{t}/new", "--volume", "3"], "--volume takes 2"),
        (["lesion", "--input", "{i}", "--output", "{t}/new", "--example", "{i}"], "--example-mask"),
        (["evaluate", "--model", "{g}", "--dataset", "{t}", "--output", "{t}/new"], "dataset"),
        (["evaluate", "--model", "{g}", "--dataset", "{d}", "--seeds", "1", "--output", "{t}/new"], "seed"),
        (["simulate", "--method", "low_dose", "--input", "{i}", "--output", "{t}/new"], "Hounsfield"),
        (["simulate", "--method", "rician", "--dose", "1", "--input", "{i}", "--output", "{t}/new"], "--dose"),
        (["simulate", "--method", "rician", "--output", "{t}/new"], "--cases"),
        (["project", "--input", "{i}", "--views", "top", "--output", "{t}/new"], "top"),
    ],
)
def test_a_mistake_is_a_sentence_and_leaves_nothing(arguments, told, dataset, generator, head, tmp_path, capsys):
    places = {"d": dataset, "g": generator, "i": head[0], "s": head[1], "t": tmp_path}
    assert main(["synth", *(each.format(**places) for each in arguments)]) in (1, 2)
    said = capsys.readouterr().err
    assert said.startswith("meddl: ") and told in said and "Traceback" not in said
    assert not list(tmp_path.iterdir())
