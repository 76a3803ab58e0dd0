"""What a bundle tells about itself, its digest and the consent that hangs on it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from core.hostile_bundles import INFERENCE, METADATA, write_bundle, zip_of
from core.hostile_weights import torchscript_bytes
from meddl.errors import ModelError, UntrustedModelError
from meddl.models import (
    ModelBundle,
    RestrictedConfig,
    TrustedConfig,
    TrustStore,
    WeightsKind,
    cache_dir,
    inspect_weights,
    load_weights,
    open_config,
    open_trusted_config,
)
from meddl.models.archive import Limits, extract_zip
from meddl.volume import Segment

CORE = Path(__file__).resolve().parents[2] / "MedDLExtension" / "MedDLCore"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDDL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "organ_model")


def test_a_bundle_tells_about_itself(root: Path) -> None:
    bundle = ModelBundle.open(root)
    assert (bundle.name, bundle.version, bundle.task, bundle.license) == ("organ_model", "0.1.0", "segmentation", "MIT")
    assert bundle.input_channels == 1
    assert bundle.files == ("configs/inference.json", "configs/metadata.json", "models/model.pt")
    assert bundle.weights_path == root / "models" / "model.pt"
    assert bundle.config() == INFERENCE
    assert bundle.cascade is None
    report = bundle.check()
    assert report.problems == report.needs_trust == report.code == ()


def test_segments_come_from_channels_and_are_refined(tmp_path: Path) -> None:
    metadata = json.loads(json.dumps(METADATA))
    metadata["network_data_format"]["outputs"]["pred"]["channel_def"] = {"0": "background", "2": "spleen", "1": "liver"}
    metadata["meddl"] = {"segments": {"1": {"name": "Liver", "color": [1, 0.5, 0], "terminology": "a~b~c"}}}
    first, second = ModelBundle.open(write_bundle(tmp_path / "b", metadata=metadata)).segments
    assert first == Segment(1, "Liver", (1.0, 0.5, 0.0), "a~b~c")
    assert second.label == 2 and second.name == "spleen" and all(0 <= part <= 1 for part in second.color)


@pytest.mark.parametrize(
    ("change", "task"),
    [
        ({"task": "Decathlon spleen segmentation"}, "segmentation"),
        ({"task": "Find nodules", "meddl": {"task": "detection"}}, "detection"),
        ({"task": "something new"}, "segmentation"),
    ],
)
def test_the_task_is_found_where_it_is_told(change: dict[str, Any], task: str, tmp_path: Path) -> None:
    assert ModelBundle.open(write_bundle(tmp_path / "b", metadata={**METADATA, **change})).task == task


def test_a_zip_is_the_same_bundle(root: Path, tmp_path: Path) -> None:
    archive = zip_of(root, tmp_path / "organ.zip")
    bundle = ModelBundle.open(archive)
    assert bundle.digest == ModelBundle.open(root).digest
    assert bundle.path.is_relative_to(cache_dir())
    # A copy in the cache that was tampered with is not used again.
    (bundle.path / "scripts.py").write_text("evil")
    again = ModelBundle.open(archive)
    assert again.digest == bundle.digest == ModelBundle.open(root).digest
    assert not (bundle.path / "scripts.py").exists()


def test_a_zip_without_a_folder_is_named_like_the_archive(root: Path, tmp_path: Path) -> None:
    archive = tmp_path / "organ.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        for path in root.rglob("*.*"):
            zipped.write(path, path.relative_to(root))
    assert ModelBundle.open(archive).name == "organ"


def test_extraction_leaves_nothing_behind_when_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        zipped.writestr("good", b"x" * 100)
        zipped.writestr("../bad", b"x")
    for limits in (None, Limits(files=1), Limits(total_bytes=10), Limits(free_bytes=1 << 60)):
        with pytest.raises(ModelError):
            extract_zip(tmp_path / "a.zip", tmp_path / "out", limits)
        assert not (tmp_path / "out").exists()


CHANGES = {
    "weights": lambda root: _flip(root / "models" / "model.pt"),
    "config_space": lambda root: (root / "configs" / "inference.json").open("a").write(" "),
    "new_file": lambda root: (root / "new").write_text(""),
    "hidden_file": lambda root: (root / ".hidden").write_text(""),
    "bytecode": lambda root: ((root / "__pycache__").mkdir(), (root / "__pycache__" / "a.pyc").write_bytes(b"x")),
    "removed": lambda root: (root / "configs" / "extra.txt").unlink(),
    "renamed": lambda root: (root / "configs" / "extra.txt").rename(root / "configs" / "extra2.txt"),
    "moved": lambda root: (root / "configs" / "extra.txt").rename(root / "models" / "extra.txt"),
    "link_for_file": lambda root: _link(root / "configs" / "extra.txt", root / "configs" / "twin.txt"),
}


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    status = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _link(path: Path, target: Path) -> None:
    path.unlink()
    path.symlink_to(target.name)


@pytest.mark.parametrize("name", CHANGES)
def test_any_changed_byte_ends_the_trust(name: str, root: Path, tmp_path: Path) -> None:
    for extra in ("extra.txt", "twin.txt"):
        (root / "configs" / extra).write_text("same")
    bundle, store = ModelBundle.open(root), TrustStore(tmp_path / "trust.json")
    store.record(bundle, "test")
    assert store.is_trusted(bundle) and store.is_trusted(ModelBundle.open(root))
    CHANGES[name](root)
    assert not store.is_trusted(bundle), "also for the object that was opened before"
    assert not store.is_trusted(ModelBundle.open(root))


def test_copies_and_touched_files_keep_the_trust(root: Path, tmp_path: Path) -> None:
    store = TrustStore(tmp_path / "trust.json")
    store.record(ModelBundle.open(root), "test")
    shutil.copytree(root, tmp_path / "elsewhere")
    os.utime(tmp_path / "elsewhere" / "models" / "model.pt")
    assert store.is_trusted(ModelBundle.open(tmp_path / "elsewhere"))


def test_the_trust_store_records_and_revokes(root: Path, tmp_path: Path) -> None:
    store, bundle = TrustStore(tmp_path / "deep" / "trust.json"), ModelBundle.open(root)
    assert store.entries() == () and not store.is_trusted(bundle)
    store.record(bundle, "the panel")
    (entry,) = TrustStore(store.path).entries()
    assert (entry.digest, entry.name, entry.origin) == (bundle.digest, "organ_model", "the panel")
    assert [path for path in store.path.parent.iterdir() if path.suffix != ".lock"] == [store.path]
    assert store.revoke(bundle) and not store.revoke(bundle) and not store.is_trusted(bundle)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"trusted": {}}', b'{"trusted": [1]}', b'{"trusted": [{"digest": 1}]}',
     b'{"trusted": [{"digest": "*", "name": "", "version": "", "origin": "", "recorded": ""}]}', b"[" * 100_000],
)  # fmt: skip
def test_a_broken_trust_store_trusts_nothing_and_is_moved_aside(content: bytes, root: Path, tmp_path: Path) -> None:
    store, bundle = TrustStore(tmp_path / "trust.json"), ModelBundle.open(root)
    store.path.write_bytes(content)
    assert not store.is_trusted(bundle)
    if content != b'{"trusted": {}}':
        assert (tmp_path / "trust.json.broken").read_bytes() == content
    store.record(bundle, "again")
    assert store.is_trusted(bundle)


def test_weights_are_told_by_content(root: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    assert inspect_weights(root / "models" / "model.pt").kind is WeightsKind.STATE_DICT
    state = load_weights(root / "models" / "model.pt", trusted=False)
    save_file(state, tmp_path / "odd.pt")
    assert inspect_weights(tmp_path / "odd.pt").kind is WeightsKind.SAFETENSORS
    again = load_weights(tmp_path / "odd.pt", trusted=False)
    assert state.keys() == again.keys() and all(torch.equal(state[key], again[key]) for key in state)
    torch.save(state, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert load_weights(tmp_path / "old.pt", trusted=False).keys() == state.keys()


@pytest.mark.parametrize("content", [[1], {"a": 1}, {}, "text", {"state_dict": {"a": "b"}}])
def test_what_holds_no_state_dictionary_is_refused(content: Any, tmp_path: Path) -> None:
    import torch

    torch.save(content, tmp_path / "m.pt")
    with pytest.raises(ModelError, match="holds no state dictionary"):
        load_weights(tmp_path / "m.pt", trusted=True)


def test_torchscript_needs_trust_whatever_its_suffix(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    for name in ("model.ts", "model.pt", "model.safetensors"):
        (tmp_path / name).write_bytes(torchscript_bytes(canary))
        with pytest.raises(UntrustedModelError) as caught:
            load_weights(tmp_path / name, trusted=False)
        assert caught.value.reasons
    assert not canary.exists()


def test_a_torchscript_network_is_made_once_trusted(tmp_path: Path) -> None:
    import torch

    config = {
        "network_def": {
            "_target_": "torch.jit.load",
            "f": "$@bundle_root + '/models/model.ts'",
            "map_location": "@device",
        }
    }
    root = write_bundle(tmp_path / "b", config, weights=False)
    torch.jit.save(torch.jit.trace(torch.nn.ReLU(), torch.rand(2)), root / "models" / "model.ts")
    bundle, store = ModelBundle.open(root), TrustStore(tmp_path / "trust.json")
    report = bundle.check()
    assert not report.problems and len(report.needs_trust) == 1 and "TorchScript" in report.needs_trust[0]
    with pytest.raises(UntrustedModelError):
        open_config(bundle, trust=store).get("network_def")
    store.record(bundle, "test")
    made = open_config(bundle, overrides={"device": torch.device("cpu")}, trust=store)
    assert isinstance(made, RestrictedConfig), "TorchScript alone takes no more than the restricted config"
    assert made.get("network_def")(torch.tensor([-1.0, 2.0])).tolist() == [0.0, 2.0]


def test_code_of_a_trusted_bundle_runs_and_keeps_the_trust(tmp_path: Path) -> None:
    config = {"network_def": {"_target_": "scripts.net.Net"}, "steps": {"_target_": "Compose", "transforms": [
        {"_target_": "LoadImaged", "keys": "a"}, {"_target_": "Identityd", "keys": "a"}]}}  # fmt: skip
    store = TrustStore(tmp_path / "trust.json")
    for number in (1, 2):
        root = write_bundle(tmp_path / f"b{number}", config)
        (root / "scripts").mkdir()
        (root / "scripts" / "__init__.py").write_text("")
        (root / "scripts" / "net.py").write_text(f"class Net:\n    number = {number}\n")
        bundle = ModelBundle.open(root)
        with pytest.raises(UntrustedModelError) as caught:
            open_trusted_config(bundle, trust=store)
        assert "scripts.net.Net" in caught.value.reasons[0]
        store.record(bundle, "test")
        made = open_config(bundle, trust=store)
        assert isinstance(made, TrustedConfig)
        assert made.get("network_def").number == number, "each bundle has its own module of the same name"
        assert [type(step).__name__ for step in made.get("steps", drop={"LoadImaged"}).transforms] == ["Identityd"]
        assert made.get("nothing", default=None) is None
        assert str(root) not in sys.path
        assert store.is_trusted(bundle), "running it wrote nothing into its folder"


def test_importing_the_room_is_light() -> None:
    heavy = {"torch", "monai", "SimpleITK", "scipy", "yaml", "jsonschema"}
    code = f"import sys, meddl.models; print(sorted({heavy} & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(CORE)},
    )
    assert result.stdout.strip() == "[]"
