"""Datasets of simulated acquisitions: pairs for training reconstruction, or labeled X-ray pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from meddl.datasets.case import Case
from meddl.datasets.export import ExportSummary
from meddl.datasets.label_scheme import Overlaps
from meddl.datasets.options import ExportOptions
from meddl.simulation.options import SimulationOptions


def simulated_cases(cases: Sequence[Case], options: SimulationOptions) -> tuple[Case, ...]:
    """Return the cases that simulation makes of others. Nothing is read: each is made when it is loaded.

    Of a case come :attr:`SimulationOptions.count` cases of the same patient, study, site and split. Their image is the
    simulated one; their label is the original as the target, or, of projections, the original's label projected.
    """
    raise NotImplementedError


def simulate_cases(
    cases: Sequence[Case],
    output: Path,
    export: ExportOptions,
    options: SimulationOptions,
    *,
    overlaps: Overlaps = "regions",
    key: Path | None = None,
    progress: Callable[[float, str], None] = lambda fraction, text: None,
    cancelled: Callable[[], bool] = lambda: False,
    log: Callable[[str], None] = lambda line: None,
) -> ExportSummary:
    """Export simulated acquisitions of cases as a dataset: one case in memory, each at most once on a disk.

    Undersampling, noise and low dose make a dataset for reconstruction: the degraded image, and the original as its
    target. Projections make a dataset of X-ray pictures with the task of the cases' labels; projected structures
    overlap, and the label maps keep that ("regions").
    The process may be killed at any time: the next call with the same arguments completes it, to the same bytes.

    Args: as of :func:`meddl.datasets.export_dataset`.

    Raises:
        UsageError: the cases make no such dataset.
        UnwritableDataset: the folder cannot be written to.
        JobCancelled: on request; what was written stays.
    """
    raise NotImplementedError
