"""MAISI of the Model Zoo: a CT for the user's label map, as its own scripts make it, and none of them is run."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from core.maisi_bundle import DDPM, RFLOW, SCALE, SIZES, body, config, noise, write
from meddl.errors import JobCancelled, ModelError, OutOfMemory, UsageError
from meddl.models.bundle import ModelBundle
from meddl.synthesis.maisi_memory import affordable_windows
from meddl.synthesis.maisi_networks import Windows, windows_for
from meddl.synthesis.sampling import Sampling
from meddl.synthesis.synthesizer import Synthesizer
from meddl.synthesis.zoo_maisi import LabelsToCT
from meddl.synthesis.zoo_schedule import seed_of
from meddl.volume import Segment, Volume

SPACING = (2.0, 2.0, 2.5)
ONCE = Windows((), 0.6667)
NAMES = {1: "Liver", 26: "liver_tumor", 14: "kidney_left", 63: "Left Rib 1", 28: "lung_upper_lobe_left", 200: "Body"}
SEGMENTS = [Segment(value, name, (1, 0, 0)) for value, name in NAMES.items()]
# Made once by the sampling scripts of the real bundle (0.4.5), and for the flow of its authors' second version, run by
# hand on this bundle with this noise; in single precision, as they have no other on a processor.
THEIRS = {
    "ddpm": (
        [-158.42, -302.22, -248.96, -93.5, -232.37, -72.59, -101.55, -86.88, -79.48, -187.08, -79.58, -215.09,
         -20.05, -45.45, -130.37], -137.161, 76.238),
    "rectified_flow": (
        [-110.75, -237.56, -184.62, -115.15, -198.33, -166.82, -161.84, -145.85, -163.17, -182.08, -129.56, -222.66,
         -112.5, -140.03, -179.92], -159.398, 70.493),
    "windows": (
        [-161.36, -304.3, -248.26, -99.83, -201.62, -82.24, -118.59, -99.14, -66.39, -205.92, -83.82, -211.08,
         5.25, -24.72, -130.84], -137.774, 75.902),
}  # fmt: skip


@pytest.fixture(autouse=True)
def small_sizes(monkeypatch):
    monkeypatch.setattr(LabelsToCT, "known_sizes", SIZES)


@pytest.fixture(scope="module")
def made_bundle(tmp_path_factory):
    """A bundle with DDPM and its networks."""
    return write(tmp_path_factory.mktemp("maisi") / "ddpm")


def generator(bundle, sampling=None):
    synthesizer = Synthesizer(bundle, device="cpu", **({"sampling": sampling} if sampling else {}))
    return synthesizer, synthesizer._generator


def volume(labels=None, affine=None):
    labels = body() if labels is None else labels
    return Volume(labels[None], np.diag([*SPACING, 1.0]) if affine is None else affine)


def by_monais_inferer(networks, scheduler, labels, region):
    """Return features and image by MONAI's own loop around the networks."""
    from monai.inferers import ControlNetDiffusionInferer

    unet, control = networks["diffusion_unet"], networks["controlnet"]
    told = {"spacing_tensor": torch.tensor([SPACING]) * 100}
    classes = {} if region else {"class_labels": torch.tensor([1])}
    if region:
        for name, part in zip(("top", "bottom"), region, strict=True):
            told[f"{name}_region_index_tensor"] = 100 * torch.nn.functional.one_hot(torch.tensor([part]), 4).float()
    planes = torch.from_numpy(np.unpackbits(labels[..., None], axis=-1, bitorder="little")).permute(3, 0, 1, 2)
    torch.manual_seed(seed_of(noise()[None]))
    with torch.no_grad():
        features = ControlNetDiffusionInferer(scheduler).sample(
            torch.from_numpy(noise())[None],
            lambda x, timesteps, context, **more: unet(x, timesteps=timesteps, **more, **told, **classes),
            lambda x, timesteps, controlnet_cond, context: control(
                x, timesteps=timesteps, controlnet_cond=controlnet_cond, **classes
            ),
            planes[None].float(),
            verbose=False,
        )
        image = networks["autoencoder"].decode_stage_2_outputs(features / SCALE)[0, 0].numpy()
    return np.where(labels > 0, np.clip(image, 0, 1) * 2000 - 1000, -1000)


