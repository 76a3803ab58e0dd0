"""Cases out of scenes that Slicer saved (.mrb)."""

from __future__ import annotations

from pathlib import Path

from meddl.datasets.case import Case


def scene_cases(path: Path, name: str = "") -> list[Case]:
    """Return the cases of a scene."""
    return []
