"""What this computer has: memory, disk, GPUs. Asks the system, never torch, so that it is safe inside Slicer."""

from __future__ import annotations

import ctypes
import functools
import logging
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

logger = logging.getLogger(__name__)

#: With this in its environment, torch numbers the GPUs as nvidia-smi does.
GPU_ORDER = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


@dataclass(frozen=True)
class Gpu:
    """A graphics processor: ``id`` for the device parameter ("cuda:0", "mps"), memory in bytes (0: unknown)."""

    id: str
    name: str
    memory: int = 0
    driver: str = ""


@functools.lru_cache(maxsize=1)
def gpus() -> tuple[Gpu, ...]:
    """Return the GPUs that torch could use, in its order. Asked once; ``gpus.cache_clear()`` asks again."""
    if sys.platform == "darwin":
        return (Gpu("mps", "Apple GPU"),) if platform.machine() == "arm64" else ()
    found = _from_nvidia_smi()
    if found is None:
        found = _from_driver()
    return _visible(found, os.environ.get("CUDA_VISIBLE_DEVICES"))


def memory() -> tuple[int, int]:
    """Return total and free main memory in bytes; 0 where the system does not tell (macOS: what is free)."""
    if sys.platform == "win32":
        return _windows_memory()
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return total, _linux_available_memory()


def free_disk(folder: Path) -> int:
    """Return the free bytes on the disk that holds ``folder``, which need not exist yet."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def runs_translated() -> bool:
    """Whether this is an Intel program on an Apple processor, for which there is no current PyTorch."""
    if sys.platform != "darwin" or platform.machine() != "x86_64":
        return False
    answer = _run(["sysctl", "-n", "sysctl.proc_translated"])
    return answer is not None and answer.strip() == "1"


def long_paths_forbidden() -> bool:
    """Whether Windows refuses paths above 260 characters, on which installing PyTorch fails halfway."""
    if sys.platform != "win32":
        return False
    import winreg

    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, r"SYSTEM\CurrentControlSet\Control\FileSystem") as key:
            return winreg.QueryValueEx(key, "LongPathsEnabled")[0] != 1
    except OSError:
        return True


def _from_nvidia_smi() -> tuple[Gpu, ...] | None:
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    answer = _run([program, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits"])
    if answer is None:
        return None
    found: list[Gpu] = []
    for line in answer.splitlines():
        fields = [field.strip() for field in line.split(",")]
        if len(fields) == 3:
            size = int(fields[1]) << 20 if fields[1].isdigit() else 0
            found.append(Gpu(f"cuda:{len(found)}", fields[0], size, fields[2]))
    return tuple(found)


def _from_driver() -> tuple[Gpu, ...]:
    """Ask the CUDA driver library itself, for computers on which nvidia-smi is not on the path."""
    try:
        cuda = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return ()
    count = ctypes.c_int()
    if cuda.cuInit(0) != 0 or cuda.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return ()
    found: list[Gpu] = []
    for index in range(count.value):
        device, name, size = ctypes.c_int(), ctypes.create_string_buffer(256), ctypes.c_size_t()
        cuda.cuDeviceGet(ctypes.byref(device), index)
        cuda.cuDeviceGetName(name, len(name), device)
        cuda.cuDeviceTotalMem_v2(ctypes.byref(size), device)
        found.append(Gpu(f"cuda:{index}", name.value.decode(errors="replace"), size.value))
    return tuple(found)


def _visible(found: tuple[Gpu, ...], shown: str | None) -> tuple[Gpu, ...]:
    """Select and renumber as CUDA does when CUDA_VISIBLE_DEVICES is ``shown``."""
    if shown is None:
        return found
    chosen = []
    for entry in shown.split(","):
        # What is no number of a GPU ("-1", "", 7 of 2) ends the list; names (GPU-..., MIG-...) are not resolved here.
        if not entry.strip().isdigit() or int(entry) >= len(found):
            break
        chosen.append(found[int(entry)])
    return tuple(Gpu(f"cuda:{index}", gpu.name, gpu.memory, gpu.driver) for index, gpu in enumerate(chosen))


def _linux_available_memory() -> int:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def _windows_memory() -> tuple[int, int]:
    class Status(ctypes.Structure):
        _fields_ = [
            ("length", ctypes.c_uint32),
            ("load", ctypes.c_uint32),
            *[
                (name, ctypes.c_uint64)
                for name in ("total", "free", "page", "page_free", "virtual", "virtual_free", "x")
            ],
        ]

    status = Status()
    status.length = ctypes.sizeof(status)
    ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))  # type: ignore[attr-defined,unused-ignore]
    return status.total, status.free


def _run(command: list[str]) -> str | None:
    flags = getattr(subprocess, "CREATE_NO_WINDOW", 0)
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=10, check=True, creationflags=flags
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        logger.debug("%s: %s", command[0], error)
        return None


def peak_memory() -> int:
    """Return the most main memory this process has had so far, in bytes; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
