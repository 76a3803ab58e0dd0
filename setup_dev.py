"""The one entry on a fresh machine: makes `.venv` from the lock file, then runs what was asked in it.

    python3 setup_dev.py demo                  segment a real head without Slicer; results in demo/
    python3 setup_dev.py test                  everything CI runs: ruff, mypy, import-linter, pytest
    python3 setup_dev.py test Testing/core -k volume       only pytest, with these arguments
    python3 setup_dev.py test --slow           with the tests that take minutes
    python3 setup_dev.py test --slicer PATH    the panels' self-tests in a real Slicer
    python3 setup_dev.py bench [NAME ...]      the benchmarks, all or by name; --list tells what there is
    python3 setup_dev.py train [ID ...]        the demo models anew, all or by id; --list tells what there is
    python3 setup_dev.py python [ARGS ...]     Python with everything installed, e.g. `python -m meddl doctor`

Standard library only; Python 3.11 to 3.13 on Linux, macOS and Windows. Interrupted, it continues where it was.
The environment is `.venv` beside this file, or the folder that MEDDL_VENV names. pip's own settings (index, proxy,
cache) are respected: whoever wants another build of torch, a CUDA one or a CPU one, sets them.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import importlib.util
import json
import os
import queue
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent
REQUIREMENTS = ROOT / "requirements"
VENV = Path(os.environ.get("MEDDL_VENV") or ROOT / ".venv").expanduser().absolute()
STAMP = VENV / "meddl-setup.json"
PYTHONS = ((3, 11), (3, 13))
# Each stage is installed as a whole, in this order: torch first, so that no package pulls another build of it.
STAGES = ("torch", "core", "slicer", "test")
FREE_DISK_GB = 4.0

# What PySide6's and VTK's wheels need from Linux itself: library -> Debian and Ubuntu package.
LINUX_LIBRARIES = {
    "libEGL.so.1": "libegl1",
    "libGL.so.1": "libgl1",
    "libX11.so.6": "libx11-6",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libdbus-1.so.3": "libdbus-1-3",
    "libfontconfig.so.1": "libfontconfig1",
    "libfreetype.so.6": "libfreetype6",
    "libglib-2.0.so.0": "libglib2.0-0",
}


# A line of pip's that tells of a whole package, not only of its metadata.
PIP_PACKAGE = re.compile(
    r"\s*(?:Downloading|Using cached|Processing) (?:\S*/)?([\w.]+)-([\w.+]+)-\S*\.whl(?!\.)( \(\d.*\))?"
)
NO_NETWORK = re.compile(
    "name resolution|getaddrinfo|NewConnectionError|Max retries|ConnectTimeout|ReadTimeout|unreachable|ProxyError|"
    "SSLError|Retrying \\("
)


class SetupError(Exception):
    """Something is missing on this machine; the message says what, and what to do."""


def say(text: str) -> None:
    print(text, flush=True)


# --- What the machine must have ---------------------------------------------------------------------------------------


def check_python(version: tuple[int, int] = sys.version_info[:2]) -> None:
    oldest, newest = PYTHONS
    if oldest <= version <= newest:
        return
    suitable = [f"python{oldest[0]}.{minor}" for minor in range(oldest[1], newest[1] + 1)]
    found = next((name for name in suitable if shutil.which(name)), None)
    why = "too old" if version < oldest else "newer than the packages MedDL needs are built for"
    now = f"Run it with the {found} that is on this machine." if found else "Install Python 3.12."
    raise SetupError(
        f"This is Python {version[0]}.{version[1]}, which is {why}: MedDL needs {oldest[0]}.{oldest[1]} to "
        f"{newest[0]}.{newest[1]}. {now}"
    )


def may_install_system_packages() -> bool:
    """Only on a CI machine that is ours to change; elsewhere the user is told the command."""
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    return bool(os.environ.get("CI")) and is_root and shutil.which("apt-get") is not None


def install_system_packages(packages: list[str]) -> None:
    say(f"Installing with apt-get: {' '.join(packages)}")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", *packages]):
        run = subprocess.run(["apt-get", *arguments], env=environment, capture_output=True, text=True, check=False)
        if run.returncode:
            raise SetupError(f"apt-get {arguments[0]} failed:\n{run.stdout[-1500:]}{run.stderr[-1500:]}")


def missing_libraries() -> list[str]:
    def loads(name: str) -> bool:
        try:
            ctypes.CDLL(name)
        except OSError:
            return False
        return True

    return [name for name in LINUX_LIBRARIES if not loads(name)] if sys.platform.startswith("linux") else []


def check_libraries() -> None:
    missing = missing_libraries()
    packages = [LINUX_LIBRARIES[name] for name in missing]
    if missing and may_install_system_packages():
        install_system_packages(packages)
        missing = missing_libraries()
    if missing:
        raise SetupError(
            f"These system libraries are missing, which Qt and VTK need: {', '.join(missing)}.\n"
            f"On Debian or Ubuntu:  sudo apt install {' '.join(packages)}\n"
            "Elsewhere, install the packages that hold them, then run this again."
        )


def check_venv_module() -> None:
    if all(importlib.util.find_spec(name) for name in ("venv", "ensurepip")):
        return
    package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
    if may_install_system_packages():
        install_system_packages([package])
    else:
        raise SetupError(
            f"This Python ({sys.executable}) cannot make virtual environments: venv or ensurepip is missing.\n"
            f"On Debian or Ubuntu:  sudo apt install {package}"
        )


def check_disk(needed_gb: float = FREE_DISK_GB) -> None:
    folder = next(parent for parent in (VENV, *VENV.parents) if parent.exists())
    free_gb = shutil.disk_usage(folder).free / 1e9
    if free_gb < needed_gb:
        raise SetupError(
            f"Only {free_gb:.1f} GB are free at {folder}; the environment needs {needed_gb:.0f} GB (10 GB with a CUDA "
            "build of torch). Free some space, or let MEDDL_VENV name a folder on another disk."
        )


# --- The environment --------------------------------------------------------------------------------------------------


def venv_python() -> Path:
    return VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def read_stamp() -> dict[str, str]:
    """What is finished in `.venv`: stage -> digest of what it was made from."""
    try:
        return dict(json.loads(STAMP.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def write_stamp(stamp: dict[str, str]) -> None:
    VENV.mkdir(parents=True, exist_ok=True)
    unfinished = STAMP.with_suffix(".part")
    unfinished.write_text(json.dumps(stamp, indent=1), encoding="utf-8")
    unfinished.replace(STAMP)


def digest(*paths: Path) -> str:
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in paths)).hexdigest()


def make_venv() -> None:
    """Makes `.venv` unless it is there, whole and of this Python; a half-made one of ours is made anew."""
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    stamp = read_stamp()
    if stamp.get("python") == python and venv_works():
        return
    if VENV.exists() and any(VENV.iterdir()):
        if not STAMP.exists():
            raise SetupError(
                f"{VENV} exists but was not made by setup_dev.py. Move it away, or let MEDDL_VENV name another folder."
            )
        say(f"{VENV} is unfinished or of another Python: making it anew.")
        shutil.rmtree(VENV)
    check_venv_module()
    check_disk()
    say(f"Making {VENV} with Python {python}")
    write_stamp({})
    run = subprocess.run([sys.executable, "-m", "venv", str(VENV)], capture_output=True, text=True, check=False)
    if run.returncode:
        raise SetupError(explain(run.stdout + run.stderr, f"Making {VENV} failed"))
    write_stamp({"python": python})


def venv_works() -> bool:
    try:
        command = [str(venv_python()), "-m", "pip", "--version"]
        run = subprocess.run(command, capture_output=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return run.returncode == 0


def install(stages: tuple[str, ...]) -> None:
    stamp, lock = read_stamp(), REQUIREMENTS / "lock.txt"
    todo = []
    for stage in stages:
        # A stage made anew may have moved packages of the later ones: these are looked through again too (quick).
        if todo or stamp.get(stage) != digest(lock, REQUIREMENTS / f"{stage}.txt"):
            todo.append(stage)
    for number, stage in enumerate(todo, 1):
        note = ""
        if stage == "torch" and sys.platform.startswith("linux"):
            note = " (about 0.2 GB as a CPU build, 3 GB as a CUDA build: your pip settings decide)"
        say(f"Installing {stage} [{number}/{len(todo)}]{note}")
        pip_install(["-r", str(REQUIREMENTS / f"{stage}.txt"), "-c", str(lock)])
        write_stamp(read_stamp() | {stage: digest(lock, REQUIREMENTS / f"{stage}.txt")})
    add_source_tree()


def add_source_tree() -> None:
    """Puts `meddl` and `meddl_slicer` of this source tree on the environment's path."""
    query = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = subprocess.run([str(venv_python()), "-c", query], capture_output=True, text=True, check=True).stdout.strip()
    (Path(site) / "meddl-source.pth").write_text(str(ROOT / "MedDLExtension" / "MedDLCore") + "\n", encoding="utf-8")


