"""A first suggestion of a dataset's labels, from what the cases have."""

from __future__ import annotations

import colorsys
import heapq
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Literal

from meddl.datasets.facts import CaseFacts
from meddl.datasets.label_scheme import LabelScheme, Structure
from meddl.datasets.structure_keys import code_in, code_of, folded
from meddl.datasets.structure_sources import StructureSource, most_common, structure_sources
from meddl.models.metadata_values import printable
from meddl.volume.terminology import parse_terminology

_BACKGROUND = {"background", "bg", "clear label"}
_IGNORE = {"ignore", "ignored", "ignore label"}


def propose_scheme(facts: Sequence[CaseFacts], *, overlaps: Literal["order", "regions"] = "order") -> LabelScheme:
    """Return labels for the structures of all cases; the same for the same cases in another order.

    One structure for each code; segments without one join the code that has their name, if it is the only one. Where
    structures overlap, the smaller one comes first, and so covers the larger: a tumor the liver, whatever order the
    files have. Segments called "ignore" become the ignore label; background and what is empty in every case is dropped.

    Args:
        facts: of the cases; those without a segmentation have no say.
        overlaps: what becomes of voxels that several structures claim.

    Example:
        >>> from meddl.datasets.facts import StructureFacts
        >>> liver = StructureFacts("liver", "Liver", "", (0.9, 0.5, 0.3), 900, 0.9, 1, 0)
        >>> tumor = StructureFacts("tumor", "tumor", "", (0.5, 0.9, 0.3), 30, 0.03, 1, 0)
        >>> case = CaseFacts("a", "segmentation", {}, (liver, tumor), {("liver", "tumor"): 30})
        >>> [each.name for each in propose_scheme([case]).structures]
        ['tumor', 'Liver']
    """
    sources = structure_sources(facts)
    dropped, ignored = [], []
    wanted: dict[str, StructureSource] = {}
    for key, source in sources.items():
        if source.folded_names <= _BACKGROUND or not any(source.voxels.values()):
            dropped.append(key)
        elif source.folded_names <= _IGNORE:
            ignored.append(key)
        else:
            wanted[key] = source
    groups = in_order(_groups(wanted), facts)
    scheme = LabelScheme(structures_of(groups), overlaps, ignore=tuple(ignored), dropped=tuple(sorted(dropped)))
    if overlaps == "regions":
        return with_combinations(scheme, facts)
    return scheme


def with_combinations(scheme: LabelScheme, facts: Sequence[CaseFacts]) -> LabelScheme:
    """Return a scheme of "regions" with a value for each set of structures that occurs together in a voxel.

    Sets that the scheme has stay where they are, so that adding cases changes no value; new ones follow, sorted.
    """
    if scheme.overlaps != "regions":
        return replace(scheme, combinations=())
    index = {key: number for number, each in enumerate(scheme.structures) for key in each.sources}
    found = set()
    for case in facts:
        for keys, voxels in case.combinations.items():
            # Where nobody knows what is there, nobody knows what overlaps.
            if voxels and not set(keys) & set(scheme.ignore):
                found.add(tuple(sorted({index[key] for key in keys if key in index})))
    new = sorted(each for each in found - set(scheme.combinations) if len(each) > 1)
    return replace(scheme, combinations=(*scheme.combinations, *new))


def structures_of(groups: Sequence[Sequence[StructureSource]], taken: Collection[str] = ()) -> tuple[Structure, ...]:
    """Return a structure for each group of sources, under the name and color that most segments have.

    Args:
        taken: names that other structures have.
    """
    used = {folded(name) for name in taken}
    structures: list[Structure] = []
    for group in groups:
        name = " ".join(printable(str(most_common([each.names for each in group]))).split())
        terminology = str(most_common([each.terminologies for each in group]) or "")
        name = _own_name(name or f"Structure {len(structures) + 1}", terminology, used)
        used.add(folded(name))
        color = most_common([each.colors for each in group])
        if color in (each.color for each in structures):
            color = colorsys.hsv_to_rgb((len(structures) + 1) * 0.618034 % 1.0, 0.55, 0.9)
        keys = tuple(sorted(each.key for each in group))
        structures.append(Structure(name, color, terminology, keys))
    return tuple(structures)


def in_order(
    groups: Sequence[Sequence[StructureSource]], facts: Sequence[CaseFacts]
) -> list[Sequence[StructureSource]]:
    """Return the groups such that of two that overlap the smaller one comes first; the others stay."""
    index = {source.key: number for number, group in enumerate(groups) for source in group}
    sizes = [_volume(group) for group in groups]
    after: list[set[int]] = [set() for _ in groups]
    for case in facts:
        for keys in case.combinations:
            members = {index[key] for key in keys if key in index}
            for one in members:
                after[one] |= {other for other in members if (sizes[one], one) < (sizes[other], other)}
    waiting = [0] * len(groups)
    for others in after:
        for other in others:
            waiting[other] += 1
    ready = [number for number, count in enumerate(waiting) if not count]
    order = []
    while ready:
        number = heapq.heappop(ready)
        order.append(number)
        for other in after[number]:
            waiting[other] -= 1
            if not waiting[other]:
                heapq.heappush(ready, other)
    return [groups[number] for number in order]


def _groups(sources: Mapping[str, StructureSource]) -> list[list[StructureSource]]:
    """Put together the keys that mean the same."""
    groups: dict[str, list[StructureSource]] = {key: [source] for key, source in sources.items()}
    leader = {key: key for key in sources}
    for key, source in sources.items():
        partner = _partner(key, source, sources)
        if partner is None:
            continue
        ours, theirs = leader[key], leader[partner]
        if ours == theirs or _differ(groups[ours], groups[theirs]):
            continue
        first, second = (each for each in sources if each in (ours, theirs))
        for member in groups[second]:
            leader[member.key] = first
        groups[first] += groups.pop(second)
    return list(groups.values())


def _partner(key: str, source: StructureSource, sources: Mapping[str, StructureSource]) -> str | None:
    """Return the key that a name without a code, or a name behind a code, stands for."""
    code = code_in(key)
    if code and code != key:  # "[SCT:64033007] left": of a case that has several of this code
        plain = sources.get(code)
        return code if plain is not None and source.folded_names & plain.folded_names else None
    if code:
        return None
    coded = [each for each, other in sources.items() if code_in(each) and source.folded_names & other.folded_names]
    # The same name with two codes: which of them is meant, people must say.
    return coded[0] if len({code_in(each) for each in coded}) == 1 else None


def _differ(one: Sequence[StructureSource], other: Sequence[StructureSource]) -> bool:
    """Say whether a case has segments of other names in both: then it means two things."""
    for mine in one:
        for theirs in other:
            if mine.voxels.keys() & theirs.voxels.keys() and mine.folded_names != theirs.folded_names:
                return True
    return False


def _volume(group: Sequence[StructureSource]) -> float:
    volumes = [volume for source in group for volume in source.volume_ml.values() if volume]
    return median(volumes) if volumes else 0.0


def _own_name(name: str, terminology: str, used: Collection[str]) -> str:
    """Return a name that no other structure has, upper and lower case counting alike."""
    if folded(name) not in used:
        return name
    if code_of(terminology):
        codes = parse_terminology(terminology)
        said = [code.meaning for code in (codes.type, codes.modifier, codes.region, codes.region_modifier) if code]
        for meaning in (" ".join(said), code_of(terminology).strip("[]")):
            if folded(f"{name} ({meaning})") not in used:
                return f"{name} ({printable(meaning)})"
    return next(f"{name} {n}" for n in range(2, len(used) + 3) if folded(f"{name} {n}") not in used)
