"""``meddl doctor``: what this computer has for running models, and what is missing."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
from typing import Any

import meddl

NEEDED = ("torch", "monai", "numpy", "scipy", "einops", "scikit-image", "SimpleITK", "pynrrd", "pydicom", "nibabel",
          "safetensors", "PyYAML", "jsonschema", "highdicom", "connected-components-3d", "isal", "pillow",
          "dicom-anonymizer", "matplotlib", "captum")  # fmt: skip
_GIB = 1 << 30


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command."""
    parser = commands.add_parser("doctor", parents=[common], help="tell what this computer has and what is missing")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; 1 when something needed is missing."""
    facts = examine()
    if options.json:
        print(json.dumps(facts, indent=2))
    else:
        for name in ("meddl", "python", "system", "processor", "memory", "disk", "devices"):
            print(f"{name + ':':14} {facts[name]}")
        for name, version in facts["packages"].items():
            print(f"{name + ':':14} {version or 'MISSING'}")
        if facts["missing"]:
            print(f"Missing: install {' '.join(facts['missing'])}.")
    return 1 if facts["missing"] else 0


def examine() -> dict[str, Any]:
    """Return what was found as JSON-able data; it names no user, folder or file."""
    from meddl import computer
    from meddl.models import cache_dir

    packages = {name: _version(name) for name in NEEDED}
    missing = [name for name, version in packages.items() if version is None]
    total, free = computer.memory()
    return {
        "meddl": meddl.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": f"{platform.machine()}, {os.cpu_count()} cores",
        "memory": f"{total / _GIB:.1f} GiB in all" + (f", {free / _GIB:.1f} GiB free" if free else ""),
        "disk": f"{computer.free_disk(cache_dir()) / _GIB:.1f} GiB free for models",
        "devices": _devices() if packages["torch"] else "",
        "packages": packages,
        "missing": missing,
    }


def _devices() -> str:
    from meddl.inference.device import available_devices

    return "; ".join(f"{device.id} ({device.name})" for device in available_devices())


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
