"""nnU-Net v2 result folders."""

from __future__ import annotations

from pathlib import Path

from meddl.models.bundle import ModelBundle


def find_result_folder(folder: Path) -> Path | None:
    return None


class NnUNetBundle(ModelBundle):
    @classmethod
    def open_folder(cls, folder: Path, fallback_name: str = "") -> ModelBundle:
        raise NotImplementedError
