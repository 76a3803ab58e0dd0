"""Adding models and consents when something fails, is killed, or happens twice at once."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from core.catalog_shop import GOOD, bundle_digest, open_shop, sha256, write_catalog, zipped_bundle
from core.file_server import Manners, serving
from core.hostile_bundles import METADATA, write_bundle
from core.job_testing import CORE
from meddl.errors import ModelError
from meddl.models import (
    Catalog,
    TrustStore,
    cache_dir,
)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A catalog with one model, see catalog_shop.py."""
    return open_shop(tmp_path, monkeypatch)


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
    facts = {**GOOD, "id": "organ", "files": {"models/model.bin": sha256(data)}}
    manners = Manners(data, pause_s=0.2)
    program = PROGRAM.replace("net", "organ")
    with serving(manners) as url:
        source = {"url": url, "sha256": sha256(data), "size": len(data), "file": "models/model.bin"}
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
