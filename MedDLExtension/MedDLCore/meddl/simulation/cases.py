"""Datasets of simulated acquisitions: pairs for training reconstruction, or labeled X-ray pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from meddl.datasets.case import (
    BoxesLabel,
    Case,
    ImageFile,
    LandmarksLabel,
    LoadedCase,
    SegmentationLabel,
    TargetLabel,
)
from meddl.datasets.export import ExportSummary, export_dataset
from meddl.datasets.label_scheme import LabelScheme, Overlaps
from meddl.datasets.options import DeidentifyOptions, ExportOptions
from meddl.errors import UsageError
from meddl.simulation.kept import KeptSimulations
from meddl.simulation.options import Projection, SimulationOptions
from meddl.simulation.simulated import Simulated
from meddl.simulation.simulating import simulate
from meddl.volume import Volume

Progress = Callable[[float, str], None]


def simulated_cases(
    cases: Sequence[Case],
    options: SimulationOptions,
    deidentify: DeidentifyOptions | None = None,
    *,
    kept: KeptSimulations | None = None,
    progress: Progress = lambda fraction, text: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> tuple[Case, ...]:
    """Return the cases that simulation makes of others. Nothing is read: each is made when it is loaded.

    Of a case come :attr:`SimulationOptions.count` cases of the same patient, study, site and split. Their image is the
    simulated one; their label is the original as the target, or, of projections, the original's label projected.

    Args:
        deidentify: text that is burned into the originals is refused or blanked as this says, before anything is
            simulated; None leaves it.
        kept: what was made once is taken from there.
        progress, cancelled: of each simulation.

    Raises:
        UsageError: the cases have no image of that channel, or a target image where X-rays are to be made.
    """
    made = []
    for case in cases:
        channel = options.channel or next(iter(case.images))
        if channel not in case.images:
            raise UsageError(f"A case has no image {channel!r}. It has: {', '.join(case.images)}.")
        label = case.label
        if not isinstance(options.method, Projection):
            label = TargetLabel(case.images[channel])
        elif isinstance(label, TargetLabel):
            raise UsageError("A target image cannot be projected. Collect the cases with labels, or without.")
        for number in range(options.count):
            maker = _Maker(case, channel, options, number, deidentify, kept, progress, cancelled)
            made.append(
                replace(
                    case,
                    id=f"{case.id}_{_suffix(options, number)}",
                    images={_channel(channel, options): case.images[channel]},
                    label=label,
                    patient=case.patient or case.id,
                    maker=maker,
                )
            )
    return tuple(made)


def simulate_cases(
    cases: Sequence[Case],
    output: Path,
    export: ExportOptions,
    options: SimulationOptions,
    *,
    scheme: LabelScheme | None = None,
    overlaps: Overlaps = "regions",
    key: Path | None = None,
    review: Path | None = None,
    progress: Progress = lambda fraction, text: None,
    cancelled: Callable[[], bool] = lambda: False,
    log: Callable[[str], None] = lambda line: None,
) -> ExportSummary:
    """Export simulated acquisitions of cases as a dataset; one case is in memory at a time.

    Undersampling, noise and low dose make a dataset for reconstruction: the degraded image, and the original as its
    target. Projections make a dataset of X-ray pictures with the task of the cases' labels; projected structures
    overlap, and the label maps keep that ("regions"). All that is made of a patient is in one part of the dataset.
    The process may be killed at any time: the next call with the same arguments completes it, to the same bytes.
    Between looking at a case and writing it, its simulation waits in a temporary file without a name, of which nothing
    is left when the process ends or is killed.

    Args: as of :func:`meddl.datasets.export_dataset`.

    Raises:
        UsageError: the cases make no such dataset.
        UnwritableDataset: the folder cannot be written to.
        JobCancelled: on request; what was written stays.
    """
    told = _Telling(progress)
    made = simulated_cases(
        cases,
        options,
        export.deidentify if export.deidentify.profile == "basic" else None,
        kept=KeptSimulations(),
        progress=told.part,
        cancelled=cancelled,
    )
    return export_dataset(
        made,
        output,
        export,
        scheme=scheme,
        overlaps=overlaps,
        key=key,
        review=review,
        progress=told.whole,
        cancelled=cancelled,
        log=log,
    )


@dataclass(frozen=True, eq=False)
class _Maker:
    """Makes one simulated case out of a collected one."""

    original: Case
    channel: str
    options: SimulationOptions
    number: int
    deidentify: DeidentifyOptions | None
    kept: KeptSimulations | None
    progress: Progress
    cancelled: Callable[[], bool]
    _name: object = field(default_factory=object)

    def __call__(self, case: Case) -> LoadedCase:
        """Return the simulated case."""
        from meddl.datasets.image_digest import image_digest
        from meddl.datasets.loading import load_case

        wanted = replace(self.original, images={self.channel: self.original.images[self.channel]})
        if not isinstance(self.options.method, Projection):
            wanted = replace(wanted, label=None)
        loaded = load_case(wanted)
        volume = self._without_text(loaded.images[self.channel])
        found = self.kept.take(self._name) if self.kept is not None else None
        if found is None:
            digest = image_digest(volume)
            found = self._simulated(loaded, volume, digest)
            facts = {"title": self.options.method.title, **found.facts, "key": digest}
            found = replace(found, facts=facts)
            if self.kept is not None:
                self.kept.keep(self._name, found)
        return self._loaded(case, loaded, volume, found)

    def _simulated(self, loaded: LoadedCase, volume: Volume, digest: str) -> Simulated:
        label = loaded.case.label
        return simulate(
            volume,
            self.options,
            loaded.labels,
            loaded.segments,
            # Of the image, not of its name: whoever has the image can make it again, and the name stays unknown.
            key=digest,
            number=self.number,
            points=label.points if isinstance(label, LandmarksLabel) else (),
            boxes=label.boxes if isinstance(label, BoxesLabel) else (),
            progress=self.progress,
            cancelled=self.cancelled,
        )

    def _loaded(self, case: Case, loaded: LoadedCase, volume: Volume, found: Simulated) -> LoadedCase:
        label, name = case.label, _channel(self.channel, self.options)
        case = replace(case, notes=loaded.case.notes)
        if not isinstance(self.options.method, Projection):
            return LoadedCase(case, {name: found.image}, target=volume, made=found.facts)
        if isinstance(label, LandmarksLabel):
            case = replace(case, label=LandmarksLabel(found.points))
        elif isinstance(label, BoxesLabel):
            case = replace(case, label=BoxesLabel(found.boxes))
        if not isinstance(label, SegmentationLabel):
            return LoadedCase(case, {name: found.image}, made=found.facts)
        return LoadedCase(case, {name: found.image}, found.labels, found.segments, made=found.facts)

    def _without_text(self, volume: Volume) -> Volume:
        if self.deidentify is None:
            return volume
        from meddl.datasets.deidentify.burned_in import without_burned_in_text
        from meddl.datasets.loading import dicom_files

        source = self.original.images[self.channel]
        if not isinstance(source, ImageFile):
            return without_burned_in_text(volume, None, self.deidentify)[0]
        files = dicom_files(source) if source.nested else ()
        return without_burned_in_text(volume, source.path, self.deidentify, source.series_uid, files)[0]


class _Telling:
    """Progress of the export with what a simulation within it is at."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._last = progress, (0.0, "")

    def whole(self, fraction: float, text: str) -> None:
        self._last = (fraction, text)
        self._progress(fraction, text)

    def part(self, fraction: float, text: str) -> None:
        self._progress(self._last[0], f"{self._last[1]}: {text.lower()} {fraction:.0%}")


def _channel(channel: str, options: SimulationOptions) -> str:
    return "X-ray" if isinstance(options.method, Projection) else channel


def _suffix(options: SimulationOptions, number: int) -> str:
    method = options.method
    if isinstance(method, Projection):
        view = method.views[number % len(method.views)].replace("/", "_")
        return view if options.variants == 1 else f"{view}_{number // len(method.views) + 1}"
    return method.method if options.variants == 1 else f"{method.method}_{number + 1}"
