"""Single-file networks behind the face of a bundle: opened, trusted, run, and refused in a sentence."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from core.network_files import SEGMENTATION, threshold_graph, threshold_program, write_sidecar
from meddl.errors import ModelError, UntrustedModelError
from meddl.inference import Predictor
from meddl.models import ModelBundle, TrustStore, resolve_model
from meddl.volume import Volume


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDDL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_sidecar(threshold_program(tmp_path / "blobs.ts"), SEGMENTATION)


@pytest.fixture
def trust(tmp_path: Path) -> TrustStore:
    return TrustStore(tmp_path / "trust.json")


def blobs(spacing: float = 1.0) -> Volume:
    """Return an image with bright voxels, in an order of axes that is not the model's."""
    rng = np.random.default_rng(4)
    array = rng.uniform(0, 220, (1, 12, 9, 7)).astype(np.float32)
    affine = np.array([[0, -spacing, 0, 4], [spacing, 0, 0, 2], [0, 0, 2, -9], [0, 0, 0, 1]], dtype=np.float64)
    return Volume(array, affine)


def test_a_program_with_its_sidecar_is_a_bundle(model: Path) -> None:
    bundle = ModelBundle.open(model)
    assert (bundle.name, bundle.version, bundle.task, bundle.license) == (
        "Bright blobs", "1.2.0", "segmentation", "MIT",
    )  # fmt: skip
    assert (bundle.format, bundle.location, bundle.path) == ("torchscript", model, model.parent)
    assert bundle.files == ("blobs.json", "blobs.ts")
    assert bundle.required_packages == ()
    (segment,) = bundle.segments
    assert (segment.label, segment.name, segment.color) == (1, "blob", (1.0, 0.5, 0.0))
    assert "SCT^52988006^Lesion" in segment.terminology
    assert [channel.name for channel in bundle.channels] == ["CT"]
    report = bundle.check()
    assert report.problems == ()
    assert len(report.needs_trust) == 1 and "TorchScript" in report.needs_trust[0]


def test_a_program_runs_once_it_is_trusted(model: Path, trust: TrustStore) -> None:
    bundle, image = ModelBundle.open(model), blobs()
    with pytest.raises(UntrustedModelError):
        Predictor(bundle, "cpu", trust)
    trust.record(bundle, "test")
    prediction = Predictor(bundle, "cpu", trust).predict(image)
    assert np.array_equal(prediction.labels.array[0], image.array[0] > 100)


def test_the_digest_is_of_the_two_files_and_nothing_else_there(model: Path, trust: TrustStore) -> None:
    bundle = ModelBundle.open(model)
    before = bundle.digest
    trust.record(bundle, "test")
    (model.parent / "holiday.jpg").write_bytes(b"\xff\xd8")
    (model.parent / "sub").mkdir()
    assert ModelBundle.open(model).digest == bundle.digest == before
    sidecar = model.with_suffix(".json")
    sidecar.write_text(sidecar.read_text().replace("200", "201"))
    assert bundle.digest != before
    assert not trust.is_trusted(ModelBundle.open(model))


@pytest.mark.parametrize("where", ["file", "sidecar", "folder", "zip", "zip of a folder"])
def test_it_is_found_by_its_file_its_folder_or_an_archive(where: str, model: Path, tmp_path: Path) -> None:
    home = tmp_path / "only"
    home.mkdir()
    for name in ("blobs.ts", "blobs.json"):
        shutil.copy(model.parent / name, home / name)
    places = {"file": home / "blobs.ts", "sidecar": home / "blobs.json", "folder": home}
    if where.startswith("zip"):
        places[where] = tmp_path / "model.zip"
        inner = "only/" if "folder" in where else ""
        with zipfile.ZipFile(places[where], "w") as zipped:
            for file in home.iterdir():
                zipped.write(file, inner + file.name)
    bundle = resolve_model(str(places[where]))
    assert bundle.name == "Bright blobs"
    assert bundle.digest == ModelBundle.open(model).digest
    assert ModelBundle.open(bundle.location).digest == bundle.digest


def test_a_name_is_taken_from_the_file_where_the_sidecar_gives_none(model: Path) -> None:
    content = {key: value for key, value in SEGMENTATION.items() if key not in ("name", "version")}
    assert ModelBundle.open(write_sidecar(model, content)).name == "blobs"


def test_without_a_sidecar_it_says_what_to_write(tmp_path: Path) -> None:
    for path in (threshold_program(tmp_path / "alone.ts"), tmp_path / "alone.onnx"):
        path.touch()
        with pytest.raises(ModelError, match=r"Write a file 'alone\.json' beside it") as caught:
            ModelBundle.open(path)
        example = caught.value.message.partition("instance ")[2].partition("; Docs")[0]
        assert json.loads(example)["task"] == "segmentation"


