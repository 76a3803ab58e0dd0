"""What would the model say if a structure were not there: it is painted over with what lies round it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from meddl.errors import UsageError
from meddl.saliency.attribution import Measure

if TYPE_CHECKING:
    import torch

    from meddl.saliency.methods.method import Work
    from meddl.saliency.scorer import Scorer

ELSEWHERE = 3
"""Other places that are painted over for comparison: any change of an image changes a score a little."""

_NOTABLE = 2.0
_LEAST = 0.005
_MOST_NAMED = 4
_SMOOTH = 2.0
_RELAXATIONS = 200
_FINER_RELAXATIONS = 20
_SOLVED_AT_ONCE = 32
"""Voxels along the longest axis of a region that is relaxed as it is; larger ones begin with a coarser film."""

_TRIED = 4096
"""Voxels of a structure by which places for it are tried; one that is found is looked at with all."""


@dataclass(frozen=True, eq=False)
class Counterfactual:
    """The answer to an image without one structure.

    Attributes:
        image: ``(1, C, i, j, k)`` without it.
        score: of the image as it is.
        without: of the image without it.
        measure: named "counterfactual": how much of the score is lost, as a share of its size; below 0 where the score
            rises. ``random`` is the same, whatever its sign, for places of the same shape elsewhere (mean), or None
            where there is no room for them.
    """

    image: torch.Tensor
    score: float
    without: float
    measure: Measure


def counterfactual(
    scorer: Scorer, image: torch.Tensor, region: torch.Tensor, work: Work, name: str = "the structure"
) -> Counterfactual:
    """Paint a region over with its surroundings, ask the network again and tell the change of the score.

    In the manner of Chang et al., Explaining image classifiers by counterfactual generation, ICLR 2019,
    arXiv:1807.08024, but with the texture of the neighborhood instead of a generative model: what is painted holds
    nothing that was learned from other images, and cannot invent an organ.

    Args:
        image: ``(1, C, i, j, k)``.
        region: ``(i, j, k)`` not 0 where the structure is.

    Raises:
        UsageError: the region is empty, or all there is.
        JobCancelled: on request.
    """
    import torch

    array = image.detach().float().cpu().numpy()[0]
    mask = (region.detach().cpu() != 0).numpy()
    if not mask.any():
        raise UsageError(f"There is nothing of {name} where the network looks, so it cannot be painted over.")
    if mask.all():
        raise UsageError(f"All that the network sees is {name}: there are no surroundings to paint it over with.")

    def asked(pixels: np.ndarray) -> float:
        return float(scorer.score(torch.from_numpy(pixels[None]))[0])

    work.step(0.0, f"Painting over {name}")
    score, painted = asked(array), inpainted(array, mask)
    without = asked(painted)
    changes = []
    for number, other in enumerate(_elsewhere(mask, array, work.options.seed)):
        work.step((number + 1) / (ELSEWHERE + 1), "Painting over other places")
        changes.append(abs(score - asked(inpainted(array, other))))
    size = max(abs(score), 1e-12)
    value, random = (score - without) / size, float(np.mean(changes)) / size if changes else None
    return Counterfactual(
        torch.from_numpy(painted[None]), score, without, _measure(name, value, random, score, without)
    )


def counterfactuals(
    scorer: Scorer, image: torch.Tensor, structures: Iterable[tuple[str, torch.Tensor]], work: Work
) -> tuple[Measure, ...]:
    """Return the counterfactual of each structure as a measure; of those that are not there, that they are not.

    Args:
        structures: names and where they are, ``(i, j, k)`` bool; they may overlap.
    """
    measures, absent = [], []
    for name, region in structures:
        if bool(region.any()) and not bool(region.all()):
            measures.append(counterfactual(scorer, image, region, work, name).measure)
        else:
            absent.append(name)
    if absent:
        more = f" and {len(absent) - _MOST_NAMED} more" if len(absent) > _MOST_NAMED else ""
        sentence = f"Not where the network looks, or all that it sees: {', '.join(absent[:_MOST_NAMED])}{more}."
        measures.append(Measure("counterfactual", None, None, "", sentence))
    return tuple(measures)


def inpainted(array: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return ``(C, i, j, k)`` with the voxels of ``mask`` ``(i, j, k)`` painted over with their surroundings.

    Brightness is continued smoothly from the rim inwards (a soap film, the solution of Laplace's equation); on it lies
    the texture of the nearest place of the same shape that is as bright. Outside of the mask nothing changes; channels
    get the texture of the same place. The same image gives the same picture.
    """
    from scipy.ndimage import gaussian_filter

    box = _box(mask, margin=1)
    small = mask[box]
    film = _film(array[:, box[0], box[1], box[2]].astype(np.float32), small)
    painted: np.ndarray = array.astype(np.float32, copy=True)
    # Texture is what is left without the smooth part, which must not see the structure itself.
    weight = gaussian_filter((~mask).astype(np.float64), _SMOOTH)
    smooth = np.stack([gaussian_filter(np.where(mask, 0.0, each), _SMOOTH) for each in array]) / np.maximum(
        weight, 1e-6
    )
    shift = _like(smooth, mask, film[:, small].mean(axis=1))
    values = film[:, small].astype(np.float64)
    if shift is not None:
        there = tuple(each + by for each, by in zip(np.nonzero(mask), shift, strict=True))
        values = values + (array - smooth)[:, there[0], there[1], there[2]]
    painted[:, mask] = values
    return painted


