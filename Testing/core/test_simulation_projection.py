"""X-rays of a CT: line integrals against closed forms, and everything at its place on any grid."""

from __future__ import annotations

import math

import numpy as np
import pytest
import realdata
from core.phantoms import reordered
from meddl.errors import JobCancelled, VolumeError
from meddl.inference.prediction import Box, Landmark
from meddl.randomness import Stream
from meddl.simulation import Projection, Simulated, SimulationOptions, simulate
from meddl.simulation.attenuation import attenuation, water
from meddl.simulation.beam import beam_through
from meddl.simulation.rays import along_rays
from meddl.volume import Segment, Volume, read_volume

VIEWS = ("AP", "PA", "LL", "RL", "30/20", "-115/-35")


def affine(kind: str) -> np.ndarray:
    """Grids of about 1.5 mm: as scanners have them, and as nobody wants them."""
    matrix = np.diag([1.5, 1.5, 1.5, 1.0])
    if kind == "flipped":
        matrix = np.diag([-1.5, -1.5, 1.5, 1.0])
    elif kind == "anisotropic":
        matrix = np.diag([-1.0, 1.5, 3.0, 1.0])
    elif kind == "turned":  # PIR
        matrix = np.array([[0, 0, 1.5, 0], [-1.5, 0, 0, 0], [0, -1.5, 0, 0], [0, 0, 0, 1.0]])
    elif kind == "oblique":
        a, b = 0.5, 0.3
        turn = np.array([[math.cos(a), -math.sin(a), 0], [math.sin(a), math.cos(a), 0], [0, 0, 1]])
        tilt = np.array([[1, 0, 0], [0, math.cos(b), -math.sin(b)], [0, math.sin(b), math.cos(b)]])
        matrix[:3, :3] = turn @ tilt * (1.5, 1.2, 2.0)
    elif kind == "sheared":
        matrix[1, 2] = 0.6
    matrix[:3, 3] = (12.0, -30.0, 55.0)
    return matrix


GRIDS = ("straight", "flipped", "anisotropic", "turned", "oblique", "sheared")
SHAPE = (64, 60, 56)


def world(kind: str, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """RAS mm of all voxels (I, J, K, 3)."""
    matrix = affine(kind)
    return np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1) @ matrix[:3, :3].T + matrix[:3, 3]


def ball(places: np.ndarray, center: np.ndarray, radius: float) -> np.ndarray:
    """Share of each voxel that a ball fills, near enough."""
    distance = np.linalg.norm(places - center, axis=-1)
    return np.clip((radius - distance) / 1.5 + 0.5, 0, 1)


def shot(kind: str, hu: np.ndarray, **options: object) -> Simulated:
    options = {"size": (96, 80), "field_mm": 160.0, "value": "line_integral", **options}
    ct = Volume(hu[np.newaxis].astype(np.float32), affine(kind), meta={"modality": "CT"})
    return simulate(ct, SimulationOptions(Projection(**options)))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", GRIDS)
@pytest.mark.parametrize("beam", ["cone", "parallel"])
def test_line_integrals_through_a_ball_of_water_are_those_of_its_chords(kind: str, beam: str) -> None:
    places = world(kind)
    center, radius = places[30, 28, 27], 30.0
    made = shot(kind, ball(places, center, radius) * 1000 - 1000, views=("40/15",), beam=beam, source_mm=500)
    grid = made.image.grid
    pixels = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)[:, :, 0]
    points = pixels @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    a, b = math.radians(40), math.radians(15)
    along = np.array([-math.sin(a) * math.cos(b), math.cos(a) * math.cos(b), math.sin(b)])
    middle = affine(kind)[:3, :3] @ ((np.array(SHAPE) - 1) / 2) + affine(kind)[:3, 3]
    source = middle - 500 * along
    directions = points - source if beam == "cone" else np.broadcast_to(along, points.shape)
    directions = directions / np.linalg.norm(directions, axis=-1, keepdims=True)
    off = np.linalg.norm(np.cross(center - points, directions), axis=-1)
    chords = 2 * np.sqrt(np.maximum(radius**2 - off**2, 0)) * water(70.0)
    found = made.image.array[0, :, :, 0]
    well_inside = off < 0.8 * radius
    assert np.abs(found - chords)[well_inside].max() < 0.02 * chords.max()
    assert found.sum() == pytest.approx(chords.sum(), rel=0.01)


