"""What the figures of a map say about it, in sentences: those of one window, or of all together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

LARGEST_GAP = 0.05
"""Share of the change of the score that may be left unexplained without being flagged."""

_HARDLY = 0.1
"""Share of the score: a change that is less explains little of it."""


def is_estimated(facts: Mapping[str, Any]) -> bool:
    """Say whether a map holds estimates."""
    return facts.get("checked") is not None and facts["measured"] < facts["blocks"]


def sentences(facts: Mapping[str, Any], windows: int = 1, estimated: int = 1) -> tuple[str, ...]:
    """Return what the user should know of a map's figures.

    Args:
        facts: of the map.
        windows: that they are of.
        estimated: windows in which the map holds estimates, if there are such.
    """
    told = [_of_estimates(facts, windows, estimated)] if is_estimated(facts) else []
    return (*told, *(_of_completeness(facts) if "completeness_gap" in facts else ()))


def _of_estimates(facts: Mapping[str, Any], windows: int, estimated: int) -> str:
    in_all, in_worst, in_its = (f" in {windows} windows", " in the worst window", " in its window")
    if windows == 1:
        in_all = in_worst = in_its = ""
    whole = f" (all of those in {windows - estimated} of the windows)" if windows > estimated else ""
    return (
        f"Of {facts['blocks']} blocks{in_all}, {facts['measured']} were covered one by one{whole}; the others are "
        f"estimates. Checked were those of {facts['checked_blocks']} blocks drawn by chance: their order agreed (rank "
        f"correlation {facts['checked']:.3f}{in_worst}), and the worst was off by {facts['checked_error']:.1%} of the "
        f"strongest effect{in_its}. Blocks out of the ordinary that chance did not draw may be further off."
    )


def _of_completeness(facts: Mapping[str, Any]) -> Iterator[str]:
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
