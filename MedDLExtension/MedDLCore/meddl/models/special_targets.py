"""Programs, graphs and devices: what a config may name that is made in a way of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from meddl.errors import ModelError
from meddl.models.allowed_targets import DEVICE_TARGET, ONNX_TARGET, TORCHSCRIPT_TARGET
from meddl.models.config_given import Given
from meddl.models.content import inside


def _torchscript(given: Given, id: str, arguments: dict[str, Any]) -> Any:
    file = arguments.pop("f", None)
    device = arguments.pop("map_location", None)
    if arguments or not isinstance(file, str):
        raise given.untrusted(id, f"calls {TORCHSCRIPT_TARGET} with more than a file of the bundle")
    path = inside(given.root, file)
    if not given.trusted:
        raise given.untrusted(id, f"runs the TorchScript program '{path.relative_to(given.root.resolve()).as_posix()}'")
    # The caller moves it to where it should run, so the device here need only be one.
    if device is not None and not _is_device(device):
        raise given.untrusted(id, f"calls {TORCHSCRIPT_TARGET} with a map_location that is no device")
    network = _load(given, path)
    import torch

    if not isinstance(network, torch.nn.Module):
        raise ModelError(f"{given.place(id)}: '{path.name}' is not a TorchScript program.")
    try:
        return network if device is None else network.to(device)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(
            f"{given.place(id)}: the program cannot be moved to the device {device}.", str(error)
        ) from error


def _load(given: Given, path: Path) -> Any:
    if given.weights is not None:
        return given.weights(path)
    from meddl.models.weights import load_weights

    return load_weights(path, trusted=given.trusted)


def _onnx(given: Given, id: str, arguments: dict[str, Any]) -> Any:
    # No consent is needed: the file is refused unless all its operators are standard ones.
    file = arguments.pop("f", None)
    device = arguments.pop("device", None)
    if arguments or not isinstance(file, str) or (device is not None and not _is_device(device)):
        raise given.untrusted(id, f"calls {ONNX_TARGET} with more than a file of the bundle")
    from meddl.networks.onnx_network import OnnxNetwork

    return OnnxNetwork(inside(given.root, file), device or "cpu", trusted=given.trusted)


def _device(given: Given, id: str, arguments: dict[str, Any]) -> Any:
    values = list(arguments.values())
    if set(arguments) - {"type", "device", "index"} or not values or not _is_device(values[0]):
        raise given.untrusted(id, "makes a device in an unusual way")
    import torch

    return torch.device(*values)


def _is_device(value: Any) -> bool:
    import torch

    if isinstance(value, torch.device):
        return True
    try:
        return isinstance(value, str) and bool(torch.device(value))
    except RuntimeError:
        return False


SPECIAL_TARGETS: dict[str, Callable[[Given, str, dict[str, Any]], Any]] = {
    TORCHSCRIPT_TARGET: _torchscript,
    ONNX_TARGET: _onnx,
    DEVICE_TARGET: _device,
}
"""By name: makes the object for the component with an id from its arguments."""