@pytest.mark.parametrize("kind", GRIDS)
def test_paths_through_the_whole_grid_are_those_through_a_box(kind: str) -> None:
    grid = Volume(np.ones((1, 20, 24, 28), np.uint8), affine(kind))
    stream = Stream("rays")
    directions = np.array([[stream.uniform(-1, 1) for _ in range(3)] for _ in range(300)])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    index = np.array([[stream.uniform(4, 16), stream.uniform(4, 20), stream.uniform(4, 24)] for _ in range(300)])
    points = index @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    steps = directions @ np.linalg.inv(grid.affine[:3, :3]).T
    ends = [(np.array([-0.5]) - index) / steps, (np.array(grid.shape) - 0.5 - index) / steps]
    true = np.maximum(*ends).min(axis=1) - np.minimum(*ends).max(axis=1)
    for linear in (True, False):
        found = np.zeros(300)

        def add(rays: np.ndarray, values: np.ndarray, lengths: np.ndarray, found: np.ndarray = found) -> None:
            found[rays] += values * lengths

        along_rays(grid, 0, points, directions, lambda plane: plane, add, linear=linear)
        error = np.abs(found - true)
        assert error.mean() < 0.015 * true.mean() and error.max() < 3.5  # a slice more or less where it leaves


@pytest.mark.parametrize("kind", GRIDS)
def test_labels_points_and_boxes_are_projected_to_one_place(kind: str) -> None:
    places = world(kind)
    where = {"near": places[20, 40, 20], "far": places[45, 22, 38]}
    labels = np.zeros((1, *SHAPE), np.uint8)
    for value, center in enumerate(where.values(), 1):
        labels[0][np.linalg.norm(places - center, axis=-1) < 9] = value
    ct = Volume(np.where(labels > 0, 200, -1000).astype(np.int16), affine(kind))
    segments = [Segment(1, "near", (1, 0, 0)), Segment(2, "far", (0, 1, 0))]
    points = [Landmark(name, np.asarray(center), 1.0) for name, center in where.items()]
    boxes = [Box(name, 1.0, np.asarray(center), np.full(3, 18.0)) for name, center in where.items()]
    options = SimulationOptions(
        Projection(VIEWS, source_mm=600, size=(128, 128), field_mm=128, value="line_integral", min_path_mm=4)
    )
    for number, view in enumerate(VIEWS):
        made = simulate(ct, options, Volume(labels, ct.affine), segments, number=number, points=points, boxes=boxes)
        assert made.labels is not None and made.labels.channels == 2
        inverse = np.linalg.inv(made.image.affine)
        union = np.zeros((128, 128), bool)
        for layer, point in enumerate(made.points):
            mask = made.labels.array[layer, :, :, 0] > 0
            centroid = np.argwhere(mask).mean(axis=0)
            seen = inverse[:3, :3] @ point.position + inverse[:3, 3]
            assert np.abs(seen[:2] - centroid).max() < 0.5, view
            assert seen[2] == pytest.approx(0, abs=1e-9)
            found = np.argwhere(mask)
            corners = made.boxes[layer].corners() @ inverse[:3, :3].T + inverse[:3, 3]
            assert (corners.min(axis=0)[:2] <= found.min(axis=0) + 1).all()
            assert (corners.max(axis=0)[:2] >= found.max(axis=0) - 1).all()
            union |= mask
        shadow = made.image.array[0, :, :, 0] > 4 * 1.2 * water(70.0)
        assert (union & shadow).sum() / (union | shadow).sum() > 0.9, view


