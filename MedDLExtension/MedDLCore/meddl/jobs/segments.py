"""Named shared memory that belongs to nobody but us.

The same objects of the operating system as ``multiprocessing.shared_memory`` uses, without what that class does beside:
before Python 3.13 it registers with a resource tracker also what was merely attached, so that a child's exit unlinks
the parent's segments and warns of leaks; and it can't be closed while an array still looks at it. Here a mapping lives
as long as the arrays that look at it, and a name as long as the rules below say.

Who owns what, for params (p) and results (r):
  - The sender creates a segment, fills it, tells its name and keeps it open until the receiver has said that it has it.
  - The receiver attaches and, on POSIX, unlinks the name at once: from then on the kernel frees the memory when the
    last mapping goes, whoever dies. Windows knows no unlink: the memory goes with the last handle.
  - For the moments between, both sides know every name a worker can have in use (:func:`unlink_all`) and remove them
    when the other side dies.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import sys
from typing import Literal

import numpy as np

if sys.platform != "win32":
    import _posixshmem


def segment_name(prefix: str, kind: Literal["p", "r"], serial: int) -> str:
    """Return the name of the segment for the params or the result of a worker's job number ``serial``.

    POSIX unlinks a name before it is needed again, so that there are only two per worker; macOS allows 31 characters.
    """
    return f"{prefix}{kind}{serial}" if sys.platform == "win32" else f"{prefix}{kind}"


def unlink(name: str) -> None:
    """Remove a name, if it exists; the memory stays with those who have it mapped."""
    if sys.platform != "win32":
        with contextlib.suppress(FileNotFoundError):
            _posixshmem.shm_unlink("/" + name)


def unlink_all(prefix: str) -> None:
    """Remove every name that a worker with this prefix may have left."""
    unlink(segment_name(prefix, "p", 0))
    unlink(segment_name(prefix, "r", 0))


class Segment:
    """A piece of shared memory. Dropped with :meth:`close`, or with the last array that looks at it.

    Attributes:
        name: what the other side attaches by.
        size: in bytes, more than zero.
    """

    def __init__(self, name: str, size: int, memory: mmap.mmap, fd: int = -1) -> None:
        self.name = name
        self.size = size
        self._memory: mmap.mmap | None = memory
        self._fd = fd

    @classmethod
    def create(cls, name: str, size: int) -> Segment:
        """Make a segment of zeros. Raises OSError if the name exists or there is clearly no room."""
        if sys.platform == "win32":
            return cls(name, size, mmap.mmap(-1, size, tagname=name))
        else:
            if sys.platform == "linux":
                room = os.statvfs("/dev/shm")
                if size > room.f_bavail * room.f_frsize:
                    raise OSError(errno.ENOSPC, f"{size} bytes of shared memory are not there")
            fd = _posixshmem.shm_open("/" + name, os.O_CREAT | os.O_EXCL | os.O_RDWR, mode=0o600)
            try:
                os.ftruncate(fd, size)
                return cls(name, size, mmap.mmap(fd, size), fd)
            except BaseException:
                os.close(fd)
                unlink(name)
                raise

    @classmethod
    def attach(cls, name: str, size: int) -> Segment:
        """Open the other side's segment to read and unlink its name. Raises OSError if it is not there."""
        if sys.platform == "win32":
            return cls(name, size, mmap.mmap(-1, size, tagname=name, access=mmap.ACCESS_READ))
        else:
            fd = _posixshmem.shm_open("/" + name, os.O_RDONLY, mode=0o600)
            try:
                segment = cls(name, size, mmap.mmap(fd, size, access=mmap.ACCESS_READ))
            finally:
                os.close(fd)
            unlink(name)
            return segment

    def reserve(self, start: int, stop: int) -> None:
        """Make sure that there is memory behind these bytes, before they are written.

        Raises:
            OSError: there is not. Without this call, writing to a full /dev/shm (64 MB in most containers) is answered
                with a signal that ends the process.
        """
        if sys.platform == "linux" and stop > start:
            os.posix_fallocate(self._fd, start, stop - start)

    def forget(self, start: int, stop: int) -> None:
        """Take these bytes out of this process's memory, not out of the segment.

        Letting go of a gigabyte at once takes a tenth of a second, which a user interface would stand still.
        """
        if sys.platform == "linux" and self._memory is not None:
            start -= start % mmap.PAGESIZE
            self._memory.madvise(mmap.MADV_DONTNEED, start, stop - start)

    def array(self, offset: int, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
        """Return a C-ordered view; read-only in an attached segment."""
        assert self._memory is not None
        return np.ndarray(shape, dtype, buffer=self._memory, offset=offset)

    def close(self) -> None:
        """Let go of the memory; arrays that look at it keep it alive."""
        self._memory = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        self.close()
