"""Deletion and insertion: does the score follow when what a map calls important goes and comes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from meddl.saliency.attribution import Measure
from meddl.saliency.estimate import about
from meddl.saliency.faithfulness.controls import body, random_maps, without_details

if TYPE_CHECKING:
    import torch

    from meddl.saliency.faithfulness.examined import Examined

SHARES = (0.0, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
"""Of the voxels that have been taken away or put back; finer where a small structure would be gone."""

RANDOM_MAPS = 5

GOOD, BAD = 0.7, 0.1
"""Of the way from the random maps' area to the best there is."""

_ROOM = 0.1

_NOTHING = " (0% is that of the wholly blurred image)"


def deletion(examined: Examined) -> Measure:
    """Return the area under the score while the hottest voxels are blurred away, the hottest ones first.

    Petsiuk et al., RISE: Randomized input sampling for explanation of black-box models, BMVC 2018, arXiv:1806.07421.
    Scores are told as shares, cut to 0 to 1: 1 is that of the image, 0 that of the image without details. The best area
    is 0. ``random`` is the mean of :data:`RANDOM_MAPS` random maps: the map's own values in other places of the body,
    as coarse as they are.

    Verdict by how far the map gets from ``random`` towards the best area. Measured on small networks (24 x 24 x 24
    phantoms with a lesion, classifiers and U-Nets, batch and instance norm, two images each), as "deletion; insertion":

    ==============================  ==============================  ==============================
    map                             median                          range
    ==============================  ==============================  ==============================
    integrated gradients            1.0; 1.0                        0.9 to 1.0; 1.0 to 1.0
    gradient                        0.9; 0.8                        0.2 to 1.0; 0.6 to 1.0
    the lesion's mask               1.0; 1.0                        0.8 to 1.0; -0.4 to 1.0
    edges of the image              0.3; 0.5                        0.2 to 0.9; -0.3 to 0.8
    smooth noise                    0.5; 0.5                        -0.1 to 0.6; 0.0 to 0.7
    noise                           0.2; 0.1                        -0.2 to 0.4; -0.2 to 0.5
    ==============================  ==============================  ==============================

    So from :data:`GOOD` on it is good, which no random map reached, and up to :data:`BAD` bad. Edges sometimes reach
    it: networks do suffer when edges go. This tells how well a map ranks what the *network* suffers from, not whether
    it was made from the network; the randomization check does. No verdict where the blur hardly changes the score or
    raises it, or random maps do as well as can be done.
    """
    return _measure(examined, "deletion")


def insertion(examined: Examined) -> Measure:
    """Return the area under the score while the hottest voxels come back into the blurred image, the hottest first.

    As :func:`deletion`, the other way round: the best area is 1.
    """
    return _measure(examined, "insertion")


def _measure(examined: Examined, name: str) -> Measure:
    total = examined.total()
    if not bool((total != 0).any()):
        return Measure(name, 1.0 if name == "deletion" else 0.0, None, "bad", "The map is empty.")
    title, work = name.capitalize(), examined.work
    work.step(0.0, f"{title}: blurring the image")
    sharp = examined.image.detach().cpu()
    dull = without_details(sharp)
    work.step(0.0, f"{title}: asking about the blurred image")
    highest, lowest = examined.score(sharp), examined.score(dull)
    if highest - lowest <= 0.01 * max(abs(highest), abs(lowest)):
        what = "raises" if lowest > highest else "hardly changes"
        sentence = f"Blurring the whole image {what} the score, so taking parts of it away tells nothing of the map."
        return Measure(name, None, None, "", sentence)
    work.step(0.0, f"{title}: making random maps to compare with")
    maps = [total, *random_maps(total, body(sharp), RANDOM_MAPS, examined.work.options.seed)]
    start, goal = (sharp, dull) if name == "deletion" else (dull, sharp)
    ends = (1.0, 0.0) if name == "deletion" else (0.0, 1.0)
    curves, begin = [], time.monotonic()
    for number, each in enumerate(maps):
        order = each.flatten().sort(descending=True, stable=True).indices
        shares_left = [ends[0]]
        for step, share in enumerate(SHARES[1:-1]):
            done = (number + step / len(SHARES)) / len(maps)
            said = f"random map {number} of {RANDOM_MAPS}" if number else "the map"
            left = about((time.monotonic() - begin) * (1 - done) / done) if done else ""
            work.step(done, f"{title}: {said}, {left} left" if left else f"{title}: {said}")
            score = examined.score(_mixed(start, goal, order, share))
            shares_left.append(min(max((score - lowest) / (highest - lowest), 0.0), 1.0))
        curves.append([*shares_left, ends[1]])
    areas = [float(np.trapezoid(curve, SHARES)) for curve in curves]
    return _judged(name, areas, curves[0])


def _judged(name: str, areas: list[float], curve: list[float]) -> Measure:
    value, random = areas[0], float(np.mean(areas[1:]))
    ahead, room = (random - value, random) if name == "deletion" else (value - random, 1 - random)
    tenth = curve[SHARES.index(0.1)]
    if name == "deletion":
        told = f"Once the hottest tenth is blurred away, {tenth:.0%} of the score is left{_NOTHING}"
    else:
        told = f"The hottest tenth alone brings {tenth:.0%} of the score{_NOTHING}"
    better = "lower" if name == "deletion" else "higher"
    sentence = (
        f"{told}; the area under the curve is {value:.2f}, that of random maps {random:.2f} ({better} is better)."
    )
    if room < _ROOM:
        verdict = ""
        sentence += " Random maps do nearly as well as can be done here, so it says little."
    else:
        verdict = "good" if ahead >= GOOD * room else "bad" if ahead <= BAD * room else "doubtful"
    return Measure(name, value, random, verdict, sentence, tuple(zip(SHARES, curve, strict=True)))


def _mixed(start: torch.Tensor, goal: torch.Tensor, order: torch.Tensor, share: float) -> torch.Tensor:
    """Return ``start`` with the first share of the voxels in ``order``, in all channels, taken from ``goal``."""
    import torch

    taken = torch.zeros(order.numel(), dtype=torch.bool)
    taken[order[: max(round(order.numel() * share), 1)]] = True
    return torch.where(taken.reshape(start.shape[2:]), goal, start)
