"""Runs the self-tests of modules, in a real Slicer and in the host alike:

    Slicer --testing --no-main-window --additional-module-paths DIR... --python-script run_self_tests.py ModuleA ModuleB
    python -m host (the same)

Each module's test class runs as Slicer's own "Test" button runs it, through `slicer.selfTests`. Prints one line per
module and a last line "N passed, N failed"; the exit code tells whether all passed.
"""

from __future__ import annotations

import sys
import time
import traceback
from pathlib import Path

import slicer

REPOSITORY = Path(__file__).resolve().parents[2]


def load(name: str) -> None:
    """Loads a module of this repository, unless Slicer found it at startup."""
    import qt

    manager = slicer.app.moduleManager().factoryManager()
    if manager.isLoaded(name):
        return
    file = REPOSITORY / "MedDLExtension" / name / f"{name}.py"
    if not file.is_file():
        raise RuntimeError(f"There is no module '{name}': it is neither loaded nor in {file.parent}")
    manager.registerModule(qt.QFileInfo(str(file)))
    if not manager.loadModules([name]) or not manager.isLoaded(name):
        raise RuntimeError(f"The module '{name}' could not be loaded from {file}")


def run(name: str) -> bool:
    """Runs one module's self-test and prints how it ended."""
    started = time.monotonic()
    try:
        load(name)
        slicer.mrmlScene.Clear(0)
        slicer.selfTests[name](msec=1)
        slicer.app.processEvents()
    except Exception:
        traceback.print_exc()
        outcome = "FAILED"
    else:
        outcome = "passed"
    say(f"{name}: {outcome} in {time.monotonic() - started:.1f} s")
    return outcome == "passed"


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(names: list[str]) -> int:
    outcomes = [run(name) for name in names]
    say(f"{outcomes.count(True)} passed, {outcomes.count(False)} failed")
    return 0 if outcomes and all(outcomes) else 1


slicer.util.exit(main(sys.argv[1:]))