@pytest.mark.parametrize("kind", GRIDS)
def test_what_is_on_the_left_of_the_patient_is_on_the_left_in_the_world(kind: str) -> None:
    places = world(kind)
    middle = places[32, 30, 28]
    bead = middle + np.array([-20.0, 0.0, 14.0])  # left and up
    hu = np.where(np.linalg.norm(places - bead, axis=-1) < 5, 1000.0, -1000.0)
    for view in ("AP", "PA"):
        made = shot(kind, hu, views=(view,), beam="parallel")
        i, j = np.unravel_index(made.image.array[0, :, :, 0].argmax(), (96, 80))
        place = made.image.affine @ (i, j, 0, 1)
        assert np.abs(place[:3] - bead)[[0, 2]].max() < 2.5
        assert i > 48 and j < 40  # as radiologists look: the patient's left is on the right


def test_a_real_ct_seen_along_its_axes_is_the_sum_of_its_voxels() -> None:
    folder = realdata.totalsegmentator()
    ct = read_volume(folder / "example_ct.nii.gz")
    labels = read_volume(folder / "example_seg_fast_force_split.nii.gz")
    assert ct.orientation == "RAS" and np.allclose(ct.spacing, 3)
    right, _, up = ct.shape
    options = Projection(beam="parallel", size=(right, up), field_mm=right * 3.0, value="line_integral", paths=True,
                         min_path_mm=0.1)  # fmt: skip
    made = simulate(ct, SimulationOptions(options), labels)
    # I to the left, J down: both against the voxels' order.
    expected = attenuation(ct.array[0], 70.0).sum(axis=1)[::-1, ::-1] * 3
    np.testing.assert_allclose(made.image.array[0, :, :, 0], expected, rtol=1e-3, atol=1e-3)
    assert made.labels is not None and made.paths is not None and len(made.segments) == 61
    for layer, segment in enumerate(made.segments):
        path = (labels.array[0] == int(segment.name.split()[1])).sum(axis=1)[::-1, ::-1] * 3
        np.testing.assert_allclose(made.paths.array[layer, :, :, 0], path, atol=1e-2)
        np.testing.assert_array_equal(made.labels.array[layer, :, :, 0], path > 0)


def test_views_are_called_as_dicom_calls_them() -> None:
    grid = Volume(np.zeros((1, 8, 8, 8)), np.eye(4)).grid
    expected = {
        (0, 0): (0, 1, 0),
        (180, 0): (0, -1, 0),
        (90, 0): (-1, 0, 0),
        (-90, 0): (1, 0, 0),
        (0, 30): (0, None, 0.5),
    }
    for angles, along in expected.items():
        beam = beam_through(grid, Projection(), *angles)
        for found, wanted in zip(beam.along, along, strict=True):
            assert wanted is None or found == pytest.approx(wanted, abs=1e-12)
        axes = np.stack([beam.along, beam.right, beam.down])
        np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)


def test_softer_rays_are_weakened_more_above_all_by_bone() -> None:
    tissue, bone = (attenuation(np.array([0, 1500]), kev) for kev in (40.0, 70.0))
    assert tissue[0] / bone[0] == pytest.approx(0.2683 / math.sqrt(0.2059 * 0.1837), rel=0.01)
    assert tissue[1] / bone[1] > 1.5 * tissue[0] / bone[0]
    assert attenuation(np.array([1000]), 70.0)[0] == pytest.approx(2 * water(70.0), rel=1e-5)
    assert attenuation(np.array([-1000, -3024]), 70.0).tolist() == [0, 0]


def test_film_is_a_function_of_the_line_integrals_and_the_same_every_time() -> None:
    places = world("oblique")
    hu = ball(places, places[32, 30, 28], 30) * 1000 - 1000
    integrals = shot("oblique", hu).image.array[0].astype(np.float64)
    film = shot("oblique", hu, value="film", contrast=2.0)
    low, middle, high = np.percentile(integrals[integrals > 0.5], (16, 50, 84))
    expected = 4095 / (1 + np.exp(-2 * (integrals - middle) / ((high - low) / 2)))
    np.testing.assert_allclose(film.image.array[0], expected, atol=1)
    assert film.image.array.tobytes() == shot("oblique", hu, value="film", contrast=2.0).image.array.tobytes()


