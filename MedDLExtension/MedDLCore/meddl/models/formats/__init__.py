"""Models that are no MONAI Bundle, behind the same face: single files with a sidecar, and nnU-Net's result folders."""

from __future__ import annotations

from meddl.models.formats.recognize import open_other

__all__ = ["open_other"]
