"""Changing a dataset's labels as the user wishes: every function returns a new scheme.

Combinations are numbered by structures, so they do not outlive a change of these: ask :func:`with_combinations` anew.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Literal

from meddl.datasets.facts import CaseFacts
from meddl.datasets.label_scheme import LabelScheme, Structure
from meddl.datasets.scheme_check import check_scheme
from meddl.datasets.scheme_file import parse_scheme, read_scheme, scheme_text, write_scheme
from meddl.datasets.scheme_proposal import in_order, propose_scheme, structures_of, with_combinations
from meddl.datasets.structure_sources import structure_sources
from meddl.errors import UsageError

__all__ = [
    "check_scheme",
    "completed",
    "dropped",
    "merged",
    "moved",
    "parse_scheme",
    "propose_scheme",
    "read_scheme",
    "recolored",
    "renamed",
    "restored",
    "same_labels",
    "scheme_text",
    "separated",
    "unmapped",
    "with_combinations",
    "with_ignore",
    "with_overlaps",
    "write_scheme",
]


def renamed(scheme: LabelScheme, index: int, name: str) -> LabelScheme:
    """Return the scheme with another name for structure ``index``.

    Raises:
        UsageError: another structure has it (upper and lower case counting alike), or it is empty.
    """
    structure = replace(_structure(scheme, index), name=" ".join(name.split()))
    return check_scheme(replace(scheme, structures=_with(scheme, index, structure)))


def recolored(scheme: LabelScheme, index: int, color: tuple[float, float, float]) -> LabelScheme:
    """Return the scheme with another color, each part 0 to 1, for structure ``index``."""
    structure = replace(_structure(scheme, index), color=color)
    return check_scheme(replace(scheme, structures=_with(scheme, index, structure)))


def merged(scheme: LabelScheme, indices: Collection[int], name: str = "") -> LabelScheme:
    """Return the scheme with several structures as one, in the place of the first of them.

    Args:
        name: of the one; "" for the first one's. Its color and terminology are the first one's.
    """
    chosen = sorted(set(indices))
    if len(chosen) < 2:
        raise UsageError("Merging takes two structures or more. Choose them in the table of labels.")
    members = [_structure(scheme, index) for index in chosen]
    keys = tuple(sorted({key for each in members for key in each.sources}))
    one = replace(members[0], name=" ".join(name.split()) or members[0].name, sources=keys)
    structures = [one if n == chosen[0] else each for n, each in enumerate(scheme.structures) if n not in chosen[1:]]
    return check_scheme(replace(scheme, structures=tuple(structures), combinations=()))


def separated(scheme: LabelScheme, index: int, facts: Sequence[CaseFacts]) -> LabelScheme:
    """Return the scheme with a structure for each source of structure ``index``: what :func:`merged` does, undone."""
    structure = _structure(scheme, index)
    others = [each for number, each in enumerate(scheme.structures) if number != index]
    parts = _new_structures(structure.sources, facts, others)
    if len(parts) < 2:
        raise UsageError(f"'{structure.name}' has one source only, so there is nothing to separate.")
    return check_scheme(replace(scheme, structures=(*others[:index], *parts, *others[index:]), combinations=()))


def dropped(scheme: LabelScheme, index: int) -> LabelScheme:
    """Return the scheme without structure ``index``: where it is, is background."""
    structure = _structure(scheme, index)
    rest = tuple(each for number, each in enumerate(scheme.structures) if number != index)
    keys = tuple(sorted({*scheme.dropped, *structure.sources}))
    return replace(scheme, structures=rest, dropped=keys, combinations=())


def restored(scheme: LabelScheme, keys: Collection[str], facts: Sequence[CaseFacts]) -> LabelScheme:
    """Return the scheme with a structure for each of ``keys``, which were dropped, ignored or left out, at the end."""
    rest = _without(scheme, keys)
    new = _new_structures(sorted(set(keys)), facts, rest.structures)
    return check_scheme(replace(rest, structures=(*rest.structures, *new), combinations=()))


def moved(scheme: LabelScheme, index: int, to: int) -> LabelScheme:
    """Return the scheme with structure ``index`` at place ``to``: values follow the order, and earlier ones cover."""
    structures = list(scheme.structures)
    structures.insert(to, structures.pop(_checked(scheme, index)))
    return replace(scheme, structures=tuple(structures), combinations=())


def with_ignore(scheme: LabelScheme, keys: Collection[str]) -> LabelScheme:
    """Return the scheme in which the segments of ``keys``, and no others, say "nobody knows what is here".

    Structures that lose all of their sources by it are left out. The segments that were the ignore label are dropped.
    """
    before = [key for key in scheme.ignore if key not in keys]
    rest = _without(scheme, keys)
    return check_scheme(replace(
        rest, ignore=tuple(sorted(set(keys))), dropped=tuple(sorted({*rest.dropped, *before})), combinations=()
    ))  # fmt: skip


def with_overlaps(
    scheme: LabelScheme, overlaps: Literal["order", "regions"], facts: Sequence[CaseFacts]
) -> LabelScheme:
    """Return the scheme with another way to treat structures that overlap."""
    return check_scheme(with_combinations(replace(scheme, overlaps=overlaps, combinations=()), facts))


def unmapped(scheme: LabelScheme, facts: Sequence[CaseFacts]) -> tuple[str, ...]:
    """Return the keys of the cases' structures that are in no place of the scheme."""
    known = {*scheme.dropped, *scheme.ignore, *(key for each in scheme.structures for key in each.sources)}
    return tuple(sorted(key for key in structure_sources(facts) if key not in known))


