"""The models in the cache: putting them there whole or not at all, and taking them away."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meddl.errors import ModelError
from meddl.models.catalog_entry import ID
from meddl.models.file_lock import locked

logger = logging.getLogger(__name__)

_STALE_S = 24 * 3600


@dataclass(frozen=True)
class Arrival:
    """A model that is about to be installed: its id, its folder on the same disk, and the record to keep of it."""

    id: str
    folder: Path
    record: Mapping[str, Any]


class InstalledModels:
    """One folder per model and a record beside it; a folder without a record counts as not installed.

    Args:
        home: the folder; made when something is installed.
    """

    def __init__(self, home: Path) -> None:
        self.home = home

    def path(self, id: str) -> Path | None:
        """Return the folder of an installed model, or None."""
        path = self.home / id
        ready = ID.fullmatch(id) and (path / "configs" / "metadata.json").is_file() and self._record_path(id).is_file()
        return path if ready else None

    def ids(self) -> tuple[str, ...]:
        """Return what is installed."""
        try:
            return tuple(sorted(path.stem for path in self.home.glob("*.json") if self.path(path.stem)))
        except OSError:
            return ()

    def record(self, id: str) -> dict[str, Any]:
        """Return what was recorded when a model was installed; empty when that cannot be read."""
        with contextlib.suppress(OSError, ValueError, RecursionError):
            record = json.loads(self._record_path(id).read_text(encoding="utf-8"))
            if isinstance(record, dict):
                return record
        return {}

    @contextlib.contextmanager
    def changing(
        self, ids: Collection[str], cancelled: Callable[[], bool] | None, waiting: Callable[[], None]
    ) -> Iterator[Path]:
        """Keep other processes from installing these models, and give a scratch folder on the same disk."""
        try:
            self.home.mkdir(parents=True, exist_ok=True)
            self._sweep()
        except OSError as error:
            raise ModelError(f"MedDL's cache folder cannot be written to: {error.strerror}.") from error
        with contextlib.ExitStack() as locks:
            for id in sorted(set(ids)):  # in one order, so that no two wait for one another
                locks.enter_context(locked(self.home.parent / "locks" / f"{id}.lock", cancelled, waiting))
            # Whoever made these held the same lock and has gone without tidying up.
            for left in (path for id in ids for path in self.home.glob(f".new-{id}-*")):
                shutil.rmtree(left, ignore_errors=True)
            scratch = Path(tempfile.mkdtemp(dir=self.home, prefix=f".new-{min(ids)}-"))
            try:
                yield scratch
            finally:
                shutil.rmtree(scratch, ignore_errors=True)

    def install(self, arrivals: list[Arrival], scratch: Path) -> None:
        """Move models in, all or none, in place of what has their ids.

        Raises:
            ModelError: they could not be moved; what was there before is there again.
        """
        undo: list[Callable[[], object]] = []
        try:
            for number, arrival in enumerate(arrivals):
                self._move_in(arrival, scratch / f"old-{number}", undo)
        except OSError as error:
            for step in reversed(undo):
                with contextlib.suppress(OSError):
                    step()
            raise ModelError(f"{arrival.id} could not be put into the cache: {error.strerror}.") from error

    def remove(self, id: str) -> bool:
        """Delete a model; returns whether it was there."""
        if not ID.fullmatch(id):
            raise ModelError(f"{id[:80]!a} is not the id of a model.")
        path = self.home / id
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

    def _move_in(self, arrival: Arrival, aside: Path, undo: list[Callable[[], object]]) -> None:
        goal, record, old_record = self.home / arrival.id, self._record_path(arrival.id), aside.with_suffix(".json")
        part = aside.with_suffix(".part")
        part.write_text(json.dumps(dict(arrival.record)), encoding="utf-8")
        if record.exists():
            record.rename(old_record)
            undo.append(lambda: old_record.replace(record))
        if goal.is_symlink():
            goal.unlink()
        elif goal.exists():
            goal.rename(aside)
            undo.append(lambda: aside.rename(goal))
        arrival.folder.rename(goal)
        undo.append(lambda: goal.rename(arrival.folder))
        # The record comes last: a model without one counts as not installed.
        part.replace(record)
        undo.append(lambda: record.unlink())

    def _record_path(self, id: str) -> Path:
        return self.home / f"{id}.json"

    def _sweep(self) -> None:
        """Delete what an interrupted installation left behind a day ago or earlier."""
        for path in self.home.glob(".*-*"):
            with contextlib.suppress(OSError):
                if path.is_dir() and time.time() - path.stat().st_mtime > _STALE_S:
                    shutil.rmtree(path, ignore_errors=True)
