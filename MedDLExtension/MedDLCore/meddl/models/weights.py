"""Weights files: telling by their content what they are, and loading them without running anything in them."""

from __future__ import annotations

import io
import json
import logging
import pickletools
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from meddl.errors import ModelError, UntrustedModelError

logger = logging.getLogger(__name__)

WEIGHTS_SUFFIXES = frozenset({".pt", ".pth", ".ckpt", ".bin", ".ts", ".safetensors", ".pkl", ".pickle", ".tar"})
STATE_KEYS = ("state_dict", "model_state_dict", "model", "network", "net", "model_state")

_MAX_PICKLE_BYTES = 64 << 20
_MAX_HEADER_BYTES = 8 << 20
_MAX_PICKLE_STEPS = 2_000_000
"""A network of ten thousand tensors takes some hundred thousand."""
_MAX_UNPACKED_RATIO = 16
_LEGACY_PICKLES = 5
_TAR_MAGIC_OFFSET = 257


class WeightsKind(Enum):
    """What a weights file is by its content, whatever its suffix."""

    STATE_DICT = "tensors saved by PyTorch"
    SAFETENSORS = "safetensors"
    TORCHSCRIPT = "a TorchScript program"
    FOREIGN_PICKLE = "a pickle that holds more than tensors"
    UNKNOWN = "not a weights file"


@dataclass(frozen=True)
class WeightsFacts:
    """What reading a weights file as plain bytes told. ``names`` are what its pickle asks for beyond tensors."""

    kind: WeightsKind
    names: tuple[str, ...] = ()
    problem: str = ""


def inspect_weights(path: Path) -> WeightsFacts:
    """Tell what a weights file is; nothing is unpickled, and PyTorch is not needed.

    Raises:
        ModelError: missing, empty or unreadable.
    """
    try:
        if not path.is_file():
            raise ModelError(f"The weights file '{path.name}' is missing.")
        size = path.stat().st_size
        if size == 0:
            raise ModelError(f"The weights file '{path.name}' is empty.")
        with path.open("rb") as file:
            head = file.read(512)
            if head[_TAR_MAGIC_OFFSET : _TAR_MAGIC_OFFSET + 5] == b"ustar":
                return WeightsFacts(
                    WeightsKind.UNKNOWN, problem="is a tar archive, which is not read (an old PyTorch format)"
                )
            # A zip may begin with anything: its directory is at the end.
            if zipfile.is_zipfile(file):
                return _inspect_zip(path, size)
            # A pickle begins with this byte, but so does a safetensors file whose header is 128 bytes long.
            if head[:1] == b"\x80" and head[8:9] != b"{":
                file.seek(0)
                return _inspect_pickle(file.read(_MAX_PICKLE_BYTES))
            return _inspect_safetensors(head, path, size)
    except OSError as error:
        raise ModelError(f"The weights file '{path.name}' cannot be read: {error.strerror}.") from error


