"""Small facts about past runs, kept in the cache folder from one process to the next. None is about a patient."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from meddl.models.places import cache_dir

logger = logging.getLogger(__name__)

MAX_ENTRIES = 300


class History:
    """A JSON file of entries by key; what cannot be read or written is as good as not there.

    Args:
        name: of the file in the cache folder.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def path(self) -> Path:
        """Where the file is, or would be."""
        return cache_dir() / "history" / self._name

    def read(self) -> dict[str, Any]:
        """Return all entries."""
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def entry(self, key: str) -> dict[str, Any]:
        """Return the entry of ``key``, empty if there is none."""
        entry = self.read().get(key)
        return entry if isinstance(entry, dict) else {}

    def change(self, key: str, change: Callable[[dict[str, Any]], None]) -> None:
        """Change one entry; the newest entries are kept, the file is replaced in one step."""
        content = self.read()
        entry = content.pop(key, {})
        entry = entry if isinstance(entry, dict) else {}
        change(entry)
        content[key] = entry
        content = dict(list(content.items())[-MAX_ENTRIES:])
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=self.path.parent, prefix=self._name)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(content, file, indent=1)
            Path(temporary).replace(self.path)
        except (OSError, ValueError) as error:
            logger.debug("history not written: %s", error)
