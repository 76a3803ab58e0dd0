"""Adding, verifying and removing models of the catalog, with a package made here and no network."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
from core.file_server import Manners, serving
from core.hostile_bundles import METADATA, state_dict_bytes, write_bundle
from core.job_testing import CORE
from meddl.errors import DownloadError, JobCancelled, ModelError
from meddl.models import (
    Catalog,
    ModelBundle,
    TrustStore,
    cache_dir,
    definitions_dir,
    network_settings,
    package_source,
    resolve_model,
)
from meddl.models.catalog_entry import parse_entry
from meddl.models.catalog_files import read_catalog

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A catalog with one model, whose package lies in the folder ``packages``; there is no network."""
    monkeypatch.setenv("MEDDL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MEDDL_MODELS_DIR", str(tmp_path / "definitions"))
    for name in ("MEDDL_PACKAGE_DIR", "MEDDL_CATALOGS", "MEDDL_MIRROR"):
        monkeypatch.delenv(name, raising=False)
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


GOOD: dict[str, Any] = {"id": "net", "name": "Net", "task": "detection", "license": "MIT"}
FILE = {"url": "https://example.org/net.zip", "sha256": "0" * 64, "size": 5}
PACKAGE = {"requirement": "net==1", "sha256": "0" * 64, "members": {"a": "models/a.pt"}}


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({}, ""),
        (
            {"source": None, "files": {"models/a.pt": "a" * 64}, "keywords": ["x"], "homepage": "https://example.org"},
            "",
        ),
        ({"source": FILE, "size_mb": 3.5, "version": "1.0", "digest": "b" * 64}, ""),
        ({"source": {**FILE, "url": "net.zip"}}, ""),
        ({"source": {**FILE, "url": "http://127.0.0.1:80/net.zip"}}, ""),
        ({"source": {**FILE, "file": "models/model.pt"}}, ""),
        ({"source": {**FILE, "members": {"net.pt": "models/model.pt"}}}, ""),
        ({"source": PACKAGE}, ""),
        ({"id": "Net"}, "id"),
        ({"id": None}, "id"),
        ({"name": ""}, "name"),
        ({"name": 5}, "name"),
        ({"task": "cooking"}, "task"),
        ({"license": " "}, "license"),
        ({"organs": "brain"}, "organs"),
        ({"organ": ["brain"]}, "organ"),
        ({"keywords": "brain"}, "keywords"),
        ({"homepage": "javascript:alert(1)"}, "homepage"),
        ({"size_mb": -1}, "size_mb"),
        ({"size_mb": True}, "size_mb"),
        ({"digest": "short"}, "digest"),
        ({"files": {"../evil": "a" * 64}}, "files"),
        ({"files": {"/evil": "a" * 64}}, "files"),
        ({"files": {"models/a.pt": "A" * 64}}, "files.models/a.pt"),
        ({"files": []}, "files"),
        ({"source": "https://example.org"}, "source"),
        ({"source": {}}, "source"),
        ({"source": {**FILE, "url": "http://example.org/net.zip"}}, "source.url"),
        ({"source": {**FILE, "url": "https://me:secret@example.org/net.zip"}}, "source.url"),
        ({"source": {**FILE, "url": "file:///etc/passwd"}}, "source.url"),
        ({"source": {**FILE, "url": "../net.zip"}}, "source.url"),
        ({"source": {**FILE, "url": "/net.zip"}}, "source.url"),
        ({"source": {**FILE, "sha256": 0}}, "source.sha256"),
        ({"source": {**FILE, "size": 0}}, "source.size"),
        ({"source": {**FILE, "size": 1.5}}, "source.size"),
        ({"source": {**FILE, "size": "5"}}, "source.size"),
        ({"source": {**FILE, "file": "../x"}}, "source.file"),
        ({"source": {**FILE, "file": "x", "members": {"a": "b"}}}, "source.file"),
        ({"source": {**FILE, "members": {"a": "../b"}}}, "source.members"),
        ({"source": {**FILE, "mirror": "x"}}, "source.mirror"),
        ({"source": {**PACKAGE, "requirement": "net>=1"}}, "source.requirement"),
        ({"source": {**PACKAGE, "members": {}}}, "source.members"),
    ],
)
def test_schema_and_reader_agree_and_the_field_is_named(values: dict[str, Any], field: str) -> None:
    import jsonschema

    row = {key: value for key, value in {**GOOD, **values}.items() if value is not None or key == "source"}
    schema = json.loads((REPOSITORY / "Resources" / "Models" / "catalog.schema.json").read_text())
    fits = jsonschema.Draft202012Validator(schema).is_valid({"version": 1, "models": [row]})
    assert fits == (field == "")
    if fits:
        assert parse_entry(row, "catalog").id == "net"
        return
    with pytest.raises(ModelError) as caught:
        parse_entry(row, "catalog")
    assert f"'{field}" in caught.value.message or f"{field} should" in caught.value.message, caught.value.message


