"""Spreading things over parts so that each part gets its share of every kind: iterative stratification."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np

_MOST = 600
"""Up to so many things are exchanged until nothing gets better: the time grows with the square of their number."""
_ROUNDS = 5

Stratum = TypeVar("Stratum", bound=Hashable)


def fair_counts(total: int, shares: Sequence[float], present: Sequence[int]) -> list[int]:
    """Return how many of ``total`` things each part gets: as near to its share as whole numbers can be.

    A part with a share gets at least one thing where there are enough; the first part comes first, then the last.

    Args:
        shares: of the parts, adding up to 1.
        present: how many each part has already; they stay.

    Example:
        >>> fair_counts(10, (0.7, 0.1, 0.2), (0, 0, 0)), fair_counts(2, (0.7, 0.1, 0.2), (0, 0, 0))
        ([7, 1, 2], [1, 0, 1])
    """
    if total == 0:
        return [0] * len(shares)
    parts = range(len(shares))
    goal = [int(share * total + 1e-9) for share in shares]
    lacking = sorted(parts, key=lambda part: (-round(shares[part] * total - goal[part], 9), part))
    for part in lacking[: total - sum(goal)]:
        goal[part] += 1
    for part in (0, *reversed(parts[1:])):
        richest = max(parts, key=lambda each: (goal[each], -each))
        if shares[part] > 0 and goal[part] == 0 and (goal[richest] > 1 or part == 0):
            goal[part], goal[richest] = goal[part] + 1, goal[richest] - 1
    counts = list(present)
    for _ in range(total - sum(present)):
        counts[max(parts, key=lambda part: (goal[part] - counts[part], shares[part], -part))] += 1
    return counts


def spread(
    strata: Mapping[str, frozenset[Stratum]],
    counts: Sequence[int],
    settled: Mapping[str, int],
    lot: Callable[[str], str],
) -> dict[str, int]:
    """Return a part for each thing, so that the parts have ``counts`` things and every stratum is spread evenly.

    Args:
        strata: of each thing, by its name.
        counts: of things by part, those of ``settled`` included.
        settled: parts of things that stay.
        lot: decides by name where nothing else does.
    """
    total = max(len(strata), 1)
    parts = range(len(counts))
    room = [count - sum(part == each for each in settled.values()) for part, count in zip(parts, counts, strict=True)]
    waiting: dict[Stratum, set[str]] = {}
    wanted: dict[Stratum, list[float]] = {}
    for name, own in strata.items():
        for stratum in own:
            want = wanted.setdefault(stratum, [0.0] * len(counts))
            for part in parts:
                want[part] += counts[part] / total
            if name in settled:
                want[settled[name]] -= 1
            else:
                waiting.setdefault(stratum, set()).add(name)
    answer = dict(settled)

    def place(name: str, part: int) -> None:
        answer[name] = part
        room[part] -= 1
        for stratum in strata[name]:
            wanted[stratum][part] -= 1
            waiting[stratum].discard(name)

    while any(waiting.values()):
        rarest = min((s for s in waiting if waiting[s]), key=lambda s: (len(waiting[s]), lot(repr(s))))
        # Those with many other strata first: they are the hardest to place.
        for name in sorted(waiting[rarest], key=lambda each: (-len(strata[each]), lot(each))):
            open_parts = [part for part in parts if room[part] > 0]
            place(name, max(open_parts, key=lambda part: (
                round(wanted[rarest][part], 9), round(_need(strata[name], wanted, part), 9), room[part],
                lot(f"{name}\0{part}"),
            )))  # fmt: skip
    for name in sorted((name for name in strata if name not in answer), key=lot):
        part = max(parts, key=lambda each: (room[each], lot(f"{name}\0{each}")))
        answer[name] = part
        room[part] -= 1
    _exchange(strata, counts, answer, sorted((name for name in strata if name not in settled), key=lot))
    return answer


def _need(own: frozenset[Stratum], wanted: Mapping[Stratum, Sequence[float]], part: int) -> float:
    return sum(wanted[stratum][part] for stratum in sorted(own, key=repr))


def _exchange(
    strata: Mapping[str, frozenset[Stratum]], counts: Sequence[int], answer: dict[str, int], free: Sequence[str]
) -> None:
    """Exchange pairs of ``free`` things in ``answer`` as long as the strata get more even by it.

    Placing one after the other cannot foresee what comes; few things with many strata gain much by a second look.
    """
    columns = {stratum: n for n, stratum in enumerate(sorted(set().union(*strata.values()), key=repr))}
    if not columns or not 1 < len(free) <= _MOST:
        return

    def rows(names: Sequence[str]) -> np.ndarray:
        table = np.zeros((len(names), len(columns)))
        for row, name in zip(table, names, strict=True):
            row[[columns[stratum] for stratum in strata[name]]] = 1
        return table

    everything, table = rows(list(strata)), rows(free)
    where = np.array([answer[name] for name in strata])
    shares = np.array(counts) / len(strata)
    sizes = everything.sum(axis=0)
    excess = np.stack([everything[where == part].sum(axis=0) for part in range(len(counts))]) - np.outer(shares, sizes)
    parts = np.array([answer[name] for name in free])
    for _ in range(_ROUNDS):
        is_better = False
        for n in range(len(free)):
            # Squared excesses over the sizes of the strata: a rare one weighs as much as a common one.
            change = table - table[n]
            gain = ((excess[parts[n]] - excess[parts]) * change + change**2) @ (2 / sizes)
            gain = np.where(parts == parts[n], 0, np.round(gain, 9))
            best = int(gain.argmin())
            if gain[best] < 0:
                excess[parts[n]] += change[best]
                excess[parts[best]] -= change[best]
                parts[n], parts[best] = parts[best], parts[n]
                is_better = True
        if not is_better:
            break
    answer.update(zip(free, parts.tolist(), strict=True))
