"""MAISI of the Model Zoo: a CT image that fits a label map, by a latent diffusion that a ControlNet leads by the map.

Guo et al., "MAISI: Medical AI for Synthetic Imaging" (WACV 2025), and Zhao et al., "MAISI-v2" (2025), the same with
rectified flow. Networks, scheduler and numbers come from the bundle's config; none of its scripts is run. Those make
label maps, too; here the map is the user's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from meddl.datasets.geometry.image_sampling import resampled_image
from meddl.datasets.geometry.label_sampling import resampled_labels
from meddl.datasets.geometry.voxel_map import reordered, voxel_map
from meddl.models.bundle import ModelBundle
from meddl.models.metadata_values import as_text
from meddl.models.segments import unnamed_segment
from meddl.models.trust import TrustStore
from meddl.randomness import Stream, normal_field
from meddl.synthesis.facts import SynthesisFacts
from meddl.synthesis.generators import Cancel, Generator, checked, running
from meddl.synthesis.maisi_config import maisi_config
from meddl.synthesis.maisi_grid import MAISI_SIZES, sizes_that_fit, told, working_grid
from meddl.synthesis.maisi_labels import maisi_labels, with_body
from meddl.synthesis.maisi_memory import affordable_windows, free_memory
from meddl.synthesis.maisi_networks import SHRINK, MaisiNetworks, Windows, weights_of, windows_for
from meddl.synthesis.sampling import AS_TOLD, Sampling
from meddl.synthesis.zoo_reading import unknown_patients
from meddl.synthesis.zoo_schedule import Schedule
from meddl.volume import Grid, Segment, Volume

if TYPE_CHECKING:
    from meddl.synthesis.fitting_images import Fitting
    from meddl.synthesis.label_matching import MatchedLabels

_HU = (-1000.0, 1000.0)
"""What the decoder's 0 and 1 are in Hounsfield units; outside of the body it is the least."""
_STEPPING = 0.9
"""Of the work, as progress tells it."""


