"""What is known of a map that was made window by window: facts and notes of all windows together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from meddl.saliency.methods.figures import is_estimated, sentences

_COUNTS = ("blocks", "skipped", "measured", "runs")


def together(
    told: Sequence[Mapping[str, Any]], noted: Sequence[Sequence[str]], added_up: float
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return facts and notes of a map from those of its windows.

    Counts are added up, and so are scores, as the map is. Of checks the worst counts, among the windows in which the
    map holds estimates where there are such. What differs otherwise is told of all.

    Args:
        told: facts of each window.
        noted: notes of each window.
        added_up: sum over the whole map.
    """
    if len(told) == 1:
        return dict(told[0]), tuple(noted[0])
    facts = {key: _of_all(key, told) for key in dict.fromkeys(key for each in told for key in each)}
    estimated = [each for each in told if is_estimated(each)]
    facts |= _checked(estimated or [each for each in told if each.get("checked") is not None])
    if "falls" in facts:
        facts["falls"] = _falls(told)
    if "completeness_gap" in facts:
        facts |= _completeness(told, added_up)
    # What a window's own figures say is not so of all of them.
    others = [[note for note in notes if note not in sentences(each)] for each, notes in zip(told, noted, strict=True)]
    return facts, (*_notes(others), *sentences(facts, len(told), len(estimated)))


def named(facts: Mapping[str, Any], structures: Sequence[str]) -> dict[str, Any]:
    """Return facts in which structures that were taken away have their names instead of numbers from 1 on."""
    falls = facts.get("falls")
    if facts.get("regions") != "structures" or not isinstance(falls, Mapping):
        return dict(facts)
    names = ["outside all", *structures]
    return {
        **facts,
        "falls": {
            names[int(region)] if names.count(names[int(region)]) == 1 else f"{names[int(region)]} ({region})": fall
            for region, fall in falls.items()
        },
    }


def _of_all(key: str, told: Sequence[Mapping[str, Any]]) -> Any:
    values = [each[key] for each in told if each.get(key) is not None]
    different = [value for number, value in enumerate(values) if value not in values[:number]]
    if key in _COUNTS:
        return sum(values)
    if len(different) < 2:
        return different[0] if different else None
    if key == "at_once":
        return min(values)
    if key.endswith("grid"):
        return min(values, key=math.prod)  # the coarsest tells how much can be seen
    if all(isinstance(value, str) for value in different):
        return ", ".join(sorted(value for value in different if value))
    return different


def _checked(told: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    if not told:
        return {}
    errors = [each["checked_error"] for each in told if each.get("checked_error") is not None]
    return {
        "checked": min(each["checked"] for each in told),
        "checked_blocks": sum(each["checked_blocks"] for each in told),
        "checked_error": max(errors, default=None),
    }


def _falls(told: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the falls of regions; structures are the same in all windows, supervoxels are of one only."""
    falls: dict[str, float] = {}
    same = all(each.get("regions") == "structures" for each in told)
    for number, each in enumerate(told):
        for region, fall in each.get("falls", {}).items():
            key = region if same else f"window {number + 1}, region {region}"
            falls[key] = falls.get(key, 0.0) + fall
    return falls


def _completeness(told: Sequence[Mapping[str, Any]], added_up: float) -> dict[str, Any]:
    score, nothing = (sum(each[name] for each in told) for name in ("score", "baseline_score"))
    change = score - nothing
    gap = abs(added_up - change) / abs(change) if abs(change) > 1e-6 * max(abs(score), abs(nothing)) else None
    return {"score": score, "baseline_score": nothing, "completeness_gap": gap}


def _notes(noted: Sequence[Sequence[str]]) -> Iterator[str]:
    """Give the notes of all windows once, with how many windows they are about where not all."""
    for note in dict.fromkeys(note for each in noted for note in each):
        count = sum(note in each for each in noted)
        yield note if count == len(noted) else f"In {count} of {len(noted)} windows: {note}"
