"""One process at a time: a lock that ends with the process that holds it, however that ends."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from meddl.errors import JobCancelled

logger = logging.getLogger(__name__)

_LOOK_AGAIN_S = 0.1


@contextlib.contextmanager
def locked(
    path: Path, cancelled: Callable[[], bool] | None = None, waiting: Callable[[], None] | None = None
) -> Iterator[None]:
    """Hold the lock ``path`` (an empty file, which stays), after whoever holds it now.

    Args:
        path: its folder is made.
        cancelled: asked while waiting.
        waiting: called while waiting, to tell the user.

    Raises:
        JobCancelled: on request.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        while not _try(handle):
            if cancelled is not None and cancelled():
                raise JobCancelled("It was cancelled while it waited for another MedDL on this computer.")
            if waiting is not None:
                waiting()
            time.sleep(_LOOK_AGAIN_S)
        yield
    finally:
        os.close(handle)  # gives the lock back


def _try(handle: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(handle, 0, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        # Some network drives know no locks. Going on is what happened before there were any.
        logger.debug("no lock: %s", error)
    return True