def load_weights(path: Path, *, trusted: bool) -> Any:
    """Load a weights file on the CPU.

    Args:
        path: safetensors, a state dictionary saved by PyTorch (alone or in a checkpoint), or a TorchScript program.
        trusted: whether TorchScript may be loaded: it is a program, and its operators can touch files.

    Returns:
        ``dict[str, torch.Tensor]``, or a ``torch.jit.ScriptModule``.

    Raises:
        UntrustedModelError: it is TorchScript and ``trusted`` is False.
        ModelError: damaged, not weights, or a pickle that holds more than tensors (refused also when trusted).
    """
    path = Path(path)
    facts = inspect_weights(path)
    if facts.kind is WeightsKind.TORCHSCRIPT:
        return _load_torchscript(path, trusted)
    if facts.problem:
        raise ModelError(f"The weights file '{path.name}' {facts.problem}.")
    if facts.kind is WeightsKind.SAFETENSORS:
        return _load_safetensors(path)
    if facts.kind is WeightsKind.UNKNOWN:
        raise ModelError(f"'{path.name}' is not a weights file: neither PyTorch nor safetensors wrote it.")
    return _load_state_dict(path)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Load all that PyTorch saved in a file by names: as :func:`load_weights`, with the numbers beside the tensors."""
    facts = inspect_weights(path)
    if facts.problem or facts.kind is not WeightsKind.STATE_DICT:
        raise ModelError(f"'{path.name}' {facts.problem or 'is no checkpoint: it is ' + facts.kind.value}.")
    content = _read_pickle(path)
    if not isinstance(content, Mapping) or not all(isinstance(key, str) for key in content):
        raise ModelError(f"The weights file '{path.name}' is no checkpoint of named parts.")
    return dict(content)


def state_in(checkpoint: Mapping[str, Any], name: str, keys: Sequence[str] = ()) -> dict[str, Any]:
    """Return the state dictionary in a checkpoint of a file ``name``, under one of ``keys`` or a usual one."""
    found = next((checkpoint[key] for key in keys if isinstance(checkpoint.get(key), Mapping)), checkpoint)
    return _state_dict_of(found, name)


def _inspect_zip(path: Path, size: int) -> WeightsFacts:
    try:
        with zipfile.ZipFile(path) as zipped:
            entries = zipped.infolist()
            names = [entry.filename for entry in entries]
            if any(name.endswith("constants.pkl") or "/code/" in f"/{name}" for name in names):
                return WeightsFacts(WeightsKind.TORCHSCRIPT)
            if sum(entry.file_size for entry in entries) > _MAX_UNPACKED_RATIO * size + (1 << 20):
                return WeightsFacts(
                    WeightsKind.UNKNOWN, problem="unpacks to far more than its size, as archive bombs do"
                )
            pickles = [name for name in names if name.endswith("data.pkl")]
            if len(pickles) != 1 or len(set(names)) != len(names):
                return WeightsFacts(WeightsKind.UNKNOWN, problem="is a zip archive, but not one that PyTorch wrote")
            with zipped.open(pickles[0]) as file:
                return _inspect_pickle(file.read(_MAX_PICKLE_BYTES))
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        return WeightsFacts(WeightsKind.UNKNOWN, problem=f"is damaged ({type(error).__name__})")


_TENSOR_NAMES = frozenset(
    {
        "collections OrderedDict", "collections Counter", "torch Size", "torch device", "torch Tensor",
        "torch._utils _rebuild_tensor", "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_tensor_v3",
        "torch._utils _rebuild_parameter", "torch._utils _rebuild_parameter_with_state",
        "torch._tensor _rebuild_from_type_v2", "torch.nn.parameter Parameter", "torch.serialization _get_layout",
        "torch.storage TypedStorage", "torch.storage UntypedStorage", "_codecs encode", "builtins set",
        "builtins bytearray", "builtins complex", "__builtin__ set",
        "monai.data.meta_obj MetaObj", "monai.data.meta_tensor MetaTensor", "monai.utils.enums MetaKeys",
        "monai.utils.enums SpaceKeys",
    }
)  # fmt: skip


def _inspect_pickle(data: bytes) -> WeightsFacts:
    """List what a pickle asks for by name. A first look for the user's sake: PyTorch's own check decides."""
    names: set[str] = set()
    stream = io.BytesIO(data)
    whole = steps = 0
    try:
        # PyTorch's old format is several pickles in a row, with the tensors' bytes after them.
        while whole < _LEGACY_PICKLES and data[stream.tell() : stream.tell() + 1] == b"\x80":
            for opcode, argument, _ in pickletools.genops(stream):
                steps += 1
                if steps > _MAX_PICKLE_STEPS:
                    return WeightsFacts(WeightsKind.UNKNOWN, problem="holds far more parts than any network has")
                if opcode.name in ("GLOBAL", "INST"):
                    names.add(str(argument))
                elif opcode.name in ("STACK_GLOBAL", "EXT1", "EXT2", "EXT4"):
                    names.add(opcode.name)
            whole += 1
    except Exception as error:  # genops answers damaged pickles with whatever its readers raise
        if not names and not whole:
            return WeightsFacts(WeightsKind.UNKNOWN, problem=f"is damaged ({type(error).__name__})")
    foreign = tuple(sorted(name.replace(" ", ".") for name in names if not _is_tensor_name(name)))
    if foreign:
        asked = ", ".join(ascii(name)[1:-1] for name in foreign[:5])
        return WeightsFacts(
            WeightsKind.FOREIGN_PICKLE,
            foreign,
            f"is a pickle that asks for more than tensors ({asked}); loading it could run anything. Save the network's "
            "state_dict, or safetensors, instead",
        )
    return WeightsFacts(WeightsKind.STATE_DICT)


def _is_tensor_name(name: str) -> bool:
    module, _, attribute = name.partition(" ")
    if name in _TENSOR_NAMES:
        return True
    if module in ("torch", "torch.cuda", "torch.sparse", "torch.cuda.sparse"):
        return attribute.endswith(("Storage", "Tensor")) or (
            module == "torch" and attribute.rstrip("0123456789") in _DTYPES
        )
    return False


_DTYPES = frozenset({"float", "bfloat", "int", "uint", "bool", "complex", "half", "double", "long", "short"})


def _inspect_safetensors(head: bytes, path: Path, size: int) -> WeightsFacts:
    length = int.from_bytes(head[:8], "little")
    if len(head) < 9 or head[8:9] != b"{":
        return WeightsFacts(WeightsKind.UNKNOWN)
    if length > min(_MAX_HEADER_BYTES, size - 8):
        return WeightsFacts(WeightsKind.SAFETENSORS, problem="is cut short or damaged")
    with path.open("rb") as file:
        file.seek(8)
        try:
            header = json.loads(file.read(length))
            end = max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
            whole = isinstance(end, int) and end == size - 8 - length
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
            return WeightsFacts(WeightsKind.SAFETENSORS, problem="is damaged")
    return WeightsFacts(WeightsKind.SAFETENSORS, problem="" if whole else "is cut short or damaged")


def _load_torchscript(path: Path, trusted: bool) -> Any:
    if not trusted:
        reason = f"'{path.name}' is a TorchScript program"
        raise UntrustedModelError(f"{reason}, so it needs your consent before it is loaded.", reasons=(reason,))
    import torch

    try:
        return torch.jit.load(str(path), map_location="cpu")
    except Exception as error:
        raise ModelError(f"The TorchScript file '{path.name}' is damaged or of another PyTorch.", str(error)) from error


def _load_safetensors(path: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    try:
        return load_file(str(path), device="cpu")
    except Exception as error:
        why = ascii(str(error)[:200])[1:-1]
        raise ModelError(f"The weights file '{path.name}' is damaged: {why}.", str(error)) from error


def _load_state_dict(path: Path) -> dict[str, Any]:
    return _state_dict_of(_read_pickle(path), path.name)


def _read_pickle(path: Path) -> Any:
    import pickle

    import torch

    try:
        return torch.load(str(path), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        names = ", ".join(_unsafe_globals(path)[:5])
        raise ModelError(
            f"The weights file '{path.name}' holds more than tensors{f' ({names})' if names else ''}, so it is not "
            "loaded. Save the network's state_dict, or safetensors, instead.",
            str(error),
        ) from error
    except Exception as error:
        raise ModelError(f"The weights file '{path.name}' is damaged or of an unknown format.", str(error)) from error


def _unsafe_globals(path: Path) -> list[str]:
    import torch

    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(str(path)))
    except Exception as error:
        logger.debug("no list of unsafe globals: %s", error)
        return []


def _is_plain(value: Any) -> bool:
    """Tell whether this is an ordinary tensor: those of other layouts may hold indices that lead out of them."""
    import torch

    return isinstance(value, torch.Tensor) and value.layout is torch.strided and not value.is_quantized


def _state_dict_of(content: Any, name: str) -> dict[str, Any]:
    """Find the state dictionary in a checkpoint, and take off the prefix that training on several GPUs leaves."""
    for key in STATE_KEYS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if (
        not isinstance(content, Mapping)
        or not content
        or not all(isinstance(key, str) and _is_plain(value) for key, value in content.items())
    ):
        raise ModelError(f"The weights file '{name}' holds no state dictionary (names and tensors).")
    if all(key.startswith("module.") for key in content):
        return {key.removeprefix("module."): value for key, value in content.items()}
    return dict(content)
