"""The secret of a dataset without a key file, for as long as its export has not finished.

It lies in MedDL's folder on this computer and not in the dataset: whoever is given an unfinished one could undo the
shifts of dates and tell whose UIDs are in it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from pathlib import Path

from meddl.models.places import cache_dir

_BYTES = 32


def kept_secret(root: Path) -> bytes:
    """Return the secret of the dataset in ``root``: the same until :func:`forget_secret`.

    Raises:
        OSError: it cannot be kept.
    """
    path = _path(root)
    with contextlib.suppress(FileNotFoundError):
        secret = path.read_bytes()
        if len(secret) == _BYTES:
            return secret
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{secrets.token_hex(8)}.part")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(_BYTES))
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path.read_bytes()


def forget_secret(root: Path) -> None:
    """Let go of the secret, if there is one: nobody can undo anything any more."""
    with contextlib.suppress(OSError):
        _path(root).unlink(missing_ok=True)


def _path(root: Path) -> Path:
    return cache_dir() / "unfinished" / hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:32]
