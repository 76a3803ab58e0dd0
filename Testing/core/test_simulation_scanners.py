"""Undersampled and noisy MR, low-dose CT: against Fourier transforms by hand, moments, and physics."""

from __future__ import annotations

import math

import numpy as np
import pytest
from core.phantoms import PLACES
from meddl.errors import JobCancelled, VolumeError
from meddl.randomness import Stream
from meddl.simulation import LowDose, Rician, Simulated, SimulationOptions, Undersampling, simulate
from meddl.simulation.attenuation import water
from meddl.simulation.mri import _Coils
from meddl.simulation.noise import poisson
from meddl.volume import Volume

SHAPE = (40, 36, 20)


def brain(place: str = "oblique", shape: tuple[int, int, int] = SHAPE) -> Volume:
    """A magnitude image with structure and a dark background."""
    axes = np.meshgrid(*[np.linspace(-1, 1, count) for count in shape], indexing="ij")
    inside = sum(axis**2 for axis in axes) < 0.8
    pattern = 300 + 80 * np.sin(7 * axes[0] + 3 * axes[1]) * np.cos(5 * axes[2] - 4 * axes[1])
    return Volume((inside * pattern).astype(np.uint16)[np.newaxis], PLACES[place], meta={"modality": "MR"})


def made(volume: Volume, method: object, **more: object) -> Simulated:
    return simulate(volume, SimulationOptions(method, seed=5), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_zero_filled_images_are_those_of_a_fourier_transform_by_hand(place: str, plane: str) -> None:
    image = brain(place, (40, 36, 32))
    for encoding in ("2d", "3d"):
        center = 0.1 if encoding == "2d" else 0.15
        found = made(image, Undersampling(plane=plane, encoding=encoding, phase=False, center_fraction=(center,)))
        spectrum = np.fft.fftshift(np.fft.fftn(image.array[0].astype(np.float64)))
        masks = found.facts["drawn"]["masks"]
        for each in masks:
            lost = np.setdiff1d(np.arange(each["lines"]), each["measured"])
            spectrum[tuple(lost if axis == each["axis"] else slice(None) for axis in range(3))] = 0
        expected = np.abs(np.fft.ifftn(np.fft.ifftshift(spectrum)))
        np.testing.assert_allclose(found.image.array[0], expected, atol=1e-3 * expected.max())
        assert len(masks) == (1 if encoding == "2d" else 2)
        across = {"axial": "SI", "coronal": "AP", "sagittal": "RL"}[plane]
        assert all(image.orientation[each["axis"]] not in across for each in masks)
        assert found.target is image and found.image.grid.same_as(image.grid)


def test_masks_keep_the_center_and_as_many_lines_as_they_say() -> None:
    image = brain("straight", (16, 320, 16))
    for mask in ("random", "equispaced"):
        for speed, center in ((4.0, 0.08), (8.0, 0.04)):
            drawn = [
                simulate(image, SimulationOptions(Undersampling((speed,), (center,), mask), seed=seed)).facts["drawn"]
                for seed in range(6)
            ]
            lines = [set(each["masks"][0]["measured"]) for each in drawn]
            middle = round(320 * center)
            assert all(set(range(160 - middle // 2, 160 + middle // 2)) <= each for each in lines)
            assert np.mean([len(each) for each in lines]) == pytest.approx(320 / speed, rel=0.12)
            assert len({frozenset(each) for each in lines}) > 1
    both = [
        simulate(image, SimulationOptions(Undersampling((4.0, 8.0), (0.08, 0.04)), seed=seed)).facts["drawn"]
        for seed in range(12)
    ]
    assert {(each["acceleration"], each["center_fraction"]) for each in both} == {(4.0, 0.08), (8.0, 0.04)}


def test_a_phase_makes_half_of_k_space_no_longer_tell_the_other() -> None:
    plain, turned = (made(brain(), Undersampling(phase=phase)) for phase in (False, True))
    assert np.abs(plain.image.array - turned.image.array).max() > 1
    assert turned.facts["drawn"]["phase_waves"] and not plain.facts["drawn"]["phase_waves"]
    again = made(brain(), Undersampling(phase=True))
    assert again.image.array.tobytes() == turned.image.array.tobytes()


def test_coils_together_see_all_voxels_alike() -> None:
    places = [np.linspace(0, 1, count, dtype=np.float32) for count in (20, 24, 1)]
    seen = np.array(_Coils(5, (20, 24, 8), Stream("coils")).sensitivities(places))
    np.testing.assert_allclose((np.abs(seen) ** 2).sum(axis=0), 1, rtol=1e-5)
    assert np.abs(seen).max() > 0.8 and np.abs(np.angle(seen)).max() > 0.3
    four = made(brain(), Undersampling(coils=4)).image.array
    assert 0.5 < four.mean() / brain().array.mean() < 1.5


def test_noise_in_k_space_is_that_of_the_lines_that_were_measured() -> None:
    image = brain("straight", (64, 64, 24))
    found = made(image, Undersampling(snr=(2.0,), phase=False))
    drawn = found.facts["drawn"]
    quiet = made(image, Undersampling(phase=False)).image.array
    # What is left of noise in the real and imaginary part: the measured share of its variance.
    power = (found.image.array.astype(np.float64) ** 2).mean() - (quiet.astype(np.float64) ** 2).mean()
    assert power == pytest.approx(2 * drawn["sigma"] ** 2 / drawn["measured_acceleration"], rel=0.05)


def test_rician_noise_has_the_moments_of_its_distribution() -> None:
    values = np.zeros((1, 64, 64, 60), np.float32)
    values[:, :, 32:] = 100
    found = made(Volume(values, np.eye(4)), Rician(snr=(2.5,)))
    drawn, sigma = found.facts["drawn"], 40.0
    assert drawn["signal"] == pytest.approx(100) and drawn["sigma"] == pytest.approx(sigma)
    dark = found.image.array[:, :, :32].astype(np.float64)
    assert dark.mean() == pytest.approx(sigma * math.sqrt(math.pi / 2), rel=0.01)
    assert dark.var() == pytest.approx((2 - math.pi / 2) * sigma**2, rel=0.02)
    bright = found.image.array[:, :, 32:].astype(np.float64)
    assert (bright**2).mean() == pytest.approx(100**2 + 2 * sigma**2, rel=0.01)
    assert (bright**4).mean() == pytest.approx(100**4 + 8 * sigma**2 * 100**2 + 8 * sigma**4, rel=0.02)
    ratios = [simulate(brain(), SimulationOptions(Rician((5.0, 50.0)), seed=n)).facts["drawn"]["snr"] for n in range(9)]
    assert 5 <= min(ratios) < 12 and 20 < max(ratios) <= 50


@pytest.mark.parametrize("mean", [0.3, 4.0, 60.0, 70.0, 900.0])
def test_counted_photons_are_of_the_poisson_distribution(mean: float) -> None:
    from scipy.stats import poisson as true

    counts = poisson(np.full(40000, mean), Stream("photons", mean).token())
    assert (counts == np.rint(counts)).all() and counts.min() >= 0
    below = [np.mean(counts <= true.ppf(share, mean)) for share in (0.02, 0.3, 0.7, 0.98)]
    np.testing.assert_allclose(below, [true.cdf(true.ppf(share, mean), mean) for share in (0.02, 0.3, 0.7, 0.98)],
                               atol=0.008)  # fmt: skip
    assert counts.mean() == pytest.approx(mean, rel=0.02) and counts.var() == pytest.approx(mean, rel=0.03)


def cylinder(spacing: tuple[float, float] = (2.0, 2.0), count: tuple[int, int] = (80, 80), slices: int = 1) -> Volume:
    """Water, 120 mm across, in air."""
    axes = [(np.arange(n) - (n - 1) / 2) * step for n, step in zip(count, spacing, strict=True)]
    inside = np.hypot(axes[0][:, np.newaxis], axes[1]) < 60
    hu = np.where(inside, 0, -1000).astype(np.int16)[np.newaxis, :, :, np.newaxis].repeat(slices, axis=3)
    return Volume(hu, np.diag([*spacing, 3.0, 1.0]), meta={"modality": "CT"})


def noise_of(ct: Volume, **options: object) -> np.ndarray:
    """HU that low dose adds within 30 mm of the middle."""
    found = made(ct, LowDose(**{"views": 120, "filter": "ramp", "electronic_noise": 0.0, **options}))  # type: ignore[arg-type]
    change = (found.image.array.astype(np.float64) - ct.array)[0]
    axes = [(np.arange(n) - (n - 1) / 2) * step for n, step in zip(ct.shape[:2], ct.spacing[:2], strict=True)]
    return change[np.hypot(axes[0][:, np.newaxis], axes[1]) < 30]


def test_noise_grows_as_one_by_the_root_of_the_dose_and_is_as_strong_as_theory_says() -> None:
    ct = Volume(cylinder().array.astype(np.float32), cylinder().affine)
    half, eighth = (noise_of(ct, dose=dose, noisy_original=False) for dose in (0.5, 0.125))
    assert eighth.std() / half.std() == pytest.approx(2, rel=0.08)
    assert abs(eighth.mean()) < 0.1 * eighth.std()
    # Kak and Slaney 1988, chapter 5.2: pi^2 / (12 views pixel^2) of a bin's variance. Linear interpolation between
    # bins, whose neighbors have a correlation of -6 / pi^2 after the ramp filter, keeps 2 / 3 - 2 / pi^2 of that.
    photons = 0.125 * 1e6 * math.exp(-120 * water(70.0))
    variance = math.pi**2 / 12 / 120 / 2.0**2 / photons * (2 / 3 - 2 / math.pi**2)
    theory = math.sqrt(variance) / water(70.0) * 1000
    assert eighth.std() == pytest.approx(theory, rel=0.08)
    lacking = noise_of(ct, dose=0.125)
    assert lacking.std() / eighth.std() == pytest.approx(math.sqrt(1 - 0.125), rel=0.02)
    electronic = noise_of(ct, dose=0.125, noisy_original=False, electronic_noise=200.0)
    assert (electronic.std() / eighth.std()) ** 2 == pytest.approx(1 + 200**2 / photons, rel=0.15)


def test_pixels_that_are_not_square_and_any_order_of_axes_get_the_same_noise() -> None:
    square = noise_of(cylinder(), dose=0.1)
    flat = noise_of(cylinder((2.0, 3.1), (80, 52)), dose=0.1)
    assert flat.std() == pytest.approx(square.std(), rel=0.15)
    ct = cylinder(slices=3)
    turned = Volume(ct.array.transpose(0, 3, 1, 2), ct.affine[:, [2, 0, 1, 3]], meta=ct.meta)
    found = made(turned, LowDose(dose=0.1, views=60))
    expected = made(ct, LowDose(dose=0.1, views=60))
    np.testing.assert_array_equal(found.image.array, expected.image.array.transpose(0, 3, 1, 2))
    change = (expected.image.array.astype(np.float64) - ct.array)[0, 30:50, 30:50]
    assert abs(np.corrcoef(change[..., 0].ravel(), change[..., 1].ravel())[0, 1]) < 0.35


def test_whole_numbers_and_padding_stay_and_only_noise_is_added() -> None:
    ct = cylinder((1.0, 1.0), (128, 128))
    array = ct.array.copy()
    array[0, :6, :6] = -2000
    ct = Volume(array, ct.affine, meta=ct.meta)
    found = made(ct, LowDose(dose=0.99, photons=1e8, electronic_noise=0.0, views=60))
    assert found.image.array.dtype == np.int16
    assert np.abs(found.image.array.astype(int) - array).max() <= 1  # edges are as sharp as they were
    noisy = made(ct, LowDose(dose=0.01, views=60)).image.array
    assert (noisy[0, :6, :6] == -2000).all() and noisy[0, 60:68, 60:68].std() > 5


def test_images_made_anew_show_the_attenuation_that_was_projected() -> None:
    found = made(cylinder((2.0, 2.0)), LowDose(dose=0.9, photons=1e9, electronic_noise=0, image="fbp", filter="ramp"))
    change = found.image.array[0, :, :, 0]
    axes = (np.arange(80) - 39.5) * 2
    radius = np.hypot(axes[:, np.newaxis], axes)
    assert abs(change[radius < 50].mean()) < 15 and change[radius < 50].std() < 15
    assert change[(radius > 66) & (radius < 75)].mean() == pytest.approx(-1000, abs=25)


def test_no_photon_behind_a_patient_is_no_end_of_the_world() -> None:
    found = made(cylinder((4.0, 4.0), (40, 40)), LowDose(dose=1e-4, photons=1e4, views=40))
    assert found.facts["drawn"]["starved_bins"] > 0 and np.isfinite(found.image.array).all()


def test_work_on_slices_stops_at_once() -> None:
    for image, method in ((brain(), Undersampling()), (brain(), Rician()), (cylinder(), LowDose())):
        with pytest.raises(JobCancelled):
            made(image, method, cancelled=lambda: True)


@pytest.mark.parametrize(
    ("method", "array", "meta", "sentence"),
    [
        (Rician(), np.full((1, 16, 16, 16), -5.0), {}, "magnitude"),
        (Rician(), np.ones((1, 16, 16, 16)), {}, "same value everywhere"),
        (Rician(), np.zeros((1, 16, 16, 16)), {}, "0 everywhere"),
        (Undersampling(), np.random.default_rng(0).normal(size=(1, 32, 32, 4)) - 5, {}, "magnitude"),
        (Undersampling(), np.ones((1, 32, 32, 4)), {"modality": "CT"}, "marked as CT"),
        (Undersampling(), np.ones((1, 32, 12, 4)), {}, "12 lines"),
        (Undersampling(), np.ones((1, 4, 4, 4)), {}, "8 x 8"),
        (Undersampling(), np.ones((3, 64, 64, 1)), {"color": "RGB"}, "picture"),
        (Undersampling(), np.ones((1, 64, 64, 1)), {"format": "png"}, "picture"),
        (Undersampling(), np.ones((1, 64, 64, 2), bool), {}, "mask"),
        (Undersampling(), np.full((1, 32, 32, 4), np.nan), {}, "none"),
        (LowDose(), np.linspace(0, 900, 4096).reshape(1, 16, 16, 16), {}, "Hounsfield"),
        (LowDose(), np.ones((1, 16, 16, 16)), {"modality": "MR"}, "marked as MR"),
        (LowDose(), np.full((1, 16, 16, 16), 1e6), {"modality": "CT"}, "Hounsfield"),
    ],
)  # fmt: skip
def test_an_image_that_a_method_is_not_for_gets_a_sentence(
    method: object, array: np.ndarray, meta: dict[str, str], sentence: str
) -> None:
    with pytest.raises(VolumeError, match=sentence):
        made(Volume(array, np.eye(4), meta=meta), method)
