"""Many cases in one go: which there are, running them one by one whatever becomes of each, and going on after a crash.

A case is finished when its record is written, last of all and whole or not at all. A batch that is started again leaves
out finished cases whose images, model and options are still the same. Importing this package needs numpy only.
"""

from __future__ import annotations

from meddl.batch.cases import BatchCase, cases_from
from meddl.batch.plan import BatchPlan, plan_batch
from meddl.batch.run import run_batch
from meddl.batch.summary import BatchSummary, CaseResult

__all__ = ["BatchCase", "BatchPlan", "BatchSummary", "CaseResult", "cases_from", "plan_batch", "run_batch"]
