"""Sliding window and labels on a finer grid against MONAI's in eager float32: time, peak memory, same labels."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import harness
import inference_side
import numpy as np
from inference_side import MONAI, OPENVINO, TORCH
from meddl.inference.engines.openvino_engine import is_installed

CLASSES = (2, 14, 104)
RUNS = {MONAI: 2, TORCH: 2, OPENVINO: 2}


def measure(
    repeats: int,
    networks: tuple[str, ...] = inference_side.NETWORKS,
    numbers: tuple[int, ...] = CLASSES,
) -> list[harness.Table]:
    sides = [MONAI, TORCH, *([OPENVINO] if is_installed() else [])]
    columns = ["", "MONAI s", "MB", *(f"{side} {what}" for side in sides[1:] for what in ("time", "memory", "agrees"))]
    columns += ["first run s"] if OPENVINO in sides else []
    table = harness.Table("Image in memory to labels on a grid twice as fine, ratios to MONAI", tuple(columns))
    for name in networks:
        for classes in numbers:
            row = compared(name, classes, sides, repeats)
            table.rows.append(tuple(row))
            print("  ".join(harness._shown(cell) for cell in row), flush=True)
    size = " x ".join(map(str, inference_side.IMAGE))
    table.notes = [
        f"{size} voxels in windows of 64, overlap 0.25, Gaussian; second run of a process. MB is the peak of the whole "
        "process, with torch and MONAI. `agrees`: share of voxels with MONAI's label.",
        "MONAI: sliding_window_inference in eager float32, interpolate, argmax. Ours: the executor in float32, by "
        "torch or by OpenVINO (asked for here; by itself it is taken when its conversion pays).",
        "`first run s`: OpenVINO's first run, with the conversion, which the cache spares the next process.",
        "Random weights, with scores added that make labels look like organs (see inference_side.py).",
    ]
    return [table]


def compared(name: str, classes: int, sides: list[str], repeats: int) -> list[Any]:
    """Return a row of medians over `repeats` rounds."""
    taken: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    labels: dict[str, np.ndarray] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(repeats):
            for side in sides[:: -1 if number % 2 else 1]:
                file = Path(scratch) / f"{side}.npy"
                taken[side].append(in_fresh_process(side, name, str(classes), str(file), str(RUNS[side])))
                labels[side] = np.load(file)
    seconds = {side: harness.median(each["seconds"][-1] for each in runs) for side, runs in taken.items()}
    peaks = {side: harness.median(each["peak"] for each in runs) for side, runs in taken.items()}
    row: list[Any] = [f"{name}, {classes} classes", seconds[MONAI], round(peaks[MONAI] / 2**20)]
    for side in sides[1:]:
        agrees = float((labels[side] == labels[MONAI]).mean())
        row += [seconds[side] / seconds[MONAI], peaks[side] / peaks[MONAI], f"{agrees:.6f}"]
    if OPENVINO in sides:
        row.append(harness.median(each["seconds"][0] for each in taken[OPENVINO]))
    for side in sides[1:]:
        ran = taken[side][-1]["report"]
        if ran["engine"] != side:
            row[0] += f" ({side}: {' '.join(ran['remarks'])})"
    return row


def in_fresh_process(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-W", "ignore", inference_side.__file__, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    harness.main(measure, repeats=1)
