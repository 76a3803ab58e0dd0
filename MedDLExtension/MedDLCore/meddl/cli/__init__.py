"""The command line: one verb per job.

Exit codes: 0 all is well, 1 the job failed, 2 wrong use. Errors are one sentence on stderr, ``--debug`` shows the
traceback.
"""

from __future__ import annotations

from meddl.cli.main import main

__all__ = ["main"]