def test_weights_without_a_network_are_refused(tmp_path: Path) -> None:
    import torch

    path = tmp_path / "weights.pt"
    torch.save({"weight": torch.zeros(2)}, path)
    with pytest.raises(ModelError, match="weights without the network"):
        ModelBundle.open(path)
    path.write_bytes(b"hello")
    with pytest.raises(ModelError, match="neither a TorchScript program"):
        ModelBundle.open(path)


def test_several_models_in_a_folder_ask_for_a_choice(model: Path) -> None:
    write_sidecar(threshold_program(model.with_name("other.ts")), SEGMENTATION)
    with pytest.raises(ModelError, match=r"several models \(blobs\.ts, other\.ts\)"):
        ModelBundle.open(model.parent)


def test_a_link_to_a_program_elsewhere_is_refused(model: Path, tmp_path: Path) -> None:
    home = tmp_path / "links"
    home.mkdir()
    (home / "blobs.ts").symlink_to(model)
    shutil.copy(model.with_suffix(".json"), home / "blobs.json")
    with pytest.raises(ModelError, match="outside its own folder"):
        ModelBundle.open(home / "blobs.ts")


@pytest.mark.parametrize("name", ["$import os.ts", "@network_def.ts", "%x.ts", "a#b.ts", "a::b.ts", "ü b'\".ts"])
def test_a_file_name_is_only_a_name(name: str, tmp_path: Path, trust: TrustStore) -> None:
    bundle = ModelBundle.open(write_sidecar(threshold_program(tmp_path / name), SEGMENTATION))
    trust.record(bundle, "test")
    image = blobs()
    assert np.array_equal(
        Predictor(bundle, "cpu", trust).predict(image).labels.array[0], image.array[0] > 100
    )


def test_orientation_spacing_and_windows_are_undone(tmp_path: Path, trust: TrustStore) -> None:
    changes = {"orientation": "RAS", "spacing_mm": [1, 1, 2], "window": [8, 8, 8], "overlap": 0.5}
    bundle = ModelBundle.open(write_sidecar(threshold_program(tmp_path / "m.ts"), {**SEGMENTATION, **changes}))
    trust.record(bundle, "test")
    image = blobs()
    prediction = Predictor(bundle, "cpu", trust).predict(image)
    assert np.array_equal(prediction.labels.array[0], image.array[0] > 100)
    assert np.array_equal(prediction.labels.affine, image.affine)


def test_structures_that_overlap_come_in_layers(tmp_path: Path, trust: TrustStore) -> None:
    content = {
        **SEGMENTATION, "labels": ["dark", "bright", "bright too"], "activation": "sigmoid", "overlapping": True,
    }  # fmt: skip
    bundle = ModelBundle.open(write_sidecar(threshold_program(tmp_path / "m.ts", classes=2), content))
    trust.record(bundle, "test")
    assert [(each.name, each.layer) for each in bundle.segments] == [("dark", 0), ("bright", 1), ("bright too", 2)]
    image = blobs()
    prediction = Predictor(bundle, "cpu", trust).predict(image)
    assert prediction.labels.channels == 3
    assert np.array_equal(prediction.labels.array[1] > 0, image.array[0] >= 100)
    assert prediction.voxels["bright"] == prediction.voxels["bright too"]


