"""Reports of explanations: one page of HTML or PDF that holds all there is to know of the maps."""

from __future__ import annotations

from meddl.saliency.report.write import SUFFIXES, write_report

__all__ = ["SUFFIXES", "write_report"]
