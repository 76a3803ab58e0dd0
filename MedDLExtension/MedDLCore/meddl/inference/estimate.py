"""What a run will take, told before it: memory by a rule of thumb, seconds from the last runs on this computer."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from meddl import computer
from meddl.inference.history import History
from meddl.inference.workload import Workload, workload
from meddl.models.metadata_values import own_value

if TYPE_CHECKING:
    from meddl.inference.options import RunOptions
    from meddl.models import ModelBundle

GB = 1e9
PROCESS_BYTES = 600_000_000
"""torch, MONAI and the worker around them."""
KEPT_RUNS = 5

_RUNS = "runs.json"


@dataclass(frozen=True)
class Estimate:
    """What a run will take.

    Attributes:
        ram_gb: most main memory, in units of 10^9 bytes.
        vram_gb: most memory of the GPU; None without one.
        seconds: None before the first run of this model on such a device.
        sentence: all that for the user.
    """

    ram_gb: float
    vram_gb: float | None
    seconds: float | None
    sentence: str


def estimate(
    bundle: ModelBundle,
    shape: Sequence[int],
    spacing: Sequence[float],
    options: RunOptions | Mapping[str, Any] | None = None,
) -> Estimate:
    """Return what running ``bundle`` on an image will take, at once and without torch.

    Args:
        bundle: the model.
        shape: voxels (I, J, K) of the image.
        spacing: their edges in mm.
        options: device, precision and uncertainty count.
    """
    return estimate_joined([bundle], shape, spacing, options)


def estimate_joined(
    bundles: Sequence[ModelBundle],
    shape: Sequence[int],
    spacing: Sequence[float],
    options: RunOptions | Mapping[str, Any] | None = None,
) -> Estimate:
    """Return what running several models on an image as an ensemble will take; of one, as :func:`estimate`."""
    device = str(_option(options, "device", "auto"))
    gpu = _gpu(device)
    ram, vram, seconds = 0, 0, 0.0
    known = True
    loads = [workload(bundle, shape, spacing) for bundle in bundles]
    for bundle, load in zip(bundles, loads, strict=True):
        runs = [run for run in _runs(bundle) if run["gpu"] == (gpu is not None)]
        ram = max(ram, _ram_of_run(bundle, load, runs, gpu is not None))
        if gpu is not None:
            vram = max(vram, _vram(load, str(_option(options, "precision", "auto"))))
        took = _seconds(load, runs, _passes(bundle, options))
        known, seconds = known and took is not None, seconds + (took or 0.0)
    if len(bundles) > 1:
        # All networks are loaded; the maps of one model and their mean are there in full.
        weights = sum(load.weight_bytes for load in loads[1:])
        ram += weights + 3 * 4 * max(load.channels[1] for load in loads) * loads[0].voxels
        vram += weights if gpu is not None else 0
    on_gpu = vram if gpu is not None else None
    took = round(seconds, 1) if known else None
    sentence = _sentence(ram, on_gpu, took, gpu)
    return Estimate(round(ram / GB, 1), None if on_gpu is None else round(on_gpu / GB, 1), took, sentence)


def _ram_of_run(bundle: ModelBundle, load: Workload, runs: Sequence[Mapping[str, Any]], gpu: bool) -> int:
    measured = [run for run in runs if run.get("peak_bytes")]
    if measured:
        # What was measured then, and what the rule says of the difference.
        return max(PROCESS_BYTES, measured[-1]["peak_bytes"] + _ram(load, gpu) - measured[-1]["ram_bytes"])
    return _told(bundle) or _ram(load, gpu)


def _passes(bundle: ModelBundle, options: RunOptions | Mapping[str, Any] | None) -> int:
    """Return how often each window is looked at. Folds are asked one by one, which takes as long as all at once."""
    repeated = _option(options, "uncertainty", "none") in ("flips", "dropout")
    passes = int(_option(options, "passes", 8)) if repeated else 1
    if bundle.format == "nnunet" and _option(options, "mirror", False):
        axes = getattr(bundle, "flip_axes", None)  # known once the checkpoints were loaded; usually all of them
        passes *= 2 ** (3 if axes is None else len(axes))
    return passes


def record_run(
    bundle: ModelBundle,
    shape: Sequence[int],
    spacing: Sequence[float],
    *,
    device: str,
    windows: int,
    network_seconds: float,
    seconds: float,
    peak_bytes: int = 0,
) -> None:
    """Keep what a run took, for the next estimate. Of the image only its number of voxels is kept.

    Args:
        bundle: the model.
        shape, spacing: of the image.
        device: where the network ran in the end (``cpu``, ``cuda:0``).
        windows: forward passes, all repetitions together.
        network_seconds: of them.
        seconds: of the whole run, loading of the model excluded.
        peak_bytes: most memory that this run took; 0: not known.
    """
    load = workload(bundle, shape, spacing)
    gpu = not device.startswith("cpu")
    run = {
        "gpu": gpu,
        "windows": int(windows),
        "window": load.window,
        "voxels": load.voxels,
        "network_seconds": round(float(network_seconds), 3),
        "seconds": round(float(seconds), 3),
        "peak_bytes": int(peak_bytes),
        "ram_bytes": _ram(load, gpu),
    }
    History(_RUNS).change(bundle.digest, lambda entry: entry.update(runs=[*entry.get("runs", []), run][-KEPT_RUNS:]))


def _told(bundle: ModelBundle) -> int:
    """Return what the model's makers measured on a usual image (``meddl.memory_gb``), or 0."""
    told = own_value(bundle.metadata, "memory_gb")
    return int(told * GB) if isinstance(told, int | float) and 0 < told < 10_000 else 0


