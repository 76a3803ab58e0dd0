"""A progress bar on a terminal, silence elsewhere."""

from __future__ import annotations

import shutil
import sys
from typing import TextIO


class ProgressBar:
    """Shows fraction and text on one line of ``stream``, if that is a terminal; use as a context manager.

    Args:
        shown: False keeps it silent whatever the stream is.
    """

    def __init__(self, *, shown: bool = True, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._shown = shown and self._stream.isatty()
        self._drawn = ""

    def __call__(self, fraction: float, text: str) -> None:
        """Draw the bar anew."""
        if not self._shown:
            return
        filled = round(24 * min(1.0, max(0.0, fraction)))
        line = f"[{'#' * filled}{'.' * (24 - filled)}] {fraction:4.0%} {text}"
        line = line[: shutil.get_terminal_size().columns - 1]
        if line != self._drawn:
            self._stream.write(f"\r{line}\033[K")
            self._stream.flush()
            self._drawn = line

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *error: object) -> None:
        if self._drawn:
            self._stream.write("\r\033[K")
            self._stream.flush()