@pytest.mark.parametrize("kind", ["ddpm", "rectified_flow"])
def test_the_image_is_what_monais_inferer_and_the_bundles_own_scripts_make(tmp_path, made_bundle, kind):
    from monai.networks.schedulers import DDPMScheduler, RFlowScheduler

    if kind == "ddpm":
        (bundle, networks), region = made_bundle, (1, 2)
        scheduler = DDPMScheduler(**{name: value for name, value in DDPM.items() if name != "_target_"})
        scheduler.set_timesteps(3)
    else:
        (bundle, networks), region = write(tmp_path, config(RFLOW)), None
        scheduler = RFlowScheduler(**{name: value for name, value in RFLOW.items() if name != "_target_"})
        scheduler.set_timesteps(3, input_img_size_numel=512)
    synthesizer, maisi = generator(bundle)
    image = maisi.image(noise(), body(), SPACING, ONCE, lambda: None)
    assert synthesizer.facts.kind == kind and image.dtype == np.float32
    assert np.abs(image - by_monais_inferer(networks, scheduler, body(), region)).max() < 0.05
    theirs, mean, deviation = THEIRS[kind]
    assert np.allclose(image[8:28:4, 16, 6:30:8].ravel(), theirs, atol=0.05)
    inside = image[body() > 0]
    assert np.allclose((inside.mean(), inside.std()), (mean, deviation), atol=0.01)


def test_large_features_are_decoded_in_windows_as_the_bundles_own_scripts_do(made_bundle):
    _, maisi = generator(made_bundle[0])
    windows = windows_for((8, 8, 8), [8, 8, 8], 0.6667)
    assert windows.roi == (6, 6, 6) and windows_for((8, 8, 8), [96, 96, 96], 0.6667).roi == ()
    parts = []
    image = maisi.image(noise(), body(), SPACING, windows, lambda: None, parts.append)
    theirs, mean, deviation = THEIRS["windows"]
    assert np.allclose(image[8:28:4, 16, 6:30:8].ravel(), theirs, atol=0.05)
    assert np.allclose(image[body() > 0].mean(), mean, atol=0.01) and np.allclose(
        image[body() > 0].std(), deviation, atol=0.01
    )
    assert parts == sorted(parts) and max(parts) <= 1
    assert len(parts) == 3 + windows.count((8, 8, 8)) == 3 + 27  # each step and each window is told of


class Painter:
    """Networks that paint each structure in its value."""

    def answer(self, labels, spacing, region, modality):
        self.labels = labels
        return lambda features, at: torch.zeros_like(features)

    def decoded(self, features, windows, cancel, progress):
        return self.labels / np.float32(250)


def test_labels_and_image_stay_aligned_on_oblique_mirrored_grids(made_bundle):
    a = 0.35
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1.0]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.array([[0, -1.3, 0], [0, 0, 1.1], [-2.1, 0, 0]])  # S-I, R-L, P-A: all another way
    affine[:3, 3] = (40, -25, 70)
    shape = (26, 44, 40)
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    points = index @ affine[:3, :3].T + affine[:3, 3]
    middle = affine[:3, :3] @ ((np.array(shape) - 1) / 2) + affine[:3, 3]
    depth = np.linalg.norm((points - middle) / (20, 18, 24), axis=-1)
    trunk = depth < 1
    away = np.linalg.norm(points - middle - (6, -3, 4), axis=-1) - 9  # not in the middle: a mirrored one would miss it
    labels = np.where(away < 0, 1, np.where(trunk, 200, 0)).astype(np.uint8)
    synthesizer, maisi = generator(made_bundle[0])
    maisi.__dict__["_networks"] = Painter()
    (made,) = synthesizer.sample(labels=volume(labels, affine), segments=[SEGMENTS[0], SEGMENTS[-1]])
    values = (made.image.array[0] + 1000) / 2000 * 250
    assert made.image.grid.same_as(made.labels.grid) and np.array_equal(made.labels.array[0], labels)
    wrong = (values < 100) != (away < 0)
    wrong &= depth < 0.85
    # The image was made with voxels of 2 x 2 x 2 mm.
    assert np.percentile(np.abs(away[wrong]), 90) < 1.05 and np.abs(away[wrong]).max() < np.sqrt(12) / 2
    assert (made.image.array[0][(depth > 1.15) & (labels == 0)] == -1000).all()
    assert any("made with 32 x 32 x 32 voxels" in note for note in made.facts["notes"])