def _ram(load: Workload, gpu: bool) -> int:
    prepared = 4 * load.channels[0] * _product(load.prepared)
    image = 4 * load.channels[0] * load.voxels
    # The file and the network; on a GPU the network lies there in the end.
    total = PROCESS_BYTES + 2 * load.weight_bytes + 2 * image + 2 * prepared + 2 * load.voxels
    return total if gpu else total + load.activation_bytes + load.score_bytes


def _vram(load: Workload, precision: str) -> int:
    share = 1.0 if precision == "float32" else 0.6
    # A CUDA context takes some 0.4 GB by itself.
    return int(400_000_000 + load.weight_bytes + load.batch * share * load.activation_bytes + load.score_bytes)


def _seconds(load: Workload, runs: Sequence[Mapping[str, Any]], passes: int) -> float | None:
    known = [run for run in runs[-3:] if run["windows"] > 0 and run["window"] > 0]
    if not known:
        return None
    per_voxel = statistics.median(run["network_seconds"] / run["windows"] / run["window"] for run in known)
    around = statistics.median((run["seconds"] - run["network_seconds"]) / run["voxels"] for run in known)
    return round(per_voxel * load.window * load.windows * passes + max(0.0, around) * load.voxels, 1)


def _sentence(ram: float, vram: float | None, seconds: float | None, gpu: computer.Gpu | None) -> str:
    parts = [f"about {_gigabytes(ram)} of memory"]
    if vram is not None:
        parts.append(f"{_gigabytes(vram)} on the GPU")
    text = f"Takes {' and '.join(parts)}"
    if seconds is None:
        text += "; how long is known after the first run."
    else:
        text += f", and {_duration(seconds)} going by the last runs on this computer."
    free = computer.memory()[1]
    if free and ram > free:
        text += f" Only {_gigabytes(free)} is free now: close other programs, or crop the image."
    if vram is not None and gpu is not None and gpu.memory and vram > gpu.memory:
        text += f" The GPU has {_gigabytes(gpu.memory)}: the run will be slower, in smaller steps."
    return text


def _gpu(device: str) -> computer.Gpu | None:
    """Return the GPU that would run the model; Apple's only when asked for, as :mod:`meddl.inference.device` does."""
    if device == "cpu":
        return None
    found = computer.gpus()
    if device == "auto":
        return next((gpu for gpu in found if gpu.id.startswith("cuda")), None)
    return next((gpu for gpu in found if gpu.id == (device if ":" in device or device == "mps" else "cuda:0")), None)


def _runs(bundle: ModelBundle) -> list[Mapping[str, Any]]:
    runs = History(_RUNS).entry(bundle.digest).get("runs")
    wanted = ("gpu", "windows", "window", "voxels", "network_seconds", "seconds", "peak_bytes", "ram_bytes")
    return [
        run
        for run in (runs if isinstance(runs, list) else [])
        if isinstance(run, Mapping) and all(isinstance(run.get(name), int | float) for name in wanted) and run["voxels"]
    ]


def _option(options: RunOptions | Mapping[str, Any] | None, name: str, default: Any) -> Any:
    if isinstance(options, Mapping):
        return options.get(name, default)
    return getattr(options, name, default)


def _gigabytes(size: float) -> str:
    return f"{max(size / GB, 0.1):.1f} GB" if size < 100 * GB else f"{size / GB:.0f} GB"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _product(shape: Sequence[int]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total
