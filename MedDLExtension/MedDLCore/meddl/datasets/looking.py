"""Looking at a case before anything is written, and what of it may be told in a dataset."""

from __future__ import annotations

from dataclasses import replace

from meddl.datasets.case import Case
from meddl.datasets.facts import CaseFacts, StructureFacts
from meddl.datasets.label_scheme import LabelScheme
from meddl.datasets.plan import PlannedCase
from meddl.errors import MedDLError, OutOfMemory


def look_at(case: Case) -> CaseFacts:
    """Return what reading a case tells about it; of one that cannot be read, why.

    Raises:
        OutOfMemory: there is not enough memory for it.
    """
    from meddl.datasets.identifiers import identifiers
    from meddl.datasets.inspection import inspect_case
    from meddl.datasets.loading import load_case

    try:
        loaded = load_case(case)
        facts = inspect_case(loaded, identifiers(case))
        return replace(facts, warnings=(*loaded.case.notes, *facts.warnings))
    except OutOfMemory:
        raise
    except MedDLError as error:
        return CaseFacts(case.id, case.task, {}, problems=(error.message,))


def public_facts(facts: CaseFacts, planned: PlannedCase, scheme: LabelScheme | None) -> CaseFacts:
    """Return what a dataset may tell about a case: under its number, with the dataset's names for structures."""
    names = {source: each for each in (scheme.structures if scheme else ()) for source in each.sources}
    merged: dict[str, StructureFacts] = {}
    for each in facts.structures:
        if each.key not in names:
            continue
        to = names[each.key]
        before = merged.get(to.name)
        merged[to.name] = replace(
            each,
            key=to.name,
            name=to.name,
            terminology=to.terminology,
            color=to.color,
            voxels=each.voxels + (before.voxels if before else 0),
            volume_ml=each.volume_ml + (before.volume_ml if before else 0.0),
            components=each.components + (before.components if before else 0),
            debris_voxels=each.debris_voxels + (before.debris_voxels if before else 0),
        )
    return replace(
        facts,
        id=planned.name,
        structures=tuple(merged.values()),
        combinations={},
        seen=(),
        problems=(),
        warnings=(),
    )
