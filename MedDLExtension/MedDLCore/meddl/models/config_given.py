"""A config that is being read, what may be done with it, and how messages call its parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meddl.errors import ModelError, UntrustedModelError
from meddl.models.budget import Budget
from meddl.models.config_files import ConfigTree

MAX_WORK = 1_000_000

LoadWeights = Callable[[Path], Any]


@dataclass
class Given:
    """A config, and what all walks through it share.

    Attributes:
        tree: the config.
        root: the bundle's folder.
        source: what to call the config in messages.
        trusted: whether the user consented to this bundle.
        weights: loads a TorchScript file of the bundle; None for :func:`meddl.models.load_weights`.
        budget: what making objects may take.
        work: how many values may still be looked at.
    """

    tree: ConfigTree
    root: Path
    source: str
    trusted: bool
    weights: LoadWeights | None
    budget: Budget
    work: int = MAX_WORK

    def spend(self, amount: int = 1) -> None:
        """Count what was looked at.

        Raises:
            ModelError: it is more than any real configuration takes.
        """
        self.work -= amount
        if self.work < 0:
            raise ModelError(f"{self.source} takes too much work to read, as no real configuration does.")

    def place(self, id: str) -> str:
        """Return how messages call the part of the config with this id."""
        return f"{self.source}: '{shown(id)}'"

    def untrusted(self, id: str, why: str) -> UntrustedModelError:
        """Return the error that says where and why the config needs trust."""
        reason = f"{self.place(id)} {why}"
        return UntrustedModelError(
            f"{reason}. That may run code, so it needs your consent to this model.", reasons=(reason,)
        )


def shown(text: str, length: int = 160) -> str:
    """Return a text of the config as it may stand in a message."""
    return ascii(text[:length])[1:-1]
