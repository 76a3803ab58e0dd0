"""Making the objects of a bundle's config without handing the config to anything that can run code.

Understands MONAI's config language (``_target_``, ``_disabled_``, ``_requires_``, ``@id``, ``%id``, ``$expression``,
relative ids) for the classes of :mod:`meddl.models.allowed_targets` and the calculations of
:mod:`meddl.models.expressions`; anything else is refused with an :class:`UntrustedModelError` that says where and why.
Two things differ from MONAI on purpose: a plain text keeps its ``#``, and steps can be dropped from a list before they
are made.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from meddl.errors import MedDLError, ModelError, UntrustedModelError
from meddl.models import config_scan
from meddl.models.allowed_targets import (
    DEVICE_TARGET,
    FORCED_ARGUMENTS,
    IO_TRANSFORMS,
    OBSOLETE_ARGUMENTS,
    ONNX_TARGET,
    REFUSED_ARGUMENTS,
    TORCHSCRIPT_TARGET,
    AllowedTarget,
    canonical_name,
    find_target,
)
from meddl.models.budget import Budget, check_network_numbers, check_step_numbers
from meddl.models.config_files import ConfigTree
from meddl.models.config_tree import (
    MISSING,
    ROOT,
    SEPARATOR,
    child_id,
    children,
    expand,
    find,
    is_component,
    is_expression,
    normalize_id,
    put,
    reference_of,
)
from meddl.models.content import inside
from meddl.models.expressions import (
    Expression,
    ExpressionFailed,
    ExpressionRefused,
    MethodCall,
    evaluate_expression,
    parse_expression,
    parse_method_call,
)

MAX_REFERENCE_DEPTH = 60
MAX_WORK = 1_000_000
MAX_ARGUMENT_VALUES = 100_000

LoadWeights = Callable[[Path], Any]
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
        self._root = Path(bundle_root)
        self._trusted = trusted
        self._weights = weights
        self._source = source
        tree = copy.deepcopy(tree)
        for key in [key for key in tree if isinstance(key, str) and SEPARATOR in normalize_id(key)]:
            put(tree, normalize_id(key), tree.pop(key))
        for key, value in {"bundle_root": str(self._root), **(overrides or {})}.items():
            put(tree, normalize_id(key), _copied(value))
        self._tree: ConfigTree = expand(tree, source)
        self._resolved: dict[frozenset[str], dict[str, Any]] = {}
        self._work = MAX_WORK
        self._budget = Budget(source)

    def __contains__(self, id: str) -> bool:
        return find(self._tree, normalize_id(id)) is not MISSING

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
        node = find(self._tree, id)
        if node is MISSING:
            if default is MISSING:
                raise ModelError(f"{self._source} has no '{_shown(id)}'.")
            return default
        if raw:
            return copy.deepcopy(node)
        dropped = frozenset(canonical_name(name) for name in drop)
        try:
            return _Resolution(self, dropped, self._resolved.setdefault(dropped, {})).resolve(id)
        except RecursionError as error:
            raise ModelError(f"{self._source}: '{_shown(id)}' is nested too deep.") from error

    def text(self, id: str) -> str | None:
        """Return the text that ``id`` stands for, or None when there is no such id or it is no text.

        Nothing is made for it, so that a bundle can be looked over without PyTorch.

        Raises:
            UntrustedModelError: it would take more than harmless expressions.
            ModelError: it refers to something that would have to be made, or has no value.
        """
        id = normalize_id(id)
        if find(self._tree, id) is MISSING:
            return None
        try:
            value = _Resolution(self, NO_DROP, {}, make=False).resolve(id)
        except RecursionError as error:
            raise ModelError(f"{self._source}: '{_shown(id)}' is nested too deep.") from error
        return value if isinstance(value, str) else None

    def reasons(self, ids: Collection[str] | None = None, *, drop: Collection[str] = IO_TRANSFORMS) -> tuple[str, ...]:
        """Return why the config needs trust, one line per place; nothing is made or imported. Empty: it needs none.

        Args:
            ids: look only at these and at what they refer to; at the whole config by default.
            drop: transforms (names or ids) that will be dropped from lists and so don't count.
        """
        wanted = None if ids is None else [normalize_id(id) for id in ids]
        dropped = frozenset(canonical_name(name) for name in drop)
        return config_scan.scan(self._tree, self._source, wanted, dropped)

    def ids_of_class(self, names: Collection[str]) -> tuple[str, ...]:
        """Return the ids of all components whose class has one of these short names, in the config's order."""
        return config_scan.ids_of_class(self._tree, frozenset(names))

    def method_calls(self, id: str) -> list[tuple[str, dict[str, Any]]]:
        """Return (method, arguments) of each ``$@id.method(name=value)`` in the config, in order. None is called.

        Raises:
            UntrustedModelError: an argument would take more than known classes and harmless expressions.
            ModelError: an argument has no value.
        """
        calls = []
        for place, text in config_scan.expressions(self._tree):
            try:
                call = parse_method_call(text[1:])
            except ExpressionRefused:
                continue
            if call is None or call.target != normalize_id(id):
                continue
            resolution = _Resolution(self, NO_DROP, self._resolved.setdefault(NO_DROP, {}))
            calls.append((call.name, resolution.arguments(place, text, call)))
        return calls

    def targets(self, ids: Collection[str], *, drop: Collection[str] = IO_TRANSFORMS) -> tuple[str, ...]:
        """Return the names of the classes and functions that making these ids would call; nothing is made."""
        dropped = frozenset(canonical_name(name) for name in drop)
        return config_scan.scan_targets(self._tree, [normalize_id(id) for id in ids], dropped)

    def _spend(self, amount: int = 1) -> None:
        self._work -= amount
        if self._work < 0:
            raise ModelError(f"{self._source} takes too much work to read, as no real configuration does.")


