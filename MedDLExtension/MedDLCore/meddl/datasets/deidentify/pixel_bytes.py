"""Words hidden between pixels: in unused bits of a pixel (old overlays), in comments of a JPEG stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pydicom

_SOI, _SOC = b"\xff\xd8", b"\xff\x4f"
_JP2_BOX = b"\x00\x00\x00\x0cjP"
_KEPT_APPLICATIONS = {0xEE: b"Adobe", 0xE8: b"mrfx"}
"""Segments of JPEG (APP14) and JPEG-LS (APP8) that tell the colors."""


def without_rest(dataset: pydicom.Dataset, pixels: bytes) -> bytes:
    """Return uncompressed pixels without what follows the last of them, where the header tells how many there are."""
    count = int(dataset.get("NumberOfFrames") or 1)
    for keyword in ("Rows", "Columns", "SamplesPerPixel"):
        count *= int(dataset.get(keyword) or 1)
    # Of three values per pixel two are stored, or one and a half, where neighbors share their colors.
    thirds = {"YBR_FULL_422": 2, "YBR_PARTIAL_422": 2, "YBR_PARTIAL_420": 1.5}
    shared = thirds.get(str(dataset.get("PhotometricInterpretation")), 3)
    needed = int(count * int(dataset.get("BitsAllocated") or 8) * shared / 3 + 7) // 8
    return pixels if len(pixels) <= needed else pixels[:needed] + bytes(needed % 2)


def without_unused_bits(dataset: pydicom.Dataset, pixels: bytes) -> bytes:
    """Return uncompressed pixels with the bits above the highest used one as the standard wants them today.

    Overlays used to be drawn there. Pixels that are exactly as wide as their storage are returned as they are.
    """
    allocated, stored = int(dataset.get("BitsAllocated") or 0), int(dataset.get("BitsStored") or 0)
    high = int(dataset.get("HighBit") if dataset.get("HighBit") is not None else stored - 1)
    if allocated not in (8, 16, 32) or not 0 < stored < allocated or not stored - 1 <= high < allocated:
        return pixels
    values = np.frombuffer(pixels[: len(pixels) // (allocated // 8) * (allocated // 8)], dtype=f"<u{allocated // 8}")
    low = high + 1 - stored
    used = np.array(((1 << stored) - 1) << low, dtype=values.dtype)
    cleaned = values & used
    if int(dataset.get("PixelRepresentation") or 0):
        negative = (values >> np.array(high, dtype=values.dtype)) & 1
        above = np.array((1 << allocated) - (1 << (high + 1)), dtype=values.dtype)
        cleaned = cleaned | (negative * above)
    return cleaned.astype(values.dtype).tobytes() + pixels[values.nbytes :]


def without_comments(frame: bytes) -> bytes:
    """Return a compressed frame (JPEG, JPEG-LS, JPEG 2000) whose comments and application data are blank.

    They are overwritten, not cut out, so that no offset in the stream changes. Anything else is returned as it is.
    """
    if frame.startswith(_JP2_BOX):
        return _without_boxes(frame)
    if frame.startswith(_SOC):
        return _blank_codestream(_without_tail(frame))
    if frame.startswith(_SOI):
        return _blank_jpeg(_without_tail(frame))
    return frame


def _without_tail(frame: bytes) -> bytes:
    """Return a stream with zeros after its end mark."""
    end = frame.rfind(b"\xff\xd9")
    return frame if end < 0 else frame[: end + 2] + bytes(len(frame) - end - 2)


def _blank_jpeg(frame: bytes) -> bytes:
    """Blank the segments of JPEG and JPEG-LS; in coded data no byte after 0xFF is a marker of one."""
    data = bytearray(frame)
    place = 2
    while place + 4 <= len(data):
        marker = data[place + 1]
        if data[place] != 0xFF or marker < 0xC0 or 0xD0 <= marker <= 0xD9 or marker == 0xFF:
            place += 1
            continue
        end = min(place + 2 + max(int.from_bytes(data[place + 2 : place + 4], "big"), 2), len(data))
        content = slice(place + 4, end)
        thumbnail = marker == 0xE0 and data[content].startswith(b"JFXX")
        application = 0xE1 <= marker <= 0xEF and not _tells_colors(marker, data[content])
        if marker == 0xFE or thumbnail or application:
            data[content] = bytes(max(end - place - 4, 0))
        place = end
    return bytes(data)


def _blank_codestream(frame: bytes) -> bytes:
    """Blank the comments in the headers of a JPEG 2000 codestream; its coded data are passed over."""
    data = bytearray(frame)
    place = 2
    tile = tile_length = 0
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0x93:  # the coded data of a tile part
            if not tile_length:
                break  # up to the end
            place = tile + tile_length
            continue
        if 0x30 <= marker <= 0x3F:
            place += 2
            continue
        end = min(place + 2 + max(int.from_bytes(data[place + 2 : place + 4], "big"), 2), len(data))
        if marker == 0x90:  # a tile part begins
            tile, tile_length = place, int.from_bytes(data[place + 6 : place + 10], "big")
        elif marker == 0x64:  # a comment, of a kind that two bytes tell
            data[place + 6 : end] = b" " * max(end - place - 6, 0)
        place = end
    return bytes(data)


def _tells_colors(marker: int, content: bytes | bytearray) -> bool:
    start = _KEPT_APPLICATIONS.get(marker)
    return start is not None and bytes(content).startswith(start) and len(content) <= 16


def _without_boxes(frame: bytes) -> bytes:
    """Blank the boxes of a JP2 file that hold words, and the comments of its codestream."""
    data = bytearray(frame)
    place = 0
    while place + 8 <= len(data):
        length, kind = int.from_bytes(data[place : place + 4], "big"), bytes(data[place + 4 : place + 8])
        end = len(data) if length == 0 else place + length
        if length == 1 or (length and length < 8) or end > len(data):
            break
        if kind in (b"xml ", b"uuid", b"uinf", b"jp2i"):
            data[place + 8 : end] = bytes(end - place - 8)
        elif kind == b"jp2c":
            data[place + 8 : end] = _blank_codestream(bytes(data[place + 8 : end]))
        place = end
    return bytes(data)
