"""The report of a judgement: a page, its figures as JSON, and pictures."""

from __future__ import annotations

from pathlib import Path

from meddl.synthesis.judgement import Judgement


def write_report(judgement: Judgement, folder: Path) -> tuple[Path, ...]:
    """Write ``judgement.md``, ``judgement.json`` and pictures into a folder, each whole or not at all.

    Returns:
        The files, ``judgement.md`` first. The same judgement gives the same bytes.

    Raises:
        UnwritableDataset: the folder cannot be written to.
    """
    raise NotImplementedError
