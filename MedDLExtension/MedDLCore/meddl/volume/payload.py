"""Voxels out of files: exactly as many bytes as the header promised, decompressed within bounds.

A header is not believed: its promise is weighed against the size of the file before any memory is set aside, so that
forty bytes cannot ask for a terabyte and a truncated file is told from a whole one.
"""

from __future__ import annotations

import bz2
import gzip
import io
import logging
import math
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from meddl.errors import VolumeError

logger = logging.getLogger(__name__)

Encoding = Literal["raw", "gzip", "zlib", "bzip2"]

MAX_RATIO: dict[str, float] = {"raw": 1.0, "gzip": 1032.0, "zlib": 1032.0, "bzip2": 60_000.0}
"""The most bytes one stored byte can stand for."""

_CHUNK = 1 << 24
_GZIP_MAGIC = b"\x1f\x8b"


@contextmanager
def told_plainly(name: str, kind: str) -> Iterator[None]:
    """Turn any exception of a parser into one sentence about the file ``name``, which was to be a ``kind``.

    Header parsers meet damaged bytes with exceptions of every type (IndexError, UnicodeError, struct.error, ...). What
    they say is kept for the log, without the folder the file lies in.
    """
    try:
        yield
    except VolumeError:
        raise
    except EOFError as error:
        raise _truncated(name) from error
    except MemoryError as error:
        raise VolumeError(f"{name} does not fit into memory. Close other programs or crop the image.") from error
    except OSError as error:
        if error.errno is None:  # raised by a parser or decompressor, not by the system
            raise damaged(name, kind, error) from error
        raise VolumeError(f"{name} could not be read: {error.strerror}.") from error
    except Exception as error:
        raise damaged(name, kind, error) from error


def damaged(name: str, kind: str, error: BaseException) -> VolumeError:
    """Return the error that says that ``name`` is no ``kind`` any more, or never was one."""
    logger.debug("%s: %r", name, error)
    return VolumeError(
        f"{name} is damaged or not {kind}: its header or voxels cannot be decoded. Export or copy it again.",
        details=type(error).__name__,
    )


def is_gzipped(path: Path) -> bool:
    """Say whether the file begins as gzip does, whatever its name."""
    with path.open("rb") as file:
        return file.read(2) == _GZIP_MAGIC


def read_voxels(
    path: Path, offset: int, shape: Sequence[int], dtype: np.dtype, encoding: Encoding, stored: int | None = None
) -> np.ndarray:
    """Return the voxels stored from byte ``offset`` on, first axis fastest, as a writable array in native byte order.

    Args:
        offset: in the file; in the decompressed stream if the whole file is gzipped, as .nii.gz is (encoding "gzip"
            with a positive offset into a file that itself begins as gzip does).
        shape: as the header promises it.
        stored: how many bytes of the file are voxels, where the header tells; default: all from ``offset`` to its end.

    Raises:
        VolumeError: the file is shorter or longer than promised, is damaged, or its promise is beyond what it can hold.
            Longer is refused too: a wrong size along I or J would otherwise give a scrambled image.
    """
    name = path.name
    count = math.prod(int(n) for n in shape)
    need = count * dtype.itemsize
    size = path.stat().st_size
    whole_file_gzipped = encoding == "gzip" and is_gzipped(path)
    if stored is None:
        stored = size if whole_file_gzipped else size - offset
    if need <= 0 or need > max(stored, 0) * MAX_RATIO[encoding]:
        raise VolumeError(
            f"{name} is truncated or its header is wrong: it announces {' x '.join(map(str, shape))} voxels "
            f"({_size(need)}), more than its {_size(size)} can hold. Export or copy it again."
        )
    with told_plainly(name, "an image"), path.open("rb") as file:
        buffer = np.empty(need, dtype=np.uint8)
        if whole_file_gzipped:
            stream: BinaryIO = gzip.GzipFile(fileobj=file, mode="rb")  # type: ignore[assignment]
            skipped = _skip(stream, offset)
        else:
            file.seek(offset)
            stream = _decompressor(file, encoding)
            skipped = True
        if not skipped or not _fill(stream, buffer):
            raise _truncated(name)
        if stream.read(1):  # reading on to the end also makes gzip check its CRC
            raise VolumeError(
                f"{name} is damaged: it holds more than the {' x '.join(map(str, shape))} voxels its header announces. "
                "Export or copy it again."
            )
    array = buffer.view(dtype).reshape(tuple(int(n) for n in shape), order="F")
    native = dtype.newbyteorder("=")
    return array.view(native) if dtype.isnative else array.astype(native)


def _decompressor(file: BinaryIO, encoding: Encoding) -> BinaryIO:
    if encoding == "gzip":
        return gzip.GzipFile(fileobj=file, mode="rb")  # type: ignore[return-value]
    if encoding == "bzip2":
        return bz2.BZ2File(file, mode="rb")  # type: ignore[return-value]
    if encoding == "zlib":
        return io.BufferedReader(_ZlibStream(file), _CHUNK)
    return file


def _fill(stream: BinaryIO, buffer: np.ndarray) -> bool:
    """Fill ``buffer`` from ``stream``; False if it ends too early."""
    view = buffer.data
    done = 0
    while done < len(view):
        got = stream.readinto(view[done : done + _CHUNK])  # type: ignore[attr-defined]
        if not got:
            return False
        done += got
    return True


def _skip(stream: BinaryIO, count: int) -> bool:
    """Read ``count`` bytes away, a few at a time since a header may name any number; False if there are fewer."""
    while count > 0:
        got = len(stream.read(min(count, 1 << 16)))
        if not got:
            return False
        count -= got
    return True


def _truncated(name: str) -> VolumeError:
    return VolumeError(f"{name} is truncated: voxels are missing at its end. Export or copy it again.")


class _ZlibStream(io.RawIOBase):
    """A zlib stream within a file, decompressed as far as is read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._zlib = zlib.decompressobj()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        while not self._zlib.eof:
            pending = self._zlib.unconsumed_tail or self._file.read(1 << 16)
            if not pending:
                raise EOFError("the zlib stream ends before its end mark")
            data = self._zlib.decompress(pending, len(view))
            if data:
                view[: len(data)] = data
                return len(data)
        return 0


def _size(count: int) -> str:
    """Return a number of bytes for people."""
    value = float(count)
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            return f"{value:.3g} {unit}" if value < 1e6 else f"{value:.1e} {unit}"
        value /= 1000
    raise AssertionError
