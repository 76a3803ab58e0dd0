"""The health check: what MedDL needs of this computer, what was found, and what to do about the difference."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from meddl import computer

from meddl_slicer import packages
from meddl_slicer.i18n import tr as _

State = Literal["ok", "warning", "missing"]

_GIB = 1 << 30
_MEMORY_NEEDED = 8 * _GIB
_DISK_NEEDED = 5 * _GIB
_GPU_MEMORY_NEEDED = 4 * _GIB


@dataclass(frozen=True)
class Finding:
    """One line of the health check; ``advice`` is empty when all is well."""

    what: str
    found: str
    needed: str
    state: State
    advice: str = ""


def check(cache_folder: Path, slicer_version: str = "") -> list[Finding]:
    """Look at everything MedDL needs. Imports nothing heavy, installs nothing, takes well under a second."""
    return [
        _python(),
        *([_slicer(slicer_version)] if slicer_version else []),
        *_system_traps(),
        _memory(),
        _disk(cache_folder),
        _torch(),
        _gpu(),
        *(_package(package) for package in packages.packages()),
    ]


def report(findings: list[Finding]) -> str:
    """Return the findings as plain text for a support request. Holds no names of people, files or folders."""
    lines = [f"MedDL health check, {platform.platform()}"]
    marks = {"ok": "ok     ", "warning": "warning", "missing": "MISSING"}
    for finding in findings:
        line = f"[{marks[finding.state]}] {finding.what}: {finding.found}"
        lines.append(line + (f" (needed: {finding.needed})" if finding.needed else ""))
        if finding.advice:
            lines.append(f"          {finding.advice}")
    return "\n".join(lines)


def _python() -> Finding:
    good = sys.version_info >= (3, 11)
    advice = "" if good else _("Update Slicer to 5.12 or later.")
    return Finding("Python", platform.python_version(), "3.11", "ok" if good else "missing", advice)


def _slicer(version: str) -> Finding:
    numbers = tuple(int(part) for part in version.split("-")[0].split(".")[:2] if part.isdigit())
    good = numbers >= (5, 12)
    advice = "" if good else _("Update Slicer to 5.12 or later.")
    return Finding("3D Slicer", version, "5.12", "ok" if good else "warning", advice)


def _system_traps() -> list[Finding]:
    found = []
    if computer.runs_translated():
        found.append(
            Finding(
                _("Processor"), _("Apple, running Slicer for Intel"), "", "warning",
                _("There is no current PyTorch for Intel Macs. Install the Apple silicon (arm64) build of Slicer."),
            )
        )  # fmt: skip
    if computer.long_paths_forbidden():
        found.append(
            Finding(
                _("Long paths"), _("off"), _("on"), "warning",
                _("Windows refuses paths above 260 characters, on which installing PyTorch can fail halfway. Ask your "
                  "administrator to enable long paths, or install Slicer into a short folder."),
            )
        )  # fmt: skip
    return found


def _memory() -> Finding:
    total, free = computer.memory()
    found = _("{total} in all").format(total=size_text(total))
    if free:
        found += ", " + _("{free} free").format(free=size_text(free))
    good = total >= _MEMORY_NEEDED * 0.9  # a computer sold with 8 GB shows a little less
    advice = "" if good else _("Large images may not fit: close other programs or crop the image first.")
    return Finding(_("Memory"), found, size_text(_MEMORY_NEEDED), "ok" if good else "warning", advice)


def _disk(folder: Path) -> Finding:
    free = computer.free_disk(folder)
    good = free >= _DISK_NEEDED
    advice = "" if good else _("Models and packages may not fit: make room on the disk of the cache folder.")
    found = _("{free} free").format(free=size_text(free))
    return Finding(_("Disk for models"), found, size_text(_DISK_NEEDED), "ok" if good else "warning", advice)


def _torch() -> Finding:
    torch = packages.torch_package()
    if torch.usable:
        return Finding("PyTorch", torch.installed, _least(torch), "ok")
    if not torch.installed:
        found, advice = _("not installed"), _('Press "Install missing packages".')
    elif not torch_is_whole(torch):
        found = _("{version}, incomplete").format(version=torch.installed)
        advice = _(
            "An installation was interrupted: uninstall PyTorch in the PyTorch Utils module, restart, try again."
        )
    else:
        found, advice = torch.installed, _("Too old: install a newer one in the PyTorch Utils module.")
    if not packages.plan_installation().has_pytorch_extension:
        advice = packages.how_to_get_pytorch()
    return Finding("PyTorch", found, _least(torch), "missing", advice)


def torch_is_whole(torch: packages.Package) -> bool:
    """Whether an unusable PyTorch is at least complete, that is merely too old."""
    import importlib.util

    spec = importlib.util.find_spec("torch")
    return bool(torch.installed) and spec is not None and spec.origin is not None


def _gpu() -> Finding:
    found = computer.gpus()
    if not found:
        text = _("none (the processor is used)")
        return Finding("GPU", text, _("optional"), "ok")
    text = "; ".join(f"{gpu.name}{f' ({size_text(gpu.memory)})' if gpu.memory else ''}" for gpu in found)
    torch = packages.torch_package().installed
    if found[0].id.startswith("cuda") and torch.endswith("+cpu"):
        advice = _(
            "PyTorch is the build for the processor only. Reinstall it in the PyTorch Utils module to use the GPU."
        )
        return Finding("GPU", text, _("optional"), "warning", advice)
    if all(0 < gpu.memory < _GPU_MEMORY_NEEDED for gpu in found):
        advice = _("Little GPU memory: big models may fall back to the processor.")
        return Finding("GPU", text, size_text(_GPU_MEMORY_NEEDED), "warning", advice)
    return Finding("GPU", text, _("optional"), "ok")


def _package(package: packages.Package) -> Finding:
    if package.usable:
        return Finding(package.name, package.installed, _least(package), "ok")
    return Finding(
        package.name,
        package.installed or _("not installed"),
        _least(package),
        "missing",
        _('Press "Install missing packages".'),
    )


def _least(package: packages.Package) -> str:
    """Return the oldest version that does, as people write it."""
    return package.needed.removeprefix(">=")


def size_text(size: int) -> str:
    """Return a number of bytes for people: "12 kB", "850 MB", "7.9 GB"."""
    if 0 < size < 1 << 20:
        return f"{max(1, round(size / 1024))} kB"
    if size >= 10 * _GIB:
        return f"{size / _GIB:.0f} GB"
    if size >= _GIB:
        return f"{size / _GIB:.1f} GB"
    return f"{size / (1 << 20):.0f} MB"
