"""Telling what a file or folder that is no MONAI Bundle holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from meddl.errors import ModelError
from meddl.models.weights import WeightsKind, inspect_weights

if TYPE_CHECKING:
    from meddl.models.bundle import ModelBundle

TORCHSCRIPT_SUFFIXES = frozenset({".ts", ".pt", ".pth", ".jit", ".torchscript"})
ONNX_SUFFIX = ".onnx"


def open_other(path: Path, fallback_name: str = "") -> ModelBundle | None:
    """Return the model at ``path`` if it is one of the other formats; None for MONAI Bundles, archives and the rest.

    Args:
        path: a file or folder.
        fallback_name: for a model that gives no name.

    Raises:
        ModelError: it is of one of these formats and cannot be used.
    """
    if path.is_file():
        return _open_file(path.absolute(), fallback_name)
    if path.is_dir():
        return _open_folder(path.absolute(), fallback_name)
    return None


def _open_file(path: Path, fallback_name: str = "") -> ModelBundle | None:
    from meddl.models.formats.file_bundle import FileBundle

    suffix = path.suffix.lower()
    if suffix == ".json":
        networks = [each for each in _networks_of(path.parent) if each.stem == path.stem]
        return _open_file(networks[0], fallback_name) if len(networks) == 1 else None
    if suffix == ONNX_SUFFIX:
        return FileBundle.open_file(path, "onnx", fallback_name)
    if suffix not in TORCHSCRIPT_SUFFIXES:
        return None
    kind = inspect_weights(path).kind
    if kind is WeightsKind.TORCHSCRIPT:
        return FileBundle.open_file(path, "torchscript", fallback_name)
    if kind is WeightsKind.UNKNOWN:
        raise ModelError(f"'{path.name}' is neither a TorchScript program nor a MONAI Bundle.")
    raise ModelError(
        f"'{path.name}' holds weights without the network they belong to. Choose the folder of the model it is from, "
        "or save the network as TorchScript."
    )


def _open_folder(folder: Path, fallback_name: str, *, nested: bool = False) -> ModelBundle | None:
    from meddl.models.formats.file_bundle import FileBundle
    from meddl.models.formats.nnunet_folder import NnUNetBundle, find_result_folder

    if (folder / "configs" / "metadata.json").is_file():
        return None
    result = find_result_folder(folder)
    if result is not None:
        return NnUNetBundle.open_folder(result, fallback_name)
    networks = [each for each in _networks_of(folder) if each.with_suffix(".json").is_file()]
    if len(networks) > 1:
        names = ", ".join(ascii(each.name)[1:-1] for each in networks[:5])
        raise ModelError(f"'{folder.name}' holds several models ({names}). Choose one of the files.")
    if networks:
        kind = "onnx" if networks[0].suffix.lower() == ONNX_SUFFIX else "torchscript"
        return FileBundle.open_file(networks[0], kind, fallback_name)
    inner = [each for each in folder.iterdir() if not each.name.startswith((".", "__MACOSX"))]
    if not nested and len(inner) == 1 and inner[0].is_dir() and not inner[0].is_symlink():
        return _open_folder(inner[0], fallback_name, nested=True)
    return None


def _networks_of(folder: Path) -> list[Path]:
    suffixes = TORCHSCRIPT_SUFFIXES | {ONNX_SUFFIX}
    return sorted(each for each in folder.iterdir() if each.suffix.lower() in suffixes and each.is_file())
