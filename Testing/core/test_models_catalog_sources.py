"""Where models come from: catalogs of administrators, addresses, copies of other computers, the user's own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from core.catalog_shop import (
    FILE,
    GOOD,
    bundle_digest,
    change_entry,
    open_shop,
    own_catalog,
    sha256,
    write_catalog,
    zipped_bundle,
)
from core.file_server import Manners, serving
from core.hostile_bundles import METADATA, state_dict_bytes, write_bundle
from meddl.errors import DownloadError, ModelError
from meddl.models import (
    Catalog,
    TrustStore,
    cache_dir,
    network_settings,
    package_source,
    resolve_model,
)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A catalog with one model, see catalog_shop.py."""
    return open_shop(tmp_path, monkeypatch)


def test_a_model_that_comes_with_its_catalog_is_used_in_place(shop: Path) -> None:
    write_bundle(shop / "definitions" / "organ")
    change_entry(shop, source=None)
    catalog = Catalog.default()
    entry = catalog.find("organ")
    assert entry.installed and entry.in_place and catalog.verify("organ") == ()
    assert catalog.add("organ").path == catalog.open("organ").path == shop / "definitions" / "organ"
    assert resolve_model("organ").path == catalog.find("organ").path
    assert TrustStore().entries() == () and not (cache_dir() / "models").exists()
    with pytest.raises(ModelError, match="comes with MedDL"):
        catalog.remove("organ")
    (shop / "definitions" / "organ" / "models" / "model.pt").write_bytes(b"other")
    assert "damaged" in catalog.verify("organ")[0]
    with pytest.raises(ModelError, match="installed anew"):
        catalog.add("organ")


