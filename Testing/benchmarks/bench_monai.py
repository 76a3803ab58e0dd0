"""The fine stage of the brain model from file to file, by MedDL and by MONAI's own runner: time, memory, Dice."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import fine_stage
import harness
from meddl.inference import Predictor
from meddl.volume import read_volume

MEDDL, MONAI, EXACT = "meddl", "monai", "monai-exact"


def measure(repeats: int) -> list[harness.Table]:
    bundle = harness.brain_model()
    whole = Predictor(bundle, "cpu").predict(read_volume(harness.head()))
    box = json.dumps([whole.provenance["parameters"][key] for key in ("roi_start", "roi_end")])
    runs: dict[str, list[dict[str, Any]]] = {MEDDL: [], MONAI: []}
    masks = {}
    with tempfile.TemporaryDirectory() as scratch:
        head = Path(scratch) / "head.nii.gz"
        shutil.copy(harness.head(), head)

        def run(side: str) -> dict[str, Any]:
            folder = Path(scratch) / side
            folder.mkdir(exist_ok=True)
            figures = in_fresh_process(side, str(bundle.path), str(head), str(folder), box)
            masks[side] = read_volume(folder / fine_stage.RESULT).array[0] > 0
            return figures

        for number in range(repeats):
            for side in list(runs)[:: -1 if number % 2 else 1]:
                runs[side].append(run(side))
        run(EXACT)
    tables = []
    for which, title in (
        ("first", "Fresh process, imports and loading of the network included"),
        ("second", "Second run in the same process (MedDL keeps the loaded network, MONAI's runner does not)"),
    ):
        samples = {side: [harness.Sample(*run[which]) for run in taken] for side, taken in runs.items()}
        tables.append(harness.Table(title, harness.COMPARED, harness.compared(samples, MONAI)))
    peaks = {side: harness.median(run["peak"] for run in taken) for side, taken in runs.items()}
    rows = [(side, round(peak / 2**20), peak / peaks[MONAI]) for side, peak in peaks.items()]
    notes = [
        f"Dice of MedDL's mask and MONAI's: {harness.dice(masks[MEDDL], masks[MONAI]):.5f}; "
        f"with Invertd's half-voxel shift put right (see fine_stage.py): "
        f"{harness.dice(masks[MEDDL], masks[EXACT]):.5f}",
        f"Dice of MedDL's fine stage alone and its whole cascade: "
        f"{harness.dice(masks[MEDDL], whole.labels.array[0] > 0):.5f}",
    ]
    return [*tables, harness.Table("Peak memory of the process", ("", "MB", "ratio"), rows, notes)]


def in_fresh_process(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-W", "ignore", fine_stage.__file__, *arguments, str(time.time())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{arguments[0]} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    harness.main(measure, repeats=2)
