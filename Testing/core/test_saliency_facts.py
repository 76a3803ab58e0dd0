"""What is told of a map that was made window by window is about all of its windows."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from core.known_bundles import voxelwise, write
from core.test_saliency_explain import _AS_DISCRETE, SEGMENTS
from meddl.inference.history import History
from meddl.models import ModelBundle
from meddl.saliency import ExplainOptions, explain
from meddl.saliency.estimate import estimate
from meddl.saliency.facts import together
from meddl.saliency.methods.figures import sentences
from meddl.saliency.methods.known import METHODS
from meddl.saliency.methods.method import RawAttribution
from meddl.saliency.report.words import facts_in_words
from meddl.volume import Segment, Volume

FINE = ExplainOptions("cpu", baseline="zero", steps=2, block_mm=4, finest_mm=1)
RED = (1.0, 0.0, 0.0)


@pytest.fixture
def windowed(tmp_path: Path) -> ModelBundle:
    """Segments what is above 10, in windows of twelve voxels; each voxel of "Bright" adds three times its value."""
    inferer = {"_target_": "SlidingWindowInferer", "roi_size": [12, 12, 12], "overlap": 0.25}
    return write(
        tmp_path / "b", "segmentation", **voxelwise(1, [[0], [3]], [0, -30]), classes=("background", "Bright"),
        postprocessing=_AS_DISCRETE, inferer=inferer, meddl=SEGMENTS,
    )  # fmt: skip


def image() -> Volume:
    """Tissue in the first window, and a bright bar through both; beside the bar the second is empty."""
    array = np.zeros((1, 21, 12, 12), dtype=np.float32)
    array[0, :9] = np.random.default_rng(2).uniform(1, 5, (9, 12, 12))
    array[0, 2:20, 3:8, 4:9] = np.random.default_rng(3).uniform(20, 40, (18, 5, 5))
    return Volume(array, np.eye(4))


@pytest.fixture
def by_window(monkeypatch: pytest.MonkeyPatch) -> list[RawAttribution]:
    """What the methods have said of each window."""
    raws: list[RawAttribution] = []
    for kind in {type(each) for each in METHODS.values()}:
        if "attribute" not in vars(kind):
            continue

        def attribute(self, *args, _real=kind.attribute):
            raws.append(_real(self, *args))
            return raws[-1]

        monkeypatch.setattr(kind, "attribute", attribute)
    return raws


def test_occlusion_tells_of_the_blocks_of_all_windows(windowed, by_window, monkeypatch, tmp_path):
    monkeypatch.setenv("MEDDL_CACHE", str(tmp_path / "cache"))
    made = explain(windowed, image(), ["occlusion"], options=FINE).attributions[0]
    one, other = (each.facts for each in by_window)
    # Estimates held in the first; the second has too few blocks for any.
    assert one["measured"] < one["blocks"] and other["measured"] == other["blocks"]
    for name in ("blocks", "skipped", "measured", "runs"):
        assert made.facts[name] == one[name] + other[name], name
    for name in ("checked", "checked_blocks", "checked_error"):
        assert made.facts[name] == one[name], name
    (note,) = made.notes
    assert f"Of {made.facts['blocks']} blocks in 2 windows, {made.facts['measured']} were covered" in note
    assert "all of those in 1 of the windows" in note and f"those of {one['checked_blocks']} blocks drawn" in note
    told = dict(facts_in_words(made.facts))
    assert told["Runs of the network"] == str(made.facts["runs"])
    # The next time it is expected to take as long as this time.
    asking = History("explanations.json").entry(windowed.digest)["cpu"]["asking"]
    assert estimate(windowed, ["occlusion"], (), FINE) == pytest.approx(asking + made.facts["seconds"], rel=0.01)


def test_the_worst_of_estimates_in_several_windows_is_told():
    known = {"blocks": 900, "skipped": 10, "measured": 100, "estimated_by": "gradient", "runs": 300, "at_once": 4}
    one = known | {"checked": 0.999, "checked_blocks": 64, "checked_error": 0.02, "engine": "torch"}
    other = known | {"checked": 0.993, "checked_blocks": 70, "checked_error": 0.01, "engine": "torch", "at_once": 2}
    failed = known | {
        "checked": 0.7,
        "checked_blocks": 64,
        "checked_error": None,
        "measured": 900,
        "engine": "openvino",
    }
    facts, (note,) = together([one, other, failed], [(), (), ()], 1.0)
    assert (facts["checked"], facts["checked_blocks"], facts["checked_error"]) == (0.993, 134, 0.02)
    assert (facts["at_once"], facts["engine"], facts["measured"]) == (2, "openvino, torch", 1100)
    assert dict(facts_in_words(facts))["Computed by"] == "OpenVINO, PyTorch"
    assert "0.993 in the worst window" in note and "2.0%" in note
    assert together([failed, failed], [(), ()], 1.0)[0]["checked"] == 0.7


def test_the_notes_of_every_method_are_told_once(windowed, by_window):
    offered = ["saliency", "input_x_gradient", "integrated_gradients", "gradient_shap", "smoothgrad", "ablation"]
    for method in offered:
        by_window.clear()
        made = explain(windowed, image(), [method], options=FINE).attributions[0]
        same = [re.sub(r"[\d.]+", "#", note) for note in made.notes]
        assert len(by_window) == 2 and len(set(same)) == len(same), method
    gap, share = 0.3, 0.96
    told = [{"completeness_gap": each, "score": 100.0, "baseline_score": 96.0} for each in (gap, 0.1)]
    of_windows = [sentences(each) for each in told]
    assert of_windows[0][0].startswith("30% of the answer's change") and len(of_windows[1]) == 2
    facts, notes = together(told, of_windows, 9.0)
    assert facts["completeness_gap"] == pytest.approx(1 / 8) and facts["score"] == 200
    assert notes[0].startswith("12% of the answer's change") and f"gets {share:.0%} of the score" in notes[1]
    assert len(notes) == 2


def test_what_holds_in_some_windows_only_is_said_of_those():
    facts, notes = together([{"grid": [4, 4, 4]}, {"grid": [4, 4, 2]}], [("It is zero.", "All."), ("All.",)], 0.0)
    assert notes == ("In 1 of 2 windows: It is zero.", "All.") and facts["grid"] == [4, 4, 2]


def test_structures_fall_by_what_they_do_in_all_windows(windowed):
    labels = np.zeros((1, 21, 12, 12), np.uint8)
    labels[0, 2:20, 3:8, 4:9] = 2
    labels[0, 2:20, 3:5, 4:9] = 1
    segments = (Segment(1, "one half", RED), Segment(2, "other half", RED))
    scene = image()
    made = explain(windowed, scene, ["ablation"], options=FINE,
                   segmentation=(scene.with_array(labels), segments)).attributions[0]  # fmt: skip
    assert made.facts["windows"] == 2
    for number, name in enumerate(("one half", "other half"), 1):
        assert made.facts["falls"][name] == pytest.approx(3 * scene.array[labels == number].sum(), rel=1e-4)
    assert made.facts["falls"]["outside all"] == pytest.approx(0, abs=1e-2)
    assert made.facts["runs"] == 2 * 4
