"""What is known of a map that was made window by window: facts and notes of all windows together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from meddl.saliency.methods.integrated import LARGEST_GAP

_COUNTS = ("blocks", "skipped", "measured", "runs")

_OF_FIGURES = (
    "were covered one by one",
    "of the answer's change from the baseline is not accounted for",
    "the map explains only the small rest",
    "The baseline gets the same score as the image",
)
"""Parts of the methods' sentences that tell figures of one window; those of all windows are told here."""

_HARDLY = 0.1
"""Share of the score: a change that is less explains little of it."""


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
    estimated = [each for each in told if _is_estimated(each)]
    facts |= _checked(estimated or [each for each in told if each.get("checked") is not None])
    if "falls" in facts:
        facts["falls"] = _falls(told)
    if "completeness_gap" in facts:
        facts |= _completeness(told, added_up)
    notes = [*_notes(noted)]
    if estimated:
        notes.append(_note_of_estimates(facts, len(told), len(estimated)))
    if "completeness_gap" in facts:
        notes += _notes_of_completeness(facts)
    return facts, tuple(notes)


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


def _is_estimated(facts: Mapping[str, Any]) -> bool:
    return facts.get("checked") is not None and facts["measured"] < facts["blocks"]


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
        if any(part in note for part in _OF_FIGURES):
            continue
        count = sum(note in each for each in noted)
        yield note if count == len(noted) else f"In {count} of {len(noted)} windows: {note}"


def _note_of_estimates(facts: Mapping[str, Any], windows: int, estimated: int) -> str:
    others = windows - estimated
    return (
        f"Of {facts['blocks']} blocks in {windows} windows, {facts['measured']} were covered one by one"
        f"{f' (all of those in {others} of the windows)' if others else ''}; the others are estimates. Checked were "
        f"those of {facts['checked_blocks']} blocks drawn by chance: their order agreed (rank correlation "
        f"{facts['checked']:.3f} in the worst window), and the worst was off by {facts['checked_error']:.1%} of the "
        "strongest effect in its window. Blocks out of the ordinary that chance did not draw may be further off."
    )


def _notes_of_completeness(facts: Mapping[str, Any]) -> Iterator[str]:
    gap, score, nothing = facts["completeness_gap"], facts["score"], facts["baseline_score"]
    if gap is None:
        yield "The baseline gets the same score as the image, so the map explains nothing. Choose another."
        return
    if gap > LARGEST_GAP:
        yield (
            f"{gap:.0%} of the answer's change from the baseline is not accounted for: take more steps or another "
            "baseline, and do not read the map as shares of the answer."
        )
    if abs(score - nothing) < _HARDLY * abs(score):
        yield f"The baseline alone gets {nothing / score:.0%} of the score, so the map explains only the small rest."
