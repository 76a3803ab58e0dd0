"""Labels on another grid: each voxel gets the label that most of it belongs to.

The membership in each label, 1 inside and 0 outside, is interpolated as images are, and the largest wins. Labels are
never taken from the nearest voxel, which frays thin structures and moves surfaces by up to half a voxel. Tiles in which
one label is alone are not computed, and in the others only the labels that are there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np

from meddl.datasets.geometry.axis_weights import AxisWeights, axis_weights
from meddl.datasets.geometry.image_sampling import subdivisions
from meddl.datasets.geometry.voxel_map import empty_for
from meddl.volume import Grid, Volume

_TILE = 128
_LEAF = 32
"""Below it, in voxels of the finer grid, a tile is not worth splitting to find parts of one label."""
_BITS = 12
_STEPS = 1 << _BITS
"""Positions on turned grids are multiples of this part of a voxel: sums of weights are then exact."""

Ranges = tuple[tuple[int, int], ...]


def resampled_labels(volume: Volume, target: Grid, regions: Sequence[Sequence[int]] = ()) -> Volume:
    """Return label maps ``(L, I, J, K)`` on ``target``, 0 outside.

    On a tie of a structure with the background the structure wins, of several the one with the least value.

    Args:
        regions: where structures overlap and combinations have values of their own: all values of each structure. A
            voxel then belongs to every structure that has at least half of it, as if each were resampled by itself.
    """
    index_map = np.linalg.inv(volume.affine) @ target.affine
    out = empty_for(volume.channels, target.shape, volume.array.dtype)
    out[...] = 0
    axes = axis_weights(index_map, volume.shape, target.shape, whole=True)
    decide = _Decision(regions)
    for layer, goal in zip(volume.array, out, strict=True):
        if axes is None:
            turned = _Turned(layer, index_map, decide)
            for tile in _tiles(target.shape):
                turned(tile, goal)
        else:
            # As the source's axes lie: the rest need not know that they are turned.
            view = goal.transpose([axis.target for axis in axes])[tuple(axis.inside for axis in axes)]
            straight = _Straight(layer, axes, decide)
            for tile in _tiles(view.shape):
                straight(tile, view)
    return Volume(out, target.affine, volume.name, volume.meta)


class _Decision:
    """Which label wins, given the share of each."""

    def __init__(self, regions: Sequence[Sequence[int]]) -> None:
        self._regions = [frozenset(values) for values in regions]
        self._value_of = {}
        for value in {value for values in self._regions for value in values}:
            members = frozenset(n for n, values in enumerate(self._regions) if value in values)
            self._value_of[members] = value
        self._is_plain = all(len(members) == 1 for members in self._value_of)

    def __call__(self, shares: dict[int, np.ndarray], total: np.ndarray) -> np.ndarray:
        """Return the winners; the least value of several, background last."""
        order = [value for value in sorted(shares) if value] + [value for value in shares if not value]
        best = shares[order[0]].copy()
        winner = np.full(best.shape, order[0], dtype=np.int32)
        for value in order[1:]:
            better = shares[value] > best
            winner[better] = value
            np.maximum(best, shares[value], out=best)
        if not self._is_plain:
            self._join(shares, total, winner)
        return winner

    def _join(self, shares: dict[int, np.ndarray], total: np.ndarray, winner: np.ndarray) -> None:
        """Where structures have half of a voxel or more, together or alone, the value of just these wins."""
        here = [n for n, values in enumerate(self._regions) if values & shares.keys()]
        if len(here) < 2:
            return
        # Sets of structures are few in a tile: each voxel's is spelled out as a row of bits.
        half = [2 * sum(shares[value] for value in sorted(self._regions[n] & shares.keys())) >= total for n in here]
        rows, numbers = np.unique(np.stack([np.ravel(each) for each in half], axis=1), axis=0, return_inverse=True)
        for number, row in enumerate(rows):
            value = self._value_of.get(frozenset(n for n, is_in in zip(here, row, strict=True) if is_in))
            if value is not None:  # else they share the voxel without overlapping anywhere, or nobody has half
                winner[(numbers == number).reshape(winner.shape)] = value


class _Straight:
    """Tiles of a target whose axes run along the source's."""

    def __init__(self, layer: np.ndarray, axes: tuple[AxisWeights, ...], decide: _Decision) -> None:
        self._layer, self._axes, self._decide = layer, axes, decide

    def __call__(self, tile: Ranges, out: np.ndarray) -> None:
        goal = tuple(slice(*each) for each in tile)
        reach = [axis.reach(*part) for axis, part in zip(self._axes, tile, strict=True)]
        block = self._layer[tuple(slice(*each) for each in reach)]
        if (least := block.min()) == block.max():
            out[goal] = least
            return
        longest = max(range(3), key=lambda n: max(tile[n][1] - tile[n][0], reach[n][1] - reach[n][0]))
        low, high = tile[longest]
        if max(high - low, reach[longest][1] - reach[longest][0]) > _LEAF and high - low > 1:
            for part in ((low, (low + high) // 2), ((low + high) // 2, high)):
                self((*tile[:longest], part, *tile[longest + 1 :]), out)
            return
        matrices = [axis.matrix(*part, *span) for axis, part, span in zip(self._axes, tile, reach, strict=True)]
        block = np.ascontiguousarray(block)
        sums = [matrix.sum(axis=1) for matrix in matrices]
        total = sums[0][:, None, None] * sums[1][:, None] * sums[2]
        values = np.flatnonzero(np.bincount(block.ravel())).tolist()
        shares = {value: _contracted(block == value, matrices) for value in values[1:]}
        shares[values[0]] = total - sum(shares.values())
        out[goal] = self._decide(shares, total)


def _contracted(mask: np.ndarray, matrices: Sequence[np.ndarray]) -> np.ndarray:
    """Return the weighted sums of a mask. All are whole numbers below 2**53, so no order of summing changes them."""
    first, second, third = matrices
    value = (first @ mask.reshape(mask.shape[0], -1).astype(np.float64)).reshape(-1, *mask.shape[1:])
    return second @ value @ third.T


class _Turned:
    """Tiles of a target that is turned against the source: each of its voxels' parts is sampled by itself."""

    def __init__(self, layer: np.ndarray, index_map: np.ndarray, decide: _Decision) -> None:
        self._layer, self._map, self._decide = layer, index_map, decide
        parts = subdivisions(index_map)
        shifts = np.array(list(product(*((np.arange(n) + 0.5) / n - 0.5 for n in parts))))
        self._offsets = shifts @ index_map[:3, :3].T

    def __call__(self, tile: Ranges, out: np.ndarray) -> None:
        sizes = np.array(self._layer.shape)
        corners = np.array(list(product(*((low - 0.5, high - 0.5) for low, high in tile)))).T
        reach = self._map[:3, :3] @ corners + self._map[:3, 3:]
        low = np.clip(np.floor(reach.min(axis=1)).astype(int), 0, sizes - 1)
        high = np.clip(np.ceil(reach.max(axis=1)).astype(int) + 1, low + 1, sizes)
        if (reach.max(axis=1) < -0.5).any() or (reach.min(axis=1) > sizes - 0.5).any():
            return
        block = self._layer[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
        if not block.any():
            return
        if max(b - a for a, b in tile) > _LEAF:
            halves = [((a, (a + b) // 2), ((a + b) // 2, b)) if b - a > 1 else ((a, b),) for a, b in tile]
            for part in product(*halves):
                self(part, out)
            return
        where = self._positions(tile)
        within = (where >= -0.5 - 1e-6) & (where <= sizes[:, None] - 0.5 + 1e-6)
        inside = within[0] & within[1] & within[2]
        where = where[:, inside]
        if not inside.any():
            return
        block = np.ascontiguousarray(block)
        won = np.full(where.shape[1], int(block.min()), dtype=np.int32)
        if block.max() > won[0]:
            self._fill(won, block, where, low)
        found = np.zeros(len(inside), dtype=np.int32)
        found[inside] = won
        out[tuple(slice(*each) for each in tile)] = found.reshape([b - a for a, b in tile])

    def _fill(self, won: np.ndarray, block: np.ndarray, where: np.ndarray, low: np.ndarray) -> None:
        """Write the winners at positions ``(3, n)``. Where all voxels around one have the same label it wins."""
        is_border = _borders(block).ravel()
        around = [_Around(block, where + offset[:, None], low) for offset in self._offsets]
        won[:] = around[0].labels(0)
        mixed = np.zeros(len(won), dtype=bool)
        for each in around:
            mixed |= is_border[each.cell] | (each.labels(0) != won)
        where = where[:, mixed]
        if not where.shape[1]:
            return
        shares: dict[int, np.ndarray] = {}
        for offset in self._offsets:
            each = _Around(block, where + offset[:, None], low)
            for corner in range(8):
                labels, weights = each.labels(corner), each.weights(corner)
                for value in np.flatnonzero(np.bincount(labels)).tolist():
                    share = shares.setdefault(value, np.zeros(where.shape[1]))
                    share += np.where(labels == value, weights, 0)
        total = np.full(where.shape[1], float(len(self._offsets) * _STEPS**3))
        won[mixed] = self._decide(shares, total)

    def _positions(self, tile: Ranges) -> np.ndarray:
        """Return the source indices ``(3, n)`` of the centers of a tile's voxels."""
        x, y, z = (np.arange(*part) for part in tile)
        linear = self._map[:3, :3, None, None, None]
        where = linear[:, 0] * x[:, None, None] + linear[:, 1] * y[:, None] + linear[:, 2] * z
        return (where + self._map[:3, 3, None, None, None]).reshape(3, -1)


def _borders(block: np.ndarray) -> np.ndarray:
    """Say of each voxel whether it differs from any of the seven that follow it along the axes."""
    least, most = block, block
    for axis in range(3):
        count = block.shape[axis]
        following = np.minimum(np.arange(count) + 1, count - 1)
        least = np.minimum(least, least.take(following, axis))
        most = np.maximum(most, most.take(following, axis))
    return least != most


class _Around:
    """The eight voxels around each of some positions ``(3, n)``, source indices, in a block that begins at ``low``."""

    def __init__(self, block: np.ndarray, where: np.ndarray, low: np.ndarray) -> None:
        last = np.array(block.shape)[:, None] - 1
        steps = np.clip(np.rint((where - low[:, None]) * _STEPS).astype(np.int64), 0, last * _STEPS)
        strides = np.array([[block.shape[1] * block.shape[2]], [block.shape[2]], [1]])
        base = steps >> _BITS
        self._flat = block.ravel()
        self._low, self._high = base * strides, np.minimum(base + 1, last) * strides
        self._part = steps & (_STEPS - 1)

    @property
    def cell(self) -> np.ndarray:
        """Index ``(n,)`` of the first of the voxels in the block as it lies in memory."""
        return self._low[0] + self._low[1] + self._low[2]

    def labels(self, corner: int) -> np.ndarray:
        """Return the labels ``(n,)`` at one of the corners, 0 to 7."""
        sides = (self._high if corner >> axis & 1 else self._low for axis in range(3))
        first, second, third = (side[axis] for axis, side in enumerate(sides))
        return self._flat[first + second + third]

    def weights(self, corner: int) -> np.ndarray:
        """Return the weights ``(n,)`` of it: whole numbers, which add up to the same everywhere."""
        first, second, third = (
            self._part[axis] if corner >> axis & 1 else _STEPS - self._part[axis] for axis in range(3)
        )
        return first * second * third


def _tiles(shape: tuple[int, ...]) -> Iterator[Ranges]:
    return product(*([(at, min(at + _TILE, count)) for at in range(0, count, _TILE)] for count in shape))
