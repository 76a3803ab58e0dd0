"""Exports that are killed at random moments. Run as a program, which forks before any library has made threads.

usage: dataset_kills.py FORMAT FOLDER KILLS SEED; prints JSON: kills, completions, problems, equal.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

CASES = 5


def make_cases() -> list:
    """Cases of two channels and a segmentation, on grids of their own."""
    from meddl.datasets import Case, SegmentationLabel
    from meddl.volume import Segment, Volume

    rng = np.random.default_rng(4)
    cases = []
    for number in range(CASES):
        affine = np.diag([-1.0, -1.5, 2.0, 1.0])
        affine[:3, 3] = number
        images = {name: Volume(rng.integers(0, 900, (1, 18, 16, 14), np.int16), affine) for name in ("T1", "T2")}
        labels = np.zeros((1, 18, 16, 14), np.uint8)
        labels[0, 3 : 8 + number, 4:9, 5:9] = 1
        labels[0, 9:12, 9:12, 9:12] = 2
        names = (Segment(1, "Liver", (1, 0, 0)), Segment(2, "Spleen", (0, 1, 0)))
        label = SegmentationLabel(Volume(labels, affine), names)
        cases.append(Case(f"Doe {number}", images, label, f"patient {number}"))
    return cases


def main(format_name: str, folder: Path, kills: int, seed: int) -> None:
    from meddl.datasets import ExportOptions, export_dataset, make_format, verify_dataset

    options = ExportOptions(format_name, "Killed", 7)
    key = folder / "key.csv"
    cases = make_cases()
    report = folder / "problems.txt"

    def export(output: Path) -> None:
        export_dataset(cases, output, options, key=key)

    def check(output: Path) -> None:
        root = output / make_format(format_name).folder(options)
        if (root / "dataset.meddl.json").exists():
            problems = verify_dataset(root).problems
            if problems:
                report.write_text("\n".join(problems), encoding="utf-8")
                raise SystemExit(1)

    whole = folder / "whole"
    loaded = folder / "modules.json"

    def first() -> None:
        export(whole)
        check(whole)
        loaded.write_text(json.dumps([name for name in sys.modules if name.partition(".")[0] != "meddl"]))

    if in_child(first) != 0:
        raise SystemExit("the export fails without being killed")
    # What each child would load again takes longer than what it does. Of our own nothing: it is what is killed.
    for name in json.loads(loaded.read_text()):
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    started = time.monotonic()
    in_child(lambda: export(folder / "timed"))  # the first one has loaded libraries from the disk
    length = time.monotonic() - started
    moments = random.Random(seed)
    killed, completed, tried, problems = 0, 0, 0, []
    output = folder / "killed"
    while killed < kills:
        # At random within each of as many parts of the time that it takes: no part is left out.
        moment = (tried % kills + moments.random()) / kills * length
        tried += 1
        ended = in_child(lambda: export(output), kill_after=moment)
        killed += ended == -signal.SIGKILL
        if ended not in (0, -signal.SIGKILL):
            problems.append(f"the export failed with {ended} after a kill")
            break
        if in_child(lambda: check(output)) != 0:
            problems.append(report.read_text(encoding="utf-8") if report.exists() else "the dataset cannot be checked")
            break
        if ended == 0:
            completed += 1
            problems += differences(whole, output)
            shutil.rmtree(output)
    in_child(lambda: export(output))
    problems += differences(whole, output)
    sys.stdout.write(json.dumps({"kills": killed, "completions": completed, "problems": problems}))


def in_child(work: Callable[[], None], kill_after: float | None = None) -> int:
    """Run ``work`` in a forked process; return its exit code, negative for the signal that ended it."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException as error:  # the child must never go on as its parent
            sys.stderr.write(f"{error!r}\n")
        finally:
            sys.stderr.flush()
            os._exit(code)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def differences(one: Path, other: Path) -> list[str]:
    """Return which files are not the same in both folders."""
    files = [{p.relative_to(r).as_posix(): p.read_bytes() for p in r.rglob("*") if p.is_file()} for r in (one, other)]
    return [f"{name} differs" for name in sorted({*files[0], *files[1]}) if files[0].get(name) != files[1].get(name)]


if __name__ == "__main__":
    import SimpleITK  # noqa: F401 - loaded once, before the children are forked

    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
