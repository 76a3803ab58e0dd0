"""Methods of attribution: the same as captum and MONAI give, refused where they cannot work, stopped when told."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import captum.attr
import numpy as np
import pytest
import torch
from core.marked_networks import OPTIONS, WORK, MarkerDetector, class_score, head, marked
from core.network_files import threshold_graph, threshold_program
from meddl.errors import JobCancelled, ModelError, OutOfMemory, UsageError
from meddl.networks import DenoisingCNN, OnnxNetwork, RecurrentClassifier
from meddl.saliency.baselines import blurred, make_baseline
from meddl.saliency.layers import choose_layer, find_layers
from meddl.saliency.methods.known import METHODS, make_method
from meddl.saliency.methods.method import Work
from meddl.saliency.options import ExplainOptions
from meddl.saliency.scorer import Scorer
from monai.networks.nets import DenseNet121, DynUNet, ResNet, SegResNet, SwinUNETR, UNet, ViT
from torch import nn

GRADIENTS = ("saliency", "smoothgrad", "input_x_gradient", "integrated_gradients", "gradient_shap")


def small_classifier() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), nn.AvgPool3d(2), nn.Conv3d(4, 6, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(6, 2),
    ).eval()  # fmt: skip


def structure_score(network: nn.Module) -> Scorer:
    def pick(answer: torch.Tensor) -> torch.Tensor:
        while isinstance(answer, tuple | list):
            answer = answer[0]
        return answer[:, 1].flatten(1)[:, ::5].sum(dim=1)

    return Scorer(network, pick)


@pytest.fixture
def image() -> torch.Tensor:
    return head(24).clone()


def test_the_gradient_family_is_captums(image):
    network = small_classifier()
    scorer, baseline = class_score(network), blurred(image)
    ours = {id: METHODS[id].attribute(scorer, image, WORK).values[None] for id in GRADIENTS}
    module = scorer.module()
    deviation = OPTIONS.noise * float(image.max() - image.min())
    assert torch.equal(ours["saliency"], captum.attr.Saliency(module).attribute(image))
    assert torch.equal(ours["input_x_gradient"], captum.attr.InputXGradient(module).attribute(image).detach())
    torch.manual_seed(OPTIONS.seed)
    smooth = captum.attr.NoiseTunnel(captum.attr.Saliency(module)).attribute(
        image, nt_samples=OPTIONS.samples, nt_samples_batch_size=1, stdevs=deviation, abs=False
    )
    assert torch.allclose(ours["smoothgrad"], smooth.abs(), atol=1e-7)
    path = captum.attr.IntegratedGradients(module).attribute(image, baseline, n_steps=OPTIONS.steps)
    assert torch.allclose(ours["integrated_gradients"], path.float(), atol=1e-7)
    torch.manual_seed(OPTIONS.seed)
    np.random.seed(OPTIONS.seed)
    one_by_one = [
        captum.attr.GradientShap(module).attribute(image, baseline, n_samples=1, stdevs=deviation)
        for _ in range(OPTIONS.steps)
    ]
    assert torch.allclose(ours["gradient_shap"], torch.stack(one_by_one).mean(dim=0).detach(), atol=1e-7)


def test_maps_of_class_activation_are_captums_and_monais(image):
    from monai.visualize.class_activation_maps import GradCAMpp

    network = small_classifier()
    scorer = class_score(network)
    work = replace(WORK, options=replace(OPTIONS, layer="4"))
    module = scorer.module()
    coarse = captum.attr.LayerGradCam(module, scorer.network[4]).attribute(image, relu_attributions=True)
    expected = captum.attr.LayerAttribution.interpolate(coarse, (24, 24, 24), "trilinear").detach()
    assert torch.allclose(METHODS["gradcam"].attribute(scorer, image, work).values[None], expected, atol=1e-9)
    guided = captum.attr.GuidedGradCam(module, scorer.network[4]).attribute(image, interpolate_mode="trilinear")
    assert torch.allclose(METHODS["guided_gradcam"].attribute(scorer, image, work).values[None], guided, atol=1e-9)
    direct = GradCAMpp(small_classifier(), "4").compute_map(image.clone().requires_grad_(), class_idx=0).detach()
    plus = METHODS["gradcam_pp"].coarse_map(scorer, image, choose_layer(scorer, image, "4"), work)
    # MONAI's is multiplied by exp(score), which is no matter until the score is large.
    assert torch.allclose(plus / plus.max(), direct / direct.max(), atol=1e-5)


def test_ablation_is_captums_spread_over_each_region(image):
    scorer, baseline = class_score(small_classifier()), blurred(image)
    regions = torch.zeros((24, 24, 24), dtype=torch.long)
    regions[:12, :8], regions[12:, 8:] = 3, 7
    raw = METHODS["ablation"].attribute(scorer, image, replace(WORK, regions=regions))
    direct = captum.attr.FeatureAblation(scorer.module()).attribute(image, baseline, feature_mask=regions[None, None])
    for region in (3, 7):
        inside = regions == region
        assert raw.facts["falls"][str(region)] == pytest.approx(float(direct[0, 0][inside][0]), abs=1e-6)
        assert float(raw.values[0][inside].sum()) == pytest.approx(raw.facts["falls"][str(region)], rel=1e-3, abs=1e-6)
    assert not raw.values[0][regions == 0].any()


def test_regions_that_are_not_in_this_window_are_replaced_by_supervoxels(image):
    raw = METHODS["ablation"].attribute(
        class_score(small_classifier()), image, replace(WORK, regions=torch.zeros((24, 24, 24), dtype=torch.long))
    )
    assert raw.facts["regions"] == "supervoxels" and len(raw.facts["falls"]) > 10
    assert "No structure" in raw.notes[0]


def test_the_score_of_a_structure_does_not_make_gradcam_plus_plus_infinite():
    network = UNet(3, 1, 2, (4, 8), (2,))
    scorer = Scorer(network, lambda answer: 1e4 + answer[:, 1].flatten(1).sum(dim=1) * 100)
    raw = METHODS["gradcam_pp"].attribute(scorer, head(24), WORK)
    assert torch.isfinite(raw.values).all()


def test_values_that_are_no_numbers_are_refused():
    class Root(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image.clamp(min=0).sqrt().sum(dim=(2, 3, 4))

    for id in ("saliency", "integrated_gradients", "input_x_gradient"):
        with pytest.raises(ModelError, match="no numbers"):
            METHODS[id].attribute(class_score(Root()), torch.zeros(1, 1, 8, 8, 8), WORK)


def test_a_network_that_no_gradient_passes_says_so(image):
    class Threshold(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return (image > 0.5).float().mean(dim=(2, 3, 4))

    with pytest.raises(ModelError, match="No gradient"):
        METHODS["saliency"].attribute(class_score(Threshold()), image, WORK)
    assert METHODS["occlusion"].attribute(class_score(Threshold()), image, WORK).values.any()


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.network, self.runs = small_classifier(), 0

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.runs += 1
        return self.network(image)


@pytest.mark.parametrize("id", ["integrated_gradients", "gradient_shap", "smoothgrad", "occlusion", "ablation"])
def test_cancel_comes_within_one_run_of_the_network(id, image):
    scorer = class_score(Counting())
    told: list[float] = []

    def progress(fraction: float, text: str) -> None:
        told.append(fraction)

    def cancelled() -> bool:
        if len(told) >= 3 and not at:
            at.append(scorer.network.runs)
        return len(told) >= 3

    at: list[int] = []
    options = replace(OPTIONS, steps=50, samples=50)
    with pytest.raises(JobCancelled):
        METHODS[id].attribute(scorer, image, Work(options, progress=progress, cancelled=cancelled))
    assert scorer.network.runs == at[0]
    assert told == sorted(told) and all(0 <= each <= 1 for each in told)


@pytest.mark.parametrize("id", ["smoothgrad", "gradient_shap"])
def test_the_same_seed_gives_the_same_map_and_leaves_the_programs_chance_alone(id, image):
    scorer = class_score(small_classifier())
    states = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    maps = []
    for seed in (1, 1, 2):
        torch.rand(3 * seed, generator=torch.Generator())
        work = replace(WORK, options=replace(OPTIONS, seed=seed, noise=0.1))
        maps.append(METHODS[id].attribute(scorer, image, work).values)
    assert torch.equal(maps[0], maps[1]) and not torch.equal(maps[0], maps[2])
    assert torch.equal(states[0], torch.random.get_rng_state())
    assert (states[1] == np.random.get_state()[1]).all()


def test_the_completeness_gap_is_told_and_flagged(image):
    method = METHODS["integrated_gradients"]
    linear = nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(1, 2))
    exact = method.attribute(class_score(linear), image, replace(WORK, baseline=torch.zeros_like(image)))
    assert exact.facts["completeness_gap"] < 1e-4 and not exact.notes
    torch.manual_seed(0)
    normed = SegResNet(3, 8, 1, 2)  # hardly tells an image from a tenth of it
    far = method.attribute(structure_score(normed), image, replace(WORK, baseline=torch.zeros_like(image)))
    assert far.facts["completeness_gap"] > 0.05
    assert "not accounted for" in far.notes[0]
    same = method.attribute(class_score(linear), image, replace(WORK, baseline=image))
    assert same.facts["completeness_gap"] is None and "same score" in same.notes[0]


def test_what_cannot_work_is_not_offered(tmp_path):
    image = torch.zeros(1, 1, 16, 16, 16)
    script = class_score(torch.jit.load(str(threshold_program(tmp_path / "a.pt"))))
    onnx = class_score(OnnxNetwork(threshold_graph(tmp_path / "b.onnx")))
    vit = class_score(ViT(1, (16, 16, 16), (8, 8, 8), hidden_size=12, mlp_dim=8, num_layers=1, num_heads=2))
    swin = structure_score(SwinUNETR(1, 2, feature_size=12))
    unet = structure_score(UNet(3, 1, 2, (4, 8), (2,)))
    cams, others = {"gradcam", "gradcam_pp", "guided_gradcam"}, {"occlusion", "ablation"}
    offered = {
        name: {id for id, method in METHODS.items() if not method.unfit(scorer, image)}
        for name, scorer in (("script", script), ("onnx", onnx), ("vit", vit), ("swin", swin), ("unet", unet))
    }
    assert offered["script"] == {*GRADIENTS, *others}
    assert offered["onnx"] == others
    assert offered["vit"] == {*GRADIENTS, *others, "attention_rollout"}
    assert offered["unet"] == {*GRADIENTS, *others, *cams} - {"guided_gradcam"}  # PReLU
    assert offered["swin"] == {*offered["unet"], "attention_rollout"}
    assert "no vision or Swin transformer" in METHODS["attention_rollout"].unfit(unet, None)
    assert "TorchScript" in METHODS["gradcam"].unfit(script, None)


def test_files_of_other_makers_are_explained(tmp_path, image):
    threshold = float(image.mean())
    scorers = [
        structure_score(torch.jit.load(str(threshold_program(tmp_path / "a.pt", threshold)))),
        structure_score(OnnxNetwork(threshold_graph(tmp_path / "b.onnx", threshold))),
    ]
    maps = [METHODS["occlusion"].attribute(each, image, WORK).values for each in scorers]
    assert torch.allclose(*maps, atol=1e-3)
    assert METHODS["integrated_gradients"].attribute(scorers[0], image, WORK).facts["completeness_gap"] < 1e-3


LAYERS = (
    ("densenet", lambda: DenseNet121(3, 1, 2), 48, 6),
    ("resnet", lambda: ResNet("basic", (1, 1, 1, 1), (4, 8, 8, 8), n_input_channels=1, num_classes=2), 48, 6),
    ("unet", lambda: UNet(3, 1, 2, (4, 8, 8, 8), (2, 2, 2)), 48, 6),
    ("segresnet", lambda: SegResNet(3, 8, 1, 2), 48, 6),
    ("dynunet", lambda: DynUNet(3, 1, 2, [3] * 3, [1, 2, 2], [2, 2], filters=[4, 8, 8]), 32, 8),
)


@pytest.mark.parametrize(("name", "make", "edge", "grid"), LAYERS, ids=[each[0] for each in LAYERS])
def test_the_layer_is_the_deepest_that_still_shows_a_place(name, make, edge, grid):
    torch.manual_seed(0)
    scorer = class_score(make())
    scorer.pick = lambda answer: answer[:, 1].reshape(len(answer), -1).sum(dim=1)
    image = head(edge)
    assert choose_layer(scorer, image).grid == (grid,) * 3
    raw = METHODS["gradcam"].attribute(scorer, image, WORK)
    assert raw.values.shape == (1, edge, edge, edge) and raw.facts["grid"] == [grid] * 3


def test_a_layer_is_chosen_by_its_name(image):
    scorer = class_score(MarkerDetector())
    assert [each.name for each in find_layers(scorer, image)] == [
        "first",
        "first_relu",
        "pool",
        "second",
        "second_relu",
    ]
    assert choose_layer(scorer, image, "first").grid == (24, 24, 24)
    with pytest.raises(UsageError, match="no layer 'wrong'"):
        choose_layer(scorer, image, "wrong")


def test_a_network_without_a_layer_to_show_is_found_before_it_is_tried(image):
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.only = nn.Conv3d(1, 1, 3, padding=1)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return self.only(self.only(image)).mean(dim=(2, 3, 4))

    scorer = class_score(Twice())
    assert not METHODS["gradcam"].unfit(scorer, None) and METHODS["occlusion"].unfit(scorer, image) == ""
    assert "no layer" in METHODS["gradcam"].unfit(scorer, image)


def test_slices_get_their_maps_too():
    image = head(24)[..., :6].clone()
    recurrent = class_score(RecurrentClassifier(2, 1, 2, features=(4, 8)).eval())
    flat = Scorer(
        nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        lambda answer: answer[:, 0],
        slice_axis=2,
    )
    for id, method in METHODS.items():
        for scorer, given in ((recurrent, image), (flat, image[..., :1])):
            if method.unfit(scorer, given):
                assert id == "attention_rollout"
                continue
            values = method.attribute(scorer, given, WORK).values
            assert values.shape[1:] == given.shape[2:], id


def test_an_image_at_full_resolution_throughout_shows_the_layer_before_its_answer(image):
    layer = choose_layer(structure_score(DenoisingCNN(3, 2, 4, 3)), image.expand(1, 2, 24, 24, 24))
    assert layer.name.startswith("hidden")


def test_baselines_are_what_they_are_called(image):
    for name, expected in (("zero", torch.zeros_like(image)), ("mean", image.mean().expand_as(image))):
        assert torch.allclose(make_baseline(image, ExplainOptions(baseline=name)), expected)  # type: ignore[arg-type]
    flat = torch.full((1, 1, 12, 7, 1), 3.0)
    assert torch.allclose(blurred(flat), flat)  # the border does not go dark
    assert blurred(image).std() < 0.8 * image.std()
    options = ExplainOptions(baseline="reference")
    assert torch.equal(make_baseline(image, options, image + 1), image + 1)
    for wrong in (None, image[:, :, 1:]):
        with pytest.raises(UsageError):
            make_baseline(image, options, wrong)


def test_an_unknown_method_is_told():
    with pytest.raises(UsageError, match="integrated_gradients"):
        make_method("magic")


def test_a_gradient_that_does_not_fit_is_refused_before_it_is_tried():
    scorer, image = structure_score(UNet(3, 1, 2, (8, 16), (2,))), head(48)
    with pytest.raises(OutOfMemory, match="occlusion"):
        METHODS["integrated_gradients"].attribute(scorer, image, Work(ExplainOptions(memory_mb=2)))
    marked_image, _ = marked(image, (10, 10, 10))
    raw = METHODS["occlusion"].attribute(scorer, marked_image, Work(ExplainOptions(memory_mb=2, finest_mm=12)))
    assert raw.facts["measured"] == raw.facts["blocks"]


_CHILD = """
import sys, torch
from dataclasses import replace
torch.set_num_threads(1)
from monai.networks.nets import UNet
from meddl.saliency.memory import Reckoning, reckon
from meddl.saliency.methods.known import METHODS
from meddl.saliency.methods.method import Work
from meddl.saliency.options import ExplainOptions
from meddl.saliency.scorer import Scorer
import captum.attr, scipy.stats
scorer = Scorer(UNet(3, 1, 2, (8, 16, 32), (2, 2)), lambda answer: answer[:, 1].flatten(1).sum(dim=1))
small, image = torch.rand(1, 1, 16, 16, 16), torch.rand(1, 1, EDGE, EDGE, EDGE)
options = ExplainOptions(steps=3, finest_mm=40, block_mm=80)
METHODS[sys.argv[1]].attribute(scorer, small, Work(options))  # imports are no part of it
reckoned = Reckoning(8 * reckon(scorer, image[..., ::2, ::2, ::2], options).need, 0).of(1)
peak = lambda: int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) << 10
before = peak()
METHODS[sys.argv[1]].attribute(scorer, image, Work(replace(options, memory_mb=1 + (reckoned >> 20))))
print(peak() - before, reckoned)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads what Linux tells of a process")
@pytest.mark.parametrize("id", ["integrated_gradients", "occlusion"])
def test_no_more_memory_is_taken_than_was_reckoned(id):
    path = str(Path(make_method.__code__.co_filename).parents[3])
    child = subprocess.run(
        [sys.executable, "-c", _CHILD.replace("EDGE", "64"), id], capture_output=True, text=True, check=True,
        env={"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "PATH": ""},
    )  # fmt: skip
    taken, reckoned = map(int, child.stdout.split())
    sys.stdout.write(f"{id} at 64^3: took {taken >> 20} MB, reckoned {reckoned >> 20} MB\n")
    assert taken <= reckoned
    assert id == "occlusion" or taken >= 0.4 * reckoned  # no wild overestimate either
