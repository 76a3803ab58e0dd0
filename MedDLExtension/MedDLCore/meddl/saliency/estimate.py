"""How long an explanation will take: from how often it asks the network, and how long that took the last time.

Of a run only seconds and counts are kept, nothing of the image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from meddl.inference.history import History

if TYPE_CHECKING:
    from meddl.models import ModelBundle
    from meddl.saliency.options import ExplainOptions

GRADIENT = 3
"""Runs of the network that the gradient to the image takes as long as.

CPU times of the three networks of the benchmark of occlusion, one thread, median of 8 to 20 pairs: 2.2, 2.2 and 2.9 for
one image, 2.7, 2.7 and 3.0 for 64, 42 and 4 of them at once.
"""

_GUESSED = 200
"""Runs of methods that only know how many there are when they have begun, as a share of a progress bar."""

_RUNS = History("explanations.json")


def method_runs(method: str, options: ExplainOptions) -> int | None:
    """Return how often a method runs the network in each window, about; None where that depends on the image."""
    path = GRADIENT * options.steps + 2
    gradients = {"saliency": 1, "input_x_gradient": 1, "gradcam": 1, "gradcam_pp": 1, "guided_gradcam": 2}
    if method in gradients:
        return GRADIENT * gradients[method] + 1
    known = {
        "integrated_gradients": path,
        "gradient_shap": path,
        "smoothgrad": GRADIENT * options.samples,
        "attention_rollout": 1,
    }
    return known.get(method)


def runs_taken(method: str, options: ExplainOptions, facts: Mapping[str, Any]) -> int:
    """Return how often a method ran the network for a map of one window, about; at least 1.

    Args:
        facts: of the map.
    """
    counted = facts.get("runs")
    return max(counted if isinstance(counted, int) else method_runs(method, options) or 1, 1)


def measure_runs(measure: str, of_method: int) -> int:
    """Return how often a measure runs the network, about.

    Args:
        of_method: runs of the method that it measures, which some repeat.
    """
    from meddl.saliency.faithfulness.captum_measures import BLOCKS, NOISY_IMAGES
    from meddl.saliency.faithfulness.curves import RANDOM_MAPS, SHARES
    from meddl.saliency.faithfulness.randomization import CASCADE, NETWORKS

    curve = (len(SHARES) - 2) * (RANDOM_MAPS + 1) + 2
    known = {
        "deletion": curve,
        "insertion": curve,
        "infidelity": BLOCKS + 1,
        "completeness": 2,
        "sensitivity": NOISY_IMAGES * of_method,
        "stability": 4 * of_method,
        "randomization": (len(CASCADE) + NETWORKS) * of_method + 4 * GRADIENT,
    }
    return known.get(measure, 0)


def share_of_method(method: str, measures: Sequence[str], options: ExplainOptions) -> float:
    """Return which share of the work, 0 to 1, is the map itself; the rest is finding out how far to believe it."""
    own = method_runs(method, options) or _GUESSED
    return own / (own + sum(measure_runs(each, own) for each in measures))


def remember(
    bundle: ModelBundle, device: str, method: str, options: ExplainOptions, facts: Mapping[str, Any], asking: float
) -> None:
    """Keep what a map took, for the next estimate.

    Args:
        device: where the network ran (``cpu``, ``cuda``).
        facts: of the map: ``seconds``, ``windows``, and ``runs`` in all of them where the method counts them.
        asking: seconds that the model's own answer took.
    """
    windows = int(facts.get("windows", 1))
    counted = facts.get("runs")
    runs = counted if isinstance(counted, int) else windows * (method_runs(method, options) or 0)
    if runs < 1:
        return

    def change(entry: dict[str, Any]) -> None:
        kept = entry.setdefault(device, {})
        took = float(facts["seconds"]) / runs
        kept |= {"asking": round(asking, 2), "run": took, "windows": windows}
        kept.setdefault("runs", {})[method] = took  # a run of one method by another engine may take a fraction
        if method_runs(method, options) is None:
            kept.setdefault("counted", {})[method] = runs

    _RUNS.change(bundle.digest, change)


def estimate(
    bundle: ModelBundle, methods: Sequence[str], measures: Sequence[str], options: ExplainOptions
) -> float | None:
    """Return how many seconds an explanation will take, about; None where no earlier one lets us know.

    It is as long as for the image of the last time: one of another size may take longer, if the network sees all of it.
    """
    entry = _RUNS.entry(bundle.digest)
    device = options.device.split(":")[0]
    devices = ("cuda", "mps", "cpu") if device == "auto" else (device,)
    kept = next((entry[each] for each in devices if isinstance(entry.get(each), dict)), None)
    if not kept or not methods:
        return None
    total = 0.0
    try:
        for method in methods:
            own, windows = method_runs(method, options), int(kept["windows"])
            runs = own * windows if own is not None else int(kept.get("counted", {})[method])
            runs += sum(measure_runs(each, runs // windows) for each in measures)
            total += runs * float(kept.get("runs", {}).get(method, kept["run"]))
        return float(kept["asking"]) + total
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None  # not known of this method, or not what was written


def about(seconds: float | None, most: float = 10.0) -> str:
    """Return a time in words, "about 2 min"; "" where it is not known, or too short to be worth telling.

    Args:
        most: seconds that nobody wants to know of.
    """
    if seconds is None or seconds < most:
        return ""
    if seconds < 90:
        return f"about {round(seconds, -1):.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"