def test_a_classifier_answers_with_its_classes(tmp_path: Path, trust: TrustStore) -> None:
    import torch

    class Brightness(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            mean = image.mean(dim=[1, 2, 3, 4])
            return torch.stack([torch.zeros_like(mean), 20 * (mean - 0.5)], dim=1)

    path = tmp_path / "brightness.ts"
    torch.jit.save(torch.jit.script(Brightness()), str(path))
    content = {
        "task": "classification", "channels": ["CT"], "size": [8, 8, 8], "classes": ["dark", {"name": "bright"}],
        "intensity": {"clip": [0, 200], "scale": "0..1"}, "calibration": {"temperature": 2.0},
    }  # fmt: skip
    bundle = ModelBundle.open(write_sidecar(path, content))
    trust.record(bundle, "test")
    image = blobs()
    predictor = Predictor(bundle, "cpu", trust)
    dark = predictor.predict(image.with_array(image.array * 0.2))
    bright = predictor.predict(image.with_array(200 - image.array * 0.2))
    assert (dark.best.name, bright.best.name) == ("dark", "bright")
    assert bright.exclusive and bright.calibrated
    assert sum(each.probability for each in bright.classes) == pytest.approx(1)


def test_an_image_is_reconstructed_in_its_own_units(tmp_path: Path, trust: TrustStore) -> None:
    import torch

    class Same(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image * 1

    path = tmp_path / "same.ts"
    torch.jit.save(torch.jit.script(Same()), str(path))
    content: dict[str, Any] = {
        "task": "reconstruction", "channels": ["MR"], "intensity": {"scale": "zscore"},
        "reconstruction": {"kind": "denoising"},
    }  # fmt: skip
    bundle = ModelBundle.open(write_sidecar(path, content))
    trust.record(bundle, "test")
    image = blobs()
    made = Predictor(bundle, "cpu", trust).predict(image).image
    assert np.allclose(made.array, image.array, atol=1e-2)


def test_points_and_boxes_are_found_where_they_are(tmp_path: Path, trust: TrustStore) -> None:
    import torch

    class Peak(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image * 20 - 10

    class Boxes(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            sizes = torch.full_like(image, 1.6094379)  # log 5 mm
            return torch.cat([image * 20 - 10, image * 0, image * 0, image * 0, sizes, sizes, sizes], dim=1)

    array = np.zeros((1, 20, 20, 20), np.float32)
    array[0, 4, 9, 14] = 100
    image = Volume(array, np.diag([-1.0, 1, 2, 1]))
    facts: dict[str, Any] = {"channels": ["CT"], "orientation": "RAS", "intensity": {"scale": "0..1"}}
    torch.jit.save(torch.jit.script(Peak()), str(tmp_path / "peak.ts"))
    torch.jit.save(torch.jit.script(Boxes()), str(tmp_path / "boxes.ts"))
    for name, more in (
        ("peak.ts", {"task": "landmarks", "points": ["AC"]}),
        ("boxes.ts", {"task": "detection", "classes": ["nodule"], "detection": {"kind": "center_heatmap"}}),
    ):
        bundle = ModelBundle.open(write_sidecar(tmp_path / name, {**facts, **more}))
        assert bundle.check().problems == ()
        trust.record(bundle, "test")
        prediction = Predictor(bundle, "cpu", trust).predict(image)
        if name == "peak.ts":
            (point,) = prediction.points
            assert point.name == "AC" and np.allclose(point.position, [-4, 9, 28], atol=0.1)
        else:
            best = prediction.boxes[0]
            assert best.label == "nodule" and np.allclose(best.center, [-4, 9, 28]) and np.allclose(best.size, 5)


def test_flat_networks_take_pictures(tmp_path: Path, trust: TrustStore) -> None:
    import torch

    class Sides(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            assert image.dim() == 4
            return torch.stack([image[:, 0, :8].mean(dim=[1, 2]), image[:, 0, 8:].mean(dim=[1, 2])], dim=1)

    path = tmp_path / "sides.ts"
    torch.jit.save(torch.jit.script(Sides()), str(path))
    content = {
        "task": "classification", "dimensions": 2, "channels": ["DX"], "size": [16, 16],
        "intensity": {"scale": "0..1"}, "classes": ["left", "right"],
    }  # fmt: skip
    bundle = ModelBundle.open(write_sidecar(path, content))
    trust.record(bundle, "test")
    array = np.zeros((1, 40, 30, 1), np.float32)
    array[0, 25:] = 90
    assert Predictor(bundle, "cpu", trust).predict(Volume(array, np.eye(4))).best.name == "right"


def test_a_graph_needs_no_consent_and_answers_the_same(tmp_path: Path, trust: TrustStore) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    bundle = ModelBundle.open(write_sidecar(threshold_graph(tmp_path / "blobs.onnx"), SEGMENTATION))
    report = bundle.check()
    assert (bundle.format, report.problems, report.needs_trust, report.code) == ("onnx", (), (), ())
    image = blobs()
    prediction = Predictor(bundle, "cpu", trust).predict(image)
    assert np.array_equal(prediction.labels.array[0], image.array[0] > 100)


def test_a_bundle_may_keep_its_network_as_a_graph(tmp_path: Path, trust: TrustStore) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from core.hostile_bundles import write_bundle

    file = "$@bundle_root + '/models/model.onnx'"
    network = {"_target_": "meddl.networks.OnnxNetwork", "f": file, "device": "@device"}
    root = write_bundle(tmp_path / "bundle", {"network_def": network}, weights=False)
    threshold_graph(root / "models" / "model.onnx")
    bundle = ModelBundle.open(root)
    assert bundle.check().problems == bundle.check().needs_trust == ()
    image = blobs()
    bright = (image.array > 100).astype(np.float32)
    prediction = Predictor(bundle, "cpu", trust).predict(image.with_array(bright))
    assert np.array_equal(prediction.labels.array[0], image.array[0] > 100)
