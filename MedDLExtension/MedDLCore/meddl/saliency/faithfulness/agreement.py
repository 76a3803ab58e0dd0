"""Do several methods say the same of one answer."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from meddl.saliency.attribution import Attribution, Measure
from meddl.saliency.faithfulness.ranks import rank_correlation, thinned, top_overlap

_TOP = 0.05
_GOOD, _BAD = 0.5, 0.2


def agreement(attributions: Sequence[Attribution]) -> tuple[Measure, ...]:
    """Return for each two maps how far they agree, as a measure named "agreement of A and B".

    The value is the share that their hottest 5 % of voxels have in common, ``random`` what chance gives (5 %); the rank
    correlation of both stands in the sentence. Maps that tell the sign are taken by what speaks for the answer against
    others that tell it too, by their size otherwise. Voxels where no map says anything (outside of what the network
    saw, air) do not count. After Arun et al., Radiology: AI 3 (2021) e200267, 10.1148/ryai.2021200267
    ("reproducibility"), and Krishna et al., The disagreement problem in explainable machine learning, 2022,
    arXiv:2202.01602 (feature and rank agreement).

    Verdict: half of the hottest voxels in common is good; less than a fifth is bad.
    """
    measures = []
    for one, other in combinations(attributions, 2):
        signed = one.signed and other.signed
        maps = [each.map.array[0] if signed else np.abs(each.map.array[0]) for each in (one, other)]
        said = (maps[0] != 0) | (maps[1] != 0)
        name = f"agreement of {one.method} and {other.method}"
        if not all(each.any() for each in maps):
            measures.append(Measure(name, 0.0, _TOP, "bad", "One of the maps is empty."))
            continue
        a, b = thinned(*maps, within=said)
        common, rank = top_overlap(a, b, _TOP), rank_correlation(a, b)
        verdict = "good" if common >= _GOOD else "bad" if common < _BAD else "doubtful"
        sentence = (
            f"The hottest {_TOP:.0%} of both maps have {common:.0%} of their voxels in common (by chance {_TOP:.0%}); "
            f"rank correlation {rank:.2f}."
        )
        measures.append(Measure(name, common, _TOP, verdict, sentence))
    return tuple(measures)
