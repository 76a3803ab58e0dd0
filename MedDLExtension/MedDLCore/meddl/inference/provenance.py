"""What was run on what, with which result in time: the record every prediction carries."""

from __future__ import annotations

import importlib.metadata
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import meddl
from meddl.inference.device import device_name

if TYPE_CHECKING:
    import torch

    from meddl.inference.run import Run
    from meddl.models import ModelBundle
    from meddl.volume import Volume

_LIBRARIES = ("torch", "monai", "numpy", "SimpleITK", "openvino", "onnxruntime", "nnunetv2")


class Stopwatch:
    """Adds up wall-clock seconds by the name of the step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._start = time.perf_counter()

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time what runs inside."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def report(self) -> dict[str, float]:
        """Return all steps and the total, in seconds to the millisecond."""
        total = time.perf_counter() - self._start
        return {name: round(value, 3) for name, value in (*self.seconds.items(), ("total", total))}


def record(
    bundle: ModelBundle,
    volumes: Sequence[Volume],
    device: torch.device,
    run: Run,
    execution: Mapping[str, Any],
    domain: Sequence[str],
) -> dict[str, Any]:
    """Return the JSON-able provenance of one run. It holds nothing that names the patient or a file."""
    inputs = [_image(volume) for volume in volumes]
    return {
        "task": bundle.task,
        "model": {
            "name": bundle.name,
            "version": bundle.version,
            "sha256": bundle.digest,
            "license": bundle.license,
        },
        "options": run.options.to_dict(),
        "parameters": dict(run.parameters),
        "input": inputs[0],
        "inputs": inputs,
        "domain": list(domain),
        "device": {"type": str(device), "name": device_name(device)},
        "execution": dict(execution),
        "software": {"meddl": meddl.__version__, "python": platform.python_version(), **_versions()},
        "times_s": run.watch.report(),
        "notes": list(run.notes),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _image(volume: Volume) -> dict[str, Any]:
    return {
        "shape": list(volume.shape),
        "channels": volume.channels,
        "spacing_mm": [round(float(each), 6) for each in volume.spacing],
        "orientation": volume.orientation,
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