def test_a_ct_comes_on_the_label_maps_grid_with_labels_by_construction(made_bundle):
    synthesizer, _ = generator(made_bundle[0])
    told = []
    one, two = (
        synthesizer.sample(seed=seed, labels=volume(), segments=SEGMENTS, progress=lambda *said: told.append(said))[0]
        for seed in (3, 4)
    )
    torch.manual_seed(99)  # what others draw changes nothing
    again = synthesizer.sample(seed=3, labels=volume(), segments=SEGMENTS)[0]
    assert np.array_equal(one.image.array, again.image.array)
    assert not np.allclose(one.image.array, two.image.array, atol=20)
    assert one.image.grid.same_as(volume().grid) and one.image.meta == {}
    assert (one.image.array[0][body() == 0] == -1000).all() and (one.image.array[0][body() > 0] > -1000).all()
    assert [each.name for each in one.segments] == ["liver", "left kidney", "hepatic tumor", "left lung upper lobe",
                                                    "left rib 1", "body"]  # fmt: skip
    assert one.facts["steps"] == 3 and one.facts["modality"] == "CT" and synthesizer.facts.conditioned
    assert [fraction for fraction, _ in told][:5] == sorted([fraction for fraction, _ in told][:5])
    assert not any("dummy" in each.name for each in synthesizer.segments)


def test_structures_go_by_words_and_codes_and_the_smaller_one_stays(made_bundle):
    _, maisi = generator(made_bundle[0])
    code = "list~SCT^123037004^Anatomical Structure~SCT^64033007^Kidney~SCT^24028007^Right~regions~^^~^^"
    layers = np.zeros((4, 16, 16, 4), np.uint8)
    layers[0] = 1  # the body, everywhere
    layers[1, :12] = 1
    layers[2, 3:6, 3:6] = 1
    layers[3, 13:] = 1
    layers[3, :, 14:] = 2
    segments = [Segment(1, "whole body", (1, 0, 0), layer=0), Segment(1, "LIVER", (1, 0, 0), layer=1),
                Segment(1, "Tumor of liver", (1, 0, 0), layer=2), Segment(1, "RK", (1, 0, 0), code, layer=3),
                Segment(2, "table", (1, 0, 0), layer=3)]  # fmt: skip
    found = maisi.matched(Volume(layers, np.diag([10, 10, 10, 1.0])), segments)
    array = found.labels.array[0]
    assert (array[3:6, 3:6] == 26).all() and array[0, 0, 0] == 1 and array[12, 0, 0] == 200 and array[13, 0, 0] == 5
    assert found.unknown == ("table",) and array[14, 15, 0] in (200, 5)


def test_the_body_is_closed_and_where_nothing_tells_it_an_outline_is_made_up(made_bundle):
    from meddl.synthesis.maisi_labels import with_body

    labels = body()
    labels[14:18, 14:18] = 0  # what the model does not know became background
    assert (with_body(labels, 200, SPACING)[14:18, 14:18] == 200).all()
    bare = np.where(labels == 200, 0, labels)
    outlined = with_body(bare, 200, SPACING)
    assert (outlined[bare > 0] == bare[bare > 0]).all() and (outlined == 200).sum() > (bare > 0).sum()
    j = np.flatnonzero((bare[:, :, 24] > 0).any(axis=0))[0]
    i = np.flatnonzero(bare[:, j, 24])[0]
    assert outlined[i, j - 7, 24] == 200 and outlined[i, max(0, j - 9), 24] in (0, 200)  # 15 mm are 7 voxels of 2 mm
    synthesizer, maisi = generator(made_bundle[0])
    maisi.__dict__["_networks"] = Painter()
    (made,) = synthesizer.sample(labels=volume(bare), segments=SEGMENTS[:-1])
    assert any("does not tell where the body ends" in note for note in made.facts["notes"])
    assert 200 not in made.labels.array  # what was made up is no label
    with pytest.raises(UsageError, match="Add a segment 'Body'"):
        synthesizer.sample(labels=volume(np.where(bare == 1, 1, 0).astype(np.uint8)), segments=SEGMENTS[:1])


