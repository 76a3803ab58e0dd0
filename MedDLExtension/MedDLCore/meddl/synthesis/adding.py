"""Generated cases in datasets: images for the label maps of training cases, marked, in the training part only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from meddl.augmentation.adding import VariantSummary, add_made_cases, export_with_made_cases
from meddl.augmentation.plan import AugmentationPlan
from meddl.datasets.case import Case
from meddl.datasets.options import ExportOptions
from meddl.errors import UsageError
from meddl.synthesis.generated_cases import GeneratedCaseMaker
from meddl.synthesis.synthesizer import Synthesizer

if TYPE_CHECKING:
    from meddl.datasets.export import ExportSummary

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class SynthesisOptions:
    """How many synthetic cases for each training case, and of what anatomy.

    Attributes:
        count: synthetic cases per training case.
        seed: of what is left to chance.
        plan: moves the label map before an image is made for it (what the plan does to intensities is left out), so
            that the anatomy is new too; None takes the label map as it is.
        attempts: label maps in which a structure has vanished are drawn anew so often.
    """

    count: int = 1
    seed: int = 0
    plan: AugmentationPlan | None = None
    attempts: int = 5

    def __post_init__(self) -> None:
        if not 1 <= self.count <= 99:
            raise UsageError(f"{self.count} synthetic cases for each case were asked for. Choose 1 to 99.")
        if self.attempts < 1:
            raise UsageError("A synthetic case needs at least one attempt.")


def add_synthetic_cases(
    root: Path,
    synthesizer: Synthesizer,
    options: SynthesisOptions | None = None,
    *,
    progress: Progress = lambda fraction, text: None,
    cancelled: Callable[[], bool] = lambda: False,
    log: Callable[[str], None] = lambda line: None,
) -> VariantSummary:
    """Add generated cases to a dataset that MedDL has exported; generated ones that it had are replaced.

    The process may be killed at any time: the next call with the same arguments completes it, to the same bytes.

    Raises:
        UsageError: there is no whole dataset, the generator does not fit it, or has learned from its validation or
            test cases.
        UnwritableDataset: the folder cannot be written to.
        JobCancelled: on request; what was written stays.
    """
    maker = _maker(synthesizer, options or SynthesisOptions())
    return add_made_cases(Path(root), maker, progress=progress, cancelled=cancelled, log=log)


def synthesize_cases(
    cases: Sequence[Case],
    output: Path,
    export: ExportOptions,
    synthesizer: Synthesizer,
    options: SynthesisOptions | None = None,
    *,
    key: Path | None = None,
    progress: Progress = lambda fraction, text: None,
    cancelled: Callable[[], bool] = lambda: False,
    log: Callable[[str], None] = lambda line: None,
) -> tuple[ExportSummary, VariantSummary]:
    """Export cases as a dataset, with generated cases for those of its training part.

    Raises:
        UsageError: as :func:`add_synthetic_cases`, or the cases make no dataset of this format.
        UnwritableDataset: the folder cannot be written to.
        JobCancelled: on request; what was written stays.
    """
    maker = _maker(synthesizer, options or SynthesisOptions())
    return export_with_made_cases(
        cases, output, export, maker, key=key, progress=progress, cancelled=cancelled, log=log
    )


def _maker(synthesizer: Synthesizer, options: SynthesisOptions) -> GeneratedCaseMaker:
    return GeneratedCaseMaker(synthesizer, options.count, options.seed, options.plan, options.attempts)
