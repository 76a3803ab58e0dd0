"""What the answer of a network means: one file per task, each with a class that turns images into a prediction."""

from __future__ import annotations

from meddl.inference.tasks.make import TaskRunner, make_task

__all__ = ["TaskRunner", "make_task"]
