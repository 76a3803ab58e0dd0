"""Messages on a pipe: a length of four bytes, then that many bytes of JSON."""

from __future__ import annotations

import json
import struct
from typing import Any

from meddl.errors import UsageError

_LENGTH = struct.Struct(">I")

MAX_FRAME = 512 * 2**20
"""Bytes. A longer frame is not a message but garbage: voxels travel through shared memory."""

Message = dict[str, Any]


class FrameError(Exception):
    """What arrived is not a frame."""


def pack(message: Message) -> bytes:
    """Return ``message`` as a frame. NaN and infinities are written as Python's JSON does, and read back.

    Raises:
        UsageError: it is too long.
    """
    body = json.dumps(message, separators=(",", ":")).encode("ascii")
    if len(body) > MAX_FRAME:
        raise UsageError(
            f"{len(body) / 2**20:.0f} MB of texts and numbers are too much for a job's params or result; use arrays."
        )
    return _LENGTH.pack(len(body)) + body


class FrameReader:
    """Puts bytes together to messages, however they were cut on the way."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> None:
        self._bytes += data

    def next(self) -> Message | None:
        """Return the next whole message, or None if there is none yet.

        Raises:
            FrameError: these bytes are no frame; nothing after them can be understood either.
        """
        if len(self._bytes) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._bytes)
        if length > MAX_FRAME:
            raise FrameError(f"A frame claims to be {length} bytes long.")
        end = _LENGTH.size + length
        if len(self._bytes) < end:
            return None
        body = bytes(self._bytes[_LENGTH.size : end])
        del self._bytes[:end]
        try:
            message = json.loads(body)
        except ValueError as error:
            raise FrameError(f"A frame is not JSON: {error}") from error
        if not isinstance(message, dict):
            raise FrameError("A frame is not a JSON object.")
        return message
