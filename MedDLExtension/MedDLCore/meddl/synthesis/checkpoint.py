"""The folder that a training writes into: a bundle, and beside it what the training goes on from."""

from __future__ import annotations

import contextlib
import json
import logging
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from meddl.errors import ModelError, UsageError, VolumeError
from meddl.synthesis.config import SynthesisConfig
from meddl.synthesis.history import HISTORY, History, read_history
from meddl.volume.writing import whole_file

logger = logging.getLogger(__name__)

SETTINGS, CHECKPOINT, SAMPLES = "training/config.json", "training/checkpoint.pt", "training/samples"
LOCK = "training/lock"
_VERSION = 1
"""Another number where the same settings train in another way: older trainings are then not gone on with."""


class TrainingFolder:
    """A bundle's folder while it is trained.

    Args:
        path: the folder; it need not exist.

    Raises:
        UsageError: it is a file, or holds something that no training of MedDL has written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            if path.exists() and not path.is_dir():
                raise UsageError(f"{path.name} is a file. Name a folder for the model.")
            holds = sorted(each.name for each in path.iterdir()) if path.exists() else []
        except OSError as error:
            raise UsageError(f"The folder {path.name} cannot be read: {error.strerror}. Choose another.") from error
        self.settings = self._settings() if (path / SETTINGS).is_file() else None
        if self.settings is None and [name for name in holds if name != "training"]:
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
            with whole_file(self.path / "training" / "lock") as file:
                file.write(b"")

    def begin(self, config: SynthesisConfig, dataset: str, name: str, threads: int) -> int:
        """Write down what is going to be trained, or find out that it goes on; return the number of threads.

        Args:
            config: of the training.
            dataset: SHA-256 of what it learns from.
            name: of the model, for people.
            threads: of torch; a training that goes on has those that it began with.

        Raises:
            UsageError: another training has been here.
            ModelError: the folder cannot be written to.
        """
        if self.settings is not None:
            if self.settings.get("version") != _VERSION:
                self._refuse("by another version of MedDL")
            if self.settings["config_sha256"] != config.digest:
                self._refuse(f"with other settings ({_difference(self.settings['config'], config)})")
            if self.settings["dataset_sha256"] != dataset:
                self._refuse("on another dataset, or on this one before it was changed")
            threads = int(self.settings["threads"])
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

    def load(self, device: Any) -> dict[str, Any] | None:
        """Return the last state, or None where there is none yet.

        Raises:
            ModelError: it is damaged.
        """
        import torch

        path = self.path / CHECKPOINT
        if not path.is_file():
            return None
        try:
            state = torch.load(path, map_location=device, weights_only=True)
            return {**state, "steps": int(state["steps"])}
        except (OSError, RuntimeError, EOFError, ValueError, KeyError, TypeError, pickle.UnpicklingError) as error:
            raise ModelError(
                f"{CHECKPOINT} is damaged. The model of the last checkpoint can still be used; to train on, begin anew "
                "in another folder.",
                str(error),
            ) from error

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
    def _told(self) -> Any:
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
            settings = json.loads((self.path / SETTINGS).read_text(encoding="utf-8"))
            for key in ("config", "config_sha256", "dataset_sha256", "threads"):
                settings[key]
            return dict(settings)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{SETTINGS} in {self.path.name} is damaged. Choose an empty folder.") from error

    def _refuse(self, how: str) -> None:
        raise UsageError(f"In {self.path.name} a model was trained {how}. Choose an empty folder, or take the settings "
                         "and the dataset of that training to go on with it.")  # fmt: skip


def _difference(before: Mapping[str, Any], now: SynthesisConfig) -> str:
    changed = [name for name, value in now.to_dict().items() if before.get(name) != value]
    counted = [name for name in changed if name not in ("steps", "sample_every", "checkpoint_every", "sampling_steps")]
    return ", ".join(counted) or "of another version"
