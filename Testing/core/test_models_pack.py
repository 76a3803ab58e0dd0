"""Packs: written, verified, unpacked on another computer, and refused when anything about them is wrong."""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from core.hostile_bundles import METADATA, state_dict_bytes, write_bundle
from meddl.errors import DownloadError, JobCancelled, MedDLError, ModelError
from meddl.models import Catalog, TrustStore, cache_dir, pack, resolve_model


@pytest.fixture
def computer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Catalog]:
    """Returns the catalog of a computer of some name, with a cache of its own; all have the same MedDL."""
    write_bundle(tmp_path / "meddl" / "organ", metadata={**METADATA, "name": "Organ"}, weights=False)
    write_bundle(tmp_path / "meddl" / "small", metadata={**METADATA, "name": "Small"})
    with zipfile.ZipFile(tmp_path / "meddl" / "weights.zip", "w") as zipped:
        zipped.writestr("net.pt", state_dict_bytes())
    data = (tmp_path / "meddl" / "weights.zip").read_bytes()
    facts = {"task": "segmentation", "license": "MIT"}
    source = {
        "url": "weights.zip", "sha256": _sha256(data), "size": len(data), "members": {"net.pt": "models/model.pt"},
    }  # fmt: skip
    rows = [
        {
            **facts,
            "id": "organ",
            "name": "Organ",
            "source": source,
            "files": {"models/model.pt": _sha256(state_dict_bytes())},
        },
        {**facts, "id": "small", "name": "Small", "source": None},
    ]
    (tmp_path / "meddl" / "catalog.json").write_text(json.dumps({"version": 1, "models": rows}))
    monkeypatch.setenv("MEDDL_MODELS_DIR", str(tmp_path / "meddl"))
    for name in ("MEDDL_CATALOGS", "MEDDL_MIRROR", "MEDDL_PACKAGE_DIR"):
        monkeypatch.delenv(name, raising=False)

    def switch_on(name: str) -> Catalog:
        monkeypatch.setenv("MEDDL_CACHE", str(tmp_path / name))
        return Catalog.default()

    return switch_on


@pytest.fixture
def packed(computer: Callable[[str], Catalog], tmp_path: Path) -> Path:
    """A pack with a model of the catalog and one of the user's own."""
    catalog = computer("sender")
    catalog.add("organ")
    catalog.add("mine", place=write_bundle(tmp_path / "my model", metadata={**METADATA, "name": "Mine"}))
    pack.write_pack(catalog, ["organ", "mine"], tmp_path / "two.meddlpack")
    return tmp_path / "two.meddlpack"


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as zipped:
        return {name: zipped.read(name) for name in zipped.namelist()}