def test_the_guides_catalog_can_be_read(tmp_path: Path) -> None:
    guide = (REPOSITORY / "Docs" / "MedDLSetup.md").read_text()
    (tmp_path / "catalog.json").write_text(guide.partition("```json\n")[2].partition("```")[0])
    assert [entry.id for entry in read_catalog(tmp_path / "catalog.json")] == ["liver_ct"]


def test_the_catalog_of_the_repository_fits_its_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    import jsonschema

    monkeypatch.delenv("MEDDL_MODELS_DIR", raising=False)
    assert definitions_dir() == REPOSITORY / "Resources" / "Models"
    catalog = json.loads((definitions_dir() / "catalog.json").read_text())
    schema = json.loads((definitions_dir() / "catalog.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(catalog)
    for entry in Catalog.default().entries():
        assert entry.definition == definitions_dir() / entry.id, entry.id
        metadata = json.loads((entry.definition / "configs" / "metadata.json").read_text())
        assert metadata["name"] == entry.name and metadata["license"] == entry.license
        assert entry.organ and entry.modality and entry.description
        if entry.source is not None:
            assert set(entry.source.members.values()) == set(entry.files)
        else:
            assert entry.installed and Catalog.default().verify(entry.id) == ()
            assert not ModelBundle.open(entry.path).check().needs_trust, "what comes with MedDL runs without trust"


@pytest.mark.parametrize(
    ("text", "more", "found"),
    [
        ("", {}, "abcd"),
        ("brain", {}, "ac"),
        ("SEGMENTATION brain", {}, "a"),
        ("mri", {}, "a"),
        ("ct", {}, "bd"),
        ("cancer", {}, "b"),
        ("x-ray", {}, "c"),
        ("xray", {}, "c"),
        ("brain lung", {}, ""),
        ("", {"organ": "brain"}, "ac"),
        ("", {"organ": "Lung", "modality": "ct"}, "b"),
        ("", {"modality": "MRI"}, "a"),
        ("", {"task": "detection"}, "bd"),
        ("extraction", {"task": "segmentation"}, "a"),
    ],
)
def test_searching_finds_all_words(shop: Path, text: str, more: dict[str, str], found: str) -> None:
    facts = [
        ("a", "Brain extraction", "segmentation", "brain", "MR (T1-weighted)", []),
        ("b", "Nodules", "detection", "lung", "CT", ["cancer"]),
        ("c", "Views", "classification", "brain, skull", "X-ray", []),
        ("d", "Vertebrae", "detection", "spine", "CT", []),
    ]
    rows = [
        {
            "id": id,
            "name": name,
            "task": task,
            "organ": organ,
            "modality": modality,
            "keywords": keywords,
            "license": "MIT",
        }
        for id, name, task, organ, modality, keywords in facts
    ]
    (shop / "definitions" / "catalog.json").write_text(json.dumps({"version": 1, "models": rows}))
    assert "".join(entry.id for entry in Catalog.default().search(text, **more)) == found


def own_catalog(folder: Path, entry: dict[str, Any], name: str = "St. Elsewhere") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "catalog.json").write_text(json.dumps({"version": 1, "name": name, "models": [entry]}))
    return folder


def zipped_bundle(place: Path, folder: Path) -> dict[str, Any]:
    """Zip the bundle ``folder`` into the file ``place`` and return what a catalog says of it."""
    with zipfile.ZipFile(place, "w") as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            archive.write(path, path.relative_to(folder).as_posix())
    return {"url": place.name, "sha256": _sha256(place.read_bytes()), "size": place.stat().st_size}


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
    source: dict[str, Any] = {"sha256": _sha256(data), "size": len(data)}
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


def bundle_digest(folder: Path) -> str:
    return ModelBundle.open(folder).digest


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


def test_a_failed_move_puts_everything_back(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = Catalog.default()
    catalog.add("organ", place=shop / "packages")
    write_bundle(shop / "definitions" / "organ", metadata={**METADATA, "version": "0.2.0"}, weights=False)
    rename = Path.replace

    def fail(self: Path, target: Any) -> Any:
        if self.suffix == ".part" and self.parent.name.startswith(".new-"):
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(ModelError, match="No space"):
        catalog.add("organ")
    monkeypatch.undo()
    monkeypatch.setenv("MEDDL_CACHE", str(shop / "cache"))
    monkeypatch.setenv("MEDDL_MODELS_DIR", str(shop / "definitions"))
    assert Catalog.default().open("organ").version != "0.2.0"
    assert "another version" in Catalog.default().verify("organ")[0]


PROGRAM = "from meddl.models import Catalog; print(Catalog.default().add('net').digest)"


def test_two_processes_add_a_model_once(shop: Path) -> None:
    source = zipped_bundle(shop / "x.zip", write_bundle(shop / "whole"))
    manners = Manners((shop / "x.zip").read_bytes(), pause_s=0.3)
    with serving(manners) as url:
        write_catalog(shop, {**GOOD, "source": {**source, "url": url}})
        environment = {**os.environ, "PYTHONPATH": str(CORE), "NO_PROXY": "*"}
        processes = [
            subprocess.Popen([sys.executable, "-c", PROGRAM], env=environment, stdout=subprocess.PIPE, text=True)
            for _ in range(2)
        ]
        outputs = {process.communicate(timeout=90)[0].strip() for process in processes}
    assert [process.returncode for process in processes] == [0, 0]
    assert outputs == {bundle_digest(shop / "whole")} and manners.sent == source["size"]
    assert sorted(path.name for path in (cache_dir() / "models").iterdir()) == ["net", "net.json"]


def test_a_killed_addition_goes_on_and_leaves_nothing(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    data = random.Random(3).randbytes(600_000)
    facts = {**GOOD, "id": "organ", "files": {"models/model.bin": _sha256(data)}}
    manners = Manners(data, pause_s=0.2)
    program = PROGRAM.replace("net", "organ")
    with serving(manners) as url:
        source = {"url": url, "sha256": _sha256(data), "size": len(data), "file": "models/model.bin"}
        write_bundle(shop / "definitions" / "organ", metadata={**METADATA, "name": "Organ"})
        write_catalog(shop, {**facts, "source": source})
        process = subprocess.Popen([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": str(CORE)})
        while manners.sent < 200_000 and process.poll() is None:
            time.sleep(0.02)
        process.kill()
        process.wait()
        assert [path.name[:11] for path in (cache_dir() / "models").iterdir()] == [".new-organ-"]
        manners.pause_s = 0
        Catalog.default().add("organ")
    assert manners.requests[-1]["Range"].startswith("bytes=")
    assert sorted(path.name for path in (cache_dir() / "models").iterdir()) == ["organ", "organ.json"]


RECORD = """
import sys
from pathlib import Path
from meddl.models import ModelBundle, TrustStore
for folder in sys.argv[1:]:
    TrustStore().record(ModelBundle.open(folder), origin="test")
"""


def test_of_two_consents_at_once_none_is_lost(shop: Path) -> None:
    folders = [
        str(write_bundle(shop / f"m{number}", metadata={**METADATA, "name": f"M{number}"})) for number in range(20)
    ]
    environment = {**os.environ, "PYTHONPATH": str(CORE)}
    processes = [
        subprocess.Popen([sys.executable, "-c", RECORD, *folders[start::2]], env=environment) for start in (0, 1)
    ]
    assert [process.wait(60) for process in processes] == [0, 0]
    assert len(TrustStore().entries()) == 20