def test_what_it_cannot_make_is_refused_with_what_would_do(tmp_path, made_bundle):
    synthesizer, _ = generator(made_bundle[0])
    nowhere = np.where(body() == 63, 63, np.where(body() > 0, 200, 0)).astype(np.uint8)
    for labels, segments, said in (
        (volume(nowhere), SEGMENTS, "which part of the body"),
        (volume(affine=np.diag([9.0, 9, 2.5, 1])), SEGMENTS, "288 mm across .* 192 and 320 mm at the most. Crop"),
        (volume(body()[:, :, 20:21]), SEGMENTS, "more than one slice"),
        (volume(), [Segment(1, "femoral artery", (1, 0, 0))], "knows none of the structures"),
        (None, (), "Give one"),
    ):
        with pytest.raises(UsageError, match=said):
            synthesizer.sample(labels=labels, segments=segments)
    wide = volume(affine=np.diag([4.0, 4, 2.5, 1]))
    for sampling, said in ((Sampling(size=(32, 32, 48)), "it takes 32 or 64 across"),
                           (Sampling(size=(32, 32, 32)), "4.0 mm wide .* 64 x 64 x 32 would do"),
                           (Sampling(steps=4), "takes 3 at the most")):  # fmt: skip
        with pytest.raises(UsageError, match=said):
            generator(made_bundle[0], sampling)[0].sample(labels=wide, segments=SEGMENTS)
    with pytest.raises(ModelError, match=r"dictionary of 'Small CT' \('label_dict.json'\) as its file 'large_files"):
        Synthesizer(write(tmp_path / "bare", weights=False, dictionary=None)[0])
    bare, _ = generator(write(tmp_path / "weightless", weights=False)[0])
    with pytest.raises(ModelError, match=r"unet\.pt' is missing. Fetch"):
        bare.sample(labels=volume(), segments=SEGMENTS)
    for name, tree, said in (
        ("window", config(autoencoder_sliding_window_infer_overlap=1.0), "how images are decoded"),
        ("outside", config(label_dict_json="/etc/hostname"), "outside"),
        ("steps", config({**DDPM, "num_train_timesteps": 10**9}), "divides the way"),
    ):
        with pytest.raises(ModelError, match=said):
            Synthesizer(write(tmp_path / name, tree, weights=False)[0])
    bundle, _ = write(tmp_path / "scale")
    torch.save({"unet_state_dict": torch.load(bundle.path / "models/unet.pt")["unet_state_dict"]},
               bundle.path / "models/unet.pt")  # fmt: skip
    with pytest.raises(ModelError, match="the scale of its features"):
        Synthesizer(ModelBundle.open(bundle.path), device="cpu").sample(labels=volume(), segments=SEGMENTS)


def test_fewer_steps_of_ddpm_are_those_of_ddim(made_bundle):
    from monai.networks.schedulers import DDIMScheduler

    synthesizer, maisi = generator(made_bundle[0], Sampling(steps=2))
    image = maisi.image(noise(), body(), SPACING, ONCE, lambda: None)
    scheduler = DDIMScheduler(**{name: value for name, value in DDPM.items() if name != "_target_"})
    scheduler.set_timesteps(2)
    assert np.abs(image - by_monais_inferer(made_bundle[1], scheduler, body(), (1, 2))).max() < 0.05
    assert any("by DDIM instead of DDPM" in note for note in synthesizer.notes)


def test_it_ends_between_the_steps_on_request_and_when_its_time_is_up(made_bundle):
    from meddl.synthesis.time_limit import in_time

    synthesizer, _ = generator(made_bundle[0])
    asked = []

    def cancelled():
        asked.append(1)
        return len(asked) > 3

    with pytest.raises(JobCancelled):
        synthesizer.sample(labels=volume(), segments=SEGMENTS, cancelled=cancelled)
    assert len(asked) == 4  # at once
    with pytest.raises(UsageError, match="In 1e-06 minutes it did not come to an end"):
        in_time(1e-6, lambda over: synthesizer.sample(labels=volume(), segments=SEGMENTS, cancelled=over))


def test_too_little_memory_is_told_before_anything_is_computed(made_bundle, monkeypatch):
    sizes = {"bits": 8, "first": 64, "decoder": 64, "weights": 900 << 20, "item": 4}
    large = ((512, 512, 512), (96, 96, 96), 0.6667)
    full, said = affordable_windows(*large, 0, "CT", "Crop.", **sizes)
    assert full.roi == (96, 96, 96) and not said  # nobody knows what is free
    small, said = affordable_windows(*large, 40 << 30, "CT", "Crop.", **sizes)
    assert max(small.roi) < 96 and "seams may show" in said
    with pytest.raises(OutOfMemory, match=r"512 x 512 x 512 voxels with 'CT' takes some .* 2\.0 GB are free\. Crop"):
        affordable_windows(*large, 2 << 30, "CT", "Crop.", **sizes)
    synthesizer, maisi = generator(made_bundle[0], Sampling(size=(64, 64, 64)))
    monkeypatch.setattr("meddl.synthesis.zoo_maisi.free_memory", lambda device: 1 << 20)
    with pytest.raises(OutOfMemory, match=r"Ask for a smaller one \(64 x 64 x 32 or less\)"):
        synthesizer.sample(labels=volume(), segments=SEGMENTS)
    assert "_networks" not in maisi.__dict__
