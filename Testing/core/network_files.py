"""Single-file networks whose right answer is known, with their sidecars."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SEGMENTATION: dict[str, Any] = {
    "name": "Bright blobs",
    "version": "1.2.0",
    "description": "Finds what is brighter than a threshold.",
    "license": "MIT",
    "intended_use": "Testing only.",
    "task": "segmentation",
    "channels": ["CT"],
    "intensity": {"clip": [0, 200], "scale": "0..1"},
    "activation": "softmax",
    "labels": [{"name": "blob", "color": [1, 0.5, 0], "code": "SCT^52988006^Lesion"}],
}
"""A sidecar for :func:`threshold_program` and :func:`threshold_graph` with a threshold of 0.5: above 100 is "blob"."""


def write_sidecar(network: Path, content: Mapping[str, Any]) -> Path:
    """Write the sidecar of ``network`` and return the network's path."""
    network.with_suffix(".json").write_text(json.dumps(content))
    return network


def threshold_program(path: Path, threshold: float = 0.5, classes: int = 1) -> Path:
    """Write a TorchScript program that answers background's and each class's score ``(B, 1 + classes, i, j, k)``."""
    import torch

    network = torch.nn.Conv3d(1, 1 + classes, 1)
    with torch.no_grad():
        network.weight[:] = torch.tensor([-1.0, *[1.0] * classes]).reshape(-1, 1, 1, 1, 1)
        network.bias[:] = torch.tensor([threshold, *[-threshold] * classes])
    torch.jit.save(torch.jit.script(network.eval()), str(path))
    return path


def threshold_graph(path: Path, threshold: float = 0.5, shape: Sequence[Any] = ("b", 1, "i", "j", "k")) -> Path:
    """Write the same network as ONNX."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper, save

    weights = np.array([-1.0, 1.0], np.float32).reshape(2, 1, 1, 1, 1)
    bias = np.array([threshold, -threshold], np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "weight", "bias"], ["scores"])],
        "threshold",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["b", 2, *shape[2:]])],
        [numpy_helper.from_array(weights, "weight"), numpy_helper.from_array(bias, "bias")],
    )
    save(onnx_model(graph), str(path))
    return path


def onnx_model(graph: Any, domains: Sequence[str] = (), functions: Sequence[Any] = ()) -> Any:
    """Return a model of ``graph`` that any runtime of the last years reads."""
    from onnx import helper

    opsets = [helper.make_opsetid("", 17), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, functions=list(functions))