class _Resolution:
    """One walk through a config, with one set of dropped transforms and the objects made so far."""

    def __init__(
        self, config: RestrictedConfig, drop: frozenset[str], done: dict[str, Any], *, make: bool = True
    ) -> None:
        self._may_make = make
        self._config = config
        self._drop = drop
        self._done = done
        self._active: list[str] = []

    def resolve(self, id: str) -> Any:
        if id in self._done:
            return self._done[id]
        node = find(self._config._tree, id)
        if node is MISSING:
            raise ModelError(f"{self._place(id)} is referred to but not there.")
        if id == ROOT:
            raise ModelError(f"{self._config._source} can only be made part by part.")
        if id in self._active:
            raise ModelError(f"{self._place(id)} refers to itself in a circle.")
        if len(self._active) > MAX_REFERENCE_DEPTH:
            raise ModelError(f"{self._place(id)}: references are nested too deep.")
        self._config._spend()
        self._active.append(id)
        try:
            value = self._build(id, node)
        finally:
            self._active.pop()
        self._done[id] = value
        return value

    def arguments(self, id: str, text: str, call: MethodCall) -> dict[str, Any]:
        """Return the values of a method call's arguments."""
        return {name: self._evaluated(id, text[1:], given) for name, given in call.arguments.items()}

    def _build(self, id: str, node: Any) -> Any:
        if is_component(node):
            return self._component(id, node)
        if isinstance(node, dict):
            return dict(self._items(id, node))
        if isinstance(node, list):
            return [value for _, value in self._items(id, node)]
        if isinstance(node, str):
            return self._text(id, node)
        return node

    def _items(self, id: str, node: dict[Any, Any] | list[Any]) -> list[tuple[Any, Any]]:
        items = []
        for key, sub_id, child in children(id, node):
            if isinstance(node, list) and self._drop and config_scan.is_dropped(child, self._drop, sub_id):
                continue
            value = self._child(sub_id, child)
            if is_component(child) and value is None:
                continue  # MONAI leaves disabled components out
            items.append((key, value))
        return items

    def _child(self, id: str, node: Any) -> Any:
        self._config._spend()
        return self.resolve(id) if isinstance(node, dict | list | str) else node

    def _text(self, id: str, text: str) -> Any:
        if is_expression(text):
            return self._expression(id, text[1:])
        refused = config_scan.macro_refusal(text)
        if refused:
            raise self._untrusted(id, refused)
        if text.startswith("%"):
            raise ModelError(f"{self._place(id)} copies '{_shown(text[1:])}', which is not there.")
        reference = reference_of(text)
        return text if reference is None else self.resolve(reference)

    def _expression(self, id: str, text: str) -> Any:
        return self._evaluated(id, text, None)

    def _evaluated(self, id: str, text: str, expression: Expression | None) -> Any:
        """Return the value of an expression: that of ``text``, or a part of it that is parsed already."""
        try:
            expression = expression or parse_expression(text)
            return evaluate_expression(expression, self.resolve, lambda target, given: self._called(id, target, given))
        except ExpressionRefused as error:
            raise self._untrusted(id, config_scan.expression_reason(text, str(error))) from error
        except ExpressionFailed as error:
            raise ModelError(f"{self._place(id)}: the expression {_shown(text)!r} {error}.") from error

    def _component(self, id: str, node: dict[Any, Any]) -> Any:
        target = node["_target_"]
        refused = config_scan.target_refusal(node)
        if refused:
            raise self._untrusted(id, refused)
        if not self._may_make:
            raise ModelError(f"{self._place(id)} should be a text, and is something to be made.")
        if self._is_disabled(id, node):
            return None
        if "_requires_" in node:
            self._child(child_id(id, "_requires_"), node["_requires_"])
        arguments = {
            key: value
            for key, value in self._items(id, {key: value for key, value in node.items() if not _is_meta(key)})
        }
        return self._called(id, target, arguments)

    def _called(self, id: str, target: str, arguments: dict[str, Any]) -> Any:
        if not self._may_make:
            raise ModelError(f"{self._place(id)} should be a text, and is something to be made.")
        self._config._spend(_expanded_size(arguments))
        for name in REFUSED_ARGUMENTS & arguments.keys():
            if not _is_off(arguments[name]):
                raise self._untrusted(id, f"gives {target} the argument '{name}'")
        if target == TORCHSCRIPT_TARGET:
            return self._torchscript(id, arguments)
        if target == ONNX_TARGET:
            return self._onnx(id, arguments)
        if target == DEVICE_TARGET:
            return self._device(id, arguments)
        allowed = find_target(target)
        assert allowed is not None  # target_refusal has seen to it
        return self._make(id, allowed, arguments)

    def _is_disabled(self, id: str, node: dict[Any, Any]) -> bool:
        if "_disabled_" not in node:
            return False
        value = self._child(child_id(id, "_disabled_"), node["_disabled_"])
        if isinstance(value, str):
            return value.lower().strip() == "true"
        if type(value) not in (bool, int, float, type(None), list, tuple, dict):
            raise self._untrusted(id, "has a '_disabled_' that is neither true nor false")
        return bool(value)

    def _make(self, id: str, allowed: AllowedTarget, arguments: dict[str, Any]) -> Any:
        if allowed.is_network:
            check_network_numbers(arguments, self._place(id))
        else:
            check_step_numbers(arguments, self._place(id))
        arguments = {
            name: value for name, value in arguments.items() if name not in OBSOLETE_ARGUMENTS.get(allowed.name, ())
        }
        for name, value in FORCED_ARGUMENTS.get(allowed.name, {}).items():
            arguments.setdefault(name, value)
        try:
            factory = allowed.load()
            if allowed.is_network:
                self._config._budget.try_without_memory(lambda: factory(**arguments))
            with self._config._budget.spent():
                return factory(**arguments)
        except MedDLError:
            raise
        except Exception as error:
            hint = _shown(str(error).strip().split("\n")[0], 300) or type(error).__name__
            raise ModelError(
                f"{self._place(id)}: {allowed.name} cannot be made with these arguments ({hint}).",
                details=f"{type(error).__name__}: {error}",
            ) from error

    def _torchscript(self, id: str, arguments: dict[str, Any]) -> Any:
        file = arguments.pop("f", None)
        device = arguments.pop("map_location", None)
        if arguments or not isinstance(file, str):
            raise self._untrusted(id, f"calls {TORCHSCRIPT_TARGET} with more than a file of the bundle")
        path = inside(self._root, file)
        if not self._config._trusted:
            raise self._untrusted(
                id, f"runs the TorchScript program '{path.relative_to(self._root.resolve()).as_posix()}'"
            )
        # The caller moves it to where it should run, so the device here need only be one.
        if device is not None and not _is_device(device):
            raise self._untrusted(id, f"calls {TORCHSCRIPT_TARGET} with a map_location that is no device")
        network = self._load(path)
        import torch

        if not isinstance(network, torch.nn.Module):
            raise ModelError(f"{self._place(id)}: '{path.name}' is not a TorchScript program.")
        try:
            return network if device is None else network.to(device)
        except (RuntimeError, AssertionError) as error:
            raise ModelError(
                f"{self._place(id)}: the program cannot be moved to the device {device}.", str(error)
            ) from error

    def _load(self, path: Path) -> Any:
        if self._config._weights is not None:
            return self._config._weights(path)
        from meddl.models.weights import load_weights

        return load_weights(path, trusted=self._config._trusted)

    def _onnx(self, id: str, arguments: dict[str, Any]) -> Any:
        # No consent is needed: the file is refused unless all its operators are standard ones.
        file = arguments.pop("f", None)
        device = arguments.pop("device", None)
        if arguments or not isinstance(file, str) or (device is not None and not _is_device(device)):
            raise self._untrusted(id, f"calls {ONNX_TARGET} with more than a file of the bundle")
        from meddl.networks.onnx_network import OnnxNetwork

        return OnnxNetwork(inside(self._root, file), device or "cpu", trusted=self._config._trusted)

    def _device(self, id: str, arguments: dict[str, Any]) -> Any:
        values = list(arguments.values())
        if set(arguments) - {"type", "device", "index"} or not values or not _is_device(values[0]):
            raise self._untrusted(id, "makes a device in an unusual way")
        import torch

        return torch.device(*values)

    @property
    def _root(self) -> Path:
        return self._config._root

    def _place(self, id: str) -> str:
        return f"{self._config._source}: '{_shown(id)}'"

    def _untrusted(self, id: str, why: str) -> UntrustedModelError:
        reason = f"{self._place(id)} {why}"
        return UntrustedModelError(
            f"{reason}. That may run code, so it needs your consent to this model.", reasons=(reason,)
        )


def _copied(value: Any) -> Any:
    """Copy containers, not the objects in them: an override may be a network."""
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value


def _is_meta(key: object) -> bool:
    return key in config_scan.META_KEYS


def _is_off(value: Any) -> bool:
    return value is None or (type(value) in (bool, int, float, str) and not value)


def _is_device(value: Any) -> bool:
    import torch

    if isinstance(value, torch.device):
        return True
    try:
        return isinstance(value, str) and bool(torch.device(value))
    except RuntimeError:
        return False


def _shown(text: str, length: int = 160) -> str:
    return ascii(text[:length])[1:-1]


def _expanded_size(value: Any) -> int:
    """Count the values below ``value`` as if nothing were shared: what walking through it would cost."""
    count = 0
    stack = [value]
    while stack:
        item = stack.pop()
        count += 1
        if count > MAX_ARGUMENT_VALUES:
            raise ModelError(f"The configuration makes something of more than {MAX_ARGUMENT_VALUES} values.")
        if isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, list | tuple):
            stack.extend(item)
    return count
