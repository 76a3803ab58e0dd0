"""``models check`` says what a bundle needs; ``--dry-run`` runs it with random weights on a phantom that fits it."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from core import tiny_bundle, zoo_bundles
from core.zoo_bundles import compose, metadata, runner
from meddl.cli.main import main
from meddl.inference.dry_run import dry_run, make_phantom
from meddl.models import ModelBundle, TrustStore

FLAT = {**tiny_bundle.NETWORK, "spatial_dims": 2}
LOADING = [{"_target_": "LoadImaged", "keys": "image"}, {"_target_": "EnsureChannelFirstd", "keys": "image"}]
CLASSES = {
    "type": "probabilities", "format": "classes", "num_channels": 3, "spatial_shape": [1, 3],
    "channel_def": {"0": "none", "1": "some", "2": "much"},
}  # fmt: skip
CLASSIFIER = runner(
    network_def={"_target_": "DenseNet121", "spatial_dims": 2, "in_channels": 3, "out_channels": 3},
    preprocessing=compose(*LOADING, {"_target_": "Resized", "keys": "image", "spatial_size": [64, 64]}),
    inferer={"_target_": "SimpleInferer"},
    postprocessing=compose(
        {"_target_": "AsDiscreted", "keys": ["pred", "label"], "argmax": [True, False], "to_onehot": 3},
        {"_target_": "SaveClassificationd", "keys": "pred", "output_dir": "x", "filename": "y.csv"},
    ),
)
RGB = {"type": "magnitude", "format": "RGB", "modality": "regular", "num_channels": 3, "spatial_shape": [64, 48]}
FOUR = {"num_channels": 4, "format": "magnitude", "modality": "MR", "spatial_shape": ["8*n", "8*n", "8*n"]}
OVERLAPPING = {"num_channels": 3, "channel_def": {"0": "core", "1": "whole", "2": "enhancing"}}


def opened(folder: Path, config: dict[str, Any], meta: dict[str, Any] | None = None, **more: Any) -> ModelBundle:
    return ModelBundle.open(zoo_bundles.write(folder, config, meta, **more))


@pytest.mark.parametrize("as_yaml", [False, True], ids=["json", "yaml"])
def test_a_segmentation_runs_with_no_weights(as_yaml: bool, tmp_path: Path) -> None:
    bundle = opened(tmp_path / "b", runner(), as_yaml=as_yaml)
    found = dry_run(bundle)
    assert found.ran, found.sentence
    assert found.phantom == {"shape": [1, 32, 32, 32], "spacing_mm": [1.5, 1.5, 2.0]}
    assert "32 x 32 x 32 voxels" in found.sentence
    json.dumps(found.to_dict())


def test_overlapping_structures_of_four_channels_run(tmp_path: Path) -> None:
    config = runner(
        network_def={**tiny_bundle.NETWORK, "in_channels": 4},
        preprocessing=compose(
            LOADING[0], {"_target_": "NormalizeIntensityd", "keys": "image", "nonzero": True, "channel_wise": True}
        ),
        postprocessing=compose(
            {"_target_": "Activationsd", "keys": "pred", "sigmoid": True},
            {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "image"},
            {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5},
            {"_target_": "Lambdad", "keys": "pred", "func": "$lambda x: torch.where(x[[2]] > 0, 4, x[[0]])"},
            {"_target_": "SaveImaged", "keys": "pred"},
        ),
    )
    found = dry_run(opened(tmp_path / "b", config, metadata(image=FOUR, output=OVERLAPPING)))
    assert found.ran and "3 structures" in found.sentence, found.sentence
    assert found.phantom["shape"][0] == 4


def test_a_classifier_of_color_pictures_runs(tmp_path: Path) -> None:
    bundle = opened(tmp_path / "b", CLASSIFIER, metadata("frames", image=RGB, output=CLASSES))
    assert bundle.check().needs_trust == (), "saving the class is left out"
    phantom = make_phantom(bundle)
    assert phantom.array.shape == (3, 64, 48, 1) and 200 < phantom.array.max() <= 255
    found = dry_run(bundle)
    assert found.ran and "3 classes" in found.sentence, found.sentence


def test_a_flat_network_runs_slice_by_slice(tmp_path: Path) -> None:
    config = runner(
        network_def=FLAT,
        preprocessing=compose(*LOADING, {"_target_": "ScaleIntensityd", "keys": "image"}),
        inferer={"_target_": "SliceInferer", "roi_size": [32, 32], "spatial_dim": 2},
    )
    found = dry_run(opened(tmp_path / "b", config, metadata(image={"spatial_shape": [32, 32], "format": "magnitude"})))
    assert found.ran, found.sentence
    assert found.phantom["shape"] == [1, 32, 32, 2]


def test_a_detector_runs(tmp_path: Path) -> None:
    found = dry_run(opened(tmp_path / "b", zoo_bundles.RETINANET, zoo_bundles.RETINANET_METADATA))
    assert found.ran and "boxes" in found.sentence, found.sentence


def test_windows_that_are_too_large_are_cut_and_that_is_told(tmp_path: Path) -> None:
    config = runner(inferer={"_target_": "SlidingWindowInferer", "roi_size": [240, 240, 64], "overlap": 0.5})
    found = dry_run(opened(tmp_path / "b", config))
    assert found.ran and "240 x 240 x 64 voxels were cut to 96 x 96 x 64" in found.sentence
    assert found.phantom["shape"] == [1, 96, 96, 64]


def test_images_that_the_preprocessing_loads_one_by_one_keep_their_place(tmp_path: Path) -> None:
    code = (
        "import numpy as np\nfrom monai.transforms import MapTransform\n"
        "class Join(MapTransform):\n"
        "    def __call__(self, data):\n"
        "        data['image'] = np.concatenate([np.asarray(data[key]) for key in self.keys])\n"
        "        return data\n"
    )
    config = runner(
        network_def={**tiny_bundle.NETWORK, "in_channels": 2},
        preprocessing=compose(
            {"_target_": "LoadImaged", "keys": ["artery", "vein", "label"]},
            {"_target_": "Spacingd", "keys": ["artery", "vein"], "pixdim": [2, 2, 2], "mode": "bilinear"},
            {"_target_": "scripts.join.Join", "keys": ["artery", "vein"]},
            {"_target_": "EnsureTyped", "keys": "image"},
        ),
    )
    store = TrustStore(tmp_path / "trust.json")
    bundle = opened(tmp_path / "b", config, metadata(image={"num_channels": 2}), files={"scripts/join.py": code})
    assert not dry_run(bundle, trust=store).ran, "it brings code"
    store.record(bundle, "test")
    found = dry_run(bundle, trust=store)
    assert found.ran and "scripts" not in sys.modules, found.sentence

    from meddl.inference import Predictor

    phantom = make_phantom(bundle)
    prediction = Predictor(bundle, trust=store, random_weights=True).predict(phantom)
    assert np.allclose(prediction.labels.affine, phantom.affine)
    stage = Predictor(bundle, trust=store, random_weights=True)._task.stages[0]
    assert np.allclose(np.linalg.norm(stage.prepare(phantom).affine[:3, :3], axis=0), 2.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network_def": {**tiny_bundle.NETWORK, "in_channels": 2}}, "failed"),
        ({"network_def": {**tiny_bundle.NETWORK, "chanels": [4]}}, "chanels"),
        ({"network_def": {"_target_": "scripts.net.Net"}}, "code of its own"),
        ({"network_def": None, "network": None, "evaluator": None}, "network"),
    ],
    ids=["channels", "argument", "code", "no network"],
)
def test_what_does_not_run_is_told_and_nothing_is_raised(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    found = dry_run(opened(tmp_path / "b", runner(**changes)), trust=TrustStore(tmp_path / "trust.json"))
    assert not found.ran and message in found.sentence


def test_the_verb_tells_what_a_bundle_needs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDDL_CACHE", str(tmp_path / "cache"))
    listed = {"large_files.yml": "large_files:\n- path: models/model.pt\n  url: https://example.org/model.pt"}
    root = zoo_bundles.write(tmp_path / "b", runner(), files=listed)
    assert main(["models", "check", str(root)]) == 1, "its weights are missing"
    text = capsys.readouterr().out
    for words in ("segmentation", "CT, 1 channel, 32 x 32 x 32 voxels", "runs without", "missing: models/model.pt"):
        assert words in text
    assert main(["models", "check", str(root), "--dry-run", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["task"] == "segmentation" and facts["runs_untrusted"] and facts["dry_run"]["ran"]
    assert facts["missing_downloads"] == ["models/model.pt"] and facts["refusal"] == ""


def test_the_verb_tells_reasons_for_trust_and_refusals(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDDL_CACHE", str(tmp_path / "cache"))
    code = zoo_bundles.write(tmp_path / "code", runner(network_def={"_target_": "scripts.net.Net"}))
    assert main(["models", "check", str(code), "--dry-run"]) == 1
    text = capsys.readouterr().out
    assert "models trust" in text and "scripts.net.Net" in text and "dry run: " in text
    noise = zoo_bundles.write(tmp_path / "noise", runner(), metadata("x", image={"type": "noise"}))
    assert main(["models", "check", str(noise)]) == 1
    assert "refused: The model 'Two blobs' makes images out of noise" in capsys.readouterr().out


def test_looking_a_bundle_over_needs_no_torch(tmp_path: Path) -> None:
    import subprocess

    root = zoo_bundles.write(tmp_path / "b", zoo_bundles.RETINANET, zoo_bundles.RETINANET_METADATA)
    core = Path(__file__).resolve().parents[2] / "MedDLExtension" / "MedDLCore"
    code = (
        f"import sys; sys.path.insert(0, {str(core)!r})\n"
        "from meddl.cli.models_check import facts\n"
        f"facts({str(root)!r})\n"
        "assert not {'torch', 'monai', 'scipy'} & set(sys.modules), 'heavy'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"MEDDL_CACHE": str(tmp_path), "PATH": ""})


def test_the_page_is_written_from_a_checkout_and_skipped_without_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Path(__file__).resolve().parents[1] / "docs" / "zoo_table.py"
    spec = importlib.util.spec_from_file_location("zoo_table", place)
    assert spec is not None and spec.loader is not None
    table = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(table)
    monkeypatch.delenv("MEDDL_MODEL_ZOO", raising=False)
    monkeypatch.setattr(sys, "argv", ["zoo_table.py"])
    assert table.main() == 0 and "nothing to do" in capsys.readouterr().out
    zoo_bundles.write(tmp_path / "zoo" / "models" / "plain", runner())
    zoo_bundles.write(tmp_path / "zoo" / "models" / "noise", runner(), metadata("x", image={"type": "noise"}))
    monkeypatch.setattr(sys, "argv", ["zoo_table.py", str(tmp_path / "zoo"), "--output", str(tmp_path / "page.md")])
    assert table.main() == 0
    page = (tmp_path / "page.md").read_text()
    assert "1 of 2 ran, 1 are refused" in page and "| plain | 0.3.0 | segmentation |" in page
    assert str(tmp_path) not in page
