"""The sanity check of saliency maps: a map that survives a network without knowledge does not explain the network."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from meddl.errors import MedDLError, ModelError, OutOfMemory
from meddl.jobs.progress import part_of
from meddl.saliency.attribution import Measure
from meddl.saliency.estimate import GRADIENT, runs_taken
from meddl.saliency.faithfulness.controls import body, edges
from meddl.saliency.faithfulness.random_networks import can_forget, forgotten
from meddl.saliency.faithfulness.ranks import partial_rank_correlation, rank_correlation, thinned

if TYPE_CHECKING:
    from meddl.saliency.faithfulness.examined import Examined

CASCADE = (1 / 3, 2 / 3)
"""Shares of the layers that are random on the way to all of them, counted from the answer."""

NETWORKS = 2
"""Wholly random networks that the map is compared with."""

GOOD, BAD = 0.5, 0.75

FEWEST = 4
"""Structures from which on the order of their effects tells something."""

_LOOKS = 4
_SEEN = 0.02
_FOLLOWS = 0.7


def randomization(examined: Examined) -> Measure:
    """Return how much of the map stays when the network's weights are random, as a rank correlation: 0 is nothing.

    The model-parameter randomization test of Adebayo et al., Sanity checks for saliency maps, NeurIPS 2018,
    arXiv:1810.03292, on absolute values, within the body and what the network sees. The curve is their cascade from the
    answer's layers back to the image's; the value is the mean over :data:`NETWORKS` wholly random networks.

    Two things are alike in both maps without any fault of the method, and are taken out of the ranks (partial
    correlation): *where* a network can look at all, since the sum over a structure's mask depends on its surroundings
    only, trained or not (measured by the gradient of random networks on noise); and *how far the image is from its
    baseline*, which methods that multiply by it hold in every map, and which inflates the plain figure (it stands in
    the sentence). Rank correlations measured on small networks (24 x 24 x 24 phantoms with a lesion, classifiers and
    U-Nets, batch and instance norm), over both random networks, plain and as told here:

    ================================  ===============  ==============
    map                               plain            with both out
    ================================  ===============  ==============
    gradient, SmoothGrad              -0.22 to 0.50    -0.17 to 0.25
    guided backpropagation            -0.46 to 0.50    -0.38 to 0.24
    input times gradient              -0.08 to 0.53    -0.05 to 0.32
    integrated gradients              0.23 to 0.68     -0.12 to 0.34
    GradientSHAP                      -0.08 to 0.60    -0.11 to 0.36
    Grad-CAM, Grad-CAM++              -0.20 to 0.32    -0.07 to 0.20
    occlusion                         -0.57 to 0.55    -0.54 to 0.26
    edges, times the gradient a bit   0.96 to 0.98     0.93 to 0.97
    edges, the image, fixed noise     1.00             1.00
    ================================  ===============  ==============

    Of maps of given structures only those are compared, and fewer than :data:`FEWEST` not at all.

    Verdict: up to :data:`GOOD` is good; from :data:`BAD` on the map does not explain the model. Both lie in the gap
    between the methods that look at the network and those that look at the image.
    """
    image, work = examined.image, examined.work
    first = examined.total().abs()
    if not bool((first != 0).any()):
        return Measure("randomization", None, None, "bad", "The map is empty.")
    if not can_forget(examined.scorer):
        sentence = "This model's weights cannot be changed here, so the check against a random network is not possible."
        return Measure("randomization", None, None, "", sentence)
    within, parts = _reached(examined)
    if parts < FEWEST:
        sentence = f"A map of fewer than {FEWEST} structures has too few values to compare their order with another's."
        return Measure("randomization", None, None, "", sentence)
    distance = (image if work.baseline is None else image - work.baseline.to(image)).abs().sum(dim=1)[0].cpu().numpy()
    outline = edges(image)
    looked = _share_of_looks(examined)
    field = _where_it_looks(examined, looked)
    known = [distance]
    if field is not None:
        seen = within & (field > _SEEN * field.max())
        within = seen if seen.sum() >= 100 else within
        known += [field, field * distance]
    runs = [(share, 0) for share in CASCADE] + [(1.0, number) for number in range(NETWORKS)]
    likeness: list[tuple[float, float, float]] = []
    for number, (share, seed) in enumerate(runs):
        text = f"Randomization: networks with random weights, {number + 1} of {len(runs)}"
        begin, end = (looked + (1 - looked) * each / len(runs) for each in (number, number + 1))
        work.step(begin, text)
        scorer = forgotten(examined.scorer, image, share, work.options.seed + seed)
        try:
            other = examined.again(scorer=scorer, part=(begin, end), text=text).sum(dim=0).abs()
        except OutOfMemory:
            raise
        except ModelError:
            continue  # a random network may well answer with what is no number
        one, another, *given = thinned(first, other, *known, within=within)
        likeness.append((share, rank_correlation(one, another), partial_rank_correlation(one, another, *given)))
    whole = [each for each in likeness if each[0] == 1.0]
    if not whole:
        sentence = "The method gives no map for networks with random weights, so the check says nothing."
        return Measure("randomization", None, None, "", sentence)
    plain, value = (float(np.mean([each[n] for each in whole])) for n in (1, 2))
    verdict = "good" if value <= GOOD else "bad" if value >= BAD else "doubtful"
    told = {
        "good": "With random weights in the network the map becomes another one",
        "doubtful": "With random weights in the network part of the map stays",
        "bad": "The map stays even with random weights in the network: it does not explain the model",
    }[verdict]
    sentence = f"{told} (rank correlation {value:.2f}; {plain:.2f} before place and brightness are allowed for)."
    follows = rank_correlation(*thinned(first, outline, within=within))
    if follows >= _FOLLOWS:
        sentence += f" It follows the edges of the image (rank correlation {follows:.2f})."
    curve = [(0.0, 1.0), *((share, partial) for share, _, partial in likeness if share < 1), (1.0, value)]
    return Measure("randomization", value, None, verdict, sentence, tuple(curve))


def _reached(examined: Examined) -> tuple[np.ndarray, float]:
    """Return where the map can say anything, ``(i, j, k)`` bool, and in how many parts that each have one value.

    A map of given structures is zero elsewhere, with any network: that it is so again proves nothing.
    """
    within, regions = body(examined.image), examined.work.regions
    if regions is None or examined.raw.facts.get("regions") != "structures":
        return within, np.inf
    found = regions.cpu().numpy()
    return found > 0, len(np.unique(found[found > 0]))


def _share_of_looks(examined: Examined) -> float:
    """Return which share of the work it is to find out where random networks look, about."""
    looks = _LOOKS * GRADIENT
    runs = runs_taken(examined.method.id, examined.work.options, examined.raw.facts)
    return looks / (looks + (len(CASCADE) + NETWORKS) * runs)


def _where_it_looks(examined: Examined, share: float) -> np.ndarray | None:
    """Return ``(i, j, k)`` how much random networks look at each voxel of noise; None where no gradient can be had.

    Args:
        share: of the measure's progress, 0 to 1.
    """
    import torch
    from scipy.ndimage import gaussian_filter

    from meddl.saliency.memory import gradients_at_once
    from meddl.saliency.methods.running import plain, running

    image, work = plain(examined.image, examined.scorer), examined.work
    generator = torch.Generator().manual_seed(work.options.seed)
    total = np.zeros(tuple(image.shape[2:]))
    try:
        gradients_at_once(examined.scorer, image, work.options)
        for number in range(_LOOKS):
            part = replace(work, progress=part_of(work.progress, *(share * n / _LOOKS for n in (number, number + 1))))
            part.step(0.0, "Randomization: where the network looks")
            noise = torch.randn(image.shape, generator=generator).to(image) * image.std() + image.mean()
            scorer = forgotten(examined.scorer, noise, 1.0, work.options.seed + NETWORKS + number)
            with running(scorer, part, 1, "Randomization: where the network looks") as module, torch.enable_grad():
                gradient = torch.autograd.grad(module(noise.requires_grad_()).sum(), noise)[0]
            size = torch.nan_to_num(gradient).abs().sum(dim=1)[0].cpu().numpy()
            total += size / (float(size.mean()) or 1.0)
    except MedDLError as error:
        if isinstance(error, OutOfMemory | ModelError):
            return None
        raise
    except RuntimeError:
        return None  # networks that cut the way back for gradients say so in many words
    return gaussian_filter(total, 1.0) if total.any() else None
