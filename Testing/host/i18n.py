"""`slicer.i18n`: texts pass through the application's translators, of which the host installs none."""

from __future__ import annotations

import slicer


def translate(context: str, text: str) -> str:
    return slicer.app.translate(context, text)


def getContext(sourceFile: str) -> str:
    """Name under which the texts of a source file are translated: its package, if it is in one, and its name."""
    from pathlib import Path

    path = Path(sourceFile)
    in_package = path.is_file() and (path.parent / "__init__.py").is_file()
    return f"{path.parent.name}.{path.stem}" if in_package else path.stem


def tr(text: str) -> str:
    """Translates a text of the calling file."""
    import inspect

    caller = inspect.currentframe().f_back
    return translate(getContext(caller.f_code.co_filename), text)
