"""The folders Slicer has and the host needs: a home with bin/PythonSlicer, settings, a cache, a temporary folder.

All of them lie in one folder that goes away with the process: the host leaves nothing behind and reads no
settings of the user's own Slicer.
"""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

_ROOT: Path | None = None


def root() -> Path:
    """The host's own folder, made on first use."""
    global _ROOT
    if _ROOT is None:
        _ROOT = Path(tempfile.mkdtemp(prefix="Slicer-host-"))
        atexit.register(shutil.rmtree, _ROOT, ignore_errors=True)
        for name in ("home/bin", "home/share", "temporary", "cache", "settings", "extensions", "documents"):
            (_ROOT / name).mkdir(parents=True)
        _make_python_slicer(_ROOT / "home" / "bin")
    return _ROOT


def _make_python_slicer(folder: Path) -> None:
    """As in Slicer, PythonSlicer is found on the PATH and starts the interpreter that the host runs in."""
    if os.name == "nt":
        (folder / "PythonSlicer.bat").write_text(f'@"{sys.executable}" %*\n')
    else:
        script = folder / "PythonSlicer"
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        script.chmod(0o755)
    os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ.get('PATH', '')}"
