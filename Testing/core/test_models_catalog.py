"""Adding, verifying and removing models of the catalog, with a package made here and no network."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from core.hostile_bundles import METADATA, state_dict_bytes, write_bundle
from meddl.errors import DownloadError, JobCancelled, ModelError
from meddl.models import Catalog, ModelBundle, TrustStore, cache_dir, definitions_dir, package_source, resolve_model

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A catalog with one model, whose package lies in the folder ``packages``; there is no network."""
    monkeypatch.setenv("MEDDL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MEDDL_MODELS_DIR", str(tmp_path / "definitions"))
    monkeypatch.delenv("MEDDL_PACKAGE_DIR", raising=False)
    monkeypatch.setattr(package_source, "_run_pip", _no_network)
    wheel = tmp_path / "packages" / "organ_weights-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as zipped:
        zipped.writestr("data/net.pt", state_dict_bytes())
    write_bundle(tmp_path / "definitions" / "organ", metadata={**METADATA, "name": "Organ"}, weights=False)
    (tmp_path / "definitions" / "organ" / "models").rmdir()
    entry = {
        "id": "organ", "name": "Organ", "description": "d", "task": "segmentation", "organ": "o", "modality": "CT",
        "license": "MIT", "size_mb": 1,
        "source": {
            "requirement": "organ-weights==1.0", "sha256": _sha256(wheel.read_bytes()),
            "members": {"data/net.pt": "models/model.pt"},
        },
        "files": {"models/model.pt": _sha256(state_dict_bytes())},
    }  # fmt: skip
    write_catalog(tmp_path, entry)
    return tmp_path


def write_catalog(home: Path, entry: dict[str, Any]) -> None:
    (home / "definitions" / "catalog.json").write_text(json.dumps({"version": 1, "models": [entry]}))


def change_entry(home: Path, **values: Any) -> None:
    entry = json.loads((home / "definitions" / "catalog.json").read_text())["models"][0]
    write_catalog(home, {**entry, **values})


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _no_network(*arguments: Any) -> None:
    raise DownloadError("There is no network.")


def test_adding_makes_a_whole_trusted_bundle(shop: Path) -> None:
    catalog, said = Catalog.default(), []
    assert not catalog.find("organ").installed and catalog.verify("organ")
    bundle = catalog.add(
        "organ", progress=lambda fraction, text: said.append((fraction, text)), place=shop / "packages"
    )
    assert bundle.path == cache_dir() / "models" / "organ"
    assert not bundle.check().problems
    assert TrustStore().is_trusted(bundle) and TrustStore().entries()[0].origin == "MedDL catalog"
    assert catalog.verify("organ") == () and catalog.find("organ").installed
    assert said[-1] == (1.0, "Organ is ready") and [part[0] for part in said] == sorted(part[0] for part in said)
    assert sorted(path.name for path in (cache_dir() / "models").iterdir()) == ["organ", "organ.json"]
    assert resolve_model("organ").digest == bundle.digest


def test_adding_twice_does_nothing_more(shop: Path) -> None:
    first = Catalog.default().add("organ", place=shop / "packages")
    times = {path: path.stat().st_mtime_ns for path in first.path.rglob("*")}
    second = Catalog.default().add("organ")
    assert second.digest == first.digest
    assert times == {path: path.stat().st_mtime_ns for path in second.path.rglob("*")}


