"""Downloading one file from an address: resumed when it broke off, verified as a whole before it counts.

A file whose SHA-256 is known needs no trust in the way it came, but the way is kept narrow nevertheless: https only
(http for this computer and for a mirror that was set up so), no other scheme by redirection, no more bytes than the
catalog says.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import os
import re
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NoReturn
from urllib.parse import urlsplit

import meddl
from meddl.errors import DownloadError, JobCancelled
from meddl.models import network_settings
from meddl.models.content import file_sha256
from meddl.models.file_lock import locked
from meddl.models.network_settings import NetworkSettings
from meddl.models.url_opening import opener_for

logger = logging.getLogger(__name__)

Progress = Callable[[float, str], None]
Cancelled = Callable[[], bool]

TIMEOUT_S = 20.0
"""Longest silence of a server before the connection is made anew."""
BACKOFF_S = (0.5, 1.0, 2.0, 4.0)
"""Pauses between attempts that brought nothing; after the last the download is given up. One that brought something
starts the count again."""
FREE_BYTES = 256 << 20
"""What has to stay free on the disk."""
STALE_S = 14 * 24 * 3600
"""Age at which what is left of a broken download is deleted."""

_CHUNK = 256 << 10
_NETWORK_ERRORS = (urllib.error.URLError, TimeoutError, ConnectionError, ssl.SSLError)
_TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


class _Interrupted(Exception):
    """The connection broke; trying again may help."""


class _Changed(Exception):
    """What is there already does not fit what the server has: start over."""


def download_file(
    url: str,
    sha256: str,
    size: int,
    folder: Path,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
    settings: NetworkSettings | None = None,
    name: str = "",
) -> Path:
    """Return the file behind ``url`` as a file of ``folder``, named by its SHA-256; one that is there is reused.

    What a broken or cancelled download has brought so far stays in ``folder`` and is taken up by the next call.

    Args:
        url: ``https://...``; looked up on a mirror when the settings name one for it.
        sha256: of the whole file; anything else that arrives is deleted.
        size: of the file in bytes; a server that says or sends another is refused.
        folder: made when missing.
        progress: called with a fraction (0 to 1) and one line of text.
        cancelled: asked often.
        settings: proxy and mirrors; the user's by default.
        name: what to call it for the user; the last part of the address by default.

    Raises:
        DownloadError: no connection, no such file, no space, or not the expected file.
        JobCancelled: on request.
    """
    settings = network_settings.load() if settings is None else settings
    download = _Download(url, sha256, size, folder, settings, name)
    download.say = progress or download.say
    download.cancelled = cancelled or download.cancelled
    with locked(folder / f".{sha256}.lock", download.cancelled, lambda: download.tell("waiting for another process")):
        return download.run()


def sweep(folder: Path) -> None:
    """Delete what broken downloads left in ``folder`` long ago."""
    for path in [*folder.glob("*.part"), *folder.glob("*.part.json"), *folder.glob(".*.lock")]:
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > STALE_S:
                path.unlink()


class _Download:
    """One download; the state that its attempts share."""

    def __init__(self, url: str, sha256: str, size: int, folder: Path, settings: NetworkSettings, name: str) -> None:
        self.url, self.sha256, self.size, self.settings = url, sha256, size, settings
        self.name = name or urlsplit(url).path.rpartition("/")[2] or url
        self.goal = folder / sha256
        self.part = folder / f"{sha256}.part"
        self.facts = folder / f"{sha256}.part.json"
        self.say: Progress = lambda fraction, text: None
        self.cancelled: Cancelled = lambda: False
        self.resumed = False

    def run(self) -> Path:
        if self.goal.is_file():
            if self.goal.stat().st_size == self.size and file_sha256(self.goal) == self.sha256:
                return self.goal
            self.goal.unlink()
        if self.have > self.size:
            self.forget()
        self._check_space()
        place = self.settings.locate(self.url)
        self._fetch(place)
        if not self._is_right():
            self.forget()
            if self.resumed:
                # The beginning may be of another file than the end. Once more, from the start.
                logger.info("A resumed download was not right as a whole; it is fetched again.")
                self._fetch(place)
            if not self._is_right():
                self.forget()
                raise DownloadError(
                    f"The download of {self.name} is not the file it should be (its SHA-256 differs), so it was "
                    "deleted. Try again; if it stays so, the file was replaced, or a mirror or proxy changes it.",
                    details=f"expected {self.sha256}",
                )
        self.part.replace(self.goal)
        self.forget()
        self.say(1.0, f"{self.name} is downloaded")
        return self.goal

    @property
    def have(self) -> int:
        return self.part.stat().st_size if self.part.is_file() else 0

    def forget(self) -> None:
        self.part.unlink(missing_ok=True)
        self.facts.unlink(missing_ok=True)

    def tell(self, text: str = "") -> None:
        have = self.have
        text = text or f"{have / 1e6:.0f} of {self.size / 1e6:.0f} MB"
        self.say(min(1.0, have / max(1, self.size)), f"Downloading {self.name}: {text}")

    def raise_if_cancelled(self) -> None:
        if self.cancelled():
            raise JobCancelled(f"The download of {self.name} was cancelled.")

    def _is_right(self) -> bool:
        self.raise_if_cancelled()
        return self.have == self.size and file_sha256(self.part) == self.sha256

    def _check_space(self) -> None:
        needed = self.size - self.have
        if shutil.disk_usage(self.part.parent).free < needed + FREE_BYTES:
            raise DownloadError(
                f"There is not enough free disk space for the {self.size / 1e6:.0f} MB of {self.name}. Make room on "
                "the disk of MedDL's cache folder and try again; the download goes on where it stopped."
            )

    def _fetch(self, place: str | Path) -> None:
        if isinstance(place, Path):
            self._copy(place)
            return
        failures = 0
        while self.have < self.size:
            before, problem = self.have, ""
            try:
                self._attempt(place)
            except _Changed:
                self.forget()
                problem = "the server's answers do not fit what it sent before"
            except (_Interrupted, OSError, http.client.HTTPException) as error:
                if isinstance(error, OSError) and not isinstance(error, _NETWORK_ERRORS):
                    raise DownloadError(f"{self.name} could not be written to the disk: {error.strerror}.") from error
                if isinstance(getattr(error, "reason", None), ssl.SSLCertVerificationError):
                    self._raise_for_certificate(error)
                problem = str(error) or type(error).__name__
            if problem:
                logger.debug("attempt failed: %s", problem)
                failures = 0 if self.have > before else failures + 1
                if failures >= len(BACKOFF_S):
                    host = urlsplit(place).hostname
                    raise DownloadError(
                        f"{self.name} could not be downloaded from {host}. Check the network connection, or the proxy "
                        "in MedDL Setup, and try again; the download goes on where it stopped.",
                        details=problem,
                    )
                self._pause(BACKOFF_S[failures])

    def _pause(self, seconds: float) -> None:
        self.tell("the connection broke, trying again")
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.raise_if_cancelled()
            time.sleep(min(0.05, seconds))

    def _attempt(self, place: str) -> None:
        self.raise_if_cancelled()
        have = self.have
        headers = {"User-Agent": f"MedDL/{meddl.__version__}", "Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
            validator = self._validator(place)
            if validator:
                headers["If-Range"] = validator
        try:
            opener = opener_for(place, self.settings)
            response = opener.open(urllib.request.Request(place, headers=headers), timeout=TIMEOUT_S)
        except urllib.error.HTTPError as error:
            with error:
                self._judge_status(error, have)
        with response:
            start = self._start(response, have)
            if start == 0:
                self._remember(place, response)
            self.resumed = start > 0 or self.resumed
            with self.part.open("r+b" if start else "wb") as sink:
                sink.seek(start)
                sink.truncate()
                self._receive(response, sink, start)

    def _judge_status(self, error: urllib.error.HTTPError, have: int) -> NoReturn:
        if error.code == 416 and have:
            raise _Changed from error
        if error.code in _TRANSIENT:
            raise _Interrupted(str(error)) from error
        host = urlsplit(error.url or "").hostname
        why = {
            401: "wants a user name and password",
            403: "does not allow it",
            404: "does not have it (any more)",
            407: "is behind a proxy that wants a password",
            410: "does not have it any more",
        }.get(error.code, f"answers with {error.code}")
        raise DownloadError(
            f"{self.name} could not be downloaded: the server {host} {why}.", details=str(error)
        ) from error

    def _start(self, response: Any, have: int) -> int:
        """Return from which byte on the answer is, after looking whether it can be the file."""
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise DownloadError(f"The server sends {self.name} in an encoding that was not asked for.")
        start, total = 0, response.headers.get("Content-Length", "")
        if response.status == 206:
            match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
            if match is None or int(match[1]) != have:
                raise _Changed
            start, total = have, match[2]
        elif response.status != 200:
            raise DownloadError(f"{self.name} could not be downloaded: the server answers with {response.status}.")
        if total.isdigit() and int(total) != self.size:
            self.forget()
            raise DownloadError(
                f"The server's file {self.name} has {int(total)} bytes; the catalog knows it with {self.size}. It was "
                "replaced, or a mirror or proxy changes it. Nothing of it was kept."
            )
        return start

    def _receive(self, response: Any, sink: BinaryIO, have: int) -> None:
        told = 0.0
        while True:
            self.raise_if_cancelled()
            chunk = response.read1(_CHUNK)
            if not chunk:
                break
            have += len(chunk)
            if have > self.size:
                sink.close()
                self.forget()
                raise DownloadError(f"The server sends more of {self.name} than the catalog knows. Nothing was kept.")
            sink.write(chunk)
            if time.monotonic() - told > 0.1:
                told = time.monotonic()
                sink.flush()
                self.tell()
        sink.flush()
        os.fsync(sink.fileno())
        if have < self.size:
            raise _Interrupted(f"only {have} of {self.size} bytes arrived")

    def _validator(self, place: str) -> str:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            facts = json.loads(self.facts.read_text(encoding="utf-8"))
            if facts.get("url") == place:
                return str(facts.get("validator") or "")
        return ""

    def _remember(self, place: str, response: Any) -> None:
        etag = response.headers.get("ETag", "")
        # A weak ETag promises nothing about bytes.
        validator = etag if etag.startswith('"') else response.headers.get("Last-Modified", "")
        self.facts.write_text(json.dumps({"url": place, "validator": validator}), encoding="utf-8")

    def _copy(self, path: Path) -> None:
        """Take the file from a mirror's folder."""
        self.forget()
        try:
            if path.stat().st_size != self.size:
                raise DownloadError(f"The file {path.name} of the mirror has not the size the catalog knows.")
            with path.open("rb") as source, self.part.open("wb") as sink:
                while chunk := source.read(_CHUNK):
                    self.raise_if_cancelled()
                    sink.write(chunk)
                    self.tell()
        except OSError as error:
            self.forget()
            raise DownloadError(
                f"{path.name} could not be copied from the mirror's folder: {error.strerror}."
            ) from error
        except BaseException:
            self.forget()
            raise

    def _raise_for_certificate(self, error: Exception) -> NoReturn:
        raise DownloadError(
            f"{self.name} was not downloaded: the server's certificate could not be verified. In a hospital's network "
            "name the file with its certificates in the environment variable SSL_CERT_FILE.",
            details=str(error),
        ) from error
