"""Tasks that only benchmarks give to a worker."""

from __future__ import annotations

from typing import Any

import harness


def echo(params: dict[str, Any], context: Any) -> dict[str, Any]:
    return params


def peak_memory(params: dict[str, Any], context: Any) -> dict[str, Any]:
    return {"bytes": harness.peak_memory()}
