"""What the two panels add to Slicer's start: their files imported, their modules made, in the host."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import harness

PANELS = ("MedDLCore", "MedDLInference")
HEAVY = ("torch", "monai", "SimpleITK", "scipy", "nibabel", "nrrd", "pydicom", "safetensors")
GOAL_MS = 100

# The host's own start is Slicer's and is not counted; the sample data source is registered when startup is over.
CHILD = """
import json, sys, time
import harness, host
slicer = host.start(startup_completed=False)
steps = {}
def step(name, work):
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    steps[name] = (time.perf_counter() - wall, time.process_time() - cpu)
before = set(sys.modules)
for panel in sys.argv[1:]:
    file = harness.REPOSITORY / "MedDLExtension" / panel / (panel + ".py")
    step(panel, lambda: host.load_module(file))
step("startupCompleted", slicer.app.startupCompleted.emit)
print(json.dumps({"steps": steps, "added": sorted(set(sys.modules) - before), "loaded": sorted(sys.modules)}))
"""


def measure(repeats: int) -> list[harness.Table]:
    in_fresh_process()  # writes the byte code and brings the files into the system's cache
    runs = [in_fresh_process() for _ in range(repeats)]
    rows = []
    for name in runs[0]["steps"]:
        wall, cpu = zip(*(run["steps"][name] for run in runs), strict=True)
        rows.append((name, *shown(wall), *shown(cpu), repeats))
    sums = [[sum(pair[which] for pair in run["steps"].values()) for run in runs] for which in (0, 1)]
    rows.append(("in all", *shown(sums[0]), *shown(sums[1]), repeats))
    loaded, added = set(runs[0]["loaded"]), runs[0]["added"]
    heavy = sorted(loaded.intersection(HEAVY))
    notes = [
        f"goal: {GOAL_MS} ms in all",
        f"of {', '.join(HEAVY)}, loaded: {', '.join(heavy) or 'none'}",
        f"modules that came with the panels: {', '.join(added)}",
    ]
    columns = ("", "wall ms", "least", "CPU ms", "least", "n")
    return [harness.Table("Added to Slicer's start", columns, rows, notes)]


def shown(seconds: Any) -> tuple[str, str]:
    return f"{harness.median(seconds) * 1000:.1f}", f"{min(seconds) * 1000:.1f}"


def in_fresh_process() -> dict[str, Any]:
    command = [sys.executable, "-c", CHILD, *PANELS]
    done = subprocess.run(command, cwd=harness.BENCHMARKS, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    harness.main(measure, repeats=5)
