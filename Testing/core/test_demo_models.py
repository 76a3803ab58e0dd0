"""The demo models: their weights reach the figures their metadata tells, on people they never saw; and they say so."""

from __future__ import annotations

import importlib
import json
import math
import re
import shutil
from collections.abc import Callable

import pytest
import realdata
import torch
from demo_models import images, recipes
from demo_models.bundle import CPU, MODELS, NOT_CLINICAL
from meddl.inference import Ensemble, Predictor
from meddl.models import Catalog, ModelBundle
from meddl.volume import Volume, read_volume
from safetensors.torch import load_file, save_file

IDS = tuple(recipes())


def tolerance(name: str) -> float:
    """How far a figure may be from the one that was told: processors round differently."""
    if "PSNR" in name:
        return 0.1
    if name.endswith("mm"):
        return 1.0
    return 0.03


@pytest.mark.parametrize("id", IDS)
def test_the_weights_reach_the_figures_that_the_metadata_tells(id: str) -> None:
    bundle = ModelBundle.open(MODELS / id)
    told = bundle.metadata["meddl"]["held_out"]

    found = recipes()[id].held_out(bundle)

    assert set(found) == set(told)
    off = {name: (value, told[name]) for name, value in found.items() if abs(value - told[name]) > tolerance(name)}
    assert not off
    assert recipes()[id].tell(told) in bundle.metadata["meddl"]["performance"]


@pytest.mark.parametrize("id", IDS)
def test_what_a_bundle_says_of_itself(id: str) -> None:
    """The size of the training data comes first, and nobody may take a demonstration for a medical device."""
    bundle = ModelBundle.open(MODELS / id)
    metadata = bundle.metadata

    assert re.match(r"Trained on \d+ (CT |MR )?images?( of \d+ (people|person)|:)", bundle.description)
    assert NOT_CLINICAL in bundle.description and NOT_CLINICAL in metadata["meddl"]["performance"]
    assert "other" in metadata["meddl"]["performance"], "figures are of other people than those of the training"
    for part in ("intended_use", "limits", "data_source"):
        assert len(metadata[part]) > 40
    assert metadata["meddl"]["expected"]["modality"]
    readme = (MODELS / id / "docs" / "README.md").read_text(encoding="utf-8")
    assert metadata["meddl"]["performance"] in readme and f"setup_dev.py train {id}" in readme


@pytest.mark.parametrize("id", IDS)
def test_bundles_are_small_and_run_untrusted(id: str) -> None:
    bundle = ModelBundle.open(MODELS / id)

    report = bundle.check()

    assert not report.problems and not report.needs_trust and not report.code
    assert (MODELS / id / "models" / "model.safetensors").stat().st_size < 1_000_000


@pytest.mark.parametrize("id", IDS)
def test_committed_configs_are_those_of_the_recipe(id: str) -> None:
    recipe = recipes()[id]
    written = json.loads((MODELS / id / "configs" / "inference.json").read_text(encoding="utf-8"))

    assert written == json.loads(json.dumps(recipe.DEFINITION.inference))
    assert ModelBundle.open(MODELS / id).task == recipe.DEFINITION.metadata["task"]
    assert next(entry for entry in Catalog.default().entries() if entry.id == id).source is None


def test_nobody_is_both_trained_and_tested_on() -> None:
    region, order = (importlib.import_module(f"demo_models.{name}") for name in ("body_region", "slice_order"))
    for recipe in (region, order):
        groups = (set(recipe.TRAINING), set(recipe.CALIBRATION), set(recipe.TEST))
        assert sum(map(len, groups)) == len(set.union(*groups))


def test_the_region_of_a_volume_is_that_of_its_middle_slice() -> None:
    from demo_models import images

    prediction = Predictor(ModelBundle.open(MODELS / "demo_body_region"), CPU).predict(images.chest_b())

    assert prediction.best.name == "Chest"
    assert math.isclose(sum(each.probability for each in prediction.classes), 1.0, abs_tol=1e-4)
    assert prediction.calibrated


def test_the_recurrent_model_tells_which_slices_it_went_by() -> None:
    from demo_models import images

    prediction = Predictor(ModelBundle.open(MODELS / "demo_slice_order"), CPU).predict(images.itk_subject())

    assert len(prediction.evidence) == 24
    assert math.isclose(sum(prediction.evidence), 1.0, abs_tol=1e-3)


UNLIKE = "unlike the"


def strange(id: str, make: Callable[[], Volume], slice_mm: float | None = None) -> str:
    """Return what the model says of an image that looks strange to its network, or ""."""
    volume = make()
    if slice_mm is not None:
        upright = images.upright(volume, slice_mm)
        middle = upright.shape[2] // 2
        volume = Volume(upright.array[..., middle : middle + 1], upright.affine)
    prediction = Predictor(ModelBundle.open(MODELS / id), CPU).predict(volume)
    return next((line for line in prediction.provenance["domain"] if UNLIKE in line), "")


@pytest.mark.parametrize(
    ("id", "make", "slice_mm"),
    [
        ("demo_head_points", images.itk_subject, None),
        ("demo_head_points", images.tumor_2, None),
        ("demo_lung_boxes", images.chest_b, None),
        ("demo_body_region", images.itk_subject, 4.0),
        ("demo_body_region", images.chest_b, 4.0),
    ],
)
def test_images_of_other_people_are_near(id: str, make: Callable[[], Volume], slice_mm: float | None) -> None:
    assert strange(id, make, slice_mm) == ""


@pytest.mark.parametrize(
    ("id", "make"),
    [
        ("demo_head_points", images.abdomen_mr),
        ("demo_lung_boxes", images.itk_subject),
        ("demo_lung_boxes", images.abdomen_mr),
    ],
)
def test_another_organ_is_far(id: str, make: Callable[[], Volume]) -> None:
    assert "look at the result with care" in strange(id, make)


def test_what_the_distance_is_made_of_stands_beside_it() -> None:
    for id in ("demo_head_points", "demo_lung_boxes", "demo_body_region"):
        reference = ModelBundle.open(MODELS / id).metadata["meddl"]["reference"]
        assert reference["made_of"].startswith(f"{reference['n']} random variants, drawn as in training. Trained on")


def test_several_models_on_a_real_image_answer_with_the_mean_of_theirs(tmp_path) -> None:
    """Copies of a model whose weights were shaken, as models trained anew would differ."""
    bundles = [ModelBundle.open(MODELS / "demo_body_region")]
    for seed in (1, 2):
        folder = tmp_path / f"shaken {seed}"
        shutil.copytree(MODELS / "demo_body_region", folder)
        weights = load_file(folder / "models" / "model.safetensors")
        chance = torch.Generator().manual_seed(seed)
        shaken = {
            name: value + 0.05 * value.std() * torch.randn(value.shape, generator=chance)
            if value.is_floating_point() and value.numel() > 1
            else value
            for name, value in weights.items()
        }
        save_file(shaken, folder / "models" / "model.safetensors")
        bundles.append(ModelBundle.open(folder))
    image = read_volume(realdata.totalsegmentator() / "example_mr_sm.nii.gz")
    single = [Predictor(bundle, CPU).predict(image) for bundle in bundles]

    joined = Ensemble(bundles, CPU).predict(image)

    for index, each in enumerate(joined.classes):
        alone = [prediction.classes[index].probability for prediction in single]
        assert each.probability == pytest.approx(sum(alone) / len(alone), abs=2e-6)
        assert joined.uncertainty.intervals[each.name] == pytest.approx((min(alone), max(alone)), abs=2e-6)
    assert len({round(prediction.best.probability, 4) for prediction in single}) > 1
