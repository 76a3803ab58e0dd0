"""How far methods agree, as a table that can be taken in at a glance where there are many of them."""

from __future__ import annotations

from collections.abc import Sequence

from meddl.saliency.attribution import Measure
from meddl.saliency.report.words import method_title

_BEGIN, _BETWEEN = "agreement of ", " and "

MOST_PAIRS = 3
"""As many pairs of methods are told one by one, each in a sentence."""


def agreement_table(agreement: Sequence[Measure]) -> tuple[str, tuple[tuple[str, ...], ...]]:
    """Return a sentence and rows of cells: a method's number, its title, and how far it agrees with each before it.

    Args:
        agreement: of all pairs of some methods, as :func:`meddl.saliency.faithfulness.agreement.agreement` gives it.
    """
    pairs = {tuple(each.name.removeprefix(_BEGIN).split(_BETWEEN, 1)): each for each in agreement}
    if not all(len(pair) == 2 for pair in pairs):
        return "", ()  # names of another maker
    methods = list(dict.fromkeys(method for pair in pairs for method in pair))
    rows = []
    for number, method in enumerate(methods):
        common = (pairs.get((other, method)) for other in methods[:number])
        cells = ["" if each is None or each.value is None else f"{each.value:.0%}" for each in common]
        rows.append((str(number + 1), method_title(method), *cells, *[""] * (len(methods) - 1 - number)))
    count = {verdict: sum(each.verdict == verdict for each in agreement) for verdict in ("good", "bad")}
    chance = next((each.random for each in agreement if each.random is not None), 0.05)
    sentence = (
        f"Of the hottest {chance:.0%} of the voxels of two maps, so many are the same ones (by chance {chance:.0%}). "
        f"Of {len(agreement)} pairs {count['good']} agree well (half or more), {count['bad']} hardly (less than a "
        "fifth)."
    )
    return sentence, tuple(rows)