def completed(scheme: LabelScheme, facts: Sequence[CaseFacts]) -> LabelScheme:
    """Return the scheme with a place for all that the cases have, and with the combinations there are.

    For a scheme that the user made or that a dataset has, when cases come that it was not made for. Coded segments of
    which it says nothing go where it has their name as a source; the rest is dropped, which :func:`unmapped` tells
    before. No value changes, but the ignore label's where new combinations come.
    """
    sources = structure_sources(facts)
    names = {key: sources[key].folded_names for key in unmapped(scheme, facts)}

    def grown(keys: tuple[str, ...]) -> tuple[str, ...]:
        found = [key for key in names if names[key] & set(keys)]
        for key in found:
            del names[key]
        return tuple(sorted({*keys, *found}))

    structures = tuple(replace(each, sources=grown(each.sources)) for each in scheme.structures)
    ignore, left_out = grown(scheme.ignore), grown(scheme.dropped)
    known = replace(scheme, structures=structures, ignore=ignore, dropped=tuple(sorted({*left_out, *names})))
    return check_scheme(with_combinations(known, facts))


def same_labels(scheme: LabelScheme, there: LabelScheme) -> bool:
    """Say whether cases can be added by a scheme to a dataset that has the scheme ``there``.

    The names, their order and what becomes of overlaps must be the same, and what the scheme says of a segment must be
    what the dataset says; :func:`completed` may have taught the dataset more.
    """

    def named(each: LabelScheme) -> tuple[object, ...]:
        return tuple(structure.name for structure in each.structures), each.overlaps, bool(each.ignore)

    pairs = zip(scheme.structures, there.structures, strict=False)
    known = all(set(mine.sources) <= set(theirs.sources) for mine, theirs in pairs)
    return named(scheme) == named(there) and known and set(scheme.ignore) <= set(there.ignore)


def _new_structures(
    keys: Collection[str], facts: Sequence[CaseFacts], others: Sequence[Structure]
) -> tuple[Structure, ...]:
    sources = structure_sources(facts)
    if lost := [key for key in keys if key not in sources]:
        raise UsageError(f"No case has a structure '{lost[0]}'. Choose one that is in the table of labels.")
    groups = in_order([[sources[key]] for key in sources if key in set(keys)], facts)
    return structures_of(groups, [each.name for each in others])


def _without(scheme: LabelScheme, keys: Collection[str]) -> LabelScheme:
    """Return the scheme with ``keys`` in no place."""
    structures = []
    for each in scheme.structures:
        left = tuple(key for key in each.sources if key not in keys)
        if left or not each.sources:
            structures.append(replace(each, sources=left))
    ignore = tuple(key for key in scheme.ignore if key not in keys)
    dropped = tuple(key for key in scheme.dropped if key not in keys)
    return replace(scheme, structures=tuple(structures), ignore=ignore, dropped=dropped, combinations=())


def _with(scheme: LabelScheme, index: int, structure: Structure) -> tuple[Structure, ...]:
    return tuple(structure if number == index else each for number, each in enumerate(scheme.structures))


def _structure(scheme: LabelScheme, index: int) -> Structure:
    return scheme.structures[_checked(scheme, index)]


def _checked(scheme: LabelScheme, index: int) -> int:
    if not 0 <= index < len(scheme.structures):
        raise UsageError(f"There is no structure {index + 1}; the table of labels has {len(scheme.structures)}.")
    return index
