"""Adding, verifying and removing models of the catalog, with a package made here and no network."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest
from core.catalog_shop import change_entry, open_shop
from core.hostile_bundles import METADATA, write_bundle
from meddl.errors import DownloadError, JobCancelled, ModelError
from meddl.models import (
    Catalog,
    ModelBundle,
    TrustStore,
    cache_dir,
    resolve_model,
)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A catalog with one model, see catalog_shop.py."""
    return open_shop(tmp_path, monkeypatch)


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
    assert not Catalog.default().find("organ").installed


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
