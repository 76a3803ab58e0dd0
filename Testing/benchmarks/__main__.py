"""Runs benchmarks by name, all of them by default: `python Testing/benchmarks [NAME ...] [--json FILE] [--list]`."""

from __future__ import annotations

import argparse
import ast
import json
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
SCRIPTS = {path.stem.removeprefix("bench_"): path for path in sorted(FOLDER.glob("bench_*.py"))}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SCRIPTS)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there, too")
    parser.add_argument("--list", action="store_true", help="tell what there is and run nothing")
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in SCRIPTS]:
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(SCRIPTS)}")
    if options.list:
        for name, path in SCRIPTS.items():
            summary = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").splitlines()[0]
            print(f"{name:14} {summary}")
        return 0
    figures, failed = {}, []
    with tempfile.TemporaryDirectory() as scratch:
        for name in options.names or SCRIPTS:
            print(f"== {name}", flush=True)
            # Each in a process of its own: none inherits what another has imported or warmed up.
            part = Path(scratch) / f"{name}.json"
            code = subprocess.run([sys.executable, SCRIPTS[name], "--json", part], check=False).returncode
            if code:
                failed.append(name)
            else:
                figures[name] = json.loads(part.read_text())
            print(flush=True)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))
    if failed:
        print(f"FAILED: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
