"""The one door to MONAI's own config parser, which runs whatever a bundle says.

Only for the worker process, and only for a bundle whose exact bytes the user consented to.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import logging
import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from meddl.errors import ModelError
from meddl.models.allowed_targets import FORCED_ARGUMENTS, canonical_name, short_name
from meddl.models.bundle import ModelBundle
from meddl.models.bundle_modules import modules_of
from meddl.models.config_scan import is_dropped
from meddl.models.config_tree import MISSING, children, is_component, is_expression, normalize_id
from meddl.models.inference_parts import find_parts
from meddl.models.restricted_config import RestrictedConfig
from meddl.models.trust import TrustStore, without_consent

logger = logging.getLogger(__name__)


def open_config(
    bundle: ModelBundle,
    name: str = "inference",
    *,
    overrides: Mapping[str, Any] | None = None,
    trust: TrustStore,
) -> RestrictedConfig | TrustedConfig:
    """Return a config to make objects from: restricted where that is enough, MONAI's where the user consented.

    Both have ``get(id, default, raw=, drop=)``.

    Raises:
        UntrustedModelError: the restricted one is not enough and this bundle is not trusted.
    """
    trusted = trust.is_trusted(bundle)
    restricted = bundle.restricted_config(name, overrides=overrides, trusted=trusted)
    # TorchScript alone the restricted config can load by itself, once trusted.
    parts = find_parts(restricted, bundle.metadata)
    reasons = restricted.reasons(parts.ids, drop=parts.drop)
    enough = all("runs a TorchScript program" in reason for reason in reasons)
    return restricted if enough or not trusted else open_trusted_config(bundle, name, overrides=overrides, trust=trust)


def open_trusted_config(
    bundle: ModelBundle,
    name: str = "inference",
    *,
    overrides: Mapping[str, Any] | None = None,
    trust: TrustStore,
) -> TrustedConfig:
    """Return a config that MONAI's parser evaluates, code of the bundle included.

    Raises:
        UntrustedModelError: the user has not consented to exactly these bytes.
    """
    if not trust.is_trusted(bundle):
        raise without_consent(bundle, bundle.check().needs_trust)
    return TrustedConfig(bundle, name, overrides or {})


_IMPORT = re.compile(r"\$\s*(?:import\s+([\w.]+)(?:\s+as\s+\w+)?|from\s+([\w.]+)\s+import\s+.*)\s*")
_ANY_GPU = re.compile(r"""torch\.device\(\s*["']cuda(?::0)?["']\s*\)""")


class TrustedConfig:
    """A config in the hands of MONAI's parser. Made by :func:`open_trusted_config` only."""

    def __init__(self, bundle: ModelBundle, name: str, overrides: Mapping[str, Any]) -> None:
        self._modules = modules_of(bundle.path, bundle.digest)
        self._root = bundle.path
        self._source = bundle.config_source(name)
        self._missing: list[str] = []
        self._overrides = {"bundle_root": str(bundle.path), **overrides}
        self._tree = self._runnable(bundle.config(name))
        self._parsers: dict[frozenset[str], Any] = {}

    def get(self, id: str, default: Any = MISSING, *, raw: bool = False, drop: Collection[str] = ()) -> Any:
        """Return the object that ``id`` stands for, as :meth:`RestrictedConfig.get` does."""
        parser = self._parser(frozenset(canonical_name(name) for name in drop))
        if normalize_id(id) not in parser:
            if default is MISSING:
                raise ModelError(f"The configuration has no '{ascii(id[:160])[1:-1]}'.")
            return default
        if raw:
            return copy.deepcopy(parser[normalize_id(id)])
        try:
            with self._modules.importable(), _arrays_in_files():
                return parser.get_parsed_content(normalize_id(id))
        except Exception as error:
            hint = f" Not installed: {', '.join(self._missing)}." if self._missing else ""
            raise ModelError(
                f"The model's own code failed at '{ascii(id[:160])[1:-1]}' of {self._source}: "
                f"{_first_line(error, self._root)}.{hint}",
                repr(error),
            ) from error

    def _runnable(self, node: Any) -> Any:
        """Return the config for this machine: without imports that fail, on the device that was chosen, and without
        downloads of weights that the bundle's own replace.

        MONAI runs every ``$import`` before anything else, also those that only the runner or a plot needs.
        """
        if is_component(node):
            node = {**FORCED_ARGUMENTS.get(short_name(str(node["_target_"])), {}), **node}
            if node.get("pretrained") is True:
                node["pretrained"] = False
        if isinstance(node, dict):
            return {key: self._runnable(value) for key, value in node.items()}
        if isinstance(node, list):
            return [self._runnable(item) for item in node if not self._fails(item)]
        if isinstance(node, str) and is_expression(node) and "device" in self._overrides:
            return _ANY_GPU.sub("@device", node)
        return node

    def _fails(self, item: Any) -> bool:
        statement = _IMPORT.fullmatch(item) if isinstance(item, str) else None
        if statement is None:
            return False
        name = statement.group(1) or statement.group(2)
        try:
            with self._modules.importable():
                importlib.import_module(name)
        except ImportError as error:
            logger.debug("left out %r: %s", item, error)
            self._missing.append(name.partition(".")[0])
            return True
        return False

    def _parser(self, drop: frozenset[str]) -> Any:
        if drop not in self._parsers:
            from monai.bundle import ConfigParser

            parser = ConfigParser(_without(copy.deepcopy(self._tree), drop))
            parser.update({normalize_id(key): value for key, value in self._overrides.items()})
            self._parsers[drop] = parser
        return self._parsers[drop]


def _without(node: Any, drop: frozenset[str], id: str = "") -> Any:
    if isinstance(node, dict):
        return {key: _without(value, drop, sub_id) for key, sub_id, value in children(id, node)}
    if isinstance(node, list):
        kept = [(sub_id, item) for _, sub_id, item in children(id, node) if not is_dropped(item, drop, sub_id)]
        return [_without(item, drop, sub_id) for sub_id, item in kept]
    return node


@contextlib.contextmanager
def _arrays_in_files() -> Iterator[None]:
    """Let ``torch.load`` read NumPy arrays beside tensors, as the codes of searched architectures are kept."""
    import numpy as np
    import torch

    kinds = {type(np.dtype(kind)) for kind in "?bBhHiIlLqQefd"}
    safe: list[Any] = [np.ndarray, np.dtype, np.empty(0).__reduce__()[0], *kinds]
    with torch.serialization.safe_globals(safe):
        yield


def _first_line(error: Exception, root: Path) -> str:
    """Return what went wrong first, in a line: MONAI wraps errors in errors."""
    while isinstance(error.__cause__, Exception):
        error = error.__cause__
    if isinstance(error, FileNotFoundError) and error.filename:
        path = Path(os.path.normpath(error.filename))
        shown = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
        return f"the file {shown[:200]!a} is missing"
    text = str(error).strip().splitlines()
    return ascii(text[0][:200])[1:-1].rstrip(".") if text else type(error).__name__