def test_the_offline_folder_of_the_environment_is_used(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDDL_PACKAGE_DIR", str(shop / "packages"))
    assert Catalog.default().add("organ").name == "Organ"


def test_the_package_itself_may_be_named(shop: Path) -> None:
    assert Catalog.default().add("organ", place=next((shop / "packages").iterdir())).name == "Organ"


@pytest.mark.parametrize("packages", ["packages/organ_weights-1.0-py3-none-any.whl", "packages"])
def test_a_wrong_package_is_refused_and_leaves_nothing(shop: Path, packages: str) -> None:
    wheel = next((shop / "packages").iterdir())
    with zipfile.ZipFile(wheel, "a") as zipped:
        zipped.writestr("more", b"x")
    with pytest.raises(DownloadError, match="SHA-256"):
        Catalog.default().add("organ", place=shop / packages)
    assert list((cache_dir() / "models").iterdir()) == []
    assert TrustStore().entries() == ()


def test_without_network_the_error_says_so(shop: Path) -> None:
    with pytest.raises(DownloadError, match="no network"):
        Catalog.default().add("organ")
    assert list((cache_dir() / "models").iterdir()) == []


def test_a_wrong_member_is_refused(shop: Path) -> None:
    change_entry(shop, files={"models/model.pt": "0" * 64})
    with pytest.raises(DownloadError, match=r"models/model\.pt"):
        Catalog.default().add("organ", place=shop / "packages")
    assert Catalog.default().installed_path("organ") is None


def test_cancelling_leaves_nothing(shop: Path) -> None:
    with pytest.raises(JobCancelled):
        Catalog.default().add("organ", place=shop / "packages", cancelled=lambda: True)
    assert list((cache_dir() / "models").iterdir()) == []


@pytest.mark.parametrize("name", ["models/model.pt", "configs/inference.json", "new.py"])
def test_a_changed_file_is_found_and_repaired(shop: Path, name: str) -> None:
    catalog = Catalog.default()
    bundle = catalog.add("organ", place=shop / "packages")
    good = bundle.digest
    with (bundle.path / name).open("ab") as file:
        file.write(b" ")
    assert len(catalog.verify("organ")) == 1
    assert not TrustStore().is_trusted(ModelBundle.open(bundle.path))
    assert catalog.add("organ", place=shop / "packages").digest == good
    assert catalog.verify("organ") == ()


def test_a_new_definition_is_taken_over_without_the_network(shop: Path) -> None:
    catalog = Catalog.default()
    old = catalog.add("organ", place=shop / "packages").digest
    write_bundle(shop / "definitions" / "organ", metadata={**METADATA, "version": "0.2.0"}, weights=False)
    assert "another version" in catalog.verify("organ")[0]
    new = catalog.add("organ")
    assert new.version == "0.2.0" and new.digest != old and TrustStore().is_trusted(new)


def test_removing_forgets_model_and_trust(shop: Path) -> None:
    catalog = Catalog.default()
    path = catalog.add("organ", place=shop / "packages").path
    assert catalog.remove("organ") and not path.exists() and TrustStore().entries() == ()
    assert not catalog.remove("organ")
    with pytest.raises(ModelError, match="models add organ"):
        resolve_model("organ")


def test_removing_follows_no_link(shop: Path) -> None:
    (shop / "precious").mkdir()
    (shop / "precious" / "file").write_text("x")
    (cache_dir() / "models").mkdir(parents=True)
    (cache_dir() / "models" / "organ").symlink_to(shop / "precious")
    Catalog.default().remove("organ")
    assert (shop / "precious" / "file").exists()
    for id in ("../precious", "", ".", "organ/.."):
        with pytest.raises(ModelError):
            Catalog.default().remove(id)


@pytest.mark.parametrize(
    "values",
    [
        {"id": "../evil"},
        {"name": None, "license": None, "size_mb": "x"},
        {"files": {"../../evil": "0" * 64}},
        {"files": {"models/model.pt": "short"}},
        {"source": {"requirement": "a; rm -rf /", "sha256": "0" * 64, "members": {}}},
        {"source": {"requirement": "a==1 --index-url http://x", "sha256": "0" * 64, "members": {}}},
        {"source": {"requirement": "a==1", "sha256": "0" * 64, "members": {"x": "/etc/passwd"}}},
    ],
)
def test_a_broken_catalog_is_refused(shop: Path, values: dict[str, Any]) -> None:
    change_entry(shop, **values)
    with pytest.raises(ModelError):
        Catalog.default().entries()


def test_resolving_takes_folders_and_archives_too(shop: Path) -> None:
    folder = write_bundle(shop / "own_model")
    assert resolve_model(str(folder)).name == resolve_model(folder).name == "own_model"
    for name in ("no_such_model", "/no/such/place", "a\0b", "x" * 5000):
        with pytest.raises(ModelError):
            resolve_model(name)


def test_the_catalog_of_the_repository_fits_its_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    import jsonschema

    monkeypatch.delenv("MEDDL_MODELS_DIR", raising=False)
    assert definitions_dir() == REPOSITORY / "Resources" / "Models"
    catalog = json.loads((definitions_dir() / "catalog.json").read_text())
    schema = json.loads((definitions_dir() / "catalog.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(catalog)
    for entry in Catalog.default().entries():
        definition = definitions_dir() / entry.id
        metadata = json.loads((definition / "configs" / "metadata.json").read_text())
        assert metadata["name"] == entry.name and metadata["license"] == entry.license
        assert set(entry.source.members.values()) == set(entry.files) if entry.source else True
