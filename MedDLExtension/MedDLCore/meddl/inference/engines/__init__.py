"""What computes a network's forward pass: torch as it is, in half precision or compiled, or OpenVINO."""

from __future__ import annotations

from meddl.inference.engines.engine import Engine, first_output
from meddl.inference.engines.selector import EngineSelector

__all__ = ["Engine", "EngineSelector", "first_output"]
