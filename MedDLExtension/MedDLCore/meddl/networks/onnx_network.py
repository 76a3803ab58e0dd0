"""An ONNX file as a network: tensor in, tensor out, computed by ONNX Runtime or OpenVINO."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from meddl.errors import ModelError, is_out_of_memory
from meddl.networks.onnx_graph import FLOAT_TYPES, inspect_onnx_bytes

logger = logging.getLogger(__name__)

PACKAGES = ("onnxruntime", "openvino")
"""What can run an ONNX file, in the order of preference.

ONNX Runtime holds a graph to the standard before it does anything with it. OpenVINO's reader does not: a node without
its inputs makes it crash, so that it is given graphs of trusted models only.
"""

_Run = Callable[[np.ndarray], list[np.ndarray]]


class OnnxNetwork(torch.nn.Module):
    """A network out of an ONNX file, called as any other.

    On a GPU it runs there where ONNX Runtime was built for it, else on the processor; tensors go where they are needed
    and the answer comes back to where the question was.

    Example::

        network = OnnxNetwork(Path("model.onnx"))
        scores = network(torch.zeros(1, 1, 96, 96, 96))

    Args:
        f: the file. It is read once, here.
        device: where to compute.
        trusted: whether the user trusts the model it is from: then OpenVINO will do where ONNX Runtime is missing.

    Raises:
        ModelError: not an ONNX file, one that needs more than standard operators, or nothing here can run it.
    """

    brings_weights = True
    """Its weights are in its file: none are loaded into it."""

    def __init__(self, f: Path | str, device: torch.device | str = "cpu", *, trusted: bool = False) -> None:
        super().__init__()
        self._packages = PACKAGES if trusted else PACKAGES[:1]
        self._path = Path(f)
        self._device = torch.device(device)
        try:
            self._bytes = self._path.read_bytes()
        except OSError as error:
            raise ModelError(f"The file '{self._path.name}' cannot be read: {error.strerror}.") from error
        self.facts = inspect_onnx_bytes(self._bytes, self._path.name)
        for name in self.facts.external_files:
            file = self._path.parent / name
            if not file.is_file() or not file.resolve().is_relative_to(self._path.parent.resolve()):
                raise ModelError(f"The weights of '{self._path.name}' lie in {name[:100]!a}, which is not beside it.")
        self._session: tuple[_Run, str] | None = None

    @property
    def engine(self) -> str:
        """What computes, for a report: for instance ``ONNX Runtime (CPU)``."""
        return self._start()[1]

    def to(self, *args: Any, **kwargs: Any) -> OnnxNetwork:
        """Compute on another device from now on. Element types stay as the file has them."""
        device = torch._C._nn._parse_to(*args, **kwargs)[0]
        if device is not None and device != self._device:
            self._device, self._session = device, None
        return self

    def forward(self, image: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        """Return the answer to ``image`` ``(B, C, ...)``: a tensor, or a list where the network has several outputs."""
        run, _ = self._start()
        wanted = self.facts.inputs[0]
        self._check_shape(tuple(image.shape), wanted.shape)
        array = image.detach().to("cpu", torch.float32).contiguous().numpy()
        array = array.astype(FLOAT_TYPES[wanted.type], copy=False)
        try:
            batch = array.shape[0]
            if wanted.shape and wanted.shape[0] == 1 and batch > 1:
                rows = [run(array[index : index + 1]) for index in range(batch)]
                answers = [np.concatenate(parts) for parts in zip(*rows, strict=True)]
            else:
                answers = run(array)
        except ModelError:
            raise
        except Exception as error:
            # What runtimes raise has no common type; memory is the caller's business.
            if is_out_of_memory(error):
                raise
            raise ModelError(
                f"The network in '{self._path.name}' could not be run: {_first_line(error)}.", str(error)
            ) from error
        tensors = [torch.from_numpy(np.ascontiguousarray(each)).float().to(image.device) for each in answers]
        return tensors[0] if len(tensors) == 1 else tensors

    def _check_shape(self, shape: tuple[int, ...], wanted: tuple[int | None, ...] | None) -> None:
        if wanted is None:
            return
        fits = len(shape) == len(wanted) and all(
            size is None or size == given for size, given in zip(wanted[1:], shape[1:], strict=True)
        )
        if not fits:
            sizes = " x ".join("any" if size is None else str(size) for size in wanted)
            given = " x ".join(map(str, shape))
            raise ModelError(
                f"The network in '{self._path.name}' takes {sizes} (batch, channels, voxels) and was given {given}. "
                "Its description (size, window, channels) should say so."
            )

    def _start(self) -> tuple[_Run, str]:
        if self._session is None:
            self._session = self._open()
        return self._session

    def _open(self) -> tuple[_Run, str]:
        starters = {"onnxruntime": self._open_onnxruntime, "openvino": self._open_openvino}
        failed: Exception | None = None
        for package in self._packages:
            if importlib.util.find_spec(package) is None:
                continue
            try:
                return starters[package]()
            except ImportError as error:
                logger.warning("%s is installed but does not load: %s", package, error)
                failed = error
            except Exception as error:
                if is_out_of_memory(error):
                    raise
                raise ModelError(
                    f"The network in '{self._path.name}' cannot be opened: {_first_line(error)}.", str(error)
                ) from error
        raise ModelError(
            "Running ONNX files takes the Python package onnxruntime, which is not installed (openvino will do for "
            "models that you trust). Install it in the panel MedDL Setup, or with 'pip install onnxruntime'.",
            str(failed or ""),
        )

    def _source(self) -> str | bytes:
        # What was looked over is what is opened; only weights in other files have to be found by the path.
        return str(self._path) if self.facts.external_files else self._bytes

    def _open_onnxruntime(self) -> tuple[_Run, str]:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = torch.get_num_threads()
        # Threads that wait by spinning take the processor from everything else.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # It was looked over as ONNX.
        options.add_session_config_entry("session.load_model_format", "ONNX")
        session = None
        if self._device.type == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            providers = [("CUDAExecutionProvider", {"device_id": self._device.index or 0}), "CPUExecutionProvider"]
            try:
                session = onnxruntime.InferenceSession(self._source(), options, providers=providers, enable_fallback=0)
            except Exception as error:
                logger.warning("ONNX Runtime does not take the GPU, so it computes on the CPU: %s", _first_line(error))
        if session is None:
            # Its own way of falling back prints and tries the same again.
            session = onnxruntime.InferenceSession(
                self._source(), options, providers=["CPUExecutionProvider"], enable_fallback=0
            )
        name = session.get_inputs()[0].name
        where = session.get_providers()[0].removesuffix("ExecutionProvider")
        return lambda array: session.run(None, {name: array}), f"ONNX Runtime {onnxruntime.__version__} ({where})"

    def _open_openvino(self) -> tuple[_Run, str]:
        import io

        import openvino

        core = openvino.Core()
        source = self._source()
        model = core.read_model(source if isinstance(source, str) else io.BytesIO(source))
        # Unless told, OpenVINO computes in bfloat16 where the processor has it.
        settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
        compiled = core.compile_model(model, "CPU", settings)
        outputs = list(compiled.outputs)

        def run(array: np.ndarray) -> list[np.ndarray]:
            answer = compiled({0: array})
            return [np.array(answer[output]) for output in outputs]

        return run, f"OpenVINO {openvino.__version__.split('-')[0]} (CPU)"


def _first_line(error: Exception) -> str:
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return "".join(char if char.isprintable() else " " for char in text)[:300].rstrip(".")
