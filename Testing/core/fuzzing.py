"""Breaks real images in many ways and reads each: run as a program, so that a crash or a hang is seen from outside.

``python fuzzing.py FOLDER SEED COUNT`` reads ``COUNT`` broken copies of each image in ``FOLDER`` and prints a JSON
line for each: ``{"case", "outcome": "read" | "refused" | "escaped", "message"}``.
"""

from __future__ import annotations

import json
import random
import re
import shutil
import signal
import sys
from pathlib import Path

from meddl.errors import VolumeError
from meddl.volume import read_volume

SECONDS = 20
MEMORY = 6 << 30
NUMBERS = [
    b"0",
    b"-1",
    b"nan",
    b"inf",
    b"1e400",
    b"99999999",
    b"4294967296",
    b"",
    b"0x10",
    b"1.5",
    b"one",
    b"1e-9",
    b"\xff",
]


def broken(data: bytes, rng: random.Random) -> tuple[str, bytes]:
    """Return how ``data`` was broken and the result."""
    kind = rng.choice(["flip", "flip header", "cut", "number", "drop", "repeat", "zero", "swap line", "byte header"])
    head = min(len(data), rng.choice([40, 348, 700, 2000]))
    spoiled = bytearray(data)
    if kind in ("flip", "flip header"):
        for _ in range(rng.randint(1, 8)):
            spoiled[rng.randrange(len(data) if kind == "flip" else head)] ^= 1 << rng.randrange(8)
    elif kind == "byte header":
        spoiled[rng.randrange(head)] = rng.choice([0, 255, 127, 128, ord("-"), ord("9"), ord(" "), 10])
    elif kind == "cut":
        spoiled = spoiled[
            : rng.choice([0, 1, 3, 100, 200, 347, rng.randrange(len(data)), len(data) - 1, len(data) - 9])
        ]
    elif kind == "number":
        found = list(re.finditer(rb"-?\d+\.?\d*", data[:head]))
        if found:
            match = rng.choice(found)
            spoiled[match.start() : match.end()] = rng.choice(NUMBERS)
    elif kind == "drop":
        at = rng.randrange(head)
        del spoiled[at : at + rng.randint(1, 30)]
    elif kind == "repeat":
        at = rng.randrange(head)
        spoiled[at:at] = spoiled[at : at + rng.randint(1, 60)]
    elif kind == "zero":
        at = rng.randrange(head)
        size = rng.randint(2, 16)
        spoiled[at : at + size] = rng.choice([b"\0", b"\xff", b"\x7f"]) * size
    else:
        lines = bytes(spoiled).split(b"\n")
        a, b = rng.randrange(min(14, len(lines))), rng.randrange(min(14, len(lines)))
        lines[a], lines[b] = lines[b], lines[a]
        spoiled = bytearray(b"\n".join(lines))
    return kind, bytes(spoiled)


def outcome(path: Path) -> tuple[str, str]:
    """Read ``path`` and return what came of it."""
    try:
        volume = read_volume(path)
        assert volume.array.size > 0 and volume.spacing.min() > 0
        return "read", ""
    except VolumeError as error:
        return "refused", error.message
    except BaseException as error:  # the point: nothing else may come out
        return "escaped", f"{type(error).__name__}: {error}"


def main(folder: Path, seed: int, count: int) -> None:
    _guard()
    for image in sorted(folder.iterdir()):
        for number in range(count):
            rng = random.Random(f"{seed}/{image.name}/{number}")
            work = folder.parent / "work"
            shutil.rmtree(work, ignore_errors=True)
            shutil.copytree(image, work)
            # A DICOM folder and a header with a data file beside it are broken in one of their files.
            victim = rng.choice(sorted(work.iterdir()))
            kind, data = broken(victim.read_bytes(), rng)
            victim.write_bytes(data)
            target = next((p for p in work.iterdir() if p.suffix in (".nhdr", ".mhd")), victim)
            path = work if image.name.startswith("dicom") else target
            case = f"{image.name}/{number} {kind} in {victim.name}"
            _tell({"starting": case})
            _alarm(SECONDS)
            result, message = outcome(path)
            _alarm(0)
            _tell({"case": case, "outcome": result, "message": message})


def _tell(line: dict[str, str]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def _guard() -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def _alarm(seconds: int) -> None:
    if hasattr(signal, "alarm"):
        signal.alarm(seconds)  # without a handler it ends the process: a hang in C is ended too


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
