"""OpenVINO on the processor: about twice as fast as torch in float32, where it is installed."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meddl.inference.engines import openvino_graph
from meddl.inference.engines.engine import first_output
from meddl.inference.engines.openvino_cut import cut_first_convolutions
from meddl.inference.engines.openvino_near import NearEngine
from meddl.inference.engines.openvino_pooling import pool_first
from meddl.inference.engines.side_by_side import Requests
from meddl.models.places import cache_dir

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

MAX_CACHE_BYTES = 2_000_000_000

_HINTS = {"float32": "f32", "bfloat16": "bf16"}


def is_installed() -> bool:
    """Say whether OpenVINO can be imported."""
    return importlib.util.find_spec("openvino") is not None


class OpenVinoEngine:
    """Runs a network by OpenVINO, window by window.

    Args:
        network: a torch module in evaluation mode, on the CPU.
        shape: of a window ``(1, C, ...)``.
        precision: ``float32`` or ``bfloat16``. Always said to OpenVINO, which otherwise takes bfloat16 by itself.
        key: names the compiled model in the cache; empty: it is not kept.
        streams: windows that run side by side at the most, each on its share of the threads. One thread per window
            takes the least processor time, but a single window longer.
    """

    def __init__(self, network: Any, shape: tuple[int, ...], precision: str, key: str = "", streams: int = 1) -> None:
        self.name = "openvino"
        self.precision = precision
        self._streams = streams
        self._folder = compiled_folder(key) if key else None
        if self._folder and not is_converted(key):
            _keep(convert(network, shape, precision), self._folder)
        self._model: Any = self._folder / "model.xml" if self._folder else convert(network, shape, precision)
        self._requests = Requests(self._compiled(self._model, streams), streams)

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        return self._requests.answers(batch.detach().float().cpu().contiguous().numpy())

    def near(self, base: torch.Tensor) -> NearEngine | None:
        """Return a faster engine for images that are like ``base`` ``(1, C, ...)`` outside of a box.

        Returns:
            None if the network is not one in whose first convolution much of the work lies.
        """
        import openvino

        if self.precision != "float32":
            return None
        whole = openvino.Core().read_model(self._model) if self._folder else self._model.clone()
        parts = cut_first_convolutions(whole)
        return NearEngine(base, *parts, self._compiled, self._streams) if parts else None

    def _compiled(self, model: Any, streams: int) -> Any:
        """Return a model, or that of a file, ready to run."""
        import openvino
        import torch

        config: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": _HINTS[self.precision],
            "INFERENCE_NUM_THREADS": torch.get_num_threads() if streams == self._streams else 1,
            **({"NUM_STREAMS": streams} if streams > 1 else {"PERFORMANCE_HINT": "LATENCY"}),
        }
        if self._folder and model is self._model:
            config["CACHE_DIR"] = str(self._folder)
            os.utime(self._folder)
        return openvino.Core().compile_model(model, "CPU", config)


def compiled_folder(key: str) -> Path:
    """Return where a compiled model is kept; it need not exist."""
    return cache_dir() / "openvino" / key


def is_converted(key: str) -> bool:
    """Say whether the model is in the cache."""
    return bool(key) and (compiled_folder(key) / "model.xml").is_file()


def model_key(network: Any, digest: str, shape: tuple[int, ...], precision: str = "float32") -> str:
    """Return a name for a converted network in the cache; empty for a network without weights to tell it by."""
    import openvino
    import torch

    if not digest or not isinstance(network, torch.nn.Module):
        return ""
    made = f"{openvino.__version__} {torch.__version__} {openvino_graph.VERSION}"
    known = hashlib.sha256(f"{digest} {shape} {precision} {made}".encode())
    # One bundle can hold several networks of one structure: a sample of every weight tells them apart.
    for name, value in network.state_dict().items():
        if isinstance(value, torch.Tensor):
            sample = value.detach().flatten()[:: max(1, value.numel() // 64)].cpu().double()
            known.update(f"{name} {tuple(value.shape)}".encode())
            known.update(sample.numpy().tobytes())
    return known.hexdigest()[:32]


def convert(network: Any, shape: tuple[int, ...], precision: str) -> Any:
    """Return the network as an OpenVINO model for windows of ``shape``, to be computed in ``precision``.

    Raises:
        Exception: whatever OpenVINO or torch finds that it cannot do.
    """
    model = _converted(network, shape)
    if precision == "float32":  # in half precision, means that lie between two steps would be rounded
        openvino_graph.take_means_exactly(model)
        openvino_graph.compute_two_classes_as_one(model)
        pool_first(model)
    return model


def _converted(network: Any, shape: tuple[int, ...]) -> Any:
    import openvino
    import torch

    class First(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, window: torch.Tensor) -> torch.Tensor:
            return first_output(self.network(window))

    example = torch.zeros(shape)
    with torch.no_grad(), _quiet():
        if isinstance(network, torch.jit.ScriptModule):
            # A frozen program cannot be part of another one. Of several answers the engine takes the first.
            return openvino.convert_model(network, example_input=example, input=[list(shape)])
        try:
            model = openvino.convert_model(torch.export.export(First().eval(), (example,)))
            model.reshape(list(shape))  # the conversion forgets it, and what is known beforehand is faster
            return model
        except Exception as error:
            logger.info("torch.export did not do, tracing: %s", error)
        return openvino.convert_model(First().eval(), example_input=example, input=[list(shape)])


def _keep(model: Any, folder: Path) -> None:
    """Write the converted model to the cache: whole or not at all."""
    import openvino

    folder.parent.mkdir(parents=True, exist_ok=True)
    _make_room(folder.parent)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".converting-") as scratch:
        made = Path(scratch) / folder.name
        made.mkdir()
        openvino.save_model(model, made / "model.xml", compress_to_fp16=False)
        shutil.rmtree(folder, ignore_errors=True)
        try:
            made.rename(folder)
        except OSError:
            # Another process was faster: its model is the same.
            if not (folder / "model.xml").is_file():
                raise


def _make_room(parent: Path) -> None:
    folders = sorted((each for each in parent.iterdir() if each.is_dir()), key=lambda each: each.stat().st_mtime)
    sizes = {each: sum(file.stat().st_size for file in each.rglob("*") if file.is_file()) for each in folders}
    total = sum(sizes.values())
    for folder in folders:
        if total <= MAX_CACHE_BYTES:
            return
        shutil.rmtree(folder, ignore_errors=True)
        total -= sizes[folder]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
