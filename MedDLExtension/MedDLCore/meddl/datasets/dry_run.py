"""What an export would write, in lines for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from meddl.datasets.facts import CaseFacts
from meddl.datasets.formats.known import make_format
from meddl.datasets.planning import Planning
from meddl.datasets.quality import mixtures, remarks


def describe(planning: Planning, facts: Sequence[CaseFacts]) -> list[str]:
    """Return what a plan comes to: format, labels, parts, cases with their numbers, and what is left out and why.

    Args:
        facts: of all cases that were looked at.
    """
    plan = planning.plan
    form = make_format(plan.options.format)
    parts = Counter(case.split for case in plan.cases)
    patients = len({case.patient for case in plan.cases})
    lines = [
        f"{form.title}: {len(plan.cases)} cases of {patients} patients, to {planning.root}",
        "Parts: " + ", ".join(f"{count} {part}" for part, count in parts.items()),
        "Images: " + ", ".join(f"{name} ({plan.modality.get(name) or 'any modality'})" for name in plan.channels),
    ]
    for index, structure in enumerate(plan.scheme.structures if plan.scheme else ()):
        values = ", ".join(map(str, plan.scheme.values_of(index))) if plan.scheme else ""
        lines.append(f"Label {values}: {structure.name}, from {', '.join(structure.sources)}")
    if plan.scheme and plan.scheme.ignore_value is not None:
        lines.append(f"Label {plan.scheme.ignore_value}: ignored, from {', '.join(plan.scheme.ignore)}")
    if plan.scheme and plan.scheme.dropped:
        lines.append(f"Dropped: {', '.join(plan.scheme.dropped)}")
    if plan.classes:
        lines.append(f"Classes: {', '.join(plan.classes)}")
    for case in plan.cases:
        fold = f", fold {case.fold}" if case.fold is not None else ""
        site = f", {case.site}" if case.site else ""
        lines.append(f"  {case.name}: {case.patient}{site}, {case.split}{fold}: {case.id or 'there already'}")
    kept = [fact for fact in facts if fact.id not in planning.left_out]
    for name, sentences in remarks(kept).items():
        lines += [f"Warning: {name}: {sentence}" for sentence in sentences]
    lines += [f"Note: {sentence}" for sentence in mixtures(kept)]
    lines += [f"Left out: {name}: {reason}" for name, reason in planning.left_out.items()]
    lines += [f"Note: {note}" for note in planning.notes]
    lines.append("Nothing was written.")
    return lines