def rewrite(path: Path, content: dict[str, bytes]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(path, "w") as zipped:
            for name, data in content.items():
                zipped.writestr(name, data)


def with_file(content: dict[str, bytes], name: str, data: bytes, model: int = 1) -> dict[str, bytes]:
    """Return the pack's content with a file of a model changed, and listed as it is now."""
    manifest = json.loads(content["manifest.json"])
    row = manifest["models"][model]
    row["files"][name] = {"sha256": _sha256(data), "size": len(data)}
    return {**content, "manifest.json": json.dumps(manifest).encode(), f"models/{row['id']}/{name}": data}


def test_a_pack_brings_models_to_another_computer(packed: Path, computer: Callable[[str], Catalog]) -> None:
    digests = {id: resolve_model(id).digest for id in ("organ", "mine")}
    catalog = computer("receiver")
    said: list[float] = []
    done = pack.unpack(catalog, packed, progress=lambda fraction, text: said.append(fraction))
    assert [(model.id, model.new) for model in done] == [("organ", True), ("mine", True)]
    assert {id: resolve_model(id).digest for id in digests} == digests and said == sorted(said)
    assert catalog.verify("organ") == () == catalog.verify("mine")
    # Only what MedDL's own catalog knows is trusted.
    assert [entry.digest for entry in TrustStore().entries()] == [digests["organ"]]
    assert catalog.find("mine").origin == "added by you"


def test_unpacking_twice_changes_nothing(packed: Path, computer: Callable[[str], Catalog]) -> None:
    catalog = computer("receiver")
    pack.unpack(catalog, packed)
    times = {path: path.stat().st_mtime_ns for path in (cache_dir() / "models").rglob("*") if path.is_file()}
    assert not any(model.new for model in pack.unpack(catalog, packed))
    assert times == {path: path.stat().st_mtime_ns for path in (cache_dir() / "models").rglob("*") if path.is_file()}


def test_a_pack_repairs_what_is_damaged(packed: Path, computer: Callable[[str], Catalog]) -> None:
    catalog = computer("receiver")
    pack.unpack(catalog, packed)
    (cache_dir() / "models" / "mine" / "configs" / "inference.json").write_text("{}")
    assert [model.new for model in pack.unpack(catalog, packed)] == [False, True]
    assert catalog.verify("mine") == ()


def test_the_same_models_give_the_same_bytes(packed: Path, computer: Callable[[str], Catalog], tmp_path: Path) -> None:
    sha256 = pack.write_pack(Catalog.default(), ["organ", "mine"], tmp_path / "again.meddlpack")
    assert sha256 == _sha256(packed.read_bytes())
    catalog = computer("receiver")
    pack.unpack(catalog, packed, sha256=sha256.upper())
    with pytest.raises(ModelError, match="SHA-256 differs"):
        pack.unpack(catalog, packed, sha256="0" * 64)


def test_a_model_is_taken_out_of_a_pack_by_name(packed: Path, computer: Callable[[str], Catalog]) -> None:
    catalog = computer("receiver")
    assert catalog.add("organ", place=packed).name == "Organ" and not catalog.installed.path("mine")
    with pytest.raises(ModelError, match="unpack"):
        catalog.add("mine", place=packed)


def test_what_cannot_be_packed_is_said(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog, output = Catalog.default(), tmp_path / "out" / "new.meddlpack"
    for id, says in (("small", "comes with MedDL"), ("unknown", "no model"), ("../evil", "no model")):
        with pytest.raises(ModelError, match=says):
            pack.write_pack(catalog, [id], output)
    with pytest.raises(ModelError, match="at least one"):
        pack.write_pack(catalog, [], output)
    with pytest.raises(JobCancelled):
        pack.write_pack(catalog, ["organ"], output, cancelled=lambda: True)
    monkeypatch.setattr("meddl.models.content.file_sha256", lambda path: "0" * 64)
    with pytest.raises(ModelError, match="cannot be packed"):
        pack.write_pack(catalog, ["organ"], output)
    assert not output.parent.exists() or not list(output.parent.iterdir())


def test_a_disk_that_writes_wrong_is_found_out(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = packed.read_bytes()

    def write_wrong(zipped: zipfile.ZipFile, path: Path, name: str, work: Any) -> None:
        zipped.writestr(name, path.read_bytes()[:-1] + b"?")

    monkeypatch.setattr(pack, "_write_member", write_wrong)
    with pytest.raises(ModelError, match="not written right"):
        pack.write_pack(Catalog.default(), ["organ"], packed)
    assert packed.read_bytes() == old and sorted(tmp_path.glob(".*")) == []


def _swap_definition(content: dict[str, bytes]) -> dict[str, bytes]:
    return with_file(content, "configs/inference.json", b'{"network": "$__import__(1)"}', model=0)


def _link(content: dict[str, bytes]) -> dict[str, bytes]:
    return {**content, "LINK": b"/etc/passwd"}


def _manifest(**values: Any) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    return lambda content: {
        **content,
        "manifest.json": json.dumps({**json.loads(content["manifest.json"]), **values}).encode(),
    }


def _row(**values: Any) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    def change(content: dict[str, bytes]) -> dict[str, bytes]:
        manifest = json.loads(content["manifest.json"])
        manifest["models"][1].update(values)
        return {**content, "manifest.json": json.dumps(manifest).encode()}

    return change


WEIGHTS = "models/mine/models/model.pt"
HOSTILE: dict[str, Callable[[dict[str, bytes]], dict[str, bytes]]] = {
    "no manifest": lambda content: {name: data for name, data in content.items() if name != "manifest.json"},
    "manifest is a list": lambda content: {**content, "manifest.json": b"[]"},
    "manifest is no JSON": lambda content: {**content, "manifest.json": b"{"},
    "manifest is a bomb": lambda content: {**content, "manifest.json": b" " * (9 << 20)},
    "manifest is deep": lambda content: {**content, "manifest.json": b"[" * 100_000},
    "another format": _manifest(format="zip"),
    "newer": _manifest(version=2),
    "no models": _manifest(models=[]),
    "models is text": _manifest(models="x"),
    "rows are text": _manifest(models=["x"]),
    "other id inside": _row(id="other"),
    "id leads out": _row(id="../../evil"),
    "entry leads out": _row(entry={"id": "../evil", "name": "x", "task": "detection", "license": "x"}),
    "wrong digest": _row(digest="0" * 64),
    "files is a list": _row(files=[]),
    "name is a number": _row(name=5),
    "a file is missing": lambda content: {k: v for k, v in content.items() if k != WEIGHTS},
    "a file more": lambda content: {**content, "models/mine/scripts/evil.py": b"x"},
    "a file beside": lambda content: {**content, "setup.py": b"x"},
    "a file of no model": lambda content: {**content, "models/other/configs/metadata.json": b"{}"},
    "a changed byte": lambda content: {**content, WEIGHTS: content[WEIGHTS] + b"x"},
    "climbs out": lambda content: {**content, "../evil": b"x"},
    "climbs out, listed": lambda content: with_file(content, "../../../../evil", b"x"),
    "absolute": lambda content: {**content, "/tmp/evil": b"x"},
    "windows": lambda content: {**content, "C:\\evil": b"x"},
    "device": lambda content: {**content, "models/mine/NUL": b"x"},
    "case": lambda content: {**content, "MODELS/mine/models/model.pt": b"x"},
    "a link": _link,
    "not a bundle": lambda content: with_file(content, "configs/metadata.json", b"{}"),
    "weights that are not": lambda content: with_file(content, "models/model.pt", b"x" * 1000, model=0),
}  # fmt: skip


@pytest.mark.parametrize("attack", HOSTILE)
def test_a_hostile_pack_changes_nothing(
    packed: Path, computer: Callable[[str], Catalog], tmp_path: Path, attack: str
) -> None:
    content = HOSTILE[attack](members(packed))
    link = content.pop("LINK", None)
    rewrite(packed, content)
    if link is not None:
        info = zipfile.ZipInfo("models/mine/link")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        with zipfile.ZipFile(packed, "a") as zipped:
            zipped.writestr(info, link)
    catalog = computer("receiver")
    before = sorted(path for path in tmp_path.rglob("*") if "receiver" not in path.parts)
    with pytest.raises((ModelError, DownloadError)) as caught:
        pack.unpack(catalog, packed)
    assert caught.value.message.endswith(".") and "Traceback" not in caught.value.message
    assert not catalog.installed.ids() and TrustStore().entries() == ()
    assert not [path for path in (tmp_path / "receiver").rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert before == sorted(path for path in tmp_path.rglob("*") if "receiver" not in path.parts)


def test_a_pack_cannot_change_the_configs_of_a_known_model(packed: Path, computer: Callable[[str], Catalog]) -> None:
    """The definition is always this computer's own; of the pack only the weights are taken, by their SHA-256."""
    rewrite(packed, _swap_definition(members(packed)))
    catalog = computer("receiver")
    pack.unpack(catalog, packed)
    assert "__import__" not in (cache_dir() / "models" / "organ" / "configs" / "inference.json").read_text()
    assert catalog.verify("organ") == ()


def test_a_pack_cannot_replace_what_comes_with_meddl(packed: Path, computer: Callable[[str], Catalog]) -> None:
    content = {name.replace("/mine/", "/small/"): data for name, data in members(packed).items()}
    manifest = json.loads(content["manifest.json"])
    manifest["models"][1]["id"] = manifest["models"][1]["entry"]["id"] = "small"
    rewrite(packed, {**content, "manifest.json": json.dumps(manifest).encode()})
    catalog = computer("receiver")
    with pytest.raises(ModelError, match="on this computer already"):
        pack.unpack(catalog, packed)
    assert not catalog.installed.ids()


def test_another_model_of_the_same_name_is_replaced_on_request_only(
    packed: Path, computer: Callable[[str], Catalog]
) -> None:
    catalog = computer("receiver")
    pack.unpack(catalog, packed)
    first = catalog.installed.record("mine")["digest"]
    other = computer("another")
    folder = packed.parent / "changed"
    shutil.copytree(packed.parent / "my model", folder)
    (folder / "docs").mkdir(exist_ok=True)
    (folder / "docs" / "README.md").write_text("another one")
    other.add("mine", place=folder)
    changed = packed.with_name("changed.zip")
    pack.write_pack(other, ["mine"], changed)
    catalog = computer("receiver")
    with pytest.raises(ModelError, match=r"Another model named mine .* --replace"):
        pack.unpack(catalog, changed)
    assert catalog.installed.record("mine")["digest"] == first
    pack.unpack(catalog, changed, replace=True)
    assert catalog.installed.record("mine")["digest"] != first


def test_a_bomb_is_refused(packed: Path, computer: Callable[[str], Catalog]) -> None:
    with zipfile.ZipFile(packed, "a", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("models/mine/zeros", bytes(100 << 20))
    with pytest.raises(ModelError, match="bomb"):
        pack.unpack(computer("receiver"), packed)


@pytest.mark.parametrize("cut", [0, 10, 1000, -30])
def test_a_cut_off_pack_is_refused(packed: Path, computer: Callable[[str], Catalog], cut: int) -> None:
    packed.write_bytes(packed.read_bytes()[:cut])
    catalog = computer("receiver")
    with pytest.raises(ModelError):
        pack.unpack(catalog, packed)
    assert not pack.is_pack(packed)


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_pack_is_an_error_in_a_sentence(packed: Path, computer: Callable[[str], Catalog], seed: int) -> None:
    import random

    dice, data = random.Random(seed), bytearray(packed.read_bytes())
    for _ in range(dice.randint(1, 4)):
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    packed.write_bytes(bytes(data))
    catalog = computer("receiver")
    try:
        pack.unpack(catalog, packed)
    except MedDLError as error:
        assert "Traceback" not in error.message
        assert not catalog.installed.ids()
    else:  # the zip format has bytes that mean nothing
        assert catalog.verify("organ") == () == catalog.verify("mine")


def test_all_or_nothing_when_the_disk_is_full(
    packed: Path, computer: Callable[[str], Catalog], monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = computer("receiver")
    rename = Path.rename

    def fail(self: Path, target: Any) -> Path:
        if Path(target).name == "mine":
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(ModelError, match="No space"):
        pack.unpack(catalog, packed)
    assert not catalog.installed.ids() and list((cache_dir() / "models").iterdir()) == []
    assert TrustStore().entries() == ()


def test_cancelling_leaves_nothing(packed: Path, computer: Callable[[str], Catalog]) -> None:
    catalog = computer("receiver")
    for stop_at in range(4):
        answers = iter([False] * stop_at + [True] * 99)
        with pytest.raises(JobCancelled):
            pack.unpack(catalog, packed, cancelled=lambda answers=answers: next(answers))
        assert not catalog.installed.ids() and list((cache_dir() / "models").iterdir()) == []


def test_what_is_no_pack_is_said(tmp_path: Path, computer: Callable[[str], Catalog]) -> None:
    catalog = computer("receiver")
    (tmp_path / "text").write_text("hello")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as zipped:
        zipped.writestr("a", "b")
    for name in ("text", "other.zip", "missing", "meddl"):
        with pytest.raises(ModelError):
            pack.unpack(catalog, tmp_path / name)
        assert not pack.is_pack(tmp_path / name)
