"""Nothing that identifies somebody is written: the names that a dataset is going to use are searched for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from meddl.datasets.facts import CaseFacts
from meddl.errors import UsageError

from .identifying import Identifiers

if TYPE_CHECKING:
    from meddl.datasets.plan import ExportPlan

_EVERYBODY = 3
_SHOWN = 6


def find_identifiers(texts: Iterable[str], seen: Iterable[str]) -> tuple[str, ...]:
    """Return those of ``texts`` that hold something of what was ``seen`` with the cases: a name, a number, a date.

    Words of anatomy and of file names identify nobody, and are not counted.

    Example:
        >>> find_identifiers(["Liver", "Tumor (Doe)", "CT"], ["Doe^Jane", "/data/liver/case_12.nrrd"])
        ('Tumor (Doe)',)
    """
    identifiers = Identifiers.of(seen)
    return tuple(text for text in texts if identifiers.found_in(text))


def check_plan(plan: ExportPlan, facts: Sequence[CaseFacts]) -> None:
    """Find out whether any name that the dataset is going to use identifies one of its patients.

    What the cases of all of at least three patients have in common (a study's name, say) identifies none of them.

    Raises:
        UsageError: it tells which names are to be changed; not what they hold.
    """
    patients = {case.id: case.patient for case in plan.cases if case.id}
    seen: dict[str, set[str]] = {}
    for fact in facts:
        seen.setdefault(patients.get(fact.id, fact.id), set()).update(fact.seen)
    identifiers = Identifiers.of(text for texts in seen.values() for text in texts)
    if len(seen) >= _EVERYBODY:
        identifiers = identifiers.without(_common_to_all([Identifiers.of(texts) for texts in seen.values()]))
    telling = [place for place, text in _texts(plan) if identifiers.found_in(text)]
    if telling:
        listed = ", ".join(telling[:_SHOWN]) + (" and others" if len(telling) > _SHOWN else "")
        raise UsageError(f"The dataset would tell who its patients are: {listed}. A name, number or date that was "
                         "found with the cases stands there. Rename it, or drop it.")  # fmt: skip


def _common_to_all(each_patient: Sequence[Identifiers]) -> set[str]:
    counts = Counter(
        text for identifiers in each_patient
        for text in identifiers.words | identifiers.codes | identifiers.phrases
    )  # fmt: skip
    return {text for text, count in counts.items() if count == len(each_patient)}


def _texts(plan: ExportPlan) -> Iterator[tuple[str, str]]:
    """Yield (where, text) of all that people named and that is going to be written."""
    options = plan.options
    yield "the dataset's name", options.name
    yield "its description", options.description
    yield "its license", options.license
    yield "its note on consent", options.consent
    # The contact is somebody whom the user names on purpose.
    for number, channel in enumerate(plan.channels, start=1):
        yield f"the name of channel {number}", channel
    if plan.scheme is not None:
        for number, structure in enumerate(plan.scheme.structures, start=1):
            yield f"the name of structure {number}", structure.name
            yield f"the terminology of structure {number}", structure.terminology.replace("~", " ").replace("^", " ")
            for source in structure.sources:  # by them cases are known that are added later
                yield f"what structure {number} was called in a case", source
        for source in plan.scheme.ignore:
            yield "what the label to be ignored was called in a case", source
    for number, name in enumerate(plan.classes, start=1):
        yield f"the name of class {number}", name
