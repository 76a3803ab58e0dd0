"""The files that tell about a whole dataset: datasheet, quality table and plots. All of them come from the manifest."""

from __future__ import annotations

from meddl.datasets import datasheet
from meddl.datasets.facts import CaseFacts
from meddl.datasets.manifest import Manifest
from meddl.datasets.report import report_files


def facts_in(manifest: Manifest) -> tuple[CaseFacts, ...]:
    """Return what the manifest knows about its cases, under their numbers."""
    return tuple(CaseFacts.from_dict(record.facts["quality"]) for record in manifest.done())


def whole_dataset_files(manifest: Manifest) -> dict[str, bytes]:
    """Return datasheet, quality table and plots of a dataset: contents by path."""
    facts = facts_in(manifest)
    return {**report_files(facts), datasheet.PATH: datasheet.datasheet(manifest, facts).encode("utf-8")}
