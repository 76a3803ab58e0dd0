"""Small cases with segments that have codes, overlap, or are empty."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from meddl.datasets.case import Case, LoadedCase, SegmentationLabel
from meddl.datasets.facts import CaseFacts
from meddl.datasets.inspection import inspect_case
from meddl.datasets.label_scheme import LabelScheme
from meddl.datasets.scheme_table import SchemeRow
from meddl.volume import Segment, Volume
from meddl.volume.terminology import Code, Terminology, serialize_terminology

STRUCTURE = Code("SCT", "123037004", "Anatomical Structure")
LIVER, KIDNEY = Code("SCT", "10200004", "Liver"), Code("SCT", "64033007", "Kidney")
LEFT, RIGHT = Code("SCT", "7771000", "Left"), Code("SCT", "24028007", "Right")
MASS, BRAIN = Code("SCT", "4147007", "Mass"), Code("SCT", "12738006", "Brain")


def entry(kind: Code, modifier: Code | None = None, region: Code | None = None) -> str:
    return serialize_terminology(Terminology(STRUCTURE, kind, modifier, region))


def segment(name: str, label: int = 1, terminology: str = "", layer: int = 0, hue: float = 0.5) -> Segment:
    return Segment(label, name, (hue, 0.2, 0.3), terminology, layer)


def case_of(name: str, *layers: dict[Segment, np.ndarray | tuple[slice, ...]], seed: int = 0) -> LoadedCase:
    """A case of 8x8x8 voxels; each layer gives the places of its segments, whose labels and layers are made here."""
    array = np.zeros((max(1, len(layers)), 8, 8, 8), np.uint8)
    segments = []
    for number, layer in enumerate(layers):
        for label, (segment, where) in enumerate(layer.items(), 1):
            array[number][where] = label
            segments.append(replace(segment, label=label, layer=number))
    image = Volume(np.random.default_rng(seed).integers(0, 99, (1, 8, 8, 8)).astype(np.int16), np.eye(4))
    labels = Volume(array, np.eye(4))
    case = Case(name, {"CT": image}, SegmentationLabel(labels, tuple(segments)))
    return LoadedCase(case, {"CT": image}, labels, tuple(segments))


def facts_of(*cases: LoadedCase) -> list[CaseFacts]:
    return [inspect_case(case) for case in cases]


def names_of(scheme: LabelScheme) -> list[str]:
    return [each.name for each in scheme.structures]


def row_of(rows: tuple[SchemeRow, ...], name: str) -> SchemeRow:
    return next(row for row in rows if row.name == name)


LOW, HIGH, ALL = np.s_[:4, :, :], np.s_[4:, :, :], np.s_[1:7, 1:7, 1:7]
NOWHERE = np.s_[0:0, :, :]