def test_a_catalog_of_an_administrator_adds_models_but_no_trust(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = write_bundle(shop / "liver", metadata={**METADATA, "name": "Liver"})
    share = own_catalog(shop / "share", {**GOOD, "id": "liver"})
    own_catalog(share, {**GOOD, "id": "liver", "source": zipped_bundle(share / "liver.zip", bundle)})
    network_settings.save(network_settings.NetworkSettings(catalogs=(str(share), str(shop / "not there"))))
    catalog = Catalog.default()
    entry = catalog.find("liver")
    assert entry.origin == 'catalog "St. Elsewhere"' and not entry.built_in and not entry.installed
    assert len(catalog.problems()) == 1 and "not there" in catalog.problems()[0]
    assert catalog.add("liver").name == "Liver" and catalog.verify("liver") == ()
    assert TrustStore().entries() == () and (share / "liver.zip").is_file()
    # The share goes: what was added stays.
    network_settings.save(network_settings.NetworkSettings())
    assert catalog.default().find("liver").installed and resolve_model("liver").name == "Liver"
    monkeypatch.setenv("MEDDL_CATALOGS", str(share / "catalog.json"))
    assert Catalog.default().find("liver").origin == 'catalog "St. Elsewhere"'


def test_broken_settings_keep_nobody_from_what_is_there(shop: Path) -> None:
    Catalog.default().add("organ", place=shop / "packages")
    network_settings.settings_path().write_text("{")
    catalog = Catalog.default()
    assert catalog.open("organ").name == "Organ" and "network.json" in catalog.problems()[0]
    with serving(Manners(b"x")) as url:
        write_catalog(shop, {**GOOD, "source": {"url": url, "sha256": "0" * 64, "size": 1}})
        with pytest.raises(ModelError, match=r"network\.json"):
            Catalog.default().add("net")


def test_a_catalog_cannot_take_the_place_of_another_nor_its_name(shop: Path) -> None:
    share = own_catalog(shop / "share", {**GOOD, "id": "organ", "source": FILE}, name="MedDL")
    catalog = Catalog(shop / "definitions", others=[share])
    assert catalog.find("organ").built_in and len(catalog.entries()) == 1
    assert "'organ'" in catalog.problems()[0] and 'atalog "MedDL"' in catalog.problems()[0]


def test_a_broken_catalog_of_an_administrator_leaves_the_others(shop: Path) -> None:
    share = own_catalog(shop / "share", {**GOOD, "source": {**FILE, "size": "big"}})
    catalog = Catalog(shop / "definitions", others=[share])
    assert [entry.id for entry in catalog.entries()] == ["organ"]
    assert "models[0] (net): 'source.size'" in catalog.problems()[0]


@pytest.mark.parametrize("kind", ["bundle", "file", "members"])
def test_a_model_comes_from_an_address(shop: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    whole = write_bundle(shop / "whole", metadata={**METADATA, "name": "Organ"})
    data = state_dict_bytes()
    if kind != "file":
        zipped_bundle(shop / "x.zip", whole)
        data = (shop / "x.zip").read_bytes()
    source: dict[str, Any] = {"sha256": sha256(data), "size": len(data)}
    source |= {"file": "models/model.pt"} if kind == "file" else {}
    source |= {"members": {"models/model.pt": "models/model.pt"}} if kind == "members" else {}
    with serving(Manners(data)) as url:
        change_entry(shop, source={**source, "url": url})
        bundle = Catalog.default().add("organ")
    assert not bundle.check().problems and TrustStore().is_trusted(bundle)
    assert Catalog.default().verify("organ") == ()
    assert not [path for path in (cache_dir() / "downloads").iterdir() if path.suffix != ".lock"]


def test_a_bundle_from_an_address_needs_no_definition(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    source = zipped_bundle(shop / "x.zip", write_bundle(shop / "whole", metadata={**METADATA, "name": "Whole"}))
    with serving(Manners((shop / "x.zip").read_bytes())) as url:
        write_catalog(shop, {**GOOD, "source": {**source, "url": url}})
        assert not Catalog.default().find("net").definition
        bundle = Catalog.default().add("net")
    assert bundle.name == "Whole" and TrustStore().is_trusted(bundle)
    # The same files from a folder: the catalog knows the archive's SHA-256 only, so they could be any.
    Catalog.default().remove("net")
    with pytest.raises(DownloadError, match="not Net as MedDL's catalog knows it"):
        Catalog.default().add("net", place=shop / "whole")
    write_catalog(shop, {**GOOD, "digest": bundle_digest(shop / "whole"), "source": {**source, "url": url}})
    assert TrustStore().is_trusted(Catalog.default().add("net", place=shop / "whole"))


@pytest.mark.parametrize("what", ["cache", "models", "bundle", "zip"])
def test_a_copy_of_another_computer_is_a_source(shop: Path, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Catalog.default().add("organ", place=shop / "packages")
    digest = first.digest
    place = {"cache": cache_dir(), "models": cache_dir() / "models", "bundle": first.path, "zip": shop / "organ.zip"}[
        what
    ]
    if what == "zip":
        zipped_bundle(place, first.path)
    shutil.copytree(cache_dir(), shop / "stick")
    place = place if what == "zip" else shop / "stick" / place.relative_to(cache_dir())
    monkeypatch.setenv("MEDDL_CACHE", str(shop / "other"))
    bundle = Catalog.default().add("organ", place=place)
    assert bundle.digest == digest and bundle.path.is_relative_to(shop / "other") and TrustStore().is_trusted(bundle)


def test_a_copy_with_other_weights_is_refused_and_more_files_are_left(shop: Path) -> None:
    folder = write_bundle(shop / "stick", metadata={**METADATA, "name": "Organ"})
    (folder / "scripts").mkdir()
    (folder / "scripts" / "evil.py").write_text("x = 1")
    bundle = Catalog.default().add("organ", place=folder)
    assert "scripts/evil.py" not in bundle.files and TrustStore().is_trusted(bundle)
    Catalog.default().remove("organ")
    (folder / "models" / "model.pt").write_bytes(state_dict_bytes() + b"x")
    with pytest.raises(DownloadError, match="SHA-256"):
        Catalog.default().add("organ", place=folder)
    assert list((cache_dir() / "models").iterdir()) == [] and TrustStore().entries() == ()


def test_a_copied_cache_with_a_forged_record_is_not_trusted(shop: Path) -> None:
    path = Catalog.default().add("organ", place=shop / "packages").path
    for entry in TrustStore().entries():
        TrustStore().revoke(entry.digest)
    (path / "scripts").mkdir()
    (path / "scripts" / "evil.py").write_text("x = 1")
    record = path.parent / "organ.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "digest": bundle_digest(path)}))
    Catalog.default().add("organ")
    assert TrustStore().entries() == ()


def test_an_own_model_is_kept_under_a_name_without_trust(shop: Path) -> None:
    folder = write_bundle(shop / "mine", metadata={**METADATA, "name": "Mine"})
    catalog = Catalog.default()
    bundle = catalog.add("mine", place=folder)
    entry = catalog.find("mine")
    assert entry.installed and entry.origin == "added by you" and entry.name == "Mine" and catalog.verify("mine") == ()
    assert bundle.path == cache_dir() / "models" / "mine" and resolve_model("mine").name == "Mine"
    assert TrustStore().entries() == () and "mine" in [entry.id for entry in catalog.search("mine")]
    assert catalog.remove("mine") and folder.is_dir()
    with pytest.raises(ModelError):
        catalog.find("mine")
    for id, place in (("Mine!", folder), ("mine", shop / "nowhere"), ("mine", shop / "packages")):
        with pytest.raises((ModelError, DownloadError)):
            catalog.add(id, place=place)


def test_removing_deletes_what_was_downloaded(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = next((shop / "packages").iterdir())

    def fetch(requirement: str, folder: Path, *more: Any) -> None:
        shutil.copy(wheel, folder)

    monkeypatch.setattr(package_source, "_run_pip", fetch)
    Catalog.default().add("organ")
    assert len(list((cache_dir() / "packages").glob("*.whl"))) == 1
    assert Catalog.default().remove("organ")
    assert not list((cache_dir() / "packages").glob("*.whl")) and wheel.exists()
