"""Numbers by chance, see :mod:`meddl.randomness`."""

from __future__ import annotations

from meddl.randomness import Stream, normal_field, uniform_field

__all__ = ["Stream", "normal_field", "uniform_field"]