def pip_install(arguments: list[str]) -> None:
    """pip with a line per package, a sign of life during long downloads, and its whole output in `.venv/setup.log`."""
    # Wheels only: a machine without a compiler gets a clear message instead of a failing build.
    command = [str(venv_python()), "-m", "pip", "install", "--progress-bar", "off", "--no-input", "--retries", "3"]
    command += ["--disable-pip-version-check", "--only-binary", ":all:", *arguments]
    started, shown, lines = time.monotonic(), 0, []
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8", errors="replace"
    )
    arriving: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        for line in process.stdout or ():
            arriving.put(line)
        arriving.put(None)

    threading.Thread(target=read, daemon=True).start()
    try:
        with (VENV / "setup.log").open("a", encoding="utf-8") as log:
            while True:
                try:
                    line = arriving.get(timeout=20)
                except queue.Empty:
                    say(f"    ... still at it, {time.monotonic() - started:.0f} s")
                    continue
                if line is None:
                    break
                log.write(line)
                lines.append(line)
                if package := PIP_PACKAGE.match(line):
                    shown += 1
                    say(f"  {shown:3d}  {package[1]} {package[2]}{package[3] or ''}")
                elif line.startswith("Installing collected packages:"):
                    say(f"       unpacking {line.count(',') + 1} packages")
    except BaseException:
        process.kill()
        raise
    if process.wait():
        raise SetupError(explain("".join(lines), "pip could not install the packages"))


