"""`meddl models` as a user types it: searching, adding from a place, packs, proxy and mirrors."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from core.hostile_bundles import METADATA, write_bundle
from meddl.cli import main
from meddl.models import network_settings


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A computer with a catalog of two models that are there, and a model of one's own."""
    facts = [
        ("liver", "Liver", "segmentation", "liver", "CT"),
        ("views", "Views", "classification", "lung", "X-ray"),
    ]
    names = ("id", "name", "task", "organ", "modality")
    rows = [{**dict(zip(names, row, strict=True)), "license": "MIT"} for row in facts]
    for row in rows:
        write_bundle(tmp_path / "meddl" / row["id"], metadata={**METADATA, "name": row["name"]})
    (tmp_path / "meddl" / "catalog.json").write_text(json.dumps({"version": 1, "models": rows}))
    write_bundle(tmp_path / "mine", metadata={**METADATA, "name": "Mine"})
    monkeypatch.setenv("MEDDL_MODELS_DIR", str(tmp_path / "meddl"))
    monkeypatch.setenv("MEDDL_CACHE", str(tmp_path / "cache"))
    for name in ("MEDDL_CATALOGS", "MEDDL_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main(["models", *(str(argument) for argument in arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def run_json(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    code, out, err = run(capsys, *arguments, "--json")
    assert (code, err) == (0, "")
    return json.loads(out)


def test_list_searches(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert [row["id"] for row in run_json(capsys, "list")] == ["liver", "views"]
    assert [row["id"] for row in run_json(capsys, "list", "--modality", "xray")] == ["views"]
    assert [row["id"] for row in run_json(capsys, "list", "liver", "ct", "--task", "segmentation")] == ["liver"]
    code, out, _ = run(capsys, "list", "--organ", "spleen")
    assert code == 0 and "No model fits" in out
    _, out, _ = run(capsys, "list", "liver")
    assert out == f"{'liver':24} Liver: segmentation, liver, CT; MIT; installed\n"


def test_an_own_model_is_added_packed_removed_and_unpacked(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "add", "mine", "--from", home / "mine")[0] == 0
    assert "added by you" in run(capsys, "list", "mine")[1]
    written = run_json(capsys, "pack", "mine", "--output", home / "out" / "one")
    assert (
        Path(written["file"]) == home / "out" / "one.meddlpack"
        and Path(written["file"]).stat().st_size == written["bytes"]
    )
    assert run(capsys, "remove", "mine")[1] == "Mine was removed from this computer.\n"
    done = run_json(capsys, "unpack", written["file"], "--sha256", written["sha256"])
    assert [(model["id"], model["new"]) for model in done["models"]] == [("mine", True)]
    assert "was there already" in run(capsys, "unpack", written["file"])[1]
    assert run(capsys, "verify", "mine")[0] == 0
    code, _, err = run(capsys, "unpack", written["file"], "--sha256", "0" * 64)
    assert code == 1 and "SHA-256 differs" in err


def test_an_entry_for_a_catalog_of_ones_own_is_printed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    share = home / "share"
    share.mkdir()
    archive = Path(shutil.make_archive(str(share / "Spleen CT v1"), "zip", home / "mine"))
    archive = archive.rename(share / "spleen-ct.zip")
    row = run_json(capsys, "entry", archive, "--organ", "spleen")
    assert (row["id"], row["source"]["url"], row["name"]) == ("spleen_ct", "spleen-ct.zip", "Mine")
    (share / "catalog.json").write_text(json.dumps({"version": 1, "models": [row]}))
    run(capsys, "network", "--catalog", share)
    assert run(capsys, "add", "spleen_ct")[0] == 0 and run(capsys, "verify", "spleen_ct")[0] == 0
    assert [found["origin"] for found in run_json(capsys, "list", "spleen")] == ['catalog "share"']


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["remove", "liver"], 1, "comes with MedDL"),
        (["pack", "liver", "--output", "x.meddlpack"], 1, "comes with MedDL"),
        (["pack", "other", "--output", "x.meddlpack"], 1, "no model"),
        (["unpack", "missing.meddlpack"], 2, "no file"),
        (["add", "other", "--from", "missing"], 1, "no model"),
        (["add", "other"], 1, "no model"),
        (["entry", "missing.zip"], 2, "no file"),
        (["network", "--proxy", "ftp://x"], 2, "proxy"),
        (["network", "--mirror", "nonsense"], 2, "FROM=TO"),
    ],
)
def test_errors_are_a_sentence(
    home: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, says: str
) -> None:
    found, out, err = run(capsys, *arguments)
    assert (found, out) == (code, "") and says in err and err.count("\n") == 1


def test_network_settings_are_shown_and_changed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "environment" in run(capsys, "network")[1]
    run(capsys, "network", "--proxy", "http://me:secret@proxy:3128", "--mirror", "https://a.org=/mnt/a")
    _, out, _ = run(capsys, "network", "--catalog", home / "share", "--mirror", "https://b.org=https://m/b")
    assert "secret" not in out and "https://b.org is fetched from https://m/b" in out and "problem" in out
    facts = run_json(
        capsys, "network", "--mirror", "https://a.org=", "--forget-catalog", home / "share", "--proxy", "system"
    )
    assert facts == {"proxy": "", "mirrors": {"https://b.org": "https://m/b"}, "catalogs": [], "problems": []}
    assert network_settings.stored_settings().mirrors == {"https://b.org": "https://m/b"}
