"""Where models, downloads and consents live on this computer."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_dir() -> Path:
    """Return the folder for everything MedDL fetches; the user may delete it at any time. It need not exist yet.

    ``$MEDDL_CACHE`` wins; otherwise the platform's usual place.
    """
    chosen = os.environ.get("MEDDL_CACHE")
    if chosen:
        return Path(chosen).expanduser().absolute()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
        return (Path(base) if base else Path.home() / "AppData" / "Local") / "meddl"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "meddl"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base and Path(base).is_absolute() else Path.home() / ".cache") / "meddl"


def definitions_dir() -> Path:
    """Return the folder with ``catalog.json`` and the model definitions that come with MedDL.

    ``$MEDDL_MODELS_DIR`` wins; an installed extension has them beside the package, a source tree at its top, and a
    package that pip installed in the environment's ``share`` folder.
    """
    chosen = os.environ.get("MEDDL_MODELS_DIR")
    if chosen:
        return Path(chosen).expanduser().absolute()
    root = Path(__file__).resolve().parents[2]
    tree = root.parents[1] / "Resources" / "Models"
    places = (root / "Resources" / "Models", tree, Path(sys.prefix) / "share" / "meddl" / "Models")
    return next((place for place in places if (place / "catalog.json").is_file()), tree)
