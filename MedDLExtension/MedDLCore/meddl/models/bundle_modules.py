"""Importing the modules of trusted bundles, each bundle's apart from all others.

Most bundles call their package ``scripts``. Their modules are in ``sys.modules`` and on the import path only while code
of that bundle is being imported, so that the next bundle, and everything else in the process, finds its own.
"""

from __future__ import annotations

import builtins
import contextlib
import importlib.machinery
import importlib.util
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from meddl.models.requirements import own_modules

PROTECTED = frozenset(sys.stdlib_module_names) | {
    "einops", "meddl", "meddl_slicer", "monai", "nibabel", "numpy", "safetensors", "scipy", "skimage", "slicer",
    "torch", "vtk",
}  # fmt: skip
"""Names that always mean what they mean elsewhere, whatever a bundle calls its files."""

_lock = threading.RLock()


class BundleModules:
    """The modules of one bundle.

    Args:
        root: the bundle's folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._names = own_modules(root) - PROTECTED
        self._modules: dict[str, ModuleType] = {}
        self._finder = _Finder(root, self._names, self._import)
        self._depth = 0

    @contextlib.contextmanager
    def importable(self) -> Iterator[None]:
        """Let the bundle's modules be imported, and only within this block.

        No bytecode is written: a new ``__pycache__`` would change the bundle's digest and with it lose the consent.
        """
        with _lock:
            if self._depth:
                yield
                return
            quiet, path = sys.dont_write_bytecode, list(sys.path)
            others = self._take_out()
            sys.modules.update(self._modules)
            sys.meta_path.insert(0, self._finder)
            sys.dont_write_bytecode = True
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
                sys.dont_write_bytecode = quiet
                sys.path[:] = path
                sys.meta_path.remove(self._finder)
                self._modules = self._take_out()
                sys.modules.update(others)

    def _take_out(self) -> dict[str, ModuleType]:
        """Remove the modules that go by the bundle's names, whoever they belong to, and return them."""
        found = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in self._names}
        for name in found:
            del sys.modules[name]
        return found

    def _import(self, *args: Any, **kwargs: Any) -> Any:
        """Import as the bundle's own code does: also later, while its network runs."""
        with self.importable():
            return builtins.__import__(*args, **kwargs)


class _Finder:
    """Finds a bundle's modules in its folder."""

    def __init__(self, root: Path, names: frozenset[str], import_: Any) -> None:
        self._root = root
        self._names = names
        self._import = import_

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname.partition(".")[0] not in self._names:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, [str(self._root)] if path is None else list(path))
        if spec is not None and type(spec.loader) is importlib.machinery.SourceFileLoader:
            spec.loader = _Loader(spec.loader.name, spec.loader.path, self._import)
        return spec


class _Loader(importlib.machinery.SourceFileLoader):
    """Gives a module an ``__import__`` of its own, that its functions use whenever they run."""

    def __init__(self, fullname: str, path: str, import_: Any) -> None:
        super().__init__(fullname, path)
        self._import = import_

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": self._import}
        super().exec_module(module)


_by_root: dict[str, tuple[str, BundleModules]] = {}


def modules_of(root: Path, digest: str) -> BundleModules:
    """Return the modules of a bundle, the same ones as long as its bytes (``digest``) are."""
    known = _by_root.get(str(root))
    if known is None or known[0] != digest:
        known = _by_root[str(root)] = (digest, BundleModules(root))
    return known[1]
