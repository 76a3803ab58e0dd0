"""Looking a strange bundle over costs little, touches nothing outside of it and shows its words as words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from core.hostile_bundles import INFERENCE, METADATA, write_bundle, zip_of
from meddl.cli import main
from meddl.errors import ModelError
from meddl.models import ModelBundle, content

CORE = Path(__file__).resolve().parents[2] / "MedDLExtension" / "MedDLCore"
EVIL = "\x1b]0;pwned\x07\x9b2J\u202e\nSegment9_Name:=x"


@pytest.mark.parametrize("name", ["//evil.example/share/model.pt", "/net/evil.example/a", "models/../../evil.example"])
def test_a_file_elsewhere_is_not_even_asked_for(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking whether a network path is there calls that computer (on Windows with the user's name and password)."""
    asked: list[str] = []
    lstat = os.lstat
    monkeypatch.setattr(os, "lstat", lambda path, **rest: (asked.append(os.fspath(path)), lstat(path, **rest))[1])
    bundle = ModelBundle.open(write_bundle(tmp_path / "b", {"ckpt_path": name}))
    with pytest.raises(ModelError, match="outside its own folder"):
        content.inside(bundle.path, name)
    bundle.check()
    assert not [path for path in asked if "evil.example" in path]


def test_files_within_are_found_by_each_of_their_names(tmp_path: Path) -> None:
    root = write_bundle(tmp_path / "b")
    (tmp_path / "link").symlink_to(root)
    for home in (root, tmp_path / "link"):
        absolute = (home / "models/model.pt", root / "models/model.pt")
        for name in ("models/model.pt", "configs/../models/model.pt", *absolute):
            assert content.inside(home, name) == (root / "models" / "model.pt").resolve()


def test_words_of_a_bundle_steer_no_terminal_and_no_header(tmp_path: Path) -> None:
    metadata: dict[str, Any] = json.loads(json.dumps(METADATA))
    metadata |= {"name": EVIL, "license": EVIL, "description": EVIL, "meddl": {"segments": {"1": {"name": EVIL}}}}
    network = {**INFERENCE["network_def"], "act": EVIL}
    bundle = ModelBundle.open(write_bundle(tmp_path / "b", {"network_def": network}, metadata))
    words = [bundle.name, bundle.license, bundle.description, bundle.segments[0].name]
    with pytest.raises(ModelError) as caught:
        bundle.restricted_config().get("network_def")
    assert all(text.isprintable() and "pwned" in text for text in words)
    assert caught.value.message.isprintable()


def test_words_of_a_bundle_are_no_html(tmp_path: Path) -> None:
    """Qt's labels, tooltips and messages render what looks like it, and a picture may lie on another computer."""
    metadata: dict[str, Any] = json.loads(json.dumps(METADATA))
    metadata |= {"name": "<img src='//evil.example/x.png'>", "description": "nodules < 5 mm, <5 mm; < b>here</b>"}
    bundle = ModelBundle.open(write_bundle(tmp_path / "b", None, metadata))
    assert bundle.name == "\u2039img src='//evil.example/x.png'>"
    assert bundle.description == "nodules < 5 mm, <5 mm; \u2039 b>here\u2039/b>"


def test_checking_a_bundle_steers_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metadata: dict[str, Any] = json.loads(json.dumps(METADATA))
    metadata["network_data_format"]["inputs"]["image"]["modality"] = EVIL
    main(["models", "check", str(write_bundle(tmp_path / "b", None, metadata))])
    told = capsys.readouterr().out
    assert "pwned" in told and told.replace("\n", "").isprintable()
    main(["models", "check", str(tmp_path / "a\x1b[2Jb.zip")])
    (tmp_path / "a\x1b[2Jb.zip").write_bytes(b"x")
    main(["models", "check", str(tmp_path / "a\x1b[2Jb.zip")])
    assert capsys.readouterr().err.replace("\n", "").isprintable()


def test_a_huge_license_is_not_read_whole(tmp_path: Path) -> None:
    root = write_bundle(tmp_path / "b", metadata={key: value for key, value in METADATA.items() if key != "license"})
    with (root / "LICENSE").open("wb") as file:
        file.write(b"\n  MIT\x1b[2J\n")
        file.truncate(64 << 30)
    assert ModelBundle.open(root).license == "MIT [2J"


def test_nothing_is_made_for_the_name_of_the_weights(tmp_path: Path) -> None:
    network = INFERENCE["network_def"]
    root = write_bundle(tmp_path / "b", {"ckpt_path": "@other", "other": network})
    code = (
        "import sys; from meddl.models import ModelBundle\n"
        f"bundle = ModelBundle.open({str(root)!r}); bundle.check(); bundle.weights_path\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(CORE)})
    with pytest.raises(ModelError, match="something to be made"):
        ModelBundle.open(root).restricted_config().text("ckpt_path")
    assert ModelBundle.open(root).restricted_config().text("nothing") is None


def test_an_archive_that_changes_meanwhile_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else another bundle would answer to the first one's SHA-256 from then on."""
    from meddl.models import bundle as module

    monkeypatch.setenv("MEDDL_CACHE", str(tmp_path / "cache"))
    good = zip_of(write_bundle(tmp_path / "good"), tmp_path / "model.zip")
    evil = zip_of(write_bundle(tmp_path / "evil", metadata={**METADATA, "name": "evil"}), tmp_path / "evil.zip")
    extract = module.extract_zip

    def swap(archive: Path, folder: Path) -> None:
        evil.replace(good)
        extract(archive, folder)

    monkeypatch.setattr(module, "extract_zip", swap)
    with pytest.raises(ModelError, match="being changed"):
        ModelBundle.open(good)
    assert list((tmp_path / "cache" / "bundles").iterdir()) == []
