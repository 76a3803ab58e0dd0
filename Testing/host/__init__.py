"""A small Slicer application for machines without Slicer."""
