"""Reconstruction: an image made from an image - denoised, sharpened, completed, or of another kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from meddl.errors import ModelError
from meddl.inference.prediction import ReconstructionPrediction
from meddl.inference.restore import restore_values
from meddl.inference.run import Run
from meddl.inference.tasks.input_image import first_axis_fastest, slice_of, straightened
from meddl.models.metadata_values import own_part
from meddl.volume import Grid, Volume

if TYPE_CHECKING:
    from meddl.inference.stage import Prepared, Stage
    from meddl.inference.tasks.make import StageMaker
    from meddl.models import ModelBundle


class ReconstructionTask:
    """Runs an image-to-image model.

    The answer lies on the input's grid; where the network makes it larger by whole factors (super-resolution), on a
    grid that much finer over the same place. Its values are in the input's units where the config's intensity steps can
    be undone (``meddl.reconstruction.units`` = ``network`` says that they should not be).
    """

    def __init__(self, bundle: ModelBundle, make_stage: StageMaker) -> None:
        self._bundle = bundle
        self._stage = make_stage("inference")
        self.stages: tuple[Stage, ...] = (self._stage,)
        facts = own_part(bundle.metadata, "reconstruction")
        self._residual = facts.get("residual") is True
        self._own_units = facts.get("units") == "network"

    def predict(self, image: Volume, run: Run, *, frames: tuple[Volume, ...] = ()) -> ReconstructionPrediction:
        """Return the image that the model makes of one image."""
        made = self._slice_by_slice(image, run) if self._stage.flat and image.shape[2] > 1 else self._make(image, run)
        difference = None
        if run.options.difference:
            before = image.array.astype(np.float32)
            if not made.grid.same_as(image.grid):
                import torch

                before = restore_values(torch.from_numpy(before), image.affine, made.grid)
            if before.shape[0] != made.channels:
                before = before[:1]
            difference = made.with_array(made.array - before)
        return ReconstructionPrediction(_ordered(made), {}, _ordered(difference) if difference is not None else None)

    def _make(self, image: Volume, run: Run) -> Volume:
        straight = straightened(image, run)
        run.tell(0.05, "Preparing the image")
        with run.watch.step("preprocess"):
            prepared = self._stage.prepare(straight, units=not self._own_units)
        with run.watch.step("network"):
            scores = self._stage.scores(
                prepared, run.windows(0.1, 0.85, "Reconstructing"), run.cancelled, same_grid=False
            )
        run.tell(0.85, "Putting the answer on the image's grid")
        with run.watch.step("restore"):
            answer = self._stage.post.activate(scores.array.float())
            factors = self._factors(tuple(answer.shape[1:]), prepared)
            if self._residual:
                answer = answer + self._enlarged(prepared, factors, tuple(answer.shape[1:]), answer.shape[0])
            values = self._in_units(answer.cpu().numpy(), prepared, run)
            affine = finer_affine(prepared.affine, factors)
            grid = finer_grid(image.grid, _for_axes(factors, prepared.affine, image.affine))
            import torch

            fill = float(values.min())
            array = restore_values(torch.from_numpy(values), affine, grid, fill=fill)
        return Volume(array.astype(np.float32), grid.affine, image.name, image.meta)

    def _factors(self, shape: tuple[int, ...], prepared: Prepared) -> tuple[int, int, int]:
        before = tuple(prepared.image.shape[1:])
        factors = tuple(max(1, round(after / size)) for after, size in zip(shape, before, strict=True))
        if any(size * factor != after for size, factor, after in zip(before, factors, shape, strict=True)):
            raise ModelError(
                f"The network of '{self._bundle.name}' answered on a grid of {shape} voxels for an image of {before}: "
                "that is no whole multiple of it, so its place in the patient is not known."
            )
        return factors  # type: ignore[return-value]

    @staticmethod
    def _enlarged(prepared: Prepared, factors: tuple[int, int, int], shape: tuple[int, ...], channels: int) -> Any:
        import torch

        if factors == (1, 1, 1):
            return prepared.image[:channels]
        grid = Grid((shape[0], shape[1], shape[2]), finer_affine(prepared.affine, factors))
        return torch.from_numpy(restore_values(prepared.image[:channels], prepared.affine, grid))

    def _in_units(self, values: np.ndarray, prepared: Prepared, run: Run) -> np.ndarray:
        if not np.isfinite(values).all():
            raise ModelError(f"The network of '{self._bundle.name}' answered with values that are no numbers.")
        if self._own_units:
            return values.astype(np.float32)
        if prepared.intensity is None or not prepared.intensity.linear:
            run.note("The values are the network's own: its preprocessing of intensities cannot be undone.")
            return values.astype(np.float32)
        return prepared.intensity.undo(values.astype(np.float64)).astype(np.float32)

    def _slice_by_slice(self, image: Volume, run: Run) -> Volume:
        count = image.shape[2]
        parts = []
        for index in range(count):
            run.raise_if_cancelled()
            parts.append(self._make(slice_of(image, index), run.part(index / count, (index + 1) / count)))
        # Slices stay as thick as they were: a network that sees one alone cannot know what lies between two.
        affine = np.array(image.affine)
        affine[:3, :2] = parts[0].affine[:3, :2]
        affine[:3, 3] = parts[0].affine[:3, 3]
        return Volume(np.concatenate([part.array for part in parts], axis=3), affine, image.name, image.meta)


def _for_axes(factors: tuple[int, int, int], source: np.ndarray, target: np.ndarray) -> tuple[int, int, int]:
    """Return factors along the axes of one grid for those of another, which may be turned or flipped."""
    along = np.abs(np.linalg.inv(target) @ source)[:3, :3].argmax(axis=0)
    by_axis = {int(axis): factor for axis, factor in zip(along, factors, strict=True)}
    return (by_axis.get(0, 1), by_axis.get(1, 1), by_axis.get(2, 1))


def finer_affine(affine: np.ndarray, factors: tuple[int, int, int]) -> np.ndarray:
    """Return the affine of the grid that divides each voxel into ``factors`` parts: same edges, other centers."""
    fine = np.array(affine, dtype=np.float64)
    fine[:3, :3] = affine[:3, :3] / factors
    fine[:3, 3] = affine[:3, 3] + affine[:3, :3] @ ((1.0 / np.array(factors) - 1.0) / 2.0)
    return fine


def finer_grid(grid: Grid, factors: tuple[int, int, int]) -> Grid:
    """Return ``grid`` divided into ``factors`` parts along each axis."""
    shape = tuple(size * factor for size, factor in zip(grid.shape, factors, strict=True))
    return Grid((shape[0], shape[1], shape[2]), finer_affine(grid.affine, factors))


def _ordered(volume: Volume) -> Volume:
    return volume.with_array(first_axis_fastest(volume.array))
