"""Where the files of a dataset lie: in its folder, and nowhere that a link in it leads to.

A dataset may come from anybody, and more cases be added to it: its manifest, and links among its folders, must not make
that change files elsewhere.
"""

from __future__ import annotations

from pathlib import Path

from meddl.errors import UsageError


def own_place(root: Path, name: str) -> Path:
    """Return the path of a dataset's file, whose folder lies in the dataset.

    Args:
        name: relative to the dataset, with "/".

    Raises:
        UsageError: one of its folders is a link that leads out of the dataset.
    """
    path = root / name
    try:
        is_own = path.parent.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError):  # links in a circle
        is_own = False
    if not is_own:
        raise UsageError(f"In the folder {root.name} something is a link to another place, where nothing is to be "
                         "changed. Export into an empty folder.")  # fmt: skip
    return path


def check_work_folder(folder: Path) -> None:
    """Find out whether the folder for unfinished files, which is emptied, is one.

    Raises:
        UsageError: it, or its lock, is a link to something else.
    """
    own_place(folder.parent, f"{folder.name}/lock")
    if folder.is_symlink() or (folder / "lock").is_symlink():
        raise UsageError(f"{folder.name} in the folder {folder.parent.name} is a link to another place, where nothing "
                         "is to be changed. Export into an empty folder.")  # fmt: skip
