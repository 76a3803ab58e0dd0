"""What all benchmarks share: clocks, interleaved repetitions, a description of the machine, tables.

A benchmark is a file `bench_NAME.py` with a function `measure(repeats) -> list[Table]`; run it by itself or by
`python Testing/benchmarks NAME`. Ratios are what counts: of two things measured in turn, in the same minute.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

BENCHMARKS = Path(__file__).resolve().parent
TESTING = BENCHMARKS.parent
REPOSITORY = TESTING.parent
CORE = REPOSITORY / "MedDLExtension" / "MedDLCore"
# First, so that it is this source tree that is measured.
sys.path[:0] = [str(CORE), str(TESTING)]
if sys.platform.startswith("linux"):
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")


@dataclass(frozen=True)
class Sample:
    """Seconds one repetition took: on the clock, and of processor time (all threads, and the worker if there is)."""

    wall: float
    cpu: float


@dataclass
class Table:
    """Figures as they are printed and written to JSON."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def text(self) -> str:
        cells = [self.columns, *(tuple(_shown(cell) for cell in row) for row in self.rows)]
        widths = [max(len(row[column]) for row in cells) for column in range(len(self.columns))]
        lines = []
        for row in cells:
            first, *others = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
            lines.append("  ".join([first.strip().ljust(widths[0]), *others]).rstrip())
        lines.insert(1, "-" * max(map(len, lines)))
        return "\n".join([self.title, *lines, *(f"* {note}" for note in self.notes)])


def timed(work: Callable[[], Any], worker: int | None = None) -> Sample:
    """Do the work once; `worker` is the id of a process whose processor time counts too."""
    cpu, wall = _cpu_time(worker), time.perf_counter()
    work()
    return Sample(time.perf_counter() - wall, _cpu_time(worker) - cpu)


def interleaved(cases: Mapping[str, Callable[[], Sample]], repeats: int) -> dict[str, list[Sample]]:
    """Measure the cases in turn, `repeats` times each: what else the machine does then meets all of them alike."""
    samples: dict[str, list[Sample]] = {name: [] for name in cases}
    for number in range(repeats):
        # Every other round backwards, so that no case always runs after the same one.
        for name in list(cases)[:: -1 if number % 2 else 1]:
            samples[name].append(cases[name]())
    return samples


COMPARED = ("", "wall s", "CPU s", "wall ratio", "CPU ratio", "CPU ratio from-to", "n")


def compared(samples: Mapping[str, list[Sample]], baseline: str) -> list[tuple[Any, ...]]:
    """Rows of medians, and of ratios to `baseline`, each repetition's to that of the same round."""
    rows: list[tuple[Any, ...]] = []
    for name, taken in samples.items():
        wall = [each.wall / base.wall for each, base in zip(taken, samples[baseline], strict=True)]
        cpu = [each.cpu / max(base.cpu, 1e-9) for each, base in zip(taken, samples[baseline], strict=True)]
        spread = f"{min(cpu):.2f}-{max(cpu):.2f}"
        medians = (median(each.wall for each in taken), median(each.cpu for each in taken))
        rows.append((name, *medians, median(wall), median(cpu), spread, len(taken)))
    return rows


def median(values: Iterable[float]) -> float:
    return statistics.median(values)


def peak_memory() -> int:
    """Most bytes of memory this process has had at once."""
    if sys.platform == "linux":  # getrusage() would tell of the parent, too, as it was at the fork
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def head() -> Path:
    """T1 head with its skull that all benchmarks work on."""
    import realdata

    return realdata.head()


def brain_model() -> Any:
    """The brain extraction model (`meddl.models.ModelBundle`), fetched if need be."""
    import brain_model

    return brain_model.installed()


def dice(first: Any, second: Any) -> float:
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))


def machine() -> dict[str, Any]:
    """Processor, cores and how busy they are right now."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "processor": _processor_name(),
        "cores": os.cpu_count(),
        "load": None if load is None else round(load, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "time": time.strftime("%Y-%m-%d %H:%M:%S"),
    }


def busy_warning(facts: Mapping[str, Any]) -> str:
    if facts["load"] is None or facts["load"] < 0.3 * facts["cores"]:
        return ""
    return (
        f"WARNING: this machine is busy (load {facts['load']} on {facts['cores']} cores). Wall times mean little now; "
        "ratios of CPU time do, roughly."
    )


def main(measure: Callable[[int], list[Table]], repeats: int) -> None:
    """Run one benchmark from the command line."""
    parser = argparse.ArgumentParser(description=(sys.modules[measure.__module__].__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=repeats, metavar="N", help=f"default {repeats}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    options = parser.parse_args()
    facts = machine()
    print(f"{facts['processor']}, {facts['cores']} cores, load {facts['load']}, {facts['time']}")
    if warning := busy_warning(facts):
        print(warning)
    started = time.perf_counter()
    tables = measure(options.repeats)
    seconds = time.perf_counter() - started
    for table in tables:
        print(f"\n{table.text()}")
    print(f"\n({seconds:.0f} s)")
    if options.json:
        content = {"machine": facts, "seconds": round(seconds, 1), "tables": [asdict(table) for table in tables]}
        options.json.write_text(json.dumps(content, indent=1))


def _cpu_time(worker: int | None) -> float:
    if worker is None:
        return time.process_time()
    import psutil

    times = psutil.Process(worker).cpu_times()
    return time.process_time() + times.user + times.system


def _processor_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _shown(cell: Any) -> str:
    if isinstance(cell, float):
        return f"{cell:.3f}" if abs(cell) < 10 else f"{cell:.1f}"
    return str(cell)
