"""Compressing voxels on all cores, into one stream that every reader of gzip or zlib takes for an ordinary one.

The voxels are cut into blocks by their shape alone, each is compressed by itself, and the blocks follow one another in
one deflate stream, each ending at a whole byte ("sync flush", as pigz does it). So the file is the same whatever number
of cores made it (a processor of another kind may find other repetitions), and small images, which are one block, start
no thread.
"""

from __future__ import annotations

import os
import struct
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from typing import BinaryIO

import numpy as np

BLOCK = 1 << 21
"""Bytes of voxels that are compressed at once: so many that cutting them costs nothing in size."""

_LEVEL = 2
"""Of ISA-L, Intel's implementation of deflate: several times as fast as zlib's lowest level at nearly its size."""
_RAW = -15
_LINE = 64
_SLAB = 1 << 26
"""Bytes that are brought into another order in memory at once, at most."""
_MOST_THREADS = 16
_AHEAD = 2
"""Blocks per thread that may wait to be written: what is held in memory has a bound."""
_LAST_BLOCK = b"\x03\x00"
_GZIP_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"  # no name and no time: the same voxels give the same bytes
_ZLIB_HEADER = b"\x78\x01"
_ADLER_BASE = 65521


def write_gzip(file: BinaryIO, start: bytes, blocks: Iterable[np.ndarray]) -> None:
    """Write ``start`` and the voxels of ``blocks`` (see :func:`voxel_blocks`) as one member of gzip."""
    from isal import isal_zlib

    file.write(_GZIP_HEADER)
    checksum, size = isal_zlib.crc32(b""), 0
    for packed, crc, length in _packed(start, blocks, isal_zlib.crc32):
        file.write(packed)
        checksum = isal_zlib.crc32_combine(checksum, crc, length)
        size += length
    file.write(_LAST_BLOCK + struct.pack("<LL", checksum, size & 0xFFFFFFFF))


def zlib_pieces(blocks: Iterable[np.ndarray]) -> list[bytes]:
    """Return the voxels of ``blocks`` (see :func:`voxel_blocks`) as a zlib stream in pieces."""
    from isal import isal_zlib

    pieces, checksum = [_ZLIB_HEADER], isal_zlib.adler32(b"")
    for packed, adler, length in _packed(b"", blocks, isal_zlib.adler32):
        pieces.append(packed)
        checksum = _adler32_combine(checksum, adler, length)
    return [*pieces, _LAST_BLOCK + struct.pack(">L", checksum)]


def voxel_blocks(array: np.ndarray) -> Iterator[np.ndarray]:
    """Yield views of ``array`` that follow one another in a file (first axis fastest), of :data:`BLOCK` bytes at most.

    Where they are cut depends on shape and data type alone.
    """
    if array.nbytes <= BLOCK:
        yield array
        return
    slice_bytes = array.nbytes // array.shape[-1]
    step = max(1, BLOCK // slice_bytes)
    at_once = step * max(1, min(_LINE // (step * array.itemsize), _SLAB // (step * slice_bytes)))
    for n in range(0, array.shape[-1], at_once):
        slab = _in_file_order(array[..., n : n + at_once])
        for m in range(0, slab.shape[-1], step):
            block = slab[..., m : m + step]
            yield from voxel_blocks(block[..., 0]) if slice_bytes > BLOCK else (block,)


def _in_file_order(slab: np.ndarray) -> np.ndarray:
    """Return ``slab`` in memory as it will lie in the file, if its last axis is the fastest now.

    Memory is read by lines of 64 bytes. Slabs as wide as a line, plane by plane, read each line once: several times as
    fast as slice by slice.
    """
    if slab.ndim != 3 or abs(slab.strides[2]) >= min(abs(slab.strides[0]), abs(slab.strides[1])):
        return slab
    arranged = np.empty(slab.shape, slab.dtype, order="F")
    for n in range(slab.shape[1]):
        arranged[:, n] = slab[:, n]
    return arranged


def voxel_bytes(block: np.ndarray) -> bytes:
    """Return the voxels as they stand in a file: little-endian, first axis fastest."""
    return block.astype(block.dtype.newbyteorder("<"), copy=False).tobytes(order="F")


Packed = tuple[bytes, int, int]
"""Compressed bytes, checksum and number of the bytes they stand for."""


def _packed(start: bytes, blocks: Iterable[np.ndarray], check: Callable[[bytes], int]) -> Iterator[Packed]:
    if start:
        yield _deflated(start, check)
    rest = iter(blocks)
    first, threads = list(islice(rest, 2)), _threads()
    blocks = chain(first, rest)
    if threads < 2 or len(first) < 2:
        yield from (_deflated(voxel_bytes(block), check) for block in blocks)
        return
    pool = ThreadPoolExecutor(threads, thread_name_prefix="meddl-deflate")
    waiting: deque[Future[Packed]] = deque()
    try:
        for block in blocks:
            if len(waiting) >= _AHEAD * threads:
                yield waiting.popleft().result()
            # Turning voxels into bytes is as much work as compressing them: the threads do both.
            waiting.append(pool.submit(lambda each: _deflated(voxel_bytes(each), check), block))
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)  # the disk is full, say


def _deflated(data: bytes, check: Callable[[bytes], int]) -> Packed:
    from isal import isal_zlib

    packer = isal_zlib.compressobj(_LEVEL, wbits=_RAW)
    return packer.compress(data) + packer.flush(isal_zlib.Z_SYNC_FLUSH), check(data), len(data)


def _adler32_combine(first: int, second: int, length: int) -> int:
    """Return the Adler-32 of two strings of bytes one after the other, the second ``length`` bytes long."""
    low = ((first & 0xFFFF) + (second & 0xFFFF) - 1) % _ADLER_BASE
    high = ((first >> 16) + (second >> 16) + length * ((first & 0xFFFF) - 1)) % _ADLER_BASE
    return high << 16 | low


def _threads() -> int:
    """Return how many cores this process may use."""
    try:
        cores = len(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # not on Windows and macOS
        cores = os.cpu_count() or 1
    return min(cores, _MOST_THREADS)
