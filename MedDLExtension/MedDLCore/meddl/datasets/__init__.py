"""From segmented cases to a dataset that trains: collecting, checking, splitting, de-identifying, writing.

A :class:`Case` is what was collected; an :class:`ExportPlan` says what becomes of all of them; a format writes them one
by one. Importing this package needs numpy only.
"""

from __future__ import annotations

from meddl.datasets.case import (
    BoxesLabel,
    Case,
    ClassLabel,
    ImageFile,
    LandmarksLabel,
    LoadedCase,
    PreparedCase,
    SegmentationLabel,
    TargetLabel,
)
from meddl.datasets.collect import collect_cases
from meddl.datasets.export import ExportSummary, export_dataset, plan_cases
from meddl.datasets.facts import CaseFacts, ChannelFacts, StructureFacts
from meddl.datasets.formats.known import FORMATS, make_format
from meddl.datasets.label_scheme import LabelScheme, Structure
from meddl.datasets.options import DeidentifyOptions, ExportOptions, GridOptions, SplitOptions
from meddl.datasets.plan import CaseRecord, ExportPlan, PlannedCase
from meddl.datasets.planning import Planning, plan_export
from meddl.datasets.verify import Verification, verify_dataset
from meddl.datasets.writer import DatasetWriter

__all__ = [
    "FORMATS",
    "BoxesLabel",
    "Case",
    "CaseFacts",
    "CaseRecord",
    "ChannelFacts",
    "ClassLabel",
    "DatasetWriter",
    "DeidentifyOptions",
    "ExportOptions",
    "ExportPlan",
    "ExportSummary",
    "GridOptions",
    "ImageFile",
    "LabelScheme",
    "LandmarksLabel",
    "LoadedCase",
    "PlannedCase",
    "Planning",
    "PreparedCase",
    "SegmentationLabel",
    "SplitOptions",
    "Structure",
    "StructureFacts",
    "TargetLabel",
    "Verification",
    "collect_cases",
    "export_dataset",
    "make_format",
    "plan_cases",
    "plan_export",
    "verify_dataset",
]
