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
    from meddl.jobs.progress import part_of
    from meddl.simulation.options import SimulationOptions
    from meddl.simulation.simulating import simulate
    from meddl.volume import Segment

    options = SimulationOptions.from_dict(params["options"])
    segments = [Segment(**{**each, "color": tuple(each["color"])}) for each in params.get("segments") or ()]
    number = params.get("number")
    numbers = range(options.count) if number is None else [int(number)]
    made = []
    for done, each in enumerate(numbers):
        simulated = simulate(
            params["volume"],
            options,
            params.get("labels"),
            segments,
            params.get("seed"),
            number=each,
            progress=part_of(context.progress, done / len(numbers), (done + 1) / len(numbers)),
            cancelled=context.cancelled,
        )
        made.append(simulated.to_dict())
    return {"simulated": made}


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
    from pathlib import Path

    from meddl.datasets import Case, ExportOptions, collect_cases
    from meddl.simulation.cases import simulate_cases
    from meddl.simulation.options import SimulationOptions

    output, key = Path(params["output"]), params.get("key")
    if params.get("source") is not None:
        cases = collect_cases(Path(params["source"]), exclude=(output,))
    else:
        cases = tuple(Case.from_dict(each) for each in params["cases"])
    summary = simulate_cases(
        cases,
        output,
        ExportOptions.from_dict(params["export"]),
        SimulationOptions.from_dict(params["options"]),
        overlaps=params.get("overlaps") or "regions",
        key=Path(key) if key else None,
        progress=context.progress,
        cancelled=context.cancelled,
        log=context.log,
    )
    return summary.to_dict()
