"""Making the objects of a bundle's config without handing the config to anything that can run code.

Understands MONAI's config language (``_target_``, ``_disabled_``, ``_requires_``, ``@id``, ``%id``, ``$expression``,
relative ids) for the classes of :mod:`meddl.models.allowed_targets` and the calculations of
:mod:`meddl.models.expressions`; anything else is refused with an :class:`UntrustedModelError` that says where and why.
Two things differ from MONAI on purpose: a plain text keeps its ``#``, and steps can be dropped from a list before they
are made.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from meddl.errors import ModelError
from meddl.models import config_scan
from meddl.models.allowed_targets import (
    IO_TRANSFORMS,
    canonical_name,
)
from meddl.models.budget import Budget
from meddl.models.config_files import ConfigTree
from meddl.models.config_given import Given, LoadWeights, shown
from meddl.models.config_resolution import Resolution
from meddl.models.config_tree import (
    MISSING,
    SEPARATOR,
    expand,
    find,
    normalize_id,
    put,
)
from meddl.models.expressions import (
    ExpressionRefused,
    parse_method_call,
)

NO_DROP: frozenset[str] = frozenset()


class RestrictedConfig:
    """A config whose harmless parts can be turned into objects.

    Example::

        config = RestrictedConfig(bundle.config(), bundle_root=bundle.path)
        network = config.get("network_def")
        preprocessing = config.get("preprocessing", drop={"LoadImaged", "EnsureChannelFirstd"})

    Args:
        tree: the config as read from its file; it is copied.
        bundle_root: the bundle's folder; also what ``@bundle_root`` means.
        overrides: values by id, nested ids included, that replace those of the config. They may be any objects.
        trusted: whether the user consented to this bundle: TorchScript files of the bundle may be loaded then. Nothing
            else changes; a config that needs more goes to :func:`meddl.models.trusted_config.open_trusted_config`.
        weights: loads a TorchScript file of the bundle; :func:`meddl.models.load_weights` by default.
        source: what to call the config in messages.
    """

    def __init__(
        self,
        tree: ConfigTree,
        *,
        bundle_root: Path,
        overrides: Mapping[str, Any] | None = None,
        trusted: bool = False,
        weights: LoadWeights | None = None,
        source: str = "configs/inference.json",
    ) -> None:
        root = Path(bundle_root)
        tree = copy.deepcopy(tree)
        for key in [key for key in tree if isinstance(key, str) and SEPARATOR in normalize_id(key)]:
            put(tree, normalize_id(key), tree.pop(key))
        for key, value in {"bundle_root": str(root), **(overrides or {})}.items():
            put(tree, normalize_id(key), _copied(value))
        self._given = Given(expand(tree, source), root, source, trusted, weights, Budget(source))
        self._resolved: dict[frozenset[str], dict[str, Any]] = {}

    def __contains__(self, id: str) -> bool:
        return find(self._given.tree, normalize_id(id)) is not MISSING

    def get(self, id: str, default: Any = MISSING, *, raw: bool = False, drop: Collection[str] = ()) -> Any:
        """Return the object that ``id`` stands for; the same one each time, as references to it do.

        Args:
            id: ``preprocessing``, ``inferer#roi_size``, ``preprocessing::transforms::0``, ...
            default: what to return when there is no such id.
            raw: return the config's text (references to other parts filled in by ``%`` only) and make nothing.
            drop: names of transforms (``LoadImaged``), or ids of steps, to leave out of every list, also in what ``id``
                refers to.

        Raises:
            UntrustedModelError: it would take more than the known classes and harmless expressions.
            ModelError: no such id, a circle of references, or a class that cannot be made with these arguments.
        """
        id = normalize_id(id)
        node = find(self._given.tree, id)
        if node is MISSING:
            if default is MISSING:
                raise ModelError(f"{self._given.source} has no '{shown(id)}'.")
            return default
        if raw:
            return copy.deepcopy(node)
        dropped = frozenset(canonical_name(name) for name in drop)
        try:
            return Resolution(self._given, dropped, self._resolved.setdefault(dropped, {})).resolve(id)
        except RecursionError as error:
            raise ModelError(f"{self._given.source}: '{shown(id)}' is nested too deep.") from error

    def text(self, id: str) -> str | None:
        """Return the text that ``id`` stands for, or None when there is no such id or it is no text.

        Nothing is made for it, so that a bundle can be looked over without PyTorch.

        Raises:
            UntrustedModelError: it would take more than harmless expressions.
            ModelError: it refers to something that would have to be made, or has no value.
        """
        id = normalize_id(id)
        if find(self._given.tree, id) is MISSING:
            return None
        try:
            value = Resolution(self._given, NO_DROP, {}, make=False).resolve(id)
        except RecursionError as error:
            raise ModelError(f"{self._given.source}: '{shown(id)}' is nested too deep.") from error
        return value if isinstance(value, str) else None

    def reasons(self, ids: Collection[str] | None = None, *, drop: Collection[str] = IO_TRANSFORMS) -> tuple[str, ...]:
        """Return why the config needs trust, one line per place; nothing is made or imported. Empty: it needs none.

        Args:
            ids: look only at these and at what they refer to; at the whole config by default.
            drop: transforms (names or ids) that will be dropped from lists and so don't count.
        """
        wanted = None if ids is None else [normalize_id(id) for id in ids]
        dropped = frozenset(canonical_name(name) for name in drop)
        return config_scan.scan(self._given.tree, self._given.source, wanted, dropped)

    def ids_of_class(self, names: Collection[str]) -> tuple[str, ...]:
        """Return the ids of all components whose class has one of these short names, in the config's order."""
        return config_scan.ids_of_class(self._given.tree, frozenset(names))

    def method_calls(self, id: str) -> list[tuple[str, dict[str, Any]]]:
        """Return (method, arguments) of each ``$@id.method(name=value)`` in the config, in order. None is called.

        Raises:
            UntrustedModelError: an argument would take more than known classes and harmless expressions.
            ModelError: an argument has no value.
        """
        calls = []
        for place, text in config_scan.expressions(self._given.tree):
            try:
                call = parse_method_call(text[1:])
            except ExpressionRefused:
                continue
            if call is None or call.target != normalize_id(id):
                continue
            resolution = Resolution(self._given, NO_DROP, self._resolved.setdefault(NO_DROP, {}))
            calls.append((call.name, resolution.arguments(place, text, call)))
        return calls

    def targets(self, ids: Collection[str], *, drop: Collection[str] = IO_TRANSFORMS) -> tuple[str, ...]:
        """Return the names of the classes and functions that making these ids would call; nothing is made."""
        dropped = frozenset(canonical_name(name) for name in drop)
        return config_scan.scan_targets(self._given.tree, [normalize_id(id) for id in ids], dropped)


def _copied(value: Any) -> Any:
    """Copy containers, not the objects in them: an override may be a network."""
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value