class LabelsToCT(Generator):
    """Makes a CT image on the grid of a label map.

    Args:
        bundle: with the configs; weights are needed when an image is made.
        trust: the user's consents.
        device: finds the device to run on.
        sampling: steps, and size of the image before it is brought to the map's grid.

    Raises:
        ModelError: the config or dictionary does not tell what it takes.
        UsageError: it cannot be sampled so.
    """

    batch = 1
    known_sizes = MAISI_SIZES

    def __init__(
        self, bundle: ModelBundle, trust: TrustStore, device: Callable[[], Any], sampling: Sampling = AS_TOLD
    ) -> None:
        super().__init__(bundle, trust, device)
        self._size = sampling.size
        self._config = maisi_config(bundle)
        self._schedule = Schedule(bundle, sampling.steps)
        self._labels = maisi_labels(bundle, self._config.bits)
        metadata = bundle.metadata
        self.facts = SynthesisFacts(
            self._schedule.kind, True, sampling.size or (256, 256, 256), 1.5, "axial", dict(self._labels.names), *_HU,
            "CT", {"dataset": as_text(metadata.get("data_source"))},
        )  # fmt: skip
        self.notes = (unknown_patients(bundle), *self._schedule.notes)

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Of the features of an image of the usual size."""
        return (self._config.latent, *(n // SHRINK for n in self.facts.size))

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The structures of its dictionary."""
        named = {each: unnamed_segment(each) for each in sorted(self._labels.names) if each}
        return tuple(
            Segment(value, self._labels.names[value], each.color, each.terminology) for value, each in named.items()
        )

    @property
    def chosen(self) -> Mapping[str, Any]:
        """How images are made."""
        return {"steps": self._schedule.steps, **({"size": list(self._size)} if self._size else {})}

    def matched(self, labels: Volume, segments: Sequence[Segment]) -> MatchedLabels:
        """Return a label map of others in MAISI's values.

        Where structures overlap the smaller one stays. What it does not know becomes the body's rest, where it lies in
        the body.

        Raises:
            UsageError: none of the structures is known; or nothing tells the part of the body, or where it ends.
        """
        from meddl.synthesis.label_matching import match_labels

        found = match_labels(labels, segments, self.facts, self.segments, smaller_stays=True)
        self._labels.check(_values(found.labels.array), self._config.needs_region)
        self._working(found.labels)
        return found

    def made(self, noise: np.ndarray, labels: np.ndarray | None, cancel: Cancel) -> np.ndarray:
        """Return images ``(N, 1, *size)`` in Hounsfield units, with voxels of 1.5 mm.

        Args:
            noise: ``(N, C, *size / 4)``.
            labels: ``(N, *size)``, the body among them.
            cancel: called between the steps.
        """
        assert labels is not None
        spacing = (self.facts.spacing_mm,) * 3
        windows = windows_for(noise.shape[2:], self._config.window, self._config.overlap)
        pairs = zip(noise, labels, strict=True)
        return np.stack([self.image(one, each, spacing, windows, cancel)[None] for one, each in pairs])

    def fitted(self, labels: Volume, stream: Stream, cancel: Cancel, progress: Callable[[float], None]) -> Fitting:
        """Return an image on the grid of a label map in MAISI's values.

        The map is brought to a size and voxels that MAISI knows, the image back from there.

        Args:
            labels: ``(1, I, J, K)`` uint8 on any grid.
            stream: of what is left to chance.
            cancel: called between the steps.
            progress: gets the part that is done.

        Raises:
            OutOfMemory: it would not fit into the memory; nothing has been computed then.
        """
        from meddl.synthesis.fitting_images import Fitting

        grid = self._working(labels)
        windows, short = self._affordable(grid, labels)
        near = _moved(labels, grid)
        spacing = (float(grid.spacing[0]), float(grid.spacing[1]), float(grid.spacing[2]))
        mask = with_body(near.array[0], self._labels.body, spacing)
        shape = tuple(n // SHRINK for n in mask.shape)
        noise = normal_field(stream.token(), (self._config.latent, *shape))
        image = self.image(noise, mask, spacing, windows, cancel, progress)
        made = Volume(image[None], grid.affine)
        back = voxel_map(grid, labels.grid)
        low = self.facts.low
        placed = (
            reordered(made, labels.grid, back, low) if back is not None else resampled_image(made, labels.grid, low)
        )
        notes = [*self._said(labels, near), *([short] if short else [])]
        return Fitting(Volume(np.ascontiguousarray(placed.array), labels.affine), tuple(notes))

    def image(
        self,
        noise: np.ndarray,
        labels: np.ndarray,
        spacing: Sequence[float],
        windows: Windows,
        cancel: Cancel,
        progress: Callable[[float], None] = lambda done: None,
    ) -> np.ndarray:
        """Return an image ``(I, J, K)`` float32 in Hounsfield units, before it is brought anywhere.

        Args:
            noise: ``(C, I / 4, J / 4, K / 4)``.
            labels: ``(I, J, K)`` uint8 in MAISI's values, axes towards R, A, S; 0 is outside of the body.
            spacing: of the voxels in mm.
            windows: how it is decoded.
            cancel: called between the steps.
            progress: gets the part that is done.

        Raises:
            UsageError: nothing tells the part of the body.
            ModelError: the weights are not there, or the networks do not fit them or each other.
        """
        self._labels.check(_values(labels), self._config.needs_region)
        networks, told_to = self._networks, self._labels.region(_values(labels))
        steps = self._schedule.steps
        done = -1

        def step() -> None:
            nonlocal done
            cancel()
            done += 1
            progress(_STEPPING * min(1.0, done / steps))

        with running(self._bundle.name):
            answer = networks.answer(labels, spacing, told_to, self._config.modality)
            features = self._schedule.features(noise[None], answer, step)
            del answer
            image = networks.decoded(features, windows, cancel, lambda part: progress(
                _STEPPING + (1 - _STEPPING) * part))  # fmt: skip
        image = checked(image, labels.shape, self._bundle.name)
        image = np.clip(image, 0.0, 1.0) * np.float32(_HU[1] - _HU[0]) + np.float32(_HU[0])
        image[labels == 0] = _HU[0]
        return image

    def _working(self, labels: Volume) -> Grid:
        """Return the grid that the image is made on."""
        return working_grid(labels.grid, head=self._is_head(labels), size=self._size, known=self.known_sizes)

    def _is_head(self, labels: Volume) -> bool:
        return self._labels.region(_values(labels.array)) == (0, 0)

    def _affordable(self, working: Grid, labels: Volume) -> tuple[Windows, str]:
        """Return how the image is decoded in the memory there is, before anything is loaded."""
        config, device = self._config, self._device
        sizes = sizes_that_fit(labels.grid, head=self._is_head(labels), known=self.known_sizes)
        smaller = [each for each in sizes if math.prod(each) < math.prod(working.shape)]
        better = f"Ask for a smaller one ({told(smaller[-1])} or less)" if smaller else "Crop the label map"
        return affordable_windows(
            working.shape,
            config.window,
            config.overlap,
            free_memory(device),
            self._bundle.name,
            f"{better}, close other programs, or use a computer with more memory.",
            bits=config.bits,
            first=config.first,
            decoder=config.decoder,
            weights=sum(path.stat().st_size for path in weights_of(self._bundle)),
            item=2 if device.type == "cuda" else 4,
        )

    def _said(self, labels: Volume, near: Volume) -> list[str]:
        names, values = self._labels.names, _values(labels.array)
        notes = []
        if lost := sorted(values - _values(near.array)):
            notes.append("Too small for the voxels that the image is made with, and not in it: "
                         f"{', '.join(names[each] for each in lost)}.")  # fmt: skip
        if self._labels.body not in values:
            notes.append("The segmentation does not tell where the body ends: it was taken to end 15 mm beyond what "
                         "lies between the structures of each slice. Add a segment 'Body' for its true "
                         "outline.")  # fmt: skip
        sides = " x ".join(f"{each:.2f}" for each in near.grid.spacing)
        notes.append(f"The image was made with {told(near.shape)} voxels of {sides} mm, in "
                     f"{self._schedule.steps} step{'s' * (self._schedule.steps > 1)}.")  # fmt: skip
        return notes

    @cached_property
    def _networks(self) -> MaisiNetworks:
        return MaisiNetworks(self._bundle, self._trust, self._device)


def _moved(labels: Volume, grid: Grid) -> Volume:
    found = voxel_map(labels.grid, grid)
    return reordered(labels, grid, found) if found is not None else resampled_labels(labels, grid)


def _values(array: np.ndarray) -> set[int]:
    return {int(each) for each in np.flatnonzero(np.bincount(array.ravel(), minlength=1))} - {0}
