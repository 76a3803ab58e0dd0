"""What a catalog says of a model: the schema, the reader, the guide and the search agree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from core.catalog_shop import FILE, GOOD, PACKAGE, open_shop
from meddl.errors import ModelError
from meddl.models import (
    Catalog,
    ModelBundle,
    definitions_dir,
)
from meddl.models.catalog_entry import parse_entry
from meddl.models.catalog_files import read_catalog

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A catalog with one model, see catalog_shop.py."""
    return open_shop(tmp_path, monkeypatch)


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
