"""Maps against a mask of where the evidence should lie, for instance a lesion that a radiologist drew."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meddl.errors import UsageError
from meddl.saliency.attribution import Measure
from meddl.saliency.report.planes import peak_of

if TYPE_CHECKING:
    import torch

    from meddl.saliency.faithfulness.examined import Examined


LIKELY = 0.25
"""Share of what the network sees: a mask of more than that is hit by chance too often to speak for a map."""


def pointing_game(examined: Examined) -> Measure:
    """Return whether the map's peak lies in the reference mask: 1 or 0.

    Zhang et al., Top-down neural attention by excitation backprop, IJCV 126 (2018), 10.1007/s11263-017-1059-x; here
    without their tolerance round the mask. The peak is the one that is shown: where several voxels share the highest
    value, as with blocks, it is in their middle. By chance a peak lies in the mask as often as the mask is large; where
    that is more than :data:`LIKELY`, a hit has no verdict.

    Raises:
        UsageError: there is no reference mask.
    """
    truth, total = _truth(examined, "pointing game"), examined.total()
    chance = float(truth.float().mean())
    if float(total.max()) <= 0:
        return Measure("pointing_game", 0.0, chance, "bad", "The map has no peak: it holds no evidence for the answer.")
    hit = bool(truth[peak_of(total.numpy())])
    where = "lies in" if hit else "misses"
    sentence = f"The map's peak {where} the reference mask (a random peak would hit it in {chance:.1%} of cases)."
    if hit and chance > LIKELY:
        return Measure("pointing_game", 1.0, chance, "", f"{sentence} The mask is too large for that to say much.")
    return Measure("pointing_game", float(hit), chance, "good" if hit else "bad", sentence)


def overlap(examined: Examined) -> Measure:
    """Return the share of the map's hottest voxels, as many as the reference mask has, that lie in the mask.

    The "relevance rank accuracy" of Arras et al., CLEVR-XAI, Information Fusion 81 (2022),
    10.1016/j.inffus.2021.11.008; their "relevance mass accuracy", the share of all positive attribution in the mask,
    stands in the sentence. Verdict: as for two masks, whose Dice this is when the map is cut to the mask's size:
    at least 0.5 is good; less than twice what chance gives, or less than 0.1, is bad. Masks of more than
    :data:`LIKELY` of what the network sees leave no room for that: no better than chance is bad, else there is no
    verdict.

    Raises:
        UsageError: there is no reference mask.
    """
    truth, total = _truth(examined, "overlap").flatten(), examined.total().flatten()
    count, chance = int(truth.sum()), float(truth.float().mean())
    positive = total.clamp(min=0).double()
    if float(positive.max()) <= 0:
        return Measure("overlap", 0.0, chance, "bad", "The map holds no evidence for the answer.")
    # Voxels without evidence are no answer, even where there are not enough others.
    hottest = positive.topk(count).indices
    value = float((truth[hottest] & (positive[hottest] > 0)).sum()) / count
    mass = float(positive[truth].sum() / positive.sum())
    if chance > LIKELY:
        verdict = "bad" if value <= chance else ""
    else:
        verdict = "bad" if value < max(0.1, 2 * chance) else "good" if value >= 0.5 else "doubtful"
    sentence = (
        f"Of the hottest voxels, as many as the reference mask has, {value:.0%} lie in it (by chance {chance:.1%}); "
        f"it holds {mass:.0%} of the evidence."
    )
    return Measure("overlap", value, chance, verdict, sentence)


def _truth(examined: Examined, what: str) -> torch.Tensor:
    truth = examined.truth
    if truth is None:
        raise UsageError(f"The {what} needs a reference mask. Choose one, or leave this measure out.")
    truth = truth.detach().cpu() > 0
    if not bool(truth.any()):
        raise UsageError(f"The reference mask is empty where the network looks, so the {what} means nothing here.")
    return truth
