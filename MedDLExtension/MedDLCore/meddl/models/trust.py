"""The user's consents: which exact bundles may run code of their own."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from meddl.errors import ModelError, UntrustedModelError
from meddl.models.file_lock import locked
from meddl.models.places import cache_dir

if TYPE_CHECKING:
    from meddl.models.bundle import ModelBundle

logger = logging.getLogger(__name__)

_DIGEST = re.compile(r"[0-9a-f]{64}")


def without_consent(bundle: ModelBundle, reasons: Sequence[str]) -> UntrustedModelError:
    """Return the error for a model that would run code of its own before the user has agreed to it."""
    return UntrustedModelError(
        f"The model '{bundle.name}' brings code of its own. Run it only if you trust where it comes from, "
        "and say so first (in the panel, or with 'python -m meddl models trust').",
        reasons=tuple(reasons),
    )


@dataclass(frozen=True)
class TrustEntry:
    """One consent: the bundle's SHA-256 (``digest``), who gave it (``origin``), and when (UTC, ISO 8601)."""

    digest: str
    name: str
    version: str
    origin: str
    recorded: str


class TrustStore:
    """Consents in a JSON file, by the bundle's digest: a bundle of which one byte changes is asked about again.

    A file that cannot be understood is moved aside and trusts nothing.

    Example::

        store = TrustStore()
        if not store.is_trusted(bundle):
            store.record(bundle, origin="consent in the panel")

    Args:
        path: the file; ``trust.json`` in :func:`meddl.models.cache_dir` by default.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = cache_dir() / "trust.json" if path is None else Path(path)

    def is_trusted(self, bundle: ModelBundle) -> bool:
        """Tell whether exactly these bytes were consented to."""
        entries = self._read()
        return bool(entries) and bundle.digest in entries

    def record(self, bundle: ModelBundle, origin: str) -> TrustEntry:
        """Remember the user's consent to this bundle as it is now."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        entry = TrustEntry(bundle.digest, bundle.name, bundle.version, origin, now)
        with self._changing():
            self._write({**self._read(), entry.digest: entry})
        return entry

    def revoke(self, bundle: ModelBundle | str) -> bool:
        """Forget the consent to a bundle (or to a digest); returns whether there was one."""
        digest = bundle if isinstance(bundle, str) else bundle.digest
        if digest not in self._read():
            return False
        with self._changing():
            self._write({key: entry for key, entry in self._read().items() if key != digest})
        return True

    def entries(self) -> tuple[TrustEntry, ...]:
        """Return all consents, oldest first."""
        return tuple(sorted(self._read().values(), key=lambda entry: (entry.recorded, entry.digest)))

    def _changing(self) -> AbstractContextManager[None]:
        """Keep other processes from writing, so that of two consents at once none is lost."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            return locked(self.path.with_name(f".{self.path.name}.lock"))
        except OSError as error:
            raise ModelError(f"The consent could not be saved: {error.strerror}.") from error

    def _read(self) -> dict[str, TrustEntry]:
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        except (OSError, UnicodeDecodeError) as error:
            return self._distrust(error)
        try:
            rows = json.loads(text)["trusted"]
            entries = [TrustEntry(**row) for row in rows]
            for entry in entries:
                if not all(isinstance(value, str) for value in asdict(entry).values()):
                    raise TypeError("not text")
                if not _DIGEST.fullmatch(entry.digest):
                    raise ValueError("not a SHA-256")
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            return self._distrust(error)
        return {entry.digest: entry for entry in entries}

    def _distrust(self, error: Exception) -> dict[str, TrustEntry]:
        aside = self.path.with_name(f"{self.path.name}.broken")
        with contextlib.suppress(OSError):
            self.path.replace(aside)
        logger.warning(
            "The list of trusted models could not be read (%s); no model is trusted now.", type(error).__name__
        )
        return {}

    def _write(self, entries: dict[str, TrustEntry]) -> None:
        content = {"version": 1, "trusted": [asdict(entry) for entry in entries.values()]}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # mkstemp makes the file readable by its owner only.
            handle, scratch = tempfile.mkstemp(dir=self.path.parent, prefix=".trust-")
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    json.dump(content, file, indent=2)
                    file.flush()
                    os.fsync(file.fileno())
                Path(scratch).replace(self.path)
            except BaseException:
                with contextlib.suppress(OSError):
                    Path(scratch).unlink()
                raise
        except OSError as error:
            raise ModelError(f"The consent could not be saved: {error.strerror}.") from error
