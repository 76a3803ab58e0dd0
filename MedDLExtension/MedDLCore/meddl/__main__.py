"""``python -m meddl``: the command line."""

from __future__ import annotations

import os
import sys


def _forget_current_folder() -> None:
    # `python -m` looks for modules in the current folder first: a model's own numpy.py would run there, untrusted.
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 - before any import
    if sys.path and sys.path[0] != here and sys.path[0] in ("", os.getcwd()):  # noqa: PTH109
        del sys.path[0]


if __name__ == "__main__":
    _forget_current_folder()
    from meddl.cli import main

    sys.exit(main())
