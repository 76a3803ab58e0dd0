"""nnU-Net itself, for tests: installed into the cache of the test data, beside the Python that runs the tests and never
into it. A fresh cache takes half a minute and 60 MB of downloads, once.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

import pytest
import realdata
from filelock import FileLock
from meddl.models.package_source import pip_environment

_PACKAGES = Path(__file__).with_name("nnunet_packages.txt")
_SCRIPT = Path(__file__).with_name("nnunet_requests.py")


class NnUNetRefused(Exception):
    """nnU-Net raised an error; the text is all it said."""


def verify(folder: Path) -> str:
    """Run nnU-Net's own ``verify_dataset_integrity`` and return what it printed.

    Raises:
        NnUNetRefused: it does not take the dataset.
    """
    return str(_asked(do="verify", folder=str(folder))["said"])


def convert_decathlon(folder: Path, raw: Path) -> Path:
    """Run nnU-Net's own converter of Decathlon datasets and return the dataset it made below ``raw``."""
    _asked(do="convert", folder=str(folder), raw=str(raw))
    (made,) = raw.glob("Dataset*")
    return made


def plan(folder: Path, preprocessed: Path) -> Path:
    """Run nnU-Net's own extraction of the fingerprint and planning, and return the folder with both."""
    _asked(do="plan", folder=str(folder), preprocessed=str(preprocessed))
    return preprocessed / folder.name


def packages() -> Path:
    """Return the folder with nnU-Net, for ``PYTHONPATH`` or the end of ``sys.path``.

    Skips the test where the packages cannot be had.
    """
    folder, reason = _installed()
    if reason:
        pytest.skip(f"nnU-Net's packages could not be had: {reason}")
    return folder


@functools.cache
def _installed() -> tuple[Path, str]:
    """Return the folder and why it is not there; asked once, since a computer without network takes its time."""
    made_for = _PACKAGES.read_text() + sys.version.partition(" ")[0].rpartition(".")[0] + sysconfig.get_platform()
    folder = realdata.cache() / f"nnunet-{hashlib.sha256(made_for.encode()).hexdigest()[:12]}"
    realdata.cache().mkdir(parents=True, exist_ok=True)
    with FileLock(realdata.cache() / ".nnunet-lock"):
        return folder, "" if folder.is_dir() else _install(folder)


def _install(folder: Path) -> str:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".nnunet-") as scratch:
        done = subprocess.run(
            [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "-q", "install", "--no-deps",
             "--target", str(Path(scratch) / "packages"), "-r", str(_PACKAGES)],
            capture_output=True, text=True, env=pip_environment(),
        )  # fmt: skip
        if done.returncode:
            return done.stderr.strip()[-300:] or "pip failed"
        (Path(scratch) / "packages").replace(folder)
    return ""


@functools.cache
def _process() -> subprocess.Popen[str]:
    """One process answers all requests: importing nnU-Net takes longer than most of them."""
    environment = os.environ | {"PYTHONPATH": str(packages()), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, str(_SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    atexit.register(process.kill)
    return process


def _asked(**request: str) -> dict[str, Any]:
    process = _process()
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(json.dumps(request) + "\n")
    process.stdin.flush()
    line = process.stdout.readline()
    assert line, "nnU-Net's process ended"
    answer: dict[str, Any] = json.loads(line)
    if answer["error"]:
        raise NnUNetRefused(f"{answer['error']}\n{answer['said']}")
    return answer
