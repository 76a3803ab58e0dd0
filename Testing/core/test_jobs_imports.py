"""Panels import meddl.jobs when Slicer starts: it must stay light."""

from __future__ import annotations

import doctest
import subprocess
import sys

import pytest
from core.job_testing import CORE
from meddl import jobs
from meddl.jobs import context, worker


def test_importing_the_jobs_loads_nothing_heavy():
    code = (
        f"import sys; sys.path.insert(0, {str(CORE)!r}); import meddl.jobs, meddl.jobs.worker_main; "
        "heavy = {'torch', 'monai', 'SimpleITK', 'scipy', 'nrrd', 'nibabel', 'multiprocessing'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


@pytest.mark.parametrize("module", [jobs, context, worker], ids=lambda module: module.__name__)
def test_the_examples_in_the_documentation_are_right(module):
    result = doctest.testmod(module)
    assert result.attempted and not result.failed
