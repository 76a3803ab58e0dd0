"""The one door to MONAI's own config parser, which runs whatever a bundle says.

Only for the worker process, and only for a bundle whose exact bytes the user consented to.
"""

from __future__ import annotations

import contextlib
import copy
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from meddl.errors import ModelError, UntrustedModelError
from meddl.models.allowed_targets import canonical_name
from meddl.models.bundle import ModelBundle
from meddl.models.config_scan import is_dropped
from meddl.models.config_tree import MISSING, children, normalize_id
from meddl.models.inference_parts import find_parts
from meddl.models.restricted_config import RestrictedConfig
from meddl.models.trust import TrustStore


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
        reasons = bundle.check().needs_trust
        raise UntrustedModelError(
            f"The model '{bundle.name}' would run code of its own, which needs your consent first.", reasons=reasons
        )
    return TrustedConfig(bundle, name, overrides or {})


_HOME = "__meddl_bundle__"
"""Attribute of a module that came out of a bundle: that bundle's folder."""


class TrustedConfig:
    """A config in the hands of MONAI's parser. Made by :func:`open_trusted_config` only."""

    def __init__(self, bundle: ModelBundle, name: str, overrides: Mapping[str, Any]) -> None:
        self._root = bundle.path
        self._tree = bundle.config(name)
        self._overrides = {"bundle_root": str(bundle.path), **overrides}
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
            with _importable(self._root):
                return parser.get_parsed_content(normalize_id(id))
        except Exception as error:
            raise ModelError(
                f"The model's own code failed at '{ascii(id[:160])[1:-1]}': {error}.", repr(error)
            ) from error

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
def _importable(root: Path) -> Iterator[None]:
    """Let the bundle import its own modules, and only for now.

    No bytecode is written: a new ``__pycache__`` would change the bundle's digest and with it lose the consent. Modules
    of an earlier bundle (all call theirs ``scripts``) are forgotten first.
    """
    for name, module in list(sys.modules.items()):
        home = getattr(module, _HOME, None)
        if home is not None and home != str(root):
            del sys.modules[name]
    before = set(sys.modules)
    quiet = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(root))
    try:
        yield
    finally:
        sys.dont_write_bytecode = quiet
        with contextlib.suppress(ValueError):
            sys.path.remove(str(root))
        for name in set(sys.modules) - before:
            loaded = sys.modules.get(name)
            file = getattr(loaded, "__file__", None) or next(iter(getattr(loaded, "__path__", [])), None)
            if file and Path(file).is_relative_to(root):
                setattr(loaded, _HOME, str(root))
