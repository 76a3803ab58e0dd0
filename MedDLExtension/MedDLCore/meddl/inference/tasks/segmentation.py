"""Segmentation: every voxel of the image gets a label, or several where structures overlap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from meddl.errors import ModelError
from meddl.inference.cascade import box_around
from meddl.inference.prediction import SegmentationPrediction, Uncertainty
from meddl.inference.restore import RestoreLabels, restore_labels, restore_values
from meddl.inference.run import Run
from meddl.inference.stage import Locate, Prepared, Stage
from meddl.inference.tasks.input_image import first_axis_fastest, slice_of, straightened
from meddl.models import unnamed_segment
from meddl.volume import Grid, Segment, Volume

if TYPE_CHECKING:
    import torch

    from meddl.inference.tasks.make import StageMaker
    from meddl.models import ModelBundle


class SegmentationTask:
    """Runs a segmentation model, of one stage or two (a coarse one that finds the region first)."""

    def __init__(self, bundle: ModelBundle, make_stage: StageMaker) -> None:
        self._bundle = bundle
        self._fine = make_stage("inference")
        self._localizer = make_stage(bundle.cascade.localizer) if bundle.cascade else None
        self.stages: tuple[Stage, ...] = (self._fine,) if self._localizer is None else (self._localizer, self._fine)

    def predict(self, image: Volume, run: Run, *, frames: tuple[Volume, ...] = ()) -> SegmentationPrediction:
        """Segment one image; the answer lies on its grid, voxel for voxel."""
        if self._fine.flat and image.shape[2] > 1:
            return self._slice_by_slice(image, run)
        run.parameters["interpolation"] = self._fine.post.interpolation
        share = 0.05 if self._localizer is None else 0.4
        prepared = self.prepared(image, run, share)
        probabilities, uncertainty = None, None
        if run.options.uncertainty != "none" or run.options.probabilities:
            labels, probabilities, uncertainty = self._from_probabilities(image, prepared, run.part(share, 1.0))
        elif self._fine.post.understood:
            labels = self._streamed(image, prepared, run.part(share, 1.0))
        else:
            labels = self._as_written(image, prepared, run.part(share, 1.0))
        segments = self._segments(labels)
        voxels = count_voxels(labels, segments)
        if not any(voxels.values()):
            run.note("The model found nothing in this image.")
        return SegmentationPrediction(
            image.with_array(first_axis_fastest(labels)),
            segments,
            voxels,
            {name: round(count * image.voxel_volume_ml, 3) for name, count in voxels.items()},
            {},
            probabilities if run.options.probabilities else None,
            uncertainty,
        )

    def prepared(self, image: Volume, run: Run, share: float = 1.0) -> Prepared:
        """Return the image as the model's own network gets it, cropped to where the coarse stage found something.

        Args:
            share: progress of the run when it is about to be prepared, 0 to 1.
        """
        straight = straightened(image, run)
        locate = None
        if self._localizer is not None:
            run.tell(0.02, "Looking for the region")
            locate = self._locate(straight, self._localizer, run)
        run.tell(share, "Preparing the image")
        with run.watch.step("preprocess"):
            return self._fine.prepare(straight, locate)

    def _streamed(self, image: Volume, prepared: Prepared, run: Run) -> np.ndarray:
        """Return labels ``(L, I, J, K)``; scores become labels row by row while the network is at work."""
        post = self._fine.post
        sink = RestoreLabels(
            prepared.affine,
            image.grid,
            threshold=post.threshold,
            interpolation=post.interpolation,
            activate=post.activate,
            multilabel=self._multilabel,
            nearest_axes=prepared.nearest_axes,
        )
        with run.watch.step("network"):
            self._fine.run(prepared.image, sink, run.windows(0.05, 0.9, "Segmenting"), run.cancelled)
        run.tell(0.9, "Putting the answer on the image's grid")
        with run.watch.step("restore"):
            labels = np.asarray(sink.labels)
            labels = labels[None] if labels.ndim == 3 else self._numbered(labels)
        run.tell(0.95, "Cleaning up the segmentation")
        return self._finished(labels, image, run)

    def _as_written(self, image: Volume, prepared: Prepared, run: Run) -> np.ndarray:
        """Return labels ``(L, I, J, K)`` by following the config's own steps, whatever they are."""
        run.note(f"The model's own postprocessing was followed step by step ({', '.join(self._fine.post.unknown)}).")
        with run.watch.step("network"):
            scores = self._fine.scores(prepared, run.windows(0.05, 0.9, "Segmenting"), run.cancelled)
        with run.watch.step("postprocess"):
            answer = self._fine.post.follow(scores.array, scores.affine, image.grid)
        if answer.ndim != 4 or answer.shape[1:] != image.shape:
            raise ModelError(f"The postprocessing of '{self._bundle.name}' makes no label for each voxel of the image.")
        whole = np.rint(answer)
        if np.abs(whole - answer).max(initial=0) > 1e-3 or whole.min(initial=0) < 0 or whole.max(initial=0) > 65535:
            raise ModelError(f"The postprocessing of '{self._bundle.name}' makes values that are no labels.")
        labels = whole.astype(np.uint8 if whole.max(initial=0) < 256 else np.uint16)
        return labels if labels.shape[0] == 1 else self._numbered(labels)

    def _from_probabilities(
        self, image: Volume, prepared: Prepared, run: Run
    ) -> tuple[np.ndarray, Volume | None, Uncertainty | None]:
        """Return labels, probabilities and uncertainty; all of it needs the scores of all classes at once."""
        if not self._fine.post.understood:
            raise ModelError(
                f"The model '{self._bundle.name}' has postprocessing steps of its own "
                f"({', '.join(self._fine.post.unknown)}), so neither probabilities nor uncertainty can be told for it."
            )
        if run.options.uncertainty == "none":
            with run.watch.step("network"):
                scores = self._fine.scores(prepared, run.windows(0.05, 0.9, "Segmenting"), run.cancelled)
            mean, uncertainty = self._fine.post.probabilities(scores.array), None
            decided = self._fine.post.activate(scores.array)
        else:
            from meddl.inference.tasks.repeated import repeated_segmentation

            def to_ml(probabilities: torch.Tensor) -> dict[str, float]:
                labels = self._decided(probabilities, prepared, image, run)
                counts = count_voxels(labels, self._segments(labels))
                return {name: count * image.voxel_volume_ml for name, count in counts.items()}

            mean, decided, uncertainty = repeated_segmentation(
                self._fine,
                prepared,
                image,
                run.part(0.0, 0.9),
                to_ml,
                self._bundle.segments,
                exclusive=not self._multilabel,
            )
        run.tell(0.9, "Putting the answer on the image's grid")
        with run.watch.step("restore"):
            labels = self._decided(decided, prepared, image, run)
            maps = self._probability_maps(mean, prepared, image) if run.options.probabilities else None
        return labels, maps, uncertainty

    def _decided(self, scores: torch.Tensor, prepared: Prepared, image: Volume, run: Run) -> np.ndarray:
        """Return finished labels ``(L, I, J, K)`` of activated scores."""
        post = self._fine.post
        if not self._multilabel:
            labels = restore_labels(
                scores,
                prepared.affine,
                image.grid,
                threshold=post.threshold,
                interpolation=post.interpolation,
                nearest_axes=prepared.nearest_axes,
            )[None]
        else:
            layers = [
                restore_labels(
                    scores[index : index + 1],
                    prepared.affine,
                    image.grid,
                    threshold=post.threshold,
                    interpolation=post.interpolation,
                    nearest_axes=prepared.nearest_axes,
                )
                for index in range(scores.shape[0])
            ]
            labels = self._numbered(np.stack(layers))
        return self._finished(labels, image, run)

    def _probability_maps(self, mean: torch.Tensor, prepared: Prepared, image: Volume) -> Volume:
        channels = range(mean.shape[0])
        if not self._multilabel and mean.shape[0] > 1:
            channels = range(1, mean.shape[0])  # the first is background
        maps = [restore_values(mean[index : index + 1], prepared.affine, image.grid) for index in channels]
        return image.with_array(first_axis_fastest(np.concatenate(maps).astype(np.float32, copy=False)))

    def _finished(self, labels: np.ndarray, image: Volume, run: Run) -> np.ndarray:
        with run.watch.step("postprocess"):
            return np.stack([self._fine.post.finish_labels(layer, image.affine) for layer in labels])

    @property
    def _multilabel(self) -> bool:
        return self._fine.post.keeps_every_channel or self._bundle.multilabel

    def _numbered(self, layers: np.ndarray) -> np.ndarray:
        """Return 0/1 layers with each structure's own label in its layer."""
        numbers = {segment.layer: segment.label for segment in self._bundle.segments}
        return np.stack(
            [(layer != 0).astype(layers.dtype) * numbers.get(at, at + 1) for at, layer in enumerate(layers)]
        )

    def _segments(self, labels: np.ndarray) -> tuple[Segment, ...]:
        """Return what the labels ``(L, I, J, K)`` mean; those that the model does not tell go by their numbers."""
        known = self._bundle.segments
        if labels.shape[0] == 1 and any(segment.layer for segment in known):
            known = ()  # the config has merged overlapping structures into labels that nobody has named
        named = {(segment.layer, segment.label) for segment in known}
        found = [
            (layer, int(label))
            for layer, values in enumerate(labels)
            for label in np.flatnonzero(np.bincount(values.ravel(order="K")))
            if label and (layer, int(label)) not in named
        ]
        return known + tuple(unnamed_segment(label, layer) for layer, label in found)

    def _slice_by_slice(self, image: Volume, run: Run) -> SegmentationPrediction:
        """Segment a volume with a network that takes single slices, along the volume's last axis."""
        if run.options.uncertainty != "none":
            raise ModelError("Uncertainty is told for single slices only with this model: it looks at one at a time.")
        parts = []
        count = image.shape[2]
        run.note(f"The network takes single slices: each of the {count} was segmented by itself.")
        for index in range(count):
            run.raise_if_cancelled()
            parts.append(self.predict(slice_of(image, index), run.part(index / count, (index + 1) / count)))
        labels = np.asfortranarray(np.concatenate([part.labels.array for part in parts], axis=3))
        maps = None
        if run.options.probabilities:
            maps = image.with_array(
                np.concatenate([part.probabilities.array for part in parts if part.probabilities], axis=3)
            )
        segments = self._segments(labels)
        voxels = count_voxels(labels, segments)
        if any(voxels.values()):
            run.notes[:] = [note for note in run.notes if note != "The model found nothing in this image."]
        volumes = {name: round(number * image.voxel_volume_ml, 3) for name, number in voxels.items()}
        return SegmentationPrediction(image.with_array(labels), segments, voxels, volumes, {}, maps)

    def _locate(self, image: Volume, localizer: Stage, run: Run) -> Locate:
        """Run the coarse stage and return the function that gives the box in the fine stage's voxels."""
        cascade = self._bundle.cascade
        assert cascade is not None
        with run.watch.step("localizer preprocess"):
            prepared = localizer.prepare(image)
        with run.watch.step("localizer network"):
            scores = localizer.scores(prepared, run.windows(0.05, 0.4, "Looking for the region"), run.cancelled)
        with run.watch.step("localizer postprocess"):
            size = scores.array.shape[1:]
            grid = Grid((size[0], size[1], size[2]), scores.affine)
            mask = restore_labels(
                localizer.post.activate(scores.array),
                scores.affine,
                grid,
                threshold=localizer.post.threshold,
                interpolation="nearest",
            )
            mask = localizer.post.finish_labels(mask, scores.affine)

        def box(affine: np.ndarray, shape: tuple[int, int, int]) -> Any:
            found = box_around(
                mask, scores.affine, shape, affine, margin=cascade.margin, min_fraction=cascade.min_fraction
            )
            run.parameters["roi_start"], run.parameters["roi_end"] = list(found.start), list(found.end)
            return found

        return box


def count_voxels(labels: np.ndarray, segments: tuple[Segment, ...]) -> dict[str, int]:
    """Return how many voxels of ``(L, I, J, K)`` each segment has in its layer."""
    highest = max((segment.label for segment in segments), default=0) + 1
    counts = [np.bincount(layer.ravel(order="K"), minlength=highest) for layer in labels]
    return {segment.name: int(counts[segment.layer][segment.label]) for segment in segments}
