"""Writing a dataset case by case, so that it is whole whenever the process ends.

A case is written into a folder of its own, moved to its place, and only then recorded in the manifest and listed in the
format's index. Where the process is killed in between, files may lie about that no list names; the next run puts them
right.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from meddl.datasets.case import PreparedCase
from meddl.datasets.formats.known import make_format
from meddl.datasets.kept_secret import forget_secret, kept_secret
from meddl.datasets.manifest import MANIFEST, Manifest, inside, read_manifest, tool_versions
from meddl.datasets.own_places import check_work_folder, own_place
from meddl.datasets.plan import CaseRecord, ExportPlan, PlannedCase
from meddl.errors import UnwritableDataset, UsageError, VolumeError
from meddl.models.file_lock import locked

logger = logging.getLogger(__name__)

WORK = ".meddl"
"""The folder in a dataset that is there while it is being written."""

_BLOCK = 1 << 20


class DatasetWriter:
    """Writes the cases of a plan into a folder; a with-block, in which nobody else writes there.

    Args:
        root: the dataset's folder, made if it is not there. One that holds other things is refused.
        plan: all that shall be in it, cases that are there already included.

    Raises:
        UsageError: the folder holds something else, or another process is writing there.
        UnwritableDataset: it cannot be written to.
    """

    def __init__(self, root: Path, plan: ExportPlan) -> None:
        self.root = Path(root)
        self._format = make_format(plan.options.format)
        self._plan = plan
        self._stack = ExitStack()
        self._manifest = Manifest(plan)

    def __enter__(self) -> DatasetWriter:
        try:
            check_folder(self.root)
            check_work_folder(self.root / WORK)
            (self.root / WORK).mkdir(parents=True, exist_ok=True)
            self._stack.enter_context(locked(self.root / WORK / "lock", waiting=_refuse))
            self._begin()
        except OSError as error:
            self._stack.close()
            raise _unwritable(self.root, error) from error
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def plan(self) -> ExportPlan:
        """As it was given."""
        return self._plan

    @property
    def manifest(self) -> Manifest:
        """As it is now."""
        return self._manifest

    def is_done(self, planned: PlannedCase, made_from: str) -> bool:
        """Say whether a case is there already, made from the same and unchanged."""
        record = self._manifest.records.get(planned.name)
        if record is None or record.made_from != made_from or replace(record.case, id="") != replace(planned, id=""):
            return False
        return not damaged_files(self.root, record.files)

    def write(self, prepared: PreparedCase, made_from: str) -> CaseRecord:
        """Write a case: all of it, or nothing.

        Raises:
            UnwritableDataset: the disk is full or the like; the dataset is as it was before.
            VolumeError: the format cannot hold the case.
            UsageError: the plan has no such case.
        """
        planned = next((case for case in self._plan.cases if case.name == prepared.name), None)
        if planned is None:
            raise UsageError(f"The plan of this dataset has no case {prepared.name}.")
        folder = self.root / WORK / prepared.name
        try:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            facts = {**prepared.facts, **self._format.write_case(prepared, self._plan, folder)}
            paths = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
            for path in paths:
                _sync(folder / path)
            files = {path: file_digest(folder / path) for path in paths}
            self._take_away(prepared.name)
            _move(folder, self.root, paths)
            record = CaseRecord(replace(planned, id=""), made_from, files, facts)
            self._record(self._manifest.with_record(record))
        except OSError as error:
            raise _unwritable(self.root, error) from error
        except VolumeError as error:
            if isinstance(error.__cause__, OSError):
                raise _unwritable(self.root, error.__cause__) from error
            raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return record

    def finish(self, extra: Mapping[str, bytes]) -> Manifest:
        """Write what tells about the whole dataset, and close it if all planned cases are there.

        Args:
            extra: datasheet, report and the like: contents by path.
        """
        try:
            complete = all(case.name in self._manifest.records for case in self._plan.cases)
            files = {path: hashlib.sha256(content).hexdigest() for path, content in extra.items()}
            for path, content in extra.items():
                self._put(inside(path), content)
            for path in self._manifest.files:
                if path not in files and path not in self._index():
                    own_place(self.root, path).unlink(missing_ok=True)
            self._record(replace(self._manifest, complete=complete, files=files))
            if complete:
                forget_secret(self.root)
                shutil.rmtree(self.root / WORK, ignore_errors=True)
        except OSError as error:
            raise _unwritable(self.root, error) from error
        return self._manifest

    def secret(self) -> bytes:
        """Return what made-up UIDs and dates are derived from, where no key file keeps it: gone with the last case."""
        try:
            return kept_secret(self.root)
        except OSError as error:
            raise _unwritable(self.root, error) from error

    def _begin(self) -> None:
        for left in (self.root / WORK).iterdir():
            if left.is_dir() and not left.is_symlink():
                shutil.rmtree(left, ignore_errors=True)
            elif left.name != "lock":
                left.unlink()
        before = read_manifest(self.root)
        versions = tool_versions()
        self._manifest = Manifest(_nameless(self._plan), {}, made_with=versions)
        if before is not None:
            kept = {case.name for case in self._plan.cases}
            records = {name: record for name, record in before.records.items() if name in kept}
            self._manifest = replace(self._manifest, records=records, files=before.files)
            for path in (path for name, record in before.records.items() if name not in kept for path in record.files):
                own_place(self.root, path).unlink(missing_ok=True)
        else:  # the next run must know the folder for ours, however early this one is killed
            self._put(MANIFEST, self._manifest.to_bytes())
        self._record(self._manifest)

    def _take_away(self, name: str) -> None:
        # An older version of the case leaves the lists before its files change.
        record = self._manifest.records.get(name)
        if record is not None:
            self._record(self._manifest.without_record(name))
            for path in record.files:
                own_place(self.root, path).unlink(missing_ok=True)

    def _record(self, manifest: Manifest) -> None:
        self._manifest = manifest
        index = self._index()
        digests = {path: hashlib.sha256(content).hexdigest() for path, content in index.items()}
        self._manifest = replace(manifest, files={**manifest.files, **digests})
        # A case comes as files, index, manifest, and goes as index, manifest, files: no list names what is not there.
        for path, content in index.items():
            self._put(inside(path), content)
        self._put(MANIFEST, self._manifest.to_bytes())

    def _put(self, name: str, content: bytes) -> None:
        """Write a file whole or not at all; what a kill leaves lies in the folder that the next run clears."""
        path = own_place(self.root, name)
        if path.is_file() and path.read_bytes() == content:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        part = self.root / WORK / f"{secrets.token_hex(8)}.part"
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        _sync_folder(path.parent)

    def _index(self) -> Mapping[str, bytes]:
        return self._format.index(self._manifest.plan, self._manifest.done())


def check_folder(root: Path) -> None:
    """Find out whether a dataset can be written into ``root``.

    Raises:
        UsageError: it is no folder, or one that holds something else.
    """
    try:
        is_there, is_folder = root.exists(), root.is_dir()
        is_strange = is_folder and not (root / MANIFEST).exists() and any(one.name != WORK for one in root.iterdir())
    except OSError as error:
        reason = error.strerror or "the system refused it"
        raise UsageError(f"The folder for the dataset cannot be looked into: {reason}. Choose another one.") from error
    if is_there and not is_folder:
        raise UsageError(f"{root.name} is a file. Choose a folder for the dataset.")
    if is_strange:
        raise UsageError(
            f"The folder {root.name} holds something else already. Choose an empty folder, or one with a dataset that "
            "MedDL has made."
        )


def damaged_files(root: Path, files: Mapping[str, str]) -> tuple[str, ...]:
    """Return which of ``files`` (SHA-256 by path) are missing or changed."""
    return tuple(path for path, digest in files.items() if _digest_or_none(root / path) != digest)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _digest_or_none(path: Path) -> str | None:
    try:
        return file_digest(path) if path.is_file() and not path.is_symlink() else None
    except OSError:
        return None


def _nameless(plan: ExportPlan) -> ExportPlan:
    return replace(plan, cases=tuple(replace(case, id="") for case in plan.cases))


def _move(source: Path, target: Path, paths: list[str]) -> None:
    """Move files to their places, whole folders at once where they are new."""
    moved: list[str] = []
    for path in paths:
        if any(path.startswith(f"{folder}/") for folder in moved):
            continue
        parts = path.split("/")
        folders = ("/".join(parts[:n]) for n in range(1, len(parts)))
        part = next((folder for folder in folders if not (target / folder).exists()), path)
        place = own_place(target, part)
        (source / part).replace(place)
        _sync_folder(place.parent)
        if part != path:
            moved.append(part)


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    if os.name == "posix":  # Windows has no handle of a folder to sync
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _refuse() -> NoReturn:
    raise UsageError("Another export is writing to this folder. Wait for it, or choose another folder.")


def _unwritable(root: Path, error: OSError) -> UnwritableDataset:
    return UnwritableDataset(
        f"The dataset in {root.name} could not be written: {error.strerror or 'the system refused it'}. "
        "What was there before is unharmed. Make room or choose another folder, then export again: it goes on there."
    )
