"""The folder that a training writes into: a bundle, and beside it what the training goes on from."""

from __future__ import annotations

import contextlib
import json
import logging
import pickle
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meddl.errors import ModelError, UsageError, VolumeError
from meddl.models.metadata_values import printable
from meddl.synthesis.config import SynthesisConfig
from meddl.synthesis.history import HISTORY, History, read_history
from meddl.volume.writing import whole_file

if TYPE_CHECKING:
    from meddl.synthesis.trainer import Trainer

logger = logging.getLogger(__name__)

SETTINGS, CHECKPOINT, SAMPLES = "training/config.json", "training/checkpoint.pt", "training/samples"
LOCK = "training/lock"
_FOLDERS = ("training", SAMPLES, "models", "configs", "docs")
_HALF_WRITTEN = re.compile(r"\.[0-9a-f]{16}\.part")
_MOST_BYTES, _MOST_THREADS = 1 << 20, 1024
_VERSION = 2
"""Another number where the same settings train in another way: older trainings are then not gone on with."""


class TrainingFolder:
    """A bundle's folder while it is trained.

    Args:
        path: the folder; it need not exist.

    Raises:
        UsageError: it is a file, or holds something that no training of MedDL has written, or links.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            if path.exists() and not path.is_dir():
                raise UsageError(f"{path.name} is a file. Name a folder for the model.")
            holds = _holds(path)
            links = [name for name in (*_FOLDERS, LOCK) if (path / name).is_symlink()]
        except OSError as error:
            raise UsageError(f"The folder {path.name} cannot be read: {error.strerror}. Choose another.") from error
        if links:
            raise UsageError(f"In the folder {path.name} {links[0]} is a link to somewhere else, which is not written "
                             "to. Choose an empty folder.")  # fmt: skip
        self.settings = self._settings() if (path / SETTINGS).is_file() else None
        if self.settings is None and holds:
            raise UsageError(f"The folder {path.name} holds something else, {holds[0]} for instance. Choose an empty "
                             "folder, or that of a training that is to go on.")  # fmt: skip

    @property
    def name(self) -> str:
        """What the model is called that is trained here."""
        return str((self.settings or {}).get("name") or self.path.absolute().name)

    @property
    def has_bundle(self) -> bool:
        """Whether a checkpoint has been written."""
        return (self.path / "configs" / "metadata.json").is_file()

    def check_writable(self) -> None:
        """Make the folder.

        Raises:
            ModelError: it cannot be written to.
        """
        with self._told():
            (self.path / "training").mkdir(parents=True, exist_ok=True)
            # The lock itself stays as it is: whoever holds it would go on holding a file that is no longer there.
            with tempfile.TemporaryFile(dir=self.path / "training"):
                pass

    def begin(self, config: SynthesisConfig, dataset: str, name: str, threads: int) -> int:
        """Write down what is going to be trained, or find out that it goes on; return the number of threads.

        What a killed training was writing is removed: the caller holds the lock. One that came to no checkpoint is
        nothing to go on with, and stands in nobody's way.

        Args:
            config: of the training.
            dataset: SHA-256 of what it learns from.
            name: of the model, for people.
            threads: of torch; a training that goes on has those that it began with.

        Raises:
            UsageError: another training has been here.
            ModelError: the folder cannot be written to.
        """
        self._remove_half_written()
        if self.settings is not None and (self.has_bundle or (self.path / CHECKPOINT).exists()):
            if self.settings.get("version") != _VERSION:
                self._refuse("by another version of MedDL")
            if self.settings["config_sha256"] != config.digest:
                self._refuse(f"with other settings ({_difference(self.settings['config'], config)})")
            if self.settings["dataset_sha256"] != dataset:
                self._refuse("on another dataset, or on this one before it was changed")
            threads = self.settings["threads"]
        settings = {
            "version": _VERSION,
            "name": name,
            "config": config.to_dict(),
            "config_sha256": config.digest,
            "dataset_sha256": dataset,
            "threads": threads,
        }
        if self.settings != settings:
            self.write(SETTINGS, (json.dumps(settings, indent=4) + "\n").encode())
            self.settings = settings
        return threads

    def write(self, name: str, content: bytes) -> None:
        """Write a file whole or not at all.

        Raises:
            ModelError: it cannot be written.
        """
        path = self.path / name
        with self._told():
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as file:
                file.write(content)

    def save(self, state: Mapping[str, Any]) -> None:
        """Write the state that the training goes on from.

        Raises:
            ModelError: it cannot be written.
        """
        import torch

        with self._told(), whole_file(self.path / CHECKPOINT) as file:
            torch.save(dict(state), file)

    def restore(self, trainer: Trainer, device: Any) -> int:
        """Bring a trainer to the last checkpoint; return the steps it has learned for, 0 where there is none yet.

        Raises:
            ModelError: it is damaged.
        """
        import torch

        path = self.path / CHECKPOINT
        if not path.is_file():
            return 0
        try:
            state = torch.load(path, map_location=device, weights_only=True)
            if type(state["steps"]) is not int or state["steps"] < 1:
                raise ValueError("no number of steps")
            trainer.load(state)
        except (
            OSError, RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError, pickle.UnpicklingError
        ) as error:  # fmt: skip
            raise ModelError(
                f"{CHECKPOINT} is damaged. The model of the last checkpoint can still be used; to train on, begin anew "
                "in another folder.",
                str(error),
            ) from error
        return int(state["steps"])

    def history(self, columns: tuple[str, ...], steps: int) -> History:
        """Return the history up to a step; a damaged one is begun anew."""
        try:
            found = read_history(self.path)
        except ModelError as error:
            logger.info("history begun anew: %s", error.message)
            found = History()
        return found.up_to(steps) if found.columns == columns else History(columns)

    def save_history(self, history: History) -> None:
        """Write the history.

        Raises:
            ModelError: it cannot be written.
        """
        self.write(HISTORY, history.to_bytes())

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (OSError, VolumeError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise ModelError(
                f"The folder of the model cannot be written to: {reason} What was written before stays; free some "
                "space or choose another folder."
            ) from error

    def _settings(self) -> dict[str, Any]:
        try:
            with (self.path / SETTINGS).open("rb") as file:
                settings = dict(json.loads(file.read(_MOST_BYTES)))
            told = ("config", dict), ("config_sha256", str), ("dataset_sha256", str), ("name", str), ("threads", int)
            if not all(isinstance(settings[key], kind) for key, kind in told):
                raise ValueError("other settings")
            if not 1 <= settings["threads"] <= _MOST_THREADS:
                raise ValueError("too many threads")
            return {**settings, "name": printable(settings["name"])}
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise UsageError(f"{SETTINGS} in {self.path.name} is damaged. Choose an empty folder.") from error

    def _remove_half_written(self) -> None:
        for name in _FOLDERS:
            folder = self.path / name
            for path in folder.iterdir() if folder.is_dir() else ():
                if _HALF_WRITTEN.fullmatch(path.name):
                    with contextlib.suppress(OSError):
                        path.unlink()

    def _refuse(self, how: str) -> None:
        raise UsageError(f"In {self.path.name} a model was trained {how}. Choose an empty folder, or take the settings "
                         "and the dataset of that training to go on with it.")  # fmt: skip


def _holds(path: Path) -> list[str]:
    """Return what is in a folder and not from a training that has only just begun."""
    names = sorted(each.name for each in path.iterdir()) if path.exists() else []
    within = sorted(each.name for each in (path / "training").iterdir()) if (path / "training").is_dir() else []
    ours = [name for name in within if name == Path(LOCK).name or _HALF_WRITTEN.fullmatch(name)]
    others = [f"training/{name}" for name in within if name not in ours]
    return [name for name in names if name != "training" or not (path / name).is_dir()] + others


def _difference(before: Mapping[str, Any], now: SynthesisConfig) -> str:
    changed = [name for name, value in now.to_dict().items() if before.get(name) != value]
    counted = [name for name in changed if name not in ("steps", "sample_every", "checkpoint_every", "sampling_steps")]
    return ", ".join(counted) or "of another version"
