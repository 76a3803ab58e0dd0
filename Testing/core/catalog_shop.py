"""A catalog with one model and its package, made here, for tests that add models without a network."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from core.hostile_bundles import METADATA, state_dict_bytes, write_bundle
from meddl.errors import DownloadError
from meddl.models import (
    ModelBundle,
    package_source,
)


def open_shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a catalog with one model, whose package lies in the folder ``packages``; there is no network."""
    monkeypatch.setenv("MEDDL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MEDDL_MODELS_DIR", str(tmp_path / "definitions"))
    for name in ("MEDDL_PACKAGE_DIR", "MEDDL_CATALOGS", "MEDDL_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(package_source, "_run_pip", no_network)
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
            "requirement": "organ-weights==1.0", "sha256": sha256(wheel.read_bytes()),
            "members": {"data/net.pt": "models/model.pt"},
        },
        "files": {"models/model.pt": sha256(state_dict_bytes())},
    }  # fmt: skip
    write_catalog(tmp_path, entry)
    return tmp_path


def write_catalog(home: Path, entry: dict[str, Any]) -> None:
    (home / "definitions" / "catalog.json").write_text(json.dumps({"version": 1, "models": [entry]}))


def change_entry(home: Path, **values: Any) -> None:
    entry = json.loads((home / "definitions" / "catalog.json").read_text())["models"][0]
    write_catalog(home, {**entry, **values})


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def no_network(*arguments: Any) -> None:
    raise DownloadError("There is no network.")


GOOD: dict[str, Any] = {"id": "net", "name": "Net", "task": "detection", "license": "MIT"}
FILE = {"url": "https://example.org/net.zip", "sha256": "0" * 64, "size": 5}
PACKAGE = {"requirement": "net==1", "sha256": "0" * 64, "members": {"a": "models/a.pt"}}


def own_catalog(folder: Path, entry: dict[str, Any], name: str = "St. Elsewhere") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "catalog.json").write_text(json.dumps({"version": 1, "name": name, "models": [entry]}))
    return folder


def zipped_bundle(place: Path, folder: Path) -> dict[str, Any]:
    """Zip the bundle ``folder`` into the file ``place`` and return what a catalog says of it."""
    with zipfile.ZipFile(place, "w") as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            archive.write(path, path.relative_to(folder).as_posix())
    return {"url": place.name, "sha256": sha256(place.read_bytes()), "size": place.stat().st_size}


def bundle_digest(folder: Path) -> str:
    return ModelBundle.open(folder).digest
