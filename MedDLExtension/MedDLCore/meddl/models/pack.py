"""Models in one file, for computers without a network: written and verified, with the SHA-256 of all that is in it.

A pack is a zip archive with ``manifest.json`` and each model's files below ``models/<id>/``. It carries no trust: what
is unpacked is trusted only if MedDL's own catalog knows the same bytes, or when the user agrees to it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import meddl
from meddl.errors import JobCancelled, ModelError
from meddl.models import content
from meddl.models.archive import extract_zip, safe_member
from meddl.models.catalog import Catalog
from meddl.models.catalog_entry import CatalogEntry, parse_entry
from meddl.models.config_files import MAX_JSON_BYTES, read_config
from meddl.models.installed import Arrival
from meddl.models.supply import Supply

Progress = Callable[[float, str], None]
Cancelled = Callable[[], bool]

FORMAT, VERSION = "meddl pack", 1
SUFFIX = ".meddlpack"
_MANIFEST = "manifest.json"
_CHUNK = 1 << 20
_TIME = (1980, 1, 1, 0, 0, 0)
"""The same models give the same bytes, whenever they are packed."""


@dataclass(frozen=True)
class PackedModel:
    """One model of a pack; ``new`` tells whether unpacking it has changed anything."""

    id: str
    name: str
    version: str
    license: str
    new: bool = True


def is_pack(path: Path) -> bool:
    """Tell whether a file looks like a pack."""
    with contextlib.suppress(OSError, zipfile.BadZipFile, ModelError):
        with zipfile.ZipFile(path) as zipped:
            _read_manifest(zipped, path.name)
        return True
    return False


def write_pack(
    catalog: Catalog,
    ids: Sequence[str],
    output: Path,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> str:
    """Write installed models into the file ``output``, read it back, and return its SHA-256.

    Args:
        catalog: knows the models.
        ids: which ones.
        output: appears when it is whole; an old file of that name is replaced.
        progress: called with a fraction (0 to 1) and one line of text.
        cancelled: asked often.

    Raises:
        ModelError: a model is not installed, not whole, or comes with MedDL anyway; or no space.
        JobCancelled: on request.
    """
    work = _Work(progress, cancelled)
    entries = [_packable(catalog, id) for id in dict.fromkeys(ids)]
    if not entries:
        raise ModelError("A pack needs at least one model.")
    rows = [_manifest_row(entry, folder, work) for entry, folder in entries]
    work.total = 2 * sum(fact["size"] for row in rows for fact in row["files"].values())
    manifest = {"format": FORMAT, "version": VERSION, "meddl": meddl.__version__, "models": rows}
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(output.parent).free < work.total // 2 + (16 << 20):
            raise ModelError(f"There is not enough free disk space for the pack ({work.total // 2 >> 20} MB).")
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.stem}-") as scratch:
            part = Path(scratch) / "pack"
            with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as zipped:
                zipped.writestr(zipfile.ZipInfo(_MANIFEST, _TIME), json.dumps(manifest, indent=1, sort_keys=True))
                for (_, folder), row in zip(entries, rows, strict=True):
                    for name in row["files"]:
                        work.tell(f"Writing {row['name']}")
                        _write_member(zipped, folder / name, f"models/{row['id']}/{name}", work)
            _verify_archive(part, manifest, work)
            sha256 = content.file_sha256(part)
            part.replace(output)
    except OSError as error:
        raise ModelError(f"The pack could not be written: {error.strerror}.") from error
    work.say(1.0, "The pack is written and verified")
    return sha256


def unpack(
    catalog: Catalog,
    file: Path,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
    sha256: str = "",
    replace: bool = False,
) -> tuple[PackedModel, ...]:
    """Install all models of a pack, or none.

    Every file is compared with the pack's manifest, and those of models that a catalog of this computer knows with that
    catalog, before anything is moved.

    Args:
        catalog: where to.
        file: the pack.
        progress: called with a fraction (0 to 1) and one line of text.
        cancelled: asked between steps.
        sha256: of the pack, when the sender has told it.
        replace: also put a model in the place of another one of its name that no catalog here knows.

    Raises:
        ModelError: it is not a pack, damaged, or holds what it should not.
        DownloadError: a model in it is not the one that a catalog here knows by its name.
        JobCancelled: on request.
    """
    work = _Work(progress, cancelled)
    try:
        if sha256 and content.file_sha256(file) != sha256.strip().lower():
            raise ModelError(f"{file.name} is not the pack it should be: its SHA-256 differs from the one you gave.")
        with zipfile.ZipFile(file) as zipped:
            manifest = _read_manifest(zipped, file.name)
    except OSError as error:
        raise ModelError(f"{file.name} cannot be read: {error.strerror}.") from error
    except zipfile.BadZipFile as error:
        raise ModelError(f"{file.name} is not a pack of models, or is damaged.") from error
    ids = [row["id"] for row in manifest["models"]]
    with catalog.installed.changing(ids, work.cancelled, lambda: work.say(0.0, "Waiting for another MedDL")) as scratch:
        work.say(0.1, f"Unpacking {file.name}")
        folder = scratch / "pack"
        extract_zip(file, folder)
        if read_config(folder / _MANIFEST, _MANIFEST) != manifest:
            raise ModelError(f"{file.name} is being changed. Try again in a moment.")
        work.raise_if_cancelled()
        work.say(0.5, "Comparing every file")
        _compare(folder, manifest, file.name)
        arrivals: list[Arrival] = []
        done = []
        for row in manifest["models"]:
            work.raise_if_cancelled()
            arrival = _arrival(catalog, row, folder / "models" / row["id"], scratch, work, replace)
            done.append(PackedModel(row["id"], row["name"], row["version"], row["license"], arrival is not None))
            arrivals += [arrival] if arrival is not None else []
        catalog.welcome(arrivals, scratch)
    work.say(1.0, "All models of the pack are ready")
    return tuple(done)


class _Work:
    """Progress by bytes, and cancelling."""

    def __init__(self, progress: Progress | None, cancelled: Cancelled | None) -> None:
        self.say = progress or (lambda fraction, text: None)
        self.cancelled = cancelled or (lambda: False)
        self.total = self.done = 0

    def tell(self, text: str) -> None:
        self.raise_if_cancelled()
        self.say(min(0.99, self.done / max(1, self.total)), text)

    def raise_if_cancelled(self) -> None:
        if self.cancelled():
            raise JobCancelled("The pack was cancelled.")


def _packable(catalog: Catalog, id: str) -> tuple[CatalogEntry, Path]:
    entry = catalog.find(id)
    if entry.in_place and entry.built_in:
        raise ModelError(f"{entry.name} comes with MedDL itself and is on every computer that has it. Leave it out.")
    problems = catalog.verify(id)
    if problems or entry.path is None:
        raise ModelError(f"{entry.name} cannot be packed. {' '.join(problems)}")
    return entry, entry.path


def _manifest_row(entry: CatalogEntry, folder: Path, work: _Work) -> dict[str, Any]:
    from meddl.models.bundle import ModelBundle

    bundle = ModelBundle.open(folder)
    files = {}
    for name in bundle.files:
        work.raise_if_cancelled()
        safe_member(name)
        files[name] = {"sha256": content.file_sha256(folder / name), "size": (folder / name).stat().st_size}
    return {
        "id": entry.id,
        "name": entry.name,
        "version": bundle.version,
        "license": entry.license,
        "digest": bundle.digest,
        "entry": entry.to_dict(),
        "files": files,
    }


def _write_member(zipped: zipfile.ZipFile, path: Path, name: str, work: _Work) -> None:
    with path.open("rb") as source, zipped.open(zipfile.ZipInfo(name, _TIME), "w", force_zip64=True) as sink:
        while chunk := source.read(_CHUNK):
            work.raise_if_cancelled()
            sink.write(chunk)
            work.done += len(chunk)


def _verify_archive(path: Path, manifest: dict[str, Any], work: _Work) -> None:
    """Read back what was written: a full or failing disk is found now, and not at the other computer."""
    with zipfile.ZipFile(path) as zipped:
        for row in manifest["models"]:
            for name, fact in row["files"].items():
                work.tell(f"Verifying {row['name']}")
                found = hashlib.sha256()
                with zipped.open(f"models/{row['id']}/{name}") as member:
                    while chunk := member.read(_CHUNK):
                        work.raise_if_cancelled()
                        found.update(chunk)
                        work.done += len(chunk)
                if found.hexdigest() != fact["sha256"]:
                    raise ModelError(f"The pack was not written right: '{name}' of {row['name']} changed. Try again.")


def _read_manifest(zipped: zipfile.ZipFile, shown: str) -> dict[str, Any]:
    try:
        info = zipped.getinfo(_MANIFEST)
    except KeyError:
        raise ModelError(f"{shown} is not a pack of models: it has no {_MANIFEST}.") from None
    if info.file_size > MAX_JSON_BYTES:
        raise ModelError(f"{shown} is not a pack of models: its {_MANIFEST} is too large.")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / _MANIFEST
        try:
            with zipped.open(info) as member:
                path.write_bytes(member.read(MAX_JSON_BYTES + 1))
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, ValueError) as error:
            raise ModelError(f"{shown} is damaged.", str(error)) from error
        manifest = read_config(path, _MANIFEST)
    if manifest.get("format") != FORMAT:
        raise ModelError(f"{shown} is not a pack of models.")
    if manifest.get("version") != VERSION:
        raise ModelError(f"{shown} was made by a newer MedDL. Update this one.")
    _check_manifest(manifest, shown)
    return manifest


def _check_manifest(manifest: dict[str, Any], shown: str) -> None:
    rows = manifest.get("models")
    if not isinstance(rows, list) or not rows:
        raise ModelError(f"The pack {shown} lists no models.")
    seen = set()
    for number, row in enumerate(rows):
        try:
            entry = parse_entry(row["entry"], f"{shown}: models[{number}]")
            texts = [row[name] for name in ("id", "name", "version", "license", "digest")]
            if not all(isinstance(text, str) and text.isprintable() for text in texts):
                raise TypeError("not text")
            good = entry.id == row["id"] and entry.id not in seen and bool(row["files"])
            good = good and all(isinstance(fact["sha256"], str) for fact in row["files"].values())
        except (KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"The list of models in the pack {shown} cannot be understood.", repr(error)) from error
        if not good:
            raise ModelError(f"The list of models in the pack {shown} contradicts itself.")
        seen.add(entry.id)


def _compare(folder: Path, manifest: dict[str, Any], shown: str) -> None:
    """Hold every file against the manifest: none more, none less, none other."""
    expected = {
        f"models/{row['id']}/{name}": fact["sha256"]
        for row in manifest["models"]
        for name, fact in row["files"].items()
    }
    found = set(content.list_files(folder)) - {_MANIFEST}
    for name in sorted(found - set(expected)):
        raise ModelError(f"The pack {shown} was refused: it holds {name[:200]!a}, which it does not list.")
    for name in sorted(set(expected) - found):
        raise ModelError(f"The pack {shown} is damaged: {name[:200]!a} is missing.")
    for name, sha256 in expected.items():
        if content.file_sha256(folder / name) != sha256:
            raise ModelError(f"The pack {shown} is damaged: the SHA-256 of {name[:200]!a} is not the listed one.")


def _arrival(
    catalog: Catalog, row: dict[str, Any], folder: Path, scratch: Path, work: _Work, replace: bool
) -> Arrival | None:
    """Return what to install for one model of the pack; None when the same is there already."""
    known = next((entry for entry in catalog.entries() if entry.id == row["id"]), None)
    made = scratch / "made" / row["id"]
    if known is not None and known.in_place:
        raise ModelError(f"The pack holds {known.name}, which is on this computer already and not replaced.")
    if known is not None and known.catalog_folder is not None:
        supply = Supply(known, made, scratch, work.say, work.cancelled)
        supply.take(folder)
        supply.check()
        arrival = catalog.arrival(known, made)
    else:
        arrival = catalog.arrival(parse_entry(row["entry"], "manifest.json"), folder)
        if arrival.record["digest"] != row["digest"]:
            raise ModelError(f"The pack's files of {row['name']} are not those it lists.")
    there = catalog.installed.record(row["id"])
    if there.get("digest") == arrival.record["digest"] and known is not None and not catalog.verify(row["id"]):
        return None
    # A catalog vouches for what replaces its own models; nobody does for others.
    vouched = known is not None and known.catalog_folder is not None
    if there.get("digest") not in (None, arrival.record["digest"]) and not vouched and not replace:
        raise ModelError(
            f"Another model named {row['id']} is on this computer already. Remove it first, or unpack on the command "
            "line with --replace if the pack's is to take its place."
        )
    return arrival
