"""The host's command line, which is the part of Slicer's that tests need.

    python -m host --testing --no-main-window --additional-module-paths DIR... --python-script FILE [args]

Modules in the given folders are loaded at startup, then startup is announced, then the script runs inside the event
loop. With `--testing` the program ends when the script returns; `slicer.util.exit(code)` and `sys.exit(code)` set the
exit code, an error that leaves the script makes it 1.
"""

from __future__ import annotations

import argparse
import logging
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from . import startup


def main(arguments: Sequence[str]) -> int:
    """Runs the host and returns its exit code."""
    options = _parse(arguments)
    slicer = startup.start(testing=options.testing, startup_completed=False)
    slicer.app.commandOptions().noMainWindow = options.no_main_window
    _load_modules(options.additional_module_paths)
    slicer.app.startupCompleted.emit()
    if options.python_code is not None:
        _run_in_event_loop(lambda: exec(compile(options.python_code, "<string>", "exec"), _main_namespace()))
    if options.python_script is not None:
        sys.argv = [str(options.python_script), *options.script_arguments]
        _run_in_event_loop(lambda: _run_file(options.python_script))
    code = slicer.app.exec()
    slicer.app.moduleManager().factoryManager().unloadModules()
    sys.stdout.flush()
    return int(code)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m host", description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--testing", action="store_true", help="no message boxes; exit when the script returns")
    parser.add_argument("--no-main-window", action="store_true", help="always so in the host")
    parser.add_argument("--no-splash", action="store_true", help="always so in the host")
    parser.add_argument("--additional-module-paths", nargs="+", type=Path, default=[], metavar="DIR")
    parser.add_argument("--python-code", metavar="CODE")
    parser.add_argument("--python-script", type=Path, metavar="FILE", help="what follows goes to the script")
    arguments = list(arguments)
    script_arguments: list[str] = []
    if "--python-script" in arguments:
        end = arguments.index("--python-script") + 2
        arguments, script_arguments = arguments[:end], arguments[end:]
    options = parser.parse_args(arguments)
    if not options.no_main_window:
        parser.error("the host has no main window: give --no-main-window")
    options.script_arguments = script_arguments
    return options


def _load_modules(folders: Sequence[Path]) -> None:
    """As in Slicer, a module that fails to load is reported and left out."""
    for folder in folders:
        for file in startup.find_modules(folder):
            try:
                startup.load_module(file)
            except Exception:
                logging.exception("Failed to load the module %s", file)


def _main_namespace() -> dict[str, object]:
    namespace = vars(sys.modules["__main__"])
    namespace["__name__"] = "__main__"
    return namespace


def _run_file(file: Path) -> None:
    namespace = _main_namespace()
    namespace["__file__"] = str(file)
    exec(compile(file.read_text(encoding="utf-8"), str(file), "exec"), namespace)


def _run_in_event_loop(script: Callable[[], None]) -> None:
    """Lets the event loop run the script; its end is the program's end in testing mode."""
    import qt
    import slicer

    def run() -> None:
        code: int | None = None
        try:
            script()
        except SystemExit as leaving:
            code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
        except Exception:
            traceback.print_exc()
            code = 1
        if code is not None:
            slicer.app.exit(code)
        elif slicer.app.commandOptions().runPythonAndExit:
            slicer.app.exit(0)

    qt.QTimer.singleShot(0, run)
