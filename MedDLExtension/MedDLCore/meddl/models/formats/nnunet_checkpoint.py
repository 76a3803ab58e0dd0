"""Reading nnU-Net's checkpoints as tensors and plain data.

nnU-Net unpickles its checkpoints without restriction, which lets them run anything. PyTorch's restricted reader takes
them once it is told what to make of the numpy numbers in the training log: stand-ins that hold nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meddl.errors import ModelError
from meddl.models.weights import WeightsKind, inspect_weights

if TYPE_CHECKING:
    import torch

HARMLESS_NAMES = frozenset(
    {
        f"{module}.{name}"
        for package in ("numpy.core", "numpy._core")
        for module, name in ((f"{package}.multiarray", "scalar"), (f"{package}.multiarray", "_reconstruct"))
    }
    | {"numpy.dtype", "numpy.ndarray"}
    | {f"numpy.dtypes.{kind}DType" for kind in ("Float64", "Float32", "Int64", "Int32", "Bool")}
)
"""What a training log holds beside tensors. None of it is made: see :class:`_Ignored`."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """One fold of a model.

    Attributes:
        weights: the network's state dictionary.
        configuration: the name of the plans' configuration it was trained with, or "".
        trainer: the name of the class that trained it, or "".
        mirror_axes: along which axes (of the network's grid) the image may be mirrored at inference.
    """

    weights: dict[str, torch.Tensor]
    configuration: str
    trainer: str
    mirror_axes: tuple[int, ...]


class _Ignored:
    """Stands for a numpy number of the training log. Takes whatever it is made from and keeps nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def checkpoint_problem(path: Path) -> str:
    """Return why a checkpoint cannot be read, or "": told from its bytes, without PyTorch.

    Raises:
        ModelError: missing, empty or unreadable.
    """
    facts = inspect_weights(path)
    if facts.kind is WeightsKind.STATE_DICT:
        return ""
    if facts.kind is WeightsKind.FOREIGN_PICKLE:
        foreign = [name for name in facts.names if name not in HARMLESS_NAMES]
        if not foreign:
            return ""
        asked = ", ".join(ascii(name)[1:-1] for name in foreign[:5])
        return f"The checkpoint '{path.name}' asks for more than tensors ({asked}); loading it could run anything."
    return f"The checkpoint '{path.name}' {facts.problem or 'is not one that PyTorch wrote'}."


def load_checkpoint(path: Path) -> Checkpoint:
    """Load a checkpoint on the CPU.

    Raises:
        ModelError: damaged, not one of nnU-Net's, or it asks for more than tensors.
    """
    problem = checkpoint_problem(path)
    if problem:
        raise ModelError(problem)
    import torch

    # By their names: the real ones are never called, whatever arguments the file has for them.
    stand_ins: list[Any] = [(_Ignored, name) for name in sorted(HARMLESS_NAMES)]
    try:
        with torch.serialization.safe_globals(stand_ins):
            content = torch.load(str(path), map_location="cpu", weights_only=True)
    except Exception as error:
        raise ModelError(
            f"The checkpoint '{path.name}' is damaged, or holds more than tensors and is not loaded.", str(error)
        ) from error
    return _read(content, path.name)


def _read(content: Any, name: str) -> Checkpoint:
    import torch

    weights = content.get("network_weights") if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not weights:
        raise ModelError(f"The checkpoint '{name}' is not one of nnU-Net's: it has no 'network_weights'.")
    clean = {}
    for key, value in weights.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor) or value.layout is not torch.strided:
            raise ModelError(f"The checkpoint '{name}' holds weights that are no ordinary tensors.")
        # What training on several GPUs, or a compiled network, leaves before each name.
        clean[key.removeprefix("module.").removeprefix("_orig_mod.")] = value
    arguments = content.get("init_args")
    configuration = arguments.get("configuration") if isinstance(arguments, dict) else None
    axes = content.get("inference_allowed_mirroring_axes")
    axes = axes if isinstance(axes, list | tuple) else ()
    if not all(type(axis) is int and 0 <= axis <= 2 for axis in axes):
        raise ModelError(f"The checkpoint '{name}' mirrors along axes that do not exist.")
    return Checkpoint(
        clean,
        configuration if isinstance(configuration, str) else "",
        str(content.get("trainer_name") or "")[:100],
        tuple(sorted(set(axes))),
    )
