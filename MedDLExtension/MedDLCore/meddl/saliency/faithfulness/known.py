"""All measures of how far to believe a map, by their ids."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from meddl.saliency.attribution import Measure
from meddl.saliency.faithfulness.captum_measures import infidelity, sensitivity
from meddl.saliency.faithfulness.completeness import completeness
from meddl.saliency.faithfulness.curves import deletion, insertion
from meddl.saliency.faithfulness.examined import Examined
from meddl.saliency.faithfulness.randomization import randomization
from meddl.saliency.faithfulness.reference import overlap, pointing_game
from meddl.saliency.faithfulness.stability import stability

MEASURES: Mapping[str, Callable[[Examined], Measure]] = {
    "deletion": deletion,
    "insertion": insertion,
    "infidelity": infidelity,
    "sensitivity": sensitivity,
    "completeness": completeness,
    "pointing_game": pointing_game,
    "overlap": overlap,
    "randomization": randomization,
    "stability": stability,
}


@dataclass(frozen=True)
class AboutMeasure:
    """What a measure is, for people.

    Attributes:
        title: its name.
        question: what it asks of a map.
        source: the paper.
        best: the value of a perfect map.
        needs_reference: it needs a mask of where the evidence should lie.
    """

    title: str
    question: str
    source: str
    best: float
    needs_reference: bool = False


ABOUT: Mapping[str, AboutMeasure] = {
    "deletion": AboutMeasure(
        "Deletion",
        "Does the score fall when the hottest voxels are blurred away first?",
        "Petsiuk et al. 2018, RISE, arXiv:1806.07421",
        0.0,
    ),
    "insertion": AboutMeasure(
        "Insertion",
        "Does the score rise when the hottest voxels come back into a blurred image first?",
        "Petsiuk et al. 2018, RISE, arXiv:1806.07421",
        1.0,
    ),
    "infidelity": AboutMeasure(
        "Infidelity",
        "Does the map foretell how the score changes when blocks of the image are blurred?",
        "Yeh et al. 2019, On the (in)fidelity and sensitivity of explanations, arXiv:1901.09392",
        0.0,
    ),
    "sensitivity": AboutMeasure(
        "Sensitivity",
        "How much does the map change with faint noise on the image, at most?",
        "Yeh et al. 2019, On the (in)fidelity and sensitivity of explanations, arXiv:1901.09392",
        0.0,
    ),
    "completeness": AboutMeasure(
        "Completeness",
        "Does the map add up to the score's change from the baseline?",
        "Sundararajan et al. 2017, Axiomatic attribution for deep networks, arXiv:1703.01365",
        0.0,
    ),
    "pointing_game": AboutMeasure(
        "Pointing game",
        "Does the map's peak lie in the reference mask?",
        "Zhang et al. 2018, Top-down neural attention by excitation backprop, 10.1007/s11263-017-1059-x",
        1.0,
        True,
    ),
    "overlap": AboutMeasure(
        "Overlap",
        "How many of the hottest voxels lie in the reference mask?",
        "Arras et al. 2022, CLEVR-XAI, 10.1016/j.inffus.2021.11.008",
        1.0,
        True,
    ),
    "randomization": AboutMeasure(
        "Randomization",
        "Is the map another one when the network's weights are random?",
        "Adebayo et al. 2018, Sanity checks for saliency maps, arXiv:1810.03292",
        0.0,
    ),
    "stability": AboutMeasure(
        "Stability",
        "Does the map stay the same under small noise, and move along with small shifts?",
        "Arun et al. 2021, Assessing the trustworthiness of saliency maps, 10.1148/ryai.2021200267",
        1.0,
    ),
}
