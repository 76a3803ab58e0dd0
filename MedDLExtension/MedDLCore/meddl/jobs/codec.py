"""Params and results as JSON plus a list of arrays, and back. No pickle: a worker's answer can't run code here.

Carried: None, bool, int, float, str, list, tuple, dict with text keys, Path, numpy arrays of numbers, texts and times
of any shape and memory order, numpy scalars (arrive as Python's own), and :class:`meddl.volume.Volume`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from meddl.errors import UsageError

_TAG = "$"  # the key that marks what JSON has no word for
_KINDS = "biufcSUmMV"
_DEPTH = 100


@dataclass(frozen=True)
class Encoded:
    """A value in two parts.

    Attributes:
        tree: JSON types only; shares nothing with the value it was made from.
        arrays: the arrays ``tree`` speaks of, not copied, axes ordered as they lie in memory, slowest first.
    """

    tree: Any
    arrays: tuple[np.ndarray, ...]


def encode(value: Any, where: str) -> Encoded:
    """Return ``value`` in two parts.

    Args:
        value: what to carry.
        where: what to call it in errors, for instance ``params``.

    Raises:
        UsageError: it holds something that can't be carried, which the message names with its place.
    """
    arrays: list[np.ndarray] = []
    tree = _encode(value, where, arrays, _DEPTH)
    return Encoded(tree, tuple(arrays))


def decode(tree: Any, arrays: Sequence[np.ndarray]) -> Any:
    """Return the value :func:`encode` made ``tree`` and ``arrays`` from; its arrays are views of ``arrays``."""
    if isinstance(tree, list):
        return [decode(item, arrays) for item in tree]
    if not isinstance(tree, dict):
        return tree
    kind = tree.get(_TAG)
    if kind is None:
        return {key: decode(item, arrays) for key, item in tree.items()}
    if kind == "dict":
        return {key: decode(item, arrays) for key, item in tree["items"]}
    if kind == "tuple":
        return tuple(decode(item, arrays) for item in tree["items"])
    if kind == "path":
        return Path(tree["path"])
    if kind == "array":
        return arrays[tree["index"]].transpose(np.argsort(tree["axes"]))
    if kind == "volume":
        return _decode_volume(tree, arrays)
    raise ValueError(f"unknown kind of value: {kind!r}")


def _encode(value: Any, where: str, arrays: list[np.ndarray], depth: int) -> Any:
    if depth == 0:
        raise UsageError(f"{where[:80]}... is nested too deeply to be handed to a job, or contains itself.")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, np.ndarray):
        return _encode_array(value, where, arrays)
    if isinstance(value, np.generic) and value.dtype.kind in "biuf" and value.dtype.itemsize <= 8:
        return value.item()
    if isinstance(value, Mapping):
        return _encode_mapping(value, where, arrays, depth)
    if isinstance(value, tuple):
        items = [_encode(item, f"{where}[{i}]", arrays, depth - 1) for i, item in enumerate(value)]
        return {_TAG: "tuple", "items": items}
    if isinstance(value, list):
        return [_encode(item, f"{where}[{i}]", arrays, depth - 1) for i, item in enumerate(value)]
    if isinstance(value, PurePath):
        return {_TAG: "path", "path": str(value)}
    if _is_volume(value):
        return {
            _TAG: "volume",
            "array": _encode_array(value.array, f"{where}.array", arrays),
            "affine": np.asarray(value.affine, dtype=np.float64).tolist(),  # JSON keeps every bit of a float64
            "name": str(value.name),
            "meta": _encode(dict(value.meta), f"{where}.meta", arrays, depth - 1),
        }
    raise UsageError(f"{where} is a {type(value).__name__}, which can't be handed to a job or back from one.")


def _encode_mapping(value: Mapping[Any, Any], where: str, arrays: list[np.ndarray], depth: int) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, item in value.items():
        if not isinstance(key, str):
            raise UsageError(f"{where} has the key {key!r}; only texts can be keys of what a job is given or returns.")
        tree[str.__str__(key)] = _encode(item, f"{where}.{key}", arrays, depth - 1)
    return {_TAG: "dict", "items": [[key, item] for key, item in tree.items()]} if _TAG in tree else tree


def _encode_array(value: np.ndarray, where: str, arrays: list[np.ndarray]) -> dict[str, Any]:
    dtype = value.dtype
    if dtype.kind not in _KINDS or dtype.hasobject or dtype.names or _is_masked(value):
        what = "masked array" if _is_masked(value) else f"array of {dtype}"
        raise UsageError(f"{where} is a {what}, which can't be handed to a job or back from one.")
    array = np.asarray(value)
    # Slicer's arrays are transposed views: copied as they lie in memory they go at full speed, and arrive as they were.
    axes = sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))
    arrays.append(array.transpose(axes))
    return {_TAG: "array", "index": len(arrays) - 1, "axes": axes}


# A masked array or a volume exists only where its module is loaded; a job without one doesn't have to load it.


def _is_masked(value: Any) -> bool:
    module = sys.modules.get("numpy.ma")
    return module is not None and isinstance(value, module.MaskedArray)


def _is_volume(value: Any) -> bool:
    module = sys.modules.get("meddl.volume")
    return module is not None and isinstance(value, module.Volume)


def _decode_volume(tree: dict[str, Any], arrays: Sequence[np.ndarray]) -> Any:
    from meddl.volume import Volume

    return Volume(
        array=decode(tree["array"], arrays),
        affine=np.array(tree["affine"], dtype=np.float64),
        name=tree["name"],
        meta=decode(tree["meta"], arrays),
    )
