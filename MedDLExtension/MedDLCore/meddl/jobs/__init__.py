"""Long work with progress, log, cancel and a result or a typed error, in this process or in a worker that stays warm.

A task is named by a string ``"package.module:function"`` and called as ``function(params: dict, context: JobContext)
-> dict``. Params and results hold JSON types, tuples, paths, numpy arrays and volumes, nested as you like.

Example:
    >>> from meddl.jobs import WorkerRunner
    >>> with WorkerRunner() as runner:
    ...     runner.submit("meddl.jobs.tasks:about", {}).wait()["process"] > 0
    True

Who is who: ``job`` what the caller holds; ``inline`` and ``worker`` the runners; ``process`` the child as the parent
sees it; ``worker_main`` the child itself; ``codec``, ``frames``, ``segments``, ``copying`` how values cross between the
two; ``process_tree`` how everything a worker started is ended. Importing this package needs numpy only.
"""

from __future__ import annotations

from .context import JobContext, ModelCache
from .inline import InlineRunner
from .job import Job, JobRunner, JobState, Progress
from .worker import WorkerRunner

__all__ = [
    "InlineRunner",
    "Job",
    "JobContext",
    "JobRunner",
    "JobState",
    "ModelCache",
    "Progress",
    "WorkerRunner",
]
