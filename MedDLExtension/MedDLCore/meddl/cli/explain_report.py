"""What ``meddl explain`` tells people of an explanation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from meddl.cli.infer_report import print_prediction

if TYPE_CHECKING:
    from meddl.saliency.attribution import Attribution, Measure
    from meddl.saliency.explanation import Explanation


def print_explanation(explanation: Explanation) -> None:
    """Print the answer, and of each map where it lies, how far to believe it and what is to be known about it."""
    print_prediction(explanation.prediction)
    for attribution in explanation.attributions:
        _print_map(attribution)
    from meddl.saliency.report.words import method_title

    for method, why in explanation.left_out.items():
        print(f"{method_title(method)} gave no map: {why}")
    if explanation.agreement:
        print("Agreement of the methods")
        _print_agreement(explanation.agreement)
    if explanation.counterfactuals:
        print("What would be without it?")
        _print_measures(explanation.counterfactuals)


def _print_map(attribution: Attribution) -> None:
    from meddl.inference.words import place_in_words
    from meddl.saliency.anatomy import anatomy_sentence
    from meddl.saliency.report.planes import peak_of
    from meddl.saliency.report.words import channel_shares, method_title, verdict_in_words

    values = attribution.map.array[0]
    index = peak_of(values)
    peak = attribution.map.affine[:3, :3] @ index + attribution.map.affine[:3, 3]
    print(f"{method_title(attribution.method)}: {attribution.target}, raw score {attribution.score:.4g}")
    print(f"  Peak: {values[index]:.4g} at {place_in_words(peak)}")
    if shares := channel_shares(attribution):
        print("  By channel: " + ", ".join(f"{share:.0%}" for share in shares))
    if attribution.anatomy:
        print(f"  {anatomy_sentence(attribution.anatomy)}")
    if said := verdict_in_words(attribution.measures):
        print(f"  {said}")
    _print_measures(attribution.measures)
    for note in attribution.notes:
        print(f"  Note: {note}")


def _print_agreement(agreement: Sequence[Measure]) -> None:
    from meddl.saliency.report.agreement import MOST_PAIRS, agreement_table

    sentence, rows = agreement_table(agreement)
    if len(agreement) <= MOST_PAIRS or not rows:
        _print_measures(agreement)
        return
    print(f"  {sentence}")
    width = max(len(row[1]) for row in rows)
    print(" " * (6 + width) + "".join(str(n + 1).rjust(5) for n in range(len(rows) - 1)))
    for number, title, *cells in rows:
        print(f"  {number.rjust(2)}  {title.ljust(width)}{''.join(each.rjust(5) for each in cells)}".rstrip())


def _print_measures(measures: Sequence[Measure]) -> None:
    from meddl.saliency.report.words import figure, measure_title

    for each in measures:
        verdict = f" ({each.verdict})" if each.verdict else ""
        random = "" if each.random is None else f", random map {figure(each.random)}"
        value = "" if each.value is None else f"{figure(each.value)}{random}"
        said = f"{value}{verdict}".strip()
        print(f"  {measure_title(each.name)}: {said + '. ' if said else ''}{each.sentence}".rstrip())
