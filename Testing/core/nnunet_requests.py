"""Runs nnU-Net's own checks: a program that reads requests line by line and answers each with a line (JSON)."""

from __future__ import annotations

import contextlib
import io
import json
import multiprocessing
import os
import sys
import traceback
from multiprocessing.pool import ThreadPool
from pathlib import Path
from types import SimpleNamespace

# Threads instead of processes: each of those would import nnU-Net again, for a handful of small images.
multiprocessing.get_context = lambda method=None: SimpleNamespace(Pool=ThreadPool)  # type: ignore[assignment]


def verify(folder: str) -> None:
    from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity

    verify_dataset_integrity(folder, 1)


def convert(folder: str, raw: str) -> None:
    os.environ.update(nnUNet_raw=raw)
    os.environ.pop("nnUNet_preprocessed", None)
    from nnunetv2.dataset_conversion.convert_MSD_dataset import convert_msd_dataset

    convert_msd_dataset(folder, num_processes=1)


def plan(folder: str, preprocessed: str) -> None:
    os.environ.update(nnUNet_raw=str(Path(folder).parent), nnUNet_preprocessed=preprocessed)
    from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprints, plan_experiments

    number = int(Path(folder).name[len("Dataset") :][:3])
    extract_fingerprints([number], num_processes=1, check_dataset_integrity=True)
    plan_experiments([number])


def main() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        said, error = io.StringIO(), ""
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                {"verify": verify, "convert": convert, "plan": plan}[request.pop("do")](**request)
            except BaseException as reason:
                error = f"{type(reason).__name__}: {reason}"
                traceback.print_exc(file=said)
        sys.stdout.write(json.dumps({"error": error, "said": said.getvalue()}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
