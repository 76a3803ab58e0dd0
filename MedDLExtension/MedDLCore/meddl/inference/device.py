"""Which processor runs the network."""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from meddl.errors import UsageError

if TYPE_CHECKING:
    import torch

_NAME = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


@dataclass(frozen=True)
class DeviceInfo:
    """A device one can choose: ``id`` for :func:`resolve_device`, ``name`` for people, memory in bytes (0: unknown)."""

    id: str
    name: str
    memory: int = 0


def resolve_device(name: str = "auto") -> torch.device:
    """Return the torch device for ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    ``auto`` takes the first NVIDIA (or ROCm) GPU, else the processor. Apple's ``mps`` is taken only when asked for,
    since some 3-D operations are missing there.

    Raises:
        UsageError: an unknown name, or a device this computer does not have. Never falls back in silence.
    """
    import torch

    if not _NAME.fullmatch(name):
        raise UsageError(f"'{name}' is not a device. Choose auto, cpu, cuda:0 (or another number) or mps.")
    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda"):
        index = int(name.partition(":")[2] or 0)
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if index >= count:
            have = f"it has {count}" if count else "PyTorch sees none on this computer"
            raise UsageError(f"There is no GPU number {index}: {have}. Choose auto or cpu.")
        return torch.device("cuda", index)
    if name == "mps" and not torch.backends.mps.is_available():
        raise UsageError("This computer has no Apple GPU that PyTorch can use. Choose auto or cpu.")
    return torch.device(name)


def available_devices() -> list[DeviceInfo]:
    """Return the devices of this computer, the best first; imports torch."""
    import torch

    devices = []
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            devices.append(DeviceInfo(f"cuda:{index}", properties.name, properties.total_memory))
    if torch.backends.mps.is_available():
        devices.append(DeviceInfo("mps", "Apple GPU"))
    devices.append(DeviceInfo("cpu", device_name(torch.device("cpu"))))
    return devices


def device_name(device: torch.device) -> str:
    """Return the product name of ``device`` where it is known."""
    import torch

    if device.type == "cuda":
        return str(torch.cuda.get_device_properties(device).name)
    if device.type == "mps":
        return "Apple GPU"
    return platform.processor() or platform.machine() or "processor"