def explain(output: str, what: str) -> str:
    """One clear sentence for the usual failures of pip and venv, the end of their output for the others."""
    log = f"All of pip's output is in {VENV / 'setup.log'}."
    if re.search(r"No space left on device|Errno 28|not enough space", output):
        return f"{what}: the disk is full. Free some space (or let MEDDL_VENV name another disk), run it again. {log}"
    if NO_NETWORK.search(output):
        return (
            f"{what}: the package index was not reached. Is there a network, and does pip know the proxy "
            f"(`pip config list`)? Run it again, it continues where it was. {log}"
        )
    lacking = re.search(r"No matching distribution found for (\S+)", output)
    if lacking:
        return (
            f"{what}: there is no ready-built {lacking[1]} for Python {sys.version_info[0]}.{sys.version_info[1]} "
            f"on this kind of machine. Try Python 3.11 or 3.12. {log}"
        )
    return f"{what}:\n{output[-2000:]}\n{log}"


def environment() -> dict[str, str]:
    """For what runs in `.venv`: its programs first on PATH, no window system needed."""
    variables = os.environ | {"PATH": f"{venv_python().parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    if sys.platform.startswith("linux"):
        variables.setdefault("QT_QPA_PLATFORM", "offscreen")
    if shutil.which("ninja", path=str(venv_python().parent)) and not shutil.which("make"):
        variables.setdefault("CMAKE_GENERATOR", "Ninja")
    return variables


def prepare(test_tools: bool = True) -> None:
    check_libraries()
    make_venv()
    stages = STAGES if test_tools else STAGES[:-1]
    install((*stages, "cmake") if test_tools and not shutil.which("cmake") else stages)


# --- Commands ---------------------------------------------------------------------------------------------------------


CHECKS = {
    "ruff": ("-m", "ruff", "check", "."),
    "mypy": ("-m", "mypy"),
    "import-linter": ("-c", "from importlinter.cli import lint_imports_command; lint_imports_command()", "--no-logo"),
}


def run(*command: object, **variables: str) -> int:
    """Runs Python of `.venv` with these arguments in the repository; its exit status."""
    words = [str(venv_python()), *map(str, command)]
    return subprocess.run(words, cwd=ROOT, env=environment() | variables, check=False).returncode


def demo(_: argparse.Namespace) -> int:
    prepare(test_tools=False)
    return run("Testing/demo/run_demo.py", ROOT / "demo")


def test(options: argparse.Namespace) -> int:
    executable = Path(options.slicer or "").expanduser().resolve()
    if options.slicer and not executable.is_file():
        raise SetupError(f"--slicer must name the Slicer program itself; there is no file {executable}.")
    prepare()
    if options.slicer:
        self_tests = ("-m", "pytest", "Testing/panels/test_self_tests.py", *options.arguments)
        return run(*self_tests, SLICER_EXECUTABLE=str(executable))
    failed = []
    if not options.arguments:
        for name, command in CHECKS.items():
            say(f"== {name}")
            if run(*command):
                failed.append(name)
    say("== pytest")
    # pytest's closing line comes last when all is well: that is what CI reads.
    all_speeds = ("-m", "slow or not slow") if options.slow else ()  # pyproject.toml leaves the slow ones out
    # One process per core, each with one thread: torch's threads would only get in each other's way. Files are begun in
    # the order of Testing/conftest.py.
    spread = ("-n", str(min(4, os.cpu_count() or 1)), "--dist", "loadfile", "--no-loadscope-reorder")
    spread = spread if not options.arguments else ()
    if run("-m", "pytest", *spread, *all_speeds, *options.arguments, OMP_NUM_THREADS="1"):
        failed.append("pytest")
    if failed:
        say(f"FAILED: {', '.join(failed)}")
    return 1 if failed else 0


def bench(options: argparse.Namespace) -> int:
    prepare()
    return run("Testing/benchmarks", *options.arguments)


def train(options: argparse.Namespace) -> int:
    prepare()
    return run("Testing/demo_models", *options.arguments)


def python(options: argparse.Namespace) -> int:
    prepare(test_tools=False)
    return run(*options.arguments)


def parser() -> argparse.ArgumentParser:
    summary, usage = (__doc__ or "").split("\n\n", 1)
    main_parser = argparse.ArgumentParser(
        prog="setup_dev.py", description=summary, epilog=usage, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = main_parser.add_subparsers(required=True, metavar="demo|test|bench|train|python")
    commands.add_parser("demo", help="segment a real head; results in demo/").set_defaults(command=demo)
    everything = "everything CI runs, or pytest with the arguments given"
    test_parser = commands.add_parser("test", allow_abbrev=False, help=everything)
    test_parser.add_argument("--slow", action="store_true", help="also the tests that take minutes")
    test_parser.add_argument("--slicer", metavar="PATH", help="the panels' self-tests in this real Slicer")
    test_parser.set_defaults(command=test)
    commands.add_parser("bench", help="the benchmarks, all or by name").set_defaults(command=bench)
    commands.add_parser("train", help="the demo models anew, all or by id").set_defaults(command=train)
    commands.add_parser("python", help="Python with everything installed", add_help=False).set_defaults(command=python)
    return main_parser


def main(words: list[str]) -> int:
    # argparse would take pytest's and Python's own options for ours: what it does not know is passed on.
    if words[:1] == ["python"]:
        options, rest = parser().parse_args(["python"]), words[1:]
    else:
        options, rest = parser().parse_known_args(words)
    if rest and options.command is demo:
        parser().error(f"unknown arguments: {' '.join(rest)}")
    options.arguments = rest
    try:
        check_python()
        return int(options.command(options))
    except SetupError as error:
        print(f"\nsetup_dev.py: {error}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        print("\nsetup_dev.py: interrupted; run it again and it continues where it was.", file=sys.stderr, flush=True)
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
