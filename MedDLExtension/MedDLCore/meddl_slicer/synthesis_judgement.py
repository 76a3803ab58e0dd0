"""A judgement of a generator as rows of tables and sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meddl_slicer.i18n import tr as _

Rows = tuple[list[str], list[list[str]]]


def distance_rows(judgement: Mapping[str, Any]) -> Rows:
    """Return headings and rows of how far synthetic images are from real ones, beside how far real ones are."""
    headings = [_("Measure"), _("Synthetic"), _("Real people's"), _("Better"), _("Compared by")]
    rows = []
    for each in judgement["distances"]:
        better = _("lower") if each["better"] == "lower" else _("as real")
        rows.append(
            [
                each["measure"],
                _with_interval(each["value"], each["low"], each["high"]),
                _with_interval(each["baseline"], each["baseline_low"], each["baseline_high"]),
                better,
                each["features"],
            ]
        )
    return headings, rows


def usefulness_rows(judgement: Mapping[str, Any]) -> Rows:
    """Return headings and rows of Dice on held-out people, with and without synthetic images."""
    useful = judgement["usefulness"]
    if useful is None:
        return [], []
    scores = useful["scores"]
    arms = list(dict.fromkeys(each["arm"] for each in scores))
    found = {(each["structure"], each["arm"]): each for each in scores}
    verdicts = {each["structure"]: each for each in useful["differences"] if each["arm"] == "real + synthetic"}
    headings = [_("Dice"), *({"real": _("Real"), "real + synthetic": _("Real + synthetic")}.get(arm, arm.capitalize())
                             for arm in arms), _("With them")]  # fmt: skip
    rows = []
    for structure in dict.fromkeys(each["structure"] for each in scores):
        cells = [found.get((structure, arm)) for arm in arms]
        told = [_with_interval(each["mean"], each["low"], each["high"]) if each else "" for each in cells]
        difference = verdicts.get(structure)
        rows.append([structure, *told, difference["verdict"] if difference else ""])
    return headings, rows


def pairs_sentence(judgement: Mapping[str, Any]) -> str:
    """Return what the pictures of pairs show."""
    found = judgement["memorization"]
    if found is None or not found["pairs"]:
        return ""
    said = _("Synthetic images and the training images that they are most like, nearest first.")
    if found["near_threshold"] is not None:
        said += " " + _("Nearer than other people's images come: {near} of {count} ({expected:.1f} by chance).").format(
            near=found["near"], count=found["synthetic"], expected=found["expected_near"]
        )
    return said


def _with_interval(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return "\N{EN DASH}"
    if low is None or high is None:
        return _number(value)
    return f"{_number(value)} ({_number(low)} to {_number(high)})"


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
