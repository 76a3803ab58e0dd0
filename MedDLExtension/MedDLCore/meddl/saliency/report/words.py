"""What figures of an explanation mean, in words."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from meddl.saliency.attribution import Attribution, Measure

RESEARCH_ONLY = (
    "For research only. Not for diagnosis: a map tells what a network answered to, not whether its answer is right."
)
CAUTION = (
    "Maps of attribution mislead easily. Some stay the same when the network's weights are random (Adebayo et al. "
    "2018, arXiv:1810.03292); of eight methods tried on radiographs each failed at least one of four tests (Arun et "
    "al. 2021, 10.1148/ryai.2021200267), and all located findings worse than radiologists (Saporta et al. 2022, "
    "10.1038/s42256-022-00536-x). Believe a map as far as its checks carry, and look at the image itself."
)
UNCHECKED = "How far to believe this map was not looked at. Ask for the checks of faithfulness before drawing on it."
UNTOLD = "Whether the map depends on the network at all is not known: that is what randomization tells."

_FACTS = {
    "layer": "Layer", "grid": "The layer's grid", "layer_grid": "The layer's grid", "steps": "Steps",
    "samples": "Noisy copies", "noise": "Noise (standard deviation)", "baseline": "Baseline", "score": "Score",
    "baseline_score": "Score of the baseline", "completeness_gap": "Left unexplained (completeness gap)",
    "at_once": "Images at once", "windows": "Windows", "share": "Share of the target that they hold",
    "voxel_mm": "Voxels that the network saw (mm)", "seed": "Seed",
    "seconds": "Time (s)", "runs": "Runs of the network", "block_mm": "First blocks (mm)",
    "finest_mm": "Finest blocks (mm)", "regions": "Regions", "falls": "Fall of the score without each region",
    "block_voxels": "Block (voxels)", "blocks": "Blocks", "skipped": "Blocks left out, as covering changes nothing",
    "measured": "Blocks covered one by one", "estimated_by": "Others estimated by", "engine": "Computed by",
    "checked": "Rank correlation of estimates with what was measured", "checked_blocks": "Blocks checked, by chance",
    "checked_error": "Worst estimate checked, of the strongest effect", "layers": "Layers", "token": "Read from token",
}  # fmt: skip
_ENGINES = {
    "openvino": "OpenVINO", "torch": "PyTorch", "incremental": "PyTorch (only what a change reaches)",
    "onnxruntime": "ONNX Runtime", "tensorrt": "TensorRT",
}  # fmt: skip
_AGREEMENT = "agreement of "
_SHARES = ("completeness_gap", "share", "checked_error")


def verdict_in_words(measures: Sequence[Measure]) -> str:
    """Return what all measures of a map come to, in a sentence or two; "" without verdicts.

    Example:
        >>> deletion, stability = Measure("deletion", 0.1, verdict="good"), Measure("stability", 0.2, verdict="bad")
        >>> verdict_in_words([deletion, stability, Measure("randomization", 0.1, verdict="good")])
        'Of 3 checks with a verdict 2 speak for the map; stability is bad.'
    """
    judged = [each for each in measures if each.verdict]
    if not judged:
        return ""
    good = sum(each.verdict == "good" for each in judged)
    # The other checks do not tell a map of the network from one of the image alone.
    more = "" if not good or any(each.name == "randomization" for each in judged) else f" {UNTOLD}"
    if good == len(judged):
        said = f"All {good} checks with a verdict speak for the map." if good > 1 else "The check speaks for the map."
        return said + more
    parts = []
    for verdict in ("doubtful", "bad"):
        names = [measure_title(each.name).lower() for each in judged if each.verdict == verdict]
        if names:
            listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
            parts.append(f"{listed} {'is' if len(names) == 1 else 'are'} {verdict}")
    if len(judged) == 1 and parts:
        return f"The check does not speak for the map: {parts[0]}.{more}"
    speak = "speaks" if good == 1 else "speak"
    return f"Of {len(judged)} checks with a verdict {good or 'none'} {speak} for the map; {', '.join(parts)}.{more}"


def method_title(id: str) -> str:
    """Return what a method is called."""
    from meddl.saliency.methods.known import METHODS

    return METHODS[id].title if id in METHODS else id.replace("_", " ")


def method_source(id: str) -> str:
    """Return the paper of a method, or ""."""
    from meddl.saliency.methods.known import METHODS

    return METHODS[id].source if id in METHODS else ""


def measure_title(name: str) -> str:
    """Return what a measure is called."""
    from meddl.saliency.faithfulness.known import ABOUT

    if name in ABOUT:
        return ABOUT[name].title
    if name.startswith(_AGREEMENT):
        one, _, other = name.removeprefix(_AGREEMENT).partition(" and ")
        return f"Agreement of {method_title(one)} and {method_title(other)}"
    title = name.replace("_", " ")
    return title[:1].upper() + title[1:]


def measure_question(name: str) -> str:
    """Return what a measure asks of a map, or ""."""
    from meddl.saliency.faithfulness.known import ABOUT

    return ABOUT[name].question if name in ABOUT else ""


def measure_source(name: str) -> str:
    """Return the paper of a measure, or ""."""
    from meddl.saliency.faithfulness.known import ABOUT

    return ABOUT[name].source if name in ABOUT else ""


def facts_in_words(facts: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return names and values of facts of any kind, for those that have one and that people can do something with."""
    untold = {key for key, value in facts.items() if value is None or value == ""}
    if facts.get("regions") not in (None, "structures"):
        untold.add("falls")  # numbers of supervoxels tell nobody where they are; the map does
    if facts.get("checked") is None:
        untold.add("checked_blocks")
    return tuple(
        (_FACTS.get(key, key.replace("_", " ").capitalize()), _value(key, value))
        for key, value in facts.items()
        if key not in untold
    )


def channel_shares(attribution: Attribution) -> tuple[float, ...]:
    """Return how much of the evidence, for or against, lies in each channel of the input; () with one channel."""
    import numpy as np

    if attribution.channels is None:
        return ()
    sums = np.abs(attribution.channels.array.astype(np.float64)).sum(axis=(1, 2, 3))
    return tuple(float(each) for each in sums / sums.sum()) if sums.sum() > 0 else (0.0,) * len(sums)


def plain(value: Any) -> str:
    """Return a JSON value in words.

    Example:
        >>> plain([6, 8, 6]), plain(0.123456), plain(True), plain({"a": 1})
        ('6 x 8 x 6', '0.1235', 'yes', 'a: 1')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return figure(value)
    if isinstance(value, list | tuple):
        whole = value and all(isinstance(each, int) and not isinstance(each, bool) for each in value)
        return (" x " if whole else ", ").join(plain(each) for each in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {plain(each)}" for key, each in value.items() if each is not None)
    return value if isinstance(value, str) else json.dumps(value, default=str)


def figure(value: float | None) -> str:
    """Return a number with four digits; "" where there is none."""
    return "" if value is None else f"{value:.4g}"


def _value(key: str, value: Any) -> str:
    if key in _SHARES and isinstance(value, float | int):
        return f"{value:.1%}"
    if key.endswith("_mm") and isinstance(value, list):
        return " x ".join(plain(each) for each in value)
    if key == "engine" and isinstance(value, str):
        return ", ".join(_ENGINES.get(each, each) for each in value.split(", "))
    return plain(value)
