"""What running a bundle takes besides its own files: Python packages, and files that are to be downloaded first.

Code of the bundle is read as text, never imported.
"""

from __future__ import annotations

import ast
import importlib.util
import logging
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meddl.errors import MedDLError
from meddl.models import content
from meddl.models.allowed_targets import short_name
from meddl.models.config_files import read_config

if TYPE_CHECKING:
    from meddl.models.bundle import ModelBundle

logger = logging.getLogger(__name__)

LARGE_FILES = ("large_files.yml", "large_files.yaml", "large_files.json")
MAX_SOURCE_BYTES = 1 << 20
MAX_MODULES = 200

CLASS_PACKAGES = {
    "TorchVisionFCModel": "torchvision",
    "TorchVisionFullyConvModel": "torchvision",
    "MILModel": "torchvision",
    "DAF3D": "torchvision",
    "FCN": "torchvision",
    "MCFCN": "torchvision",
    "NetAdapter": "torchvision",
    "CellSamWrapper": "segment_anything",
    "Transchex": "transformers",
    "OnnxNetwork": "onnxruntime",
}
"""Classes of MONAI, and our own, that take an optional package to be made."""
INSTALL_NAMES = {
    "PIL": "pillow", "cc3d": "connected-components-3d", "cv2": "opencv-python", "ignite": "pytorch-ignite",
    "segment_anything": "segment-anything", "skimage": "scikit-image", "sklearn": "scikit-learn", "yaml": "PyYAML",
}  # fmt: skip
"""Import name -> what to install, where the two differ."""


@dataclass(frozen=True)
class LargeFile:
    """A file that a bundle leaves to be downloaded (``large_files.yml``), and whether it is there."""

    path: str
    url: str
    present: bool


def large_files(bundle: ModelBundle) -> tuple[LargeFile, ...]:
    """Return the files a bundle lists for downloading; an unreadable list counts as none."""
    for name in LARGE_FILES:
        try:
            listed = read_config(content.inside(bundle.path, name), name).get("large_files")
        except MedDLError as error:
            logger.debug("no list of large files: %s", error)
            continue
        files = []
        for entry in listed if isinstance(listed, list) else ():
            path = entry.get("path") if isinstance(entry, dict) else None
            if isinstance(path, str) and path:
                files.append(LargeFile(path, str(entry.get("url") or ""), _is_there(bundle.path, path)))
        return tuple(files)
    return ()


def required_packages(bundle: ModelBundle) -> tuple[str, ...]:
    """Return the optional Python packages (import names) that running a bundle takes, installed or not.

    They are what MONAI's classes in its inference config need, and what the bundle's own modules import at their top,
    as far as running the model reaches them.
    """
    from meddl.models.inference_parts import find_parts

    try:
        config = bundle.restricted_config()
        parts = find_parts(config, bundle.metadata)
        targets = config.targets(parts.ids, drop=parts.drop)
    except MedDLError as error:
        logger.debug("no required packages: %s", error)
        return ()
    found = [CLASS_PACKAGES[name] for name in map(short_name, targets) if name in CLASS_PACKAGES]
    found += _Sources(bundle.path).imported_by(targets)
    return tuple(dict.fromkeys(name for name in found if name not in _always_there()))


def missing_packages(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return those of the packages that are not installed, by the names to install them by. Nothing is imported."""
    return tuple(INSTALL_NAMES.get(name, name) for name in names if not _is_installed(name))


def own_modules(root: Path) -> frozenset[str]:
    """Return the names of the modules and packages in a bundle's folder that its code could import."""
    names = set()
    for entry in root.iterdir() if root.is_dir() else ():
        if entry.is_file() and entry.suffix == ".py":
            names.add(entry.stem)
        elif entry.is_dir() and entry.name.isidentifier() and any(entry.glob("**/*.py")):
            names.add(entry.name)
    return frozenset(names)


def _always_there() -> frozenset[str]:
    return frozenset(sys.stdlib_module_names) | {"meddl", "monai", "numpy", "torch", "scipy", "einops", "skimage"}


def _is_installed(name: str) -> bool:
    try:
        return name in sys.modules or importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _is_there(root: Path, path: str) -> bool:
    try:
        return bool(content.inside(root, path))
    except MedDLError:
        return False


class _Sources:
    """The Python files of a bundle, read as text."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._own = own_modules(root)

    def imported_by(self, targets: tuple[str, ...]) -> list[str]:
        """Return the names of foreign packages that making these classes would import."""
        queue = [target for target in targets if target.partition(".")[0] in self._own]
        seen: set[Path] = set()
        foreign: list[str] = []
        while queue and len(seen) < MAX_MODULES:
            for path, package in self._files(queue.pop()):
                if path in seen:
                    continue
                seen.add(path)
                for name in _imports(path, package):
                    if name.partition(".")[0] in self._own:
                        queue.append(name)
                    else:
                        foreign.append(name.partition(".")[0])
        return foreign

    def _files(self, dotted: str) -> Iterator[tuple[Path, str]]:
        """Yield the files on the way to a module or to something in it, each with its package's name."""
        here = self._root
        names = dotted.split(".")
        for index, name in enumerate(names):
            if (here / f"{name}.py").is_file():
                yield here / f"{name}.py", ".".join(names[:index])
                return
            here = here / name
            if (here / "__init__.py").is_file():
                yield here / "__init__.py", ".".join(names[: index + 1])
            elif not here.is_dir():
                return


def _imports(path: Path, package: str) -> Iterator[str]:
    """Yield the full names that a module imports when it is imported: not those in functions, nor those it tries."""
    try:
        if path.stat().st_size > MAX_SOURCE_BYTES:
            return
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        logger.debug("source not read: %s", type(error).__name__)
        return
    stack: list[Any] = list(tree.body)
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                above = ".".join(parts[: len(parts) - node.level + 1])
                base = f"{above}.{base}" if base else above
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If | ast.With):
            stack.extend(node.body)