def test_structures_are_where_enough_of_them_is_in_the_way_and_can_be_chosen() -> None:
    labels = np.zeros((2, 40, 40, 40), np.uint8)
    labels[0, 10:20, 18:22, 10:30] = 7  # 4 mm deep seen from the front
    labels[1, 5:35, 5:35, 15:25] = 7
    hu = np.full((1, 40, 40, 40), 0, np.int16)
    hu[0, 0] = -1000
    segments = [Segment(7, "Plate", (1, 0, 0)), Segment(7, "Block", (0, 1, 0), layer=1)]
    ct, mask = Volume(hu, np.eye(4)), Volume(labels, np.eye(4))

    def made(**options: object) -> Simulated:
        return simulate(ct, SimulationOptions(Projection(beam="parallel", size=(40, 40), **options)), mask, segments)

    thin = made(min_path_mm=3.9, paths=True)
    assert thin.paths is not None and thin.labels is not None
    assert thin.paths.array[0].max() == pytest.approx(4) and thin.paths.array[1].max() == pytest.approx(30)
    assert thin.facts["drawn"]["pixels"] == {"Plate": 200, "Block": 300}
    assert made(min_path_mm=4.5).facts["drawn"]["pixels"]["Plate"] == 0
    only = made(structures=("BLOCK",))
    assert [each.name for each in only.segments] == ["Block"] and only.segments[0].layer == 0
    with pytest.raises(VolumeError, match="None of the structures"):
        made(structures=("Liver",))


def test_a_projection_stops_at_once_and_tells_how_far_it_is() -> None:
    told: list[float] = []
    ct = Volume(np.full((1, 16, 16, 16), -500, np.int16), np.eye(4))
    simulate(ct, SimulationOptions(Projection()), Volume(np.ones((1, 16, 16, 16), np.uint8), np.eye(4)),
             progress=lambda fraction, text: told.append(fraction))  # fmt: skip
    assert told == sorted(told) and told[-1] > 0.9
    with pytest.raises(JobCancelled):
        simulate(ct, SimulationOptions(Projection()), cancelled=lambda: True)


def test_the_picture_holds_all_of_the_patient_and_little_else() -> None:
    places = world("oblique")
    hu = ball(places, places[32, 30, 28], 25) * 1000 - 1000
    for view in VIEWS:
        seen = np.argwhere(shot("oblique", hu, views=(view,), size=(90, 90), field_mm=0).image.array[0, :, :, 0] > 0.05)
        assert seen.min() >= 0 and seen.max() <= 89
        assert (seen.max(axis=0) - seen.min(axis=0)).max() > 70


def test_a_source_in_the_patient_and_a_single_slice_get_a_sentence() -> None:
    ct = Volume(np.full((1, 40, 40, 40), -500, np.int16), np.diag([10.0, 10.0, 10.0, 1.0]))
    with pytest.raises(VolumeError, match="source_mm"):
        simulate(ct, SimulationOptions(Projection(source_mm=200)))
    with pytest.raises(VolumeError, match="single slice"):
        simulate(Volume(ct.array[..., :1], ct.affine), SimulationOptions(Projection()))


def test_labels_on_another_grid_are_projected_from_where_they_are() -> None:
    places = world("oblique")
    labels = np.zeros((1, *SHAPE), np.uint8)
    labels[0][np.linalg.norm(places - places[20, 40, 20], axis=-1) < 12] = 1
    ct = Volume(np.where(labels > 0, 100, -1000).astype(np.int16), affine("oblique"))
    options = SimulationOptions(Projection(("LL",), size=(64, 64)))
    same = Volume(labels, ct.affine)
    part = Volume(
        labels[:, 5:50, 20:, 2:], ct.affine @ np.array([[1, 0, 0, 5], [0, 1, 0, 20], [0, 0, 1, 2], [0, 0, 0, 1.0]])
    )
    masks = [simulate(ct, options, each).labels for each in (same, part, reordered(same, (2, 0, 1), (-1, 1, -1)))]
    assert masks[0] is not None and masks[0].array.any()
    for other in masks[1:]:
        assert other is not None and np.mean(other.array != masks[0].array) < 0.002
