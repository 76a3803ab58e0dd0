"""Measures that are being written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meddl.saliency.attribution import Measure

if TYPE_CHECKING:
    from meddl.saliency.faithfulness.examined import Examined


def infidelity(examined: Examined) -> Measure:
    """Return nothing yet."""
    return Measure("infidelity", 0.0, None, "", "This measure is not there yet.")


def sensitivity(examined: Examined) -> Measure:
    """Return nothing yet."""
    return Measure("sensitivity", 0.0, None, "", "This measure is not there yet.")
