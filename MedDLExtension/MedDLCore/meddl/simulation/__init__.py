"""Simulated acquisitions: what a scanner with less time, dose or field would have recorded, and X-rays of a CT.

:func:`simulate` makes them of one image, :func:`simulate_cases` a dataset of many. Importing this package needs numpy
only.
"""

from __future__ import annotations

from meddl.simulation.cases import simulate_cases, simulated_cases
from meddl.simulation.options import (
    METHODS,
    VIEWS,
    LowDose,
    Projection,
    Rician,
    SimulationOptions,
    Undersampling,
)
from meddl.simulation.simulated import Simulated
from meddl.simulation.simulating import simulate

__all__ = [
    "METHODS",
    "VIEWS",
    "LowDose",
    "Projection",
    "Rician",
    "Simulated",
    "SimulationOptions",
    "Undersampling",
    "simulate",
    "simulate_cases",
    "simulated_cases",
]
