"""Opening an address with the user's proxy and certificates, and following it nowhere else."""

from __future__ import annotations

import contextlib
import os
import ssl
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from meddl.errors import DownloadError
from meddl.models.network_settings import NO_PROXY, NetworkSettings

_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")


def opener_for(place: str, settings: NetworkSettings) -> urllib.request.OpenerDirector:
    """Return what opens ``place`` and addresses of its kind, and nothing else: no file:, ftp: or data:.

    Raises:
        DownloadError: ``place`` is neither https, nor http to this computer or to a mirror that was set up so.
    """
    parts = urlsplit(place)
    if parts.scheme not in ("https", "http") or not parts.hostname or "@" in parts.netloc:
        # Not shown as it is: it may hold a password.
        raise DownloadError("MedDL downloads from https:// addresses without a user name only, and this is none.")
    mirrored = any(place.startswith(goal) for goal in settings.mirrors.values())
    if parts.scheme == "http" and parts.hostname not in _LOCAL_HOSTS and not mirrored:
        raise DownloadError(
            f"{parts.hostname} would be reached without encryption (http), which is done only for a mirror that was "
            "set up so."
        )
    schemes = ("https",) if parts.scheme == "https" else ("https", "http")
    proxies = None
    if settings.proxy:
        proxies = {} if settings.proxy == NO_PROXY else {"http": settings.proxy, "https": settings.proxy}
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(proxies), urllib.request.UnknownHandler(), urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=_tls()), urllib.request.HTTPDefaultErrorHandler(),
        _SameSchemeRedirects(schemes), urllib.request.HTTPErrorProcessor(),
    ):  # fmt: skip
        opener.add_handler(handler)
    return opener


class _SameSchemeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows a server to https only, and to http where the way began there."""

    def __init__(self, schemes: tuple[str, ...]) -> None:
        self._schemes = schemes

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if urlsplit(newurl).scheme not in self._schemes:
            raise DownloadError(
                f"The server {urlsplit(req.full_url).hostname} leads to another kind of address "
                f"('{urlsplit(newurl).scheme[:20]}'), which is not followed."
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)

    def http_error_302(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:
        # urllib's own refuses other schemes with an HTTPError before it asks redirect_request.
        target = headers.get("location") or headers.get("uri") or ""
        scheme = urlsplit(target).scheme
        if scheme and scheme not in self._schemes:
            self.redirect_request(req, fp, code, msg, headers, target)
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    if "SSL_CERT_FILE" not in os.environ:
        # An application that brings its own Python may not know where the system keeps its certificates.
        with contextlib.suppress(ImportError, OSError):
            import certifi

            context.load_verify_locations(certifi.where())
    return context