def _film(array: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return ``(C, i, j, k)`` with ``mask`` filled so that each voxel is the mean of its neighbors.

    That (Laplace's equation) is found by relaxation, which spreads a voxel a step: what is large is solved on a
    coarser grid first.
    """
    if not mask.any():
        return array
    if max(mask.shape) > _SOLVED_AT_ONCE and not mask.all():
        coarse = _film(*_halved(array, mask))
        index = [
            np.minimum(np.arange(size) // 2, at - 1) for size, at in zip(mask.shape, coarse.shape[1:], strict=True)
        ]
        film, times = (
            np.where(mask, coarse[:, index[0][:, None, None], index[1][:, None], index[2]], array),
            _FINER_RELAXATIONS,
        )
    else:
        from scipy.ndimage import distance_transform_edt

        nearest = distance_transform_edt(mask, return_distances=False, return_indices=True)
        film, times = array[:, nearest[0], nearest[1], nearest[2]], _RELAXATIONS
    for _ in range(times):
        padded = np.pad(film, ((0, 0), (1, 1), (1, 1), (1, 1)), mode="edge")
        mean = padded[:, 2:, 1:-1, 1:-1] + padded[:, :-2, 1:-1, 1:-1]
        for other in (
            padded[:, 1:-1, 2:, 1:-1],
            padded[:, 1:-1, :-2, 1:-1],
            padded[:, 1:-1, 1:-1, 2:],
            padded[:, 1:-1, 1:-1, :-2],
        ):
            mean += other
        film = np.where(mask, mean / 6, film)
    return film


def _halved(array: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both with half as many voxels: the mean of what is not in the mask; in it where nothing else is."""
    ends = [(0, size % 2) for size in mask.shape]
    known = np.pad(~mask, ends).astype(np.float32)
    values = np.pad(np.where(mask, 0, array), [(0, 0), *ends])
    i, j, k = (size // 2 for size in known.shape)
    count = known.reshape(i, 2, j, 2, k, 2).sum(axis=(1, 3, 5))
    total = values.reshape(len(array), i, 2, j, 2, k, 2).sum(axis=(2, 4, 6))
    return total / np.maximum(count, 1), count == 0


def _like(smooth: np.ndarray, mask: np.ndarray, brightness: np.ndarray) -> tuple[int, int, int] | None:
    """Return by how much ``mask`` is to be moved to lie beside itself where it is most alike in brightness."""
    best, least = None, np.inf
    voxels = np.nonzero(mask)
    every = -(-len(brightness) // _TRIED)
    some, brightness = tuple(each[::every] for each in voxels), brightness[::every]
    sides = [int(each.max() - each.min()) + 1 for each in voxels]
    for times in (1, 2):
        for sign in product((-1, 0, 1), repeat=3):
            shift = tuple(each * side * times for each, side in zip(sign, sides, strict=True))
            there = _moved(some, shift, mask.shape)
            if not any(sign) or there is None or mask[there].any():
                continue
            whole = _moved(voxels, shift, mask.shape) if every > 1 else there
            if whole is None or mask[whole].any():
                continue
            unlike = float(((smooth[:, there[0], there[1], there[2]].mean(axis=1) - brightness) ** 2).sum())
            if unlike < least:
                best, least = (shift[0], shift[1], shift[2]), unlike
    return best


def _elsewhere(mask: np.ndarray, array: np.ndarray, seed: int) -> Iterator[np.ndarray]:
    """Yield masks of the same shape at other places of the body that do not touch it."""
    import torch

    from meddl.saliency.faithfulness.controls import body

    inside = body(torch.from_numpy(array[None].astype(np.float32)))
    random, voxels, found = np.random.default_rng(seed), np.nonzero(mask), 0
    room = [(-int(each.min()), size - 1 - int(each.max())) for each, size in zip(voxels, mask.shape, strict=True)]
    some = tuple(each[:: -(-len(voxels[0]) // _TRIED)] for each in voxels)
    for _ in range(200):
        shift = [int(random.integers(low, high + 1)) for low, high in room]
        there = _moved(some, shift, mask.shape)
        if there is None or mask[there].any():
            continue
        there = _moved(voxels, shift, mask.shape)
        if there is None or mask[there].any() or inside[there].mean() < 0.9:
            continue
        other = np.zeros_like(mask)
        other[there] = True
        yield other
        found += 1
        if found == ELSEWHERE:
            return


def _moved(
    voxels: tuple[np.ndarray, ...], shift: tuple[int, ...] | list[int], shape: tuple[int, ...]
) -> tuple[np.ndarray, ...] | None:
    there = tuple(each + by for each, by in zip(voxels, shift, strict=True))
    fits = all(each.min() >= 0 and each.max() < size for each, size in zip(there, shape, strict=True))
    return there if fits else None


def _box(mask: np.ndarray, margin: int) -> tuple[slice, ...]:
    return tuple(slice(max(int(each.min()) - margin, 0), int(each.max()) + 1 + margin) for each in np.nonzero(mask))


def _measure(name: str, value: float, random: float | None, score: float, without: float) -> Measure:
    sentence = f"Without {name}, painted over with its surroundings, the score "
    notes = []
    if abs(value) < _LEAST:
        sentence += f"stays at {score:.3g}"
    else:
        sentence += f"{'falls' if value > 0 else 'rises'} from {score:.3g} to {without:.3g}"
        notes.append(f"by {abs(value):.0%}")
    if random is not None:
        notes.append(f"the same elsewhere changes it by {random:.0%}")
    if notes:
        sentence += f" ({'; '.join(notes)})"
    if random is None:
        return Measure("counterfactual", value, None, "", f"{sentence}.")
    if abs(value) <= _NOTABLE * random:
        sentence += ": no more than any other place of its shape does" if abs(value) <= random else ": hardly more"
    return Measure("counterfactual", value, random, "", f"{sentence}.")
