"""Jobs of simulation, as a panel runs them in a worker."""

from __future__ import annotations

from typing import Any

from meddl.jobs import JobContext

SIMULATE = "meddl.simulation.task:run_simulation"
SIMULATE_CASES = "meddl.simulation.task:run_simulate_cases"


def run_simulation(params: dict[str, Any], context: JobContext) -> dict[str, Any]:
    """Simulate acquisitions of an image.

    Args:
        params: ``volume``, ``options`` (:meth:`SimulationOptions.to_dict`), and if wanted ``labels`` (volume) with
            ``segments`` (dicts of :class:`meddl.volume.Segment`), ``seed`` (else that of the options), and ``number``
            (which of :attr:`SimulationOptions.count`; else all of them).
        context: progress and cancel.

    Returns:
        ``simulated``: a list of :meth:`Simulated.to_dict`.
    """
    raise NotImplementedError


def run_simulate_cases(params: dict[str, Any], context: JobContext) -> dict[str, Any]:
    """Export a dataset of simulated acquisitions.

    Args:
        params: ``cases`` (:meth:`Case.to_dict` each) or ``source`` (list, folder or scene), ``output``, ``export``
            (:meth:`ExportOptions.to_dict`), ``options`` (:meth:`SimulationOptions.to_dict`), and if wanted ``key`` and
            ``overlaps``.
        context: progress, log and cancel.

    Returns:
        :meth:`ExportSummary.to_dict`.
    """
    raise NotImplementedError
