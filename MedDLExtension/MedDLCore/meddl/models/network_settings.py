"""How this computer reaches models: proxy, mirrors and the catalogs that an administrator adds."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from meddl.errors import ModelError, UsageError
from meddl.models.config_files import read_config
from meddl.models.places import cache_dir

logger = logging.getLogger(__name__)

MIRROR_VARIABLE = "MEDDL_MIRROR"
"""Environment variable with mirrors as ``FROM=TO``, several of them separated by ``;``."""

CATALOGS_VARIABLE = "MEDDL_CATALOGS"
"""Environment variable with further catalogs: files or folders, separated as in ``PATH``."""

NO_PROXY = "direct"
"""As ``proxy``: never use one, whatever the environment says."""

_PROXY = re.compile(r"https?://([^/\s@]+@)?[^/\s@:]+(:\d{1,5})?/?")
_FROM = re.compile(r"https?://\S*")
_WINDOWS_PATH = re.compile(r"[A-Za-z]:[\\/]|\\\\")


@dataclass(frozen=True)
class NetworkSettings:
    """What is in the settings file, or in it and the environment.

    Attributes:
        proxy: ``http://[user:password@]host:port``; ``direct`` for none at all; "" leaves it to the environment
            (``HTTPS_PROXY``, ``NO_PROXY``) and the system.
        mirrors: beginning of an address -> what stands there instead: another address, or a folder.
        catalogs: further catalogs, each a ``catalog.json`` or a folder that holds one.
    """

    proxy: str = ""
    mirrors: Mapping[str, str] = field(default_factory=dict)
    catalogs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_proxy(self.proxy)
        for start, goal in self.mirrors.items():
            _check_mirror(start, goal)
        for catalog in self.catalogs:
            if not Path(catalog).expanduser().is_absolute():
                raise UsageError(f"A catalog is named by its whole path, which {catalog[:200]!a} is not.")

    def locate(self, url: str) -> str | Path:
        """Return where ``url`` is to be fetched: the address itself, that on a mirror, or a file in a mirror's folder.

        The longest beginning that fits wins.
        """
        fitting = [start for start in self.mirrors if _begins(url, start)]
        if not fitting:
            return url
        start = max(fitting, key=len)
        rest = url[len(start) :].lstrip("/")
        goal = self.mirrors[start]
        if goal.startswith(("http://", "https://")):
            return f"{goal.rstrip('/')}/{rest}" if rest else goal
        names = [unquote(part) for part in urlsplit(rest).path.split("/") if part]
        if any(name in (".", "..") or "/" in name or "\\" in name or "\0" in name for name in names):
            raise ModelError(f"The address {url[:200]!a} cannot be looked up in a folder.")
        return _folder(goal).joinpath(*names)

    @property
    def shown_proxy(self) -> str:
        """The proxy without its password."""
        return re.sub(r"//[^@/]*@", "//***@", self.proxy)


def settings_path() -> Path:
    """Return the file that :func:`save` writes; it need not exist."""
    return cache_dir() / "network.json"


def load() -> NetworkSettings:
    """Return the settings of file and environment together; of two mirrors for the same address the environment's."""
    stored = stored_settings()
    mirrors = dict(stored.mirrors)
    for text in filter(None, os.environ.get(MIRROR_VARIABLE, "").split(";")):
        mirrors.update([parse_mirror(text)])
    catalogs = [*filter(None, os.environ.get(CATALOGS_VARIABLE, "").split(os.pathsep)), *stored.catalogs]
    return replace(stored, mirrors=mirrors, catalogs=tuple(dict.fromkeys(catalogs)))


def stored_settings() -> NetworkSettings:
    """Return the settings of the file alone.

    Raises:
        ModelError: the file cannot be understood. Going on without a proxy or mirror would send requests elsewhere.
    """
    path = settings_path()
    if not path.is_file():
        return NetworkSettings()
    row = read_config(path, path.name)
    try:
        mirrors, catalogs, proxy = row.get("mirrors", {}), row.get("catalogs", []), row.get("proxy", "")
        texts = [proxy, *mirrors, *mirrors.values(), *catalogs]
        if not isinstance(catalogs, list) or not all(isinstance(text, str) for text in texts):
            raise TypeError("not text")
        return NetworkSettings(proxy, mirrors, tuple(catalogs))
    except UsageError as error:
        raise ModelError(f"{path.name} in MedDL's cache folder: {error.message}") from error
    except (AttributeError, TypeError) as error:
        raise ModelError(
            f"{path.name} in MedDL's cache folder cannot be understood. Delete it.", repr(error)
        ) from error


def save(settings: NetworkSettings) -> None:
    """Write the settings file; readable by its owner only, since a proxy may need a password.

    Raises:
        ModelError: it could not be written.
    """
    path = settings_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=".network-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump({**asdict(settings), "mirrors": dict(settings.mirrors)}, file, indent=2)
            Path(scratch).replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(scratch).unlink()
            raise
    except OSError as error:
        raise ModelError(f"The settings could not be saved: {error.strerror}.") from error


def parse_mirror(text: str) -> tuple[str, str]:
    """Return beginning and goal of a mirror written as ``FROM=TO``.

    Raises:
        UsageError: it is not one.
    """
    start, separator, goal = text.strip().partition("=")
    if not separator:
        raise UsageError(f"A mirror is written as FROM=TO, which {text[:200]!a} is not.")
    _check_mirror(start.strip(), goal.strip())
    return start.strip(), goal.strip()


def _check_proxy(proxy: str) -> None:
    if proxy not in ("", NO_PROXY) and not _PROXY.fullmatch(proxy):
        raise UsageError(f"A proxy is written as http://host:port, or '{NO_PROXY}' for none.")


def _check_mirror(start: str, goal: str) -> None:
    if not _FROM.fullmatch(start):
        raise UsageError(f"A mirror stands for addresses that begin with https://, which {start[:200]!a} does not.")
    if not goal.startswith(("https://", "http://", "file:///", "/", "~")) and not _WINDOWS_PATH.match(goal):
        raise UsageError(f"A mirror is an address or the whole path of a folder, which {goal[:200]!a} is not.")


def _begins(url: str, start: str) -> bool:
    # Whole parts only: https://host is no beginning of https://host.elsewhere.org
    return url.startswith(start) and (start.endswith("/") or url[len(start) : len(start) + 1] in ("", "/", "?"))


def _folder(goal: str) -> Path:
    if not goal.startswith("file:"):
        return Path(goal).expanduser()
    path = unquote(urlsplit(goal).path)
    return Path(path[1:] if re.match(r"/[A-Za-z]:", path) else path)
